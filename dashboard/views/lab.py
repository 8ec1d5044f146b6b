"""The lab: a stream of what a small network does while it trains, and the orders that switch its settings."""

from collections.abc import AsyncIterator

import msgspec
from starlette.requests import Request
from starlette.responses import Response, StreamingResponse
from starlette.routing import Route

from dashboard.context import body_of, context_of, json, page
from dashboard.errors import RefusedError
from dashboard.plain import plain
from node.errors import NotFoundError
from node.lab import MOST_VIEWERS, Ended, Frame, Lab, LabError, controls, settings_of

__all__ = ["routes"]

_TAKER = "the lab"


class _Given(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Settings that the lab is to have."""

    settings: dict[str, object]


class _Pace(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Steps a second, 0 for a pause; `once` takes one step more."""

    steps_per_s: float
    once: bool = False


async def _page(request: Request) -> Response:
    return await page(request, "lab.html")


async def _about(request: Request) -> Response:
    """What the form is made from, and whether this client may use the lab."""
    return json({"allowed": _allowed(request), "settings": controls()})


async def _stream(request: Request) -> Response:
    """What the lab shows, for EventSource: events `frame`, and `ended` with a reason. Opening it starts the lab."""
    lab = _lab(request)
    if lab.full:
        raise RefusedError(f"{MOST_VIEWERS} pages watch the lab already. Close some.", 503)
    return StreamingResponse(
        _events(lab), media_type="text/event-stream", headers={"Cache-Control": "no-store"}
    )


async def _events(lab: Lab) -> AsyncIterator[bytes]:
    try:
        async for found in lab.watch():
            yield b": still here\n\n" if found is None else _event(found)
    except LabError as error:
        yield _event(Ended(why=str(error)))


def _event(found: Frame | Ended) -> bytes:
    if isinstance(found, Ended):
        return b"event: ended\ndata: " + msgspec.json.encode({"why": plain(found.why, limit=500)}) + b"\n\n"
    return b"event: frame\ndata: " + msgspec.json.encode(found) + b"\n\n"


async def _order(request: Request) -> Response:
    """Do what is asked: `set` or `restart` with settings, or `pace`. Raises RefusedError with the lab's own reason."""
    lab, name = _lab(request), request.path_params["order"]
    try:
        if name == "pace":
            pace = await body_of(request, _Pace, _TAKER)
            await lab.pace(pace.steps_per_s, once=pace.once)
        elif name in ("set", "restart"):
            settings = settings_of((await body_of(request, _Given, _TAKER)).settings)
            await (lab.set if name == "set" else lab.restart)(settings)
        else:
            raise NotFoundError(f"the lab does not know {name[:40]!r}. It takes set, restart and pace.")
    except LabError as error:
        raise RefusedError(str(error), 409) from error
    return json({"done": name})


def _allowed(request: Request) -> bool:
    return context_of(request).guard.takes_commands_of(request.client.host if request.client else None)


def _lab(request: Request) -> Lab:
    """The server's lab. Raises RefusedError for a client that may give no orders: the lab takes this machine's time."""
    if not _allowed(request):
        raise RefusedError(
            "this dashboard trains nothing for you: it can be reached from other machines. Start it with "
            "--allow-commands, or open it on its own machine.",
            403,
        )
    return context_of(request).lab


routes = [
    Route("/lab", _page),
    Route("/api/lab", _about),
    Route("/api/lab/stream", _stream),
    Route("/api/lab/{order}", _order, methods=["POST"]),
]
