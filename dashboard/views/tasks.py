"""The tasks of a store and their runs."""

from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from dashboard.context import json, page, read
from dashboard.plain import plain
from node.store.board.resources import task_lines

__all__ = ["routes"]


async def _page(request: Request) -> Response:
    return await page(request, "tasks.html")


async def _tasks(request: Request) -> Response:
    return json({"tasks": plain(await read(request, task_lines))})


routes = [Route("/tasks", _page), Route("/api/tasks", _tasks)]
