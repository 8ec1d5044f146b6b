"""New units for one level of a stack, inserted so that nothing it computes changes. Pure."""

from typing import Literal, TypeAlias

import numpy as np

from kernels.errors import KernelError
from kernels.growth.autoencoder import Array, Stack

__all__ = ["NewUnits", "incoming_rows", "widen"]

NewUnits: TypeAlias = Literal["outlier", "residual"]


def incoming_rows(stack: Stack, level: int, outliers: Array, count: int, *, kind: NewUnits) -> Array:
    """Incoming weights (count, sizes[level]) for new units: the worst outliers, or what they leave unexplained.

    `outliers` (n, sizes[0]) are inputs, the worst first. The rows are of length 1: "outlier" takes the codes
    below the level, "residual" those less their reconstruction through the level. Where there are fewer outliers
    than units they are taken again. Raises KernelError without an outlier.
    """
    if not len(outliers):
        raise KernelError("new units start from outliers, and there is none. Grow only where outliers are.")
    below = outliers if level == 0 else stack.encode(outliers, level)
    rows = np.asarray(below[np.arange(count) % len(below)], dtype=np.float64)
    if kind == "residual":
        rows = rows - through(stack, level, rows)
    norms = np.linalg.norm(rows, axis=1, keepdims=True)
    return rows / np.where(norms > 0, norms, 1.0)


def through(stack: Stack, level: int, codes: Array) -> Array:
    """Codes (n, sizes[level]) encoded and decoded by one level alone."""
    part = stack.active(level)
    single = Stack((stack.sizes[level], stack.sizes[level + 1]), (part,))
    return single.reconstruct(codes)


def widen(stack: Stack, level: int, rows: Array) -> Stack:
    """The stack with len(rows) more units above `level`, whose incoming weights are `rows` (k, sizes[level]).

    Their biases are such that a unit is undecided at half of its row's response to itself. All outgoing weights
    are zero, in the decoder and in the level above: codes of other units, reconstructions and errors are bit for
    bit what they were. Raises KernelError beyond the capacity.
    """
    count, width = rows.shape
    old, room = stack.sizes[level + 1], stack.capacities[level + 1]
    if width != stack.sizes[level] or old + count > room:
        raise KernelError(
            f"level {level} takes rows of {stack.sizes[level]} weights for at most {room - old} more units, "
            f"got {count} of {width}. Give the stack a larger capacity or add fewer."
        )
    new = slice(old, old + count)
    here = stack.levels[level].copy()
    here.encoder[new, :width] = rows
    here.encoder_bias[new] = -0.5 * (rows * rows).sum(axis=1)
    here.decoder[:, new] = 0.0
    levels = [*stack.levels[:level], here, *stack.levels[level + 1 :]]
    if level + 1 < stack.depth:
        above = stack.levels[level + 1].copy()
        above.encoder[:, new] = 0.0
        above.decoder[new, :] = 0.0
        above.decoder_bias[new] = 0.0
        levels[level + 1] = above
    sizes = (*stack.sizes[: level + 1], old + count, *stack.sizes[level + 2 :])
    return Stack(sizes, tuple(levels))
