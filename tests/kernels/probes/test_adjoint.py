"""Exact gradients at the equilibrium: against finite differences, two ways against each other, and broken."""

import numpy as np
import pytest

from kernels import DivergedError, KernelError, Relaxation, Rule, Topology
from kernels.probes.adjoint import adjoint, exact_adjoint, input_gradients, parameter_gradient
from kernels.probes.couplings import Couplings
from kernels.probes.equilibrium import THOROUGH, find_equilibrium, losses, settle_times
from tests.kernels.networks import batch, parameters, relative_error

TOPOLOGIES = [
    Topology((6, 5, 4, 3), output=output, skips=skips)
    for output in ("ce", "mse")
    for skips in ((), ((0, 2), (1, 3), (0, 3)))
]
LONG = Relaxation(steps=2000, tolerance=1e-13)
STEP = 1e-6


def settled(topology, values, x, y):
    return find_equilibrium(topology, values, x, y, LONG)


def problem(topology, rows=5):
    x, classes = batch(topology, rows)
    return parameters(topology, gain=0.7), x.astype(np.float64), np.eye(topology.sizes[-1])[classes]


def mean_cost(topology, values, x, y):
    found = settled(topology, values, x, y)
    return float(losses(found.network, found.states).mean())


@pytest.mark.parametrize("topology", TOPOLOGIES)
def test_the_input_gradient_is_that_of_finite_differences(topology):
    values, x, y = problem(topology)
    found = settled(topology, values, x, y)
    couplings = Couplings(topology, values)
    gradient = input_gradients(
        found.network, found.states, adjoint(found.network, found.states, couplings, tolerance=1e-13)
    )
    for column in range(topology.sizes[0]):
        moved = np.zeros_like(x)
        moved[:, column] = STEP
        up, down = (settled(topology, values, x + side * moved, y) for side in (1, -1))
        slope = (losses(up.network, up.states) - losses(down.network, down.states)) / (2 * STEP)
        # Central differences of step 1e-6: rounding of 1e-13/1e-6, and no unit of these crosses a bound.
        assert slope == pytest.approx(gradient[:, column], abs=1e-6)
    assert np.abs(gradient).max() > 1e-3


@pytest.mark.parametrize("topology", TOPOLOGIES)
def test_the_parameter_gradient_is_that_of_finite_differences(topology):
    values, x, y = problem(topology)
    found = settled(topology, values, x, y)
    exact = parameter_gradient(found.network, found.states, exact_adjoint(found.network, found.states))
    for name, value in values.items():
        place = (0,) * value.ndim
        costs = []
        for side in (STEP, -STEP):
            changed = value.copy()
            changed[place] += side
            costs.append(mean_cost(topology, values | {name: changed}, x, y))
        assert (costs[0] - costs[1]) / (2 * STEP) == pytest.approx(exact[name][place], abs=1e-6)


@pytest.mark.parametrize("topology", TOPOLOGIES)
def test_sweeps_the_dense_solve_and_the_arbiters_linear_phase_agree(topology):
    values, x, y = problem(topology)
    found = settled(topology, values, x, y)
    network, states = found.network, found.states
    dense = parameter_gradient(network, states, exact_adjoint(network, states))
    swept = parameter_gradient(
        network, states, adjoint(network, states, Couplings(topology, values), tolerance=1e-13)
    )
    arbiter, *_ = network.gradient(Rule("linearised", 1.0, LONG, LONG))
    assert relative_error(swept, dense) < 1e-10
    assert relative_error(arbiter, dense) < 1e-9


def test_a_wrong_transpose_is_no_gradient():
    # Sabotage: errors that come down through other matrices.
    topology = TOPOLOGIES[2]
    values, x, y = problem(topology)
    found = settled(topology, values, x, y)
    network, states = found.network, found.states
    wrong = Couplings(topology, values, {name: -value for name, value in values.items()})
    exact = input_gradients(network, states, adjoint(network, states, Couplings(topology, values)))
    assert np.abs(input_gradients(network, states, adjoint(network, states, wrong)) - exact).max() > 1e-2


def test_an_unstable_equilibrium_is_told_and_not_swept_on():
    topology = Topology((1, 1, 1), output="mse")
    values = {"w0-1": np.ones((1, 1)), "w1-2": np.array([[3.0]]), "b1": np.zeros(1), "b2": np.zeros(1)}
    found = find_equilibrium(topology, values, np.array([[0.5]]), np.array([[1.0]]), Relaxation())
    assert found.states[1] == 0.5  # an inner state, from which d grows ninefold a sweep
    with pytest.raises(DivergedError, match="displacements"):
        adjoint(found.network, found.states, Couplings(topology, values))


def test_a_singular_equilibrium_is_refused_by_the_dense_solve():
    topology = Topology((1, 1, 1), output="mse")
    values = {"w0-1": np.ones((1, 1)), "w1-2": np.ones((1, 1)), "b1": np.zeros(1), "b2": np.zeros(1)}
    found = find_equilibrium(topology, values, np.array([[0.5]]), np.array([[1.0]]), Relaxation())
    with pytest.raises(KernelError, match="singular"):
        exact_adjoint(found.network, found.states)


def test_samples_settle_alone_as_they_settle_together():
    topology = TOPOLOGIES[2]
    values, x, y = problem(topology, rows=7)
    together = find_equilibrium(topology, values, x, y)
    assert together.residuals.max() <= THOROUGH.tolerance
    for row in range(7):
        alone = find_equilibrium(topology, values, x[row : row + 1], y[row : row + 1])
        for layer, state in alone.states.items():
            assert state[0] == pytest.approx(together.states[layer][row], abs=1e-9)


def test_settle_times_of_a_linear_pair_are_those_of_its_rate():
    # h_n - h_(n-1) = w^2n x: the first n with w^2n x <= tolerance.
    topology = Topology((1, 1, 1), output="mse", clip=1e9)
    w = 0.6
    values = {"w0-1": np.ones((1, 1)), "w1-2": np.array([[w]]), "b1": np.zeros(1), "b2": np.zeros(1)}
    x = np.array([[0.1], [1.0], [50.0]])
    network = find_equilibrium(topology, values, x, np.zeros((3, 1))).network
    sweeps, _ = settle_times(network, Relaxation(), tolerance=1e-6, limit=100)
    assert sweeps.tolist() == [int(np.ceil(np.log(v / 1e-6) / (-2 * np.log(w)))) for v in x[:, 0]]
    sweeps, _ = settle_times(network, Relaxation(), tolerance=1e-6, limit=12)
    assert sweeps.tolist() == [12, 0, 0]
