"""Random numbers for probes, from the streams that every machine draws alike. Pure."""

import math

import numpy as np
from numpy.typing import NDArray

from kernels.randomness import words

__all__ = ["below", "normal", "orthogonal", "signs", "uniform"]

Float = NDArray[np.float64]


def uniform(seed: bytes, label: str, *shape: int) -> Float:
    """Return numbers uniform on [0, 1), multiples of 2**-53. `seed` is 32 bytes."""
    raw = words(seed, label, math.prod(shape))
    return ((raw >> np.uint64(11)).astype(np.float64) * 2.0**-53).reshape(shape)


def normal(seed: bytes, label: str, *shape: int) -> Float:
    """Return standard normal numbers (Box & Muller 1958)."""
    radius = np.sqrt(-2.0 * np.log1p(-uniform(seed, f"{label}/radius", *shape)))
    return np.asarray(radius * np.cos(2.0 * math.pi * uniform(seed, f"{label}/angle", *shape)))


def signs(seed: bytes, label: str, *shape: int) -> Float:
    """Return -1 or 1, each as likely."""
    return np.where(uniform(seed, label, *shape) < 0.5, -1.0, 1.0)


def below(seed: bytes, label: str, bound: int, *shape: int) -> NDArray[np.int64]:
    """Return whole numbers uniform on 0 to `bound` - 1; the bias is below bound / 2**53."""
    return (uniform(seed, label, *shape) * bound).astype(np.int64)


def orthogonal(seed: bytes, label: str, rows: int, columns: int) -> Float:
    """Return a random (rows, columns), rows >= columns, whose columns are orthonormal."""
    factor, _ = np.linalg.qr(normal(seed, label, rows, columns))
    return np.asarray(factor)
