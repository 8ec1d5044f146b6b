"""Advantages and weights of a policy's update, and an actor-critic that learns from rollouts."""

import hashlib

import numpy as np
import pytest
from msgspec.structs import replace

from evaluator.control.policy import ActorCritic, Rollout, advantages, policy_weights
from evaluator.control.settings import CartPoleSettings, settings_sha256
from evaluator.errors import TaskError
from kernels.learner import Array

SEED = hashlib.sha256(b"a policy").digest()
SMALL = CartPoleSettings(steps=512, hidden=(8,), poles=4, horizon=16, passes=2, batch=32, every=256, trials=4)


def rollout(terminated: list[bool], ended: list[bool]) -> Rollout:
    length = len(terminated)
    flags = (np.array(terminated).reshape(length, 1), np.array(ended).reshape(length, 1))
    zeros = np.zeros((length, 1, 4))
    return Rollout(zeros, zeros, np.zeros((length, 1), dtype=np.int64), np.full((length, 1), 0.5), *flags)


def test_advantages_by_hand() -> None:
    # Step 1 falls, step 2 is cut off, step 3 goes on.
    happened = rollout([False, True, False, False], [False, True, True, False])
    values = np.array([[1.0], [2.0], [3.0], [4.0]])
    after = np.array([[2.0], [9.0], [5.0], [6.0]])
    found = advantages(values, after, happened, discount=0.5, trace=0.5)
    fell = 1.0 - 2.0
    cut = 1.0 + 0.5 * 5.0 - 3.0
    on = 1.0 + 0.5 * 6.0 - 4.0
    np.testing.assert_allclose(found[:, 0], [1.0 + 0.5 * 2.0 - 1.0 + 0.25 * fell, fell, cut, on])


def test_with_a_trace_of_one_advantages_are_returns_less_values() -> None:
    happened = rollout([False, False, True], [False, False, True])
    values = np.array([[0.3], [0.1], [0.7]])
    after = np.array([[0.1], [0.7], [5.0]])
    found = advantages(values, after, happened, discount=0.9, trace=1.0)
    np.testing.assert_allclose(found + values, [[1 + 0.9 + 0.81], [1 + 0.9], [1.0]])


def test_weights_are_the_gradient_of_the_clipped_objective() -> None:
    def objective(log_ratio: float, advantage: float) -> float:
        ratio = np.exp(log_ratio)
        return float(min(ratio * advantage, np.clip(ratio, 0.8, 1.2) * advantage))

    for ratio in (0.5, 0.79, 0.81, 1.0, 1.19, 1.21, 2.0):
        for advantage in (1.5, -0.5):
            at = np.log(ratio)
            found = policy_weights(np.array([ratio]), np.array([advantage]), 0.2)[0]
            slope = (objective(at + 1e-6, advantage) - objective(at - 1e-6, advantage)) / 2e-6
            assert found == pytest.approx(slope, abs=1e-8), (ratio, advantage)


def distinct(settings: CartPoleSettings, action: int) -> Rollout:
    """A rollout in which one action led to no fall and the other to one, the same state throughout."""
    length, count = settings.horizon, settings.poles
    states = np.tile(np.array([0.1, 0.0, 0.02, 0.0]), (length, count, 1))
    actions = np.tile(np.arange(count) % 2, (length, 1)).astype(np.int64)
    fell = actions != action
    return Rollout(states, states, actions, np.full((length, count), 0.5), fell, np.ones_like(fell))


@pytest.mark.parametrize("hidden", [(8,), (8, 8)])
@pytest.mark.parametrize("credit", ["ep", "backprop"])
def test_an_actor_comes_to_do_what_keeps_the_pole_up(credit: str, hidden: tuple[int, ...]) -> None:
    for action in (0, 1):
        learner = ActorCritic(replace(SMALL, hidden=hidden, rate=0.01), credit, SEED)
        happened = distinct(SMALL, action)
        before = learner.probabilities(happened.states[0])[0, action]
        for _ in range(10):
            learner.learn(happened, scale=1.0)
        assert learner.probabilities(happened.states[0])[0, action] > before + 0.05


@pytest.mark.parametrize("credit", ["ep", "backprop"])
def test_a_critic_learns_what_states_are_worth(credit: str) -> None:
    learner = ActorCritic(replace(SMALL, critic_rate=0.01, trace=1.0, discount=0.9), credit, SEED)
    # Every pole falls after this very step: its value is 1 whatever follows.
    length, count = SMALL.horizon, SMALL.poles
    states = np.random.Generator(np.random.PCG64(1)).normal(size=(length, count, 4)) * 0.1
    flags = np.ones((length, count), dtype=bool)
    happened = Rollout(
        states, states, np.zeros((length, count), dtype=np.int64), np.full((length, count), 0.5), flags, flags
    )
    for _ in range(60):
        learner.learn(happened, scale=1.0)
    np.testing.assert_allclose(learner.values(states[0]), 1.0, atol=0.15)


def test_a_policy_begins_even_handed_and_a_value_near_nothing() -> None:
    learner = ActorCritic(SMALL, "ep", SEED)
    states = np.random.Generator(np.random.PCG64(2)).normal(size=(50, 4)) * 0.1
    found = learner.probabilities(states)
    np.testing.assert_allclose(found.sum(axis=1), 1.0, rtol=1e-12)
    np.testing.assert_allclose(found, 0.5, atol=0.1)
    assert np.abs(learner.values(states)).max() < 20.0


def test_both_credits_begin_with_one_policy() -> None:
    states = np.random.Generator(np.random.PCG64(3)).normal(size=(20, 4))
    policies: list[Array] = [
        ActorCritic(SMALL, name, SEED).probabilities(states) for name in ("ep", "backprop")
    ]
    np.testing.assert_allclose(policies[0], policies[1], atol=1e-6)


def test_a_credit_that_does_not_learn_is_refused() -> None:
    with pytest.raises(TaskError, match="ep or backprop, got 'random'"):
        ActorCritic(SMALL, "random", SEED)


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"steps": 10}, "at least 64"),
        ({"poles": 0}, "poles must be at least 1"),
        ({"hidden": ()}, "at least one layer"),
        ({"hidden": (8, 0)}, "at least one layer"),
        ({"free_steps": -1}, "free_steps"),
        ({"discount": 0.0}, "discount"),
        ({"clip": float("nan")}, "clip"),
        ({"rate": 2.0}, "rate"),
        ({"beta": 0.5}, "beta must lie in"),
        ({"cap": 0.0}, "cap must lie in"),
        ({"trials": 1}, "trials must be at least 2"),
    ],
)
def test_settings_that_make_no_experiment_are_refused(changes: dict[str, object], said: str) -> None:
    with pytest.raises(TaskError, match=said):
        replace(SMALL, **changes)


def test_every_setting_is_in_the_hash_of_settings() -> None:
    other = {"hidden": (9,), "beta": 0.2, "rate": 0.001, "steps": 513, "trials": 5}
    hashes = {settings_sha256(replace(SMALL, **{name: value})) for name, value in other.items()}
    assert len(hashes | {settings_sha256(SMALL)}) == len(other) + 1
