"""Classifiers that can be attacked: scores, losses and the gradient of the loss by the input. Pure."""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from kernels.backends.reference import softmax
from kernels.learner import Array
from kernels.probes.adjoint import adjoint, input_gradients
from kernels.probes.couplings import Couplings
from kernels.probes.equilibrium import THOROUGH, Equilibrium, find_equilibrium, losses
from kernels.topology import Topology

__all__ = ["LinearVictim", "NetworkVictim", "Slope", "Victim", "substitute"]

Float = NDArray[np.float64]


@dataclass(frozen=True)
class Slope:
    """Scores (b, classes), losses (b,) and their gradients by the input (b, n_0)."""

    scores: Float
    losses: Float
    gradients: Float


class Victim(Protocol):
    """What an attack needs to know of a classifier; `y` is one-hot (b, classes) throughout."""

    def scores(self, x: Float) -> Float:
        """Return scores (b, classes) of `x` (b, n_0)."""

    def attacked(self, x: Float, y: Float) -> Slope:
        """Return the loss of each sample and its gradient by the input."""


@dataclass(frozen=True)
class NetworkVictim:
    """A network as it settles fully, attacked through its equilibrium by the exact adjoint.

    `sweeps` and `tolerance` bound both settling and adjoint: signs of a gradient need fewer digits than its check.
    """

    topology: Topology
    parameters: Mapping[str, Array]
    sweeps: int = 2000
    tolerance: float = 1e-10

    def scores(self, x: Float) -> Float:
        """Return logits, or the output states."""
        nothing = np.zeros((len(x), self.topology.sizes[-1]))
        found = self._settle(x, nothing)
        return found.network.scores(found.states)

    def attacked(self, x: Float, y: Float) -> Slope:
        """Return costs and their gradients. Raises DivergedError where an equilibrium is not stable."""
        found = self._settle(x, y)
        network, states = found.network, found.states
        couplings = Couplings(self.topology, self.parameters)
        d = adjoint(network, states, couplings, sweeps=self.sweeps, tolerance=self.tolerance)
        return Slope(network.scores(states), losses(network, states), input_gradients(network, states, d))

    def _settle(self, x: Float, y: Float) -> Equilibrium:
        return find_equilibrium(
            self.topology,
            self.parameters,
            x,
            y,
            replace(THOROUGH, steps=self.sweeps, tolerance=self.tolerance),
        )


@dataclass(frozen=True)
class LinearVictim:
    """Softmax regression: scores x W^T + b with `weight` (classes, n_0), whose margins have a closed form."""

    weight: Float
    bias: Float

    def scores(self, x: Float) -> Float:
        """Return the logits."""
        return np.asarray(x @ self.weight.T + self.bias)

    def attacked(self, x: Float, y: Float) -> Slope:
        """Return cross entropies and their gradients (p - y) W."""
        scores = self.scores(x)
        raised = scores - scores.max(axis=1, keepdims=True)
        loss = np.log(np.exp(raised).sum(axis=1)) - (y * raised).sum(axis=1)
        return Slope(scores, loss, (softmax(raised) - y) @ self.weight)

    def margins(self, x: Float, y: Float) -> Float:
        """Return by sample (b,) the smallest max-norm perturbation that moves it to another class.

        Negative where it is in another class already: min_j (z_y - z_j) / |W_y - W_j|_1.
        """
        own = y.argmax(axis=1)
        scores = self.scores(x)
        gaps = scores[np.arange(len(x)), own][:, None] - scores
        lengths = np.abs(self.weight[own][:, None, :] - self.weight[None]).sum(axis=2)
        # A row of equal weights cannot be crossed, whatever its gap.
        reach = np.where(lengths > 0, gaps / np.where(lengths > 0, lengths, 1.0), np.inf)
        reach[np.arange(len(x)), own] = np.inf
        return np.asarray(reach.min(axis=1))


def substitute(x: Float, answers: NDArray[np.int64], classes: int, *, ridge: float = 1e-2) -> LinearVictim:
    """Return the linear classifier that imitates a victim's `answers` (n,) on `x`: ridge regression to one-hot.

    A black-box attacker's stand-in, which reads no gradient of the victim (Papernot et al. 2017).
    """
    columns = np.concatenate([x, np.ones((len(x), 1))], axis=1)
    gram = columns.T @ columns + ridge * len(x) * np.eye(columns.shape[1])
    solved = np.linalg.solve(gram, columns.T @ np.eye(classes)[answers]).T
    # Logits of one-hot size are nearly flat; the scale changes no direction of an attack.
    return LinearVictim(10.0 * solved[:, :-1], 10.0 * solved[:, -1])
