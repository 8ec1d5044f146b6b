"""All that a CartPole experiment is told. Pure."""

import hashlib
from typing import Literal, get_args

import msgspec

from evaluator.errors import TaskError

__all__ = ["CREDITS", "CartPoleSettings", "Credit", "settings_sha256"]

Credit = Literal["ep", "backprop", "random"]
CREDITS: tuple[Credit, ...] = get_args(Credit)


class CartPoleSettings(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """An actor-critic on CartPole-v1.

    `steps` of the environment are the budget of one training, all poles counted; `poles` episodes run side by side, and
    after `horizon` steps of each the actor and the critic learn from what happened, in `passes` over it in batches of
    `batch`. Both have tanh layers of `hidden` units. Advantages are those of generalised advantage estimation with
    `discount` and `trace` (Schulman et al. 2016), brought to mean 0 and deviation 1 within a batch. `clip` bounds how
    far a pass may move the probability of an action (Schulman et al. 2017, eq. 7). Rates fall linearly to 0.
    `beta` is the nudge of both networks, `free_steps` and `nudged_steps` the most sweeps that they settle in; `cap`
    bounds the spectral norms of weights between layers that settle, for a network of larger ones may have several
    equilibria and stay in the one that it was in. Every `every` steps `trials` episodes, two at least, which do not
    count against the budget, measure the policy. Raises TaskError for what makes no experiment.
    """

    steps: int
    hidden: tuple[int, ...] = (64,)
    poles: int = 16
    horizon: int = 64
    passes: int = 8
    batch: int = 256
    discount: float = 0.99
    trace: float = 0.95
    clip: float = 0.2
    rate: float = 3e-4
    critic_rate: float = 3e-3
    beta: float = 0.1
    cap: float = 0.9
    free_steps: int = 8
    nudged_steps: int = 8
    every: int = 10_000
    trials: int = 32

    def __post_init__(self) -> None:
        for name in ("steps", "poles", "horizon", "passes", "batch", "nudged_steps", "every"):
            if getattr(self, name) < 1:
                raise TaskError(f"{name} must be at least 1, got {getattr(self, name)}.")
        if not self.hidden or min(self.hidden) < 1:
            raise TaskError(f"hidden must name at least one layer of 1 unit or more, got {self.hidden}.")
        if self.steps < self.poles * self.horizon:
            raise TaskError(
                f"steps must reach for one update ({self.poles} poles x {self.horizon} steps), got {self.steps}. "
                f"Take at least {self.poles * self.horizon}."
            )
        if self.trials < 2:
            raise TaskError(f"trials must be at least 2, so that returns have a spread, got {self.trials}.")
        if self.free_steps < 0:
            raise TaskError(f"free_steps must be 0 or more, got {self.free_steps}.")
        for name in ("discount", "trace", "clip"):
            if not 0 < getattr(self, name) <= 1:
                raise TaskError(f"{name} must lie in (0, 1], got {getattr(self, name)}.")
        for name in ("rate", "critic_rate"):
            if not 0 < getattr(self, name) <= 1:
                raise TaskError(f"{name} must lie in (0, 1], got {getattr(self, name)}.")
        if not 0 < self.cap <= 10:
            raise TaskError(f"cap must lie in (0, 10], got {self.cap}.")
        if not 0 < self.beta < 0.5:
            raise TaskError(
                f"beta must lie in (0, 0.5), since the critic's output divides by 1 - beta, got {self.beta}."
            )


def settings_sha256(settings: CartPoleSettings) -> str:
    """SHA-256 (hex) of the settings."""
    return hashlib.sha256(msgspec.json.encode(settings, order="deterministic")).hexdigest()
