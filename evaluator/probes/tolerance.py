"""Accuracy against noise on weights, noise on states, and units that are gone. Pure."""

import hashlib
from collections.abc import Callable
from itertools import pairwise

import msgspec
import numpy as np
from numpy.typing import NDArray

from evaluator.probes.subject import Samples, Subject, accuracy, check, hits, settled_hits
from kernels.probes.intervals import Interval, share, student

__all__ = ["Harmed", "Tolerance", "ToleranceSettings", "tolerance"]

Float = NDArray[np.float64]


class ToleranceSettings(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Levels of harm, and how often each is drawn.

    Noise on weights is relative to the root mean square of each array, noise on states to the clip; damage is the
    share of hidden units that are removed. `lost` is the drop in accuracy that bounds what is tolerated.
    """

    weights: tuple[float, ...] = (0.0, 0.1, 0.2, 0.5, 1.0)
    states: tuple[float, ...] = (0.0, 0.05, 0.1, 0.2, 0.5)
    damage: tuple[float, ...] = (0.0, 0.1, 0.25, 0.5, 0.75, 1.0)
    draws: int = 5
    samples: int = 512
    lost: float = 0.05

    def __post_init__(self) -> None:
        for levels in (self.weights, self.states, self.damage):
            rising = all(a < b for a, b in pairwise(levels))
            check(bool(levels) and levels[0] >= 0 and rising, "rising levels from 0 on", levels)
        check(self.damage[-1] <= 1, "shares of units of at most 1", self.damage)
        check(self.draws >= 2 and self.samples >= 1, "2 draws and 1 sample or more", self)
        check(0 < self.lost < 1, "lost in (0, 1)", self.lost)


class Harmed(msgspec.Struct, frozen=True, kw_only=True):
    """Mean accuracy at one level, with Student's interval over the draws."""

    level: float
    accuracy: Interval


class Tolerance(msgspec.Struct, frozen=True, kw_only=True):
    """Accuracy unharmed (with the interval of its samples), and at each level of each harm.

    `tolerated` names for each harm the largest level up to which no level costs more than `lost` of accuracy on
    average; None where the first level does.
    """

    unharmed: Interval
    weights: tuple[Harmed, ...]
    states: tuple[Harmed, ...]
    damage: tuple[Harmed, ...]
    tolerated: dict[str, float | None]


def tolerance(network: Subject, data: Samples, seed: bytes, settings: ToleranceSettings) -> Tolerance:
    """Harm a network that relaxes as its rule says, `draws` times at each level."""
    data = data.first(settings.samples)
    count = len(data.x)
    unharmed = share(settled_hits(network, data), count)

    def weights(level: float, draw: bytes) -> float:
        return accuracy(network.noisy(level, draw), data)

    def states(level: float, draw: bytes) -> float:
        return hits(network.disturbed(data, level, draw), data.y) / count

    def damage(level: float, draw: bytes) -> float:
        return accuracy(network.without(level, draw), data)

    curves = {
        name: tuple(_harmed(harm, level, seed, settings.draws) for level in levels)
        for name, harm, levels in (
            ("weights", weights, settings.weights),
            ("states", states, settings.states),
            ("damage", damage, settings.damage),
        )
    }
    floor = unharmed.value - settings.lost
    return Tolerance(
        unharmed=unharmed,
        weights=curves["weights"],
        states=curves["states"],
        damage=curves["damage"],
        tolerated={name: _tolerated(curve, floor) for name, curve in curves.items()},
    )


def _harmed(harm: Callable[[float, bytes], float], level: float, seed: bytes, draws: int) -> Harmed:
    # The same draws at every level: a curve then shows the level and not the luck.
    keys = [hashlib.sha256(seed + draw.to_bytes(4, "little")).digest() for draw in range(draws)]
    found = student(np.array([harm(level, key) for key in keys]))
    return Harmed(
        level=level,
        accuracy=Interval(found.value, max(0.0, found.low), min(1.0, found.high)),
    )


def _tolerated(curve: tuple[Harmed, ...], floor: float) -> float | None:
    last = None
    for point in curve:
        # Means of equal accuracies may differ in their last bit.
        if point.accuracy.value < floor - 1e-12:
            break
        last = point.level
    return last
