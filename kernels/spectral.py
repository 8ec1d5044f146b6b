"""Spectral norms, and a cap on them: every singular direction above the cap is clipped, the others stay.

The norm of the state-to-state weights sets how fast a network settles; clipping the directions beyond the cap
leaves the rest of the matrix alone, where rescaling it would shrink what is learned.
"""

from collections.abc import Callable, Sequence

import torch
from torch import Tensor

__all__ = ["SLACK", "ExactCap", "MaskedCap", "SpectralCap", "make_cap", "scaled_within", "spectral_norm"]

# Up to this side a decomposition costs no more than an iteration.
EXACT_SIDE = 64
DIRECTIONS = 16
DEGREE = 8
ROUNDS = 12
# Clipped values come to rest this far below the cap, so that what grows is found before it has passed it.
MARGIN = 0.02
# A norm passes for capped up to this share beyond the cap.
SLACK = 2.0**-11
# One is enough, but for values so large that the clipped part is lost in their rounding: each takes 15 digits off.
DECOMPOSITIONS = 3
LARGEST_POWER = 1e30


def spectral_norm(matrix: Tensor) -> Tensor:
    """Return the largest singular value of `matrix` (..., rows, columns), by its Gram matrix in float64.

    NaN for a matrix that is not finite throughout.
    """
    finite = finite_networks(matrix)
    wide = torch.where(finite[..., None, None], matrix, 0.0).double()
    values: Tensor = torch.linalg.eigvalsh(smaller_gram(wide))
    return torch.where(finite, values[..., -1].clamp_min(0.0).sqrt(), torch.nan)


def smaller_gram(wide: Tensor) -> Tensor:
    """Return M M^T or M^T M of `wide` (..., rows, columns), whichever is smaller: both have its squared values."""
    return wide @ wide.mT if wide.shape[-2] <= wide.shape[-1] else wide.mT @ wide


def scaled_within(matrix: Tensor, cap: float) -> Tensor:
    """Return `matrix` (rows, columns) times min(1, cap/sigma), sigma its spectral norm: its levels stay as many.

    A matrix that is not finite throughout comes back as it is.
    """
    if not bool(finite_networks(matrix)):
        return matrix
    gram = smaller_gram(matrix.double())
    # cap^2 - M M^T has a Cholesky factor where every singular value is below the cap: a fraction of what sigma costs.
    _, beyond = torch.linalg.cholesky_ex(cap * cap * torch.eye(len(gram), dtype=gram.dtype) - gram)
    if not int(beyond):
        return matrix
    sigma = float(torch.linalg.eigvalsh(gram)[-1].clamp_min(0.0).sqrt())
    return matrix * min(1.0, cap / sigma)


def finite_networks(weight: Tensor) -> Tensor:
    """Return which networks' matrices (..., rows, columns) are finite throughout; decompositions raise on others."""
    finite: Tensor = torch.isfinite(weight).all(-1).all(-1)
    return finite


def excess(wide: Tensor, cap: Tensor, rest: Tensor) -> tuple[Tensor | None, Tensor]:
    """Return sum (sigma - rest) u v^T over the singular values of `wide` above `cap`, and its right vectors.

    The sum is None where there is none above; right vectors are columns, not normalised, those of the largest values
    first. `wide` (..., rows, columns) is in float64; `cap` and `rest` are (..., 1). By the smaller Gram matrix: the
    float32 divide-and-conquer SVD of some LAPACKs loses the orthogonality of vectors whose values are all but equal,
    as they are after an orthogonal step.
    """
    tall = wide.shape[-2] > wide.shape[-1]
    squares: Tensor
    squares, vectors = torch.linalg.eigh(wide.mT @ wide if tall else wide @ wide.mT)
    right = (vectors if tall else wide.mT @ vectors).flip(-1)
    values = squares.clamp_min(0.0).sqrt()
    if bool((values[..., -1:] <= cap).all()):
        return None, right
    # (1 - rest/sigma) along the directions beyond the cap, nothing along the others.
    share = torch.where(values > cap, 1.0 - rest / values, 0.0).unsqueeze(-2)
    projector = (vectors * share) @ vectors.mT
    return wide @ projector if tall else projector @ wide, right


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
        # A network that diverged stays as it is: a decomposition of it would raise, and take neighbours along.
        finite = finite_networks(self._weight)[..., None, None]
        wide = torch.where(finite, self._weight, 0.0).double()
        part, _ = excess(wide, self._cap, self._cap)
        if part is not None:
            self._weight.sub_(part.to(self._weight.dtype))


