"""Two to eight genomes side by side: what varies between them, what they reach, and how they learned."""

from collections.abc import Sequence

from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from dashboard.context import asked_run, json, page, read
from dashboard.errors import RefusedError
from dashboard.text import clean
from node.store.board import Board
from node.store.board.comparison import Candidate, Trial, candidate
from node.store.board.genomes import resolve
from node.store.board.runs import RunHead, choose

__all__ = ["MOST", "routes"]

MOST = 8
"""Genomes that are compared at once."""


async def _page(request: Request) -> Response:
    return await page(request, "compare.html")


async def _data(request: Request) -> Response:
    """`?ids=a,b`: up to eight genomes by whole ids or their first digits; a genome asked for twice is shown once."""
    run = asked_run(request)
    asked = [one for one in request.query_params.get("ids", "").split(",") if one]
    if len(asked) > MOST:
        raise RefusedError(f"at most {MOST} genomes are compared at once, got {len(asked)}. Take some out.")

    def ask(board: Board) -> tuple[RunHead, list[Candidate]] | None:
        head = choose(board, run).run
        if head is None:
            return None
        ids = dict.fromkeys(resolve(board, one) for one in asked)
        return head, [candidate(board, head, one) for one in ids]

    answer = await read(request, ask)
    if answer is None:
        return json({"run": None})
    head, found = answer
    return json(
        {
            "run": {"id": head.id, "task": clean(head.task), "tier": clean(head.tier)},
            "objectives": head.objectives,
            "genomes": [_told(one) for one in found],
            "genes": _genes(found),
        }
    )


def _told(one: Candidate) -> dict[str, object]:
    return {
        "genome": one.genome,
        "space": clean(one.space, 60),
        "summary": clean(one.summary, 120),
        "objectives": one.objectives,
        "fresh": one.fresh,
        "failed": one.failed,
        "trials": [_trial(trial) for trial in one.trials],
    }


def _trial(trial: Trial) -> dict[str, object]:
    return {
        "evaluation": trial.evaluation,
        "purpose": trial.purpose,
        "seed": str(trial.seed),
        "curve": trial.training.curve,
        "settling": trial.training.settling,
        "measured": {
            name: value for name, value in trial.training.measured.items() if isinstance(value, int | float)
        },
    }


def _genes(found: Sequence[Candidate]) -> list[dict[str, object]]:
    """Every gene that one of them has, a value for each (None where it is not expressed), and whether they vary."""
    names = dict.fromkeys(name for one in found for name in one.genes)
    lines = []
    for name in names:
        values = [one.genes.get(name) for one in found]
        shown = [clean(value, 60) if isinstance(value, str) else value for value in values]
        lines.append(
            {"name": clean(name, 60), "values": shown, "varies": any(v != values[0] for v in values)}
        )
    return lines


routes = [Route("/compare", _page), Route("/api/compare", _data)]
