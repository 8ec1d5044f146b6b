"""Telemetry by epoch: it tells what happened, costs no bit of the training, and is the same in company as alone."""

from collections.abc import Mapping
from typing import Any

import msgspec
import numpy as np
import pytest

from evaluator import service
from evaluator.build import build
from evaluator.curriculum import course_of
from evaluator.frames import decode_reply, encode
from evaluator.jobs import Batch, EpochPoint, Job, Measured, Outcome, Reply
from evaluator.tasks import resolve
from evaluator.telemetry import SCORED, EpochLog, Observation, observe, state_weights
from genome import Genome, preset
from genome.spaces import SPACES
from kernels import Diagnostics
from tests.support.jobs import job

DATA = resolve("digits").load()  # type: ignore[attr-defined]
X, Y = DATA.train_x[:300], DATA.train_y[:300]
CLOCKED = {"train_cpu_s": 0.0, "train_wall_s": 0.0, "peak_bytes": 0}


def genome(name: str, **changes: Any) -> Genome:
    found = preset(name)
    values = {**dict(found.values), "width1": 12, "batch": 32, **changes}
    return SPACES[found.space.partition("/")[0]].genome(values)


def asked(name: str, seed: int = 0, **changes: Any) -> Job:
    found = genome(name, **({"width2": 12} if "width2" in dict(preset(name).values) else {}))
    space = found.space.partition("/")[0]
    return job(found, seed=seed, space=space, **changes)


def outcome(one: Job) -> Outcome:
    found = service.run(one, lambda _: None)
    assert isinstance(found, Outcome), found
    return found


def untimed(point: EpochPoint) -> EpochPoint:
    return msgspec.structs.replace(point, **CLOCKED)


def plain(found: Outcome) -> Outcome:
    """An outcome without telemetry and without what a clock says."""
    curve = tuple(msgspec.structs.replace(point, train_cpu_s=0.0) for point in found.curve)
    return msgspec.structs.replace(found, measured=Measured(), curve=curve, epochs=())


WATCHED = [
    ("shallow", "fp32"), ("shallow", "exact-1"), ("ep", "fp32"), ("ep", "exact-1"), ("smep", "fp32"),
    ("deep", "bf16"), ("deep-capped", "fp32"), ("backprop", "fp32"), ("sdmep", "fp32"), ("looped", "fp32"),
    ("predictive-coding", "fp32"), ("kolen-pollack", "fp32"),
]  # fmt: skip


@pytest.mark.parametrize(("name", "arithmetic"), WATCHED)
def test_watching_changes_no_bit(name: str, arithmetic: str) -> None:
    bare = outcome(asked(name, arithmetic=arithmetic))
    watched = outcome(asked(name, arithmetic=arithmetic, telemetry=True))
    assert plain(watched) == plain(bare)
    assert bare.epochs == ()
    epochs = resolve("digits").tier("smoke").epochs
    assert [point.epoch for point in watched.epochs] == list(range(1, epochs + 1))
    last = watched.epochs[-1]
    assert (last.accuracy, last.samples) == (watched.curve[-1].accuracy, watched.curve[-1].samples)
    assert last.spectral_norm == watched.settling.spectral_norm
    assert last.train_cpu_s == pytest.approx(watched.measured.train_cpu_s, abs=1e-5)
    assert all(
        a.train_cpu_s < b.train_cpu_s for a, b in zip(watched.epochs, watched.epochs[1:], strict=False)
    )
    for phase in ("free_steps", "nudged_steps"):
        # Epochs of digits are equally long.
        mean = np.mean([getattr(point, phase) for point in watched.epochs])
        assert mean == pytest.approx(getattr(watched.settling, phase))


def test_a_network_learns_and_its_telemetry_tells() -> None:
    first, *_, last = outcome(asked("ep", telemetry=True, tier="quick", **of_tier("quick"))).epochs
    assert last.loss < first.loss
    assert last.error < first.error
    assert last.nudged_energy is not None
    assert last.free_energy is not None
    # F = E + beta C at the nudged state, whose E lies above the rest of the free phase.
    assert last.nudged_energy > last.free_energy
    assert last.recurrent_norm == last.spectral_norm["w1-2"] > 0
    assert last.dead == ()


def of_tier(name: str) -> dict[str, Any]:
    return {"task_id": job(tier=name).task_id}


def test_backpropagation_has_no_phases() -> None:
    last = outcome(asked("backprop", telemetry=True)).epochs[-1]
    assert (last.free_energy, last.nudged_energy, last.recurrent_norm, last.free_steps) == (
        None,
        None,
        0.0,
        0.0,
    )
    assert last.spectral_norm["w0-1"] > 0


