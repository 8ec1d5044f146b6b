"""The lineage page, and what it asks: columns of births, what grew, one genome's line, searches."""

from collections.abc import Callable, Sequence
from typing import TypeVar, get_args

from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from dashboard.columns import MEDIA_TYPE, column
from dashboard.context import asked_run, columns, context_of, json, page, read
from dashboard.errors import RefusedError
from dashboard.kinship import Held, Kinship, told_objective
from dashboard.lineage_layout import Extinct
from dashboard.text import clean
from node.errors import NotFoundError
from node.store.board import Board
from node.store.board.filters import FilterError, parse
from node.store.board.kin import STANDINGS, Step, ids_at, ordinal_of, steps
from node.store.board.kin_filter import find

__all__ = ["kinship_of", "routes", "told"]

T = TypeVar("T")

_MOST_STEPS = 400
_MOST_NAMES = 400
_MOST_CHILDREN = 60


def kinship_of(request: Request) -> Kinship:
    """The lineages that this server holds."""
    return context_of(request).held(Kinship)


async def _ask(request: Request, question: Callable[[Board, Held], T]) -> T:
    kinship, run = kinship_of(request), asked_run(request)
    return await read(request, lambda board: kinship.ask(board, run, lambda held: question(board, held)))


async def _page(request: Request) -> Response:
    """The page. It names its question in its head, so that the browser asks it while it reads the modules."""
    return await page(request, "lineage.html", extinct=_extinct(request))


async def _columns(request: Request) -> Response:
    """Every birth from `begin` on; all of them where the layout is another than `version` says."""
    extinct, begin, version = _extinct(request), _whole(request, "begin"), _whole(request, "version")

    def answer(_: Board, held: Held) -> Response:
        held.layout(extinct)
        start = begin if version == held.version and begin <= len(held.kin) else 0
        return Response(held.packed(extinct, start, _head(held, extinct)), media_type=MEDIA_TYPE)

    return await _ask(request, answer)


def _head(held: Held, extinct: Extinct) -> dict[str, object]:
    """What stands beside the columns; `living` and `fresh` are told each time, since they change behind them."""
    kin = held.kin
    objectives = () if kin.run is None else kin.run.objectives
    lead = objectives[0].name if objectives else ""
    return {
        "version": held.version,
        "extinct": extinct,
        "height": held.layout(extinct).height,
        "operators": [clean(name, 48) for name in kin.operators],
        "standings": STANDINGS,
        "living": held.living,
        "fresh": [[at, kin.values_at(at).get(lead)] for at in kin.fresh],
        "objectives": [told_objective(objective) for objective in objectives],
        "run": None if kin.run is None else kin.run.id,
    }


async def _genome(request: Request) -> Response:
    """One genome: what its birth changed, its line of first parents back to a founder, and its children."""
    place = int(request.path_params["place"])

    def answer(board: Board, held: Held) -> object:
        kin = held.kin
        if place >= len(kin):
            raise NotFoundError(
                f"the lineage has {len(kin)} births, so there is none at {place}. Choose another."
            )
        line = _line(held, place)
        children = [at for at in range(place + 1, len(kin)) if place in (kin.first[at], kin.second[at])]
        named = ids_at(board, kin, children[:_MOST_CHILDREN])
        return {
            "line": [told(step) for step in steps(board, kin, line[:_MOST_STEPS])],
            "left_out": max(0, len(line) - _MOST_STEPS),
            "children": [[at, named[at]] for at in children[:_MOST_CHILDREN]],
            "count": len(children),
        }

    return json(await _ask(request, answer))


def told(step: Step) -> dict[str, object]:
    """A step of a line as JSON takes it."""
    return {
        "at": step.at,
        "id": step.id,
        "born": step.born,
        "operator": clean(step.operator, 48),
        "standing": step.standing,
        "parents": step.parents,
        "summary": clean(step.summary),
        "values": step.values,
        "changes": [[change.gene, change.before, change.after] for change in step.changes],
        "second": [[change.gene, change.before, change.after] for change in step.against_second],
    }


def _line(held: Held, place: int) -> list[int]:
    line = [place]
    while held.kin.first[line[-1]] >= 0:
        line.append(held.kin.first[line[-1]])
    return line


async def _place(request: Request) -> Response:
    """Where the genome of an id stands."""
    prefix = request.query_params.get("id", "")

    def answer(board: Board, held: Held) -> object:
        place = ordinal_of(board, held.kin, prefix)
        return {"place": place, "id": ids_at(board, held.kin, [place])[place]}

    return json(await _ask(request, answer))


async def _names(request: Request) -> Response:
    """Ids of the genomes at some places, separated by commas."""
    wanted = _places(request.query_params.get("of", ""))

    def answer(board: Board, held: Held) -> object:
        return {str(place): genome for place, genome in ids_at(board, held.kin, wanted).items()}

    return json(await _ask(request, answer))


def _places(text: str) -> Sequence[int]:
    parts = [part for part in text.split(",") if part]
    if len(parts) > _MOST_NAMES or not all(part.isdecimal() and len(part) < 10 for part in parts):
        raise RefusedError(
            f"`of` must be up to {_MOST_NAMES} places separated by commas, got {clean(text, 40)!r}"
        )
    return [int(part) for part in parts]


async def _find(request: Request) -> Response:
    """Places of the genomes that pass a filter such as `lr > 0.01 and estimate = centred`, as one column."""
    try:
        clauses = parse(request.query_params.get("q", ""))
    except FilterError as error:
        raise RefusedError(clean(error, 300)) from error
    if not clauses:
        raise RefusedError("a search needs a test, such as 'lr > 0.01' or 'operator = cross'; got none")

    def answer(board: Board, held: Held) -> Response:
        return columns({"place": column("i32", find(board, held.kin, clauses))}, count=len(held.kin))

    return await _ask(request, answer)


def _extinct(request: Request) -> Extinct:
    text = request.query_params.get("extinct", "wedges")
    for known in get_args(Extinct):
        if text == known:
            return known  # type: ignore[no-any-return]  # get_args gives the members of the literal
    raise RefusedError(f"extinct must be one of {', '.join(get_args(Extinct))}, got {clean(text, 20)!r}")


def _whole(request: Request, name: str) -> int:
    text = request.query_params.get(name, "0")
    if not text.isdecimal() or len(text) > 9:
        raise RefusedError(f"{name} must be a whole number, got {clean(text, 20)!r}")
    return int(text)


routes = [
    Route("/lineage", _page),
    Route("/api/lineage", _columns),
    Route("/api/lineage/place", _place),
    Route("/api/lineage/names", _names),
    Route("/api/lineage/find", _find),
    Route("/api/lineage/genome/{place:int}", _genome),
]
