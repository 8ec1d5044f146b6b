"""Genomes without one of their genes, and what is made of their results."""

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from evaluator.jobs import Measured, Outcome, Result, failure_of
from evaluator.objectives import Objective
from genome import MLP, PRESETS, Choice, Genome, SearchSpace, preset
from genome.spaces import CONV, CUBE, FAMILY, INCREMENTAL, SPACES
from genome.variation import draw
from node.ablation import (
    INCREMENTAL_PLAIN,
    NETWORK_PLAIN,
    Ablated,
    Knockout,
    Plain,
    judge,
    knockouts,
    plain_of,
    plain_value,
    usual_value,
)
from node.errors import SettingsError
from tests.support.jobs import job
from tests.support.outcomes import outcome
from tests.support.tasks import SPACE

GOOD = Objective(name="accuracy", unit="1", direction="max", worst=0.0, best=1.0)
CHEAP = Objective(name="accuracy", unit="1", direction="min", worst=1.0, best=0.0)
SHALLOW, DEEP = preset("shallow"), preset("deep")


def without(genome: Genome, gene: str) -> Knockout:
    (found,) = knockouts(MLP, genome, NETWORK_PLAIN, [gene])
    return found


@pytest.mark.parametrize(
    ("gene", "value"),
    [
        ("depth", 1),
        ("width1", 256),
        ("width2", 512),
        ("width3", 8),
        ("skip", "none"),
        ("output", "mse"),
        ("clip", 1.0),
        ("gain", 1.0),
        ("estimate", "centred"),
        ("beta_ce", 1.0),
        ("beta_mse", 0.2),
        ("scheme", "block"),
        ("step_size", 1.0),
        ("order", "forward-backward"),
        ("free_steps", 4),
        ("nudged_steps", 2),
        ("stop", "fixed"),
        ("tolerance", 1e-4),
        ("optimizer", "sgd"),
        ("lr_adam", 0.004),
        ("lr_sgd", 0.1),
        ("lr_muon", 0.02),
        ("lr_bias", 0.001),
        ("momentum", 0.0),
        ("weight_decay", 1e-5),
        ("ns_steps", 5),
        ("spectral", "off"),
        ("gamma", 1.0),
        ("batch", 128),
        ("schedule", "constant"),
    ],
)
def test_the_plain_value_of_every_gene_of_a_network(gene: str, value: object) -> None:
    assert plain_value(MLP.by_name[gene], NETWORK_PLAIN) == value


# What the spaces of the family have beyond `mlp`: the value with which a gene changes least, or nothing.
FAMILY_PLAIN = {
    "rule_ce": "plain", "rule_mse": "plain", "activation": "clip", "activation_smooth": "logistic", "keep": 1.0,
    "weight_bits": "32", "feedback": "tied", "feedback_rate": 0.001, "homeostasis": 0.01, "points": 2, "damping": 1.0,
    "settle_momentum": 0.0, "sleep": "off", "looped": "off", "loop_depth": 4, "lr_dion": 0.02, "rank_fraction": 1.0,
    "error_feedback": 0.0, "side": 4, "layers": 1, "channels1": 16, "kernel": "3", "pool": "max",
}  # fmt: skip


@pytest.mark.parametrize("gene", FAMILY_PLAIN)
def test_the_plain_value_of_a_gene_of_the_family(gene: str) -> None:
    (space,) = [each for each in (FAMILY, CUBE, CONV) if gene in each.by_name][:1]
    assert plain_value(space.by_name[gene], NETWORK_PLAIN) == FAMILY_PLAIN[gene]


@pytest.mark.parametrize("space", SPACES.values(), ids=lambda space: space.name)
@given(seed=st.integers(0, 10_000))
def test_knockouts_of_every_space_are_genomes_of_it(space: SearchSpace, seed: int) -> None:
    whole = draw(space, seed=seed)
    found = knockouts(space, whole, plain_of(space))
    varied = [gene.name for gene in space.genes if gene.varied]
    assert [one.gene for one in found] == [name for name in varied if name in dict(whole.values)]
    for one in found:
        if one.genome is not None:
            space.check(one.genome)
            assert one.genome.get(one.gene) == one.after != one.before


