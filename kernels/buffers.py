"""Where buffers lie, buffers by number of samples, and reading any number of samples through buffers of one size."""

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, nullcontext
from typing import Generic, TypeVar

import torch
from torch import Tensor

__all__ = ["CHUNK", "BySize", "in_chunks", "placed_on"]

# Predictions are made for so many samples at a time.
CHUNK = 256

T = TypeVar("T")


def placed_on(device: torch.device) -> AbstractContextManager[object]:
    """Return the context in which torch makes its arrays on `device`.

    On the CPU it does nothing: torch's own would slow each call inside.
    """
    return nullcontext() if device.type == "cpu" else device


class BySize(Generic[T]):
    """What `make` allocates for each number of samples: kept for a batch, a chunk and the last other number."""

    def __init__(self, make: Callable[[int], T], batch: int) -> None:
        self._make = make
        self._kept: dict[int, T] = {}
        self._lasting = (batch, CHUNK)

    def __len__(self) -> int:
        return len(self._kept)

    def __getitem__(self, samples: int) -> T:
        if samples not in self._kept:
            if samples not in self._lasting:
                self._kept = {size: each for size, each in self._kept.items() if size in self._lasting}
            self._kept[samples] = self._make(samples)
        return self._kept[samples]


def in_chunks(x: Tensor) -> Iterator[tuple[slice, Tensor]]:
    """Cut `x` ([P,] n, n_0) into chunks of 256 samples, each with the rows of `x` that its first ones are.

    The last is filled with its first sample, so that only samples of `x` decide when it has settled. Every chunk is
    the same array.
    """
    padded = torch.empty((*x.shape[:-2], CHUNK, x.shape[-1]))
    for start in range(0, x.shape[-2], CHUNK):
        part = x[..., start : start + CHUNK, :]
        rows = part.shape[-2]
        padded[..., :rows, :] = part
        padded[..., rows:, :] = part[..., :1, :]
        yield slice(start, start + rows), padded
