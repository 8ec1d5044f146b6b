"""What each sample's free phase does in the end: converge, cycle, run away, or none of these yet. Pure."""

import msgspec
import numpy as np
from numpy.typing import NDArray

from evaluator.probes.subject import Samples, Subject, check
from kernels.diagnostics import WATCHED_SWEEPS, Verdict, classify
from kernels.probes.equilibrium import changes

__all__ = ["Oscillation", "OscillationSettings", "oscillation"]

Float = NDArray[np.float64]
LARGEST = float(np.finfo(np.float64).max)


class OscillationSettings(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Samples to watch, for how many sweeps, and the change below which a sample counts as converged."""

    samples: int = 64
    sweeps: int = WATCHED_SWEEPS
    settled: float = 1e-3

    def __post_init__(self) -> None:
        check(self.samples >= 1 and self.sweeps >= 5, "1 sample and 5 sweeps or more", self)
        check(self.settled > 0, "settled above 0", self.settled)


class Oscillation(msgspec.Struct, frozen=True, kw_only=True):
    """How many samples did what, the periods of those that cycle, and the largest change of any state by sweep.

    `periods` maps a period in sweeps, as text, to the samples that have it. `verdict` is the worst that any sample
    did: diverged, then oscillating, unsettled, converged.
    """

    counts: dict[Verdict, int]
    periods: dict[str, int]
    residuals: tuple[float, ...]
    verdict: Verdict


_WORST: tuple[Verdict, ...] = ("diverged", "oscillating", "unsettled", "converged")


def oscillation(network: Subject, data: Samples, _seed: bytes, settings: OscillationSettings) -> Oscillation:
    """Follow the free phase of each sample by the rule's own sweeps, and name what it does."""
    residuals, states = _follow(network, data.first(settings.samples), settings.sweeps)
    counts: dict[Verdict, int] = dict.fromkeys(_WORST, 0)
    periods: dict[str, int] = {}
    for row in range(residuals.shape[1]):
        verdict, period = classify(residuals[:, row].tolist(), states[:, row], settled=settings.settled)
        counts[verdict] += 1
        if period is not None:
            periods[str(period)] = periods.get(str(period), 0) + 1
    return Oscillation(
        counts=counts,
        periods=periods,
        # JSON has neither NaN nor infinity: the largest number stands for them, and the verdict tells.
        residuals=tuple(np.nan_to_num(residuals.max(axis=1), nan=LARGEST, posinf=LARGEST).tolist()),
        verdict=next(verdict for verdict in _WORST if counts[verdict]),
    )


def _follow(network: Subject, data: Samples, sweeps: int) -> tuple[Float, Float]:
    """Return residuals (sweeps, n) and states (sweeps + 1, n, units)."""
    dynamics = network.dynamics(data)
    states = dynamics.feed_forward()
    series, trajectory = [], [np.concatenate(list(states.values()), axis=1)]
    for step in range(sweeps):
        # A network that runs away overflows on purpose here.
        with np.errstate(over="ignore", invalid="ignore"):
            new = dynamics.sweep(states, 0.0, network.free, step)
            series.append(changes(states, new))
        states = new
        trajectory.append(np.concatenate(list(states.values()), axis=1))
    return np.array(series), np.array(trajectory)
