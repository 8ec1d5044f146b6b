"""The dynamics of CartPole: by hand, mirrored, by energy, and where episodes end."""

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from evaluator.control.cartpole import (
    FARTHEST,
    LIMIT,
    STEEPEST,
    Episodes,
    energy,
    fallen,
    move,
    started,
)
from evaluator.errors import TaskError


def test_a_push_from_rest_by_hand() -> None:
    # Upright and at rest: a pole's angle turns by -F/M / (l (4/3 - m/M)), the cart by F/M - m l turn/M.
    pushed = 10.0 / 1.1
    turned = -pushed / (0.5 * (4.0 / 3.0 - 0.1 / 1.1))
    after = move(np.zeros((1, 4)), np.array([10.0]))
    expected = [0.0, 0.02 * (pushed - 0.05 * turned / 1.1), 0.0, 0.02 * turned]
    np.testing.assert_allclose(after[0], expected, rtol=1e-14)
    np.testing.assert_allclose(after[0], [0.0, 0.1951219512195122, 0.0, -0.2926829268292683], rtol=1e-14)


def test_a_moving_and_leaning_pole_by_hand() -> None:
    state = np.array([[0.1, -0.2, 0.1, 0.5]])
    sine, cosine = math.sin(0.1), math.cos(0.1)
    pushed = (-10.0 + 0.1 * 0.5 * 0.25 * sine) / 1.1
    turned = (9.8 * sine - cosine * pushed) / (0.5 * (4.0 / 3.0 - 0.1 * cosine**2 / 1.1))
    expected = [
        0.1 + 0.02 * -0.2,
        -0.2 + 0.02 * (pushed - 0.1 * 0.5 * turned * cosine / 1.1),
        0.1 + 0.02 * 0.5,
        0.5 + 0.02 * turned,
    ]
    np.testing.assert_allclose(move(state, np.array([-10.0]))[0], expected, rtol=1e-14)


@given(st.lists(st.floats(-2.0, 2.0), min_size=4, max_size=4), st.sampled_from([-10.0, 10.0]))
def test_a_mirrored_world_moves_as_the_mirror_does(state: list[float], force: float) -> None:
    here = move(np.array([state]), np.array([force]))
    there = move(-np.array([state]), np.array([-force]))
    np.testing.assert_array_equal(there, -here)


def test_rows_do_not_meet() -> None:
    states = started(np.linspace(0.0, 0.99, 20).reshape(5, 4))
    force = np.array([10.0, -10.0, 10.0, 10.0, -10.0])
    whole = move(states, force)
    for row in range(5):
        np.testing.assert_array_equal(whole[row : row + 1], move(states[row : row + 1], force[row : row + 1]))


def drift(tau: float) -> float:
    """How far energy has moved after a second of swinging without a force."""
    state = np.array([[0.0, 0.5, 2.5, -1.0]])
    before = energy(state)
    for _ in range(round(1.0 / tau)):
        state = move(state, np.zeros(1), tau=tau)
    return float(abs(energy(state) - before)[0])


def test_without_a_force_energy_stays_as_far_as_eulers_method_keeps_it() -> None:
    coarse, fine = drift(1e-3), drift(1e-4)
    # First order: ten times the steps, a tenth of the error.
    assert coarse / fine == pytest.approx(10.0, rel=0.1)
    assert fine < 1e-3 < coarse < 1e-2


def test_an_upright_pole_left_alone_stays_and_a_leaning_one_falls_to_its_side() -> None:
    np.testing.assert_array_equal(move(np.zeros((1, 4)), np.zeros(1)), np.zeros((1, 4)))
    leaning = move(np.array([[0.0, 0.0, 0.1, 0.0]]), np.zeros(1))[0]
    assert leaning[3] > 0 > leaning[1]


def test_limits_are_those_of_the_task() -> None:
    assert pytest.approx(math.radians(12.0)) == STEEPEST
    edges = np.array(
        [[2.4, 0, 0, 0], [2.41, 0, 0, 0], [0, 9, 0.2094, 9], [0, 0, -0.2096, 0], [-2.5, 0, 0, 0]]
    )
    assert fallen(edges).tolist() == [False, True, False, True, True]
    assert FARTHEST == 2.4


def test_an_episode_that_falls_begins_anew_and_says_where_it_fell() -> None:
    states = np.array([[0.0, 0.0, 0.209, 3.0], [0.0, 0.0, 0.0, 0.0]])
    episodes = Episodes(states, np.array([7, 7]))
    new, stepped = episodes.step(np.array([1, 0]), np.full((2, 4), 0.75))
    assert stepped.terminated.tolist() == stepped.ended.tolist() == [True, False]
    assert stepped.after[0, 2] > STEEPEST
    np.testing.assert_allclose(new.states[0], np.full(4, 0.025))
    np.testing.assert_array_equal(new.states[1], stepped.after[1])
    assert new.taken.tolist() == [0, 8]


def test_an_episode_is_cut_off_after_500_steps_and_has_not_fallen() -> None:
    episodes = Episodes(np.zeros((2, 4)), np.array([LIMIT - 1, LIMIT - 2]))
    new, stepped = episodes.step(np.array([1, 1]), np.full((2, 4), 0.5))
    assert not stepped.terminated.any()
    assert stepped.ended.tolist() == [True, False]
    assert new.taken.tolist() == [0, LIMIT - 1]


def test_starts_lie_within_the_task_s_bounds() -> None:
    np.testing.assert_allclose(started(np.array([[0.0, 0.5, 1.0, 0.25]])), [[-0.05, 0.0, 0.05, -0.025]])


@pytest.mark.parametrize("actions", [[0, 2], [0], [[0, 1]]])
def test_other_actions_are_refused(actions: object) -> None:
    with pytest.raises(TaskError, match="actions must be 2 numbers"):
        Episodes.new(np.full((2, 4), 0.5)).step(np.array(actions), np.full((2, 4), 0.5))
