"""What is measured of a CartPole training, and of one credit over its seeds. Pure."""

import msgspec

from evaluator.control.settings import Credit

__all__ = ["ENOUGH_SEEDS", "MARK", "Band", "Point", "Run", "Summary"]

ENOUGH_SEEDS = 10
"""Seeds from which an interquartile mean is given: of fewer its interval would say little."""

MARK = 400.0
"""The mean return that an experiment is asked to pass; 500 is the most there is."""


class Point(msgspec.Struct, frozen=True, kw_only=True):
    """The policy after so many steps of the environment: mean return of fresh episodes, and its spread over them.

    `training_return` is the mean over the episodes that ended since the last point; None where none did.
    """

    steps: int
    mean_return: float
    deviation: float
    training_return: float | None


class Run(msgspec.Struct, frozen=True, kw_only=True):
    """One training that ended: what was measured along the way, and the CPU seconds of all of it.

    `identity` is the SHA-256 (hex) of all that determines it.
    """

    identity: str
    credit: Credit
    seed: int
    points: tuple[Point, ...]
    cpu_s: float


class Band(msgspec.Struct, frozen=True, kw_only=True):
    """The returns of all seeds after so many steps: their centre, and from where to where they reach.

    With ten seeds or more the interquartile mean and its 95 % bootstrap interval, else the mean and the extremes.
    """

    steps: int
    centre: float
    low: float
    high: float


class Summary(msgspec.Struct, frozen=True, kw_only=True):
    """One credit over its seeds at the end of the budget.

    `mean` over seeds of the mean return; `half_width` of its 95 % interval (Student's t), None of one seed. `iqm` is
    the interquartile mean with its bootstrap interval, None below ten seeds. `passed` seeds have a return of 400 or
    more at the end; `passed_after` is the first measured number of steps at which the mean over seeds is 400 or more,
    and `kept_after` the one from which on it stays there; None where there is none. `cpu_s` is that of a training, the
    median.
    """

    credit: Credit
    seeds: int
    steps: int
    mean: float
    half_width: float | None
    worst: float
    iqm: float | None
    iqm_low: float | None
    iqm_high: float | None
    passed: int
    passed_after: int | None
    kept_after: int | None
    cpu_s: float