def test_what_is_known_of_a_space() -> None:
    assert plain_of(FAMILY) is plain_of(MLP) is NETWORK_PLAIN
    assert plain_of(INCREMENTAL) is INCREMENTAL_PLAIN
    assert plain_of(SPACE) == Plain()
    values = {gene.name: plain_value(gene, INCREMENTAL_PLAIN) for gene in INCREMENTAL.genes}
    assert (values["growth"], values["replay"], values["stability"]) == ("off", "off", 0.0)
    assert (values["plasticity_rate"], values["width1"], values["code"]) == (1.0, 32, 1.0)


def test_every_gene_that_varies_has_its_plain_value_tested() -> None:
    (marker,) = test_the_plain_value_of_every_gene_of_a_network.pytestmark  # type: ignore[attr-defined]
    assert [gene for gene, _ in marker.args[1]] == [gene.name for gene in MLP.genes if gene.varied]


def test_a_space_of_which_nothing_is_known_has_first_options_and_smallest_levels() -> None:
    plain = Plain()
    assert [plain_value(gene, plain) for gene in SPACE.genes] == [0.0, 0.0, "good"]
    assert plain_value(Choice("x", ("much", "off", "more")), plain) == "off"
    assert [usual_value(gene, plain) for gene in SPACE.genes] == [0.5, 0.5, "good"]


def test_values_that_a_narrower_gene_lacks_are_brought_into_it_or_passed_over() -> None:
    plain = Plain({"a": 7.0, "mood": "splendid"}, {"b": "a word"})
    assert [plain_value(gene, plain) for gene in SPACE.genes] == [1.0, 0.0, "good"]


def test_a_gene_that_a_change_brings_takes_the_usual_value_not_the_plain_one() -> None:
    found = without(SHALLOW, "optimizer")
    assert (found.before, found.after) == ("adam", "sgd")
    assert found.appeared == {"lr_sgd": 0.1, "momentum": 0.9}
    assert found.gone == ("lr_adam",)


def test_a_layer_takes_its_genes_away() -> None:
    found = without(DEEP, "depth")
    assert found.genome is not None
    assert found.genome.get("width2") is None
    assert set(found.gone) == {"width2", "gain", "scheme", "order", "free_steps", "stop", "spectral"}
    assert found.appeared == {}


def test_what_is_plain_already_is_not_trained_again() -> None:
    found = {one.gene: one for one in knockouts(MLP, preset("ep"), NETWORK_PLAIN)}
    assert {name for name, one in found.items() if one.genome is not None} == {"momentum", "schedule"}


@given(
    seed=st.integers(0, 10_000),
    named=st.sampled_from(["", *(name for name in PRESETS if preset(name).space == MLP.id)]),
)
def test_a_knockout_is_a_lawful_genome_that_differs_where_it_says(seed: int, named: str) -> None:
    whole = preset(named) if named else draw(MLP, seed=seed)
    values = dict(whole.values)
    found = knockouts(MLP, whole, NETWORK_PLAIN)
    assert [one.gene for one in found] == [name for name in MLP.expressed(values) if name != "credit"]
    for one in found:
        assert (one.genome is None) == (one.after == values[one.gene] == one.before)
        if one.genome is None:
            assert (one.appeared, one.gone) == ({}, ())
            continue
        MLP.check(one.genome)
        kept = {name: value for name, value in values.items() if name not in one.gone}
        assert dict(one.genome.values) == {**kept, one.gene: one.after, **one.appeared}


def test_named_genes_come_in_the_order_of_the_space() -> None:
    found = knockouts(MLP, SHALLOW, NETWORK_PLAIN, ["schedule", "width1"])
    assert [one.gene for one in found] == ["width1", "schedule"]


