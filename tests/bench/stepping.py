"""Learners of a given shape on noise, and interleaved timings of their steps: what the kernel benchmarks share."""

import statistics
import time
from collections.abc import Callable, Mapping, Sequence

import numpy as np

from kernels import EqpropLearner, OptimizerSettings, Relaxation, Rule, Topology, initial_parameters
from kernels.population import PopulationLearner
from kernels.randomness import words

__all__ = ["Batch", "alone", "batch_of", "interleaved", "together"]

Batch = tuple[np.ndarray, np.ndarray]
SHALLOW = Rule("centred", 1.0, Relaxation(steps=0), Relaxation(order="backward", steps=1))
ADAM = OptimizerSettings("adam", rate=4e-3)


def batch_of(rows: int, inputs: int, classes: int = 10) -> Batch:
    """Uniform inputs (rows, inputs) in [0, 1) and labels (rows,)."""
    x = words(bytes(32), "bench x", rows * inputs) / np.float64(2**64)
    y = words(bytes(32), "bench y", rows) % np.uint64(classes)
    return x.reshape(rows, inputs).astype(np.float32), y.astype(np.int64)


def alone(sizes: tuple[int, ...], batch: int, arithmetic: str = "fp32") -> EqpropLearner:
    """A shallow EP learner (ce, centred, one nudged sweep, Adam)."""
    topology = Topology(sizes)
    start = initial_parameters(topology, seed=bytes(32), gain=0.5)
    return EqpropLearner(topology, start, SHALLOW, ADAM, batch=batch, arithmetic=arithmetic)  # type: ignore[arg-type]


def together(sizes: tuple[int, ...], batch: int, networks: int) -> PopulationLearner:
    """So many of the same as one batch."""
    topology = Topology(sizes)
    starts = [initial_parameters(topology, seed=i.to_bytes(32, "big"), gain=0.5) for i in range(networks)]
    return PopulationLearner(topology, starts, [SHALLOW] * networks, [ADAM] * networks, batch=batch)


def interleaved(
    ways: Mapping[str, Callable[[], object]], *, rounds: int, repeats: Sequence[int]
) -> dict[str, float]:
    """Median CPU seconds of one call of each way, over rounds in which the ways take turns."""
    seconds: dict[str, list[float]] = {name: [] for name in ways}
    for act in ways.values():
        act()
    for _ in range(rounds):
        for (name, act), count in zip(ways.items(), repeats, strict=True):
            start = time.process_time()
            for _ in range(count):
                act()
            seconds[name].append((time.process_time() - start) / count)
    return {name: statistics.median(found) for name, found in seconds.items()}
