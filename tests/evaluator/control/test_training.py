"""One training: its budget, its measurements, and that it is the same each time."""

import numpy as np
import pytest
from msgspec.structs import replace
from numpy.typing import NDArray

from evaluator.control.settings import CartPoleSettings
from evaluator.control.summaries import Point
from evaluator.control.training import Poles, evenly, seed_key, train, trial_returns

SMALL = CartPoleSettings(steps=512, hidden=(8,), poles=4, horizon=16, passes=1, batch=32, every=200, trials=4)


def leaning(states: NDArray[np.float64]) -> NDArray[np.float64]:
    """Push to where the pole falls: holds it up for hundreds of steps, by hand."""
    right = (states[:, 2] + 0.5 * states[:, 3] + 0.05 * states[:, 0] + 0.1 * states[:, 1] > 0).astype(
        np.float64
    )
    return np.stack([1.0 - right, right], axis=1)


def test_returns_are_the_lengths_of_episodes() -> None:
    key = seed_key(5)
    by_hand = trial_returns(leaning, key, 8, "a")
    assert by_hand.tolist() == [500.0] * 8
    by_chance = trial_returns(evenly, key, 200, "a")
    # The random policy is known to last for 22 steps or so.
    assert 18.0 < by_chance.mean() < 26.0
    assert by_chance.min() >= 8.0
    assert by_chance.max() < 200.0
    always = trial_returns(lambda states: np.tile([0.0, 1.0], (len(states), 1)), key, 50, "a")
    assert set(always) <= {8.0, 9.0, 10.0, 11.0}


def test_a_rollout_is_one_world_seen_step_by_step() -> None:
    poles = Poles(SMALL, seed_key(1))
    first, second = poles.roll(evenly), poles.roll(evenly)
    for t in range(1, SMALL.horizon):
        goes_on = ~first.ended[t - 1]
        np.testing.assert_array_equal(first.states[t][goes_on], first.after[t - 1][goes_on])
        assert (np.abs(first.states[t][~goes_on]) <= 0.05).all()
    goes_on = ~first.ended[-1]
    np.testing.assert_array_equal(second.states[0][goes_on], first.after[-1][goes_on])
    assert (first.terminated <= first.ended).all()
    np.testing.assert_array_equal(first.probabilities, 0.5)
    assert not np.array_equal(first.actions, second.actions)


def test_returns_while_training_are_those_of_the_episodes_that_ended() -> None:
    poles = Poles(replace(SMALL, horizon=64), seed_key(2))
    happened = poles.roll(evenly)
    lengths = []
    for pole in range(SMALL.poles):
        ends = np.flatnonzero(happened.ended[:, pole])
        lengths += np.diff(np.concatenate([[-1], ends])).tolist()
    assert poles.training_return() == pytest.approx(np.mean(lengths))
    assert poles.training_return() is None


@pytest.mark.parametrize("credit", ["ep", "backprop", "random"])
def test_a_training_is_measured_at_the_start_along_the_way_and_at_the_end(credit: str) -> None:
    told: list[Point] = []
    points = train(SMALL, credit, 3, told.append)  # type: ignore[arg-type]
    assert told == points
    # 64 steps a rollout: the first after each 200, and the last one.
    assert [point.steps for point in points] == [0, 256, 448, 512]
    assert points[0].training_return is None
    assert all(8.0 <= point.mean_return <= 500.0 for point in points)


def test_the_same_seed_gives_the_same_training_and_another_one_another() -> None:
    once, again, other = train(SMALL, "ep", 3), train(SMALL, "ep", 3), train(SMALL, "ep", 4)
    assert once == again
    assert once != other


def test_all_credits_meet_the_same_first_episodes() -> None:
    starts = {credit: train(SMALL, credit, 3)[0].mean_return for credit in ("ep", "backprop")}  # type: ignore[arg-type]
    assert starts["ep"] == starts["backprop"]


@pytest.mark.slow
def test_equilibrium_propagation_learns_to_balance() -> None:
    # A seed that nothing was tuned on; the random policy stays near 22.
    points = train(CartPoleSettings(steps=30_000, every=30_000), "ep", 77)
    assert points[-1].mean_return > 100.0
