"""What peers announced and nobody has looked at yet: bounded queues, one for each source."""

from collections import deque
from collections.abc import Awaitable, Callable, Sequence

import trio

from node.logs import Log
from node.protocol.claims import Signed

__all__ = ["Arrivals"]

_QUEUE = 256
_SOURCES = 64
_OF_SOURCE = 32


class Arrivals:
    """Records that wait to be taken in by `take`; what finds no room is dropped, and catching up brings it again."""

    def __init__(self, take: Callable[[str, Sequence[Signed]], Awaitable[None]], log: Log) -> None:
        self._take = take
        self._log = log
        self._arrivals, self._arrived = trio.open_memory_channel[tuple[str, tuple[Signed, ...]]](_QUEUE)
        self._waiting: dict[str, deque[tuple[Signed, ...]]] = {}

    def __len__(self) -> int:
        return self._arrivals.statistics().current_buffer_used

    def put(self, source: str, records: tuple[Signed, ...]) -> None:
        """Let records that a source carried wait; returns at once."""
        try:
            self._arrivals.send_nowait((source, records))
        except trio.WouldBlock:
            self._log("announcement.dropped", peer=source)

    def get(self) -> tuple[str, tuple[Signed, ...]]:
        """The oldest that waits. Raises trio.WouldBlock where nothing does."""
        return self._arrived.receive_nowait()

    async def run(self) -> None:
        """Take in each source's records one by one, those of several sources side by side: a slow one waits alone."""
        async with trio.open_nursery() as nursery:
            async for source, records in self._arrived:
                waiting = self._waiting.get(source)
                if waiting is None and len(self._waiting) < _SOURCES:
                    self._waiting[source] = deque([records])
                    nursery.start_soon(self._take_from, source)
                elif waiting is not None and len(waiting) < _OF_SOURCE:
                    waiting.append(records)
                else:
                    self._log("announcement.dropped", peer=source)

    async def _take_from(self, source: str) -> None:
        waiting = self._waiting[source]
        try:
            while waiting:
                await self._take(source, waiting.popleft())
        finally:
            del self._waiting[source]
