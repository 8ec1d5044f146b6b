"""Where buffers lie, buffers by number of samples, and reading any number of samples through buffers of one size."""

from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, nullcontext
from typing import Generic, TypeVar

import torch
from torch import Tensor

__all__ = ["CHUNK", "BySize", "Numbers", "in_chunks", "placed_on", "works_remotely"]

# Predictions are made for so many samples at a time.
CHUNK = 256

T = TypeVar("T")


def placed_on(device: torch.device) -> AbstractContextManager[object]:
    """Return the context in which torch makes its arrays on `device`.

    On the CPU it does nothing: torch's own would slow each call inside.
    """
    return nullcontext() if device.type == "cpu" else device


def works_remotely(device: torch.device) -> bool:
    """Return whether an engine on `device` works there alone, by operations that are launched and not waited for.

    Then numbers that change from step to step lie in arrays of the device, and nothing is read back before a step is
    over. On the CPU numbers are arguments, NumPy shares the arrays, and a batch is read where it stands.
    """
    return device.type != "cpu"


class Numbers:
    """One number for each network, read by operations that are written down once; they see the latest `set`.

    An array (networks, 1, ...) with `axes` axes after the first. Where `remote`, it is made on the device of the
    context, and set from the host without waiting for what the device still has to do.
    """

    def __init__(self, networks: int, dtype: torch.dtype, *, axes: int = 1, remote: bool = False) -> None:
        shape = (networks, *(1,) * axes)
        self._staged = torch.zeros(shape, dtype=dtype, device="cpu")
        self._values = self._staged.view(-1).numpy()
        self._column = torch.zeros(shape, dtype=dtype) if remote else self._staged
        self._remote = remote

    def set(self, values: Sequence[float]) -> None:
        """Replace all numbers."""
        self._values[:] = values
        if self._remote:
            # From pageable memory the copy is staged before this returns: the next `set` cannot overtake it.
            self._column.copy_(self._staged, non_blocking=True)

    def of(self, networks: slice = slice(None)) -> Tensor:
        """Return what multiplies the rows `networks`: (rows, 1, ...), or () for a single one, which is faster."""
        column = self._column[networks]
        return column.view(()) if len(column) == 1 else column


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
