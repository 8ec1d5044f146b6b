"""`eqmesh dashboard` and `eqmesh top`: look at a store in a browser or in a terminal."""

import importlib
import os
import secrets
import socket
import types
import webbrowser
from pathlib import Path
from typing import Annotated

from cyclopts import Parameter

from dashboard.errors import DashboardError
from node import output
from node.settings import resolve

__all__ = ["export", "serve", "top"]

_BACKLOG = 128
_LAST_PORT = 65_535
_OF_THE_EXTRA = ("anyio", "h11", "jinja2", "starlette", "uvicorn")

StorePath = Annotated[
    Path | None, Parameter(name="--store", help="File that holds the record. [default: eqmesh.db]")
]


def serve(
    *,
    store: StorePath = None,
    port: Annotated[int, Parameter(name="--port", help="Port to listen at; 0 takes a free one.")] = 8765,
    listen: Annotated[
        str,
        Parameter(name="--listen", help="Address to listen at; beyond this machine only with --allow-host."),
    ] = "127.0.0.1",
    token: Annotated[
        str | None,
        Parameter(
            name="--token", help="Secret of this start, at least 16 characters. [default: a fresh one]"
        ),
    ] = None,
    allow_host: Annotated[
        list[str] | None,
        Parameter(
            name="--allow-host",
            negative="",
            help="Name by which others reach it, with its port unless that is --port; may be repeated.",
        ),
    ] = None,
    allow_commands: Annotated[
        bool,
        Parameter(
            name="--allow-commands", negative="", help="Let others than this machine give the node orders."
        ),
    ] = False,
    open_: Annotated[
        bool, Parameter(name="--open", negative="", help="Open it in the browser of this desktop.")
    ] = False,
) -> None:
    """Show a store in the browser: a running search's, a finished one's, or a copy.

    Prints the address with the token of this start, and serves until Ctrl-C. It reads the store and writes nothing.

    Example: eqmesh dashboard serve --store eqmesh.db
    """
    path = _store(store)
    secret = secrets.token_urlsafe(24) if token is None else token
    if len(secret) < 16 or not secret.isprintable() or not secret.isascii():
        raise DashboardError("--token takes at least 16 plain characters. Leave it out to have one made.")
    serving = _of_extra("dashboard.serving")
    with _bound(listen, port) as bound:
        actual = int(bound.getsockname()[1])
        guard = serving.Guard.of(
            listen, actual, secret, allowed=tuple(allow_host or ()), allow_commands=allow_commands
        )
        address = serving.address_of(guard, listen)
        output.write(address)
        if open_:
            webbrowser.open(address)
        serving.run(path, guard, bound)


def export(
    *,
    store: StorePath = None,
    file: Annotated[
        Path, Parameter(name=("--output", "-o"), help="File to write; one that is there is replaced.")
    ],
    run: Annotated[
        int | None, Parameter(name="--run", help="Number of a run. [default: the one worked on last]")
    ] = None,
    redact: Annotated[
        bool,
        Parameter(name="--redact", help="Leave out peer ids, paths, host names and the machine, or not."),
    ] = True,
) -> None:
    """Write one HTML file with the front, the lineage and every genome of a run, to keep or to send.

    It opens from disk in any present browser and loads nothing from elsewhere.

    Example: eqmesh dashboard export --store eqmesh.db --output run.html
    """
    made = _of_extra("dashboard.report").report_of(_store(store), run, redact=redact)
    file.write_text(made.html, encoding="utf-8")
    output.say(f"wrote {file}: {made.count} genomes, {made.size_bytes / 1000:.0f} kB")


def top(
    *,
    store: StorePath = None,
    once: Annotated[bool, Parameter(name="--once", negative="", help="Print it once and end.")] = False,
    json: Annotated[
        bool,
        Parameter(name="--json", negative="", show_default=False, help="Print the result as JSON, once."),
    ] = False,
) -> None:
    """Watch a store in the terminal: the run, the front, what happened last; once a second until Ctrl-C.

    Example: eqmesh top --once --store eqmesh.db
    """
    from dashboard.top import show  # noqa: PLC0415 - a server needs nothing of it

    show(_store(store), once=once, json=json)


def _store(given: Path | None) -> Path:
    return given or Path(resolve({}, folder=Path.cwd(), environ=os.environ).settings.store)


def _of_extra(module: str) -> types.ModuleType:
    """A module that needs packages of an extra, and up to 200 ms. Raises DashboardError where one is missing."""
    try:
        return importlib.import_module(module)
    except ModuleNotFoundError as error:
        if error.name not in _OF_THE_EXTRA:
            raise
        raise DashboardError(
            f"the dashboard needs the extra `dashboard` (package {error.name} is not installed). Install it with "
            "`pip install '.[dashboard]'` in its clone. `eqmesh top` and `eqmesh front` need none of it."
        ) from error


def _bound(address: str, port: int) -> socket.socket:
    if not 0 <= port <= _LAST_PORT:
        raise DashboardError(f"--port must lie in 0..{_LAST_PORT}, got {port}. 0 takes a free one.")
    family = socket.AF_INET6 if ":" in address else socket.AF_INET
    # With its protocol named, asyncio has it send at once; else the rest of an answer waits 40 ms for the first part's
    # acknowledgement.
    made = socket.socket(family, socket.SOCK_STREAM, socket.IPPROTO_TCP)
    try:
        made.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        made.bind((address.strip("[]"), port))
        # From now on a browser waits for its answer; it is not turned away while the server starts.
        made.listen(_BACKLOG)
    except OSError as error:
        made.close()
        raise DashboardError(
            f"the dashboard cannot listen at {address} port {port}: {error.strerror}. Name another --port; 0 takes a "
            "free one."
        ) from error
    return made
