"""The export page: one HTML file of a run, to keep or to send."""

import re

import anyio.to_thread
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from dashboard.context import asked_run, context_of, page, read
from dashboard.errors import RefusedError
from dashboard.report import Report, report_of
from dashboard.views.lineage import kinship_of
from node.store.board.runs import choose

__all__ = ["routes"]

_UNNAMED = re.compile(r"[^A-Za-z0-9._-]+")


async def _page(request: Request) -> Response:
    return await page(request, "export.html")


async def _file(request: Request) -> Response:
    """The file itself, as a download; `redact=off` leaves names in."""
    redact = request.query_params.get("redact", "on")
    if redact not in ("on", "off"):
        raise RefusedError(f"redact must be on or off, got {redact[:20]!r}")
    context, kinship, run = context_of(request), kinship_of(request), asked_run(request)
    head = await read(request, lambda board: choose(board, run).run)

    def make() -> Report:
        return report_of(context.store, run, redact=redact == "on", kinship=kinship)

    # Not by `read`, which gives a page's question up before a large file is made.
    made = await anyio.to_thread.run_sync(make, limiter=context.limiter)
    name = "imports" if head is None else f"{head.task}-run{head.id}"
    # A task's name may be a path of the person's own code: a file's name takes only what is plain.
    plain = _UNNAMED.sub("-", name.rsplit("/", 1)[-1])[:60].strip(".-") or "run"
    return Response(
        made.html,
        media_type="text/html",
        headers={"Content-Disposition": f'attachment; filename="eqmesh-{plain}.html"'},
    )


routes = [Route("/export", _page), Route("/export/file", _file)]
