"""The front of a node on a mesh: own results and confirmed claims, and beside it what is not confirmed yet. Pure."""

from collections.abc import Iterable, Mapping, Sequence
from typing import Literal

from node.mesh.judge import Judge, Values

__all__ = ["Front"]

MOST_MEMBERS = 256
"""Rows of each tier that are hosted as parents."""


class Front:
    """Rows that nothing dominates. What is provisional is kept apart: it dominates nothing and displaces nobody."""

    def __init__(self, judge: Judge) -> None:
        self._judge = judge
        self._own: dict[str, Values] = {}
        self._confirmed: dict[str, tuple[str, Values]] = {}
        self._provisional: dict[str, tuple[str, Values]] = {}
        self._rows: list[Values] | None = None

    def measured(self, genome: str, values: Values) -> bool:
        """Take in a result of this node; whether it stands on the front now."""
        others = [row for name, row in self._own.items() if name != genome]
        if not self._judge.enters(values, others):
            return False
        self._own = {
            name: row for name, row in self._own.items() if not self._judge.dominates(values, row)
        } | {genome: values}
        self._rows = None
        return self._judge.enters(values, [row for _, row in self._confirmed.values()])

    def own(self, genome: str) -> Values | None:
        """The values of an own genome that no other own one dominates."""
        return self._own.get(genome)

    def stands(self, genome: str) -> bool:
        """Whether an own genome is on the front still, confirmed claims included."""
        row = self._own.get(genome)
        return row is not None and not any(
            self._judge.dominates(other, row) for _, other in self._confirmed.values()
        )

    def update(
        self, confirmed: Mapping[str, tuple[str, Values]], provisional: Mapping[str, tuple[str, Values]]
    ) -> list[str]:
        """Take what is believed now (genome and values by claim); gives the confirmed claims that it has no use for."""
        own = list(self._own.values())
        best: dict[str, tuple[str, Values]] = {}
        for claim, (genome, row) in confirmed.items():
            others = own + [other for name, (_, other) in confirmed.items() if name != claim]
            if any(self._judge.dominates(other, row) for other in others):
                continue
            # Several peers may claim one genome, with seeds of their own: equal rows stand once.
            if not any(other == row for _, other in best.values()):
                best[claim] = (genome, row)
        self._confirmed = best
        self._rows = None
        rows = self.confirmed_rows()
        self._provisional = {
            claim: (genome, row)
            for claim, (genome, row) in provisional.items()
            if self._judge.enters(row, rows)
        }
        return [claim for claim in confirmed if claim not in best]

    def confirmed_rows(self) -> Sequence[Values]:
        """Values of all own and confirmed rows that nothing dominates."""
        if self._rows is None:
            found = [*self._own.values(), *(row for _, row in self._confirmed.values())]
            self._rows = [
                row for row in found if not any(self._judge.dominates(other, row) for other in found)
            ]
        return self._rows

    def guests(self, kind: Literal["confirmed", "provisional"]) -> Iterable[tuple[str, Values]]:
        """Genome and values of the peers' rows of one tier, the latest few hundred."""
        rows = self._confirmed if kind == "confirmed" else self._provisional
        return list(rows.values())[-MOST_MEMBERS:]

    def confirmed_claims(self) -> Sequence[str]:
        """The confirmed claims of others that stand."""
        return list(self._confirmed)

    def genomes(self) -> frozenset[str]:
        """Genomes of own results and confirmed claims; no own result dominates another, nor does a claim."""
        return frozenset(self._own) | {genome for genome, _ in self._confirmed.values()}
