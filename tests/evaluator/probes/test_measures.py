"""Tolerance, energy, alignment and scaling, held to hand counts and to networks that are broken on purpose."""

import numpy as np
import pytest

from evaluator.cost import step_cost
from evaluator.probes.alignment import AlignmentSettings, alignment
from evaluator.probes.energy import Counts, EnergySettings, energy, inference_counts, picojoules
from evaluator.probes.scaling import ScalingSettings, scaling
from evaluator.probes.subject import Network, Samples, accuracy
from evaluator.probes.tolerance import ToleranceSettings, tolerance
from kernels import Relaxation, Rule, Topology, initial_parameters
from kernels.probes.draws import normal
from tests.evaluator.probes.networks import DEEP, FEED_FORWARD, SEED, digits, trained

LONG = Relaxation(steps=1000, tolerance=1e-12)


def relearn(network: Network, rule: Rule) -> Network:
    return Network(network.topology, network.parameters, rule)


# Tolerance


def test_no_harm_costs_nothing_and_all_of_it_leaves_chance():
    network, data = trained("ce"), digits()
    found = tolerance(network, data, SEED, ToleranceSettings(draws=3))
    clean = accuracy(network, data)
    assert found.unharmed.value == pytest.approx(clean)
    for curve in (found.weights, found.states, found.damage):
        assert curve[0].level == 0.0 and curve[0].accuracy.value == pytest.approx(clean)
        assert all(0.0 <= p.accuracy.low <= p.accuracy.value <= p.accuracy.high <= 1.0 for p in curve)
        assert curve[-1].accuracy.value < clean - 0.01
    # Without hidden units one class is named for all.
    assert found.damage[-1].accuracy.value == pytest.approx(max(np.bincount(digits().y)) / 360, abs=0.02)
    assert found.tolerated["damage"] in (0.0, 0.1, 0.25)


def hub(copies: int) -> tuple[Network, Samples]:
    """Two classes told apart by one number, which `copies` of the 20 hidden units carry and the others do not."""
    topology = Topology((1, 20, 2))
    carries = (np.arange(20) < copies).astype(np.float64)
    values = {
        "w0-1": carries[:, None],
        "w1-2": np.outer([1.0, -1.0], carries / copies),
        "b1": np.zeros(20),
        "b2": np.array([-0.05, 0.05]),
    }
    x = np.array([[0.0], [1.0]] * 20)
    return Network(topology, values, FEED_FORWARD), Samples(x, np.array([1, 0] * 20))


def test_a_network_that_hangs_on_one_unit_does_not_tolerate_damage():
    # Sabotage: all that is known goes through one unit; among 20 copies any one will do.
    settings = ToleranceSettings(damage=(0.0, 0.5, 0.8), draws=12, weights=(0.0,), states=(0.0,))
    fragile, sturdy = (tolerance(*hub(copies), SEED, settings) for copies in (1, 20))
    assert fragile.tolerated["damage"] == 0.0 and sturdy.tolerated["damage"] == 0.8
    # The one unit is among the half that goes in about half the draws, and without it half of the classes are right.
    assert fragile.damage[1].accuracy.low < 0.75 < fragile.damage[1].accuracy.high
    assert sturdy.damage[-1].accuracy.value == 1.0


def test_a_first_level_that_costs_too_much_is_not_tolerated():
    found = tolerance(
        *hub(20), SEED, ToleranceSettings(weights=(50.0,), states=(10.0,), damage=(1.0,), draws=8)
    )
    assert found.tolerated == {"weights": None, "states": None, "damage": None}


def test_other_seeds_harm_otherwise():
    settings = ToleranceSettings(weights=(0.5,), states=(0.0,), damage=(0.0,), draws=2)
    found = [tolerance(trained("ce"), digits(), bytes([n]) * 32, settings).weights for n in (1, 2)]
    assert found[0] != found[1]


# Energy


def test_picojoules_of_hand_counts():
    # 10 products of 4.6 pJ; 80 bytes are 10 words: of 10 pJ, or of 2,600.
    found = picojoules(Counts(macs=10, bytes=80))
    assert (found.low, found.high) == pytest.approx((46 + 100, 46 + 26_000))


def bare(topology: Topology) -> Network:
    """A network of that topology that nobody trained."""
    rule = FEED_FORWARD if topology.output == "ce" else DEEP
    return Network(topology, initial_parameters(topology, SEED, 0.5), rule)


def test_an_inference_by_hand():
    # 5-8-3, batch 4: two products; 4 passes' worth of two layers... one state layer is read and written twice.
    network = bare(Topology((5, 8, 3)))
    counts = inference_counts(network.genes, network.shape, 4, 0)
    assert counts.macs == 4 * (5 * 8 + 8 * 3)
    products = (4 * 5 + 4 * 8 + 40) + (4 * 8 + 4 * 3 + 24)
    assert counts.bytes == 4 * (products + 2 * 2 * 4 * 8 + 2 * 4 * 4 * 3)


@pytest.mark.parametrize("output", ["ce", "mse"])
def test_sweeps_of_an_inference_cost_what_the_cost_model_gives_them(output):
    topology = Topology((6, 5, 4, 3), output=output, skips=((0, 2), (1, 3)))
    genes = {"credit": "ep", "estimate": "centred", "optimizer": "sgd", "batch": 16}
    more, less = (
        step_cost(genes, bare(topology).shape, arithmetic="fp32", free_steps=n, nudged_steps=2)
        for n in (6, 4)
    )
    ours, fewer = (inference_counts(genes, bare(topology).shape, 16, n) for n in (6, 4))
    assert ours.macs - fewer.macs == more.macs - less.macs
    assert ours.bytes - fewer.bytes == more.bytes - less.bytes


