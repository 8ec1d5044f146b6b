"""The energy falls, the settled state is stationary, and `diagnose` says what happens."""

from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from kernels import Relaxation, Topology
from tests.conformance import cases
from tests.conformance.cases import BF16, EXACT, FP32, REFERENCE, Way
from tests.conformance.oracle import Oracle

# How far rounding alone may raise a mean energy of order 1.
SLACK = {REFERENCE: 1e-12, FP32: 2e-6, EXACT: 1e-3, BF16: 0.05}


@st.composite
def topologies(draw: st.DrawFn) -> Topology:
    sizes = tuple(draw(st.lists(st.integers(1, 6), min_size=3, max_size=5)))
    last = len(sizes) - 1
    possible = [(k, l) for k in range(last) for l in range(k + 2, last + 1)]
    skips = draw(st.lists(st.sampled_from(possible), unique=True, max_size=4))
    return Topology(
        sizes,
        output=draw(st.sampled_from(["ce", "mse"])),
        skips=tuple(skips),
        clip=draw(st.sampled_from([0.5, 1.0, 2.0])),
    )


# Weights of a norm far above 1 too: what the energy does must not depend on whether the network settles.
networks = st.tuples(topologies(), st.sampled_from([0.5, 1.0, 2.5]), st.integers(0, 10**6))
orders = st.sampled_from(["forward", "backward", "alternating"])


@settings(max_examples=60, deadline=None)
@given(networks, orders)
def test_free_block_sweeps_never_raise_the_energy(network: tuple[Topology, float, int], order: Any) -> None:
    shape, gain, label = network
    values = cases.weights(shape, str(label), gain=gain)
    x, y = cases.batch(shape, 4, str(label))
    net = Oracle(shape, values)
    relaxation = Relaxation(order=order, steps=6)
    u, series = net.start(x), []
    for t in range(6):
        moved = net.sweep(u, 0.0, None, relaxation, t)
        assert np.all(net.energy(moved) <= net.energy(u) + 1e-10 * (1 + np.abs(net.energy(u))))
        series.append(float(net.energy(u).mean()))
        u = moved
    how = cases.rule(beta=0.3, orders=(order, order), steps=(6, 4))
    for way in (REFERENCE, FP32):
        seen = cases.learner(shape, values, how, way=way).diagnose(x, y)
        scale = 1.0 + max(abs(e) for e in seen.free_energy)
        assert np.all(np.diff(seen.free_energy) <= SLACK[way] * scale)
        np.testing.assert_allclose(seen.free_energy[:6], series, atol=2e-6 * scale)
        if shape.output == "mse" and order != "alternating":
            # The nudged output is an exact minimiser too.
            assert np.all(np.diff(seen.nudged_energy) <= SLACK[way] * scale * 2)


@pytest.mark.parametrize("scheme", ["block", "synchronous"])
@pytest.mark.parametrize("estimate", ["centred", "one-sided", "negative", "linearised"])
@pytest.mark.parametrize("output", ["ce", "mse"])
@pytest.mark.parametrize("way", cases.WAYS, ids=str)
def test_a_diagnosis_is_what_the_oracle_sees(way: Way, output: str, estimate: str, scheme: Any) -> None:
    shape = cases.topology(output, 3, skip=True)
    values, (x, y) = cases.weights(shape, gain=0.7), cases.batch(shape)
    how = cases.rule(estimate, scheme=scheme, steps=(5, 4), step_size=0.75)
    net, target = Oracle(shape, values), cases.one_hot(shape, y)
    network = cases.learner(shape, values, how, way=way)
    before = network.state()
    seen = network.diagnose(x, y)
    assert cases.same_bits(network.state(), before), "a diagnosis changes nothing"

    def watch(u: Any, beta: float, relaxation: Relaxation, sweeps: int) -> tuple[list[float], list[float]]:
        def total(v: Any) -> float:
            return float((net.energy(v) + beta * net.cost(v, target)).mean())

        energies, residuals = [total(u)], []
        for t in range(sweeps):
            moved = net.sweep(u, beta, target, relaxation, t)
            residuals.append(float(np.abs(moved - u).max()))
            energies.append(total(moved))
            u = moved
        return energies, residuals

    bound = {REFERENCE: 1e-12, FP32: 1e-5, EXACT: 1e-3, BF16: 0.05}[way]
    assert len(seen.free_residual) >= 32 and len(seen.free_energy) == len(seen.free_residual) + 1
    energies, residuals = watch(net.start(x), 0.0, how.free, len(seen.free_residual))
    np.testing.assert_allclose(seen.free_energy, energies, atol=bound)
    np.testing.assert_allclose(seen.free_residual, residuals, atol=bound)
    if estimate == "linearised":
        assert seen.nudged_energy == seen.nudged_residual == ()
    else:
        free, _, _ = net.settle(net.start(x), 0.0, None, how.free)
        beta = -how.beta if estimate == "negative" else how.beta
        energies, residuals = watch(free, beta, how.nudged, how.nudged.steps)
        np.testing.assert_allclose(seen.nudged_energy, energies, atol=bound)
        np.testing.assert_allclose(seen.nudged_residual, residuals, atol=bound)
    gradient = net.gradient(x, target, how)[0]
    assert seen.gradient_norms.keys() == gradient.keys()
    for name, each in gradient.items():
        assert seen.gradient_norms[name] == pytest.approx(
            np.linalg.norm(each), rel=0.1 if way is BF16 else 5e-3, abs=bound
        )
    assert seen.spectral_norms.keys() == {name for name in values if name.startswith("w")}
    for name, norm in seen.spectral_norms.items():
        assert norm == pytest.approx(np.linalg.svd(values[name], compute_uv=False)[0], rel=1e-5)
    assert seen.verdict == "converged"


