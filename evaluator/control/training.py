"""One training on CartPole-v1: poles side by side, learning between rollouts, measured along the way."""

import hashlib
from collections.abc import Callable
from typing import TypeAlias

import numpy as np
from numpy.typing import NDArray

from evaluator.control.cartpole import ACTIONS, VARIABLES, Episodes
from evaluator.control.policy import ActorCritic, Rollout
from evaluator.control.settings import CartPoleSettings, Credit
from evaluator.control.summaries import Point
from kernels.randomness import words

__all__ = ["Policy", "train", "trial_returns"]

Float = NDArray[np.float64]
Policy: TypeAlias = Callable[[Float], Float]
"""Gives the probabilities (n, 2) of both actions in states (n, 4)."""


def seed_key(seed: int) -> bytes:
    """32 bytes from which a training draws everything. The credit is not in it: all see the same first states."""
    return hashlib.sha256(f"eqmesh/cartpole/1\n{seed}\n".encode()).digest()


def uniform(key: bytes, label: str, *shape: int) -> Float:
    """Return numbers uniform on [0, 1), multiples of 2**-53."""
    raw = words(key, label, int(np.prod(shape)))
    return ((raw >> np.uint64(11)).astype(np.float64) * 2.0**-53).reshape(shape)


def evenly(states: Float) -> Float:
    """Both actions alike, whatever the states: the random policy."""
    return np.full((len(states), ACTIONS), 1.0 / ACTIONS)


def chosen(probabilities: Float, drawn: Float) -> NDArray[np.int64]:
    """Return the action of each row that a number uniform on [0, 1) picks."""
    return (drawn < probabilities[:, 1]).astype(np.int64)


def trial_returns(policy: Policy, key: bytes, trials: int, label: str) -> Float:
    """Return the returns (trials,) of fresh episodes, actions drawn from the policy as in training."""
    poles = Episodes.new(uniform(key, f"{label}/start", trials, VARIABLES))
    returns, standing, t = np.zeros(trials), np.ones(trials, dtype=bool), 0
    again = np.zeros((trials, VARIABLES))
    while standing.any():
        actions = chosen(policy(poles.states), uniform(key, f"{label}/{t}", trials))
        poles, stepped = poles.step(actions, again)
        returns += standing
        standing &= ~stepped.ended
        t += 1
    return returns


class Poles:
    """The poles of one training, and the episodes that ended since they were last asked for."""

    def __init__(self, settings: CartPoleSettings, key: bytes) -> None:
        self._settings, self._key, self._rollouts = settings, key, 0
        self._episodes = Episodes.new(uniform(key, "start", settings.poles, VARIABLES))
        self._ended: list[int] = []

    def roll(self, policy: Policy) -> Rollout:
        """Act for `horizon` steps."""
        length, count = self._settings.horizon, self._settings.poles
        draws = uniform(self._key, f"rollout/{self._rollouts}", length, count, 1 + VARIABLES)
        self._rollouts += 1
        states, after = np.empty((length, count, VARIABLES)), np.empty((length, count, VARIABLES))
        actions = np.empty((length, count), dtype=np.int64)
        taken = np.empty((length, count))
        terminated, ended = np.empty((length, count), dtype=bool), np.empty((length, count), dtype=bool)
        for t in range(length):
            before = self._episodes
            probabilities = policy(before.states)
            actions[t] = chosen(probabilities, draws[t, :, 0])
            taken[t] = probabilities[np.arange(count), actions[t]]
            self._episodes, stepped = before.step(actions[t], draws[t, :, 1:])
            states[t], after[t] = before.states, stepped.after
            terminated[t], ended[t] = stepped.terminated, stepped.ended
            if stepped.ended.any():
                self._ended += (before.taken[stepped.ended] + 1).tolist()
        return Rollout(states, after, actions, taken, terminated, ended)

    def training_return(self) -> float | None:
        """Return the mean return of what ended since the last call, None where nothing did."""
        found, self._ended = self._ended, []
        return sum(found) / len(found) if found else None


def train(
    settings: CartPoleSettings, credit: Credit, seed: int, on_point: Callable[[Point], None] = lambda _: None
) -> list[Point]:
    """Train within the budget and return what was measured: at the start, then every `every` steps, and at the end.

    The same on every run with the same libraries. Raises kernels.DivergedError where a network left the numbers.
    """
    key = seed_key(seed)
    learner = None if credit == "random" else ActorCritic(settings, credit, key)
    policy = evenly if learner is None else learner.probabilities
    poles, points = Poles(settings, key), list[Point]()
    rollouts = settings.steps // (settings.poles * settings.horizon)
    for number in range(rollouts + 1):
        steps = number * settings.poles * settings.horizon
        due = len(points) * settings.every
        if steps >= due or number == rollouts:
            returns = trial_returns(policy, key, settings.trials, f"trial/{len(points)}")
            points.append(
                Point(
                    steps=steps,
                    mean_return=float(returns.mean()),
                    deviation=float(returns.std(ddof=1)),
                    training_return=poles.training_return(),
                )
            )
            on_point(points[-1])
        if number < rollouts:
            rollout = poles.roll(policy)
            if learner is not None:
                learner.learn(rollout, scale=1.0 - number / rollouts)
    return points
