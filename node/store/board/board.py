"""One store opened read-only for the questions of one page."""

import sqlite3
import time
import types
from pathlib import Path
from typing import Literal, Self
from urllib.parse import quote

from node.errors import StoreError
from node.store.connection import APPLICATION_ID, newest_schema, open_reader

__all__ = ["Board", "BoardError", "Trouble"]

Trouble = Literal["missing", "newer", "older", "foreign", "busy"]
"""Why a store cannot be shown: no file, a schema newer or older than this eqmesh, no store at all, or in use."""

_BUSY_MS = 2_000
# Steps of SQLite's machine between two looks at the clock: some tenths of a millisecond.
_STEPS = 20_000


class BoardError(StoreError):
    """A store cannot be shown. `trouble` says which of the known states it is in."""

    def __init__(self, message: str, trouble: Trouble) -> None:
        super().__init__(message)
        self.trouble = trouble


class Board:
    """A short look at a store: `connection` is read-only, and a question that takes longer than `most_s` is given up.

    Use as a context manager, from one thread at a time. All that is asked within sees the store as it was at the
    first question, however much a search adds meanwhile. Raises BoardError.
    """

    def __init__(self, path: Path, *, most_s: float = 20.0) -> None:
        self.path = path
        self._most_s = most_s
        try:
            self.connection = open_reader(path)
        except StoreError as error:
            raise BoardError(str(error), trouble_of(path)) from error
        self.connection.execute(f"PRAGMA busy_timeout = {_BUSY_MS}")
        self.connection.execute("PRAGMA query_only = ON")
        until = time.monotonic() + most_s
        self.connection.set_progress_handler(lambda: time.monotonic() > until, _STEPS)

    def __enter__(self) -> Self:
        self.look()
        return self

    def look(self) -> None:
        """See the store as it is now: from the next question to the next look, what others write is not seen."""
        if self.connection.in_transaction:
            self.connection.execute("COMMIT")
        self.connection.execute("BEGIN")

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: types.TracebackType | None
    ) -> None:
        self.close()
        if isinstance(error, sqlite3.Error):
            raise BoardError(
                f"{self.path} could not be read: {error}. A question may take {self._most_s:g} s; try again when the "
                "disk is less busy.",
                "busy",
            ) from error

    def close(self) -> None:
        """Let go of the file."""
        self.connection.close()


def trouble_of(path: Path) -> Trouble:
    """Why the file at `path` does not open as a store of this eqmesh."""
    if not path.is_file():
        return "missing"
    try:
        connection = sqlite3.connect(f"file:{quote(str(path.resolve()))}?mode=ro", uri=True, timeout=1.0)
        try:
            (application,) = connection.execute("PRAGMA application_id").fetchone()
            (version,) = connection.execute("PRAGMA user_version").fetchone()
        finally:
            connection.close()
    except sqlite3.OperationalError:
        return "busy"
    except sqlite3.DatabaseError:
        return "foreign"
    if application != APPLICATION_ID:
        return "foreign"
    if version != newest_schema():
        return "newer" if version > newest_schema() else "older"
    return "busy"
