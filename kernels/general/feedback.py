"""Equilibrium learning without symmetric weights: what comes down is carried by weights of its own.

The states follow a vector field that is no gradient of an energy. Its update is that of Scellier et al. (2018): what a
weight carries forward, times how far the nudge moved the layer that it reaches. Names of feedback parameters are those
of their forward ones with an "f" in front, and the same shape.
"""

import math
from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from kernels.general.couplings import Dense
from kernels.general.estimators import Learned, Update, added, bias_sum, readout_gradient
from kernels.general.network import Network, Nudge, States
from kernels.general.structure import feedback_name
from kernels.learner import Array
from kernels.randomness import uniform_integers
from kernels.rules import Relaxation
from kernels.topology import bias_name

__all__ = ["Asymmetric", "asymmetry", "feedback_values", "homeostasis", "uniform", "untied"]

GRID = 2**24


def uniform(seed: bytes, purpose: str, shape: tuple[int, ...]) -> NDArray[np.float64]:
    """Return numbers drawn evenly from [-1, 1] by `seed` (32 bytes) and `purpose`."""
    drawn = uniform_integers(seed, purpose, math.prod(shape), GRID)
    return (drawn.astype(np.float64) / GRID).reshape(shape)


def feedback_values(
    shapes: Mapping[str, tuple[int, ...]], parameters: Mapping[str, Array], seed: bytes
) -> dict[str, NDArray[np.float64]]:
    """Return random feedback weights: uniform, in the spread of their forward ones, independent of them."""
    found: dict[str, NDArray[np.float64]] = {}
    for name, shape in shapes.items():
        if name.startswith("f") and name not in parameters:
            spread = math.sqrt(3.0) * float(np.std(np.asarray(parameters[name[1:]], dtype=np.float64)))
            found[name] = spread * uniform(seed, f"feedback/{name}", shape)
    return found


def untied(network: Network) -> list[Dense]:
    """Return the couplings of `network` whose way down has weights of its own."""
    return [
        coupling
        for coupling in network.couplings
        if isinstance(coupling, Dense) and coupling.feedback is not None
    ]


@dataclass(frozen=True)
class Asymmetric:
    """Centred vector-field learning: dW_l = -(1/2 beta)(s_l^+ - s_l^-) s_{l-1}^0T, on whatever feedback there is.

    Where `learns_back`, a feedback learns by the same rule the other way round, dB_l = -(1/2 beta) s_l^0
    (s_{l-1}^+ - s_{l-1}^-)^T, and both descend `homeostasis` times half the mean square of J - J^T (Laborieux & Zenke
    2023), which makes the field's Jacobian symmetric, and with it the update a gradient.
    """

    beta: float
    free: Relaxation
    nudged: Relaxation
    learns_back: bool = False
    homeostasis: float = 0.0

    def settle(self, network: Network, x: Tensor) -> States:
        """Return the states at the end of the free phase."""
        return network.relax(network.feed_forward(x), x, Nudge(), self.free).states

    def learn(self, network: Network, x: Tensor, y: Tensor, update: Update, *, sign: int) -> Learned:  # noqa: ARG002
        """Settle freely and nudged both ways, and descend what moved."""
        free = network.relax(network.feed_forward(x), x, Nudge(), self.free)
        above = network.relax(free.states, x, Nudge(y, self.beta), self.nudged)
        below = network.relax(free.states, x, Nudge(y, -self.beta), self.nudged)
        unit = -1.0 / (2.0 * self.beta * len(x))
        moved = {layer: (above.states[layer] - below.states[layer]) * unit for layer in free.states}
        gradient: dict[str, Tensor] = {}
        for coupling in network.couplings:
            if coupling.target in network.state_layers:
                low = network.layer(free.states, x, coupling.source)
                added(gradient, coupling.name, coupling.product(low, moved[coupling.target]))
        for layer in network.state_layers:
            gradient[bias_name(layer)] = bias_sum(moved[layer])
        gradient |= readout_gradient(network, x, free.states, y)
        if self.learns_back:
            for coupling in untied(network):
                back = feedback_name(coupling.name)
                if coupling.target in network.state_layers:
                    high = free.states[coupling.target]
                    added(gradient, back, coupling.product(moved[coupling.source], high))
                else:
                    # The readout lies outside the field: its feedback has only its symmetry to learn.
                    gradient.setdefault(back, torch.zeros_like(coupling.weight))
            for name, part in homeostasis(network, free.states).items():
                added(gradient, name, self.homeostasis * part)
        update(gradient)
        return Learned(free.steps, max(above.steps, below.steps), free.residual, free.states)


def slopes(network: Network, states: States, coupling: Dense) -> tuple[Tensor, Tensor]:
    """Return rho' of the layers below and above a coupling, (b, units); a readout counts as linear."""
    low = states[coupling.source]
    below = network.activation.slope(low)
    if coupling.target < network.last:
        return below, network.activation.slope(states[coupling.target])
    return below, torch.ones(len(low), coupling.weight.shape[0], dtype=low.dtype)


def asymmetry(network: Network, states: States) -> float:
    """Return the mean over the batch of |J - J^T|^2/2, J the Jacobian of the settle map at `states`."""
    total = 0.0
    for coupling in untied(network):
        assert coupling.feedback is not None, "untied couplings have one"
        below, above = slopes(network, states, coupling)
        # J maps a change of the layer below up through W, and one of the layer above down through B.
        gap = below.unsqueeze(1) * coupling.feedback - above.unsqueeze(2) * coupling.weight
        total += float(0.5 * gap.square().sum(dim=(1, 2)).mean())
    return total


def homeostasis(network: Network, states: States) -> dict[str, Tensor]:
    """Return the gradient of the mean over the batch of |J - J^T|^2/2, J the Jacobian of the settle map.

    A pair of weights W_ij, B_ij between units i above and j below adds (m_j B_ij - m_i W_ij)^2/2, m being the slopes of
    the two layers; each weight reads its own pair and the two units that it joins. A readout counts as linear.
    """
    gradient: dict[str, Tensor] = {}
    for coupling in untied(network):
        assert coupling.feedback is not None, "untied couplings have one"
        below, above = slopes(network, states, coupling)
        both = above.mT @ below / len(below)
        down, up = (below * below).mean(0), (above * above).mean(0)
        added(gradient, feedback_name(coupling.name), down * coupling.feedback - both * coupling.weight)
        added(gradient, coupling.name, up.unsqueeze(1) * coupling.weight - both * coupling.feedback)
    return gradient
