"""Settling: exponents, cycles, pushes and difficulty, on networks whose answers are known."""

import math
from dataclasses import replace

import numpy as np
import pytest

from evaluator.errors import EvaluatorError
from evaluator.probes.difficulty import DifficultySettings, difficulty
from evaluator.probes.lyapunov import LyapunovSettings, lyapunov
from evaluator.probes.oscillation import OscillationSettings, oscillation
from evaluator.probes.propagation import PropagationSettings, propagation
from evaluator.probes.subject import Network, Samples, hits
from kernels import DivergedError, Relaxation, Rule, Topology
from tests.evaluator.probes.networks import DEEP, FEED_FORWARD, SEED, SYNCHRONOUS, digits, ones, pair, trained
from tests.kernels.networks import uniform

SHORT = LyapunovSettings(samples=2, warmup=10, sweeps=40)


@pytest.mark.parametrize(
    ("weight", "verdict"),
    [(0.5, "contracting"), (0.97, "contracting"), (1.03, "expanding"), (2.0, "expanding")],
)
def test_the_exponent_of_a_pair_is_the_logarithm_of_its_gain(weight, verdict):
    found = lyapunov(pair(weight), ones(3), SEED, SHORT)
    assert found.exponents == pytest.approx([math.log(weight)] * 2, abs=1e-12)
    assert found.verdict == verdict and found.removed == 0
    # A block sweep moves each of the two once, the second after the first.
    block = lyapunov(
        pair(weight), ones(3), SEED, LyapunovSettings(samples=2, warmup=10, sweeps=40, scheme="block")
    )
    assert block.exponents == pytest.approx([2 * math.log(weight)] * 2, abs=1e-12)


def test_a_pair_of_gain_1_is_critical():
    found = lyapunov(pair(1.0), ones(3), SEED, SHORT)
    assert found.verdict == "critical" and found.mean is not None and found.mean.holds(0.0)


def test_a_network_without_recurrence_forgets_at_once():
    found = lyapunov(trained("ce"), digits(), SEED, SHORT)
    assert (found.exponents, found.removed, found.mean, found.verdict) == ((), 2, None, "contracting")


def test_one_sample_has_a_verdict_and_no_interval():
    found = lyapunov(pair(2.0), ones(1), SEED, SHORT)
    assert found.mean is None and found.verdict == "expanding"


def test_a_trained_network_contracts_until_its_gain_is_broken():
    network = trained("mse")
    settings = LyapunovSettings(samples=4, warmup=20, sweeps=60)
    assert lyapunov(network, digits(), SEED, settings).verdict == "contracting"
    # Sabotage: weights times 30, all of one sign, and no clip within reach.
    wild = {name: 30.0 * np.abs(value) for name, value in network.parameters.items()}
    loud = Network(replace(network.topology, clip=1e300), wild, SYNCHRONOUS)
    assert lyapunov(loud, digits(), SEED, settings).verdict == "expanding"
    with pytest.raises(DivergedError):
        lyapunov(pair(1e30, clip=1e305), ones(2), SEED, LyapunovSettings(samples=2, warmup=0, sweeps=20))


def two_cycle(scheme: str) -> Network:
    """1-1-1-1-2: the middle unit is bistable, and its even and odd sweeps begin on different sides."""
    topology = Topology((1, 1, 1, 1, 2))
    numbers = {"w0-1": 0.0, "w1-2": 2.0, "w2-3": -2.0, "b1": -0.5, "b2": 0.6, "b3": 1.5}
    values = {name: np.full((1, 1) if name.startswith("w") else 1, value) for name, value in numbers.items()}
    values |= {"w3-4": np.ones((2, 1)), "b4": np.zeros(2)}
    relaxation = Relaxation(scheme=scheme, steps=8)
    return Network(topology, values, Rule("centred", 1.0, relaxation, relaxation))


def test_a_cycle_of_two_is_named_and_block_sweeps_have_none():
    found = oscillation(two_cycle("synchronous"), ones(3), SEED, OscillationSettings())
    assert found.verdict == "oscillating" and found.periods == {"2": 3}
    assert found.counts == {"diverged": 0, "oscillating": 3, "unsettled": 0, "converged": 0}
    assert found.residuals[-1] == pytest.approx(1.0)
    calm = oscillation(two_cycle("block"), ones(3), SEED, OscillationSettings())
    assert calm.verdict == "converged" and calm.periods == {}


@pytest.mark.parametrize(
    ("weight", "verdict"), [(0.3, "converged"), (2.0, "diverged"), (0.99, "unsettled"), (1e15, "diverged")]
)
def test_a_pair_converges_runs_away_or_takes_its_time(weight, verdict):
    found = oscillation(pair(weight), ones(2), SEED, OscillationSettings())
    assert found.verdict == verdict and found.counts[verdict] == 2
    assert all(math.isfinite(value) for value in found.residuals)


def test_what_counts_as_settled_is_a_setting():
    found = [
        oscillation(pair(0.9), ones(2), SEED, OscillationSettings(settled=s)).verdict for s in (1e-3, 0.1)
    ]
    assert found == ["unsettled", "converged"]
    longer = oscillation(pair(0.9), ones(2), SEED, OscillationSettings(sweeps=200))
    assert longer.verdict == "converged" and len(longer.residuals) == 200


