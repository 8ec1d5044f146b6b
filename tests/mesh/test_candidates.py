"""What a node claims, and what it may spend on that."""

import pytest

from evaluator.spaces import class_admits
from evaluator.tasks import resolve
from genome import Birth, Genome, preset, preset_birth, replay
from node.mesh.candidates import Candidate, Candidates
from node.mesh.front import Front
from node.mesh.judge import Judge, Values
from tests.support.mesh import JUDGE, TASK, born


def row(accuracy: float, speed: float, memory: float = 1e6) -> Values:
    return {"accuracy": accuracy, "speed": speed, "memory": memory}


def a_node(*known: tuple[Genome, Birth, Values], judge: Judge = JUDGE, share: float = 0.25) -> Candidates:
    """A node that has measured these, and earned nothing yet."""
    front = Front(judge)
    candidates = Candidates(judge, front, share=share, claimed=())
    for genome, birth, values in known:
        assert front.measured(genome.id, values)
        candidates.consider(Candidate(genome, birth, values))
    return candidates


def only_here() -> tuple[Genome, Birth]:
    """A genome that the exact class cannot train: others have to train it anew to check it."""
    for seed in range(1000):
        birth = Birth((), "random/1", seed)
        genome = replay(birth, TASK.space, {})
        if not class_admits("exact-1", genome):
            return genome, birth
    raise AssertionError("the exact class trains everything")


def test_a_preset_is_no_news() -> None:
    candidates = a_node((preset("shallow"), preset_birth("shallow"), row(0.9, 1000.0)))
    candidates.earn(row(0.9, 1000.0))
    assert len(candidates) == 0
    assert candidates.choose() is None


def test_the_first_training_pays_for_a_claim_and_others_for_their_share_of_one() -> None:
    first, second = born(1), born(2)
    candidates = a_node((*first, row(0.9, 1000.0)), (*second, row(0.8, 2000.0)))
    assert candidates.choose() is None, "nothing was earned"
    candidates.earn(row(0.9, 1000.0))
    chosen = candidates.choose()
    assert chosen is not None
    assert chosen.genome == second[0], "0.8 for half of the cost"
    candidates.begin(chosen)
    candidates.end()
    assert candidates.saved == pytest.approx(0.00075)
    assert candidates.choose() is None
    candidates.earn(None)
    chosen = candidates.choose()
    assert chosen is not None
    assert chosen.genome == first[0]


def test_a_failure_counts_like_the_usual_training_and_before_there_is_one_not_at_all() -> None:
    candidates = a_node()
    candidates.earn(None)
    assert candidates.saved == 0.0
    candidates.earn(row(0.5, 1000.0))
    candidates.earn(None)
    assert candidates.saved == pytest.approx(0.0015)


def test_what_is_dear_is_saved_up_for() -> None:
    slow = born(1)
    candidates = a_node((*slow, row(0.9, 10.0)))
    trainings = 0
    while candidates.choose() is None:
        candidates.earn(row(0.5, 1000.0))
        trainings += 1
        assert trainings < 1000
    assert trainings in (396, 397), "a hundredth of it, and quarters of hundredths"
    assert candidates.saved >= 0.1


def test_no_more_is_saved_than_a_few_trainings() -> None:
    candidates = a_node()
    for _ in range(1000):
        candidates.earn(row(0.5, 1000.0))
    assert candidates.saved == pytest.approx(0.004)


def test_what_anybody_can_replay_comes_before_what_others_have_to_train_anew() -> None:
    dear, cheap = only_here(), born(1)
    candidates = a_node((*dear, row(0.95, 1000.0, 1e6)), (*cheap, row(0.90, 1000.0, 9e5)))
    candidates.earn(row(0.9, 1000.0))
    chosen = candidates.choose()
    assert chosen is not None
    assert chosen.genome == cheap[0]


def test_trainings_of_other_tasks_cost_the_same_whatever_they_call_speed() -> None:
    task = resolve("zdt1")
    judge = Judge(
        task,
        task.tier(),
        task.space,
        arithmetic="task",
        limits=JUDGE.limits,
        calibration=None,
        objectives=task.objectives,
    )
    assert judge.training({"speed": 1000.0}) == 1.0
    assert JUDGE.training({"speed": 1000.0}) == 0.001
