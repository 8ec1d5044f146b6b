"""Spectral norms, and a cap on them that clips only the top singular directions.

The norm of the state-to-state weights sets how fast a network settles; clipping the directions beyond the cap
leaves the rest of the matrix alone, where rescaling it would shrink what is learned.
"""

from collections.abc import Sequence

import torch
from torch import Tensor

__all__ = ["ExactCap", "SpectralCap", "make_cap", "spectral_norm"]

# Up to this side a decomposition costs no more than an iteration.
EXACT_SIDE = 64
DIRECTIONS = 16
DEGREE = 8
ROUNDS = 12
# Clipped values come to rest this far below the cap, so that what grows is found before it has passed it.
MARGIN = 0.02


def spectral_norm(matrix: Tensor) -> Tensor:
    """Return the largest singular value of `matrix` (..., rows, columns), by its Gram matrix in float64."""
    wide = matrix.double()
    gram = wide @ wide.mT if matrix.shape[-2] <= matrix.shape[-1] else wide.mT @ wide
    values: Tensor = torch.linalg.eigvalsh(gram)
    return values[..., -1].clamp_min(0.0).sqrt()


def make_cap(weight: Tensor, caps: Sequence[float]) -> "ExactCap | SpectralCap":
    """Return what holds a weight matrix ([P,] rows, columns) to `caps`: exactly where its smaller side allows."""
    small = min(weight.shape[-2:]) <= EXACT_SIDE
    return ExactCap(weight, caps) if small else SpectralCap(weight, caps)


class ExactCap:
    """Clips every singular value beyond the cap to the cap, by a decomposition of the smaller Gram matrix."""

    def __init__(self, weight: Tensor, caps: Sequence[float]) -> None:
        self._weight = weight
        self._cap = torch.tensor(caps, dtype=torch.float64).view(*weight.shape[:-2], 1)
        self.slots: dict[str, Tensor] = {}
        self.apply()

    def apply(self) -> None:
        """Clip what has passed the cap: W <- W - sum (sigma - cap) u v^T."""
        # A network that diverged keeps its NaN; a decomposition of them would raise, and take neighbours along.
        wide = torch.nan_to_num(self._weight.double())
        tall = wide.shape[-2] > wide.shape[-1]
        squares: Tensor
        squares, vectors = torch.linalg.eigh(wide.mT @ wide if tall else wide @ wide.mT)
        values = squares.clamp_min(0.0).sqrt()
        if bool((values[..., -1:] <= self._cap).all()):
            return
        # (1 - cap/sigma) along the directions beyond the cap, nothing along the others.
        share = torch.where(values > self._cap, 1.0 - self._cap / values, 0.0).unsqueeze(-2)
        beyond = (vectors * share) @ vectors.mT
        self._weight.sub_((wide @ beyond if tall else beyond @ wide).to(self._weight.dtype))


class SpectralCap:
    """Holds the singular values of one weight matrix ([P,] rows, columns) to `caps`, one for each network.

    Top directions come from a block power iteration that carries 16 right vectors from step to step, since weights
    change little in one. Its power is a Chebyshev polynomial of W^T W that is at most 1 up to the clipped values and
    grows steeply beyond: once many values rest at the cap, plain powers could not tell them from one that has passed
    it. The first cap is applied through a full decomposition.
    """

    def __init__(self, weight: Tensor, caps: Sequence[float]) -> None:
        self._weight = weight
        self._cap = torch.tensor(caps, dtype=weight.dtype).view(*weight.shape[:-2], 1)
        self._rest = self._cap * (1.0 - MARGIN)
        u, values, vh = torch.linalg.svd(weight, full_matrices=False)
        self._vectors = vh.mT[..., :DIRECTIONS].contiguous()
        self.slots = {"vectors": self._vectors}
        excess = torch.where(values > self._cap, values - self._rest, 0.0)
        weight.sub_((u * excess.unsqueeze(-2)) @ vh)

    def apply(self) -> None:
        """Clip what has passed the cap: W <- W - (sigma - rest) u v^T, where `rest` is .98 of the cap."""
        if not bool(torch.isfinite(self._weight).all()):
            return
        for _ in range(ROUNDS):
            values = self._clip()
            if bool((values <= self._cap).all()):
                return

    def _clip(self) -> Tensor:
        weight = self._weight
        vectors, _ = torch.linalg.qr(self._amplify(self._vectors))
        images = weight @ vectors
        squares: Tensor
        squares, rotation = torch.linalg.eigh(images.mT @ images)
        values = squares.clamp_min(0.0).sqrt()
        torch.matmul(vectors, rotation, out=self._vectors)
        # u (sigma - rest) v^T, from the images sigma u.
        excess = torch.where(values > self._rest, 1.0 - self._rest / values, 0.0).unsqueeze(-2)
        weight.sub_((images @ rotation).mul_(excess) @ self._vectors.mT)
        return values

    def _amplify(self, vectors: Tensor) -> Tensor:
        """Return the Chebyshev polynomial of degree 8 in 2 W^T W/rest^2 - 1, applied to `vectors`."""
        weight, factor = self._weight, (2.0 / self._rest.square()).unsqueeze(-1)
        last, current = vectors, factor * (weight.mT @ (weight @ vectors)) - vectors
        for _ in range(DEGREE - 1):
            mapped = factor * (weight.mT @ (weight @ current)) - current
            last, current = current, 2.0 * mapped - last
        return current
