"""Lyapunov exponents of maps that have closed forms, and of settle maps."""

import math

import numpy as np
import pytest

from kernels import DivergedError, KernelError, Relaxation, Topology
from kernels.backends.reference import Reference
from kernels.probes.exponent import exponents, settle_map
from tests.kernels.networks import SEED, batch, parameters, uniform


def linear(matrix):
    return lambda state, tangents, step: (state @ matrix.T, tangents @ matrix.T)


def logistic(r):
    return lambda state, tangents, step: (r * state * (1 - state), r * (1 - 2 * state) * tangents)


def test_a_linear_map_has_the_logarithms_of_its_eigenvalues():
    basis = uniform("exponent/basis", 4, 4) + np.eye(4)
    matrix = basis @ np.diag([0.9, -0.6, 0.3, 0.1]) @ np.linalg.inv(basis)
    found = exponents(linear(matrix), np.ones(4), steps=300, warmup=100, seed=SEED, count=3)
    # What remains of the tangents' start is (.6/.9)^100.
    assert found == pytest.approx([math.log(0.9), math.log(0.6), math.log(0.3)], abs=1e-12)


def test_a_rotation_neither_grows_nor_shrinks():
    turn = np.array([[math.cos(1.0), -math.sin(1.0)], [math.sin(1.0), math.cos(1.0)]])
    found = exponents(linear(turn), np.ones(2), steps=50, warmup=0, seed=SEED, count=2)
    assert found == pytest.approx([0.0, 0.0], abs=1e-12)


def test_the_logistic_map_at_4_has_the_exponent_ln_2():
    found = exponents(logistic(4.0), np.array([0.3]), steps=20_000, warmup=100, seed=SEED)
    # The mean of 20,000 correlated steps; its standard error is about .005.
    assert found[0] == pytest.approx(math.log(2.0), abs=0.02)
    # In its window of period 3 the same map is no chaos.
    assert exponents(logistic(3.83), np.array([0.3]), steps=1000, warmup=500, seed=SEED)[0] < -0.1


def test_a_wrong_tangent_misses_the_closed_form():
    # Sabotage: tangents of half the map.
    matrix = np.diag([0.9, 0.2])
    found = exponents(
        lambda state, tangents, step: (state @ matrix, tangents @ matrix / 2),
        np.ones(2),
        steps=50,
        warmup=50,
        seed=SEED,
    )
    assert abs(found[0] - math.log(0.9)) > 0.5


def test_what_a_map_removes_has_no_exponent():
    nilpotent = np.array([[0.0, 1.0], [0.0, 0.0]])
    for warmup in (0, 10):
        found = exponents(linear(nilpotent), np.ones(2), steps=10, warmup=warmup, seed=SEED)
        assert found == (-math.inf,)


def test_a_map_that_leaves_the_numbers_is_told():
    with pytest.raises(DivergedError, match="state or tangents"):
        exponents(
            lambda state, tangents, step: (state**3, tangents), np.array([9.0]), steps=99, warmup=0, seed=SEED
        )
    with pytest.raises(KernelError, match="1 to 2 exponents"):
        exponents(linear(np.eye(2)), np.ones(2), steps=9, warmup=0, seed=SEED, count=3)
    with pytest.raises(KernelError, match="steps >= 1"):
        exponents(linear(np.eye(2)), np.ones(2), steps=0, warmup=0, seed=SEED)


RELAXATIONS = [
    Relaxation(order="forward"),
    Relaxation(order="backward"),
    Relaxation(order="alternating"),
    Relaxation(scheme="synchronous", step_size=0.6),
]


@pytest.mark.parametrize("relaxation", RELAXATIONS)
@pytest.mark.parametrize("output", ["ce", "mse"])
def test_tangents_of_a_sweep_are_its_finite_differences(relaxation, output):
    topology = Topology((6, 5, 4, 3), output=output, skips=((1, 3),))
    x, _ = batch(topology, 1)
    network = Reference(topology, parameters(topology, gain=0.9), x, np.zeros((1, 3)))
    advance, start = settle_map(network, relaxation)
    tangents = uniform("exponent/tangents", 2, len(start)) - 0.5
    for step in (0, 1):
        _, pushed = advance(start, tangents, step)
        for row in range(2):
            up, down = (advance(start + side * 1e-6 * tangents[row], tangents, step)[0] for side in (1, -1))
            assert pushed[row] == pytest.approx((up - down) / 2e-6, abs=1e-8)


def settled_halves(gain: float, weight: np.ndarray) -> tuple[Topology, dict[str, np.ndarray]]:
    """Two hidden layers whose equilibrium is one half everywhere, for any gain."""
    n = len(weight)
    coupling = gain * weight
    return Topology((1, n, n, 2)), {
        "w0-1": np.zeros((n, 1)),
        "w1-2": coupling,
        "w2-3": np.zeros((2, n)),
        "b1": 0.5 - coupling.T @ np.full(n, 0.5),
        "b2": 0.5 - coupling @ np.full(n, 0.5),
        "b3": np.zeros(2),
    }


def test_the_exponent_of_settling_crosses_0_at_gain_1():
    weight = uniform("exponent/weight", 4, 4) - 0.5
    weight /= np.linalg.norm(weight, 2)
    found = []
    for gain in (0.8, 0.95, 1.0, 1.05, 1.2):
        topology, values = settled_halves(gain, weight)
        network = Reference(topology, values, np.zeros((1, 1)), np.zeros((1, 2)))
        advance, start = settle_map(network, Relaxation(scheme="synchronous"))
        # From the equilibrium itself: errors of rounding grow to 1e-16 * 1.2^120 = 3e-7 at most.
        found += exponents(advance, np.full_like(start, 0.5), steps=40, warmup=80, seed=SEED)
    assert found == pytest.approx(np.log([0.8, 0.95, 1.0, 1.05, 1.2]), abs=1e-3)


def test_a_settle_map_is_that_of_one_sample():
    topology = Topology((6, 5, 4, 3))
    x, _ = batch(topology, 2)
    with pytest.raises(KernelError, match="1 sample, got 2"):
        settle_map(Reference(topology, parameters(topology), x, np.zeros((2, 3))), Relaxation())
