"""Training is a function of its plan: the same bits again, segment by segment, from any checkpoint."""

from collections.abc import Mapping
from typing import Any

import msgspec
import numpy as np
import pytest

from evaluator.build import build
from evaluator.errors import EvaluatorError
from evaluator.jobs import Arithmetic
from evaluator.plan import Plan
from evaluator.tasks import resolve
from evaluator.train import Trained, fingerprint, replay_segment, train
from genome import Genome, preset
from genome.spaces import MLP
from kernels import DivergedError, Learner

KEY = bytes(range(32))
DATA = resolve("digits").load()  # type: ignore[attr-defined]
X, Y = DATA.train_x[:100], DATA.train_y[:100]
SMALL = {"width1": 12, "batch": 16}


def genome(name: str = "shallow", **changes: Any) -> Genome:
    return MLP.genome({**dict(preset(name).values), **SMALL, **changes})


def plan(found: Genome, **changes: Any) -> Plan:
    fields: dict[str, Any] = {
        "examples": len(X),
        "epochs": 3,
        "batch": int(found["batch"]),
        "key": KEY,
        "schedule": str(found["schedule"]),
        "checkpoints": 5,
    }
    return Plan(**(fields | changes))


def learner(found: Genome, arithmetic: Arithmetic = "fp32") -> Learner:
    return build(dict(found.values), inputs=64, classes=10, seed=KEY, arithmetic=arithmetic, backend="auto")


def run(found: Genome, arithmetic: Arithmetic = "fp32", **changes: Any) -> tuple[Trained, list[Any]]:
    fresh = learner(found, arithmetic)
    states: list[Any] = [fresh.state()]
    trained = train(
        fresh,
        X,
        Y,
        plan(found, **changes),
        score=lambda _: 0.5,
        on_state=lambda _, state: states.append(state),
    )
    return trained, states


def test_a_plan_cuts_the_steps_into_equal_segments() -> None:
    found = plan(genome())
    assert (found.course.ends, found.steps) == ((7, 14, 21), 21)
    assert found.boundaries == (5, 9, 13, 17, 21)
    assert plan(genome(), checkpoints=100).boundaries == tuple(range(1, 22))


def test_the_rate_falls_to_nothing_or_stays() -> None:
    falling, flat = plan(genome()), plan(genome(schedule="constant"))
    assert [falling.scale(step) for step in (0, 7, 14)] == pytest.approx([1.0, 2 / 3, 1 / 3])
    assert {flat.scale(step) for step in range(21)} == {1.0}


def test_signs_are_drawn_from_the_key_and_are_balanced() -> None:
    signs = [plan(genome()).sign(step) for step in range(1000)]
    assert set(signs) == {1, -1}
    assert abs(sum(signs)) < 120
    assert signs != [plan(genome(), key=bytes(32)).sign(step) for step in range(1000)]


@pytest.mark.parametrize("arithmetic", ["fp32", "bf16", "exact-1"])
def test_the_same_plan_gives_the_same_bits(arithmetic: Arithmetic) -> None:
    first, _ = run(genome(), arithmetic)
    second, _ = run(genome(), arithmetic)
    other, _ = run(genome(), arithmetic, key=bytes(32))
    assert first.checkpoints == second.checkpoints
    assert set(first.checkpoints).isdisjoint(other.checkpoints)


@pytest.mark.parametrize(
    ("name", "arithmetic"),
    [("shallow", "fp32"), ("ep", "exact-1"), ("smep", "fp32"), ("shallow", "exact-1"), ("backprop", "fp32")],
)
def test_every_segment_replays_from_its_start(name: str, arithmetic: Arithmetic) -> None:
    found = genome(name)
    trained, states = run(found, arithmetic)
    for segment, claimed in enumerate(trained.checkpoints):
        stranger = learner(found, arithmetic)
        again = replay_segment(stranger, X, Y, plan(found), segment=segment, state=states[segment])
        assert again.end == claimed


def test_a_replay_goes_on_from_the_learner_as_it_stands() -> None:
    found = genome("ep", stop="tolerance", tolerance=0.1, free_steps=16)
    trained, _ = run(found)
    stranger = learner(found)
    again = [
        replay_segment(stranger, X, Y, plan(found), segment=number, state=None)
        for number in range(len(trained.checkpoints))
    ]
    assert tuple(each.end for each in again) == trained.checkpoints
    lengths = np.diff([0, *plan(found).boundaries])
    assert np.dot(lengths, [each.free_steps for each in again]) / 21 == pytest.approx(trained.free_steps)
    assert np.dot(lengths, [each.nudged_steps for each in again]) / 21 == pytest.approx(trained.nudged_steps)
    assert len({each.free_steps for each in again}) > 1


def test_a_forged_segment_is_seen() -> None:
    found = genome()
    trained, states = run(found)
    forged = {name: np.array(array) for name, array in states[2].items()}
    next(array for array in forged.values() if array.size > 100).flat[0] += 2.0**-20
    again = replay_segment(learner(found), X, Y, plan(found), segment=2, state=forged)
    assert again.end != trained.checkpoints[2]


def test_a_segment_that_is_not_there_is_refused() -> None:
    found = genome()
    with pytest.raises(EvaluatorError, match="segments 0 to 4"):
        replay_segment(learner(found), X, Y, plan(found), segment=5, state={})


def test_a_fingerprint_sees_names_shapes_types_and_values() -> None:
    zeros = np.zeros((2, 3))
    variants: list[Mapping[str, Any]] = [
        {"a": zeros},
        {"b": zeros},
        {"a": zeros.reshape(3, 2)},
        {"a": zeros.astype(np.float32)},
        {"a": zeros - 0.0 * -1},
        {"a": zeros + 2.0**-50},
        {"a": zeros, "b": zeros},
    ]
    assert len({fingerprint(v) for v in variants}) == len(variants) - 1  # 0.0 - -0.0 is 0.0 again
    assert fingerprint({"a": zeros, "b": zeros + 1}) == fingerprint({"b": zeros + 1, "a": zeros})


def test_the_curve_counts_samples_and_epochs() -> None:
    trained, _ = run(genome())
    assert len(trained.curve) == 10
    assert (trained.curve[-1].samples, trained.curve[-1].epoch) == (300, 3.0)
    samples = [point.samples for point in trained.curve]
    assert samples == sorted(set(samples))
    assert trained.samples == 300


def test_a_training_that_blows_up_names_the_step() -> None:
    found = learner(genome("ep"))
    # Not the parameters, which would be refused, but what the optimizer remembers.
    found.load(
        {name: np.full_like(a, np.inf) if name.startswith("0.") else a for name, a in found.state().items()}
    )
    with pytest.raises(DivergedError, match=r"of 21 training steps.*at step 2\."):
        train(found, X, Y, plan(genome("ep")), score=lambda _: 0.5)


def test_a_training_whose_last_step_blows_up_is_no_outcome() -> None:
    found = learner(genome("ep"))
    found.load(
        {name: np.full_like(a, np.inf) if name.startswith("0.") else a for name, a in found.state().items()}
    )
    one = msgspec.structs.replace(plan(genome("ep")), examples=plan(genome("ep")).batch, epochs=1)
    assert one.steps == 1
    with pytest.raises(DivergedError, match=r"of 1 training steps.*at step 1\."):
        train(found, X, Y, one, score=lambda _: 0.5)
