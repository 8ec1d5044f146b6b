"""The relaxation of the torch engine, seen from inside: energies, orders, stopping, and the readout's trap."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from kernels import OptimizerSettings, Relaxation, Rule, Topology
from kernels.arithmetic import run
from kernels.backends.reference import Reference
from kernels.energy import energy, energy_gradient, total_energy
from kernels.engine import Engine
from kernels.settle import Relaxer, sweep, sweep_order
from kernels.workspace import Workspace
from tests.kernels.networks import batch, parameters, rule, uniform

ROWS = 4


def workspace(topology: Topology, chosen: Rule, values: dict | None = None) -> Workspace:
    """A workspace in float32 whose batch is loaded."""
    values = values or parameters(topology)
    with torch.inference_mode():
        engine = Engine(
            topology,
            [values],
            [chosen],
            [OptimizerSettings("sgd")],
            batch=ROWS,
            arithmetic="fp32",
            population=None,
        )
        x, y = batch(topology, ROWS)
        made = engine.workspace(ROWS)
        made.load(torch.from_numpy(x), torch.from_numpy(y))
    return made


def arbiter(topology: Topology, values: dict | None = None) -> Reference:
    x, y = batch(topology, ROWS)
    return Reference(topology, values or parameters(topology), x, np.eye(topology.sizes[-1])[y])


def numpy_states(phase) -> dict[int, np.ndarray]:
    return {layer: state.value.T.double().numpy() for layer, state in phase.states.items()}


TOPOLOGIES = [
    Topology((6, 5, 4, 3), output=output, skips=skips)
    for output in ("ce", "mse")
    for skips in ((), ((0, 2), (1, 3), (0, 3)))
]


@pytest.mark.parametrize("topology", TOPOLOGIES)
@torch.inference_mode()
def test_energies_and_gradients_equal_the_arbiters(topology: Topology) -> None:
    made, net = workspace(topology, rule(beta=0.3)), arbiter(topology)
    run(made.begin)
    run(made.read)
    run(made.compare)
    phase = made.nudged[0]
    run([*phase.copy_from(made.free, phase.layers), *phase.pull_by(made.mistake)])
    for layer, state in phase.states.items():
        drawn = uniform(f"s{layer}", ROWS, topology.sizes[layer]).astype(np.float32)
        for each in (state, made.free.states[layer]):
            each.value.copy_(torch.from_numpy(drawn.T))
    states = numpy_states(phase)
    assert energy(made.free).numpy() == pytest.approx(net.energy(states), abs=1e-6)
    expected = net.energy(states) + 0.3 * net.cost(states)
    assert total_energy(phase).numpy() == pytest.approx(expected, abs=1e-6)
    for layer in topology.state_layers:
        force = net.pull(states, layer, 0.3) - states[layer]
        if layer == topology.last:
            force += 0.3 * (net.y - states[layer])
        assert energy_gradient(phase, layer).T.numpy() == pytest.approx(-force, abs=1e-6)
        free_force = net.pull(states, layer, 0.0) - states[layer]
        assert energy_gradient(made.free, layer).T.numpy() == pytest.approx(-free_force, abs=1e-6)


@given(
    seed=st.integers(0, 10**6),
    topology=st.sampled_from(TOPOLOGIES),
    order=st.sampled_from(["forward", "backward", "alternating"]),
    gain=st.floats(0.1, 4.0),
)
@settings(max_examples=40, deadline=None)
@torch.inference_mode()
def test_block_sweeps_never_raise_the_energy(seed: int, topology: Topology, order: str, gain: float) -> None:
    values = {
        name: uniform(f"{seed}/{name}", *shape) * 2 - 1 for name, shape in topology.parameter_shapes.items()
    }
    for source, target in topology.recurrent:
        values[f"w{source}-{target}"] *= gain
    made = workspace(topology, rule(), values)
    run(made.begin)
    before = energy(made.free)
    for step in range(8):
        run(sweep(made.free, Relaxation(order=order, steps=8), step, measured=False))
        after = energy(made.free)
        assert torch.all(after <= before + 1e-5 * (1 + before.abs()))
        before = after


def test_orders() -> None:
    layers = (1, 2, 3)
    assert sweep_order(layers, Relaxation(order="forward"), 0) == (1, 2, 3)
    assert sweep_order(layers, Relaxation(order="backward"), 1) == (3, 2, 1)
    alternating = Relaxation(order="alternating")
    assert [sweep_order(layers, alternating, step) for step in range(3)] == [(3, 2, 1), (1, 2, 3), (3, 2, 1)]


@pytest.mark.parametrize("scheme", ["block", "synchronous"])
@pytest.mark.parametrize("order", ["forward", "backward", "alternating"])
@pytest.mark.parametrize("steps", [1, 2, 3, 4, 7])
@pytest.mark.parametrize("topology", TOPOLOGIES)
@torch.inference_mode()
def test_states_and_residuals_equal_the_arbiters(
    topology: Topology, steps: int, order: str, scheme: str
) -> None:
    chosen = rule("one-sided", scheme=scheme, orders=(order, order), free=steps, nudged=steps, step_size=0.4)
    made, net = workspace(topology, chosen), arbiter(topology)
    settled = made.relax(measured=True)
    free, taken, residual = net.settle(net.feed_forward(), 0.0, chosen.free)
    assert settled.steps == taken == steps
    assert settled.residual == pytest.approx(residual, abs=1e-6)
    for layer, state in numpy_states(made.free).items():
        assert state == pytest.approx(free[layer], abs=1e-6)
    run(made.compare)
    for start, relaxer in made.nudging:
        run(start)
        relaxer.run()
    nudged, _, _ = net.settle(free, 0.3, chosen.nudged)
    for layer, state in numpy_states(made.nudged[0]).items():
        assert state == pytest.approx(nudged[layer], abs=1e-6)


@pytest.mark.parametrize("topology", TOPOLOGIES)
@torch.inference_mode()
def test_a_tolerance_stops_where_the_arbiter_stops(topology: Topology) -> None:
    for tolerance in (3e-2, 3e-3, 3e-4):
        chosen = rule(free=60, nudged=50, tolerance=tolerance, orders=("alternating", "backward"))
        made, net = workspace(topology, chosen), arbiter(topology)
        settled = made.relax(measured=False)
        free, steps, residual = net.settle(net.feed_forward(), 0.0, chosen.free)
        assert settled.steps == steps < 60
        assert settled.residual == pytest.approx(residual, abs=1e-6)
        expected = max(net.settle(free, beta, chosen.nudged)[1] for beta in (0.3, -0.3))
        assert made.nudge(1).steps == expected < 50


@torch.inference_mode()
def test_a_tolerance_that_is_never_met_takes_all_steps_and_nan_ends_at_once() -> None:
    topology = Topology((6, 5, 4, 3), output="mse")
    made = workspace(topology, rule(free=5, tolerance=1e-30))
    assert made.relax(measured=False).steps == 5
    made.weights["b1"].value[0] = torch.nan
    settled = made.relax(measured=False)
    assert settled.steps == 1
    assert np.isnan(settled.residual)


@torch.inference_mode()
def test_no_steps_keep_the_feed_forward_state() -> None:
    topology = Topology((6, 5, 4, 3), output="mse")
    made, net = workspace(topology, rule(free=0)), arbiter(topology)
    assert made.relax(measured=True).residual == 0.0
    for layer, state in net.feed_forward().items():
        assert numpy_states(made.free)[layer] == pytest.approx(state, abs=1e-6)


@torch.inference_mode()
def test_the_cost_reads_a_layer_before_it_is_overwritten() -> None:
    """The trap: overwriting s_{L-1} in place before the softmax reads it lost ten points in silence.

    From states that make no mistake yet, one sweep at a readout's only source must pull by the old states' error.
    """
    topology = Topology((6, 5, 3))
    made, net = workspace(topology, rule("one-sided", nudged=1)), arbiter(topology)
    phase = made.nudged[0]
    run(made.begin)
    drawn = uniform("trap", ROWS, 5)
    phase.states[1].value.copy_(torch.from_numpy(drawn.T.astype(np.float32)))
    run(sweep(phase, Relaxation(order="backward", steps=1), 0, measured=False))
    expected = net.sweep({1: drawn}, 0.3, Relaxation(order="backward", steps=1), 0)
    assert numpy_states(phase)[1] == pytest.approx(expected[1], abs=1e-6)


@torch.inference_mode()
def test_a_nudged_output_is_the_exact_minimiser() -> None:
    topology = Topology((6, 5, 3), output="mse")
    for beta in (0.4, -0.9):
        made = workspace(topology, rule("one-sided", 0.4))
        phase = made.nudged[0]
        phase.set_beta(beta)
        run(made.begin)
        run([*phase.copy_from(made.free, phase.layers), *phase.pull_by(made.mistake)])
        run(sweep(phase, Relaxation(order="backward", steps=1), 0, measured=False))
        _, y = batch(topology, ROWS)
        h = arbiter(topology).from_below(numpy_states(made.free), 2)
        assert numpy_states(phase)[2] == pytest.approx((h + beta * np.eye(3)[y]) / (1 + beta), abs=1e-5)


def test_a_relaxer_can_run_again() -> None:
    topology = Topology((6, 5, 4, 3))
    with torch.inference_mode():
        made = workspace(topology, rule())
        relaxer = Relaxer(made.free, Relaxation(steps=3), measured=True)
        run(made.begin)
        first = relaxer.run()
        run(made.begin)
        assert relaxer.run() == first
