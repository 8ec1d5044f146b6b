"""Optimizers on blocks of parameters.

A gradient arrives as a raw sum, `unit` times which is the mean gradient: steps that do not feel the scale of a
gradient then need no pass over it, and the others fold the unit into a number. Slots (momentum, Adam's moments)
are kept in raw units too.
"""

from typing import Protocol

import torch
from torch import Tensor

from kernels.buffers import Numbers
from kernels.parameters import Parameters
from kernels.rules import OptimizerSettings

__all__ = ["ADAM_BETAS", "ADAM_EPSILON", "FusedAdam", "Optimizer", "Sgd"]

ADAM_BETAS = (0.9, 0.999)
ADAM_EPSILON = 1e-8


# What torch's fused kernels can read a rate from, by type of device. A rate that is an argument would be written down
# with the launch, and a recorded step could not change it.
RATE_DTYPES = {"cuda": torch.float32, "cpu": torch.float64}


class Optimizer(Protocol):
    """Turns the gradient into a step of the parameters that it was built for; `slots` is all that it remembers.

    A step has three parts, so that the second can be recorded and replayed.
    """

    slots: dict[str, Tensor]

    def prepare(self, scale: float) -> None:
        """Set the numbers of the next step, at `scale` times the learning rate."""

    def launch(self) -> None:
        """Step by the numbers that were prepared, reading nothing back."""

    def finish(self) -> None:
        """Do what a step calls for only now and then; most have nothing of the kind."""
        return

    def update(self, scale: float) -> None:
        """Step once at `scale` times the learning rate."""
        self.prepare(scale)
        self.launch()
        self.finish()


class Sgd(Optimizer):
    """V <- momentum V + G, W <- W - rate V, for one network."""

    def __init__(self, parameters: Parameters, *, unit: float, settings: OptimizerSettings) -> None:
        self._weights = parameters.flat.value
        self._gradient = parameters.gradient
        self._velocity = torch.zeros_like(self._weights)
        self._rate = settings.rate * unit
        self._size = 0.0
        self._sizes = Numbers(1, self._weights.dtype, remote=True) if parameters.arithmetic.remote else None
        self._momentum = settings.momentum
        self.slots = {"velocity": self._velocity}

    def prepare(self, scale: float) -> None:
        """Set the size of the next step."""
        self._size = self._rate * scale
        if self._sizes is not None:
            self._sizes.set([self._size])

    def launch(self) -> None:
        """Step by the size that was prepared."""
        self._velocity.mul_(self._momentum).add_(self._gradient)
        if self._sizes is None:
            self._weights.sub_(self._velocity, alpha=self._size)
        else:
            self._weights.addcmul_(self._velocity, self._sizes.of(), value=-1.0)


class FusedAdam(Optimizer):
    """Adam (Kingma & Ba 2015), or AdamW (Loshchilov & Hutter 2019) with a `decay`, for one network.

    torch's fused kernel, called below `torch.optim`, whose bookkeeping is made for autograd.
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
        dtype = RATE_DTYPES.get(self._weights.device.type) if parameters.arithmetic.remote else None
        self._rates = None if dtype is None else Numbers(1, dtype, remote=True)
        self._lr: float | Tensor = rate if self._rates is None else self._rates.of()
        self._epsilon = ADAM_EPSILON / unit
        self._decay = decay or 0.0
        self._kernel = torch._fused_adam_ if decay is None else torch._fused_adamw_
        self.slots = {"first": self._first, "second": self._second, "count": self._count}

    def prepare(self, scale: float) -> None:
        """Set the rate of the next step."""
        if self._rates is None:
            self._lr = self._rate * scale
        else:
            self._rates.set([self._rate * scale])

    def launch(self) -> None:
        """Step by the rate that was prepared."""
        self._count.add_(1.0)
        self._kernel(
            [self._weights],
            [self._gradient],
            [self._first],
            [self._second],
            [],
            [self._count],
            lr=self._lr,
            beta1=ADAM_BETAS[0],
            beta2=ADAM_BETAS[1],
            weight_decay=self._decay,
            eps=self._epsilon,
            amsgrad=False,
            maximize=False,
        )
