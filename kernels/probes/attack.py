"""Attacks inside a max-norm ball: one gradient step, many, random signs. Pure."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from kernels.errors import KernelError
from kernels.probes.draws import signs, uniform
from kernels.probes.victims import Victim

__all__ = ["Box", "correct", "fgsm", "loss_curve", "pgd", "worst_noise"]

Float = NDArray[np.float64]


@dataclass(frozen=True)
class Box:
    """The bounds that every input keeps, of pixels for instance; infinite ones bound nothing."""

    low: float = 0.0
    high: float = 1.0

    def __post_init__(self) -> None:
        if not self.low < self.high:
            raise KernelError(f"a box needs low < high, got {self.low} and {self.high}.")

    def keep(self, x: Float) -> Float:
        """Return `x` inside the bounds."""
        return np.clip(x, self.low, self.high)


def correct(victim: Victim, x: Float, y: Float) -> NDArray[np.bool_]:
    """Return by sample (b,) whether the victim's best score is that of the one-hot `y`."""
    return np.asarray(victim.scores(x).argmax(axis=1) == y.argmax(axis=1))


def fgsm(victim: Victim, x: Float, y: Float, epsilon: float, box: Box) -> Float:
    """Return x + epsilon sign(dC/dx), the fast gradient sign method (Goodfellow et al. 2015)."""
    return box.keep(x + epsilon * np.sign(victim.attacked(x, y).gradients))


def pgd(
    victim: Victim,
    x: Float,
    y: Float,
    epsilon: float,
    box: Box,
    *,
    steps: int,
    seed: bytes,
    restarts: int = 2,
) -> Float:
    """Return the worst inputs met on projected gradient ascents (Madry et al. 2018): wrong ones first, then by loss.

    The first ascent begins at `x`, the others anywhere in the ball. A step goes 2.5 epsilon/steps along the sign of
    the gradient, so that an ascent can cross the ball.
    """
    best, highest, fooled = x.copy(), np.full(len(x), -np.inf), np.zeros(len(x), dtype=np.bool_)
    classes = y.argmax(axis=1)
    for attempt in range(restarts):
        offset = 2.0 * uniform(seed, f"pgd/{attempt}", *x.shape) - 1.0 if attempt else np.zeros_like(x)
        current = box.keep(x + epsilon * offset)
        for step in range(steps + 1):
            slope = victim.attacked(current, y)
            wrong = slope.scores.argmax(axis=1) != classes
            # The largest loss of several classes need not be a wrong answer.
            better = (wrong & ~fooled) | ((wrong == fooled) & (slope.losses > highest))
            best[better], highest[better] = current[better], slope.losses[better]
            fooled |= wrong
            if step < steps:
                moved = current + 2.5 * epsilon / steps * np.sign(slope.gradients)
                current = box.keep(np.clip(moved, x - epsilon, x + epsilon))
    return best


def worst_noise(
    victim: Victim, x: Float, y: Float, epsilon: float, box: Box, *, tries: int, seed: bytes
) -> NDArray[np.bool_]:
    """Return by sample whether it stays correct under all of `tries` random corners of the ball."""
    stays = np.ones(len(x), dtype=np.bool_)
    for attempt in range(tries):
        corner = box.keep(x + epsilon * signs(seed, f"noise/{attempt}", *x.shape))
        stays &= correct(victim, corner, y)
    return stays


def loss_curve(
    victim: Victim, x: Float, y: Float, epsilon: float, box: Box, points: int
) -> tuple[float, ...]:
    """Return the mean loss at `points` + 1 even distances from 0 to `epsilon` along the sign of the gradient."""
    direction = np.sign(victim.attacked(x, y).gradients)
    distances = np.linspace(0.0, epsilon, points + 1)
    return tuple(float(victim.attacked(box.keep(x + r * direction), y).losses.mean()) for r in distances)
