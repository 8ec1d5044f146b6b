"""The arbiter as a learner: slow, float64, written from the formulas. Pure."""

import math
from collections.abc import Mapping

import numpy as np
from numpy.typing import NDArray

from kernels.backends.reference import Reference, largest_change
from kernels.backends.reference_optimizers import Slots, clip_spectrum, empty_slots, optimizer_step
from kernels.diagnostics import WATCHED_SWEEPS, Diagnostics, classify
from kernels.errors import DivergedError, KernelError
from kernels.learner import (
    DIVERGED_HINT,
    Array,
    StepReport,
    check_labels,
    check_learner,
    check_rows,
    check_state,
    check_step,
)
from kernels.rules import OptimizerSettings, Rule
from kernels.topology import Topology, weight_name

__all__ = ["ReferenceLearner"]


class ReferenceLearner:
    """A network that learns by Equilibrium Propagation in float64 NumPy."""

    def __init__(
        self,
        topology: Topology,
        parameters: Mapping[str, Array],
        rule: Rule,
        optimizer: OptimizerSettings,
        *,
        batch: int,
    ) -> None:
        rule.check(topology)
        check_learner(topology, parameters, batch=batch, arithmetic="fp32")
        self._topology = topology
        self._rule = rule
        self._settings = optimizer
        self._batch = batch
        self._values: dict[str, NDArray[np.float64]] = {
            name: np.array(parameters[name], dtype=np.float64) for name in topology.parameter_shapes
        }
        self._slots: dict[str, Slots] = {
            name: empty_slots(value, optimizer) for name, value in self._values.items()
        }
        self._steps = 0
        self._failed_at = 0
        self._cap()

    def _network(self, x: Array, y: Array | None) -> Reference:
        classes = self._topology.sizes[-1]
        if x.ndim != 2 or x.shape[1] != self._topology.sizes[0]:
            raise KernelError(f"x must have the shape (samples, {self._topology.sizes[0]}), got {x.shape}.")
        if y is None:
            return Reference(self._topology, self._values, x, np.zeros((len(x), classes)))
        check_labels(y, (len(x),))
        if y.min(initial=0) < 0 or y.max(initial=0) >= classes:
            raise KernelError(f"y must hold {len(x)} classes 0 to {classes - 1}.")
        return Reference(self._topology, self._values, x, np.eye(classes)[y])

    def step(self, x: Array, y: Array, *, scale: float, sign: int = 1) -> StepReport:
        """Learn from a batch; raises DivergedError once an earlier step was not finite."""
        if self._failed_at:
            raise DivergedError("states or parameters were", self._failed_at, DIVERGED_HINT)
        check_step(len(x), self._batch, scale, [sign])
        gradient, free_steps, nudged_steps, residual = self._network(x, y).gradient(self._rule, sign)
        self._steps += 1
        finite = all(bool(np.isfinite(array).all()) for array in gradient.values())
        for name, value in self._values.items():
            self._values[name], self._slots[name] = optimizer_step(
                value, gradient[name], self._slots[name], self._settings, scale=scale, time=self._steps
            )
        self._cap()
        if not finite:
            self._failed_at = self._steps
        return StepReport(free_steps, nudged_steps, residual, finite)

    def _cap(self) -> None:
        if self._settings.spectral_cap is not None:
            for edge in self._topology.recurrent:
                name = weight_name(*edge)
                # A decomposition of what is not finite raises, or never ends.
                if np.isfinite(self._values[name]).all():
                    self._values[name] = clip_spectrum(self._values[name], self._settings.spectral_cap)

    def predict(self, x: Array) -> Array:
        """Return scores (n, classes) for `x` (n, n_0), any n: logits, or the output state."""
        network = self._network(x, None)
        free, _, _ = network.settle(network.feed_forward(), 0.0, self._rule.free)
        return network.scores(free)

    def parameters(self) -> dict[str, Array]:
        """Return copies of the parameters by name."""
        return {name: value.copy() for name, value in self._values.items()}

    def state(self) -> dict[str, Array]:
        """Return copies of all that is needed to continue bit for bit."""
        held: dict[str, Array] = self.parameters() | {"step": np.array(self._steps)}
        for name, slots in self._slots.items():
            held.update({f"{name}.{slot}": array.copy() for slot, array in slots.items()})
        return held

    def load(self, state: Mapping[str, Array]) -> None:
        """Continue from a `state`; raises KernelError for one of another network or optimizer."""
        check_state({name: array.shape for name, array in self.state().items()}, state, self._values)
        for name, slots in self._slots.items():
            self._values[name] = np.array(state[name], dtype=np.float64)
            self._slots[name] = {slot: np.array(state[f"{name}.{slot}"], dtype=np.float64) for slot in slots}
        self._steps = int(state["step"])
        self._failed_at = 0

    def diagnose(self, x: Array, y: Array) -> Diagnostics:
        """Return how the network settles on a batch and how large its weights and gradients are.

        A random-sign nudge is watched at its positive sign. Raises KernelError for a batch that no step would take.
        """
        check_rows(len(x), self._batch)
        network, rule = self._network(x, y), self._rule

        def total(states: dict[int, NDArray[np.float64]], beta: float) -> float:
            return float((network.energy(states) + (beta * network.cost(states) if beta else 0.0)).mean())

        def watch(
            states: dict[int, NDArray[np.float64]], beta: float, sweeps: int
        ) -> tuple[list[float], list[float], list[NDArray[np.float64]]]:
            relaxation = rule.nudged if beta else rule.free
            energies, residuals, points = [total(states, beta)], [], [flatten(states)]
            for step in range(sweeps):
                new = network.sweep(states, beta, relaxation, step)
                residuals.append(largest_change(states, new))
                states = new
                energies.append(total(states, beta))
                points.append(flatten(states))
            return energies, residuals, points

        start = network.feed_forward()
        free_energy, free_residual, points = watch(start, 0.0, max(rule.free.steps, WATCHED_SWEEPS))
        verdict, period = classify(free_residual, np.stack(points))
        if not all(np.isfinite(value).all() for value in self._values.values()):
            # A clip may hide it from the states.
            verdict, period = "diverged", None
        nudged: tuple[list[float], list[float]] = ([], [])
        if rule.estimate != "linearised":
            free, _, _ = network.settle(start, 0.0, rule.free)
            beta = -rule.beta if rule.estimate == "negative" else rule.beta
            nudged = watch(free, beta, rule.nudged.steps)[:2]
        gradient = network.gradient(rule)[0]
        return Diagnostics(
            free_energy=tuple(free_energy),
            free_residual=tuple(free_residual),
            nudged_energy=tuple(nudged[0]),
            nudged_residual=tuple(nudged[1]),
            spectral_norms={
                name: float(np.linalg.norm(value, 2)) if np.isfinite(value).all() else math.nan
                for name, value in self._values.items()
                if value.ndim == 2
            },
            gradient_norms={name: math.sqrt(float((each * each).sum())) for name, each in gradient.items()},
            verdict=verdict,
            period=period,
        )


def flatten(states: dict[int, NDArray[np.float64]]) -> NDArray[np.float64]:
    """Return all states of a batch as one vector."""
    return np.concatenate([value.ravel() for value in states.values()])
