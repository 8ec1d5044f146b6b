"""Name, unit, direction and scale of each objective, defined once. Pure."""

import difflib
import math
from collections.abc import Sequence
from typing import Literal

import msgspec

from evaluator.errors import TaskError

__all__ = [
    "ACCURACY",
    "FORGETTING",
    "INCREMENTAL_OBJECTIVES",
    "MEMORY",
    "NETWORK_OBJECTIVES",
    "PROBE_OBJECTIVES",
    "SPEED",
    "WORK",
    "Objective",
    "directions",
    "logarithmic",
    "probes_of",
    "selected",
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

FORGETTING = Objective(
    name="forgetting",
    unit="share of validation examples",
    direction="min",
    worst=1.0,
    best=0.0,
    doc="Mean drop of a class's accuracy from its best earlier value to the end, of all classes but the last one "
    "(Chaudhry et al. 2018, eq. 3); 0 where all are learned at once.",
)
WORK = Objective(
    name="work",
    unit="multiply-accumulates",
    direction="min",
    worst=1e15,
    best=1e6,
    scale="log",
    doc="Multiply-accumulates of the whole training: what one sample costs, counted from the genome, times the samples "
    "that training went through, those that are replayed included.",
)
INCREMENTAL_OBJECTIVES = (ACCURACY, FORGETTING, MEMORY, WORK)
"""What class-incremental learning is judged by; accuracy counts all classes alike, after the last one."""

PROBE_OBJECTIVES = (
    Objective(
        name="robustness",
        unit="share of up to 64 validation examples",
        direction="max",
        worst=0.0,
        best=1.0,
        doc="Least accuracy that FGSM, PGD, a linear stand-in and random corners leave within 0.1 in the max norm; 0 "
        "where a check against masked gradients fails, for then nothing is shown.",
    ),
    Objective(
        name="noise",
        unit="share of up to 256 validation examples",
        direction="max",
        worst=0.0,
        best=1.0,
        doc="Mean accuracy over 4 draws of normal noise on every weight, of half the root mean square of its array.",
    ),
    Objective(
        name="damage",
        unit="share of up to 256 validation examples",
        direction="max",
        worst=0.0,
        best=1.0,
        doc="Mean accuracy over 4 draws of half of the hidden units, which are silenced.",
    ),
    Objective(
        name="lyapunov",
        unit="nats a sweep",
        direction="min",
        worst=2.0,
        best=-40.0,
        doc="Mean over up to 4 examples of the largest Lyapunov exponent of the free sweep, followed for 100 sweeps; "
        "-36.04, the least that float64 tells, where sweeps forget every displacement.",
    ),
    Objective(
        name="energy",
        unit="pJ an inference",
        direction="min",
        worst=1e12,
        best=1e3,
        scale="log",
        doc="Projected onto a table of 45 nm from the products and bytes of one prediction after the sweeps that "
        "training took, every byte from near memory. Counted, not measured.",
    ),
)
"""What a search on networks may ask for beside `NETWORK_OBJECTIVES`: one number each, of `evaluator.probes`."""


def directions(objectives: tuple[Objective, ...]) -> dict[str, Direction]:
    """Direction by objective name, in the order given."""
    return {objective.name: objective.direction for objective in objectives}


def logarithmic(objectives: tuple[Objective, ...]) -> frozenset[str]:
    """Names of the objectives whose values spread over decades."""
    return frozenset(objective.name for objective in objectives if objective.scale == "log")


def selected(names: Sequence[str], own: tuple[Objective, ...], *, network: bool) -> tuple[Objective, ...]:
    """The objectives of those names, in the order of the task's `own` and then of the probes; no names: its own.

    Probes are there for tasks with networks alone. Raises TaskError for a name that is neither, or stands twice.
    """
    if not names:
        return own
    offered = {each.name: each for each in (*own, *(PROBE_OBJECTIVES if network else ()))}
    for name in names:
        if name not in offered or names.count(name) > 1:
            near = difflib.get_close_matches(name, set(offered) - {name}, n=1)
            hint = f"Did you mean {near[0]!r}?" if near else "Name each of those once at most."
            raise TaskError(f"objectives are some of {', '.join(offered)}; got {', '.join(names)}. {hint}")
    return tuple(objective for name, objective in offered.items() if name in names)


def probes_of(objectives: tuple[Objective, ...]) -> tuple[str, ...]:
    """Names of the objectives that a probe measures."""
    known = {each.name for each in PROBE_OBJECTIVES}
    return tuple(each.name for each in objectives if each.name in known)


def unit_point(objectives: tuple[Objective, ...], values: dict[str, float]) -> tuple[float, ...]:
    """The values as a point in the unit cube, every axis to be minimised."""
    return tuple(objective.normalise(values[objective.name]) for objective in objectives)
