"""The general learner's networks in float64: what they predict, and two derivatives held against differences."""

from dataclasses import replace

import numpy as np
import pytest
import torch

from kernels import KernelError, OptimizerSettings, Relaxation, Topology
from kernels.general.bounds import spectral_bounds
from kernels.general.lattice import LatticeStructure
from kernels.general.learner import GeneralLearner
from kernels.general.rules import GeneralRule
from kernels.general.structure import DenseStructure, Structure, initial_values
from kernels.probes.exponent import exponents
from kernels.probes.general import (
    GeneralDynamics,
    GeneralVictim,
    general_map,
    met_weights,
    network_of,
    noisy,
    silenced,
)

SEED = bytes(range(32))
DENSE = DenseStructure(Topology((6, 9, 7, 4)))
CUBE = LatticeStructure(6, 3, 4)
RULE = GeneralRule(
    "centred", 0.5, Relaxation(steps=6), Relaxation(order="backward", steps=3), activation="tanh"
)
X = np.random.RandomState(0).rand(5, 6)
Y = np.eye(4)[[0, 1, 2, 3, 0]]
RULES = {
    "plain": RULE,
    "moving": replace(RULE, damping=0.7, momentum=0.3),
    "synchronous": replace(RULE, free=Relaxation("synchronous", steps=6, step_size=0.5)),
    "own way back": replace(RULE, feedback="fixed"),
    "ternary": replace(RULE, weight_bits=2),
    "logistic": replace(RULE, activation="logistic"),
}


def learner(structure: Structure, rule: GeneralRule) -> GeneralLearner:
    values = initial_values(structure, SEED, 0.8)
    return GeneralLearner(structure, values, rule, OptimizerSettings("sgd", rate=0.1), batch=8, seed=SEED)


def network(structure: Structure, rule: GeneralRule):
    return network_of(structure, met_weights(learner(structure, rule).parameters(), rule), rule)


@pytest.mark.parametrize("name", RULES)
@pytest.mark.parametrize("structure", [DENSE, CUBE], ids=["dense", "cube"])
def test_it_predicts_as_the_learner_and_its_derivatives_are_exact(structure: Structure, name: str) -> None:
    rule = RULES[name]
    whole = network(structure, rule)
    victim = GeneralVictim(whole, rule.free)
    # float32 against float64.
    expected = learner(structure, rule).predict(X.astype(np.float32))
    assert victim.scores(X) == pytest.approx(expected, abs=1e-5)
    way, step = np.random.RandomState(1).randn(*X.shape), 1e-6
    rise = (victim.attacked(X + step * way, Y).losses - victim.attacked(X - step * way, Y).losses) / (
        2 * step
    )
    assert (victim.attacked(X, Y).gradients * way).sum(axis=1) == pytest.approx(rise, abs=1e-7)
    advance, start = general_map(whole, X[:1], rule.free)
    assert len(start) == (1 + (name == "moving")) * sum(
        state.shape[1] for layer, state in GeneralDynamics(whole, X, Y).feed_forward().items() if layer > 0
    )
    tangent = np.random.RandomState(2).randn(1, len(start))
    moved = (
        advance(start + step * tangent[0], tangent, 0)[0] - advance(start - step * tangent[0], tangent, 0)[0]
    )
    assert advance(start, tangent, 0)[1][0] == pytest.approx(moved / (2 * step), abs=1e-7)
    assert advance(start, np.zeros((0, len(start))), 0)[0] == pytest.approx(advance(start, tangent, 0)[0])


def test_its_sweeps_are_those_of_the_victim() -> None:
    rule = RULES["moving"]
    whole = network(DENSE, rule)
    dynamics = GeneralDynamics(whole, X, Y)
    states, taken, residual = dynamics.settle(dynamics.feed_forward(), 0.0, rule.free)
    assert (taken, residual > 0) == (6, True)
    assert dynamics.scores(states) == pytest.approx(GeneralVictim(whole, rule.free).scores(X), abs=1e-12)
    rest, early, _ = dynamics.settle(
        dynamics.feed_forward(), 0.0, replace(rule.free, steps=500, tolerance=1e-9)
    )
    assert early < 500
    again = dynamics.sweep(rest, 0.0, rule.free, 0)
    assert max(np.abs(again[layer] - rest[layer]).max() for layer in rest) < 1e-7
    with pytest.raises(KernelError, match=r"beta 0\.5"):
        dynamics.sweep(states, 0.5, rule.free, 0)


