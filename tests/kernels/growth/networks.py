"""Small stacks and inputs that the tests of growth share."""

import numpy as np

from kernels.growth import Stack, Stream, initial_stack, seed_bytes

SEED = seed_bytes(0)


def inputs(n: int, width: int = 12, label: str = "inputs") -> np.ndarray:
    """Inputs in [0, 1] with few causes, float32: what an autoencoder can learn."""
    stream = Stream(SEED, label)
    causes = stream.uniform((n, 3)) * 4.0 - 2.0
    return (1.0 / (1.0 + np.exp(-causes @ (stream.normal((3, width)) * 1.5)))).astype(np.float32)


def stack(
    sizes: tuple[int, ...] = (12, 9, 7, 4), room: int = 6, dtype: type[np.float32] = np.float32
) -> Stack:
    """A stack with room to grow, whose biases are not zero."""
    capacities = (sizes[0], *(size + room for size in sizes[1:]))
    made = initial_stack(sizes, Stream(SEED, "stack"), capacities=capacities, dtype=dtype)
    stream = Stream(SEED, "biases")
    for level in range(made.depth):
        part = made.active(level)
        for bias in (part.encoder_bias, part.decoder_bias):
            bias[:] = stream.normal(bias.shape) * 0.3
    return made
