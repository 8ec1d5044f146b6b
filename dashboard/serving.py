"""Runs the application on a socket until it is told to end."""

import asyncio
import socket
from pathlib import Path

import h11
import uvicorn
from uvicorn.protocols.http.h11_impl import H11Protocol

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
        http=_Protocol,
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


class _Protocol(H11Protocol):
    """HTTP/1.1 where bytes that are none get one answer at most, whatever the application is about to say."""

    def send_400_response(self, msg: str) -> None:
        """Refuse what came, unless an answer to its request has begun, and hang up.

        The protocol as it comes lets the application go on, and refuses after an answer too: each breaks the order that
        h11 keeps, and writes its traceback to the terminal at a stranger's wish.
        """
        if self.cycle is not None:
            # Whatever the application sends from now on is dropped, and what it waits for does not come.
            self.cycle.disconnected = True
            self.cycle.message_event.set()
        if self.conn.our_state in (h11.IDLE, h11.SEND_RESPONSE):
            super().send_400_response(msg)
        else:
            self.transport.close()


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
