"""Whether samples near the decision settle longer than clear ones. Pure."""

import math
from typing import Literal

import msgspec
import numpy as np
from numpy.typing import NDArray

from evaluator.probes.subject import Samples, Subject, check
from kernels.probes.equilibrium import settle_times
from kernels.probes.intervals import Interval, bootstrap, rank_correlation

__all__ = ["Difficulty", "DifficultySettings", "difficulty"]

Float = NDArray[np.float64]
Answer = Literal["harder settles longer", "easier settles longer", "no relation", "all alike"]


class DifficultySettings(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """The change below which a sample is settled, the most sweeps it may take, and the resamples of the interval."""

    tolerance: float = 1e-6
    limit: int = 1000
    samples: int = 512
    rounds: int = 1000

    def __post_init__(self) -> None:
        check(self.tolerance > 0, "a tolerance above 0", self.tolerance)
        check(
            self.limit >= 1 and self.samples >= 3 and self.rounds >= 100,
            "1 sweep, 3 samples, 100 rounds or more",
            self,
        )


class Difficulty(msgspec.Struct, frozen=True, kw_only=True):
    """Sweeps by the margin of a sample: the score of its class less the best other one.

    `correlation` is Spearman's, of sweeps and margin, None where all samples are alike in either; below 0 harder
    samples settle longer. `quarters` are mean sweeps of the samples by margin, smallest quarter first. `unsettled`
    counts the samples that did not settle within the limit; they are in none of the other numbers.
    """

    settled: int
    unsettled: int
    mean_sweeps: float
    quarters: tuple[float, ...]
    correlation: Interval | None
    answer: Answer


def difficulty(network: Subject, data: Samples, seed: bytes, settings: DifficultySettings) -> Difficulty:
    """Settle each sample by the rule's own sweeps until it stands still, and relate sweeps to margins.

    Raises EvaluatorError where fewer than 3 samples settle.
    """
    data = data.first(settings.samples)
    dynamics = network.dynamics(data)
    sweeps, states = settle_times(dynamics, network.free, tolerance=settings.tolerance, limit=settings.limit)
    done = sweeps > 0
    check(int(done.sum()) >= 3, f"3 samples to settle within {settings.limit} sweeps", int(done.sum()))
    taken = sweeps[done].astype(np.float64)
    margin = margins(dynamics.scores(states), dynamics.y)[done]
    correlation = None
    if not math.isnan(rank_correlation(taken, margin)):
        correlation = bootstrap(
            lambda rows: rank_correlation(taken[rows], margin[rows]), len(taken), seed, rounds=settings.rounds
        )
    order = np.argsort(margin, kind="stable")
    return Difficulty(
        settled=len(taken),
        unsettled=len(done) - len(taken),
        mean_sweeps=float(taken.mean()),
        quarters=tuple(float(part.mean()) for part in np.array_split(taken[order], 4) if len(part)),
        correlation=correlation,
        answer=_answer(correlation),
    )


def margins(scores: Float, y: Float) -> Float:
    """Return the score of each sample's class less the best other one (n,), for one-hot `y`."""
    own = (scores * y).sum(axis=1)
    others = np.where(y > 0, -np.inf, scores).max(axis=1)
    return np.asarray(own - others)


def _answer(correlation: Interval | None) -> Answer:
    if correlation is None:
        return "all alike"
    if correlation.holds(0.0):
        return "no relation"
    return "harder settles longer" if correlation.value < 0 else "easier settles longer"
