"""Noise, damage, and gradient estimates that are wrong on purpose."""

import math

import numpy as np
import pytest

from kernels import KernelError, Relaxation, Topology
from kernels.backends.reference import Reference
from kernels.probes.cosines import cosine, cosines, random_feedback
from kernels.probes.harm import noisy_states, noisy_weights, without_units
from tests.kernels.networks import SEED, batch, parameters, uniform

TOPOLOGY = Topology((6, 8, 7, 3), skips=((0, 2),))


def test_noise_on_weights_has_the_size_that_is_asked_and_spares_biases():
    big = Topology((100, 100, 3))
    values = parameters(big)
    noisy = noisy_weights(values, 0.3, SEED)
    assert (noisy["b1"] == values["b1"]).all()
    rms = math.sqrt(((noisy["w0-1"] - values["w0-1"]) ** 2).mean() / (values["w0-1"] ** 2).mean())
    assert rms == pytest.approx(0.3, rel=0.05)
    assert (noisy_weights(values, 0.0, SEED)["w0-1"] == values["w0-1"]).all()


def test_silent_units_are_zero_and_the_others_do_as_without_them():
    values = parameters(TOPOLOGY)
    x, _ = batch(TOPOLOGY, 4)
    harmed, removed = without_units(TOPOLOGY, values, 0.4, SEED)
    assert removed == 6
    gone = {layer: ~harmed[f"w{layer - 1}-{layer}"].any(axis=1) for layer in (1, 2)}
    assert sum(int(mask.sum()) for mask in gone.values()) == removed
    network = Reference(TOPOLOGY, harmed, x, np.zeros((4, 3)))
    states, *_ = network.settle(network.feed_forward(), 0.0, Relaxation(steps=50))
    small = Topology((6, *(int((~gone[layer]).sum()) for layer in (1, 2)), 3), skips=((0, 2),))
    keep = {0: np.ones(6, dtype=bool), 3: np.ones(3, dtype=bool), 1: ~gone[1], 2: ~gone[2]}
    cut = {f"w{k}-{l}": values[f"w{k}-{l}"][keep[l]][:, keep[k]] for k, l in TOPOLOGY.connections}
    cut |= {f"b{layer}": values[f"b{layer}"][keep[layer]] for layer in (1, 2, 3)}
    other = Reference(small, cut, x, np.zeros((4, 3)))
    least, *_ = other.settle(other.feed_forward(), 0.0, Relaxation(steps=50))
    for layer in (1, 2):
        assert (states[layer][:, gone[layer]] == 0).all()
        assert states[layer][:, ~gone[layer]] == pytest.approx(least[layer])
    assert network.scores(states) == pytest.approx(other.scores(least))


def test_damage_takes_a_share_from_none_to_all():
    values = parameters(TOPOLOGY)
    assert [without_units(TOPOLOGY, values, part, SEED)[1] for part in (0.0, 1 / 15, 1.0)] == [0, 1, 15]
    with pytest.raises(KernelError, match="share of units"):
        without_units(TOPOLOGY, values, 1.1, SEED)


def test_noise_on_states_keeps_their_bounds_and_vanishes_with_its_level():
    x, _ = batch(TOPOLOGY, 4)
    network = Reference(TOPOLOGY, parameters(TOPOLOGY), x, np.zeros((4, 3)))
    calm = network.settle(network.feed_forward(), 0.0, Relaxation(steps=3))[0]
    none, much = (noisy_states(network, Relaxation(steps=3), level, SEED) for level in (0.0, 2.0))
    for layer in (1, 2):
        assert (none[layer] == calm[layer]).all()
        assert much[layer].min() >= 0 and much[layer].max() <= 1
        assert np.abs(much[layer] - calm[layer]).max() > 0.5
    # Without a sweep the feed-forward start is disturbed.
    still = noisy_states(network, Relaxation(), 2.0, SEED)
    assert np.abs(still[1] - network.feed_forward()[1]).max() > 0.5


def test_cosines_of_known_arrays():
    a = uniform("cosine", 5, 4)
    assert cosine(a, 3 * a) == pytest.approx(1.0)
    assert cosine(a, -a) == pytest.approx(-1.0)
    assert cosine(np.array([1.0, 0.0]), np.array([1.0, 1.0])) == pytest.approx(math.sqrt(0.5))
    assert math.isnan(cosine(a, np.zeros_like(a)))
    assert cosines({"a": a}, {"a": a}) == {"a": pytest.approx(1.0)}


def test_random_feedback_has_the_norm_of_the_weights_and_nothing_else_of_them():
    values = parameters(Topology((50, 40, 3)))
    drawn = random_feedback(values, SEED)
    assert set(drawn) == {"w0-1", "w1-2"}
    assert np.linalg.norm(drawn["w0-1"]) == pytest.approx(np.linalg.norm(values["w0-1"]))
    assert abs(cosine(drawn["w0-1"], values["w0-1"])) < 4 / math.sqrt(2000)
