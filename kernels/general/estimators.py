"""The seam of learning rules, and the rules that compare nudged phases of an energy.

An `Estimator` settles a batch and hands each update that it forms to `update`. What it forms for the weights between
two layers reads the states of these two layers alone: a test poisons all others.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Protocol

import torch
from torch import Tensor

from kernels.general.network import Network, Nudge, States
from kernels.rules import Relaxation
from kernels.topology import bias_name

__all__ = [
    "Clamped",
    "Continual",
    "Estimator",
    "Gradient",
    "Learned",
    "Nudged",
    "Update",
    "contrast",
    "readout_gradient",
]

Gradient = Mapping[str, Tensor]
"""The mean gradient over the batch, to be descended, by the names of parameters."""

Update = Callable[[Gradient], None]


@dataclass(frozen=True)
class Learned:
    """How a batch settled: sweeps of both phases, the free phase's last residual, and its states."""

    free_steps: int
    nudged_steps: int
    residual: float
    free: States


class Estimator(Protocol):
    """A learning rule."""

    def learn(self, network: Network, x: Tensor, y: Tensor, update: Update, *, sign: int) -> Learned:
        """Settle `x` (b, ...) with one-hot targets `y` (b, classes) and hand on each update.

        `sign` (1 or -1) is that of the nudge where a rule draws it.
        """

    def settle(self, network: Network, x: Tensor) -> States:
        """Return the states from which a prediction is read."""


def added(gradient: dict[str, Tensor], name: str, part: Tensor) -> None:
    """Add `part` to what is there under `name`: several couplings may read one parameter."""
    gradient[name] = gradient[name] + part if name in gradient else part


def bias_sum(states: Tensor) -> Tensor:
    """Return the sum of (b, units, ...) states over everything but the units."""
    return states.sum(dim=[axis for axis in range(states.dim()) if axis != 1])


def contrast(network: Network, x: Tensor, above: States, below: States, distance: float) -> dict[str, Tensor]:
    """Return -(P(above) - P(below))/(distance b), P being s_l s_k^T and s_l: the contrast of two phases.

    Scellier & Bengio (2017), eq. 8. The input stands still, so that its couplings take one product of the difference.
    """
    unit = -1.0 / (distance * len(x))
    gradient: dict[str, Tensor] = {}
    for coupling in network.couplings:
        low, high = coupling.source, coupling.target
        if high not in network.state_layers:
            continue
        if low == 0:
            part = coupling.product(x, above[high] - below[high])
        else:
            part = coupling.product(above[low], above[high]) - coupling.product(below[low], below[high])
        added(gradient, coupling.name, part * unit)
    for layer in network.state_layers:
        gradient[bias_name(layer)] = bias_sum(above[layer] - below[layer]) * unit
    return gradient


def readout_gradient(network: Network, x: Tensor, free: States, y: Tensor) -> dict[str, Tensor]:
    """Return (p - y) s^T and p - y, means over the batch, of a softmax readout at the free states; else nothing."""
    if network.output != "ce":
        return {}
    error = (network.prediction(free, x) - y) / len(x)
    gradient: dict[str, Tensor] = {bias_name(network.last): error.sum(0)}
    for coupling in network.couplings:
        if coupling.target == network.last:
            added(gradient, coupling.name, coupling.product(network.layer(free, x, coupling.source), error))
    return gradient


