"""How sure a measured number is: intervals at 95 %, and rank correlation. Pure."""

import math
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.special import stdtrit

from kernels.errors import KernelError
from kernels.probes.draws import below

__all__ = ["Interval", "bootstrap", "rank_correlation", "ranks", "share", "student"]

Float = NDArray[np.float64]
# The 97.5 % point of the normal distribution.
Z = 1.959963984540054


@dataclass(frozen=True)
class Interval:
    """An estimate and the interval that holds the true value with 95 % confidence."""

    value: float
    low: float
    high: float

    def holds(self, number: float) -> bool:
        """Say whether `number` lies in the interval, its ends included."""
        return self.low <= number <= self.high


def share(hits: int, total: int) -> Interval:
    """Return a share of independent trials with Wilson's score interval (1927), sound near 0 and 1 too."""
    if not 0 <= hits <= total or total < 1:
        raise KernelError(f"a share needs 0 <= hits <= total and total >= 1, got {hits} of {total}.")
    rate = hits / total
    centre = (rate + Z * Z / (2 * total)) / (1 + Z * Z / total)
    half = Z * math.sqrt(rate * (1 - rate) / total + Z * Z / (4 * total * total)) / (1 + Z * Z / total)
    # Rounding must not push the ends past the estimate itself.
    return Interval(rate, max(0.0, min(rate, centre - half)), min(1.0, max(rate, centre + half)))


def student(values: Float) -> Interval:
    """Return the mean of two or more independent values with Student's interval."""
    if len(values) < 2:
        raise KernelError(
            f"an interval of a mean needs 2 values or more, got {len(values)}. Take more seeds."
        )
    mean = float(values.mean())
    half = float(stdtrit(len(values) - 1, 0.975)) * float(values.std(ddof=1)) / math.sqrt(len(values))
    return Interval(mean, mean - half, mean + half)


def bootstrap(
    statistic: Callable[[NDArray[np.int64]], float], count: int, seed: bytes, *, rounds: int = 1000
) -> Interval:
    """Return a statistic of `count` samples with its percentile interval (Efron 1979), a little narrow for few samples.

    `statistic` takes the row numbers of a resample. Resamples on which it is NaN (all samples alike) are left out;
    raises KernelError where that is more than half of them.
    """
    drawn = below(seed, "bootstrap", count, rounds, count)
    values = np.array([statistic(rows) for rows in drawn])
    values = values[~np.isnan(values)]
    if 2 * len(values) < rounds:
        raise KernelError(
            f"at least half of {rounds} resamples must have the statistic, got {len(values)}. Take more samples."
        )
    low, high = np.quantile(values, [0.025, 0.975])
    return Interval(statistic(np.arange(count)), float(low), float(high))


def ranks(values: Float) -> Float:
    """Return the rank of each value from 1; equal values share the mean of their ranks."""
    _, inverse, counts = np.unique(values, return_inverse=True, return_counts=True)
    last = np.cumsum(counts)
    return np.asarray((last - (counts - 1) / 2)[inverse], dtype=np.float64)


def rank_correlation(left: Float, right: Float) -> float:
    """Return Spearman's rank correlation (1904); NaN where either side is constant."""
    a, b = (side - side.mean() for side in (ranks(left), ranks(right)))
    norm = math.sqrt(float(a @ a) * float(b @ b))
    return float(a @ b) / norm if norm > 0 else math.nan
