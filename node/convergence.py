"""How soon trainings reach an accuracy, and what their epochs have in common over seeds. Pure."""

import itertools
from collections.abc import Sequence
from typing import Protocol

import msgspec

from evaluator.jobs import EpochPoint, Outcome
from node.comparison import Interval, interval

__all__ = [
    "EPOCH_FIELDS",
    "Arrival",
    "EpochMeans",
    "Point",
    "arrival",
    "common_level",
    "epoch_means",
    "first_reached",
]

EPOCH_FIELDS = (
    "accuracy",
    "loss",
    "error",
    "train_cpu_s",
    "train_wall_s",
    "peak_bytes",
    "free_steps",
    "nudged_steps",
    "residual",
    "free_energy",
    "nudged_energy",
    "recurrent_norm",
)
"""The fields of an epoch that have a mean over seeds."""


class Point(Protocol):
    """A point of a training curve, as `jobs.CurvePoint` is one."""

    @property
    def accuracy(self) -> float:
        """Accuracy on validation."""

    @property
    def epoch(self) -> float:
        """Passes so far, as a fraction."""

    @property
    def train_cpu_s(self) -> float:
        """CPU seconds of training so far."""


class Arrival(msgspec.Struct, frozen=True, kw_only=True):
    """How soon the trainings of one genome reach `level`, an accuracy on validation.

    `reached` of `trainings` do; the intervals, of CPU seconds and of epochs, are of all of them, and None where one
    does not: a mean of those that arrive would praise a genome for its failures.
    """

    level: float
    trainings: int
    reached: int
    cpu_s: Interval | None
    epochs: Interval | None


class EpochMeans(msgspec.Struct, frozen=True, kw_only=True):
    """One epoch over the seeds: intervals by field, and parameters that stopped learning in any seed."""

    epoch: int
    intervals: dict[str, Interval]
    dead: tuple[str, ...]


def first_reached(curve: Sequence[Point], level: float) -> tuple[float, float] | None:
    """CPU seconds and epochs at which a curve first reaches an accuracy, or None where it never does.

    Between its points the curve is taken for straight. Nothing is known before the first point: a curve that begins
    at the level or beyond reaches it there.
    """
    if curve and curve[0].accuracy >= level:
        return curve[0].train_cpu_s, curve[0].epoch
    for before, after in itertools.pairwise(curve):
        if after.accuracy >= level:
            share = (level - before.accuracy) / (after.accuracy - before.accuracy)
            return (
                before.train_cpu_s + share * (after.train_cpu_s - before.train_cpu_s),
                before.epoch + share * (after.epoch - before.epoch),
            )
    return None


def common_level(outcomes: Sequence[Outcome]) -> float | None:
    """The highest accuracy that every training reaches at some point of its curve; None where one has no curve."""
    if not outcomes or not all(outcome.curve for outcome in outcomes):
        return None
    return min(max(point.accuracy for point in outcome.curve) for outcome in outcomes)


def arrival(outcomes: Sequence[Outcome], level: float) -> Arrival:
    """Sum up how soon these trainings of one genome reach an accuracy."""
    found = [first_reached(outcome.curve, level) for outcome in outcomes]
    known = [one for one in found if one is not None]
    whole = bool(known) and len(known) == len(found)
    return Arrival(
        level=level,
        trainings=len(found),
        reached=len(known),
        cpu_s=interval([seconds for seconds, _ in known]) if whole else None,
        epochs=interval([epochs for _, epochs in known]) if whole else None,
    )


def epoch_means(outcomes: Sequence[Outcome]) -> list[EpochMeans]:
    """Each epoch over the seeds of one genome; fields that an epoch does not have are left out."""
    return [_means(points) for points in zip(*(outcome.epochs for outcome in outcomes), strict=True)]


def _means(points: Sequence[EpochPoint]) -> EpochMeans:
    values = {name: [getattr(point, name) for point in points] for name in EPOCH_FIELDS}
    return EpochMeans(
        epoch=points[0].epoch,
        intervals={name: interval(found) for name, found in values.items() if None not in found},
        dead=tuple(sorted({name for point in points for name in point.dead})),
    )
