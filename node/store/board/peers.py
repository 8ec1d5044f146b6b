"""The peers of a store: what its node makes of each, why, and what every one of them signed."""

import math
from collections import Counter
from collections.abc import Sequence

import msgspec

from node.errors import NotFoundError
from node.protocol.claims import Accusation, Attestation, Claim
from node.protocol.trust import Ledger
from node.protocol.wire import decode
from node.standing import PeerRow, claim_standing, fold, peer_rows
from node.store.board.board import Board
from node.store.rows import SignedRow

__all__ = [
    "BanLine",
    "CheckLine",
    "ClaimLine",
    "EvidenceLine",
    "FindingLine",
    "Passing",
    "PeerDetail",
    "PeerLine",
    "claims_about",
    "claims_of_genome",
    "ledger_of",
    "own_peer",
    "passing",
    "peer_detail",
    "peer_lines",
]

MOST_CLAIMS = 500
"""Claims that the page of one peer lists."""
_MOST_CHECKS = 100
_Z = 1.959964  # 97.5 % of the standard normal
_NAMES = SignedRow.__struct_fields__
_SIGNED = f"SELECT {', '.join(_NAMES)} FROM signed"


class Passing(msgspec.Struct, frozen=True, kw_only=True):
    """The share of a peer's checks that passed, with Wilson's 95 % interval; `share` is None before the first."""

    share: float | None
    low: float
    high: float


class PeerLine(msgspec.Struct, frozen=True, kw_only=True):
    """One row of the table of peers.

    `believed` is the chance that the next claim of the peer holds, before anybody checks it; `row` the counts behind
    it, faded by the rounds since. Times are seconds since the epoch, None where nothing it signed is held.
    """

    row: PeerRow
    believed: float
    passing: Passing
    trust: float
    attestations: int
    accusations: int
    first_seen: float | None
    last_seen: float | None
    reason: str


class EvidenceLine(msgspec.Struct, frozen=True, kw_only=True):
    """An item of a claim that failed; `accuser` is empty where this node found it itself."""

    claim: str
    stage: str
    item: str
    accuser: str


class BanLine(msgspec.Struct, frozen=True, kw_only=True):
    """A ban with its evidence; times in seconds since the epoch."""

    since: float
    until: float
    lifted: float | None
    reason: str
    manual: bool
    active: bool
    evidence: tuple[EvidenceLine, ...]


class FindingLine(msgspec.Struct, frozen=True, kw_only=True):
    """What an own check of a claim found; `passed` is None where it could not be run."""

    stage: str
    item: str
    passed: bool | None
    detail: str
    at: float
    seconds: float


class CheckLine(msgspec.Struct, frozen=True, kw_only=True):
    """What another peer says of a claim: that it held, or an item that fails. `objectives` are those of a training."""

    id: str
    kind: str
    peer: str
    stage: str
    item: str
    objectives: dict[str, float]
    at: float


class ClaimLine(msgspec.Struct, frozen=True, kw_only=True):
    """One claim, what this node makes of it, and every check of it. `false` is the chance that it does not hold."""

    id: str
    peer: str
    genome: str
    tier: str
    arithmetic: str
    backend: str
    device: str
    objectives: dict[str, float]
    standing: str
    false: float | None
    at: float
    expiry: int
    findings: tuple[FindingLine, ...]
    checks: tuple[CheckLine, ...]


class PeerDetail(msgspec.Struct, frozen=True, kw_only=True):
    """One peer in full: newest claims, bans, number and mean (points) of residuals a task. `held` counts its claims."""

    line: PeerLine
    quarantined: bool
    bans: tuple[BanLine, ...]
    residuals: dict[str, tuple[int, float]]
    claims: tuple[ClaimLine, ...]
    held: int


