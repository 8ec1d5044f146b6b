"""Claims of peers about a run's task, as the node that owns the store ranks them: confirmed, provisional, refused."""

from collections.abc import Sequence
from typing import Literal

import msgspec

from evaluator.objectives import Objective
from node.protocol.claims import Claim
from node.protocol.errors import ProtocolError
from node.protocol.wire import decode
from node.store.board.board import Board
from node.store.board.dominance import Point, costs, nondominated
from node.store.board.peers import ledger_of, own_peer
from node.store.board.runs import RunHead

__all__ = ["Checks", "Foreign", "Tiers", "checks", "claims_of", "tiers"]

Standing = Literal["confirmed", "provisional", "refused", "heard"]

_MOST_CLAIMS = 5_000


class Foreign(msgspec.Struct, frozen=True, kw_only=True):
    """A peer's claim. `values` rank it here: accuracy as claimed, all else as reckoned by this node.

    `values` is None where this node has not reckoned all of them: such a claim has no place in a chart.
    """

    claim: str
    peer: str
    genome: str
    standing: Standing
    values: tuple[float, ...] | None
    stated: dict[str, float]
    received_at: float


class Tiers(msgspec.Struct, frozen=True, kw_only=True):
    """The front with peers' claims: which own rows stay on it, which confirmed claims join, which wait below it."""

    own: tuple[int, ...]
    joined: tuple[Foreign, ...]
    waiting: tuple[Foreign, ...]


class Checks(msgspec.Struct, frozen=True, kw_only=True):
    """Own checks of peers' claims: claims checked, claims of which one failed, and peers heard of."""

    checked: int
    failed: int
    peers: int
    claims: int


def claims_of(board: Board, run: RunHead, now: float) -> list[Foreign]:
    """The newest 5,000 claims of others about the run's task, the oldest first; `now` is in seconds since the epoch."""
    rows = board.connection.execute(
        "SELECT id, peer, body, received_at FROM signed WHERE task = ? AND kind = 'claim'"
        " ORDER BY received_at DESC, id LIMIT ?",
        (bytes.fromhex(run.task_id), _MOST_CLAIMS),
    ).fetchall()
    if not rows:
        return []
    ledger, me = ledger_of(board), own_peer(board)
    values: dict[bytes, dict[str, float]] = {}
    for claim, name, value in board.connection.execute("SELECT claim, name, value FROM valued"):
        values.setdefault(claim, {})[name] = value
    found = []
    for id_, peer, body, received_at in reversed(rows):
        if peer == me:
            continue  # what this node claims stands among its own results
        try:
            claim = decode(body, Claim)
        except ProtocolError:
            continue  # a record of a format that this eqmesh does not read
        known = values.get(id_, {})
        names = [objective.name for objective in run.objectives]
        found.append(
            Foreign(
                claim=id_.hex(),
                peer=peer,
                genome=claim.genome.hex(),
                standing=ledger.standing(id_.hex(), now) if id_.hex() in ledger.claims else "heard",
                values=tuple(known[name] for name in names) if known.keys() == set(names) else None,
                stated=dict(claim.objectives),
                received_at=received_at,
            )
        )
    return found


def tiers(
    own: Sequence[tuple[int, tuple[float, ...]]],
    foreign: Sequence[Foreign],
    objectives: tuple[Objective, ...],
) -> Tiers:
    """The rule of `node.report.tiers`: what is provisional displaces nobody, and of equal rows the first stands.

    `own` are the rows of the own front with their values. They may be half way between selected and fresh values, so
    among each other they stand as they are.
    """
    maximised = [objective.direction == "max" for objective in objectives]
    seen = {values for _, values in own}
    kept: dict[str, list[Foreign]] = {"confirmed": [], "provisional": []}
    for one in sorted(foreign, key=lambda one: (one.standing, one.claim)):
        if one.standing in kept and one.values is not None and one.values not in seen:
            seen.add(one.values)
            kept[one.standing].append(one)
    confirmed = [costs(one.values or (), maximised) for one in kept["confirmed"]]
    mine = [costs(values, maximised) for _, values in own]
    everyone = [*mine, *confirmed]
    best = set(nondominated(everyone))
    stay = [row for (row, _), point in zip(own, mine, strict=True) if not _beaten(point, confirmed)]
    joined = [one for index, one in enumerate(kept["confirmed"], len(mine)) if index in best]
    front = [everyone[index] for index in sorted(best)]
    waiting = [one for one in kept["provisional"] if not _beaten(costs(one.values or (), maximised), front)]
    return Tiers(own=tuple(stay), joined=tuple(joined), waiting=tuple(waiting))


def _beaten(point: Point, others: Sequence[Point]) -> bool:
    return any(other != point and all(a <= b for a, b in zip(other, point, strict=True)) for other in others)


def checks(board: Board) -> Checks:
    """How many claims own checks looked into and refuted, and how many peers and claims are known."""
    checked, failed = board.connection.execute(
        "SELECT count(*), coalesce(sum(bad), 0) FROM"
        " (SELECT max(passed = 0) AS bad FROM finding WHERE passed IS NOT NULL GROUP BY claim)"
    ).fetchone()
    peers, claims = board.connection.execute(
        "SELECT count(DISTINCT peer), coalesce(sum(kind = 'claim'), 0) FROM signed"
    ).fetchone()
    return Checks(checked=checked, failed=failed, peers=peers, claims=claims)
