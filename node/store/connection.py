"""Open a store's SQLite file: for the one writer with its schema applied, or for a reader."""

import sqlite3
from importlib import resources
from pathlib import Path
from urllib.parse import quote

from node.errors import StoreError

__all__ = ["APPLICATION_ID", "newest_schema", "open_reader", "open_writer", "weights_folder_of"]

APPLICATION_ID = 0x65716D65  # "eqme": says that a SQLite file is a store of ours
_BUSY_S = 10.0


def open_writer(path: Path, *, durable: bool = True) -> sqlite3.Connection:
    """A connection that may write, WAL on, schema brought up to date; unless `durable`, it waits for no disk.

    Raises StoreError for a file that is no store, or one that a newer eqmesh wrote.
    """
    try:
        connection = sqlite3.connect(path, timeout=_BUSY_S, isolation_level=None, check_same_thread=False)
        try:
            _check(connection, path, empty=True)
            connection.execute("PRAGMA journal_mode = WAL")
            # What is recorded must outlast a power cut: one fsync an evaluation.
            connection.execute(f"PRAGMA synchronous = {'FULL' if durable else 'OFF'}")
            connection.execute("PRAGMA foreign_keys = ON")
            _migrate(connection)
        except BaseException:
            connection.close()
            raise
    except sqlite3.Error as error:
        raise StoreError(
            f"{path} cannot be opened as a store: {error}. Name another file with --store."
        ) from error
    return connection


def open_reader(path: Path) -> sqlite3.Connection:
    """A read-only connection to an existing store. Raises StoreError where there is none, or one of an older schema."""
    if not path.is_file():
        raise StoreError(f"there is no store at {path}. Run `eqmesh search` first, or name one with --store.")
    try:
        connection = sqlite3.connect(
            f"file:{quote(str(path.resolve()))}?mode=ro", uri=True, timeout=_BUSY_S, check_same_thread=False
        )
        try:
            _check(connection, path, empty=False)
            _check_up_to_date(connection, path)
        except BaseException:
            connection.close()
            raise
    except sqlite3.Error as error:
        raise StoreError(
            f"{path} cannot be read as a store: {error}. Name another file with --store."
        ) from error
    return connection


def weights_folder_of(store: Path) -> Path:
    """Where a store keeps weights, by content hash."""
    return store.with_name(f"{store.name}.weights")


def newest_schema() -> int:
    """Number of the newest schema file."""
    return max(number for number, _ in _scripts())


def _scripts() -> list[tuple[int, str]]:
    folder = resources.files("node.store.schema")
    files = sorted((f for f in folder.iterdir() if f.name.endswith(".sql")), key=lambda f: f.name)
    return [(int(f.name.removesuffix(".sql")), f.read_text(encoding="utf-8")) for f in files]


def _check(connection: sqlite3.Connection, path: Path, *, empty: bool) -> None:
    (application,) = connection.execute("PRAGMA application_id").fetchone()
    (version,) = connection.execute("PRAGMA user_version").fetchone()
    (tables,) = connection.execute("SELECT count(*) FROM sqlite_master").fetchone()
    if application != APPLICATION_ID and not (empty and tables == 0):
        raise StoreError(f"{path} must be a store of eqmesh, it is another database. Name another --store.")
    if version > newest_schema():
        raise StoreError(
            f"{path} has schema {version}, this eqmesh knows up to {newest_schema()}. Update eqmesh to open it."
        )


def _check_up_to_date(connection: sqlite3.Connection, path: Path) -> None:
    (version,) = connection.execute("PRAGMA user_version").fetchone()
    if version < newest_schema():
        raise StoreError(
            f"{path} has schema {version}, this eqmesh reads schema {newest_schema()}. The next search or node that "
            "goes on with it brings it up to date."
        )


def _migrate(connection: sqlite3.Connection) -> None:
    (version,) = connection.execute("PRAGMA user_version").fetchone()
    for number, script in _scripts():
        if number > version:
            connection.executescript(
                f"BEGIN IMMEDIATE;\n{script}\n"
                f"PRAGMA application_id = {APPLICATION_ID};\nPRAGMA user_version = {number};\nCOMMIT;"
            )
