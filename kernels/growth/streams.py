"""Random numbers by name: equal seed and label give equal numbers, so nothing random need be saved to resume."""

import hashlib
import math
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from kernels.errors import KernelError
from kernels.randomness import words

__all__ = ["Stream", "seed_bytes"]


def seed_bytes(seed: int) -> bytes:
    """The 32 bytes that a whole number stands for as a seed; raises KernelError for a negative one."""
    if seed < 0:
        raise KernelError(f"a seed must be a whole number of at least 0, got {seed}.")
    return hashlib.sha256(f"eqmesh.growth/1/{seed}".encode()).digest()


class Stream:
    """A source of random numbers that a seed (32 bytes) and a label name; each draw moves it on.

    The words are those of `kernels.randomness`; what is made of them are a few elementary functions, so that
    permutations and uniform numbers are the same everywhere and normal ones up to the last bits of log and cos.
    """

    def __init__(self, seed: bytes, label: str) -> None:
        self._seed = seed
        self._label = label
        self._draws = 0

    def child(self, label: str) -> "Stream":
        """A stream of its own under this one's label, whatever was drawn here."""
        return Stream(self._seed, f"{self._label}/{label}")

    def uniform(self, shape: Sequence[int]) -> NDArray[np.float64]:
        """Numbers of this shape, uniform on [0, 1), multiples of 2**-53."""
        raw = self._words(math.prod(shape)) >> np.uint64(11)
        return (raw.astype(np.float64) * 2.0**-53).reshape(shape)

    def normal(self, shape: Sequence[int]) -> NDArray[np.float64]:
        """Numbers of this shape, standard normal, by Box & Muller (1958)."""
        count = math.prod(shape)
        half = (count + 1) // 2
        pair = self.uniform((2, half))
        # 1 - u lies in (0, 1], whose logarithm is finite.
        radius = np.sqrt(-2.0 * np.log(1.0 - pair[0]))
        angle = 2.0 * np.pi * pair[1]
        drawn = np.concatenate([radius * np.cos(angle), radius * np.sin(angle)])
        return drawn[:count].reshape(shape)

    def permutation(self, n: int) -> NDArray[np.int64]:
        """The numbers 0..n - 1 in random order: the ranks of n random words."""
        return np.argsort(self._words(n), kind="stable")

    def _words(self, count: int) -> NDArray[np.uint64]:
        self._draws += 1
        return words(self._seed, f"{self._label}#{self._draws}", count)
