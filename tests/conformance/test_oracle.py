"""The oracle itself: against a network worked by hand, and its optimizers against their definitions."""

import math

import numpy as np
import pytest

from kernels import Relaxation, Rule, Topology
from tests.conformance import cases
from tests.conformance.oracle import Oracle, Steps, capped, finite_differences, newton_schulz


def test_a_chain_of_three_units_by_hand() -> None:
    """x = 1, W1 = .5, b1 = .1, W2 = .5, b2 = 0, y = 1: s = .6 + .5 o and o = .5 s give s = .8, o = .4."""
    shape = Topology((1, 1, 1), output="mse")
    values = {
        "w0-1": np.array([[0.5]]),
        "w1-2": np.array([[0.5]]),
        "b1": np.array([0.1]),
        "b2": np.array([0.0]),
    }
    net = Oracle(shape, values)
    x, y = np.ones((1, 1)), np.ones((1, 1))
    u = net.equilibrium(net.start(x))
    np.testing.assert_allclose(u, [[1.0, 0.8, 0.4]], atol=1e-14)
    # E = .32 + .08 - .8 * .6 - .4 * .4, C = .18.
    assert net.energy(u)[0] == pytest.approx(-0.24)
    assert net.cost(u, y)[0] == pytest.approx(0.18)
    # At beta = .5: 1.5 o = .5 s + .5 and s = .6 + .5 o, so o = .64, s = .92; at -.5: .5 o = .5 s - .5, o = -.8, s = .2.
    calm = Relaxation(steps=500)
    how = Rule("centred", beta=0.5, free=calm, nudged=calm)
    came = net.gradient(x, y, how)[0]
    assert came["w0-1"] == pytest.approx(np.array([[-(0.92 - 0.2)]]))
    assert came["w1-2"] == pytest.approx(np.array([[-(0.92 * 0.64 + 0.2 * 0.8)]]))
    assert came["b1"] == pytest.approx(np.array([-0.72]))
    assert came["b2"] == pytest.approx(np.array([-1.44]))
    # dL/do = o - y = -.6, do/db2 = 1/(1 - .25), do/db1 = .5/(1 - .25).
    how = Rule("linearised", beta=0.5, free=calm, nudged=calm)
    came = net.gradient(x, y, how)[0]
    assert came["b2"] == pytest.approx(np.array([-0.8]))
    assert came["b1"] == pytest.approx(np.array([-0.4]))
    assert came["w1-2"] == pytest.approx(np.array([[-0.6 * (0.8 / 0.75) - 0.6 * 0.5 / 0.75 * 0.4]]))


@pytest.mark.parametrize("output", ["ce", "mse"])
def test_what_a_layer_receives_is_the_slope_of_the_total_energy(output: str) -> None:
    shape = cases.topology(output, 3, skip=True)
    net = Oracle(shape, cases.weights(shape))
    x, labels = cases.batch(shape)
    y, u, beta, h = cases.one_hot(shape, labels), net.start(x) + 0.125, 0.3, 1e-6
    for l in net.states:
        part = net.parts[l]
        slope = u[:, part] - net.pre(u, l, beta, y)
        if l == net.L:
            slope = slope + beta * (u[:, part] - y)
        for unit in range(part.start, part.stop):
            up, down = u.copy(), u.copy()
            up[:, unit] += h
            down[:, unit] -= h
            total = [net.energy(v) + beta * net.cost(v, y) for v in (up, down)]
            np.testing.assert_allclose(
                slope[:, unit - part.start], (total[0] - total[1]) / (2 * h), atol=1e-8
            )


def test_finite_differences_of_a_quadratic_are_exact() -> None:
    at = {"a": np.array([[1.0, -2.0]]), "b": np.array([0.5])}
    slopes = finite_differences(lambda p: float((p["a"] ** 2).sum() + 3 * p["b"][0] * p["a"][0, 1]), at, 0.25)
    np.testing.assert_allclose(slopes["a"], [[2.0, -4.0 + 1.5]])
    np.testing.assert_allclose(slopes["b"], [-6.0])


def test_optimizers_by_hand() -> None:
    from kernels import OptimizerSettings

    one, g = {"b1": np.array([1.0])}, {"b1": np.array([0.5])}
    sgd = Steps(OptimizerSettings("sgd", rate=0.1, momentum=0.9))
    assert sgd(sgd(one, g), g)["b1"] == pytest.approx(np.array([1.0 - 0.05 - 0.095]))
    adam = Steps(OptimizerSettings("adam", rate=0.1))
    # The corrected moments of a constant gradient are the gradient and its square: each step is the rate.
    assert adam(adam(one, g), g)["b1"] == pytest.approx(np.array([0.8]))
    adamw = Steps(OptimizerSettings("adamw", rate=0.1, weight_decay=0.5))
    assert adamw(one, g, 0.5)["b1"] == pytest.approx(np.array([1.0 - 0.025 - 0.05]))
    # Newton-Schulz acts on singular values alone: sigma <- 3.4445 sigma - 4.7750 sigma^3 + 2.0315 sigma^5.
    sigma = 1 / math.sqrt(2)
    expected = 3.4445 * sigma - 4.7750 * sigma**3 + 2.0315 * sigma**5
    np.testing.assert_allclose(newton_schulz(np.diag([3.0, -3.0]), 1), np.diag([expected, -expected]))
    muon = Steps(OptimizerSettings("muon", rate=0.1, momentum=0.5, ns_steps=1))
    tall = np.zeros((4, 1))
    tall[0] = 2.0
    moved = muon({"w0-1": np.zeros((4, 1))}, {"w0-1": tall})["w0-1"]
    np.testing.assert_allclose(moved[:, 0], [-0.1 * 2.0 * (3.4445 - 4.7750 + 2.0315), 0, 0, 0], atol=1e-12)
    np.testing.assert_allclose(capped(np.diag([3.0, 0.5]), 1.0), np.diag([1.0, 0.5]))
