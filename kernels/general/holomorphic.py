"""Holomorphic Equilibrium Propagation: the nudge walks round a circle (Laborieux & Zenke 2022)."""

import cmath
import math
from dataclasses import dataclass

import torch
from torch import Tensor

from kernels.errors import KernelError
from kernels.general.estimators import Learned, Update, added, bias_sum, readout_gradient
from kernels.general.network import Network, Nudge, States
from kernels.rules import Relaxation
from kernels.topology import bias_name

__all__ = ["Holomorphic"]


@dataclass(frozen=True)
class Holomorphic:
    """dW_l = -Re[(1/(N r)) sum_k exp(-2 pi i k/N) s_l^k s_{l-1}^kT], s^k settled at beta_k = r exp(2 pi i k/N).

    Products are not conjugated. It is the discrete Cauchy integral of the states' derivative by beta, whose bias falls
    as r^N; N = 2 is the centred estimate. States at conjugate nudges are conjugate, so half of the circle is settled.
    Raises KernelError for fewer than two points, and when it meets an activation that is not smooth.
    """

    points: int
    radius: float
    free: Relaxation
    nudged: Relaxation

    def __post_init__(self) -> None:
        if not 2 <= self.points <= 64:
            raise KernelError(f"a holomorphic nudge takes 2 to 64 points, got {self.points}.")

    def settle(self, network: Network, x: Tensor) -> States:
        """Return the states at the end of the free phase."""
        return network.relax(network.feed_forward(x), x, Nudge(), self.free).states

    def learn(self, network: Network, x: Tensor, y: Tensor, update: Update, *, sign: int) -> Learned:  # noqa: ARG002
        """Settle freely, then at all points side by side, and descend the integral."""
        if not network.activation.smooth:
            raise KernelError(
                "holomorphic Equilibrium Propagation needs a smooth activation, got one with corners. "
                "Use logistic or tanh."
            )
        free = network.relax(network.feed_forward(x), x, Nudge(), self.free)
        turns = self._turns()
        count, wide = len(x), torch.complex128 if x.dtype == torch.float64 else torch.complex64
        # (points x batch, ...): one relaxation settles every point.
        many = x.repeat(len(turns), *(1,) * (x.dim() - 1))
        states = {
            layer: s.to(wide).repeat(len(turns), *(1,) * (s.dim() - 1)) for layer, s in free.states.items()
        }
        beta = torch.tensor([self.radius * turn for turn, _ in turns], dtype=wide).repeat_interleave(count)
        nudge = Nudge(y.to(wide).repeat(len(turns), 1), beta.unsqueeze(1))
        above = network.relax(states, many.to(wide), nudge, self.nudged)
        weight = torch.tensor([share / turn for turn, share in turns], dtype=wide).repeat_interleave(count)
        unit = -1.0 / (self.points * self.radius * count)
        gradient: dict[str, Tensor] = {}
        for coupling in network.couplings:
            if coupling.target in network.state_layers:
                high = above.states[coupling.target]
                low = network.layer(above.states, many.to(wide), coupling.source)
                turned = high * weight.view(-1, *(1,) * (high.dim() - 1))
                added(gradient, coupling.name, coupling.product(low, turned).real * unit)
        for layer in network.state_layers:
            high = above.states[layer]
            turned = high * weight.view(-1, *(1,) * (high.dim() - 1))
            gradient[bias_name(layer)] = bias_sum(turned).real * unit
        update(gradient | readout_gradient(network, x, free.states, y))
        return Learned(free.steps, above.steps, free.residual, free.states)

    def _turns(self) -> list[tuple[complex, float]]:
        """Return exp(2 pi i k/N) of the upper half of the circle, and how often each counts."""
        found = []
        for k in range(self.points // 2 + 1):
            alone = k == 0 or 2 * k == self.points
            turn = complex(1.0 if k == 0 else -1.0) if alone else cmath.exp(2j * math.pi * k / self.points)
            found.append((turn, 1.0 if alone else 2.0))
        return found
