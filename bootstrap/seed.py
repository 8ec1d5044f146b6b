"""A node with search off: it introduces peers to each other and holds records of the DHT, nothing else."""

from collections.abc import Awaitable, Callable

import trio

from node.protocol.questions import No
from node.protocol.wire import encode
from node.transports.base import Status, Transport

__all__ = ["Seed", "serve"]

_STATUS_S = 2.0


class Seed:
    """Answers nothing: a bootstrap node has no results, and no opinion of those of others."""

    async def announced(self, peer: str, topic: str, body: bytes) -> None:
        """A seed follows no topic."""

    async def requested(self, peer: str, body: bytes) -> bytes:  # noqa: ARG002 - whatever is asked
        """Say that there is nothing here."""
        return encode(No(why="this is a bootstrap node: it knows peers, not results"))


async def serve(transport: Transport, told: Callable[[Status], None]) -> None:
    """Serve until cancelled, telling of the transport's state at the start and at each change.

    Raises TransportError where it cannot start.
    """
    async with trio.open_nursery() as nursery:

        async def ready() -> None:
            nursery.start_soon(_watch, transport, told)

        served: Callable[[], Awaitable[None]] = ready
        await transport.serve(Seed(), served)


async def _watch(transport: Transport, told: Callable[[Status], None]) -> None:
    before: tuple[object, ...] = ()
    while True:
        status = transport.status()
        seen = (status.reachability, status.trouble, len(status.peers), status.addresses)
        if seen != before:
            before = seen
            told(status)
        await trio.sleep(_STATUS_S)