def test_silent_units_stay_at_zero_and_the_share_is_kept() -> None:
    rule = RULES["logistic"]  # its state under no drive is not 0
    whole = silenced(network(DENSE, rule), X, 0.5, SEED)
    states, _, _ = (dynamics := GeneralDynamics(whole, X, Y)).settle(dynamics.feed_forward(), 0.0, rule.free)
    silent = np.concatenate([(value == 0.0).all(axis=0) for value in states.values()])
    assert silent.sum() == 8  # of 16 hidden units
    none = silenced(network(DENSE, rule), X, 1.0, SEED)
    assert np.ptp(GeneralVictim(none, rule.free).scores(X), axis=0) == pytest.approx(np.zeros(4))
    with pytest.raises(KernelError, match=r"\[0, 1\]"):
        silenced(whole, X, 1.5, SEED)


def test_noise_reaches_every_weight_but_those_off_the_mask_of_a_cube() -> None:
    met = met_weights(learner(CUBE, RULE).parameters(), RULE)
    harmed = noisy(CUBE, met, 0.5, SEED)
    for (source, target), mask in CUBE.masks.items():
        moved = harmed[f"w{source}-{target}"] != met[f"w{source}-{target}"]
        assert (moved == mask).all()
    assert all((harmed[name] == value).all() for name, value in met.items() if value.ndim == 1)
    own = RULES["own way back"]
    met = met_weights(learner(DENSE, own).parameters(), own)
    harmed = noisy(DENSE, met, 0.5, SEED)
    assert any(name.startswith("f") for name in met)
    for name, value in met.items():
        spread = np.sqrt(np.mean((harmed[name] - value) ** 2)) if value.ndim == 2 else 0.0
        expected = 0.5 * np.sqrt(np.mean(np.square(value.astype(np.float64)))) if value.ndim == 2 else 0.0
        assert spread == pytest.approx(expected, rel=0.5)


def test_disturbed_states_stay_in_their_bounds() -> None:
    for name, low in (("logistic", 0.0), ("plain", -1.0)):
        whole = network(DENSE, RULES[name])
        states = GeneralDynamics(whole, X, Y).disturbed(RULE.free, 3.0, SEED)
        values = np.concatenate(list(states.values()), axis=1)
        assert (values.min(), values.max()) == (low, 1.0)
        calm = GeneralDynamics(whole, X, Y).disturbed(RULE.free, 0.0, SEED)
        settled = (dynamics := GeneralDynamics(whole, X, Y)).settle(dynamics.feed_forward(), 0.0, RULE.free)[
            0
        ]
        assert all(calm[layer] == pytest.approx(settled[layer]) for layer in settled)


def test_the_exponent_of_a_linear_map_is_the_logarithm_of_its_largest_eigenvalue() -> None:
    # One hidden and one output state, coupled by w: a synchronous sweep has the eigenvalues +-w.
    pair = DenseStructure(Topology((1, 1, 1), output="mse", clip=1e9))
    rule = GeneralRule("centred", 0.2, Relaxation("synchronous", steps=4), Relaxation(steps=2))
    values = {
        "w0-1": np.array([[1.0]]),
        "w1-2": np.array([[0.8]]),
        "b1": np.array([1.0]),
        "b2": np.array([1.0]),
    }
    advance, start = general_map(network_of(pair, values, rule), np.ones((1, 1)), rule.free)
    (found,) = exponents(advance, start, steps=200, warmup=20, seed=SEED)
    assert found == pytest.approx(np.log(0.8), abs=1e-9)
    with pytest.raises(KernelError, match="1 sample"):
        general_map(network_of(pair, values, rule), np.ones((2, 1)), rule.free)


def test_weights_of_few_bits_are_those_that_states_meet() -> None:
    rule = RULES["ternary"]
    met = met_weights(learner(DENSE, rule).parameters(), rule)
    assert all(len(np.unique(np.abs(value))) <= 2 for value in met.values() if value.ndim == 2)
    assert not torch.is_inference_mode_enabled()


def test_weights_of_few_bits_keep_to_the_cap_as_those_of_the_learner() -> None:
    rule = replace(RULES["ternary"], feedback="fixed")
    values = initial_values(DENSE, SEED, 2.0)
    settings = OptimizerSettings("sgd", rate=0.1, spectral_cap=0.5)
    one = GeneralLearner(DENSE, values, rule, settings, batch=8, seed=SEED)
    bounds = spectral_bounds(DENSE, 0.5)
    assert list(bounds) == ["w1-2", "fw1-2"]
    met = met_weights(one.parameters(), rule, bounds)
    for name in bounds:
        assert np.linalg.norm(met[name], 2) <= 0.5 * (1 + 1e-6)
        assert np.linalg.norm(met_weights(one.parameters(), rule)[name], 2) > 0.5 * 1.001
    predicted = GeneralVictim(network_of(DENSE, met, rule), rule.free).scores(X)
    assert predicted == pytest.approx(one.predict(X.astype(np.float32)), abs=1e-5)
    assert spectral_bounds(DENSE, None) == {}
