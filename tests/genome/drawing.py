"""Hypothesis strategies for spaces, values and genomes."""

import random

from hypothesis import strategies as st

from genome import ALWAYS, All, Any, AtLeast, Choice, Condition, Gene, Genome, Integer, Is, Real, SearchSpace

names = st.from_regex(r"\A[A-Za-z][A-Za-z0-9_.-]{0,8}\Z")
words = st.text(st.characters(min_codepoint=32, max_codepoint=126), min_size=1, max_size=12)
plain_values = st.one_of(
    st.integers(-(2**63), 2**63 - 1), st.floats(allow_nan=False, allow_infinity=False), words
)
space_ids = st.builds(
    "{}/{}".format, st.from_regex(r"\A[a-z][a-z0-9_.-]{0,10}\Z"), st.integers(min_value=1, max_value=9999)
)
raw_genomes = st.builds(Genome, space_ids, st.dictionaries(names, plain_values, max_size=12))


@st.composite
def conditions(draw: st.DrawFn, earlier: list[Gene]) -> Condition:
    """Any condition on the genes declared before."""
    if not earlier or draw(st.booleans()):
        return ALWAYS
    parts: list[Condition] = []
    for _ in range(draw(st.integers(1, 2))):
        gene = draw(st.sampled_from(earlier))
        if isinstance(gene, Choice):
            parts.append(Is(gene.name, *draw(st.lists(st.sampled_from(gene.table), min_size=1, unique=True))))
        else:
            parts.append(AtLeast(gene.name, draw(st.sampled_from(gene.table))))
    return All(*parts) if draw(st.booleans()) else Any(*parts)


@st.composite
def spaces(draw: st.DrawFn) -> SearchSpace:
    """Any search space of up to eight genes with conditions on one another."""
    genes: list[Gene] = []
    for name in draw(st.lists(names, min_size=1, max_size=8, unique=True)):
        when = draw(conditions(genes))
        kind = draw(st.integers(0, 2))
        if kind == 0:
            low, levels = draw(st.integers(-9, 9)), draw(st.integers(2, 9))
            genes.append(Real(name, low / 4, low / 4 + 3.0, levels, when=when))
        elif kind == 1:
            low = draw(st.integers(-5, 5))
            genes.append(Integer(name, low, low + draw(st.integers(1, 12)), when=when))
        else:
            options = draw(st.lists(words, min_size=1, max_size=4, unique=True))
            genes.append(Choice(name, options, when=when, varied=draw(st.booleans())))
    return SearchSpace("toy", 1, tuple(genes))


@st.composite
def genomes_of(draw: st.DrawFn, space: SearchSpace) -> Genome:
    """Any genome of the space, on its grid or off it."""

    def pick(gene: Gene) -> object:
        if isinstance(gene, Real) and draw(st.booleans()):
            return draw(st.floats(gene.low, gene.high))
        return draw(st.sampled_from(gene.table))

    return space.genome(space.build(pick))  # type: ignore[arg-type]


def any_genome(space: SearchSpace, rng: random.Random) -> Genome:
    """A uniformly drawn genome, without the code under test."""
    return space.genome(space.build(lambda gene: gene.table[rng.randrange(len(gene.table))]))
