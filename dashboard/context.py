"""What pages share: a question to the store in a thread, a page in its frame, JSON and columns."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

import anyio
import anyio.to_thread
import jinja2
import msgspec
from starlette.requests import Request
from starlette.responses import HTMLResponse, Response

from dashboard.columns import MEDIA_TYPE, Column, pack
from dashboard.errors import RefusedError, shown
from dashboard.guard import Guard
from dashboard.live import Live, mark
from dashboard.text import clean
from eqmesh import EqmeshError, __version__
from node.lab import Lab
from node.store.board import Board
from node.store.board.runs import Chosen, Counts, choose, counts

__all__ = [
    "NAVIGATION",
    "Context",
    "Place",
    "asked_run",
    "body_of",
    "columns",
    "context_of",
    "json",
    "page",
    "read",
]

T = TypeVar("T")

_FOLDER = Path(__file__).parent
# Questions at one time: each has a connection and a thread, and there are few cores to read with.
_AT_ONCE = 4


@dataclass(frozen=True)
class Place:
    """A page of the rail: its address, name, key (after `g`) and icon."""

    path: str
    name: str
    key: str
    icon: str


NAVIGATION: Mapping[str, tuple[Place, ...]] = {
    "Search": (
        Place("/", "Overview", "o", "overview"),
        Place("/pareto", "Pareto front", "p", "pareto"),
        Place("/lineage", "Lineage", "l", "lineage"),
        Place("/genomes", "Genomes", "g", "genomes"),
        Place("/compare", "Compare", "c", "compare"),
    ),
    "Network": (
        Place("/peers", "Peers", "n", "peers"),
        Place("/tasks", "Tasks", "t", "tasks"),
        Place("/resources", "Resources", "r", "resources"),
    ),
    "Make": (
        Place("/builder", "Builder", "b", "builder"),
        Place("/lab", "Lab", "", "lab"),
        Place("/export", "Export", "", "export"),
    ),
}
"""The rail: groups of pages."""


class Context:
    """What one server holds: the store's path, the guard, the live feed, the lab and the templates."""

    def __init__(self, store: Path, guard: Guard, live: Live, socket: Path) -> None:
        self.store = store
        self.guard = guard
        self.live = live
        self.lab = Lab()
        self.socket = socket
        self.limiter = anyio.CapacityLimiter(_AT_ONCE)
        self.templates = jinja2.Environment(
            loader=jinja2.FileSystemLoader(_FOLDER / "templates"),
            autoescape=True,
            undefined=jinja2.StrictUndefined,
        )
        self.templates.filters["clean"] = clean
        self._held: dict[type, object] = {}

    def held(self, kind: type[T]) -> T:
        """The one object of a kind that this server keeps between questions; made with the first one."""
        if kind not in self._held:
            self._held[kind] = kind()
        found = self._held[kind]
        assert isinstance(found, kind)
        return found


def context_of(request: Request) -> Context:
    """The context of the server that answers."""
    found = request.app.state.context
    assert isinstance(found, Context)
    return found


def asked_run(request: Request) -> int | None:
    """The run that the address asks for; None for the one worked on last. Raises RefusedError for what is no number."""
    text = request.query_params.get("run", "")
    if not text:
        return None
    if not text.isdecimal() or len(text) > 15:
        raise RefusedError(f"run must be the number of a run, got {clean(text, 40)!r}")
    return int(text)


async def read(request: Request, function: Callable[[Board], T]) -> T:
    """What `function` finds in the store: asked in a thread, on a connection of its own that is closed again.

    Raises BoardError where the store cannot be shown, which becomes the error page.
    """
    context = context_of(request)

    def ask() -> T:
        with Board(context.store) as board:
            return function(board)

    return await anyio.to_thread.run_sync(ask, limiter=context.limiter)


async def body_of(request: Request, kind: type[T], taker: str) -> T:
    """What the body of a request holds, as JSON. Raises RefusedError that begins with `taker`."""
    try:
        return msgspec.json.decode(await request.body() or b"{}", type=kind)
    except (ValueError, RecursionError) as error:
        raise RefusedError(f"{taker} was given something else than it takes: {error}") from error


def json(value: object, *, status: int = 200) -> Response:
    """A value as JSON; numbers that are not finite become null."""
    return Response(msgspec.json.encode(value), status, media_type="application/json")


def columns(columns: Mapping[str, Column], **extra: object) -> Response:
    """Columns of numbers, as `dashboard.columns` packs them."""
    return Response(pack(columns, **extra), media_type=MEDIA_TYPE)


async def page(request: Request, template: str, *, status: int = 200, **values: object) -> Response:
    """A page in its frame. The template also gets `shell`: store, runs, the run shown, counts and rail."""
    run = asked_run(request)

    def ask(board: Board) -> tuple[Chosen, Counts]:
        return choose(board, run), counts(board)

    chosen, found = await read(request, ask)
    return _render(request, template, status, chosen=chosen, counts=found, **values)


def error_page(request: Request, error: EqmeshError) -> Response:
    """The page of an error; it asks the store nothing."""
    told = shown(error)
    return _render(request, "error.html", told.status, chosen=None, counts=None, error=told)


# Any: what a template takes depends on the template.
def _render(request: Request, template: str, status: int, **values: Any) -> Response:
    context = context_of(request)
    chosen: Chosen | None = values.pop("chosen")
    found: Counts | None = values.pop("counts")
    shell = {
        "navigation": NAVIGATION,
        "path": request.url.path,
        "store": clean(context.store.name, 60),
        "store_path": clean(context.store, 300),
        "run": chosen.run if chosen else None,
        "runs": chosen.runs if chosen else (),
        "asked_run": request.query_params.get("run", "") if chosen else "",
        "counts": found,
        "mark": mark(found) if found else "",
        "commands": context.guard.takes_commands_of(request.client.host if request.client else None),
        "version": __version__,
    }
    text = context.templates.get_template(template).render(shell=shell, **values)
    return HTMLResponse(text, status)
