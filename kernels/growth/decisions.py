"""When a level grows, by how much, and why it stops: numbers in, a decision out. Pure."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal, TypeAlias

import numpy as np
from numpy.typing import NDArray

from kernels.errors import KernelError

__all__ = ["Decision", "GrowthLimits", "Reason", "Situation", "decide", "estimate_thresholds"]

Reason: TypeAlias = Literal["grow", "settled", "cap", "patience"]


@dataclass(frozen=True)
class GrowthLimits:
    """What bounds the growth of one level.

    `cap` units in all and `class_cap` for one class may be added. Growth is called for while more than
    `max_outlier_fraction` of the new class are outliers; a round adds `new_fraction` of their number, one at
    least. After `patience` rounds that lowered the fraction by less than `improvement` in all, it ends.
    Raises KernelError for values outside their ranges.
    """

    cap: int
    class_cap: int
    max_outlier_fraction: float
    new_fraction: float
    patience: int
    improvement: float

    def __post_init__(self) -> None:
        whole = self.cap >= 0 and self.class_cap >= 0 and self.patience >= 1
        fractions = 0 <= self.max_outlier_fraction <= 1 and 0 < self.new_fraction <= 1
        if not (whole and fractions and 0 <= self.improvement <= 1):
            raise KernelError(
                "growth needs caps of at least 0, patience of at least 1, max_outlier_fraction and improvement in "
                f"[0, 1] and new_fraction in (0, 1], got {self}."
            )


@dataclass(frozen=True)
class Situation:
    """What a decision sees: the new class's samples and outliers now, and what growth did so far.

    `added_before` units came for earlier classes, `added` for this one; `fractions` are the outlier fractions
    before each round of this class, oldest first, the present one not among them.
    """

    samples: int
    outliers: int
    added_before: int
    added: int
    fractions: tuple[float, ...]

    @property
    def fraction(self) -> float:
        """Share of the samples that are outliers; 0 where there is no sample."""
        return self.outliers / self.samples if self.samples else 0.0


@dataclass(frozen=True)
class Decision:
    """How many units to add (0: stop), why, and whether a cap bounded it: added fewer, or none, than asked for."""

    add: int
    reason: Reason
    cap_hit: bool = False


def decide(situation: Situation, limits: GrowthLimits) -> Decision:
    """Whether a level grows now: settled, out of room, out of patience, or by how many units."""
    if situation.fraction <= limits.max_outlier_fraction:
        return Decision(0, "settled")
    room = min(
        limits.cap - situation.added_before - situation.added,
        limits.class_cap - situation.added,
    )
    if room <= 0:
        return Decision(0, "cap", cap_hit=True)
    if len(situation.fractions) >= limits.patience:
        gained = situation.fractions[-limits.patience] - situation.fraction
        if gained < limits.improvement:
            return Decision(0, "patience")
    wanted = max(1, math.ceil(limits.new_fraction * situation.outliers))
    return Decision(min(wanted, room), "grow", cap_hit=wanted > room)


def estimate_thresholds(
    errors: Sequence[NDArray[np.floating]], quantile: float, *, margin: float = 1.0
) -> tuple[float, ...]:
    """The error beyond which a sample is an outlier, for each level: a quantile of the errors (n,) there.

    The errors are those of classes already learned; `margin` multiplies the quantile. Raises KernelError for a
    quantile outside (0, 1), a margin of 0 or below, or a level without finite errors.
    """
    if not (0 < quantile < 1 and 0 < margin < math.inf):
        raise KernelError(f"quantile must lie in (0, 1) and margin above 0, got {quantile} and {margin}.")
    for level, values in enumerate(errors):
        if not len(values) or not np.isfinite(values).all():
            raise KernelError(
                f"a threshold needs finite errors of at least one sample, level {level} has {len(values)} "
                "values. Train the base classes first."
            )
    return tuple(float(np.quantile(values, quantile)) * margin for values in errors)
