"""The application: every page and question, behind the guard."""

from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from pathlib import Path
from urllib.parse import quote

import msgspec
from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.middleware import Middleware
from starlette.middleware.gzip import GZipMiddleware
from starlette.requests import Request
from starlette.responses import Response, StreamingResponse
from starlette.routing import Mount, Route
from starlette.staticfiles import StaticFiles

from dashboard.context import Context, asked_run, body_of, context_of, error_page, json, read
from dashboard.errors import RefusedError, shown
from dashboard.guard import Guard, Guarded
from dashboard.live import MOST_CLIENTS, Live
from dashboard.node import ask_node
from dashboard.plain import plain
from dashboard.text import clean
from dashboard.views import (
    builder,
    compare,
    export,
    genomes,
    lab,
    lineage,
    overview,
    pareto,
    peers,
    resources,
    tasks,
)
from eqmesh import EqmeshError
from node.errors import NotFoundError
from node.orders import NodeState, Order, Pause, Queue, Refused, Resume, Status, Stop, Verify, control_path
from node.settings import identity_path
from node.store.board import Board
from node.store.board.events import MOST_EVENTS, events_since, newest_events
from node.store.board.search import genomes_from, peers_from, tasks_from

__all__ = ["make_app"]

_FOLDER = Path(__file__).parent
_VIEWS = (overview, pareto, lineage, genomes, compare, peers, tasks, resources, builder, lab, export)
_FOUND = 8
_PAGE_OF = {"genome": "/genome/{}", "peer": "/peer/{}", "task": "/tasks#{}"}

_ORDERS: Mapping[str, type[Order]] = {
    "pause": Pause,
    "resume": Resume,
    "stop": Stop,
    "verify": Verify,
    "queue": Queue,
}


def make_app(store: Path, guard: Guard, *, socket: Path | None = None) -> Starlette:
    """The application for one store. `socket` is the node's; left out, it is where a node of this store has it."""
    live = Live(store)
    context = Context(store, guard, live, socket or control_path(store, identity_path().parent))

    @asynccontextmanager
    async def lifespan(_: Starlette) -> AsyncIterator[None]:
        yield
        live.close()
        await context.lab.close()

    middleware = [Middleware(Guarded, guard=guard)]
    if not guard.local:
        middleware.append(Middleware(GZipMiddleware, minimum_size=1024))
    app = Starlette(
        routes=[*(route for view in _VIEWS for route in view.routes), *_own_routes()],
        middleware=middleware,
        exception_handlers={EqmeshError: _told, HTTPException: _told_plainly},
        lifespan=lifespan,
    )
    app.state.context = context
    return app


def _own_routes() -> list[Route | Mount]:
    return [
        Route("/events", _events),
        Route("/api/events", _api_events),
        Route("/api/search", _api_search),
        Route("/api/node", _api_node),
        Route("/command/{order}", _command, methods=["POST"]),
        Mount("/static", StaticFiles(directory=_FOLDER / "static"), name="static"),
    ]


async def _events(request: Request) -> Response:
    """The stream of changes, for EventSource."""
    live = context_of(request).live
    if live.full:
        raise RefusedError(f"{MOST_CLIENTS} pages listen already. Close some.", 503)
    # A page says in its address what it was made from; a stream that was cut says in a header what it saw last.
    stream = live.stream(request.headers.get("last-event-id") or request.query_params.get("last"))
    return StreamingResponse(stream, media_type="text/event-stream", headers={"Cache-Control": "no-store"})


async def _api_events(request: Request) -> Response:
    """Events as JSON: the newest first, or with `after` those since, the oldest first."""
    limit = _number(request, "limit", 50, most=MOST_EVENTS)
    after = _number(request, "after", -1)
    kinds = tuple(kind for kind in request.query_params.get("kinds", "").split(",")[:20] if kind)

    def ask(board: Board) -> object:
        rows = events_since(board, after, limit) if after >= 0 else newest_events(board, limit, kinds=kinds)
        return [
            {
                "seq": row.seq,
                "at": row.at,
                "kind": clean(row.kind, 60),
                "body": plain(msgspec.json.decode(row.body)),
            }
            for row in rows
        ]

    return json({"events": await read(request, ask)})


async def _api_search(request: Request) -> Response:
    """What begins with the text `q`: genomes, peers, tasks; a few of each."""
    text = request.query_params.get("q", "")[:100].strip()

    def ask(board: Board) -> dict[str, list[str]]:
        if not text:
            return {}
        return {
            "genome": genomes_from(board, text, _FOUND),
            "peer": peers_from(board, text, _FOUND),
            "task": tasks_from(board, text, _FOUND),
        }

    found = await read(request, ask)
    suffix = f"?run={asked}" if (asked := asked_run(request)) is not None else ""
    places = [
        {"kind": kind, "label": clean(name), "href": f"{_PAGE_OF[kind].format(quote(name, safe=''))}{suffix}"}
        for kind, names in found.items()
        for name in names
    ]
    return json({"found": places})


async def _api_node(request: Request) -> Response:
    """Whether a search or node of this store runs, and what it does."""
    context = context_of(request)
    answer = await ask_node(context.socket, Status())
    client = request.client.host if request.client else None
    state = answer if isinstance(answer, NodeState) else None
    return json(
        {"running": answer is not None, "commands": context.guard.takes_commands_of(client), "state": state}
    )


async def _command(request: Request) -> Response:
    """Give the node an order. Raises RefusedError for one that it does not know, may not be given or does not do."""
    context = context_of(request)
    if not context.guard.takes_commands_of(request.client.host if request.client else None):
        raise RefusedError(
            "this dashboard gives no orders to the node: it can be reached from other machines. Start it with "
            "--allow-commands, or use `eqmesh control` on the node's machine.",
            403,
        )
    order = await _order(request, request.path_params["order"])
    answer = await ask_node(context.socket, order)
    if answer is None:
        raise RefusedError(
            "no search or node runs on this store. Start one: `eqmesh search --store ...`.", 409
        )
    if isinstance(answer, Refused):
        raise RefusedError(answer.why, 409)
    return json(answer)


async def _order(request: Request, name: str) -> Order:
    kind = _ORDERS.get(name)
    if kind is None:
        raise NotFoundError(f"there is no command {name!r}. It is one of: {', '.join(_ORDERS)}.")
    return await body_of(request, kind, f"the command {name}")


def _number(request: Request, name: str, default: int, *, most: int = 2**53) -> int:
    text = request.query_params.get(name, "")
    if not text:
        return default
    if not text.isdecimal() or len(text) > 15:
        raise RefusedError(f"{name} must be a number from 0 to {most}, got {text[:40]!r}")
    return min(int(text), most)


async def _told(request: Request, error: Exception) -> Response:
    assert isinstance(error, EqmeshError)
    return _answer(request, error)


async def _told_plainly(request: Request, error: Exception) -> Response:
    assert isinstance(error, HTTPException)
    if error.status_code == 404:
        return _answer(
            request, NotFoundError(f"there is no page {request.url.path[:100]}. The rail lists them all.")
        )
    return _answer(request, RefusedError(error.detail, error.status_code))


def _answer(request: Request, error: EqmeshError) -> Response:
    """An error as JSON for programs, as a page for people."""
    if request.url.path.startswith(("/api/", "/command/", "/events", "/static/")):
        told = shown(error)
        return json({"error": told.text, "title": told.title, "next": told.next}, status=told.status)
    return error_page(request, error)
