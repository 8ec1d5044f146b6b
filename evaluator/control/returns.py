"""What the returns of several seeds say together: means, interquartile means, when a mark was passed. Pure."""

import hashlib
import statistics
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from evaluator.control.summaries import ENOUGH_SEEDS, MARK, Band, Run, Summary
from kernels.probes.intervals import bootstrap, student

__all__ = ["bands", "interquartile_mean", "summary"]

Float = NDArray[np.float64]


def interquartile_mean(values: Float) -> float:
    """Return the mean of what is left when a quarter of the values falls away at each end (Agarwal et al. 2021).

    A quarter is rounded down to whole values.
    """
    cut = len(values) // 4
    return float(np.sort(values)[cut : len(values) - cut].mean())


def _returns(runs: Sequence[Run]) -> Float:
    """Mean returns, (seeds, points)."""
    return np.array([[point.mean_return for point in run.points] for run in runs])


def _interval(values: Float, label: str) -> tuple[float, float, float]:
    """Interquartile mean and its interval, reproducibly."""
    seed = hashlib.sha256(f"eqmesh/cartpole/bootstrap/{label}".encode()).digest()
    found = bootstrap(lambda rows: interquartile_mean(values[rows]), len(values), seed)
    return found.value, found.low, found.high


def bands(runs: Sequence[Run]) -> list[Band]:
    """The curve of one credit over its seeds, which were measured after the same numbers of steps."""
    found = []
    for column, point in zip(_returns(runs).T, runs[0].points, strict=True):
        if len(column) >= ENOUGH_SEEDS:
            centre, low, high = _interval(column, str(point.steps))
        else:
            centre, low, high = float(column.mean()), float(column.min()), float(column.max())
        found.append(Band(steps=point.steps, centre=centre, low=low, high=high))
    return found


def summary(runs: Sequence[Run]) -> Summary:
    """One credit over its seeds, one at least."""
    returns, last = _returns(runs), runs[0].points[-1]
    final, means = returns[:, -1], returns.mean(axis=0)
    steps = [point.steps for point in runs[0].points]
    over = means >= MARK
    kept = len(over) - int(np.argmin(over[::-1])) if not over.all() else 0
    interval = student(final) if len(final) > 1 else None
    iqm = _interval(final, str(last.steps)) if len(final) >= ENOUGH_SEEDS else (None, None, None)
    return Summary(
        credit=runs[0].credit,
        seeds=len(runs),
        steps=last.steps,
        mean=float(final.mean()),
        half_width=None if interval is None else interval.high - interval.value,
        worst=float(final.min()),
        iqm=iqm[0],
        iqm_low=iqm[1],
        iqm_high=iqm[2],
        passed=int((final >= MARK).sum()),
        passed_after=steps[int(np.argmax(over))] if over.any() else None,
        kept_after=steps[kept] if over[-1] else None,
        cpu_s=statistics.median(run.cpu_s for run in runs),
    )
