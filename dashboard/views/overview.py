"""The first page: key figures, a small front, what happened last, progress, how the best network settles."""

from array import array
from collections.abc import Mapping

import msgspec
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from dashboard.context import asked_run, json, page, read
from dashboard.front import Results, fronts_of
from dashboard.plain import now_s
from dashboard.text import clean
from dashboard.views.pareto import NameCard, kind_of, name_cards, placed
from node.store.board import Board
from node.store.board.claims import Checks, checks
from node.store.board.comparison import Candidate, candidate
from node.store.board.events import newest_events
from node.store.board.fronts import named, values_of
from node.store.board.peers import PeerLine, peer_lines
from node.store.board.resources import Pace, pace, per_hour
from node.store.board.runs import RunHead, choose, counts
from node.store.rows import EventRow

__all__ = ["routes"]

_MOST_DOTS = 700
_MOST_EVENTS = 30
_MOST_NAMED = 400
_MOST_PEERS = 8
_TEXT = 160
"""Longest text of an event that the feed shows."""


class _Answer(msgspec.Struct, frozen=True, kw_only=True):
    """All that the page's one question finds."""

    run: RunHead
    found: Results
    best: Candidate | None
    names: dict[int, NameCard]
    pace: Pace
    checks: Checks
    peers: list[PeerLine]
    events: list[EventRow]


async def _page(request: Request) -> Response:
    return await page(request, "overview.html")


async def _data(request: Request) -> Response:
    """All that the page shows, as JSON; `run` is null in a store without runs."""
    run, fronts = asked_run(request), fronts_of(request)

    def ask(board: Board) -> _Answer | None:
        head = choose(board, run).run
        if head is None:
            return None
        now = now_s()
        found = fronts.results(board, head, now)
        rows = [*found.front, *(row for row in range(len(found.cloud)) if found.cloud.baseline[row])]
        names = named(board, [found.cloud.evaluations[row] for row in rows[:_MOST_NAMED]])
        return _Answer(
            run=head,
            found=found,
            best=candidate(board, head, names[0].genome) if found.front else None,
            names=dict(zip(rows, name_cards(names), strict=False)),
            pace=pace(board),
            checks=checks(board),
            peers=peer_lines(board, now) if counts(board).signed else [],
            events=newest_events(board, _MOST_EVENTS),
        )

    answer = await read(request, ask)
    if answer is None:
        return json({"run": None})
    return json(_told(answer))


def _told(answer: _Answer) -> dict[str, object]:
    found = answer.found
    return {
        "run": {"id": answer.run.id, "task": clean(answer.run.task), "tier": clean(answer.run.tier)},
        "objectives": answer.run.objectives,
        "best": _best(answer),
        "front": {
            "size": len(found.tiers.own) + len(found.tiers.joined),
            "waiting": len(found.tiers.waiting),
            "hypervolume": found.hypervolume,
            "knee": found.knee,
        },
        "points": _points(answer),
        "progress": found.progress,
        "tried": found.cloud.tried,
        "failed": found.cloud.failed,
        "settling": _settling(answer.best),
        "known": found.known,
        "pace": {
            "last_hour": answer.pace.last_hour,
            "per_hour": [rate for _, rate in per_hour(answer.pace.marks)],
        },
        "checks": answer.checks,
        "peers": [_peer(line) for line in answer.peers[:_MOST_PEERS]],
        "peers_known": len(answer.peers),
        "events": [_event(row) for row in answer.events],
    }


def _best(answer: _Answer) -> dict[str, object] | None:
    """The front's best genome by the first objective, with its interval over fresh seeds where it has some."""
    if answer.best is None:
        return None
    lead = answer.run.objectives[0].name
    return {
        "genome": answer.best.genome,
        "summary": clean(answer.best.summary, 120),
        "fresh": answer.best.fresh,
        "interval": answer.best.objectives.get(lead),
    }


def _settling(best: Candidate | None) -> dict[str, object] | None:
    """How the best genome's network settled when it was selected."""
    if best is None or not best.trials:
        return None
    return best.trials[0].training.settling


def _points(answer: _Answer) -> dict[str, object]:
    """The small chart: the front, baselines, claims, and an even sample of the rest."""
    found = answer.found
    front = set(found.tiers.own)
    # Rows as an array: a list of a hundred thousand numbers costs nine times as much.
    others = array(
        "i", (row for row in range(len(found.cloud)) if row not in front and not found.cloud.baseline[row])
    )
    step = max(1, -(-len(others) // _MOST_DOTS))
    marked = [row for row in range(len(found.cloud)) if row in front or found.cloud.baseline[row]]
    joined = {one.claim for one in found.tiers.joined}
    rows = [
        *({"kind": "dominated", "values": values_of(found.cloud, row)} for row in others[::step]),
        *(
            {
                "kind": "front" if row in front else "baseline",
                "values": values_of(found.cloud, row),
                "name": answer.names.get(row),
                "knee": row == found.knee,
            }
            for row in marked
        ),
        *(
            {
                "kind": kind_of(one, joined),
                "values": one.values,
                "name": {"genome": one.genome, "summary": f"claimed by {clean(one.peer, 60)}"},
            }
            for one in placed(found)
        ),
    ]
    return {"rows": rows, "dominated": len(others), "every": step}


def _peer(line: PeerLine) -> dict[str, object]:
    return {
        "peer": clean(line.row.peer, 80),
        "me": line.row.me,
        "standing": line.row.standing,
        "believed": line.believed,
        "passing": line.passing,
        "claims": line.row.claims,
        "confirmed": line.row.confirmed,
        "refused": line.row.refused,
        "last_seen": line.last_seen,
    }


def _event(row: EventRow) -> dict[str, object]:
    body = msgspec.json.decode(row.body, type=dict)
    return {"seq": row.seq, "at": row.at, "kind": clean(row.kind, 60), "body": _harmless(body)}


def _harmless(body: Mapping[str, object]) -> dict[str, object]:
    """The plain items of an event, text made fit to be shown."""
    found: dict[str, object] = {}
    for name, value in list(body.items())[:20]:
        if isinstance(value, str):
            found[clean(name, 40)] = clean(value, _TEXT)
        elif isinstance(value, int | float | None):
            found[clean(name, 40)] = value
        elif isinstance(value, dict):
            found[clean(name, 40)] = {
                clean(key, 40): each
                for key, each in list(value.items())[:20]
                if isinstance(each, int | float)
            }
    return found


routes = [Route("/", _page), Route("/api/overview", _data)]