@pytest.mark.parametrize("output", ["ce", "mse"])
def test_energy_is_a_range_and_training_costs_more_than_inference(output):
    found = energy(trained(output), digits(), SEED, EnergySettings())
    for counts, span, arithmetic in (
        (found.training, found.training_pj, found.training_mac_pj),
        (found.inference, found.inference_pj, found.inference_mac_pj),
    ):
        assert arithmetic == pytest.approx(4.6 * counts.macs)
        assert 0 < arithmetic < span.low < span.high
    assert found.training_pj.low > found.inference_pj.low


def test_energy_follows_what_is_counted():
    network = trained("mse")
    base = energy(network, digits(), SEED, EnergySettings())
    fewer = energy(network, digits(), SEED, EnergySettings(free_steps=2.5, nudged_steps=1.0))
    assert fewer.training.macs < base.training.macs and fewer.inference.macs < base.inference.macs
    muon = energy(network, digits(), SEED, EnergySettings(optimizer="muon"))
    assert muon.training.macs > base.training.macs and muon.inference == base.inference
    # Sabotage: a batch of one moves every weight for a single sample.
    alone = energy(network, digits(), SEED, EnergySettings(batch=1))
    assert alone.inference.bytes > 3 * base.inference.bytes and alone.inference.macs == base.inference.macs


# Alignment


@pytest.mark.parametrize("output", ["ce", "mse"])
def test_the_linearised_estimate_has_cosine_1_and_its_flip_minus_1(output):
    network = relearn(trained(output), Rule("linearised", 0.1, LONG, LONG))
    found = alignment(network, digits(), SEED, AlignmentSettings(samples=12))
    assert set(found.cosines) == set(network.topology.parameter_shapes)
    assert found.worst == pytest.approx(1.0, abs=1e-9) and found.hidden == pytest.approx(1.0, abs=1e-9)
    assert found.aligned
    # Sabotage: a sign bug.
    flipped = alignment(network, digits(), SEED, AlignmentSettings(samples=12, estimate="flipped"))
    assert all(value == pytest.approx(-1.0, abs=1e-9) for value in flipped.cosines.values())
    assert not flipped.aligned


def test_a_smaller_nudge_is_better_aligned():
    network = trained("mse")
    worst = []
    for beta in (0.4, 0.1, 0.01):
        found = alignment(
            relearn(network, Rule("centred", beta, LONG, LONG)), digits(), SEED, AlignmentSettings(samples=12)
        )
        worst.append(found.worst)
    assert worst == sorted(worst) and worst[-1] > 0.9999


def test_random_feedback_is_aligned_by_chance_alone():
    # Sabotage: errors come down through matrices that know nothing of the weights.
    network = trained("ce")
    found = [
        alignment(network, digits(), bytes([n]) * 32, AlignmentSettings(estimate="random-feedback"))
        for n in range(20)
    ]
    hidden = np.array([each.hidden for each in found])
    # 32 units whose signs agree by chance: a deviation of about 1/sqrt(32) each, of .04 for the mean of 20.
    assert abs(hidden.mean()) < 0.15 and hidden.std() < 0.4
    assert not any(each.aligned for each in found)
    # The readout's own gradient needs no feedback.
    assert all(each.cosines["w1-2"] == pytest.approx(1.0) for each in found)


def test_a_small_one_sided_nudge_of_an_unsettled_network_points_the_wrong_way():
    # The free phase's drift, divided by a small beta, drowns the estimate; centred, it cancels.
    topology = trained("mse").topology
    short = Relaxation(steps=1)
    one_sided, centred = (
        alignment(
            Network(
                topology,
                initial_parameters(topology, SEED, 0.5),
                Rule(name, 0.001, short, Relaxation(order="backward", steps=6)),
            ),
            digits(),
            SEED,
            AlignmentSettings(samples=32),
        )
        for name in ("one-sided", "centred")
    )
    assert one_sided.hidden < -0.5 and not one_sided.aligned
    assert centred.worst > 0.99 and centred.aligned


def test_a_gradient_that_vanishes_has_no_cosine():
    network = trained("ce")
    shut = {**network.parameters, "b1": np.full(32, -1e3)}
    found = alignment(
        Network(network.topology, shut, network.rule), digits(), SEED, AlignmentSettings(samples=8)
    )
    assert found.cosines["w0-1"] is None and found.hidden is None
    assert found.cosines["b2"] == pytest.approx(1.0)


# Scaling


def test_points_of_a_power_law_are_fitted_and_shuffled_ones_are_not():
    sizes = np.repeat(2.0 ** np.arange(5, 12), 3)
    errors = 2.0 * sizes**-0.4 * np.exp(0.03 * normal(SEED, "noise", len(sizes)))
    found = scaling(trained("ce"), digits(), SEED, ScalingSettings(sizes=tuple(sizes), errors=tuple(errors)))
    assert found.verdict == "power law" and found.points == 21
    assert found.exponent.low < 0.4 < found.exponent.high and found.exponent.high - found.exponent.low < 0.05
    # Sabotage: the same errors against sizes that are not theirs.
    turned = tuple(errors.reshape(7, 3).T.ravel())
    lost = scaling(trained("ce"), digits(), SEED, ScalingSettings(sizes=tuple(sizes), errors=turned))
    assert lost.verdict.startswith("no power law: ")
