"""Couplings: how states of one layer reach another, and what of their product a parameter's gradient reads.

States are (batch, ...) tensors, real or complex. A coupling from layer k to l stands in the energy as
-<s_l, up(s_k)>; `down` is the derivative of that pairing by s_k and `product` the one by the weight, summed over the
batch.
"""

from dataclasses import dataclass
from typing import Protocol

import torch
from torch import Tensor

__all__ = ["Coupling", "Dense"]


class Coupling(Protocol):
    """One connection of a network."""

    source: int
    target: int
    name: str
    """The parameter that it reads; several couplings may read one."""

    def up(self, low: Tensor) -> Tensor:
        """Return what states `low` of the source send to the target."""

    def down(self, high: Tensor, low: Tensor) -> Tensor:
        """Return what states `high` of the target send back to the source, which is at `low`."""

    def product(self, low: Tensor, high: Tensor) -> Tensor:
        """Return d<high, up(low)>/dW, summed over the batch, in the shape of the parameter."""

    def forget(self) -> None:
        """Drop what is kept of an input: the parameter has moved."""


@dataclass
class Dense:
    """W (n_target, n_source), with an optional 0/1 `mask` of its shape and an optional own way back.

    `feedback` (n_target, n_source) replaces W on the way down: B^T of the papers on feedback alignment.
    """

    source: int
    target: int
    name: str
    weight: Tensor
    mask: Tensor | None = None
    feedback: Tensor | None = None

    def up(self, low: Tensor) -> Tensor:
        """Return low W^T, (batch, n_target); channels of `low` are taken as units."""
        return low.flatten(1) @ self._as(self.weight, low).mT

    def down(self, high: Tensor, low: Tensor) -> Tensor:
        """Return high W, or high B where there is a feedback, in the shape of `low`."""
        back = self.weight if self.feedback is None else self.feedback
        return (high @ self._as(back, high)).view(low.shape)

    def product(self, low: Tensor, high: Tensor) -> Tensor:
        """Return high^T low, without conjugation, on the mask."""
        found = high.mT @ low.flatten(1)
        return found if self.mask is None else found * self.mask

    def forget(self) -> None:
        """Keep nothing, as ever: a product is as cheap as a look-up of it would be worth."""

    def _as(self, weight: Tensor, states: Tensor) -> Tensor:
        masked = weight if self.mask is None else weight * self.mask
        return masked.to(states.dtype) if torch.is_complex(states) else masked
