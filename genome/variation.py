"""Variation: random genomes, mutation and crossover on the indices of levels. Pure.

The only file that imports deap, at the first call (it loads numpy). DEAP draws from Python's global generator;
each call here seeds that from the birth's seed and puts its former state back, so it is neither read nor moved for
others.
"""

import random
import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager

from genome.conditions import Value
from genome.genes import Choice, Gene
from genome.genome import Genome
from genome.space import SearchSpace

__all__ = ["cross", "draw", "mutate"]

# One move in four of an ordered gene is local: it spans an eighth of the table to either side, at least one level.
_LOCAL_MOVES = 4
_LOCAL_REACH = 8


def draw(space: SearchSpace, *, seed: int) -> Genome:
    """A genome whose expressed varied genes are uniform over their levels; the others take the first option."""
    with _global_generator(seed):
        fresh = _fresh(space)
        return space.genome(space.build(lambda gene: fresh[gene.name]))


def mutate(space: SearchSpace, parent: Genome, *, seed: int) -> Genome:
    """A child that differs from its parent: one gene moved for certain, each other with probability 1 / genes.

    A quarter of the moves of an ordered gene stay near its level, the others go anywhere. Genes that are not moved
    keep the parent's exact value; those that only now are expressed are drawn uniformly. A space in which
    nothing can move gives the parent back.
    """
    with _global_generator(seed):
        fresh = _fresh(space)
        values = dict(parent.values)
        return _grow(space, {**values, **_moved(space, values, certain=True)}, fresh)


def cross(space: SearchSpace, first: Genome, second: Genome, *, seed: int) -> Genome:
    """A child with each gene from either parent by a coin, then lightly mutated.

    Genes that never vary come from the first parent. A gene that only one parent has comes from that one;
    one that neither has is drawn uniformly. A child that equals a parent is mutated for certain.
    """
    from deap import tools  # noqa: PLC0415

    with _global_generator(seed):
        fresh = _fresh(space)
        names = [
            gene.name for gene in space.genes if gene.varied and (gene.name in first or gene.name in second)
        ]
        # What is crossed is the parent that each gene comes from, so that values off the grid stay exact.
        source, _ = tools.cxUniform([first] * len(names), [second] * len(names), 0.5)
        other = {first: second, second: first}
        values = {**dict(second.values), **dict(first.values)}
        for name, parent in zip(names, source, strict=True):
            values[name] = parent[name] if name in parent else other[parent][name]
        child = _grow(space, values, fresh)
        values = {**values, **dict(child.values)}
        moved = _moved(space, dict(child.values), certain=child in (first, second))
        return _grow(space, {**values, **moved}, fresh)


_turn = threading.Lock()


@contextmanager
def _global_generator(seed: int) -> Iterator[None]:
    """Python's global generator, seeded, and restored whatever happens; one thread at a time."""
    with _turn:
        before = random.getstate()
        random.seed(seed)  # noqa: TID251 - DEAP takes no other generator
        try:
            yield
        finally:
            random.setstate(before)


def _fresh(space: SearchSpace) -> dict[str, Value]:
    """A uniformly drawn value for every varied gene, the first option for the others."""
    from deap import tools  # noqa: PLC0415

    tops = [len(gene.table) - 1 if gene.varied else 0 for gene in space.genes]
    (indices,) = tools.mutUniformInt([0] * len(tops), 0, tops, 1.0)
    return {gene.name: gene.table[index] for gene, index in zip(space.genes, indices, strict=True)}


def _grow(space: SearchSpace, values: Mapping[str, Value], fresh: Mapping[str, Value]) -> Genome:
    return space.genome(
        space.build(lambda gene: values[gene.name] if gene.name in values else fresh[gene.name])
    )


def _moved(space: SearchSpace, values: Mapping[str, Value], *, certain: bool) -> dict[str, Value]:
    """The genes of `values` that mutation moves, with their new values."""
    from deap import tools  # noqa: PLC0415

    movable = [gene for gene in space.genes if gene.name in values and gene.varied and len(gene.table) > 1]
    if not movable:
        return {}
    before = [gene.snap(values[gene.name]) for gene in movable]
    near = tools.mutUniformInt([0] * len(movable), 0, 1, 1.0)[0]
    windows = [
        _window(gene, at, near=bool(coin)) for gene, at, coin in zip(movable, before, near, strict=True)
    ]
    lows, highs = [low for low, _ in windows], [high for _, high in windows]
    (after,) = tools.mutUniformInt(list(before), lows, highs, 1 / len(movable))
    if certain:
        ((which,),) = tools.mutUniformInt([0], 0, len(movable) - 1, 1.0)
        after[which] = _elsewhere(before[which], lows[which], highs[which])
    return {
        gene.name: gene.table[new]
        for gene, old, new in zip(movable, before, after, strict=True)
        if new != old
    }


def _window(gene: Gene, at: int, *, near: bool) -> tuple[int, int]:
    """Lowest and highest index that a move from `at` may reach; options have no order, so no neighbours."""
    top = len(gene.table) - 1
    if isinstance(gene, Choice) or not near:
        return 0, top
    reach = max(1, len(gene.table) // _LOCAL_REACH)
    return max(0, at - reach), min(top, at + reach)


def _elsewhere(at: int, low: int, high: int) -> int:
    """A uniform index of the window other than `at`."""
    from deap import tools  # noqa: PLC0415

    index = int(tools.mutUniformInt([0], low, high - 1, 1.0)[0][0])
    return index + (index >= at)
