"""Writes what peers signed and what this node came to believe, through the one writer of the store."""

from collections.abc import Iterable, Mapping, Sequence

from genome import Birth, Genome
from node.store.rows import FindingRow, SignedRow
from node.store.writer import Writer

__all__ = ["BeliefWriter"]

_SIGNED = SignedRow.__struct_fields__
_FINDING = FindingRow.__struct_fields__


class BeliefWriter:
    """The tables of the mesh. What belongs together goes in whole or not at all. Raises StoreError."""

    def __init__(self, writer: Writer) -> None:
        self._writer = writer

    def keep(
        self,
        *,
        signed: Sequence[SignedRow] = (),
        events: Sequence[bytes] = (),
        genomes: Sequence[tuple[Genome, Birth | None]] = (),
        values: Mapping[bytes, Mapping[str, float]] | None = None,
        findings: Sequence[FindingRow] = (),
        log: Sequence[tuple[str, dict[str, object]]] = (),
    ) -> None:
        """Write all of this in one transaction: records, events of trust, genomes, values, findings, log lines."""
        execute = self._writer.connection.executemany
        with self._writer.transaction():
            execute(
                f"INSERT INTO signed ({', '.join(_SIGNED)}) VALUES ({', '.join('?' * len(_SIGNED))})"
                " ON CONFLICT DO NOTHING",
                [tuple(getattr(row, name) for name in _SIGNED) for row in signed],
            )
            execute("INSERT INTO belief (body) VALUES (?)", [(event,) for event in events])
            for genome, birth in genomes:
                self._writer.insert_genome(genome, birth)
            execute(
                "INSERT INTO valued (claim, name, value) VALUES (?, ?, ?)"
                " ON CONFLICT (claim, name) DO UPDATE SET value = excluded.value",
                [
                    (claim, name, value)
                    for claim, row in (values or {}).items()
                    for name, value in row.items()
                ],
            )
            execute(
                f"INSERT INTO finding ({', '.join(_FINDING)}) VALUES ({', '.join('?' * len(_FINDING))})",
                [tuple(getattr(row, name) for name in _FINDING) for row in findings],
            )
            for kind, body in log:
                self._writer.insert_event(kind, body)

    def fold(self, ledger: bytes) -> None:
        """Put the state of trust in place of the events that led to it."""
        connection = self._writer.connection
        with self._writer.transaction():
            (last,) = connection.execute(
                "SELECT max((SELECT coalesce(max(seq), 0) FROM belief), (SELECT coalesce(max(seq), 0) FROM ledger))"
            ).fetchone()
            connection.execute(
                "INSERT INTO ledger (one, seq, body) VALUES (1, ?, ?)"
                " ON CONFLICT (one) DO UPDATE SET seq = excluded.seq, body = excluded.body",
                (last, ledger),
            )
            connection.execute("DELETE FROM belief WHERE seq <= ?", (last,))

    def forget(self, ids: Iterable[bytes]) -> None:
        """Drop records that expired or that nobody needs, with what was found and reckoned for them."""
        rows = [(id_,) for id_ in ids]
        with self._writer.transaction():
            for table, column in (("signed", "id"), ("finding", "claim"), ("valued", "claim")):
                self._writer.connection.executemany(f"DELETE FROM {table} WHERE {column} = ?", rows)
