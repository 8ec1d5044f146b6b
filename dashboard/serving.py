"""Runs the application on a socket until it is told to end."""

import asyncio
import socket
from pathlib import Path

import uvicorn

from dashboard.app import make_app
from dashboard.guard import Guard

__all__ = ["Guard", "address_of", "run", "settings"]

# A client may hold a connection for its stream and a few for its questions.
_MOST_CONNECTIONS = 256
_MOST_HEADER_BYTES = 16 * 1024


def address_of(guard: Guard, listen: str) -> str:
    """The address to open, its token included."""
    names = sorted(guard.hosts)
    mine = f"127.0.0.1:{guard.port}" if listen != "::1" else f"[::1]:{guard.port}"
    return f"http://{mine if mine in names else names[0]}/?token={guard.token}"


def settings(store: Path, guard: Guard) -> uvicorn.Config:
    """The server's settings: HTTP/1.1 alone, short waits, bounded headers and connections, no log of addresses."""
    return uvicorn.Config(
        make_app(store, guard),
        http="h11",
        ws="none",
        loop="asyncio",
        log_config=None,
        access_log=False,
        server_header=False,
        date_header=True,
        proxy_headers=False,
        limit_concurrency=_MOST_CONNECTIONS,
        h11_max_incomplete_event_size=_MOST_HEADER_BYTES,
        timeout_keep_alive=15,
        timeout_graceful_shutdown=2,
    )


class Server(uvicorn.Server):
    """A server whose streams end when it is told to."""

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        """Let the streams end first: they would be waited for otherwise."""
        app = self.config.app
        assert not isinstance(app, str)
        context = app.state.context  # type: ignore[union-attr]
        context.live.close()
        context.lab.release()
        await super().shutdown(sockets)


def run(store: Path, guard: Guard, bound: socket.socket) -> None:
    """Serve on a bound socket until Ctrl-C or SIGTERM."""
    server = Server(settings(store, guard))
    asyncio.run(server.serve([bound]))
