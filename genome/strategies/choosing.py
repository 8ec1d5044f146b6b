"""Strategies by name. Pure."""

from collections.abc import Collection, Mapping, Sequence
from types import MappingProxyType

from genome.errors import GenomeError
from genome.pareto import Direction
from genome.quoting import hint, show
from genome.space import SearchSpace
from genome.strategies.base import Proposal, Strategy
from genome.strategies.ledger import Admits, anything
from genome.strategies.map_elites import MapElites
from genome.strategies.nsga2 import Nsga2
from genome.strategies.random import RandomSearch

__all__ = ["STRATEGIES", "make_strategy"]

STRATEGIES: Mapping[str, str] = MappingProxyType(
    {
        "random": "Uniformly drawn genomes: the baseline.",
        "nsga2": "Evolves the survivors of non-dominated sorting and crowding, steadily and without waiting.",
        "map_elites": "Evolves the best genome of each cell of a grid, for variety.",
    }
)
"""What each strategy does, by name."""


def make_strategy(
    name: str,
    space: SearchSpace,
    directions: Mapping[str, Direction],
    seeds: Sequence[Proposal] = (),
    *,
    population: int = 16,
    logarithmic: Collection[str] = (),
    admits: Admits = anything,
) -> Strategy:
    """The strategy of that name, which hands out `seeds` first.

    `directions` says of each objective whether it is to be large or small; map_elites makes the first one as good
    as it can in each cell. `population` is how many survivors nsga2 keeps, and how many genomes nsga2 and
    map_elites propose before they vary. nsga2 spreads its survivors over the logarithms of the objectives named in
    `logarithmic`. No genome is proposed that `admits` refuses. Raises GenomeError for an unknown name or
    direction, no objective, or a population below 2.
    """
    if not directions or not set(directions.values()) <= {"max", "min"}:
        raise GenomeError(
            "a strategy expects at least one objective with direction 'max' or 'min', got "
            f"{', '.join(f'{key}={show(value)}' for key, value in directions.items()) or 'none'}."
        )
    if isinstance(population, bool) or not isinstance(population, int) or not 2 <= population <= 4096:
        raise GenomeError(f"a strategy expects a population from 2 to 4096, got {show(population)}.")
    match name:
        case "random":
            return RandomSearch(space, directions, seeds, admits=admits)
        case "nsga2":
            return Nsga2(
                space, directions, seeds, population=population, logarithmic=logarithmic, admits=admits
            )
        case "map_elites":
            return MapElites(space, directions, seeds, population=population, admits=admits)
    raise GenomeError(
        f"a strategy expects one of {', '.join(STRATEGIES)}; got {show(name)}.{hint(name, STRATEGIES)}"
    )
