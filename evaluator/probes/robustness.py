"""Accuracy under attack through the equilibrium, and whether the attack could see. Pure.

An attack that fails may have met a robust network or one whose gradients lead nowhere. The checks are those of
Athalye, Carlini & Wagner (2018), section 3.1: an iterated attack beats one step, white box beats black box and
chance, a ball that holds everything leaves no accuracy, and the loss rises along its own gradient.
"""

from itertools import pairwise

import msgspec
import numpy as np
from numpy.typing import NDArray

from evaluator.probes.subject import Samples, Subject, check, hits
from kernels.probes.attack import Box, correct, fgsm, loss_curve, pgd, worst_noise
from kernels.probes.intervals import Interval, share
from kernels.probes.victims import Victim, substitute

__all__ = ["Attacked", "Robustness", "RobustnessSettings", "attack", "robustness"]

Float = NDArray[np.float64]


class RobustnessSettings(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Radii in the max norm, and how hard to try.

    Inputs stay in [`low`, `high`]. `large` is a radius at which any classifier should fail, `survivors` the accuracy
    that may be left there. `slack` is by how much accuracy a stronger attack may fail to beat a weaker one.
    Each gradient takes up to `sweeps` to settle and as many for its adjoint.
    """

    epsilons: tuple[float, ...] = (0.02, 0.05, 0.1, 0.2, 0.3)
    samples: int = 128
    steps: int = 10
    tries: int = 10
    sweeps: int = 2000
    low: float = 0.0
    high: float = 1.0
    large: float = 1.0
    survivors: float = 0.05
    slack: float = 0.02

    def __post_init__(self) -> None:
        rising = all(a < b for a, b in pairwise(self.epsilons))
        check(
            bool(self.epsilons) and self.epsilons[0] > 0 and rising, "rising epsilons above 0", self.epsilons
        )
        check(self.large >= self.epsilons[-1], "large to be at least every epsilon", self.large)
        counts = (self.samples, self.steps, self.tries, self.sweeps)
        check(min(counts) >= 1, "samples, steps, tries and sweeps of 1 or more", counts)
        check(0 <= self.slack < 1 and 0 <= self.survivors < 1, "slack and survivors in [0, 1)", self)


class Attacked(msgspec.Struct, frozen=True, kw_only=True):
    """Accuracies inside one radius, each with its interval: after a step, after many, by a stand-in, by chance."""

    epsilon: float
    fgsm: Interval
    pgd: Interval
    transfer: Interval
    noise: Interval


class Robustness(msgspec.Struct, frozen=True, kw_only=True):
    """Accuracy against radius, and the checks that failed.

    `flat` is the share of samples whose gradient is zero to the last bit, `unsettled` that of samples which a further
    sweep moves by more than 1e-6 (None where the gradient goes through the sweeps themselves). `losses` runs along the
    gradient's sign, in equal distances from 0 to the largest of the epsilons. With `warnings` the accuracies under
    attack are upper bounds and no proof of robustness.
    """

    samples: int
    clean: Interval
    points: tuple[Attacked, ...]
    large: Interval
    losses: tuple[float, ...]
    flat: float
    unsettled: float | None
    warnings: tuple[str, ...]


def robustness(network: Subject, data: Samples, seed: bytes, settings: RobustnessSettings) -> Robustness:
    """Attack a network by FGSM, PGD, a linear stand-in and random corners.

    One of the engine as it settles fully, by the adjoint of its equilibrium; one of the general learner as it predicts,
    back through its own sweeps.
    """
    data = data.first(settings.samples)
    unsettled = network.unsettled(data, settings.sweeps)
    return attack(network.victim(settings.sweeps), data, network.classes, seed, settings, unsettled=unsettled)


def attack(
    victim: Victim,
    data: Samples,
    classes: int,
    seed: bytes,
    settings: RobustnessSettings,
    *,
    unsettled: float | None = None,
) -> Robustness:
    """Attack anything that gives scores and gradients on all of `data`; `unsettled` is only reported and judged."""
    x, y = data.inputs, np.eye(classes)[data.y]
    box = Box(settings.low, settings.high)
    stand_in = substitute(x, victim.scores(x).argmax(axis=1), classes)
    points = tuple(_point(victim, stand_in, x, y, epsilon, seed, settings) for epsilon in settings.epsilons)
    far = pgd(victim, x, y, settings.large, box, steps=settings.steps, seed=seed)
    gradient = victim.attacked(x, y).gradients
    result = Robustness(
        samples=len(x),
        clean=share(hits(victim.scores(x), data.y), len(x)),
        points=points,
        large=_share(correct(victim, far, y)),
        losses=loss_curve(victim, x, y, settings.epsilons[-1], box, points=8),
        flat=float((~gradient.any(axis=1)).mean()),
        unsettled=unsettled,
        warnings=(),
    )
    return msgspec.structs.replace(result, warnings=_warnings(result, settings))


def _share(stays: NDArray[np.bool_]) -> Interval:
    return share(int(stays.sum()), len(stays))


def _point(
    victim: Victim,
    stand_in: Victim,
    x: Float,
    y: Float,
    epsilon: float,
    seed: bytes,
    settings: RobustnessSettings,
) -> Attacked:
    box = Box(settings.low, settings.high)
    stepped = pgd(victim, x, y, epsilon, box, steps=settings.steps, seed=seed)
    return Attacked(
        epsilon=epsilon,
        fgsm=_share(correct(victim, fgsm(victim, x, y, epsilon, box), y)),
        pgd=_share(correct(victim, stepped, y)),
        transfer=_share(correct(victim, fgsm(stand_in, x, y, epsilon, box), y)),
        noise=_share(worst_noise(victim, x, y, epsilon, box, tries=settings.tries, seed=seed)),
    )


def _warnings(found: Robustness, settings: RobustnessSettings) -> tuple[str, ...]:
    """Return in words every check that failed."""
    slack, told = settings.slack, []
    for point in found.points:
        for name in ("fgsm", "transfer", "noise"):
            weaker = getattr(point, name).value
            if point.pgd.value > weaker + slack:
                told.append(
                    f"PGD leaves {point.pgd.value:.3f} at {point.epsilon:g} where {name} leaves {weaker:.3f}"
                )
    if found.large.value > settings.survivors:
        told.append(
            f"{found.large.value:.3f} of the samples survive a radius of {settings.large:g}, more than "
            f"{settings.survivors:g}"
        )
    if not found.losses[-1] > found.losses[0]:
        told.append(
            f"the loss does not rise along its gradient: {found.losses[0]:.3g} to {found.losses[-1]:.3g}"
        )
    if found.flat > slack:
        told.append(f"{found.flat:.3f} of the samples have no gradient at all")
    if found.unsettled:
        told.append(
            f"{found.unsettled:.3f} of the samples do not settle, so that their gradients are not exact"
        )
    return tuple(told)
