"""What a strategy has asked and been told, and the proposals that are still new. Pure."""

import random
from collections.abc import Callable, Mapping, Sequence, Set

from genome.birth import Birth, replay
from genome.errors import GenomeError
from genome.genome import Genome
from genome.space import SearchSpace
from genome.strategies.base import Company, Proposal, Record

__all__ = ["Admits", "Ledger", "anything", "random_birth", "varied_birth"]

Admits = Callable[[Genome], bool]
"""Whether a genome may be proposed at all."""


def anything(genome: Genome) -> bool:  # noqa: ARG001 - the signature is that of Admits
    """Admit every genome."""
    return True


# Tries for a genome that is new, by the strategy's own births and then by random ones. Where all fail, the space
# is taken for exhausted: in one with m genomes left of N, that happens wrongly with (1 - m/N) ** 256.
_TRIES = 32
_RANDOM_TRIES = 256


class Ledger:
    """Ids seen by one strategy, the seeds to hand out first, and the search for births of new genomes."""

    def __init__(
        self,
        space: SearchSpace,
        seeds: Sequence[Proposal],
        objectives: Sequence[str],
        admits: Admits,
    ) -> None:
        for seed in seeds:
            space.check(seed.genome)
        self._space = space
        self._admits = admits
        self._seeds = tuple(seeds)
        self._objectives = tuple(objectives)
        self._seen: set[str] = set()
        self._settled: set[str] = set()

    def __len__(self) -> int:
        """How many different genomes were asked, expected or told."""
        return len(self._seen)

    def expect(self, proposals: Sequence[Proposal]) -> None:
        """Take the proposals as asked."""
        self._seen.update(proposal.genome.id for proposal in proposals)

    def fresh(self, record: Record) -> bool:
        """Take in a record; whether it tells of a usable genome for the first time."""
        self.check(record)
        self._seen.add(record.genome.id)
        if not record.usable or record.genome.id in self._settled:
            return False
        self._settled.add(record.genome.id)
        return True

    def ask(
        self,
        rng: random.Random,
        n: int,
        birth: Callable[[random.Random], Birth],
        parents: Sequence[Record],
        company: Company,
    ) -> list[Proposal]:
        """Up to `n` new proposals: the seeds first, then births that `birth` makes of `parents` and the mate."""
        known = {record.genome.id: record.genome for record in parents}
        if company.mate is not None:
            known[company.mate.id] = company.mate
        proposals: list[Proposal] = []
        while len(proposals) < n:
            proposal = self._seed(company.barred) or self._new(rng, birth, known, company.barred)
            if proposal is None:
                break
            self.expect([proposal])
            proposals.append(proposal)
        return proposals

    def check(self, record: Record) -> None:
        """Raise GenomeError for a record of another space, or one that lacks an objective."""
        self._space.check(record.genome)
        if record.objectives is None:
            return
        for name in self._objectives:
            if name not in record.objectives:
                raise GenomeError(
                    f"a record expects the objectives {', '.join(self._objectives)}; {record.genome.id} lacks "
                    f"{name!r}. Tell it as failed (objectives=None), or with all of them."
                )

    def _seed(self, barred: Set[str]) -> Proposal | None:
        return next((seed for seed in self._seeds if self._open(seed.genome, barred)), None)

    def _new(
        self,
        rng: random.Random,
        birth: Callable[[random.Random], Birth],
        parents: Mapping[str, Genome],
        barred: Set[str],
    ) -> Proposal | None:
        for attempt in range(_TRIES + _RANDOM_TRIES):
            chosen = birth(rng) if attempt < _TRIES else random_birth(rng)
            child = replay(chosen, self._space, parents)
            if self._open(child, barred):
                return Proposal(child, chosen)
        return None

    def _open(self, genome: Genome, barred: Set[str]) -> bool:
        return genome.id not in self._seen and genome.id not in barred and self._admits(genome)


def random_birth(rng: random.Random) -> Birth:
    """The birth of a random genome."""
    return Birth((), "random/1", rng.getrandbits(63))


def varied_birth(
    rng: random.Random, select: Callable[[random.Random], str], mate: Genome | None = None
) -> Birth:
    """As many crossovers of two selected parents as mutations, which also stand in where both parents are the same.

    A `mate` is the second parent of every crossover.
    """
    first = select(rng)
    if rng.randrange(2):
        second = select(rng) if mate is None else mate.id
        if second != first:
            return Birth((first, second), "cross/1", rng.getrandbits(63))
    return Birth((first,), "mutate/1", rng.getrandbits(63))
