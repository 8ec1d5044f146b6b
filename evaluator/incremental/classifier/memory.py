"""What a classifier remembers of classes whose data are gone: Gaussians of a fixed code of the inputs. Pure.

A classifier's hidden layer keeps what tells classes apart and drops the rest, and it moves with everything that is
learned. The code here is neither learned nor grown: an orthonormal basis of images, so that statistics taken once, when
a class was taught, hold for ever, and its transpose decodes them.
"""

from dataclasses import dataclass, replace
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from evaluator.errors import TaskError
from kernels.growth import ReplayStatistics, Stream

__all__ = ["CosineCode", "Memory"]

Floats = NDArray[np.float64]


@dataclass(frozen=True)
class CosineCode:
    """The lowest kept x kept frequencies of images `side` pixels wide, by the orthonormal discrete cosine transform.

    Ahmed, Natarajan & Rao (1974). With kept = side nothing is lost.
    """

    side: int
    kept: int

    @cached_property
    def basis(self) -> Floats:
        """Orthonormal rows (kept^2, side^2)."""
        n, k = np.arange(self.side), np.arange(self.kept)[:, None]
        wave = np.cos(np.pi / self.side * (n + 0.5) * k) * np.sqrt(2.0 / self.side)
        wave[0] /= np.sqrt(2.0)
        return np.kron(wave, wave)

    def encode(self, x: NDArray[np.floating]) -> Floats:
        """Codes (n, kept^2) of images (n, side^2); raises TaskError for others."""
        if x.ndim != 2 or x.shape[1] != self.side**2:
            raise TaskError(
                f"replay codes images of {self.side} x {self.side} pixels, got {x.shape}. Set side to theirs."
            )
        return np.asarray(x, dtype=np.float64) @ self.basis.T

    def decode(self, codes: Floats) -> NDArray[np.float32]:
        """Images (n, side^2) in [0, 1] of codes (n, kept^2)."""
        return np.clip(codes @ self.basis, 0.0, 1.0).astype(np.float32)


@dataclass(frozen=True, eq=False)
class Memory:
    """One Gaussian of codes for each class taught so far, and the code."""

    code: CosineCode
    statistics: ReplayStatistics

    def with_class(self, label: int, x: NDArray[np.floating]) -> "Memory":
        """This memory with a class, of which all inputs are (n, side^2)."""
        return replace(self, statistics=self.statistics.updated(label, self.code.encode(x)))

    def recall(self, label: int, n: int, stream: Stream) -> NDArray[np.float32]:
        """`n` inputs (n, side^2) in [0, 1] that are like those of a class."""
        return self.code.decode(self.statistics.sample(label, n, stream))
