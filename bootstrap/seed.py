"""A node with search off: it introduces peers to each other and holds records of the DHT, nothing else."""

from collections.abc import Callable

import trio

from node.protocol.questions import No
from node.protocol.wire import encode
from node.transports.base import Status, Transport
from node.transports.watching import watch

__all__ = ["Seed", "serve"]


class Seed:
    """Answers nothing: a bootstrap node has no results, and no opinion of those of others."""

    async def announced(self, peer: str, topic: str, body: bytes) -> None:
        """A seed follows no topic."""

    async def requested(self, peer: str, body: bytes) -> bytes:  # noqa: ARG002 - whatever is asked
        """Say that there is nothing here."""
        return encode(No(why="this is a bootstrap node: it knows peers, not results"))


async def serve(transport: Transport, told: Callable[[Status], None], noted: Callable[[str], None]) -> None:
    """Serve until cancelled, telling of the transport's state at each change and of failures that were contained.

    Raises TransportError where it cannot start.
    """
    async with trio.open_nursery() as nursery:

        async def ready() -> None:
            nursery.start_soon(watch, transport, told, noted)

        await transport.serve(Seed(), ready)
