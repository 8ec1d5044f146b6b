"""Random search: the seeds, then uniformly drawn genomes. Pure."""

import random
from collections.abc import Mapping, Sequence

from genome.pareto import Direction
from genome.space import SearchSpace
from genome.strategies.base import ALONE, Company, Proposal, Record
from genome.strategies.ledger import Admits, Ledger, anything, random_birth

__all__ = ["RandomSearch"]


class RandomSearch:
    """The baseline that every other strategy has to beat."""

    def __init__(
        self,
        space: SearchSpace,
        directions: Mapping[str, Direction],
        seeds: Sequence[Proposal] = (),
        *,
        admits: Admits = anything,
    ) -> None:
        self._ledger = Ledger(space, seeds, tuple(directions), admits)

    def ask(self, rng: random.Random, n: int = 1, company: Company = ALONE) -> list[Proposal]:
        """Up to `n` new genomes; guests change nothing, but what is barred is not among them."""
        return self._ledger.ask(rng, n, random_birth, (), company)

    def parents(self, guests: Sequence[Record] = ()) -> tuple[Record, ...]:  # noqa: ARG002 - the protocol's
        """Nobody: nothing is varied here."""
        return ()

    def check(self, record: Record) -> None:
        """Raise GenomeError for what `tell` refuses."""
        self._ledger.check(record)

    def expect(self, proposals: Sequence[Proposal]) -> None:
        """Take the proposals as asked."""
        self._ledger.expect(proposals)

    def tell(self, records: Sequence[Record]) -> None:
        """Take in finished evaluations: all that counts here is that they were seen."""
        for record in records:
            self._ledger.fresh(record)
