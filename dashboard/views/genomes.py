"""The table of genomes, and the page of one genome."""

from collections.abc import Callable
from typing import TypeVar

import msgspec
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from dashboard.context import asked_run, json, page, read
from dashboard.errors import RefusedError
from dashboard.front import fronts_of
from dashboard.plain import now_s, plain
from node.errors import NotFoundError
from node.store.board import Board
from node.store.board.filters import FilterError
from node.store.board.genome import document, genome_detail, training
from node.store.board.genomes import Query, count, known_names, resolve
from node.store.board.genomes import page as page_of
from node.store.board.runs import RunHead, choose

__all__ = ["routes"]

T = TypeVar("T")

_LONGEST = 600
# A genome that trains long has a long detail of its failure; what is cut can be read with `eqmesh genome show`.
_DETAIL = 2000


async def _page(request: Request) -> Response:
    return await page(request, "genomes.html")


async def _genome_page(request: Request) -> Response:
    given = request.path_params["id"]
    id_ = await read(request, lambda board: resolve(board, given))
    return await page(request, "genome.html", genome=id_)


def _query(request: Request) -> Query:
    given = dict(request.query_params)
    fields = {
        name: given[name]
        for name in ("scope", "where", "standing", "sort", "after", "before")
        if name in given
    }
    if any(len(text) > _LONGEST for text in fields.values()):
        raise RefusedError(f"a question has at most {_LONGEST} characters a part. Shorten it.")
    try:
        query = msgspec.convert(fields, Query)
        limit = int(given.get("limit", query.limit))
    except (msgspec.ValidationError, ValueError) as error:
        raise RefusedError(f"the table was asked for something that it does not have: {error}") from error
    return msgspec.structs.replace(query, descending=given.get("order", "down") != "up", limit=limit)


async def _ask(request: Request, question: Callable[[Board, RunHead | None, Query, frozenset[str]], T]) -> T:
    run, query, fronts, now = asked_run(request), _query(request), fronts_of(request), now_s()

    def answer(board: Board) -> T:
        chosen = choose(board, run).run
        front = frozenset[str]() if chosen is None else fronts.results(board, chosen, now).genomes
        return question(board, chosen, query, front)

    try:
        return await read(request, answer)
    except FilterError as error:
        raise RefusedError(str(error)) from error


async def _rows(request: Request) -> Response:
    """One page of the table, with the names that it may be sorted and filtered by."""

    def question(board: Board, run: RunHead | None, query: Query, front: frozenset[str]) -> object:
        return {
            **msgspec.to_builtins(page_of(board, run, query, front)),
            "objectives": [] if run is None else msgspec.to_builtins(run.objectives),
            "names": known_names(board, run),
            "run": None if run is None else run.id,
        }

    # A cursor is given back as it was, so it must not be cut.
    return json(plain(await _ask(request, question), limit=_LONGEST))


async def _count(request: Request) -> Response:
    """How many rows there are and match; where none does, what to drop."""
    return json(plain(await _ask(request, count)))


async def _genome(request: Request) -> Response:
    given = request.path_params["id"]
    now = now_s()
    found = await read(request, lambda board: genome_detail(board, resolve(board, given), now))
    return json(plain(found, limit=_DETAIL))


async def _export(request: Request) -> Response:
    """What `eqmesh genome export` writes, as a file."""
    given = request.path_params["id"]
    found = await read(request, lambda board: document(board, resolve(board, given)))
    answer = json(found)
    answer.headers["Content-Disposition"] = f'attachment; filename="{str(found["genome"])[:12]}.json"'
    return answer


async def _training(request: Request) -> Response:
    number = request.path_params["number"]
    if number >= 2**63:
        raise NotFoundError(f"there is no evaluation {number}.")
    return json(plain(await read(request, lambda board: training(board, number))))


routes = [
    Route("/genomes", _page),
    Route("/genome/{id}", _genome_page),
    Route("/api/genomes", _rows),
    Route("/api/genomes/count", _count),
    Route("/api/genome/{id}", _genome),
    Route("/api/genome/{id}/export", _export),
    Route("/api/evaluation/{number:int}/training", _training),
]
