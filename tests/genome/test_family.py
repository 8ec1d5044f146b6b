"""The spaces of the learning-rule family: every gene is reached, and no condition contradicts what it is for."""

from collections.abc import Mapping

import pytest
from hypothesis import given
from hypothesis import strategies as st

from genome import SearchSpace, Value
from genome.spaces import CONV, CUBE, FAMILY, MLP, SPACES
from genome.structure import RULES_CE, RULES_MSE
from genome.variation import draw, mutate

OPEN = (FAMILY, CUBE, CONV)
SEEDS = st.integers(0, 2**31)


def rule(values: Mapping[str, Value]) -> Value | None:
    return values.get("rule_ce", values.get("rule_mse"))


def drawn(space: SearchSpace, seed: int) -> dict[str, Value]:
    return dict(draw(space, seed=seed).values)


def test_the_spaces_have_names_and_the_family_has_every_gene_of_mlp() -> None:
    assert {name: space.id for name, space in SPACES.items()} == {
        "mlp": "mlp/1",
        "family": "family/1",
        "cube": "cube/1",
        "conv": "conv/1",
        "incremental": "incremental/1",
    }
    assert set(MLP.by_name) < set(FAMILY.by_name)
    for gene in MLP.genes:
        assert set(gene.table) <= set(FAMILY.by_name[gene.name].table), gene.name


@pytest.mark.parametrize("space", OPEN, ids=lambda space: space.name)
def test_every_gene_is_described_and_drawn_and_only_credit_never_varies(space: SearchSpace) -> None:
    assert all(gene.doc.endswith(".") for gene in space.genes)
    assert [gene.name for gene in space.genes if not gene.varied] == ["credit"]
    assert {name for seed in range(400) for name in drawn(space, seed)} == set(space.by_name)


@pytest.mark.parametrize("space", OPEN, ids=lambda space: space.name)
@given(seed=SEEDS)
def test_what_cannot_meet_does_not_meet(space: SearchSpace, seed: int) -> None:
    values = dict(mutate(space, draw(space, seed=seed), seed=seed).values)
    name = rule(values)
    assert ("estimate" in values) == (name == "plain")
    assert (values.get("optimizer") is None) == (name == "continual")
    assert ("activation_smooth" in values) == ("points" in values) == (name == "holomorphic")
    assert not {"activation", "activation_smooth"} <= set(values)
    if "feedback" in values:
        assert (name, values["estimate"]) == ("plain", "centred")
    if name == "predictive-coding":
        unread = {"free_steps", "scheme", "order", "stop", "spectral", "keep", "damping", "sleep", "beta_ce"}
        assert not unread & set(values)
    if name == "contrastive-hebbian":
        assert "beta_mse" not in values
    if name in ("coupled", "contrastive-hebbian"):
        assert values["output"] == "mse"
    if name in ("coupled", "contrastive-hebbian") and values.get("depth", values.get("layers")) == 1:
        assert ("nudged_steps" in values) == (values["scheme"] == "synchronous")
        assert "order" not in values
    if values.get("estimate") == "linearised":
        assert not {"activation", "keep", "weight_bits", "looped", "damping", "sleep"} & set(values)
    if values.get("scheme") == "synchronous":
        assert "damping" not in values


@given(seed=SEEDS)
def test_looped_networks_have_one_width_three_layers_or_more_and_no_skips(seed: int) -> None:
    values = dict(draw(FAMILY, seed=seed).values)
    looped = values.get("looped") == "on"
    assert looped == ("loop_depth" in values)
    assert looped != ("depth" in values)
    if looped:
        assert not {"width2", "width3", "skip"} & set(values)
        assert int(values["loop_depth"]) >= 3


def test_each_output_has_its_rules() -> None:
    assert FAMILY.by_name["rule_ce"].table == RULES_CE
    assert FAMILY.by_name["rule_mse"].table == RULES_MSE
    assert set(RULES_MSE) - set(RULES_CE) == {"coupled", "contrastive-hebbian"}


def test_other_structures_leave_out_what_they_cannot_do() -> None:
    for space in (CUBE, CONV):
        assert space.by_name["credit"].table == ("ep",)
        assert "linearised" not in space.by_name["estimate"].table
        assert not {"depth", "width1", "looped", "skip"} & set(space.by_name)
    # Filters send back through themselves, and their pools know no complex numbers.
    assert not {"feedback", "points", "activation_smooth"} & set(CONV.by_name)
    assert "holomorphic" not in CONV.by_name["rule_mse"].table
    assert {"feedback", "points"} <= set(CUBE.by_name)


def test_a_backprop_genome_of_the_family_has_none_of_its_genes_but_the_curriculum() -> None:
    values = FAMILY.repair({"credit": "backprop", "depth": 2, "curriculum": "easy-first"})
    assert set(values) - set(MLP.by_name) == {"curriculum", "pace"}
