"""Weights of few bits, as states meet them; the float32 master keeps learning behind. Pure."""

from torch import Tensor

from kernels.errors import KernelError
from kernels.spectral import scaled_within

__all__ = ["quantised"]

# Li & Liu (2016), Ternary Weight Networks: weights under .7 of the mean magnitude become 0.
TERNARY_THRESHOLD = 0.7


def quantised(weight: Tensor, bits: int, bound: float | None = None) -> Tensor:
    """Return `weight` at `bits` of precision: 32 itself, 8 on 255 even levels up to its largest, 2 in {-s, 0, s}.

    The ternary scale s is the mean magnitude of what is kept, the best one for that choice (Li & Liu 2016, eq. 5).
    Rounding may lift the spectral norm of a weight that keeps to a cap: one of 8 or 2 bits is scaled down as a whole to
    `bound` where it would pass it.
    """
    if bits == 32:
        return weight
    rounded = _rounded(weight, bits)
    return rounded if bound is None else scaled_within(rounded, bound)


def _rounded(weight: Tensor, bits: int) -> Tensor:
    size = weight.abs()
    if bits == 8:
        step = size.amax().clamp_min(1e-30) / 127.0
        return (weight / step).round() * step
    if bits == 2:
        kept = size > TERNARY_THRESHOLD * size.mean()
        scale = (size * kept).sum() / kept.sum().clamp_min(1)
        return weight.sign() * kept * scale
    raise KernelError(f"weights have 32, 8 or 2 bits, got {bits}.")
