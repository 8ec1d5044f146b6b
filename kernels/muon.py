"""Muon, which on the gradients of Equilibrium Propagation is SMEP."""

import math
from collections.abc import Sequence

import torch
from torch import Tensor

from kernels.buffers import Numbers
from kernels.optimizers import Optimizer
from kernels.parameters import Parameters
from kernels.rules import OptimizerSettings

__all__ = ["Muon", "NewtonSchulz"]

COEFFICIENTS = (3.4445, -4.7750, 2.0315)


class NewtonSchulz:
    """The quintic Newton-Schulz iteration towards a matrix's orthogonal polar factor, without new memory."""

    def __init__(self, shape: torch.Size, *, dtype: torch.dtype) -> None:
        rows, columns = shape[-2:]
        self._tall = rows > columns
        short, long = min(rows, columns), max(rows, columns)
        self._x = torch.empty((*shape[:-2], short, long), dtype=dtype)
        self._next = torch.empty_like(self._x)
        self._gram = torch.empty((*shape[:-2], short, short), dtype=dtype)
        self._square = torch.empty_like(self._gram)
        self._norm = torch.empty((*shape[:-2], 1, 1))

    def orthogonalise(self, matrix: Tensor, steps: int) -> Tensor:
        """Return X after `steps` of X <- a X + (b A + c A^2) X, A = X X^T, from X = matrix/|matrix|_F.

        The result is a view that the next call overwrites. A zero matrix stays zero.
        """
        a, b, c = COEFFICIENTS
        multiply, multiply_add = (torch.mm, torch.addmm) if matrix.dim() == 2 else (torch.bmm, torch.baddbmm)
        torch.linalg.vector_norm(matrix, dim=(-2, -1), keepdim=True, out=self._norm)
        self._norm.clamp_min_(torch.finfo(torch.float32).tiny)
        x, spare = self._x, self._next
        torch.div(matrix.mT if self._tall else matrix, self._norm, out=x)
        for _ in range(steps):
            multiply(x, x.mT, out=self._gram)
            multiply_add(self._gram, self._gram, self._gram, beta=b, alpha=c, out=self._square)
            multiply_add(x, self._square, x, beta=a, out=spare)
            x, spare = spare, x
        return x.mT if self._tall else x


class Muon(Optimizer):
    """M <- mu M + G, W <- W - rate sqrt(max(1, rows/cols)) NewtonSchulz(G + mu M): Nesterov's look ahead.

    Jordan et al. (2024). Steps every weight matrix; biases are another optimizer's.
    """

    def __init__(
        self, parameters: Parameters, *, settings: Sequence[OptimizerSettings], operand_dtype: torch.dtype
    ) -> None:
        arithmetic = parameters.arithmetic
        self._steps = settings[0].ns_steps
        self._rates = [each.rate for each in settings]
        self._sizes = Numbers(len(settings), torch.float32, axes=2, remote=arithmetic.remote)
        self._size = self._sizes.of()
        self._momentum = arithmetic.by_network([each.momentum for each in settings], axes=2)
        self.slots = {}
        self._matrices = []
        for name, view in parameters.views.items():
            if view.value.dim() == 2 + len(arithmetic.lead):
                weight, gradient = view.value, parameters.gradient_views[name]
                velocity = torch.zeros_like(weight)
                self.slots[f"{name}.velocity"] = velocity
                rows, columns = weight.shape[-2:]
                factor = math.sqrt(max(1.0, rows / columns))
                iteration = NewtonSchulz(weight.shape, dtype=operand_dtype)
                self._matrices.append(
                    (weight, gradient, velocity, torch.empty_like(velocity), factor, iteration)
                )

    def prepare(self, scale: float) -> None:
        """Set the sizes of the next step."""
        self._sizes.set([rate * scale for rate in self._rates])

    def launch(self) -> None:
        """Step by the sizes that were prepared."""
        for weight, gradient, velocity, ahead, factor, iteration in self._matrices:
            velocity.mul_(self._momentum).add_(gradient)
            torch.mul(velocity, self._momentum, out=ahead).add_(gradient)
            ahead.copy_(iteration.orthogonalise(ahead, self._steps))
            weight.sub_(ahead.mul_(self._size).mul_(factor))
