"""Several genomes on several seeds: means with intervals, fit for a table. Pure."""

import math
import statistics
from collections.abc import Sequence

import msgspec

from evaluator.jobs import Failure, Outcome, Result

__all__ = ["Compared", "Interval", "compare", "interval"]


class Interval(msgspec.Struct, frozen=True):
    """Mean, standard deviation, and half-width of the 95 % interval of the mean (Student's t)."""

    mean: float
    deviation: float
    half_width: float


class Compared(msgspec.Struct, frozen=True, kw_only=True):
    """One genome over its seeds. `intervals` by name; a failed seed counts in `failures` alone."""

    name: str
    genome: str
    outcomes: tuple[Outcome, ...]
    failures: tuple[Failure, ...]
    intervals: dict[str, Interval]


def interval(values: Sequence[float]) -> Interval:
    """Mean and 95 % interval of independent values; the half-width of fewer than two is infinite."""
    mean = statistics.fmean(values)
    if len(values) < 2:
        return Interval(mean, 0.0, math.inf)
    from scipy.stats import t  # noqa: PLC0415 - half a second that only a comparison pays

    deviation = statistics.stdev(values)
    factor = float(t.ppf(0.975, len(values) - 1))
    return Interval(mean, deviation, factor * deviation / math.sqrt(len(values)))


def compare(name: str, genome: str, results: Sequence[Result]) -> Compared:
    """Sum up the results of one genome."""
    outcomes = tuple(result for result in results if isinstance(result, Outcome))
    values: dict[str, list[float]] = {}
    for outcome in outcomes:
        measured = outcome.measured
        for key, value in {
            **outcome.objectives,
            "train_cpu_s": measured.train_cpu_s,
            "measured_speed": measured.samples_per_s,
            "measured_peak": float(measured.peak_bytes),
            "free_steps": outcome.settling.free_steps,
            "nudged_steps": outcome.settling.nudged_steps,
        }.items():
            values.setdefault(key, []).append(value)
    return Compared(
        name=name,
        genome=genome,
        outcomes=outcomes,
        failures=tuple(result for result in results if isinstance(result, Failure)),
        intervals={key: interval(found) for key, found in values.items()},
    )
