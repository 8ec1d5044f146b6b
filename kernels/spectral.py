"""Spectral norms, and a cap on them that clips only the top singular directions.

The norm of the state-to-state weights sets how fast a network settles; clipping the directions beyond the cap
leaves the rest of the matrix alone, where rescaling it would shrink what is learned.
"""

from collections.abc import Sequence

import torch
from torch import Tensor

__all__ = ["SpectralCap", "spectral_norm"]

DIRECTIONS = 16
ROUNDS = 20
TOLERANCE = 5e-4


def spectral_norm(matrix: Tensor) -> Tensor:
    """Return the largest singular value of `matrix` (..., rows, columns), by its Gram matrix in float64."""
    wide = matrix.double()
    gram = wide @ wide.mT if matrix.shape[-2] <= matrix.shape[-1] else wide.mT @ wide
    values: Tensor = torch.linalg.eigvalsh(gram)
    return values[..., -1].clamp_min(0.0).sqrt()


class SpectralCap:
    """Holds the singular values of one weight matrix ([P,] rows, columns) to `caps`, one for each network.

    A block power iteration carries 16 right vectors from step to step, since weights change little in one: a round
    costs four thin products. Matrices with a side of 16 or less are treated exactly.
    """

    def __init__(self, weight: Tensor, caps: Sequence[float]) -> None:
        self._weight = weight
        self._cap = torch.tensor(caps, dtype=weight.dtype).view(*weight.shape[:-2], 1)
        self._vectors = torch.linalg.svd(weight, full_matrices=False).Vh.mT[..., :DIRECTIONS].contiguous()
        self.slots = {"vectors": self._vectors}

    def apply(self) -> None:
        """Clip each singular value beyond the cap: W <- W - (sigma - cap) u v^T."""
        for _ in range(ROUNDS):
            values = self._clip()
            if bool((values <= self._cap * (1.0 + TOLERANCE)).all()):
                return

    def _clip(self) -> Tensor:
        weight = self._weight
        vectors, _ = torch.linalg.qr(weight.mT @ (weight @ self._vectors))
        images = weight @ vectors
        squares: Tensor
        squares, rotation = torch.linalg.eigh(images.mT @ images)
        values = squares.clamp_min(0.0).sqrt()
        torch.matmul(vectors, rotation, out=self._vectors)
        # u (sigma - cap) v^T, from the images sigma u.
        excess = (
            (values - self._cap).clamp_min(0.0) / values.clamp_min(torch.finfo(values.dtype).tiny)
        ).unsqueeze(-2)
        weight.sub_((images @ rotation).mul_(excess) @ self._vectors.mT)
        return values