@pytest.mark.parametrize(
    ("name", "said"), [("optimzer", "'optimizer'"), ("width2", "width1"), ("credit", "vari")]
)
def test_a_name_that_is_no_varied_gene_of_the_genome_is_refused(name: str, said: str) -> None:
    with pytest.raises(SettingsError, match="--genes") as error:
        knockouts(MLP, SHALLOW, NETWORK_PLAIN, [name])
    assert said in str(error.value)


def results(*scores: float | None, cpu_s: float = 1.0) -> list[Result]:
    """Outcomes with these accuracies; a failure for None."""
    return [
        failure_of(job(SHALLOW, seed=seed), "diverged", "at step 3")
        if score is None
        else trained(score, seed, cpu_s)
        for seed, score in enumerate(scores)
    ]


def trained(score: float, seed: int, cpu_s: float) -> Outcome:
    measured = Measured(
        train_cpu_s=cpu_s, train_wall_s=cpu_s, evaluate_cpu_s=0.0, samples_per_s=1.0, peak_bytes=1
    )
    return outcome(SHALLOW, accuracy=score, seed=seed, measured=measured)


def judged(
    whole: list[Result], knocked: list[Result], objective: Objective = GOOD, *, network: bool = True
) -> Ablated:
    return judge(without(SHALLOW, "schedule"), whole, knocked, objective, network=network)


def test_a_difference_is_that_of_pairs_with_students_interval() -> None:
    found = judged(results(0.9, 0.8, 0.7, cpu_s=2.0), results(0.8, 0.6, 0.4, cpu_s=3.0))
    assert found.objective is not None
    assert found.cost is not None
    assert found.n == 3
    assert (found.objective.with_gene, found.objective.without_gene) == pytest.approx((0.8, 0.6))
    # Differences -0.1, -0.2, -0.3: mean -0.2, deviation 0.1; t(0.975; 2) = 4.302653.
    assert found.objective.difference.mean == pytest.approx(-0.2)
    assert found.objective.difference.half_width == pytest.approx(4.302653 * 0.1 / math.sqrt(3), rel=1e-6)
    assert found.cost.difference.mean == 1.0
    assert found.verdict == "no difference shown"
    assert judged(results(0.9), results(0.8), network=False).cost is None


@pytest.mark.parametrize(
    ("objective", "whole", "knocked", "verdict"),
    [
        (GOOD, (0.9, 0.9, 0.9), (0.5, 0.51, 0.52), "worse without"),
        (GOOD, (0.5, 0.51, 0.52), (0.9, 0.9, 0.9), "better without"),
        (CHEAP, (0.9, 0.9, 0.9), (0.5, 0.51, 0.52), "better without"),
        (GOOD, (0.9, 0.9), (0.9, 0.9), "no difference shown"),
        (GOOD, (0.9, 0.9), (0.5, 0.5), "worse without"),
        (GOOD, (0.9,), (0.5,), "not known"),
        (GOOD, (None, None), (0.5, None), "trains only without"),
        (GOOD, (None, 0.5), (None, None), "trains only with"),
        (GOOD, (None, None), (None, None), "not known"),
    ],
)
def test_a_verdict_follows_interval_and_direction(
    objective: Objective, whole: tuple[float], knocked: tuple[float], verdict: str
) -> None:
    assert judged(results(*whole), results(*knocked), objective).verdict == verdict


def test_a_seed_on_which_one_of_both_failed_is_no_pair() -> None:
    found = judged(results(0.9, None, 0.7, 0.5), results(0.8, 0.8, None, 0.5))
    assert found.objective is not None
    assert found.n == 2
    assert (found.objective.with_gene, found.objective.without_gene) == pytest.approx((0.7, 0.65))
    assert [failure.seed for failure in found.failures] == [2]


def test_what_is_plain_already_has_no_results() -> None:
    found = judge(without(SHALLOW, "skip"), results(0.9), [], GOOD, network=True)
    assert (found.verdict, found.n, found.objective, found.cost) == ("plain already", 0, None, None)