@pytest.mark.parametrize(("name", "arithmetic"), [("ep", "exact-1"), ("shallow", "fp32")])
def test_in_company_it_is_what_it_is_alone(name: str, arithmetic: str) -> None:
    jobs = [
        asked(name, seed, arithmetic=arithmetic, telemetry=seed != 1, number=seed, purpose="rescore")
        for seed in range(3)
    ]
    replies: list[Reply] = []
    service.run_batch(Batch(jobs=tuple(jobs)), replies.append)
    found = {reply.number: reply for reply in replies if isinstance(reply, Outcome)}
    assert found[1].epochs == ()
    for number in (0, 2):
        single = outcome(jobs[number])
        assert single.epochs
        assert [untimed(p) for p in found[number].epochs] == [untimed(p) for p in single.epochs]
        assert found[number].checkpoints == single.checkpoints
    bare = outcome(msgspec.structs.replace(jobs[0], telemetry=False))
    assert bare.checkpoints == found[0].checkpoints


def test_a_sealed_split_is_not_scored_on_the_way() -> None:
    found = outcome(asked("shallow", telemetry=True, split="test", purpose="report"))
    assert found.curve == ()
    assert [point.accuracy for point in found.epochs] == [None] * len(found.epochs)
    assert found.epochs[-1].loss > 0


def test_outcomes_of_before_have_no_epochs() -> None:
    """A store or a peer that knew no telemetry."""
    found = outcome(asked("shallow"))
    body = msgspec.msgpack.decode(encode(found)[4:])
    assert body.pop("epochs") == []
    assert decode_reply(msgspec.msgpack.encode(body)) == found


@pytest.mark.parametrize(
    ("name", "expected"),
    [("ep", {"w1-2"}), ("deep", {"w1-2"}), ("shallow", set()), ("backprop", set()), ("backprop-deep", set())],
)
def test_weights_between_states(name: str, expected: set[str]) -> None:
    assert state_weights(dict(preset(name).values), inputs=64, classes=10) == expected


class Known:
    """A learner whose scores and diagnosis are given."""

    def __init__(self, scores: np.ndarray[Any, Any], gradient: Mapping[str, float]) -> None:
        self._scores, self._gradient = scores, gradient
        self.rows = (0, 0)

    def predict(self, x: np.ndarray[Any, Any]) -> np.ndarray[Any, Any]:
        self.rows = (len(x), self.rows[1])
        return self._scores[: len(x)]

    def diagnose(self, x: np.ndarray[Any, Any], y: np.ndarray[Any, Any]) -> Diagnostics:
        self.rows = (self.rows[0], len(x))
        norms = {"w0-1": 3.0, "w1-2": 2.0, "w2-3": 5.0}
        return Diagnostics((4.0, 1.0), (0.5,), (), (), norms, self._gradient, "converged", None)


def look(learner: Known, y: list[int], output: str, batch: int = 8) -> Observation:
    labels = np.array(y, dtype=np.int64)
    recurrent = frozenset(["w1-2"])
    return observe(
        learner, np.zeros((len(y), 2), np.float32), labels, output=output, recurrent=recurrent, batch=batch
    )


def test_loss_and_error_by_hand() -> None:
    scores = np.array([[0.0, 0.0], [1.0, 3.0]], dtype=np.float32)
    ce = look(Known(scores, {"w0-1": 1.0}), [0, 0], "ce")
    assert ce.loss == pytest.approx((np.log(2) + np.log(1 + np.exp(2.0))) / 2)
    assert ce.error == 0.5
    assert look(Known(scores, {"w0-1": 1.0}), [0, 0], "mse").loss == pytest.approx((0.5 + 4.5) / 2)
    assert (ce.free_energy, ce.nudged_energy, ce.recurrent_norm) == (1.0, None, 2.0)


def test_only_so_many_examples_are_looked_at() -> None:
    learner = Known(np.ones((500, 2), np.float32), {})
    look(learner, [0] * 500, "ce", batch=8)
    assert learner.rows == (SCORED, 8)


def test_what_no_longer_learns_is_named() -> None:
    log = EpochLog(course_of(None, examples=10, epochs=2, batch=4))
    observed = look(Known(np.ones((2, 2), np.float32), {"w0-1": 0.0, "w1-2": 0.1, "b1": 0.0}), [0, 1], "ce")
    for sweeps in (6.0, 12.0):
        log.follow(sweeps, 3.0, 0.25)
        log.end(observed, accuracy=0.5, cpu_s=sweeps, wall_s=1.0, resident=0)
    assert log.points[0].dead == ("w0-1", "b1")
    assert [(p.free_steps, p.nudged_steps, p.samples, p.residual) for p in log.points] == [
        (2.0, 1.0, 10, 0.25),
        (4.0, 1.0, 20, 0.25),
    ]


def test_a_network_of_zeros_has_dead_weights() -> None:
    values = dict(genome("shallow").values)
    zeros = {"w0-1": (12, 64), "b1": (12,), "w1-2": (10, 12), "b2": (10,)}
    learner = build(
        values, inputs=64, classes=10, seed=bytes(32), arithmetic="fp32", backend="auto",
        parameters={name: np.zeros(shape, np.float32) for name, shape in zeros.items()},
    )  # fmt: skip
    seen = observe(learner, X, Y, output="ce", recurrent=frozenset(), batch=32)
    # Hidden states of 0 and weights of 0 above them: the readout's bias alone can learn.
    assert {name for name, norm in seen.gradient_norm.items() if norm == 0.0} == {"w0-1", "b1", "w1-2"}
