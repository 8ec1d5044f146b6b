"""Time real training steps on this machine and fit what a call, a product and a byte cost."""

import statistics
import time
from typing import NamedTuple

import numpy as np

from evaluator.build import build
from evaluator.calibration import machine
from evaluator.cost import step_cost
from evaluator.jobs import Arithmetic, Calibration, stream_key
from evaluator.shape import shape_of
from evaluator.spaces import class_admits
from genome import Genome, preset
from genome.spaces import MLP
from kernels.randomness import words

__all__ = ["Timing", "calibrate", "probes", "time_step"]

_CLASSES = 10
_BUDGET_S = 0.05
_LEAST_REPEATS = 5


class Timing(NamedTuple):
    """One genome's training step: its counts and median CPU seconds."""

    calls: float
    macs: float
    bytes: float
    seconds: float


def probes(arithmetic: Arithmetic) -> list[tuple[Genome, int]]:
    """Genome and number of inputs of each timed network: small and large, shallow and deep."""
    found = []
    for source, changes, inputs in (
        ("shallow", {"width1": 16, "batch": 16}, 64),
        ("shallow", {"width1": 64, "batch": 32}, 64),
        ("shallow", {"width1": 128, "batch": 128}, 64),
        ("shallow", {"width1": 512, "batch": 64}, 64),
        ("shallow", {"width1": 512, "batch": 128}, 784),
        ("ep", {"width1": 64, "batch": 64}, 64),
        ("ep", {"width1": 256, "batch": 128}, 64),
        ("deep", {"width1": 64, "width2": 64, "batch": 64}, 64),
        ("deep", {"width1": 256, "width2": 256, "batch": 128}, 64),
        ("backprop", {"width1": 128, "batch": 64}, 64),
    ):
        genome = MLP.genome({**dict(preset(source).values), **changes})
        if class_admits(arithmetic, genome):
            found.append((genome, inputs))
    return found


def time_step(genome: Genome, *, inputs: int, arithmetic: Arithmetic, budget_s: float = _BUDGET_S) -> Timing:
    """Median CPU seconds of one training step of `genome` on uniform noise of the right shape."""
    values = dict(genome.values)
    key = stream_key(genome.id, "calibration", 0)
    learner = build(values, inputs=inputs, classes=_CLASSES, seed=key, arithmetic=arithmetic, backend="auto")
    batch = int(values["batch"])
    x = (words(key, "x", batch * inputs).reshape(batch, inputs) / np.float64(2**64)).astype(np.float32)
    y = (words(key, "y", batch) % np.uint64(_CLASSES)).astype(np.int64)
    for _ in range(2):
        report = learner.step(x, y, scale=1.0, sign=1)
    seconds: list[float] = []
    while len(seconds) < _LEAST_REPEATS or sum(seconds) < budget_s:
        start = time.process_time()
        report = learner.step(x, y, scale=1.0, sign=1)
        seconds.append(time.process_time() - start)
    cost = step_cost(
        values,
        shape_of(values, inputs=inputs, classes=_CLASSES),
        arithmetic=arithmetic,
        free_steps=report.free_steps,
        nudged_steps=report.nudged_steps,
    )
    return Timing(cost.calls, cost.macs, cost.bytes, statistics.median(seconds))


def calibrate(arithmetic: Arithmetic) -> Calibration:
    """Fit seconds a call, a multiply-accumulate and a byte to timed steps, by relative error."""
    # Imported here: most workers never calibrate, and it takes a fifth of their start.
    from scipy.optimize import nnls  # noqa: PLC0415

    timings = [
        time_step(genome, inputs=inputs, arithmetic=arithmetic) for genome, inputs in probes(arithmetic)
    ]
    counts = np.array([[t.calls, t.macs, t.bytes] for t in timings])
    seconds = np.array([t.seconds for t in timings])
    scale = counts.max(axis=0)
    fit, _ = nnls(counts / scale / seconds[:, None], np.ones(len(timings)))
    errors = np.abs(counts / scale @ fit / seconds - 1.0)
    per_call, per_mac, per_byte = (float(f"{value:.6g}") for value in fit / scale)
    return Calibration(
        arithmetic=arithmetic,
        machine=machine(),
        seconds_per_call=per_call,
        seconds_per_mac=per_mac,
        seconds_per_byte=per_byte,
        error=float(f"{np.median(errors):.3g}"),
    )
