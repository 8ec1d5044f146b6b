"""An actor and a critic on networks that settle: how they act, and how they learn from what happened.

The actor has a softmax readout of two actions, each sample's nudge scaled by its advantage; the critic is a network of
its own with a squared error on the value. A learned value, and not a running mean by time step, is the baseline:
how long a pole will stand depends on its state and hardly on the clock, and in parallel episodes that begin anew at
different times one time step holds very different states.
"""

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from evaluator.control.cartpole import ACTIONS, SCALES, VARIABLES
from evaluator.control.settings import CartPoleSettings
from evaluator.errors import TaskError
from kernels import OptimizerSettings, Relaxation, Topology, initial_parameters
from kernels.randomness import permutation

if TYPE_CHECKING:
    from kernels.general.policy import Credit, WeightedLearner

__all__ = ["ActorCritic", "Rollout", "advantages", "policy_weights"]

Float = NDArray[np.float64]

# Of a state that lies in (-1, 1) in float32: what a sweep changes by less is not worth another one.
TOLERANCE = 1e-6


@dataclass(frozen=True)
class Rollout:
    """What happened in `horizon` steps of n poles: states before and after (t, n, 4), and by step and pole (t, n)
    the actions, their probabilities when they were taken, who fell and whose episode ended.
    """

    states: Float
    after: Float
    actions: NDArray[np.int64]
    probabilities: Float
    terminated: NDArray[np.bool_]
    ended: NDArray[np.bool_]


def advantages(
    values: Float, next_values: Float, rollout: Rollout, *, discount: float, trace: float
) -> Float:
    """Return generalised advantages (t, n) under a reward of 1 a step (Schulman et al. 2016, eq. 16).

    A pole that fell is worth 0 from then on; an episode that was cut off, or goes on, the value of where it stands.
    """
    surprise = 1.0 + discount * np.where(rollout.terminated, 0.0, next_values) - values
    found, ahead = np.empty_like(surprise), np.zeros(surprise.shape[1])
    for t in reversed(range(len(surprise))):
        ahead = surprise[t] + discount * trace * np.where(rollout.ended[t], 0.0, ahead)
        found[t] = ahead
    return found


def policy_weights(ratio: Float, advantage: Float, clip: float) -> Float:
    """Return w with -w grad log p the gradient of -min(r A, clip(r, 1 - c, 1 + c) A) (Schulman et al. 2017, eq. 7).

    r is the probability of an action now over that when it was taken: w is r A, or 0 where r has moved past the bound
    to which A draws it.
    """
    stopped = np.where(advantage > 0, ratio > 1.0 + clip, ratio < 1.0 - clip)
    return np.where(stopped, 0.0, ratio * advantage)


def softmax(logits: Float) -> Float:
    raised = np.exp(logits - logits.max(axis=1, keepdims=True))
    return np.asarray(raised / raised.sum(axis=1, keepdims=True))


def credit_of(name: str, settings: CartPoleSettings) -> "Credit":
    """The credit called `name`. Raises TaskError for one that does not learn."""
    from kernels.general.policy import ChainRule, EquilibriumCredit  # noqa: PLC0415 - loads torch

    if name == "backprop":
        return ChainRule()
    if name == "ep":
        return EquilibriumCredit(
            settings.beta,
            Relaxation(order="forward", steps=settings.free_steps, tolerance=TOLERANCE),
            Relaxation(order="backward", steps=settings.nudged_steps, tolerance=TOLERANCE),
        )
    raise TaskError(f"an actor learns by the credit ep or backprop, got {name!r}.")


class ActorCritic:
    """A policy and a value of CartPole's states, which learn by `credit` ("ep" or "backprop") alone.

    All is drawn from `seed` (32 bytes).
    """

    def __init__(self, settings: CartPoleSettings, credit: str, seed: bytes) -> None:
        self._settings, self._seed, self._batches = settings, seed, 0
        # The critic's output is the value over its bound, so that both networks see numbers of about 1.
        self._horizon = 1.0 / max(1.0 - settings.discount, 1.0 / 500)
        self._actor = self._network(credit, "ce", ACTIONS, settings.rate)
        self._critic = self._network(credit, "mse", 1, settings.critic_rate)

    def _network(self, credit: str, output: str, outputs: int, rate: float) -> "WeightedLearner":
        from kernels.general.policy import WeightedLearner  # noqa: PLC0415 - loads torch

        sizes = (VARIABLES, *self._settings.hidden, outputs)
        topology = Topology(sizes, output="ce" if output == "ce" else "mse")
        # A stream of its own for each network: both would begin with the same first layer.
        key = bytes(byte ^ (output == "mse") for byte in self._seed)
        values = initial_parameters(topology, seed=key, gain=0.5)
        last = f"w{topology.last - 1}-{topology.last}"
        # A policy that begins even-handed, and a value that begins near 0.
        values[last] = 0.1 * values[last]
        # Only what settles needs a bound: the baseline is left free.
        cap = self._settings.cap if credit == "ep" else None
        optimizer = OptimizerSettings("adam", rate=rate, spectral_cap=cap)
        return WeightedLearner(topology, values, credit_of(credit, self._settings), optimizer)

    def probabilities(self, states: Float) -> Float:
        """Return those of both actions, (n, 2), in `states` (n, 4)."""
        return softmax(self._actor.scores(states / SCALES).astype(np.float64))

    def values(self, states: Float) -> Float:
        """Return the rewards to come, discounted, (n,), in `states` (n, 4)."""
        return self._horizon * self._critic.scores(states / SCALES)[:, 0].astype(np.float64)

    def learn(self, rollout: Rollout, *, scale: float) -> None:
        """Learn from a rollout at `scale` times the rates. Raises kernels.DivergedError."""
        settings, shape = self._settings, rollout.actions.shape
        states = rollout.states.reshape(-1, VARIABLES)
        values = self.values(states).reshape(shape)
        next_values = self.values(rollout.after.reshape(-1, VARIABLES)).reshape(shape)
        found = advantages(values, next_values, rollout, discount=settings.discount, trace=settings.trace)
        targets = ((found + values) / self._horizon).reshape(-1, 1)
        advantage, x = found.reshape(-1), states / SCALES
        actions, taken = rollout.actions.reshape(-1), rollout.probabilities.reshape(-1)
        hot = np.eye(ACTIONS)[actions]
        for _ in range(settings.passes):
            order = permutation(self._seed, self._batches, len(x))
            self._batches += 1
            for first in range(0, len(x), settings.batch):
                rows = order[first : first + settings.batch]
                part = advantage[rows]
                part = (part - part.mean()) / (part.std() + 1e-8)
                now = softmax(self._actor.scores(x[rows]).astype(np.float64))
                ratio = now[np.arange(len(rows)), actions[rows]] / taken[rows]
                weights = policy_weights(ratio, part, settings.clip)
                self._actor.step(x[rows], hot[rows], weights, scale=scale)
                self._critic.step(x[rows], targets[rows], np.ones(len(rows)), scale=scale)
