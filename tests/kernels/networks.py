"""Small networks and batches that the tests of the kernels share."""

from dataclasses import replace

import numpy as np

from kernels import Relaxation, Rule, Topology, initial_parameters
from kernels.randomness import words

SEED = bytes(range(32))


def uniform(label: str, *shape: int) -> np.ndarray:
    """Uniform numbers on [0, 1) that every machine draws alike."""
    count = int(np.prod(shape))
    return ((words(SEED, label, count) >> np.uint64(11)).astype(np.float64) / 2**53).reshape(shape)


def batch(topology: Topology, rows: int, label: str = "batch") -> tuple[np.ndarray, np.ndarray]:
    """Sparse pixels in [0, 1], float32, and classes."""
    x = uniform(label, rows, topology.sizes[0])
    x = np.where(x < 0.4, 0.0, x).astype(np.float32)
    y = (uniform(label + "/classes", rows) * topology.sizes[-1]).astype(np.int64)
    return x, y


def parameters(topology: Topology, gain: float = 0.5, seed: bytes = SEED) -> dict[str, np.ndarray]:
    """Initial parameters, with biases that are not zero."""
    values = initial_parameters(topology, seed, gain)
    for name, value in values.items():
        if name.startswith("b"):
            values[name] = np.round((uniform(name, *value.shape) - 0.3) * 0.2 * 2**24) / 2**24
    return values


def rule(
    estimate: str = "centred",
    beta: float = 0.3,
    *,
    free: int = 4,
    nudged: int = 3,
    scheme: str = "block",
    orders: tuple[str, str] = ("forward", "backward"),
    step_size: float = 0.6,
    tolerance: float = 0.0,
) -> Rule:
    relaxation = Relaxation(
        scheme=scheme, steps=free, step_size=step_size, tolerance=tolerance, order=orders[0]
    )
    return Rule(estimate, beta, relaxation, replace(relaxation, steps=nudged, order=orders[1]))


def relative_error(left: dict[str, np.ndarray], right: dict[str, np.ndarray]) -> float:
    """The largest error of any parameter, relative to that parameter's largest entry in `right`."""
    return max(float(np.abs(left[name] - right[name]).max() / np.abs(right[name]).max()) for name in right)


def cosine(left: dict[str, np.ndarray], right: dict[str, np.ndarray]) -> float:
    a, b = (np.concatenate([side[name].ravel() for name in sorted(right)]) for side in (left, right))
    return float(a @ b / np.sqrt((a @ a) * (b @ b)))
