"""Activations of hidden states: the exact minimiser of G(s) - s u in s, the slope, and G itself. Pure.

With E(s) = sum_l G(s_l) - s_l (W_l s_{l-1} + b_l) the stationary states are s_l = rho(u_l), rho the inverse of G'.
"""

import math
from dataclasses import dataclass
from typing import Protocol

import torch
from torch import Tensor

from kernels.errors import KernelError

__all__ = ["ACTIVATIONS", "Activation", "Clip", "Logistic", "Relu", "Tanh", "make_activation"]


class Activation(Protocol):
    """A nonlinearity of hidden states; arrays of any shape."""

    @property
    def smooth(self) -> bool:
        """Whether it is holomorphic near the real axis, so that complex nudges make sense."""

    def apply(self, u: Tensor) -> Tensor:
        """Return rho(u)."""

    def slope(self, s: Tensor) -> Tensor:
        """Return rho'(u) where rho(u) = s."""

    def potential(self, s: Tensor) -> Tensor:
        """Return G(s), element by element."""


@dataclass(frozen=True)
class Clip:
    """rho(u) = min(max(u, 0), ceiling), G(s) = s^2/2."""

    ceiling: float = 1.0
    smooth: bool = False

    def apply(self, u: Tensor) -> Tensor:
        """Return u inside [0, ceiling]."""
        return u.clamp(0.0, self.ceiling)

    def slope(self, s: Tensor) -> Tensor:
        """Return 1 strictly inside the bounds, else 0."""
        return ((s > 0.0) & (s < self.ceiling)).to(s.dtype)

    def potential(self, s: Tensor) -> Tensor:
        """Return s^2/2."""
        return 0.5 * s * s


@dataclass(frozen=True)
class Relu:
    """rho(u) = max(u, 0), G(s) = s^2/2: for networks that settle nowhere, since nothing bounds it."""

    smooth: bool = False

    def apply(self, u: Tensor) -> Tensor:
        """Return max(u, 0)."""
        return u.clamp_min(0.0)

    def slope(self, s: Tensor) -> Tensor:
        """Return 1 above 0, else 0."""
        return (s > 0.0).to(s.dtype)

    def potential(self, s: Tensor) -> Tensor:
        """Return s^2/2."""
        return 0.5 * s * s


@dataclass(frozen=True)
class Logistic:
    """rho(u) = 1/(1 + exp(2 - 4 u)): the smooth twin of the clip to [0, 1], with its slope 1 at u = 1/2."""

    smooth: bool = True

    def apply(self, u: Tensor) -> Tensor:
        """Return rho(u), real or complex."""
        return 1.0 / (1.0 + torch.exp(2.0 - 4.0 * u))

    def slope(self, s: Tensor) -> Tensor:
        """Return 4 s (1 - s)."""
        return 4.0 * s * (1.0 - s)

    def potential(self, s: Tensor) -> Tensor:
        """Return s/2 + (s ln s + (1 - s) ln(1 - s))/4."""
        mixed: Tensor = torch.special.xlogy(s, s) + torch.special.xlogy(1.0 - s, 1.0 - s)
        return 0.5 * s + 0.25 * mixed


@dataclass(frozen=True)
class Tanh:
    """rho(u) = tanh(u), states in (-1, 1)."""

    smooth: bool = True

    def apply(self, u: Tensor) -> Tensor:
        """Return tanh(u), real or complex."""
        return torch.tanh(u)

    def slope(self, s: Tensor) -> Tensor:
        """Return 1 - s^2."""
        return 1.0 - s * s

    def potential(self, s: Tensor) -> Tensor:
        """Return ((1 + s) ln(1 + s) + (1 - s) ln(1 - s))/2."""
        mixed: Tensor = torch.special.xlogy(1.0 + s, 1.0 + s) + torch.special.xlogy(1.0 - s, 1.0 - s)
        return 0.5 * mixed


ACTIVATIONS = ("clip", "logistic", "tanh")


def make_activation(name: str, *, ceiling: float = 1.0) -> Activation:
    """Return the activation called `name`; `ceiling` is that of the clip. Raises KernelError for another name."""
    if not (math.isfinite(ceiling) and ceiling > 0):
        raise KernelError(f"the ceiling of a clip must be finite and positive, got {ceiling}.")
    if name == "clip":
        return Clip(ceiling)
    if name == "logistic":
        return Logistic()
    if name == "tanh":
        return Tanh()
    raise KernelError(f"activation must be one of {', '.join(ACTIVATIONS)}, got {name!r}.")
