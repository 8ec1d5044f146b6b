"""What a strategy is told, what it proposes, and what every strategy can do. Pure."""

import math
import random
from collections.abc import Mapping, Sequence, Set
from dataclasses import dataclass
from typing import Protocol

from genome.birth import Birth
from genome.genome import Genome

__all__ = ["ALONE", "Company", "Proposal", "Record", "Strategy"]


@dataclass(frozen=True)
class Proposal:
    """A genome to evaluate, and how it came to be."""

    genome: Genome
    birth: Birth


@dataclass(frozen=True)
class Record:
    """What became of a genome: its objectives by name, or None where the evaluation failed.

    `ask` is the number of the ask that proposed it; None for a guest, which was asked elsewhere.
    """

    genome: Genome
    objectives: Mapping[str, float] | None
    ask: int | None

    @property
    def usable(self) -> bool:
        """Whether the genome may become a parent: it did not fail, and all its objectives are finite."""
        return self.objectives is not None and all(map(math.isfinite, self.objectives.values()))


@dataclass(frozen=True)
class Company:
    """What others bring to one ask; a strategy keeps nothing of it, so nothing of it reaches the next ask.

    `guests` are usable records that `check` passed, of genomes that this strategy was never asked or told of: they
    compete with its own records for parenthood. `mate` competes with nobody: where the ask crosses two parents, it
    stands in for the second one. No genome with an id in `barred` is proposed.
    """

    guests: tuple[Record, ...] = ()
    mate: Genome | None = None
    barred: Set[str] = frozenset()


ALONE = Company()
"""Nobody: all that an ask sees is the strategy's own."""


class Strategy(Protocol):
    """Decides which genomes to evaluate next: a fold over what was asked, expected and told, in that order.

    It holds no generator and no clock, so the same sequence of calls, with generators in the same state, gives
    the same proposals.
    """

    def ask(self, rng: random.Random, n: int = 1, company: Company = ALONE) -> list[Proposal]:
        """Up to `n` proposals, none of which was told, is pending or barred; fewer once the space is exhausted.

        Never waits: with any number of proposals pending it goes on from the records that it has.
        """
        ...

    def parents(self, guests: Sequence[Record] = ()) -> tuple[Record, ...]:
        """Whom an ask in the company of these guests chooses among where it varies; empty if it never varies."""
        ...

    def check(self, record: Record) -> None:
        """Raise GenomeError for what `tell` refuses, and take nothing in."""
        ...

    def expect(self, proposals: Sequence[Proposal]) -> None:
        """Take these as asked, just as if `ask` had returned them: how a resumed run replays its record."""
        ...

    def tell(self, records: Sequence[Record]) -> None:
        """Take in finished evaluations, one by one and in order; one told as usable before changes nothing.

        A failed record counts as seen and never as a parent. Raises GenomeError for a record that lacks one
        of the objectives or belongs to another space.
        """
        ...
