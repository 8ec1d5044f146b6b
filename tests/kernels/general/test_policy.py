"""The weighted credit against exact gradients: of the policy gradient's surrogate, of a value's squared error."""

import math
from collections.abc import Mapping

import numpy as np
import pytest
import torch
from numpy.typing import NDArray

from kernels import DivergedError, KernelError, OptimizerSettings, Relaxation, Topology
from kernels.general.estimators import contrast
from kernels.general.network import Network, Nudge
from kernels.general.policy import ChainRule, Credit, EquilibriumCredit, WeightedLearner
from kernels.learner import Array
from tests.kernels.general.nets import (
    BACK,
    LONG,
    SGD,
    Double,
    Floats,
    cosine,
    data,
    distance,
    flat,
    parameters,
    slope,
)

ADVANTAGES = np.array([1.5, -2.0, 0.3, -0.7, 0.0, 0.9])
CE, DEEP, MSE = Topology((7, 6, 3)), Topology((7, 6, 5, 3)), Topology((7, 6, 5, 1), output="mse")


def ep(beta: float) -> EquilibriumCredit:
    return EquilibriumCredit(beta, LONG, BACK)


def learner(
    topology: Topology, credit: Credit, values: Mapping[str, Array], activation: str = "tanh"
) -> WeightedLearner:
    return WeightedLearner(topology, values, credit, SGD, activation=activation, precision=Double())


def case(topology: Topology) -> tuple[Floats, Floats, Floats]:
    """Samples, targets and weights: actions and advantages, or numbers that count alike."""
    x, y = data(topology.sizes[0], 3)
    if topology.output == "mse":
        return x, np.sin(np.arange(6.0)).reshape(6, 1), np.ones(6)
    return x, np.eye(3)[y], ADVANTAGES


def loss(topology: Topology, credit: Credit, values: Mapping[str, Array], weights: Floats) -> float:
    """mean_i w_i C_i of the network's own scores: for a policy -mean A log p(a | s)."""
    x, y, _ = case(topology)
    scores = learner(topology, credit, values).scores(x).astype(np.float64)
    if topology.output == "mse":
        return float((weights * 0.5 * ((scores - y) ** 2).sum(axis=1)).mean())
    raised = scores - scores.max(axis=1, keepdims=True)
    log_p = raised - np.log(np.exp(raised).sum(axis=1, keepdims=True))
    return float(-(weights * (y * log_p).sum(axis=1)).mean())


def exact(topology: Topology, credit: Credit, weights: Floats) -> dict[str, NDArray[np.float64]]:
    values = parameters(topology)
    return slope(lambda moved: loss(topology, credit, moved, weights), values)


@pytest.mark.parametrize("topology", [CE, DEEP, MSE], ids=["ce", "deep", "mse"])
def test_the_estimate_is_the_weighted_gradient_as_the_nudge_vanishes(topology: Topology) -> None:
    x, y, weights = case(topology)
    true = exact(topology, ep(0.1), weights)
    errors = [
        distance(learner(topology, ep(beta), parameters(topology)).gradient(x, y, weights), true)
        for beta in (0.2, 0.1, 1e-3)
    ]
    # A centred difference: its bias is of second order in the nudge, about 10 beta^2 here.
    assert errors[2] < 3e-5
    assert errors[0] / errors[1] == pytest.approx(4.0, rel=0.25)


def test_an_action_with_a_negative_advantage_is_pushed_away_from() -> None:
    x, y, _ = case(DEEP)
    values = parameters(DEEP)
    formed = learner(DEEP, ep(1e-3), values)
    good, bad = (formed.gradient(x, y, sign * np.ones(6)) for sign in (1.0, -1.0))
    np.testing.assert_allclose(flat(bad, values), -flat(good, values), rtol=1e-8, atol=1e-12)
    mixed = np.where(ADVANTAGES < 0, ADVANTAGES, 0.0)
    assert cosine(formed.gradient(x, y, mixed), exact(DEEP, ep(1e-3), mixed)) > 0.999999
    # One step: the probability of what was done falls.
    before = loss(DEEP, ep(0.1), values, np.ones(6))
    stepped = learner(DEEP, ep(0.1), values)
    stepped.step(x, y, -np.ones(6))
    assert loss(DEEP, ep(0.1), stepped.parameters(), np.ones(6)) > before


def test_a_sample_of_no_weight_teaches_nothing() -> None:
    x, y, _ = case(DEEP)
    values = parameters(DEEP)
    only = np.array([0.0, 0.0, 2.0, 0.0, 0.0, 0.0])
    alone = learner(DEEP, ep(0.1), values).gradient(x[2:3], y[2:3], only[2:3])
    among = learner(DEEP, ep(0.1), values).gradient(x, y, only)
    np.testing.assert_allclose(6.0 * flat(among, values), flat(alone, values), rtol=1e-9, atol=1e-12)