def revealing(hidden: tuple[int, ...], clip: float = 1.0) -> tuple[Topology, Any]:
    """A network whose logits are its hidden states: the readout copies every hidden layer, by skips."""
    last, units = len(hidden) + 1, sum(hidden)
    inner = [(1, 3)] if len(hidden) == 3 else []
    shape = Topology(
        (7, *hidden, units), skips=tuple(inner + [(k, last) for k in range(1, last - 1)]), clip=clip
    )
    values = cases.weights(shape, gain=0.7)
    first = 0
    for k, size in enumerate(hidden, 1):
        values[f"w{k}-{last}"] = np.eye(units)[:, first : first + size]
        first += size
    values[f"b{last}"] = np.zeros(units)
    return shape, values


@pytest.mark.parametrize("scheme", ["block", "synchronous"])
@pytest.mark.parametrize("order", ["forward", "backward", "alternating"])
@pytest.mark.parametrize("hidden", [(5,), (5, 4), (5, 6, 4)], ids=str)
@pytest.mark.parametrize("way", cases.WAYS, ids=str)
def test_every_state_of_the_free_phase(way: Way, hidden: tuple[int, ...], order: Any, scheme: Any) -> None:
    """Sweep by sweep the oracle's, and at rest s = clip(pre): dE/ds is 0 inside, and points outwards at a bound."""
    shape, values = revealing(hidden)
    x, _ = cases.batch(shape)
    net = Oracle(shape, values)
    bound = {REFERENCE: 1e-12, FP32: 1e-6, EXACT: 2e-4, BF16: 0.03}[way]
    for steps in (0, 1, 2, 3, 200):
        how = cases.rule(scheme=scheme, orders=(order, "backward"), steps=(steps, 1), step_size=0.75)
        came = cases.learner(shape, values, how, way=way).predict(x).astype(np.float64)
        u, _, _ = net.settle(net.start(x), 0.0, None, how.free)
        states = slice(7, 7 + sum(hidden))
        np.testing.assert_allclose(came, u[:, states], atol=bound)
    u[:, states] = came
    assert came.min() >= 0.0 and came.max() <= 1.0
    for l in net.states:
        s = u[:, net.parts[l]]
        slope = s - net.pre(u, l, 0.0, None)
        tolerance = 10 * bound
        assert np.all(np.abs(slope[(s > 0.0) & (s < 1.0)]) < tolerance)
        assert np.all(slope[s == 0.0] > -tolerance)
        assert np.all(slope[s == 1.0] < tolerance)


@pytest.mark.parametrize("way", cases.WAYS, ids=str)
@pytest.mark.parametrize("output", ["ce", "mse"])
class TestVerdicts:
    def verdict(self, way: Way, output: str, gain: float, scheme: Any) -> Any:
        """Of the same network in every class; `gain` scales its weights between states."""
        sizes, label = ((3, 4, 4, 4, 2), "4") if output == "ce" else ((3, 4, 4, 2), "18")
        shape = Topology(sizes, output=output)  # type: ignore[arg-type]
        values, (x, y) = cases.weights(shape, label, gain=3.0 if output == "ce" else 2.0), cases.batch(shape)
        for k, l in shape.recurrent:
            values[f"w{k}-{l}"] *= gain
        network = cases.learner(shape, values, cases.rule(beta=0.2, scheme=scheme), way=way)
        return network.diagnose(x, y)

    def test_converged(self, way: Way, output: str) -> None:
        for scheme in ("block", "synchronous"):
            seen = self.verdict(way, output, 0.125, scheme)
            assert seen.verdict == "converged" and seen.period is None
            assert seen.free_residual[-1] < 1e-3

    def test_oscillating(self, way: Way, output: str) -> None:
        """All at once they overshoot for ever, from one state to another and back; one after the other they rest."""
        seen = self.verdict(way, output, 1.0, "synchronous")
        assert seen.verdict == "oscillating" and seen.period == 2
        assert min(seen.free_residual) > 0.25
        assert self.verdict(way, output, 1.0, "block").verdict == "converged"


@pytest.mark.parametrize("way", [REFERENCE, FP32, BF16], ids=str)
def test_diverged(way: Way) -> None:
    """An output inside the energy has no bounds: weights of 1e30 take it past all numbers that mean anything."""
    shape = Topology((2, 2, 2), output="mse")
    values = {name: np.full(extent, 1e30) for name, extent in shape.parameter_shapes.items()}
    x, y = np.ones((2, 2), dtype=np.float32), np.array([0, 1])
    network = cases.learner(shape, values, cases.rule(scheme="synchronous"), way=way, rows=2)
    assert network.diagnose(x, y).verdict == "diverged"
