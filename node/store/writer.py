"""The one writer of a store: each evaluation goes in whole (genome, birth, result, event) or not at all."""

import fcntl
import os
import sqlite3
import types
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Self

import msgspec

from evaluator.jobs import Calibration, Failure, Result
from genome import Birth, Genome
from node.errors import StoreError
from node.store.connection import open_writer, weights_folder_of
from node.store.rows import EvaluationRow, RunSpec

__all__ = ["Writer"]

_json = msgspec.json.Encoder(order="deterministic")


class Writer:
    """Owns the file: an advisory lock keeps a second writer out, also after a crash of the first.

    `now` gives seconds since the epoch. Without `durable` a power cut may lose what was written last: for stores that
    nobody keeps. Use as a context manager. Raises StoreError.
    """

    def __init__(self, path: Path, *, now: Callable[[], float], durable: bool = True) -> None:
        self.path = path
        self._now = now
        # By its real name: two names of one file must not have two writers.
        self._lock = _take_lock(path.resolve())
        try:
            self._connection = open_writer(path, durable=durable)
        except StoreError:
            os.close(self._lock)
            raise

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: types.TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """Fold the write-ahead log into the file and let go of it."""
        self._connection.close()
        os.close(self._lock)

    @property
    def weights_folder(self) -> Path:
        """Where this store keeps weights, by content hash."""
        return weights_folder_of(self.path)

    def weights_of_others(self, run: int) -> set[str]:
        """Hashes of the weights that evaluations of other runs left."""
        rows = self._connection.execute(
            "SELECT DISTINCT weights FROM evaluation WHERE run <> ? AND weights IS NOT NULL", (run,)
        )
        return {str(weights) for (weights,) in rows}

    def recorded_weights(self) -> set[str]:
        """Hashes of all weights that evaluations left."""
        rows = self._connection.execute("SELECT DISTINCT weights FROM evaluation WHERE weights IS NOT NULL")
        return {str(weights) for (weights,) in rows}

    def begin_run(self, spec: RunSpec) -> tuple[int, RunSpec]:
        """Id of the run with this specification, made if it is new, and the specification it began with."""
        row = self._connection.execute("SELECT id, settings FROM run WHERE key = ?", (spec.key,)).fetchone()
        if row is not None:
            with self.transaction():
                self.insert_event("run.resumed", {"run": row[0]})
            return int(row[0]), msgspec.json.decode(row[1], type=RunSpec)
        with self.transaction():
            cursor = self._connection.execute(
                "INSERT INTO run (key, seed, task, task_id, tier, space, strategy, arithmetic, settings, created_at)"
                " VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?)",
                (
                    spec.key,
                    spec.seed,
                    spec.task,
                    spec.task_id,
                    spec.tier,
                    spec.space,
                    spec.strategy,
                    spec.arithmetic,
                    _json.encode(spec).decode(),
                    self._now(),
                ),
            )
            self.insert_event("run.started", {"run": cursor.lastrowid, "task": spec.task, "seed": spec.seed})
        assert cursor.lastrowid is not None
        return cursor.lastrowid, spec

    def calibrate_run(self, run: int, calibration: Calibration) -> Calibration:
        """The calibration that this run predicts speeds by: its first one, whatever is measured later."""
        with self.transaction():
            self._connection.execute(
                "UPDATE run SET calibration = coalesce(calibration, ?) WHERE id = ?",
                (_json.encode(calibration).decode(), run),
            )
        (body,) = self._connection.execute("SELECT calibration FROM run WHERE id = ?", (run,)).fetchone()
        return msgspec.json.decode(body, type=Calibration)

    def record(
        self,
        run: int,
        ask: int,
        purpose: str,
        genome: Genome,
        birth: Birth | None,
        result: Result,
        guests: Sequence[Genome] = (),
    ) -> EvaluationRow:
        """Write one finished evaluation in one transaction, with the parents that only others have; gives its row.

        Raises StoreError where the file cannot be written.
        """
        row = EvaluationRow(
            id=self._next_evaluation(),
            run=run,
            ask=ask,
            purpose=purpose,
            genome=genome.id,
            task_id=result.task_id,
            seed=result.seed,
            arithmetic=result.arithmetic,
            failure=result.kind if isinstance(result, Failure) else None,
            detail=result.detail if isinstance(result, Failure) else None,
            weights=None if isinstance(result, Failure) else result.weights or None,
            finished_at=self._now(),
            objectives={} if isinstance(result, Failure) else dict(result.objectives),
        )
        columns = [name for name in EvaluationRow.__struct_fields__ if name != "objectives"]
        with self.transaction():
            for guest in guests:
                self.insert_genome(guest, None)
            self.insert_genome(genome, birth)
            self._connection.execute(
                f"INSERT INTO evaluation ({', '.join(columns)}, body)"
                f" VALUES ({', '.join('?' * len(columns))}, ?)",
                (*(getattr(row, name) for name in columns), msgspec.msgpack.encode(result)),
            )
            self._connection.executemany(
                "INSERT INTO objective (evaluation, name, value) VALUES (?, ?, ?)",
                [(row.id, name, value) for name, value in row.objectives.items()],
            )
            self.insert_event(
                "evaluation.failed" if row.failure else "evaluation.finished",
                {
                    "run": run,
                    "evaluation": row.id,
                    "ask": ask,
                    "purpose": purpose,
                    "genome": genome.id,
                    **({"failure": row.failure} if row.failure else {"objectives": row.objectives}),
                },
            )
        return row

    def _next_evaluation(self) -> int:
        (last,) = self._connection.execute("SELECT coalesce(max(id), 0) FROM evaluation").fetchone()
        return int(last) + 1

    def import_genome(self, genome: Genome, birth: Birth) -> bool:
        """Take in a genome that was made elsewhere; False if the store has it already."""
        with self.transaction():
            new = self.insert_genome(genome, birth)
            if new:
                self.insert_event("genome.imported", {"genome": genome.id, "space": genome.space})
        return new

    def event(self, kind: str, body: dict[str, object]) -> None:
        """Append one event."""
        with self.transaction():
            self.insert_event(kind, body)

    def insert_genome(self, genome: Genome, birth: Birth | None) -> bool:
        """Within a transaction: file a genome and its birth; whether the genome is new here."""
        cursor = self._connection.execute(
            "INSERT INTO genome (id, space, body) VALUES (?, ?, ?) ON CONFLICT DO NOTHING",
            (genome.id, genome.space, genome.canonical()),
        )
        if birth is not None:
            parents = (*birth.parents, None, None)[:2]
            self._connection.execute(
                "INSERT INTO birth (genome, operator, seed, parent1, parent2, born)"
                " VALUES (?, ?, ?, ?, ?, (SELECT coalesce(max(born), 0) + 1 FROM birth)) ON CONFLICT DO NOTHING",
                (genome.id, birth.operator, str(birth.seed), *parents),
            )
        return cursor.rowcount == 1

    def insert_event(self, kind: str, body: dict[str, object]) -> None:
        """Within a transaction: append one event."""
        self._connection.execute(
            "INSERT INTO event (at, kind, body) VALUES (?, ?, ?)",
            (self._now(), kind, _json.encode(body).decode()),
        )

    def transaction(self) -> "_Transaction":
        """All that is written in this block, or nothing of it."""
        return _Transaction(self._connection, self.path)

    @property
    def connection(self) -> sqlite3.Connection:
        """The one connection that writes, for the other tables of this package."""
        return self._connection

    def now(self) -> float:
        """Seconds since the epoch, as they go into the record."""
        return self._now()


