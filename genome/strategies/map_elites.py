"""MAP-Elites (Mouret & Clune 2015): the best genome of each cell of a grid. Pure."""

import math
import random
from collections.abc import Mapping, Sequence

from genome.birth import Birth
from genome.errors import GenomeError
from genome.genome import Genome
from genome.pareto import Direction
from genome.quoting import hint, show
from genome.space import SearchSpace
from genome.strategies.base import ALONE, Company, Proposal, Record
from genome.strategies.ledger import Admits, Ledger, anything, random_birth, varied_birth

__all__ = ["MapElites"]

Cell = tuple[int, ...]


class MapElites:
    """Keeps, in each cell of a grid over descriptors, the record that is best in the first objective.

    A descriptor is an objective, in bins of a factor of two, or a gene, one bin a level. Without `descriptors`
    they are the second and third objective; with a single objective, the first two genes that vary and are
    always expressed. Parents are drawn uniformly from the cells, once as many genomes as `population` are proposed.
    """

    def __init__(
        self,
        space: SearchSpace,
        directions: Mapping[str, Direction],
        seeds: Sequence[Proposal] = (),
        *,
        population: int = 16,
        descriptors: Sequence[str] | None = None,
        admits: Admits = anything,
    ) -> None:
        if not directions:
            raise GenomeError("map_elites expects at least one objective, got none.")
        self._space = space
        self._quality, self._direction = next(iter(directions.items()))
        self._descriptors = tuple(_default(space, directions) if descriptors is None else descriptors)
        for name in self._descriptors:
            if name not in directions and name not in space.by_name:
                known = (*directions, *space.by_name)
                raise GenomeError(
                    f"a descriptor expects an objective or a gene of space {space.id!r}, got {show(name)}."
                    f"{hint(name, known)}"
                )
        self._ledger = Ledger(space, seeds, tuple(directions), admits)
        self._objectives = frozenset(directions)
        self._population = population
        self._elites: dict[Cell, Record] = {}

    @property
    def descriptors(self) -> tuple[str, ...]:
        """Names of the axes of the grid."""
        return self._descriptors

    @property
    def elites(self) -> Mapping[Cell, Record]:
        """The best record of each cell that was reached, by the numbers of its bins."""
        return dict(sorted(self._elites.items()))

    def ask(self, rng: random.Random, n: int = 1, company: Company = ALONE) -> list[Proposal]:
        """Up to `n` new genomes."""
        parents = self.parents(company.guests)

        def birth(rng: random.Random) -> Birth:
            if not parents or len(self._ledger) < self._population:
                return random_birth(rng)
            return varied_birth(rng, lambda rng: parents[rng.randrange(len(parents))].genome.id, company.mate)

        return self._ledger.ask(rng, n, birth, parents, company)

    def parents(self, guests: Sequence[Record] = ()) -> tuple[Record, ...]:
        """The best of elites and guests in each cell; the elites themselves stay as they are."""
        cells = dict(self._elites)
        for guest in guests:
            self._place(cells, guest)
        # Sorted: the order in which cells were reached must not matter to a resumed run.
        return tuple(record for _, record in sorted(cells.items()))

    def check(self, record: Record) -> None:
        """Raise GenomeError for what `tell` refuses."""
        self._ledger.check(record)

    def expect(self, proposals: Sequence[Proposal]) -> None:
        """Take the proposals as asked."""
        self._ledger.expect(proposals)

    def tell(self, records: Sequence[Record]) -> None:
        """Put each record into its cell if that is empty or holds a worse one; of equals the first one stays."""
        for record in records:
            if self._ledger.fresh(record):
                self._place(self._elites, record)

    def _place(self, cells: dict[Cell, Record], record: Record) -> None:
        cell = self._cell(record)
        rival = cells.get(cell)
        if rival is None or self._value(record) > self._value(rival):
            cells[cell] = record

    def _value(self, record: Record) -> float:
        value = (record.objectives or {})[self._quality]
        return value if self._direction == "max" else -value

    def _cell(self, record: Record) -> Cell:
        objectives = record.objectives or {}
        return tuple(
            _octave(objectives[name]) if name in self._objectives else self._level(record.genome, name)
            for name in self._descriptors
        )

    def _level(self, genome: Genome, name: str) -> int:
        # -1: the gene is not expressed, a bin of its own.
        value = genome.get(name)
        return -1 if value is None else self._space.by_name[name].snap(value)


def _default(space: SearchSpace, directions: Mapping[str, Direction]) -> tuple[str, ...]:
    others = tuple(directions)[1:3]
    steady = (gene.name for gene in space.genes if gene.varied and not gene.when.genes)
    return others or tuple(steady)[:2]


def _octave(value: float) -> int:
    """Number of the value's bin, of which each spans a factor of two; all below 2^-1000 and negative ones share one."""
    # frexp is exact, where a logarithm could put a value on the edge into another bin on another machine.
    return max(-1000, math.frexp(value)[1]) if value > 0 else -1000
