"""Random streams whose values are the same on every machine and with every numpy. Pure.

Only the raw 64-bit words of Philox 4x64-10 (Salmon et al. 2011) are read, and only integer arithmetic follows:
numpy's own distributions may change between its versions, the words may not.
"""

import hashlib

import numpy as np
from numpy.typing import NDArray

from kernels.errors import KernelError

__all__ = ["permutation", "uniform_integers", "words"]


def words(seed: bytes, label: str, count: int) -> NDArray[np.uint64]:
    """Return `count` uniform 64-bit words of the stream that `seed` (32 bytes) and `label` name."""
    if len(seed) != 32:
        raise KernelError(f"a seed is 32 bytes, got {len(seed)}.")
    digest = hashlib.sha256(b"eqmesh.stream/1\0" + seed + label.encode()).digest()
    return np.random.Philox(key=int.from_bytes(digest[:16], "little")).random_raw(count)


def permutation(seed: bytes, epoch: int, n: int) -> NDArray[np.int64]:
    """Return the order (n,) in which `n` samples are visited in `epoch`: the ranks of n random words."""
    return np.argsort(words(seed, f"permutation/{epoch}", n), kind="stable")


def uniform_integers(seed: bytes, label: str, count: int, bound: int) -> NDArray[np.int64]:
    """Return `count` integers uniform on [-bound, bound], `bound` at most 2**62.

    The bias of the remainder is below (2 * bound + 1) / 2**64.
    """
    raw = words(seed, label, count) % np.uint64(2 * bound + 1)
    return raw.astype(np.int64) - np.int64(bound)
