"""Typed read-only queries: all that a dashboard or a command may see of a store."""

import types
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Self

import msgspec

from evaluator.jobs import Failure, Outcome, Result
from genome import Birth, Genome
from node.errors import NotFoundError
from node.store.connection import open_reader
from node.store.rows import BirthRow, EvaluationRow, EventRow, FindingRow, RunRow, SignedRow

__all__ = ["BirthRow", "EvaluationRow", "EventRow", "FindingRow", "Reader", "RunRow", "SignedRow"]

_PREFIX = 6


class Reader:
    """A store opened read-only. Use as a context manager. Raises StoreError, NotFoundError."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._connection = open_reader(path)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: types.TracebackType | None
    ) -> None:
        self._connection.close()

    def runs(self) -> list[RunRow]:
        """Every run, the one that was worked on last at the end."""
        rows = self._connection.execute(
            "SELECT run.id, seed, task, task_id, tier, space, strategy, arithmetic, settings, created_at,"
            " (SELECT count(*) FROM evaluation e WHERE e.run = run.id AND e.purpose IN ('baseline', 'search')),"
            " (SELECT count(*) FROM evaluation e WHERE e.run = run.id AND e.failure IS NOT NULL),"
            " (SELECT max(seq) FROM event WHERE kind IN ('run.started', 'run.resumed')"
            "   AND json_extract(body, '$.run') = run.id) AS touched"
            " FROM run ORDER BY touched, run.id"
        )
        names = RunRow.__struct_fields__
        return [RunRow(**dict(zip(names, row, strict=False))) for row in rows]

    def run(self, run: int | None = None) -> RunRow:
        """The run with this id, or the one worked on last."""
        rows = self.runs()
        found = rows[-1] if run is None and rows else next((row for row in rows if row.id == run), None)
        if found is None:
            if not rows:
                raise NotFoundError(f"{self.path} has no runs yet. `eqmesh search` begins one.")
            known = ", ".join(str(row.id) for row in rows)
            raise NotFoundError(f"{self.path} has no run {run}. Its runs: {known}.")
        return found

    def evaluations(
        self, *, run: int | None = None, task_id: str | None = None, arithmetic: str | None = None
    ) -> list[EvaluationRow]:
        """Finished evaluations in the order of finishing, of one run or of one task."""
        where: list[str] = ["1"]
        values: list[object] = []
        for column, value in (("run", run), ("task_id", task_id), ("arithmetic", arithmetic)):
            if value is not None:
                where.append(f"{column} = ?")
                values.append(value)
        return self._evaluations(" AND ".join(where), values)

    def evaluations_of(self, genome: str) -> list[EvaluationRow]:
        """Every finished evaluation of one genome."""
        return self._evaluations("genome = ?", [genome])

    def _evaluations(self, where: str, values: list[object]) -> list[EvaluationRow]:
        # Evaluations first: what a writer adds between the two queries then has objectives without a row, which
        # does no harm, and never a row without its objectives.
        rows = self._connection.execute(
            "SELECT id, run, ask, purpose, genome, task_id, seed, arithmetic, failure, detail, weights,"
            f" finished_at FROM evaluation WHERE {where} ORDER BY id",
            values,
        ).fetchall()
        objectives: dict[int, dict[str, float]] = {}
        for evaluation, name, value in self._connection.execute(
            "SELECT evaluation, name, value FROM objective JOIN evaluation e ON e.id = evaluation"
            f" WHERE {where}",
            values,
        ):
            objectives.setdefault(evaluation, {})[name] = value
        names = EvaluationRow.__struct_fields__
        return [
            EvaluationRow(**dict(zip(names, row, strict=False)), objectives=objectives.get(row[0], {}))
            for row in rows
        ]

    def result(self, evaluation: int) -> Result:
        """The whole outcome or failure, with curve and telemetry."""
        row = self._connection.execute("SELECT body FROM evaluation WHERE id = ?", (evaluation,)).fetchone()
        if row is None:
            raise NotFoundError(f"{self.path} has no evaluation {evaluation}")
        return msgspec.msgpack.decode(row[0], type=Outcome | Failure)

    def resolve(self, text: str) -> str:
        """The genome id that starts with `text` (at least six digits). Raises NotFoundError."""
        if len(text) < _PREFIX:
            raise NotFoundError(f"a genome is named by at least {_PREFIX} digits of its id, got {text!r}")
        rows = self._connection.execute(
            "SELECT id FROM genome WHERE id >= ? AND id < ? LIMIT 3", (text.lower(), text.lower() + "g")
        ).fetchall()
        if len(rows) != 1:
            few = "several genomes start" if rows else "no genome starts"
            raise NotFoundError(
                f"{few} with {text!r} in {self.path}. `eqmesh front` and `eqmesh lineage stats` list ids."
            )
        return str(rows[0][0])

    def genome(self, genome: str) -> Genome:
        """The genome with this whole id."""
        row = self._connection.execute("SELECT body FROM genome WHERE id = ?", (genome,)).fetchone()
        if row is None:
            raise NotFoundError(f"{self.path} has no genome {genome}")
        return Genome.decode(row[0])

    def genomes(self) -> dict[str, Genome]:
        """Every genome by id."""
        return {
            key: Genome.decode(body) for key, body in self._connection.execute("SELECT id, body FROM genome")
        }

    def births(self) -> Iterator[BirthRow]:
        """Every genome's first birth, in order."""
        for genome, operator, seed, first, second, born in self._connection.execute(
            "SELECT genome, operator, seed, parent1, parent2, min(born) AS at FROM birth GROUP BY genome ORDER BY at"
        ):
            parents = tuple(parent for parent in (first, second) if parent is not None)
            yield BirthRow(
                genome=genome, born=born, birth=Birth(parents=parents, operator=operator, seed=int(seed))
            )

    def imported(self, space: str) -> list[str]:
        """Ids of the genomes of one space that were imported, whether or not they had been born here before."""
        rows = self._connection.execute(
            "SELECT genome FROM birth JOIN genome ON genome.id = genome WHERE operator = 'import/1' AND space = ?"
            " ORDER BY born",
            (space,),
        )
        return [str(genome) for (genome,) in rows]

    def events(self, *, after: int = 0) -> list[EventRow]:
        """Events with a sequence above `after`."""
        rows = self._connection.execute(
            "SELECT seq, at, kind, body FROM event WHERE seq > ? ORDER BY seq", (after,)
        )
        return [EventRow(seq=seq, at=at, kind=kind, body=body) for seq, at, kind, body in rows]

    def queued(self, run: int) -> list[str]:
        """Ids of genomes that the owner queued in a run and that it has not evaluated, in the order of queueing."""
        rows = self._connection.execute(
            "SELECT json_extract(body, '$.genome') AS queued FROM event WHERE kind = 'genome.queued'"
            " AND json_extract(body, '$.run') = ? AND NOT EXISTS (SELECT 1 FROM evaluation"
            " WHERE run = ? AND purpose IN ('baseline', 'search') AND genome = queued) ORDER BY seq",
            (run, run),
        )
        return list(dict.fromkeys(str(genome) for (genome,) in rows))

    def signed(self, *, task: bytes | None = None, kind: str | None = None) -> Iterator[SignedRow]:
        """Records that peers signed, oldest first; of one task (its id, 32 bytes) or of one kind."""
        where, values = ["1"], list[object]()
        for column, value in (("task", task), ("kind", kind)):
            if value is not None:
                where.append(f"{column} = ?")
                values.append(value)
        return self._signed(f"{' AND '.join(where)} ORDER BY received_at, id", values)

    def signed_about(self, claim: bytes) -> Iterator[SignedRow]:
        """Attestations and accusations of a claim, oldest first."""
        return self._signed("about = ? ORDER BY received_at, id", [claim])

    def resolve_claim(self, text: str) -> SignedRow:
        """The claim whose id starts with `text` (at least six hexadecimal digits). Raises NotFoundError."""
        if len(text) < _PREFIX:
            raise NotFoundError(f"a claim is named by at least {_PREFIX} digits of its id, got {text!r}")
        rows = list(self._signed("kind = 'claim' AND lower(hex(id)) GLOB ? LIMIT 2", [f"{text.lower()}*"]))
        if len(rows) != 1:
            few = "several claims start" if rows else "no claim starts"
            raise NotFoundError(f"{few} with {text!r} in {self.path}. `eqmesh peers show` lists claims.")
        return rows[0]

    def signed_one(self, id_: bytes) -> SignedRow | None:
        """The record with this id."""
        return next(self._signed("id = ?", [id_]), None)

    def genome_bytes(self, genome: str) -> bytes | None:
        """Canonical bytes of a genome; None where the store does not have it."""
        row = self._connection.execute("SELECT body FROM genome WHERE id = ?", (genome,)).fetchone()
        return None if row is None else bytes(row[0])

    def _signed(self, where: str, values: list[object]) -> Iterator[SignedRow]:
        names = SignedRow.__struct_fields__
        for row in self._connection.execute(f"SELECT {', '.join(names)} FROM signed WHERE {where}", values):
            yield SignedRow(**dict(zip(names, row, strict=True)))

    def beliefs(self) -> tuple[bytes | None, list[bytes]]:
        """The last state of trust, and the events since then."""
        state = self._connection.execute("SELECT seq, body FROM ledger").fetchone()
        after, body = state or (0, None)
        events = self._connection.execute("SELECT body FROM belief WHERE seq > ? ORDER BY seq", (after,))
        return body, [event for (event,) in events]

    def findings(self, claim: bytes) -> list[FindingRow]:
        """What own checks of a claim found, oldest first."""
        names = FindingRow.__struct_fields__
        rows = self._connection.execute(
            f"SELECT {', '.join(names)} FROM finding WHERE claim = ? ORDER BY id", (claim,)
        )
        found = [FindingRow(**dict(zip(names, row, strict=True))) for row in rows]
        return [
            msgspec.structs.replace(row, passed=None if row.passed is None else bool(row.passed))
            for row in found
        ]

    def values(self) -> dict[bytes, dict[str, float]]:
        """What ranks the genome of each claim here, by claim."""
        found: dict[bytes, dict[str, float]] = {}
        for claim, name, value in self._connection.execute("SELECT claim, name, value FROM valued"):
            found.setdefault(claim, {})[name] = value
        return found

    def counts(self) -> Mapping[str, int]:
        """Rows of each table."""
        tables = ("run", "genome", "birth", "evaluation", "event", "signed", "belief", "finding", "valued")
        return {
            table: self._connection.execute(f"SELECT count(*) FROM {table}").fetchone()[0] for table in tables
        }
