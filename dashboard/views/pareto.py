"""The Pareto page: the front of a run in any pair of objectives, in three, and in all of them."""

from collections.abc import Sequence

import msgspec
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from dashboard.columns import Column, column
from dashboard.context import asked_run, columns, json, page, read
from dashboard.errors import RefusedError
from dashboard.front import Results, fronts_of
from dashboard.plain import now_s
from dashboard.text import clean
from node.store.board import Board
from node.store.board.claims import Foreign
from node.store.board.fronts import Failures, Named, failures_of, named
from node.store.board.runs import RunHead, choose

__all__ = ["KINDS", "NameCard", "kind_of", "name_cards", "placed", "routes"]

KINDS = ("dominated", "front", "baseline", "provisional", "refused")
"""What a row of `/api/pareto` stands as, by the number in its column `kind`."""

_MOST_NAMED = 400
_MOST_FAILURES = 50


class NameCard(msgspec.Struct, frozen=True, kw_only=True):
    """The genome of an evaluation as a page names it."""

    evaluation: int
    genome: str
    summary: str
    finished_at: float


class _Answer(msgspec.Struct, frozen=True, kw_only=True):
    """All that the page's one question finds."""

    run: RunHead
    found: Results
    names: list[Named]
    failures: Failures


async def _page(request: Request) -> Response:
    return await page(request, "pareto.html")


async def _data(request: Request) -> Response:
    """Columns: evaluation, order, kind, and one an objective (v0, v1, ...); peers' claims are the last rows.

    Values are those that a genome was selected by. `scored` in the header has the rows that were tried on fresh seeds.
    """
    run, fronts = asked_run(request), fronts_of(request)

    def ask(board: Board) -> _Answer | None:
        head = choose(board, run).run
        if head is None:
            return None
        found = fronts.results(board, head, now_s())
        rows = [*found.front, *(row for row in range(len(found.cloud)) if found.cloud.baseline[row])]
        names = named(board, [found.cloud.evaluations[row] for row in rows[:_MOST_NAMED]])
        return _Answer(
            run=head, found=found, names=names, failures=failures_of(board, head.id, _MOST_FAILURES)
        )

    answer = await read(request, ask)
    if answer is None:
        return columns({"evaluation": column("i32", ())}, objectives=())
    found = answer.found
    return columns(
        _columns(found),
        run={"id": answer.run.id, "task": clean(answer.run.task), "tier": clean(answer.run.tier)},
        objectives=answer.run.objectives,
        kinds=KINDS,
        front=found.front,
        stay=found.tiers.own,
        knee=found.knee,
        hypervolume=found.hypervolume,
        tried=found.cloud.tried,
        failed=found.cloud.failed,
        scored={str(row): scored for row, scored in found.cloud.scored.items()},
        names=name_cards(answer.names),
        claims=[_claim(one) for one in placed(found)],
        unplaced=sum(one.values is None for one in found.claims),
        failures={
            "kinds": answer.failures.kinds,
            "newest": [
                {"genome": one.genome, "kind": one.kind, "detail": clean(one.detail, 300)}
                for one in answer.failures.newest
            ],
        },
    )


def placed(found: Results) -> list[Foreign]:
    """The claims that have a place in a chart."""
    return [one for one in found.claims if one.values is not None]


def name_cards(names: Sequence[Named]) -> list[NameCard]:
    """Names fit to be shown."""
    return [
        NameCard(
            evaluation=one.evaluation,
            genome=one.genome,
            summary=clean(one.summary, 120),
            finished_at=one.finished_at,
        )
        for one in names
    ]


def _claim(one: Foreign) -> dict[str, object]:
    return {
        "claim": one.claim,
        "peer": clean(one.peer, 80),
        "genome": one.genome,
        "standing": one.standing,
        "at": one.received_at,
    }


def _columns(found: Results) -> dict[str, Column]:
    cloud, foreign = found.cloud, placed(found)
    kinds = bytearray(KINDS.index("baseline") if each else 0 for each in cloud.baseline)
    for row in found.tiers.own:
        kinds[row] = KINDS.index("front")
    joined = {one.claim for one in found.tiers.joined}
    for one in foreign:
        kinds.append(KINDS.index(kind_of(one, joined)))
    values = {
        f"v{index}": column("f64", [*selected, *(one.values[index] for one in foreign if one.values)])
        for index, selected in enumerate(cloud.selected)
    }
    nothing = [0] * len(foreign)
    return {
        "evaluation": column("i32", [*cloud.evaluations, *nothing]),
        "order": column("i32", [*cloud.orders, *(cloud.tried for _ in foreign)]),
        "kind": column("u8", kinds),
        **values,
    }


def kind_of(one: Foreign, joined: set[str]) -> str:
    """What a claim stands as in a chart, one of KINDS; `joined` are the ids of claims on the front."""
    if one.standing == "confirmed":
        return "front" if one.claim in joined else "dominated"
    # What is only heard of is a claim that nobody has looked into yet.
    return "refused" if one.standing == "refused" else "provisional"


async def _named(request: Request) -> Response:
    """The genomes of up to 400 evaluations: `?evaluations=1,2,3`."""
    asked = request.query_params.get("evaluations", "").split(",")
    if not all(one.isdecimal() and len(one) < 12 for one in asked) or len(asked) > _MOST_NAMED:
        raise RefusedError(
            f"evaluations must be up to {_MOST_NAMED} numbers separated by commas, got {len(asked)} items. "
            "Ask for fewer, and for numbers."
        )
    names = await read(request, lambda board: named(board, [int(one) for one in asked]))
    return json({"names": name_cards(names)})


routes = [
    Route("/pareto", _page),
    Route("/api/pareto", _data),
    Route("/api/pareto/named", _named),
]
