"""Name, unit, direction and scale of each objective, defined once. Pure."""

import math
from typing import Literal

import msgspec

from evaluator.errors import TaskError

__all__ = [
    "ACCURACY",
    "MEMORY",
    "NETWORK_OBJECTIVES",
    "SPEED",
    "Objective",
    "directions",
    "logarithmic",
    "unit_point",
]

Direction = Literal["max", "min"]


class Objective(msgspec.Struct, frozen=True, kw_only=True):
    """One thing to be made large or small.

    `worst` and `best` span the unit interval in which hypervolumes are computed, on `scale`.
    """

    name: str
    unit: str
    direction: Direction
    worst: float
    best: float
    scale: Literal["linear", "log"] = "linear"
    doc: str = ""

    def __post_init__(self) -> None:
        ordered = self.worst < self.best if self.direction == "max" else self.best < self.worst
        if not ordered or not math.isfinite(self.worst) or not math.isfinite(self.best):
            raise TaskError(
                f"objective {self.name!r} is to be {self.direction}imised, so 'best' must lie on that side "
                f"of 'worst'; got worst={self.worst}, best={self.best}. Swap them or change the direction."
            )
        if self.scale == "log" and min(self.worst, self.best) <= 0:
            raise TaskError(
                f"objective {self.name!r} has a log scale, so 'worst' and 'best' must be positive; got "
                f"worst={self.worst}, best={self.best}."
            )

    def normalise(self, value: float) -> float:
        """Distance from `best`, 0 at best and 1 at `worst`, clipped to [0, 1]; NaN counts as worst."""
        if math.isnan(value):
            return 1.0
        low, high, at = self.best, self.worst, value
        if self.scale == "log":
            if value <= 0:
                return 0.0 if self.direction == "min" else 1.0
            low, high, at = math.log(low), math.log(high), math.log(value)
        return min(1.0, max(0.0, (at - low) / (high - low)))


ACCURACY = Objective(
    name="accuracy",
    unit="share of validation examples",
    direction="max",
    worst=0.0,
    best=1.0,
    doc="Share of the validation split that the trained network gets right.",
)
SPEED = Objective(
    name="speed",
    unit="training samples/s",
    direction="max",
    worst=10.0,
    best=1e7,
    scale="log",
    doc="Training samples a second that this machine's stored calibration predicts from the analytic cost "
    "and from the settle steps really taken. The measured rate stands beside it.",
)
MEMORY = Objective(
    name="memory",
    unit="bytes",
    direction="min",
    worst=2.0**32,
    best=2.0**12,
    scale="log",
    doc="Peak bytes that training needs, computed from the genome. The measured peak stands beside it.",
)
NETWORK_OBJECTIVES = (ACCURACY, SPEED, MEMORY)


def directions(objectives: tuple[Objective, ...]) -> dict[str, Direction]:
    """Direction by objective name, in the order given."""
    return {objective.name: objective.direction for objective in objectives}


def logarithmic(objectives: tuple[Objective, ...]) -> frozenset[str]:
    """Names of the objectives whose values spread over decades."""
    return frozenset(objective.name for objective in objectives if objective.scale == "log")


def unit_point(objectives: tuple[Objective, ...], values: dict[str, float]) -> tuple[float, ...]:
    """The values as a point in the unit cube, every axis to be minimised."""
    return tuple(objective.normalise(values[objective.name]) for objective in objectives)
