"""The arbiter itself: against a hand-worked network, and against finite differences."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from kernels import Relaxation, Rule, Topology
from kernels.backends.reference import Reference, softmax
from tests.kernels.networks import batch, parameters, relative_error, rule, uniform

STEP = 1e-6
SETTLE = Relaxation(steps=3000, tolerance=1e-14)


def network(topology: Topology, rows: int = 5, gain: float = 0.5) -> Reference:
    x, y = batch(topology, rows)
    return Reference(topology, parameters(topology, gain), x, np.eye(topology.sizes[-1])[y])


def test_energy_of_a_hand_worked_network() -> None:
    topology = Topology((1, 2, 1), output="mse")
    values = {
        "w0-1": np.array([[2.0], [-1.0]]),
        "w1-2": np.array([[0.5, 1.0]]),
        "b1": np.array([0.0, 0.25]),
        "b2": np.array([0.1]),
    }
    net = Reference(topology, values, np.array([[0.5]]), np.array([[1.0]]))
    states = {1: np.array([[0.5, 0.2]]), 2: np.array([[0.3]])}
    # 1/2 (.25 + .04 + .09) - .5 (1) - .2 (-.5 + .25) - .3 (.25 + .2 + .1)
    assert net.energy(states) == pytest.approx([0.19 - 0.5 + 0.05 - 0.165])
    assert net.cost(states) == pytest.approx([0.5 * 0.49])
    # Layer 1 receives (1, -.5 + .25) + .3 (.5, 1); the nudged output is (h + beta y)/(1 + beta).
    assert net.pull(states, 1, 0.0) == pytest.approx(np.array([[1.15, 0.05]]))
    nudged = net.sweep(states, 0.5, Relaxation(order="backward", steps=1), 0)
    assert nudged[2] == pytest.approx(np.array([[(0.55 + 0.5) / 1.5]]))
    assert nudged[1] == pytest.approx(np.array([[1.0, 0.45]]))


@pytest.mark.parametrize("output", ["ce", "mse"])
@pytest.mark.parametrize("skips", [(), ((0, 2), (1, 3))])
def test_pull_is_the_gradient_of_the_total_energy(output: str, skips: tuple) -> None:
    topology = Topology((6, 5, 4, 3), output=output, skips=skips)
    net, beta = network(topology), 0.3
    states = {layer: uniform(f"s{layer}", 5, topology.sizes[layer]) for layer in topology.state_layers}

    def total(layer: int, unit: int, change: float) -> np.ndarray:
        moved = {k: v.copy() for k, v in states.items()}
        moved[layer][:, unit] += change
        return net.energy(moved) + beta * net.cost(moved)

    for layer in topology.state_layers:
        exact = states[layer] - net.pull(states, layer, beta)
        if layer == topology.last:
            exact += beta * (states[layer] - net.y)
        for unit in range(topology.sizes[layer]):
            slope = (total(layer, unit, STEP) - total(layer, unit, -STEP)) / (2 * STEP)
            assert exact[:, unit] == pytest.approx(slope, rel=1e-6, abs=1e-8)


@given(
    seed=st.integers(0, 10**6),
    output=st.sampled_from(["ce", "mse"]),
    order=st.sampled_from(["forward", "backward", "alternating"]),
    gain=st.floats(0.1, 4.0),
    beta=st.sampled_from([0.0, 0.4, -0.4]),
)
@settings(max_examples=60, deadline=None)
def test_block_sweeps_never_raise_the_energy(
    seed: int, output: str, order: str, gain: float, beta: float
) -> None:
    """The nudge of a softmax readout is not minimised exactly, so F is followed with an mse output only."""
    topology = Topology((6, 5, 4, 3), output=output, skips=((1, 3),))
    beta = beta if output == "mse" else 0.0
    values = {
        name: uniform(f"{seed}/{name}", *shape) * 2 - 1 for name, shape in topology.parameter_shapes.items()
    }
    for name in ("w1-2", "w2-3"):
        values[name] *= gain
    x, y = batch(topology, 4, f"{seed}")
    net = Reference(topology, values, x, np.eye(3)[y])
    states = net.feed_forward()
    before = net.energy(states) + beta * net.cost(states)
    for step in range(8):
        states = net.sweep(states, beta, Relaxation(order=order, steps=8), step)
        after = net.energy(states) + beta * net.cost(states)
        assert np.all(after <= before + 1e-12)
        before = after


def loss_gradient(net: Reference) -> dict[str, np.ndarray]:
    """Central differences of the mean cost at the settled free state."""

    def loss() -> float:
        free, _, residual = net.settle(net.feed_forward(), 0.0, SETTLE)
        assert residual <= 1e-14
        return float(net.cost(free).mean())

    gradient = {}
    for name, value in net.parameters.items():
        slope = np.zeros_like(value)
        for index in np.ndindex(value.shape):
            kept = value[index]
            value[index] = kept + STEP
            above = loss()
            value[index] = kept - STEP
            slope[index] = (above - loss()) / (2 * STEP)
            value[index] = kept
        gradient[name] = slope
    return gradient


@pytest.mark.parametrize("output", ["ce", "mse"])
@pytest.mark.parametrize("skips", [(), ((0, 2), (1, 3), (0, 3))])
def test_estimates_are_the_gradient_of_the_loss(output: str, skips: tuple) -> None:
    """Scellier & Bengio (2017), theorem 1: at a settled free state the contrast is the gradient as beta vanishes.

    Central differences of step 1e-6 in float64 err by about 1e-10; the centred estimate by beta**2.
    """
    net = network(Topology((4, 4, 3, 3), output=output, skips=skips))
    exact = loss_gradient(net)
    for estimate, bound in {"centred": 1e-5, "linearised": 1e-6, "one-sided": 3e-3, "negative": 3e-3}.items():
        found, _, _, _ = net.gradient(Rule(estimate, 1e-3, SETTLE, SETTLE))
        assert relative_error(found, exact) <= bound, estimate
    for sign in (1, -1):
        found, _, _, _ = net.gradient(Rule("random-sign", 1e-3, SETTLE, SETTLE), sign)
        assert relative_error(found, exact) <= 3e-3


def test_a_tolerance_ends_a_phase() -> None:
    net = network(Topology((6, 5, 4, 3), output="mse"))
    _, steps, residual = net.settle(net.feed_forward(), 0.0, Relaxation(steps=100, tolerance=1e-3))
    assert 1 < steps < 100
    assert residual <= 1e-3
    _, all_steps, small = net.settle(net.feed_forward(), 0.0, Relaxation(steps=100))
    assert all_steps == 100
    assert small < residual
    assert net.gradient(rule("centred", free=5, nudged=2))[1:3] == (5, 2)


def test_softmax_rows_sum_to_one() -> None:
    p = softmax(np.array([[1000.0, 0.0], [1.0, 1.0]]))
    assert p == pytest.approx(np.array([[1.0, 0.0], [0.5, 0.5]]))