class _Transaction:
    """BEGIN IMMEDIATE .. COMMIT, or ROLLBACK where the block raises; SQLite's errors become StoreError."""

    def __init__(self, connection: sqlite3.Connection, path: Path) -> None:
        self._connection = connection
        self._path = path

    def __enter__(self) -> None:
        self._do("BEGIN IMMEDIATE")

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: types.TracebackType | None
    ) -> None:
        if kind is None:
            self._do("COMMIT")
            return
        # A full disk may have rolled back already.
        if self._connection.in_transaction:
            self._connection.execute("ROLLBACK")
        if isinstance(error, sqlite3.Error):
            raise self._trouble(error) from error

    def _do(self, statement: str) -> None:
        try:
            self._connection.execute(statement)
        except sqlite3.Error as error:
            raise self._trouble(error) from error

    def _trouble(self, error: sqlite3.Error) -> StoreError:
        return StoreError(
            f"{self._path} cannot be written: {error}. What was recorded before stays; make room, or give the "
            "right to write, and run the same command again."
        )


def _take_lock(path: Path) -> int:
    """An exclusive lock beside the store, which the kernel frees when this process ends."""
    if path.is_dir():
        raise StoreError(f"a store is a file, {path} is a folder. Name a file with --store.")
    if not path.parent.is_dir():
        raise StoreError(
            f"the store's folder must exist, {path.parent} does not. Make it, or name another --store."
        )
    try:
        lock = os.open(path.with_name(f"{path.name}.lock"), os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o644)
    except OSError as error:
        raise StoreError(
            f"{path} must lie where files can be written: {error.strerror}. Name another --store."
        ) from error
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError as error:
        os.close(lock)
        raise StoreError(
            f"{path} is being written by another eqmesh. Wait for it, stop it, or name another --store."
        ) from error
    return lock
