"""Optimizers on blocks of parameters.

A gradient arrives as a raw sum, `unit` times which is the mean gradient: steps that do not feel the scale of a
gradient then need no pass over it, and the others fold the unit into a number. Slots (momentum, Adam's moments)
are kept in raw units too.
"""

from typing import Protocol

import torch
from torch import Tensor

from kernels.parameters import Parameters
from kernels.rules import OptimizerSettings

__all__ = ["ADAM_BETAS", "ADAM_EPSILON", "FusedAdam", "Optimizer", "Sgd"]

ADAM_BETAS = (0.9, 0.999)
ADAM_EPSILON = 1e-8


class Optimizer(Protocol):
    """Turns the gradient into a step of the parameters that it was built for; `slots` is all that it remembers."""

    slots: dict[str, Tensor]

    def update(self, scale: float) -> None:
        """Step once at `scale` times the learning rate."""


class Sgd:
    """V <- momentum V + G, W <- W - rate V, for one network."""

    def __init__(self, parameters: Parameters, *, unit: float, settings: OptimizerSettings) -> None:
        self._weights = parameters.flat.value
        self._gradient = parameters.gradient
        self._velocity = torch.zeros_like(self._weights)
        self._size = settings.rate * unit
        self._momentum = settings.momentum
        self.slots = {"velocity": self._velocity}

    def update(self, scale: float) -> None:
        """Step once at `scale` times the learning rate."""
        self._velocity.mul_(self._momentum).add_(self._gradient)
        self._weights.sub_(self._velocity, alpha=self._size * scale)


class FusedAdam:
    """Adam (Kingma & Ba 2015), or AdamW (Loshchilov & Hutter 2019) with a `decay`, for one network.

    torch's fused CPU kernel, called below `torch.optim`, whose bookkeeping is made for autograd.
    """

    def __init__(
        self, parameters: Parameters, part: slice, *, unit: float, rate: float, decay: float | None = None
    ) -> None:
        self._weights = parameters.flat.value[part]
        self._gradient = parameters.gradient[part]
        self._first = torch.zeros_like(self._weights)
        self._second = torch.zeros_like(self._weights)
        self._count = torch.zeros(())
        self._rate = rate
        self._epsilon = ADAM_EPSILON / unit
        self._decay = decay or 0.0
        self._kernel = torch._fused_adam_ if decay is None else torch._fused_adamw_
        self.slots = {"first": self._first, "second": self._second, "count": self._count}

    def update(self, scale: float) -> None:
        """Step once at `scale` times the learning rate."""
        self._count.add_(1.0)
        self._kernel(
            [self._weights],
            [self._gradient],
            [self._first],
            [self._second],
            [],
            [self._count],
            lr=self._rate * scale,
            beta1=ADAM_BETAS[0],
            beta2=ADAM_BETAS[1],
            weight_decay=self._decay,
            eps=self._epsilon,
            amsgrad=False,
            maximize=False,
        )