def ledger_of(board: Board) -> Ledger:
    """What the node of this store believes."""
    state = board.connection.execute("SELECT seq, body FROM ledger").fetchone()
    after, body = state or (0, None)
    events = board.connection.execute("SELECT body FROM belief WHERE seq > ? ORDER BY seq", (after,))
    return fold(body, [event for (event,) in events])


def own_peer(board: Board) -> str | None:
    """The peer that this store's node is, as far as the store says: it noted which claims it made itself."""
    row = board.connection.execute(
        "SELECT json_extract(body, '$.claim') FROM event WHERE kind = 'claim.made' ORDER BY seq DESC LIMIT 1"
    ).fetchone()
    if row is None or not isinstance(row[0], str):
        return None
    found = board.connection.execute(
        "SELECT peer FROM signed WHERE id = ?", (bytes.fromhex(row[0]),)
    ).fetchone()
    return None if found is None else str(found[0])


def passing(passed: float, failed: float) -> Passing:
    """The share that passed of checks counted with weights, and Wilson's 95 % interval of it (Wilson, 1927)."""
    n = passed + failed
    if n <= 0.0:
        return Passing(share=None, low=0.0, high=1.0)
    share = passed / n
    centre = (share + _Z**2 / (2 * n)) / (1 + _Z**2 / n)
    half = _Z * math.sqrt(share * (1 - share) / n + _Z**2 / (4 * n**2)) / (1 + _Z**2 / n)
    return Passing(share=share, low=max(0.0, centre - half), high=min(1.0, centre + half))


def peer_lines(board: Board, now: float) -> list[PeerLine]:
    """Every peer that the store has heard of, those with most passed checks first."""
    ledger = ledger_of(board)
    # Bodies stay where they are: the rows of a table need who signed what kind of thing, and when.
    signed = [
        SignedRow(
            id=id_, kind=kind, task=b"", peer=peer, sequence=0, about=None, genome=None, expiry=0, body=b"",
            signature=b"", received_at=at,
        )
        for id_, kind, peer, at in board.connection.execute("SELECT id, kind, peer, received_at FROM signed")
    ]  # fmt: skip
    kinds = Counter((row.peer, row.kind) for row in signed)
    first: dict[str, float] = {}
    last: dict[str, float] = {}
    for row in signed:
        first[row.peer] = min(first.get(row.peer, row.received_at), row.received_at)
        last[row.peer] = max(last.get(row.peer, row.received_at), row.received_at)
    return [
        PeerLine(
            row=row,
            # The odds of trust.log_odds before any check of the claim itself.
            believed=(row.a + 1.0) / (row.a + 1.0 + 8.0 * row.b + 1.0),
            passing=passing(row.a, row.b),
            trust=ledger.peer(row.peer).trust,
            attestations=kinds[row.peer, "attestation"],
            accusations=kinds[row.peer, "accusation"],
            first_seen=first.get(row.peer),
            last_seen=last.get(row.peer),
            reason=_reason(ledger, row.peer, now),
        )
        for row in peer_rows(ledger, signed, now, mine=own_peer(board))
    ]


def _reason(ledger: Ledger, peer: str, now: float) -> str:
    """Why a peer is banned or watched, in few words; empty where it is neither."""
    ban = ledger.ban(peer, now)
    if ban is not None:
        return ban.reason
    return "what it claims is better than what is found" if ledger.quarantined(peer) else ""