@pytest.mark.parametrize("topology", [CE, DEEP, MSE], ids=["ce", "deep", "mse"])
@pytest.mark.parametrize("activation", ["tanh", "logistic"])
def test_the_chain_rule_is_exact_for_the_forward_network(topology: Topology, activation: str) -> None:
    x, y, weights = case(topology)
    values = parameters(topology)

    def cost(moved: Mapping[str, Array]) -> float:
        scores = learner(topology, ChainRule(), moved, activation).scores(x)
        if topology.output == "mse":
            return float((weights * 0.5 * ((scores - y) ** 2).sum(axis=1)).mean())
        log_p = scores - np.log(np.exp(scores).sum(axis=1, keepdims=True))
        return float(-(weights * (y * log_p).sum(axis=1)).mean())

    found = learner(topology, ChainRule(), values, activation).gradient(x, y, weights)
    assert distance(found, slope(cost, values)) < 1e-7


def test_with_one_hidden_layer_both_credits_give_one_policy_and_one_gradient() -> None:
    x, y, weights = case(CE)
    values = parameters(CE)
    settled, forward = learner(CE, ep(1e-3), values), learner(CE, ChainRule(), values)
    np.testing.assert_allclose(settled.scores(x), forward.scores(x), rtol=1e-12)
    assert distance(settled.gradient(x, y, weights), forward.gradient(x, y, weights)) < 1e-5


def test_what_a_weight_learns_reads_its_two_layers_alone() -> None:
    captured: list[Network] = []

    class Spy(EquilibriumCredit):
        def settle(self, network: Network, x: torch.Tensor) -> dict[int, torch.Tensor]:
            captured.append(network)
            return super().settle(network, x)

    topology = Topology((7, 6, 5, 4, 3))
    x, y, weights = case(topology)
    values = parameters(topology)
    whole = learner(topology, Spy(0.1, LONG, BACK), values).gradient(x, y, weights)
    network, inputs = captured[0], torch.from_numpy(x)
    free = ep(0.1).settle(network, inputs)
    reach = 0.1 * torch.from_numpy(weights).view(-1, 1)
    phases = [
        network.relax(free, inputs, Nudge(torch.from_numpy(y), sign * reach), BACK).states for sign in (1, -1)
    ]
    for phase in phases:
        phase[3] = torch.full_like(phase[3], math.nan)
    poisoned = contrast(network, inputs, phases[0], phases[1], 0.2)
    for name in ("w0-1", "w1-2", "b1", "b2"):
        np.testing.assert_array_equal(poisoned[name].numpy(), whole[name])
    for name in ("w2-3", "b3"):
        assert torch.isnan(poisoned[name]).all()


def test_learning_lowers_the_cost_that_it_is_given() -> None:
    x, y, weights = case(MSE)
    values = parameters(MSE)
    credit = EquilibriumCredit(0.2, Relaxation(steps=10), Relaxation(order="backward", steps=10))
    found = WeightedLearner(MSE, values, credit, OptimizerSettings("adam", rate=0.01))
    for _ in range(200):
        found.step(x, y, weights)
    assert loss(MSE, credit, found.parameters(), weights) < 0.1 * loss(MSE, credit, values, weights)


def test_a_cap_bounds_what_joins_layers_that_settle_and_nothing_else() -> None:
    x, y, weights = case(MSE)
    values = {name: 8.0 * value for name, value in parameters(MSE).items()}
    settings = OptimizerSettings("sgd", rate=1e-6, momentum=0.0, spectral_cap=0.9)
    found = WeightedLearner(MSE, values, ep(0.1), settings)
    for _ in range(2):
        norms = {name: np.linalg.norm(value, 2) for name, value in found.parameters().items()}
        assert norms["w1-2"] == pytest.approx(0.9, rel=1e-3)
        assert norms["w2-3"] == pytest.approx(0.9, rel=1e-3)
        assert norms["w0-1"] == pytest.approx(np.linalg.norm(values["w0-1"], 2), rel=1e-3)
        found.step(x, y, weights)


def test_what_does_not_fit_is_refused() -> None:
    x, y, weights = case(MSE)
    found = learner(MSE, EquilibriumCredit(0.2, LONG, BACK), parameters(MSE))
    with pytest.raises(KernelError, match=r"below 0\.5"):
        found.step(x, y, 3.0 * weights)
    with pytest.raises(KernelError, match="finite"):
        found.step(x, y, math.nan * weights)
    with pytest.raises(KernelError, match=r"y must have the shape \(6, 1\)"):
        found.step(x, y[:5], weights)
    with pytest.raises(KernelError, match="weights must have"):
        found.step(x, y, weights[:5])
    with pytest.raises(KernelError, match="at least 1 sample"):
        found.step(x[:0], y[:0], weights[:0])
    with pytest.raises(KernelError, match="w1-2"):
        learner(MSE, ChainRule(), parameters(CE))
    for beta in (0.0, math.inf):
        with pytest.raises(KernelError, match="beta"):
            EquilibriumCredit(beta, LONG, BACK)
    with pytest.raises(KernelError, match="nudged"):
        EquilibriumCredit(0.1, LONG, Relaxation(steps=0))


def test_a_gradient_that_is_not_finite_changes_nothing_and_ends_the_learner() -> None:
    x, y, weights = case(MSE)
    found = learner(MSE, ep(0.1), parameters(MSE))
    before = found.parameters()
    with pytest.raises(DivergedError, match="step 1"):
        found.step(x, np.full_like(y, math.inf), weights)
    for name, value in found.parameters().items():
        np.testing.assert_array_equal(value, before[name])
    with pytest.raises(DivergedError, match="step 1"):
        found.step(x, y, weights)
