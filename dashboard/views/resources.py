"""What the machine does and the store takes, sampled when somebody asks."""

import anyio.to_thread
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from dashboard.context import context_of, json, page, read
from dashboard.machine import machine
from dashboard.plain import now_s, plain
from node.store.board import Board
from node.store.board.resources import calibrations, pace, per_hour, store_size

__all__ = ["routes"]


async def _page(request: Request) -> Response:
    return await page(request, "resources.html")


async def _machine(request: Request) -> Response:
    """One sample of this machine. Two of them give the share of CPU in between."""
    sample = await anyio.to_thread.run_sync(machine, limiter=context_of(request).limiter)
    return json({"at": now_s(), "machine": plain(sample)})


async def _store(request: Request) -> Response:
    """Sizes, rows, pace and calibrations: all that is read off the store."""

    def ask(board: Board) -> object:
        found = pace(board)
        return {
            "size": store_size(board),
            "pace": found,
            "per_hour": per_hour(found.marks),
            "calibrations": [{"run": run, "calibration": each} for run, each in calibrations(board)],
        }

    return json({"now": now_s(), **plain_of(await read(request, ask))})


def plain_of(value: object) -> dict[str, object]:
    """A mapping as plain values."""
    found = plain(value)
    assert isinstance(found, dict)
    return found


routes = [
    Route("/resources", _page),
    Route("/api/resources/machine", _machine),
    Route("/api/resources/store", _store),
]
