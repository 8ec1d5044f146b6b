"""The parameters that a network starts from. Pure."""

import math

import numpy as np
from numpy.typing import NDArray

from kernels.errors import KernelError
from kernels.randomness import uniform_integers
from kernels.topology import Topology, bias_name, weight_name

__all__ = ["initial_basis", "initial_parameters"]

GRID = 2**24


def initial_parameters(topology: Topology, seed: bytes, gain: float) -> dict[str, NDArray[np.float64]]:
    """Draw weights uniform on +-1/sqrt(fan-in) and zero biases, as multiples of 2**-24.

    `gain` scales the hidden-to-hidden weights, whose norm sets the speed of settling. `seed` is 32 bytes. The
    values are the same on every machine: only integers and correctly rounded operations make them.
    """
    if not (math.isfinite(gain) and 0 < gain <= 16):
        raise KernelError(f"gain must lie in (0, 16], got {gain}.")
    parameters: dict[str, NDArray[np.float64]] = {}
    for source, target in topology.connections:
        name = weight_name(source, target)
        scale = gain if source > 0 and target < topology.last else 1.0
        bound = int(scale / math.sqrt(topology.fan_in(target)) * GRID)
        shape = topology.parameter_shapes[name]
        drawn = uniform_integers(seed, f"initial/{name}", shape[0] * shape[1], bound)
        parameters[name] = (drawn.astype(np.float64) / GRID).reshape(shape)
    for layer in range(1, topology.last + 1):
        parameters[bias_name(layer)] = np.zeros(topology.sizes[layer])
    return parameters


def initial_basis(rows: int, columns: int, fraction: float) -> NDArray[np.float64]:
    """Return orthonormal columns (columns, rank) of the discrete cosine basis: where low-rank updates begin.

    The rank is `fraction` of the smaller side of a matrix (rows, columns), at least 1.
    """
    rank = max(1, round(fraction * min(rows, columns)))
    wave = np.cos(math.pi / columns * (np.arange(columns)[:, None] + 0.5) * np.arange(rank))
    return np.asarray(wave / np.linalg.norm(wave, axis=0))
