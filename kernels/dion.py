"""Dion: low-rank orthogonal updates with a carried basis and error feedback, which on EP gradients is SDMEP's core.

Ahn et al. (2025), "Dion: Distributed Orthonormalized Updates", algorithm 1.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from kernels.buffers import Numbers
from kernels.initial import initial_basis
from kernels.optimizers import Optimizer
from kernels.parameters import Parameters
from kernels.rules import OptimizerSettings

__all__ = ["Dion"]


# Directions this much shorter than the longest are rounding.
NEGLIGIBLE = 1e-4
TINY = float(torch.finfo(torch.float32).tiny)


@dataclass(frozen=True)
class Matrix:
    """One weight, its gradient, momentum and carried basis ([P,] columns, rank)."""

    weight: Tensor
    gradient: Tensor
    momentum: Tensor
    basis: Tensor
    factor: float


class Dion(Optimizer):
    """B = M + G, P = orth(B Q), R = B^T P, W <- W - rate sqrt(rows/columns) P Qn^T, M <- mu P R^T + e (B - P R^T).

    Qn, R with columns of length 1, is the basis of the next step, so that one power iteration a step follows the top
    directions; a column of next to no length is not stepped by, and stays as it was. What the rank leaves out,
    B - P R^T, returns with the share e of error feedback: 1 is Dion, whose M <- B - (1 - mu) P R^T; 0 forgets it. Steps
    every weight matrix; biases are another optimizer's.
    """

    def __init__(self, parameters: Parameters, *, settings: Sequence[OptimizerSettings]) -> None:
        arithmetic = parameters.arithmetic
        self._rates = [each.rate for each in settings]
        self._sizes = Numbers(len(settings), torch.float32, axes=2, remote=arithmetic.remote)
        self._size = self._sizes.of()
        self._keep = arithmetic.by_network([each.momentum for each in settings], axes=2)
        self._feedback = arithmetic.by_network([each.error_feedback for each in settings], axes=2)
        self.slots: dict[str, Tensor] = {}
        self._matrices: list[Matrix] = []
        for name, view in parameters.views.items():
            if view.value.dim() != 2 + len(arithmetic.lead):
                continue
            weight, gradient = view.value, parameters.gradient_views[name]
            rows, columns = weight.shape[-2:]
            first = torch.from_numpy(initial_basis(rows, columns, settings[0].rank_fraction))
            basis = torch.zeros((*weight.shape[:-2], *first.shape), dtype=weight.dtype)
            basis.copy_(first)
            momentum = torch.zeros_like(weight)
            self.slots |= {f"{name}.momentum": momentum, f"{name}.basis": basis}
            self._matrices.append(Matrix(weight, gradient, momentum, basis, math.sqrt(rows / columns)))

    def prepare(self, scale: float) -> None:
        """Set the sizes of the next step."""
        self._sizes.set([rate * scale for rate in self._rates])

    def launch(self) -> None:
        """Step by the sizes that were prepared."""
        for each in self._matrices:
            buffer = each.momentum.add_(each.gradient)
            left, _ = torch.linalg.qr(buffer @ each.basis)
            right = buffer.mT @ left
            captured = left @ right.mT
            # M <- mu P R^T + e (B - P R^T).
            buffer.sub_(captured).mul_(self._feedback).add_(captured.mul_(self._keep))
            length = torch.linalg.vector_norm(right, dim=-2, keepdim=True)
            # A gradient of a lower rank has no say on the rest of the basis: what is there is rounding.
            found = length > NEGLIGIBLE * length.amax(dim=-1, keepdim=True)
            torch.where(found, right / length.clamp_min(TINY), each.basis, out=each.basis)
            used = each.basis * found
            each.weight.sub_((left @ used.mT).mul_(each.factor).mul_(self._size))
