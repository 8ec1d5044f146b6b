"""The space of class-incremental learning: what is expressed where, and the regimes as genomes."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from genome.incremental import INCREMENTAL, REGIMES
from genome.variation import draw, mutate

GROWTH = {
    *(
        "cap",
        "class_cap",
        "quantile",
        "margin",
        "outliers",
        "added",
        "patience",
        "improvement",
        "selectivity",
    ),
    *("plasticity", "plasticity_rate", "stability"),
}
REPLAY = {"replay_ratio", "new_from", "code", "shrinkage", "floor"}


def test_every_gene_is_described_and_drawn_and_only_the_course_never_varies() -> None:
    assert all(gene.doc.endswith(".") for gene in INCREMENTAL.genes)
    assert [gene.name for gene in INCREMENTAL.genes if not gene.varied] == ["course"]
    drawn = {name for seed in range(200) for name in dict(draw(INCREMENTAL, seed=seed).values)}
    assert drawn == set(INCREMENTAL.by_name)


@given(seed=st.integers(0, 2**31))
def test_what_belongs_together_comes_together(seed: int) -> None:
    values = dict(mutate(INCREMENTAL, draw(INCREMENTAL, seed=seed), seed=seed).values)
    assert values["course"] == "incremental"
    assert ({*GROWTH} <= set(values)) == (values["growth"] == "on")
    assert not GROWTH & set(values) or values["growth"] == "on"
    assert ({*REPLAY} <= set(values)) == (values["replay"] == "on")
    assert not REPLAY & set(values) or values["replay"] == "on"
    if values["growth"] == "on":
        assert ("stability_rate" in values) == (values["stability"] > 0)
    assert ("beta_ce" in values) != ("beta_mse" in values)
    assert ("gain" in values) == ("width2" in values) == (values["depth"] == 2)


@pytest.mark.parametrize("name", REGIMES)
def test_regimes_differ_in_growth_and_replay_and_fixed_ones_are_as_large_as_growth_may_end(name: str) -> None:
    entry = REGIMES[name]
    for task in (None, *entry.by_task):
        values = {**entry.values, **entry.by_task.get(task, {})}
        INCREMENTAL.genome(values)
        if name == "joint":
            assert not {"growth", "replay", "learn"} & set(values)
        else:
            assert (values["growth"], values["replay"]) == (
                "on" if name.startswith("ndl") else "off",
                "on" if name.endswith("-ir") else "off",
            )
        grown = {**REGIMES["ndl-ir"].values, **REGIMES["ndl-ir"].by_task.get(task, {})}
        if "growth" not in values or values["growth"] == "off":
            assert values["width1"] == grown["width1"] + grown["cap"]
