"""Tells browsers when the store changes: twenty looks a second while somebody listens, and none otherwise."""

import asyncio
import math
import sqlite3
from collections import deque
from collections.abc import AsyncIterator, Callable
from pathlib import Path

import msgspec

from node.store.board import Board, BoardError
from node.store.board.runs import Counts, counts

__all__ = ["MOST_CLIENTS", "Client", "Live", "Notice", "frame", "mark"]

_EVERY_S = 0.05
_MISSING_S = 1.0
_SILENCE_S = 15.0
_QUEUE = 8
# Looks between two checks that the path still names the file that is open: about a second.
_SAME_FILE = 20

MOST_CLIENTS = 64
"""Browsers that one server tells of changes."""


class Notice(msgspec.Struct, frozen=True, kw_only=True):
    """One thing to tell: `change` with counts, or `gone` with a reason. `refetch` says that others were dropped."""

    event: str
    seq: int = 0
    counts: Counts | None = None
    why: str | None = None
    refetch: bool = False


def mark(found: Counts) -> str:
    """A short name of a store's state: equal for equal counts. It is the id of a server-sent event."""
    return "-".join(str(getattr(found, name)) for name in Counts.__struct_fields__)


def frame(notice: Notice) -> bytes:
    """One server-sent event."""
    body: dict[str, object] = {"seq": notice.seq}
    if notice.counts is not None:
        body["counts"] = msgspec.to_builtins(notice.counts)
    if notice.why is not None:
        body["why"] = notice.why
    if notice.refetch:
        body["refetch"] = True
    lines = [f"event: {notice.event}", f"data: {msgspec.json.encode(body).decode()}"]
    if notice.counts is not None:
        lines.insert(0, f"id: {mark(notice.counts)}")
    return ("\n".join(lines) + "\n\n").encode()


class Client:
    """One browser's queue. Where it reads too slowly the oldest notices go, and the next one says so."""

    def __init__(self) -> None:
        self._waiting: deque[Notice] = deque()
        self._dropped = False
        self._there = asyncio.Event()
        self.closed = False

    def put(self, notice: Notice) -> None:
        """Take in one notice; returns at once."""
        if len(self._waiting) == _QUEUE:
            self._waiting.popleft()
            self._dropped = True
        self._waiting.append(notice)
        self._there.set()

    def close(self) -> None:
        """Let the stream end."""
        self.closed = True
        self._there.set()

    async def next(self, silence_s: float = _SILENCE_S) -> Notice | None:
        """The next notice; None after so many seconds without one, or once the client is closed."""
        if not self._waiting and not self.closed:
            try:
                async with asyncio.timeout(silence_s):
                    await self._there.wait()
            except TimeoutError:
                return None
        self._there.clear()
        if not self._waiting:
            return None
        notice = self._waiting.popleft()
        if self._waiting:
            self._there.set()
        if self._dropped:
            self._dropped = False
            notice = msgspec.structs.replace(notice, refetch=True)
        return notice


def open_for_long(store: Path) -> Board:
    """A store opened to be followed: nothing is given up for the time it has been open."""
    return Board(store, most_s=math.inf)


class Live:
    """Follows one store and tells every client. `open_board` opens it; a test gives its own."""

    def __init__(self, store: Path, open_board: Callable[[Path], Board] = open_for_long) -> None:
        self._store = store
        self._open = open_board
        self._clients: set[Client] = set()
        self._task: asyncio.Task[None] | None = None
        self._board: Board | None = None
        self._file: tuple[int, int] | None = None
        self._version = -1
        self._looks = 0
        self._last: Notice | None = None
        self._closing = False

    @property
    def full(self) -> bool:
        """Whether as many browsers listen as may."""
        return len(self._clients) >= MOST_CLIENTS

    def close(self) -> None:
        """End every stream, so that the server can end."""
        self._closing = True
        for client in self._clients:
            client.close()
        if self._task is not None:
            self._task.cancel()
        self._let_go()

    async def stream(self, last: str | None) -> AsyncIterator[bytes]:
        """The events for one browser; `last` is the id of the last one that it saw.

        The first event comes at once: a browser that comes back after a pause is told of what it missed, and one
        that missed nothing learns that the stream is there.
        """
        client = Client()
        self._clients.add(client)
        try:
            if self._task is None or self._task.done():
                self._task = asyncio.create_task(self._follow())
            elif self._last is not None:
                client.put(self._last)
            yield b"retry: 1000\n\n"
            while not client.closed:
                notice = await client.next()
                if notice is None:
                    yield b": still here\n\n"
                elif last is not None and notice.counts is not None and mark(notice.counts) == last:
                    yield b": nothing missed\n\n"
                else:
                    yield frame(notice)
                last = None
        finally:
            self._clients.discard(client)
            if not self._clients and self._task is not None:
                self._task.cancel()
                self._task = None
                self._last = None
                self._let_go()

    async def _follow(self) -> None:
        while not self._closing:
            notice = self.look()
            if notice is not None and notice != self._last:
                self._last = notice
                for client in self._clients:
                    client.put(notice)
            await asyncio.sleep(_EVERY_S if self._board is not None else _MISSING_S)

    def look(self) -> Notice | None:
        """What is new since the last look; None for nothing. Some tens of microseconds where nothing is."""
        try:
            if self._board is None or not self._same_file():
                self._let_go()
                self._file = _identity(self._store)
                self._board = self._open(self._store)
            (version,) = self._board.connection.execute("PRAGMA data_version").fetchone()
            if version == self._version:
                return None
            found = counts(self._board)
            # Only now: of what could not be counted, the next look must know that it is new.
            self._version = version
        except BoardError as error:
            self._let_go()
            return Notice(event="gone", why=str(error))
        except sqlite3.Error as error:
            self._let_go()
            return Notice(event="gone", why=f"{self._store} could not be read: {error}")
        return Notice(event="change", seq=found.events, counts=found)

    def _same_file(self) -> bool:
        self._looks = (self._looks + 1) % _SAME_FILE
        return bool(self._looks) or _identity(self._store) == self._file

    def _let_go(self) -> None:
        if self._board is not None:
            self._board.close()
        self._board = None
        self._version = -1


def _identity(path: Path) -> tuple[int, int] | None:
    try:
        found = path.stat()
    except OSError:
        return None
    return found.st_dev, found.st_ino