def test_the_worst_sample_gives_the_verdict():
    data = Samples(np.array([[0.0], [1.0]]), np.zeros(2, dtype=np.int64))
    found = oscillation(pair(2.0), data, SEED, OscillationSettings())
    assert found.counts["converged"] == 1 and found.verdict == "diverged"


def test_a_push_loses_the_weight_at_every_layer_of_a_trained_network():
    network = trained("mse")
    found = propagation(network, digits(), SEED, PropagationSettings(samples=16, depths=(10, 1000)))
    assert len(found.layers) == 2 and found.layers[0] > found.layers[1] > 0
    assert found.first.value == pytest.approx(found.layers[-1])
    assert found.gain == pytest.approx(math.sqrt(found.layers[-1]))
    assert found.arrives
    ten, thousand = found.ladder
    assert ten.bare == pytest.approx(found.gain**9) and thousand.bare < 1e-100
    assert thousand.skipped == pytest.approx(1 / (1 + found.skip))
    assert max(rung.error for rung in found.ladder) < 1e-11


def test_a_pair_keeps_its_weight_of_a_push():
    found = propagation(pair(0.25), ones(4), SEED, PropagationSettings(samples=4, depths=(5,)))
    assert found.layers == pytest.approx((0.25,))
    assert found.first.low == pytest.approx(0.25) and found.gain == pytest.approx(0.25)


def test_a_dead_layer_lets_nothing_arrive():
    # Sabotage: the first layer's biases shut it at 0.
    network = trained("mse")
    shut = {**network.parameters, "b1": np.full(32, -1e3)}
    found = propagation(
        Network(network.topology, shut, network.rule),
        digits(),
        SEED,
        PropagationSettings(samples=8, depths=(10,)),
    )
    assert found.layers[-1] == 0.0 and not found.arrives


def scaled_pairs(rows: int, labels: np.ndarray) -> tuple[Network, Samples]:
    """Two independent pairs; a sample drives the first by its size, and so settles the longer the larger it is."""
    topology = Topology((2, 2, 2), output="mse", clip=1e9)
    values = {"w0-1": np.eye(2), "w1-2": 0.9 * np.eye(2), "b1": np.zeros(2), "b2": np.zeros(2)}
    sizes = 10.0 ** (6.0 * uniform("sizes", rows) - 3.0)
    data = Samples(np.stack([sizes, np.zeros(rows)], axis=1), labels)
    return Network(topology, values, DEEP), data


@pytest.mark.parametrize(
    ("label", "sign", "answer"), [(0, 1, "easier settles longer"), (1, -1, "harder settles longer")]
)
def test_sweeps_follow_the_margin_where_they_must(label, sign, answer):
    network, data = scaled_pairs(80, np.full(80, label))
    found = difficulty(network, data, SEED, DifficultySettings(rounds=200))
    assert found.correlation is not None
    # Sweeps are whole: a few samples share them.
    assert found.correlation.value == pytest.approx(sign, abs=0.01)
    assert found.answer == answer and found.unsettled == 0
    assert list(found.quarters) == sorted(found.quarters, reverse=sign < 0)


def test_margins_of_random_classes_have_no_relation():
    # Sabotage: labels that say nothing of the samples.
    network, data = scaled_pairs(80, (uniform("labels", 80) < 0.5).astype(np.int64))
    found = difficulty(network, data, SEED, DifficultySettings(rounds=200))
    assert found.answer == "no relation" and found.correlation is not None
    assert found.correlation.low < 0 < found.correlation.high


def test_samples_that_all_settle_at_once_are_alike():
    found = difficulty(trained("ce"), digits(), SEED, DifficultySettings(samples=20))
    assert found.answer == "all alike" and found.correlation is None and found.mean_sweeps == 1.0


def test_samples_that_do_not_settle_are_counted_and_left_out():
    network, data = scaled_pairs(80, np.zeros(80, dtype=np.int64))
    every = difficulty(network, data, SEED, DifficultySettings(rounds=200))
    some = difficulty(network, data, SEED, DifficultySettings(rounds=200, limit=60))
    assert every.unsettled == 0 < some.unsettled and some.settled + some.unsettled == 80
    with pytest.raises(EvaluatorError, match="3 samples to settle within 1 sweeps, got 0"):
        difficulty(network, data, SEED, DifficultySettings(limit=1))


def test_feed_forward_networks_are_watched_too():
    assert oscillation(trained("ce"), digits(), SEED, OscillationSettings(samples=4)).verdict == "converged"
    assert FEED_FORWARD.free.steps == 0


def test_a_network_that_leaves_the_numbers_is_told_and_not_averaged():
    # Sabotage: a gain of 1e30 and a clip that bounds nothing.
    wild = pair(1e30, clip=1e305)
    with pytest.raises(DivergedError, match="states were"):
        propagation(wild, ones(2), SEED, PropagationSettings(samples=2, depths=(2,)))
    with pytest.raises(EvaluatorError, match="finite scores"):
        hits(np.array([[np.nan, 1.0]]), np.zeros(1, dtype=np.int64))