class SpectralCap:
    """Holds the singular values of one weight matrix ([P,] rows, columns) to `caps`, one for each network.

    Top directions come from a block power iteration that carries 16 right vectors from step to step, since weights
    change little in one. Its power is a Chebyshev polynomial of W^T W that is at most 1 up to the clipped values and
    grows steeply beyond: once many values rest at the cap, plain powers could not tell them from one that has passed
    it. The first cap is applied through a full decomposition, and so is one that the iteration does not bring about:
    an orthogonal step lifts all directions at once.
    """

    def __init__(self, weight: Tensor, caps: Sequence[float]) -> None:
        rows, columns = weight.shape[-2:]
        self._weight = weight if weight.dim() == 3 else weight.unsqueeze(0)
        self._cap = torch.tensor(caps, dtype=weight.dtype).view(-1, 1)
        self._rest = self._cap * (1.0 - MARGIN)
        vectors = torch.zeros(
            (*weight.shape[:-2], columns, min(DIRECTIONS, rows, columns)), dtype=weight.dtype
        )
        self.slots = {"vectors": vectors}
        self._vectors = vectors.view(-1, *vectors.shape[-2:])
        self._decompose(torch.ones(len(self._weight), dtype=torch.bool))

    def apply(self) -> None:
        """Clip what has passed the cap: W <- W - (sigma - rest) u v^T, where `rest` is .98 of the cap.

        Afterwards every singular value is at most 1.0005 of the cap. A network that is not finite stays as it is.
        """
        finite = finite_networks(self._weight)
        if bool(finite.all()):
            self._hold()
        elif bool(finite.any()):
            # Zeros stand in for what has diverged: its neighbours are held all the same.
            kept = self._weight[~finite]
            self._weight[~finite] = 0.0
            self._hold()
            self._weight[~finite] = kept

    def _hold(self) -> None:
        for _ in range(ROUNDS):
            values = self._clip()
            if values is None or bool((values <= self._cap).all()):
                break
        # Carried directions say nothing of one that is orthogonal to them all.
        for _ in range(DECOMPOSITIONS):
            missed = self._beyond()
            if not bool(missed.any()):
                return
            self._decompose(missed)

    def _beyond(self) -> Tensor:
        """Return the networks with a singular value beyond the cap: there bound^2 - W^T W has no Cholesky factor."""
        weight = self._weight if self._weight.shape[-2] > self._weight.shape[-1] else self._weight.mT
        bound = (self._cap * (1.0 + SLACK)).square().unsqueeze(-1)
        rest = bound * torch.eye(weight.shape[-1], dtype=weight.dtype) - weight.mT @ weight
        # A matrix so large that its square overflows is beyond any cap.
        finite = finite_networks(rest)
        _, info = torch.linalg.cholesky_ex(torch.where(finite[:, None, None], rest, -1.0))
        beyond: Tensor = info != 0
        return beyond

    def _decompose(self, networks: Tensor) -> None:
        """Clip the chosen networks (P,) through all their singular values, and carry their top vectors."""
        chosen = self._weight[networks].double()
        part, right = excess(chosen, self._cap[networks].double(), self._rest[networks].double())
        if part is not None:
            self._weight[networks] = (chosen - part).to(self._weight.dtype)
        self._vectors[networks] = right[..., : self._vectors.shape[-1]].to(self._weight.dtype)

    def _clip(self) -> Tensor | None:
        """Clip in the carried directions; return their values before, ascending, or None where powers overflow."""
        weight = self._weight
        amplified = self._amplify(self._vectors)
        # `<=` is false of a NaN too.
        if not bool((amplified.abs() <= LARGEST_POWER).all()):
            return None
        vectors, _ = torch.linalg.qr(amplified)
        images = weight @ vectors
        squares: Tensor
        squares, rotation = torch.linalg.eigh(images.mT @ images)
        values = squares.clamp_min(0.0).sqrt()
        torch.matmul(vectors, rotation, out=self._vectors)
        # u (sigma - rest) v^T, from the images sigma u.
        share = torch.where(values > self._rest, 1.0 - self._rest / values, 0.0).unsqueeze(-2)
        weight.sub_((images @ rotation).mul_(share) @ self._vectors.mT)
        return values

    def _amplify(self, vectors: Tensor) -> Tensor:
        """Return the Chebyshev polynomial of degree 8 in 2 W^T W/rest^2 - 1, applied to `vectors`."""
        weight, factor = self._weight, (2.0 / self._rest.square()).unsqueeze(-1)
        last, current = vectors, factor * (weight.mT @ (weight @ vectors)) - vectors
        for _ in range(DEGREE - 1):
            mapped = factor * (weight.mT @ (weight @ current)) - current
            last, current = current, 2.0 * mapped - last
        return current


class MaskedCap:
    """Holds one matrix (rows, columns) to `cap` where it is felt through a 0/1 `mask` of its shape alone.

    A clip writes off the mask, and without what it wrote there the norm is above the cap again: what is off the mask is
    erased before and after, and what passes the cap then is scaled back to it. `make` gives the clip.
    """

    def __init__(
        self,
        weight: Tensor,
        mask: Tensor,
        cap: float,
        make: Callable[[Tensor, Sequence[float]], ExactCap | SpectralCap] = make_cap,
    ) -> None:
        self._weight, self._mask, self._cap = weight, mask, cap
        weight.mul_(mask)
        self._clip = make(weight, [cap])
        self.slots = self._clip.slots
        self._erase()

    def apply(self) -> None:
        """Clip what has passed the cap on the mask."""
        self._weight.mul_(self._mask)
        self._clip.apply()
        self._erase()

    def _erase(self) -> None:
        self._weight.mul_(self._mask)
        self._weight.copy_(scaled_within(self._weight, self._cap))