@dataclass(frozen=True)
class Nudged:
    """Centred, one-sided, negative and random-sign Equilibrium Propagation.

    Scellier & Bengio (2017); Laborieux et al. (2021), eq. 10, for the centred estimate. The nudged output of a squared
    error is (h + beta y)/(1 + beta).
    """

    estimate: str
    beta: float
    free: Relaxation
    nudged: Relaxation

    def settle(self, network: Network, x: Tensor) -> States:
        """Return the states at the end of the free phase."""
        return network.relax(network.feed_forward(x), x, Nudge(), self.free).states

    def learn(self, network: Network, x: Tensor, y: Tensor, update: Update, *, sign: int) -> Learned:
        """Settle freely and nudged, and descend the contrast."""
        free = network.relax(network.feed_forward(x), x, Nudge(), self.free)
        first = {"negative": -self.beta, "random-sign": sign * self.beta}.get(self.estimate, self.beta)
        above = network.relax(free.states, x, Nudge(y, first), self.nudged)
        below, steps, distance = free.states, above.steps, first
        if self.estimate == "centred":
            other = network.relax(free.states, x, Nudge(y, -self.beta), self.nudged)
            below, steps, distance = other.states, max(steps, other.steps), 2.0 * self.beta
        update(
            contrast(network, x, above.states, below, distance) | readout_gradient(network, x, free.states, y)
        )
        return Learned(free.steps, steps, free.residual, free.states)


@dataclass(frozen=True)
class Clamped:
    """Coupled learning and contrastive Hebbian learning: the output is held, not pulled.

    Coupled learning (Stern et al. 2021) holds it at o_0 +- beta (y - o_0) and divides by the distance; contrastive
    Hebbian learning (Movellan 1991; Xie & Seung 2003) holds it at y and compares with the free phase. Neither is the
    gradient of the cost: each descends the difference of the two phases' energies. The output is a state inside the
    energy ("mse").
    """

    contrastive: bool
    beta: float
    free: Relaxation
    nudged: Relaxation

    def settle(self, network: Network, x: Tensor) -> States:
        """Return the states at the end of the free phase."""
        return network.relax(network.feed_forward(x), x, Nudge(), self.free).states

    def learn(self, network: Network, x: Tensor, y: Tensor, update: Update, *, sign: int) -> Learned:  # noqa: ARG002
        """Settle freely and held, and descend the contrast."""
        free = network.relax(network.feed_forward(x), x, Nudge(), self.free)
        output = free.states[network.last]
        if self.contrastive:
            above = network.relax(free.states, x, Nudge(held=y), self.nudged)
            update(contrast(network, x, above.states, free.states, 1.0))
            return Learned(free.steps, above.steps, free.residual, free.states)
        step = self.beta * (y - output)
        above = network.relax(free.states, x, Nudge(held=output + step), self.nudged)
        below = network.relax(free.states, x, Nudge(held=output - step), self.nudged)
        update(contrast(network, x, above.states, below.states, 2.0 * self.beta))
        return Learned(free.steps, max(above.steps, below.steps), free.residual, free.states)


@dataclass(frozen=True)
class Continual:
    """Continual Equilibrium Propagation: the weights move at every sweep of the nudged phase (Ernoult et al. 2020).

    Sweep t descends -(P(t) - P(t - 1))/beta. At a vanishing rate its updates add up to the one-sided estimate.
    """

    beta: float
    free: Relaxation
    nudged: Relaxation

    def settle(self, network: Network, x: Tensor) -> States:
        """Return the states at the end of the free phase."""
        return network.relax(network.feed_forward(x), x, Nudge(), self.free).states

    def learn(self, network: Network, x: Tensor, y: Tensor, update: Update, *, sign: int) -> Learned:  # noqa: ARG002
        """Settle freely, then descend after each nudged sweep; the readout learns with the first."""
        free = network.relax(network.feed_forward(x), x, Nudge(), self.free)
        states, nudge, change = free.states, Nudge(y, self.beta), None
        extra = readout_gradient(network, x, free.states, y)
        for step in range(self.nudged.steps):
            new = network.sweep(states, x, nudge, self.nudged, step, change)
            change = {layer: new[layer] - states[layer] for layer in new}
            update(contrast(network, x, new, states, self.beta) | extra)
            # The readout's error is that of the free phase: later sweeps have nothing new for it.
            extra = {name: torch.zeros_like(part) for name, part in extra.items()}
            states = new
        return Learned(free.steps, self.nudged.steps, free.residual, free.states)
