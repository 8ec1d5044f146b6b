"""From the arrays of a caller to the tensors of a backend: checked, and shared where memory allows."""

import numpy as np
import torch
from torch import Tensor

from kernels.errors import KernelError
from kernels.learner import Array, check_labels

__all__ = ["class_tensor", "classes_on", "input_tensor", "one_hot"]


def _share(array: Array, dtype: type[np.float32] | type[np.int64]) -> Tensor:
    if array.dtype != dtype or not (array.flags.c_contiguous and array.flags.writeable):
        array = np.array(array, dtype=dtype)
    return torch.from_numpy(array)


def input_tensor(x: Array, size: int, lead: tuple[int, ...] = ()) -> Tensor:
    """Return `x` (*lead, samples, size) as a float32 tensor; raises KernelError for another shape."""
    if x.ndim != len(lead) + 2 or x.shape[:-2] != lead or x.shape[-1] != size:
        raise KernelError(f"x must have the shape {(*lead, 'samples', size)}, got {x.shape}.")
    return _share(x, np.float32)


def class_tensor(y: Array, shape: tuple[int, ...]) -> Tensor:
    """Return `y`, classes in an array of `shape`, as an int64 tensor; raises KernelError for another shape."""
    check_labels(y, shape)
    return _share(y, np.int64)


def classes_on(device: torch.device, y: Tensor, classes: int) -> Tensor:
    """Return the class numbers `y` of the host on `device`; raises KernelError unless all lie in [0, `classes`).

    They are checked here because a CUDA device that meets an index out of range serves this process no more.
    """
    lowest, highest = int(y.min()), int(y.max())
    if lowest < 0 or highest >= classes:
        raise KernelError(f"y must hold classes 0 to {classes - 1}, got {lowest} to {highest}.")
    return y.to(device)


def one_hot(out: Tensor, y: Tensor) -> None:
    """Store the one-hot code of `y` (..., samples) in `out` (..., classes, samples)."""
    try:
        out.zero_().scatter_(-2, y.unsqueeze(-2), 1.0)
    except RuntimeError as error:
        raise KernelError(f"y must hold classes 0 to {out.shape[-2] - 1}: {error}.") from error