def peer_detail(board: Board, peer: str, now: float) -> PeerDetail:
    """One peer in full. Raises NotFoundError for one that the store has not heard of."""
    line = next((line for line in peer_lines(board, now) if line.row.peer == peer), None)
    if line is None:
        raise NotFoundError(
            f"{board.path} has heard of no peer {peer[:80]!r}. The table of peers lists them."
        )
    ledger = ledger_of(board)
    rows = _signed(
        board, "kind = 'claim' AND peer = ? ORDER BY received_at DESC LIMIT ?", (peer, MOST_CLAIMS)
    )
    bans = [
        BanLine(
            since=ban.since,
            until=ban.until,
            lifted=ban.lifted,
            reason=ban.reason,
            manual=ban.manual,
            active=ban.active(now),
            evidence=tuple(
                EvidenceLine(
                    claim=item.claim, stage=item.stage.value, item=item.item, accuser=item.accuser or ""
                )
                for item in ban.evidence
            ),
        )
        for ban in ledger.bans.get(peer, ())
    ]
    residuals = {task: (found.n, found.mean) for task, found in ledger.peer(peer).residuals.items()}
    return PeerDetail(
        line=line,
        quarantined=ledger.quarantined(peer),
        bans=tuple(bans),
        residuals=residuals,
        claims=tuple(_claim_line(board, ledger, row, now, mine=line.row.me) for row in rows),
        held=line.row.claims,
    )


def claims_of_genome(board: Board, genome: str, now: float) -> list[ClaimLine]:
    """Every claim about a genome, with its checks, oldest first."""
    rows = _signed(board, "kind = 'claim' AND genome = ? ORDER BY received_at", (genome,))
    if not rows:
        return []
    ledger, mine = ledger_of(board), own_peer(board)
    return [_claim_line(board, ledger, row, now, mine=row.peer == mine) for row in rows]


def claims_about(board: Board, claim: bytes) -> list[CheckLine]:
    """What other peers say of a claim, oldest first; at most 100 of them."""
    rows = _signed(board, "about = ? ORDER BY received_at, id LIMIT ?", (claim, _MOST_CHECKS))
    return [_check_line(row) for row in rows]


def _signed(board: Board, where: str, values: Sequence[object]) -> list[SignedRow]:
    found = board.connection.execute(f"{_SIGNED} WHERE {where}", values)
    return [SignedRow(**dict(zip(_NAMES, row, strict=True))) for row in found]


def _check_line(row: SignedRow) -> CheckLine:
    if row.kind == "accusation":
        accusation = decode(row.body, Accusation)
        stage, item, objectives = str(accusation.stage), str(accusation.segment), dict[str, float]()
    else:
        attestation = decode(row.body, Attestation)
        stage = attestation.stage
        item = ", ".join(str(leaf.segment) for leaf in attestation.leaves)
        objectives = attestation.objectives
    return CheckLine(
        id=row.id.hex(),
        kind=row.kind,
        peer=row.peer,
        stage=stage,
        item=item,
        objectives=objectives,
        at=row.received_at,
    )


def _claim_line(board: Board, ledger: Ledger, row: SignedRow, now: float, *, mine: bool) -> ClaimLine:
    claim = decode(row.body, Claim)
    id_ = row.id.hex()
    findings = board.connection.execute(
        "SELECT stage, item, passed, detail, at, seconds FROM finding WHERE claim = ? ORDER BY id DESC LIMIT ?",
        (row.id, _MOST_CHECKS),
    ).fetchall()
    odds = ledger.log_odds(id_) if id_ in ledger.claims else None
    return ClaimLine(
        id=id_,
        peer=row.peer,
        genome=claim.genome.hex(),
        tier=claim.tier,
        arithmetic=claim.arithmetic,
        backend=claim.backend,
        device=claim.measured.device if claim.measured is not None else "",
        objectives=claim.objectives,
        standing=claim_standing(ledger, row, now, mine=mine),
        # Beyond 700 the exponential overflows, and the chance is one.
        false=None if odds is None else 1 / (1 + math.exp(-min(max(odds, -700.0), 700.0))),
        at=row.received_at,
        expiry=row.expiry,
        findings=tuple(
            FindingLine(
                stage=stage,
                item=item,
                passed=None if passed is None else bool(passed),
                detail=detail,
                at=at,
                seconds=seconds,
            )
            for stage, item, passed, detail, at, seconds in reversed(findings)
        ),
        checks=tuple(claims_about(board, row.id)),
    )
