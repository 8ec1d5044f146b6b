"""CartPole-v1: a pole on a cart, pushed left or right (Barto, Sutton & Anderson 1983). Pure.

The equations of motion are theirs without friction, with the constants and limits of the classic control task: a step
of .02 s by Euler's method, an episode that ends beyond 2.4 m or 12 degrees, or after 500 steps, a reward of 1 a step.
States are (n, 4) float64: position (m), velocity (m/s), angle from upright (rad), angular velocity (rad/s).
"""

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from evaluator.errors import TaskError

__all__ = [
    "ACTIONS",
    "LIMIT",
    "SCALES",
    "VARIABLES",
    "Episodes",
    "Stepped",
    "energy",
    "fallen",
    "move",
    "started",
]

Float = NDArray[np.float64]
Flags = NDArray[np.bool_]

GRAVITY = 9.8
CART_MASS = 1.0
POLE_MASS = 0.1
TOTAL_MASS = CART_MASS + POLE_MASS
HALF_LENGTH = 0.5
MOMENT = POLE_MASS * HALF_LENGTH
FORCE = 10.0
TAU = 0.02
FARTHEST = 2.4
STEEPEST = 12 * 2 * math.pi / 360
START = 0.05
LIMIT = 500
"""Steps after which an episode is cut off."""

VARIABLES, ACTIONS = 4, 2
SCALES = np.array([FARTHEST, 2.0, STEEPEST, 2.0])
"""What a network divides a state by: the limits, and 2 m/s and 2 rad/s, about as fast as a caught pole gets."""


def accelerations(state: Float, force: Float) -> tuple[Float, Float]:
    """Return those of the cart (m/s^2) and of the pole's angle (rad/s^2), (n,), under `force` (n,) in newtons."""
    spin, sine, cosine = state[:, 3], np.sin(state[:, 2]), np.cos(state[:, 2])
    pushed = (force + MOMENT * spin * spin * sine) / TOTAL_MASS
    turned = (GRAVITY * sine - cosine * pushed) / (
        HALF_LENGTH * (4.0 / 3.0 - POLE_MASS * cosine * cosine / TOTAL_MASS)
    )
    return pushed - MOMENT * turned * cosine / TOTAL_MASS, turned


def move(state: Float, force: Float, *, tau: float = TAU) -> Float:
    """Return the states `tau` seconds later, by one step of Euler's method; `force` (n,) in newtons, rightwards."""
    pushed, turned = accelerations(state, force)
    return state + tau * np.stack([state[:, 1], pushed, state[:, 3], turned], axis=1)


def energy(state: Float) -> Float:
    """Return kinetic and potential energy (J), (n,), the pole a uniform rod: what no force and no friction keep."""
    speed, angle, spin = state[:, 1], state[:, 2], state[:, 3]
    across = speed + HALF_LENGTH * spin * np.cos(angle)
    down = HALF_LENGTH * spin * np.sin(angle)
    rotation = POLE_MASS * (HALF_LENGTH * spin) ** 2 / 3.0
    kinetic = 0.5 * (CART_MASS * speed**2 + POLE_MASS * (across**2 + down**2) + rotation)
    return np.asarray(kinetic + POLE_MASS * GRAVITY * HALF_LENGTH * np.cos(angle))


def fallen(state: Float) -> Flags:
    """Return which poles have fallen, or carts left the track, (n,)."""
    return np.asarray((np.abs(state[:, 0]) > FARTHEST) | (np.abs(state[:, 2]) > STEEPEST))


def started(drawn: Float) -> Float:
    """Return first states out of numbers uniform on [0, 1), (n, 4): each variable uniform on +-.05."""
    return START * (2.0 * drawn - 1.0)


@dataclass(frozen=True)
class Stepped:
    """What a step led to: the states after it (n, 4), before any new start; who fell; whose episode ended, (n,)."""

    after: Float
    terminated: Flags
    ended: Flags


@dataclass(frozen=True)
class Episodes:
    """Poles side by side: their states (n, 4), and the steps that each episode has taken, (n,)."""

    states: Float
    taken: NDArray[np.int64]

    @classmethod
    def new(cls, drawn: Float) -> "Episodes":
        """Begin an episode for each row of `drawn`, uniform on [0, 1), (n, 4)."""
        return cls(started(drawn), np.zeros(len(drawn), dtype=np.int64))

    def step(self, actions: NDArray[np.int64], drawn: Float) -> "tuple[Episodes, Stepped]":
        """Push each cart left (0) or right (1); an episode that ends begins anew from its row of `drawn`.

        Raises TaskError for other actions.
        """
        if actions.shape != self.taken.shape or not ((actions == 0) | (actions == 1)).all():
            raise TaskError(
                f"actions must be {len(self.taken)} numbers 0 (left) or 1 (right), got {actions!r}."
            )
        after = move(self.states, np.where(actions == 1, FORCE, -FORCE))
        terminated = fallen(after)
        taken = self.taken + 1
        ended = terminated | (taken >= LIMIT)
        states = np.where(ended[:, None], started(drawn), after) if ended.any() else after
        return Episodes(states, np.where(ended, 0, taken)), Stepped(after, terminated, ended)
