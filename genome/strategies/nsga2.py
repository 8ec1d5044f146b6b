"""NSGA-II (Deb et al. 2002) in steady state: each record competes as it comes. Pure."""

import random
from collections.abc import Collection, Mapping, Sequence

from genome.birth import Birth
from genome.pareto import Direction, survival
from genome.space import SearchSpace
from genome.strategies.base import ALONE, Company, Proposal, Record
from genome.strategies.ledger import Admits, Ledger, anything, random_birth, varied_birth

__all__ = ["Nsga2"]

_RANDOM_SHARE = 16


class Nsga2:
    """Keeps the `population` best records by rank and crowding and varies them, chosen by binary tournament.

    There are no generations: a proposal is made from whatever has been told so far, so no straggler holds up the
    search. The first proposals, as many as the population, are seeds and random genomes; later one in
    sixteen is random, so that no gene's value is lost for good.
    """

    def __init__(
        self,
        space: SearchSpace,
        directions: Mapping[str, Direction],
        seeds: Sequence[Proposal] = (),
        *,
        population: int = 16,
        logarithmic: Collection[str] = (),
        admits: Admits = anything,
    ) -> None:
        self._ledger = Ledger(space, seeds, tuple(directions), admits)
        self._directions = dict(directions)
        self._population = population
        self._logarithmic = frozenset(logarithmic)
        self._survivors: list[Record] = []

    @property
    def survivors(self) -> tuple[Record, ...]:
        """The parents of what is asked next without guests, best first."""
        return tuple(self._survivors)

    def ask(self, rng: random.Random, n: int = 1, company: Company = ALONE) -> list[Proposal]:
        """Up to `n` new genomes."""
        parents = self.parents(company.guests)

        def select(rng: random.Random) -> str:
            # Parents stand in order, so the better of two is the one with the smaller index.
            size = len(parents)
            return parents[min(rng.randrange(size), rng.randrange(size))].genome.id

        def birth(rng: random.Random) -> Birth:
            starting = len(self._ledger) < self._population or not parents
            if starting or not rng.randrange(_RANDOM_SHARE):
                return random_birth(rng)
            return varied_birth(rng, select, company.mate)

        return self._ledger.ask(rng, n, birth, parents, company)

    def parents(self, guests: Sequence[Record] = ()) -> tuple[Record, ...]:
        """The `population` best of survivors and guests, best first; the survivors themselves stay as they are."""
        return tuple(self._fittest([*self._survivors, *guests]) if guests else self._survivors)

    def check(self, record: Record) -> None:
        """Raise GenomeError for what `tell` refuses."""
        self._ledger.check(record)

    def expect(self, proposals: Sequence[Proposal]) -> None:
        """Take the proposals as asked."""
        self._ledger.expect(proposals)

    def tell(self, records: Sequence[Record]) -> None:
        """Let each record compete with the survivors, one by one, so that the size of a batch changes nothing."""
        for record in records:
            if self._ledger.fresh(record):
                self._survivors = self._fittest([*self._survivors, record])

    def _fittest(self, rivals: Sequence[Record]) -> list[Record]:
        rows = [rival.objectives or {} for rival in rivals]
        return [rivals[i] for i in survival(rows, self._directions, self._population, self._logarithmic)]
