"""What a training leaves for strangers, and what a stranger makes of it, honest or not."""

import functools
import hashlib
import os
import signal
import zlib
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import msgspec
import numpy as np
import pytest
import torch
import trio
import trio.testing
from safetensors.numpy import load

from evaluator.jobs import (
    Arithmetic,
    CostLimits,
    Failure,
    Job,
    Outcome,
    Replay,
    Replayed,
    Weigh,
    Weighed,
    objectives_fingerprint,
)
from evaluator.pool import PoolSettings, open_pool
from evaluator.service import run
from evaluator.tasks import DatasetTask, resolve
from evaluator.train import fingerprint
from evaluator.weights import pack
from genome import Genome, preset
from genome.spaces import MLP
from tests.support.jobs import function_job, job

GOOD = {"a": 0.3, "b": 0.7, "mood": "good"}
BAD = {**GOOD, "mood": "bad"}
TASK = resolve("digits")
assert isinstance(TASK, DatasetTask)
LABELS = TASK.load().at(TASK.tier("smoke")).validation_y
PICKLE = b"cbuiltins\nexit\n(tR."
replace = msgspec.structs.replace


def genome(name: str = "ep", **changes: Any) -> Genome:
    small = {"width1": 12, "batch": 32, "optimizer": "adam", "lr_adam": 0.01}
    return MLP.genome({**dict(preset(name).values), **small, **changes})


class Claim(NamedTuple):
    """A job, what came of it, and the folder with its evidence."""

    job: Job
    outcome: Outcome
    folder: Path

    def replay(self, segment: int, /, **changes: Any) -> Replay:
        request = Replay(number=9, job=self.job, segment=segment)
        if segment:
            state = self.outcome.states[segment - 1]
            leaf = self.outcome.checkpoints[segment - 1]
            path = str(self.folder / f"{state}.state")
            request = replace(request, state_path=path, state=state, leaf=leaf)
        return replace(request, **changes)

    def weigh(self, **changes: Any) -> Weigh:
        outcome, asked = self.outcome, self.job
        fields: dict[str, Any] = {
            "number": 8,
            **{name: getattr(asked, name) for name in ("task", "task_id", "tier", "genome", "genome_id")},
            "arithmetic": asked.arithmetic,
            "weights_path": str(self.folder / f"{outcome.weights}.safetensors"),
            "weights": outcome.weights,
            "predictions_path": str(self.folder / f"{outcome.predictions}.predictions"),
            "predictions": outcome.predictions,
            "correct": outcome.correct,
            "examples": outcome.examples,
            "flips_allowed": 0,
        }
        return Weigh(**(fields | changes))


def train(folder: Path, found: Genome, arithmetic: Arithmetic, **changes: Any) -> Claim:
    asked = job(
        found,
        **{
            "arithmetic": arithmetic,
            "checkpoints": 4,
            "calibration": None,
            "evidence": True,
            "spool": str(folder),
            **changes,
        },
    )
    outcome = run(asked, lambda _: None)
    assert isinstance(outcome, Outcome), outcome
    return Claim(asked, outcome, folder)


@functools.cache
def claimed(folder: Path, arithmetic: Arithmetic) -> Claim:
    return train(folder, genome(), arithmetic)


@pytest.fixture(scope="module")
def evidence(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("evidence")


@pytest.fixture(params=["exact-1", "fp32"])
def claim(request: pytest.FixtureRequest, evidence: Path) -> Claim:
    return claimed(evidence, request.param)


@pytest.fixture
def exact(evidence: Path) -> Claim:
    return claimed(evidence, "exact-1")


def replayed(request: Replay) -> Replayed:
    found = run(request, lambda _: None)
    assert isinstance(found, Replayed), found
    return found


def weighed(request: Weigh) -> Weighed:
    found = run(request, lambda _: None)
    assert isinstance(found, Weighed), found
    return found


def write(folder: Path, body: bytes) -> tuple[str, str]:
    """Path and SHA-256 of a file with these bytes."""
    name = hashlib.sha256(body).hexdigest()
    (folder / name).write_bytes(body)
    return str(folder / name), name


def weigh_body(claim: Claim, folder: Path, body: bytes) -> Weighed:
    path, name = write(folder, body)
    return weighed(claim.weigh(weights_path=path, weights=name))


def parameters(claim: Claim) -> dict[str, Any]:
    return load((claim.folder / f"{claim.outcome.weights}.safetensors").read_bytes())


def state_of(claim: Claim, number: int) -> dict[str, Any]:
    return load((claim.folder / f"{claim.outcome.states[number]}.state").read_bytes())


# What a training leaves


def test_the_evidence_is_whole_and_named_by_its_bytes(claim: Claim) -> None:
    outcome = claim.outcome
    assert len(outcome.states) == len(outcome.checkpoints) == 4
    for number, checkpoint in enumerate(outcome.checkpoints):
        assert fingerprint(state_of(claim, number)) == checkpoint
    files = {f"{name}.state" for name in outcome.states}
    files |= {f"{outcome.weights}.safetensors", f"{outcome.predictions}.predictions"}
    for name in files:
        body = (claim.folder / name).read_bytes()
        assert hashlib.sha256(body).hexdigest() == name.partition(".")[0]
    sizes = [(claim.folder / f"{name}.state").stat().st_size for name in outcome.states]
    assert outcome.state_bytes == max(sizes)


def test_right_answers_are_counted(claim: Claim) -> None:
    outcome = claim.outcome
    body = (claim.folder / f"{outcome.predictions}.predictions").read_bytes()
    assert int(np.sum(np.frombuffer(body, "<u2") == LABELS)) == outcome.correct > 0
    assert outcome.objectives["accuracy"] == outcome.correct / outcome.examples


def test_the_same_job_leaves_the_same_files_and_without_evidence_none(exact: Claim, tmp_path: Path) -> None:
    again, bare = tmp_path / "again", tmp_path / "bare"
    again.mkdir()
    bare.mkdir()
    same = train(again, genome(), "exact-1").outcome
    assert replace(same, measured=exact.outcome.measured, curve=()) == replace(exact.outcome, curve=())
    for file in again.iterdir():
        assert file.read_bytes() == (exact.folder / file.name).read_bytes()
    less = train(bare, genome(), "exact-1", evidence=False).outcome
    assert [file.name for file in bare.iterdir()] == [f"{less.weights}.safetensors"]
    assert (less.states, less.state_bytes) == ((), 0)
    assert replace(same, states=(), state_bytes=0, measured=less.measured, curve=less.curve) == less


def test_evidence_needs_a_folder() -> None:
    failure = run(job(genome(), evidence=True), lambda _: None)
    assert isinstance(failure, Failure)
    assert (failure.kind, "spool" in failure.detail) == ("error", True)


# Replays


def test_every_segment_replays_from_its_files(claim: Claim) -> None:
    found = [replayed(claim.replay(segment)) for segment in range(4)]
    assert tuple(each.end for each in found) == claim.outcome.checkpoints
    assert all(each.start_ok and each.why == "" and each.number == 9 for each in found)
    for phase in ("free_steps", "nudged_steps"):
        assert getattr(claim.outcome.settling, phase) > 0
        assert {getattr(each, phase) for each in found} == {getattr(claim.outcome.settling, phase)}


@pytest.mark.parametrize(
    ("name", "changes"),
    [
        ("smep", {"optimizer": "muon"}),
        ("backprop", {}),
        ("shallow", {"optimizer": "sgd", "lr_sgd": 0.05, "momentum": 0.5}),
    ],
)
def test_the_state_of_every_optimizer_survives_the_file(
    name: str, changes: dict[str, Any], tmp_path: Path
) -> None:
    claim = train(tmp_path, genome(name, **changes), "fp32")
    assert replayed(claim.replay(2)).end == claim.outcome.checkpoints[2]
    assert weighed(claim.weigh()).passed


def test_a_state_with_one_bit_changed_is_refused(claim: Claim, tmp_path: Path) -> None:
    body = bytearray((claim.folder / f"{claim.outcome.states[1]}.state").read_bytes())
    body[-1] ^= 1
    path, name = write(tmp_path, bytes(body))
    swapped = replayed(claim.replay(2, state_path=path))
    renamed = replayed(claim.replay(2, state_path=path, state=name))
    for found, said in ((swapped, "SHA-256"), (renamed, "fingerprint")):
        assert (found.start_ok, found.end, found.free_steps) == (False, "", 0.0)
        assert found.why.startswith("state: ")
        assert said in found.why


def test_a_forged_segment_has_another_end(claim: Claim, tmp_path: Path) -> None:
    forged = {name: np.array(array) for name, array in state_of(claim, 1).items()}
    flat = forged["parameters"].reshape(-1)
    flat[int(np.argmax(np.abs(flat)))] *= 0.5
    if claim.job.arithmetic == "exact-1":
        flat[:] = np.rint(flat * 2.0**16) / 2.0**16
    name, body = pack(forged)
    path, _ = write(tmp_path, body)
    found = replayed(claim.replay(2, state_path=path, state=name, leaf=fingerprint(forged)))
    assert found.start_ok
    assert found.end not in ("", claim.outcome.checkpoints[2])
    other = replayed(claim.replay(2, job=replace(claim.job, seed=1)))
    assert (other.start_ok, other.end == claim.outcome.checkpoints[2]) == (True, False)


def spoilt(claim: Claim, change: Callable[[dict[str, Any]], Any], folder: Path) -> Replay:
    """To replay segment 2 from a state that the claim itself commits to, changed."""
    state = {name: np.array(array) for name, array in state_of(claim, 1).items()}
    change(state)
    name, body = pack(state)
    path, _ = write(folder, body)
    return claim.replay(2, state_path=path, state=name, leaf=fingerprint(state))


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (lambda state: state["parameters"].fill(2.0**-30), "leaf: exact-1 keeps parameters at multiples"),
        (lambda state: state["parameters"].fill(5.0), "inside [-4.0, 4.0]"),
        (lambda state: state["parameters"].fill(np.nan), "leaf: 'parameters' must hold finite"),
        (lambda state: state.update(step=np.array(1)), "leaf: segment 2 starts after"),
        (lambda state: state["0.clock"].fill(1 / 0.9), "leaf: no step can be taken"),
        (lambda state: state["0.clock"].fill(1e300), "leaf: no step can be taken"),
        (lambda state: state.update(step=np.array([1])), "state: 'step' must be I64 ()"),
        (lambda state: state.update(extra=np.zeros(3)), "state: 'extra' does not belong"),
        (lambda state: state.pop("parameters"), "state: 'parameters' is missing"),
        (lambda state: state.update(step=np.array(5, np.int32)), "state: the data must have"),
    ],
)
def test_a_state_that_no_training_leaves_is_refused(
    change: Callable[[dict[str, Any]], Any], said: str, exact: Claim, tmp_path: Path
) -> None:
    found = run(spoilt(exact, change, tmp_path), lambda _: None)
    assert isinstance(found, Replayed)
    assert (found.start_ok, found.end, found.free_steps) == (False, "", 0.0)
    assert said in found.why
    assert len(found.why) < 500


@pytest.mark.parametrize("value", [np.nan, np.inf])
def test_a_segment_that_diverges_is_a_failure(value: float, exact: Claim, tmp_path: Path) -> None:
    found = run(spoilt(exact, lambda state: state["0.first"].fill(value), tmp_path), lambda _: None)
    assert isinstance(found, Failure)
    assert (found.kind, found.number) == ("diverged", 9)


@pytest.mark.parametrize(
    ("changes", "kind", "said"),
    [
        ({"segment": 4}, "error", "segments 0 to 3"),
        ({"segment": -1}, "error", "segments 0 to 3"),
        ({"segment": 0}, "error", "Leave it out"),
        ({"leaf": None}, "error", "starts from a state"),
        ({"state_path": "nowhere"}, "environment", "No such file"),
    ],
)
def test_a_replay_that_makes_no_sense_speaks_against_nobody(
    changes: dict[str, Any], kind: str, said: str, exact: Claim
) -> None:
    failure = run(exact.replay(1, **changes), lambda _: None)
    assert isinstance(failure, Failure)
    assert (failure.kind, failure.number, failure.seed) == (kind, 9, 0)
    assert said in failure.detail


# Weighing


def test_an_honest_claim_is_not_found_wanting(claim: Claim) -> None:
    outcome = claim.outcome
    assert weighed(claim.weigh()) == Weighed(
        number=8,
        passed=True,
        why="",
        correct=outcome.correct,
        examples=outcome.examples,
        free_steps=outcome.settling.free_steps,
    )


def test_a_spectral_cap_on_what_is_weighed_does_not_condemn_an_honest_claim(tmp_path: Path) -> None:
    gamma = MLP.by_name["gamma"].table[0]
    claim = train(tmp_path, genome(spectral="clip", gamma=gamma), "fp32")
    assert weighed(claim.weigh(flips_allowed=4)).passed


def test_sweeps_that_a_tolerance_decides_are_not_guessed(tmp_path: Path) -> None:
    claim = train(tmp_path, genome(stop="tolerance", tolerance=1e-2, free_steps=8), "fp32")
    found = weighed(claim.weigh())
    assert 1.0 <= claim.outcome.settling.free_steps < 8.0
    assert (found.passed, found.free_steps) == (True, 0.0)


def test_swapped_weights_are_seen(claim: Claim, tmp_path: Path) -> None:
    found = weigh_body(claim, tmp_path, pack({n: np.array(-a) for n, a in parameters(claim).items()})[1])
    assert not found.passed
    assert found.why.startswith(f"predictions: {found.mismatches} of {claim.outcome.examples}")
    assert found.correct == claim.outcome.correct


def shifted(claim: Claim) -> bytes:
    body = (claim.folder / f"{claim.outcome.predictions}.predictions").read_bytes()
    return body[2:] + body[:2]


def test_shifted_predictions_are_seen(claim: Claim, tmp_path: Path) -> None:
    path, name = write(tmp_path, shifted(claim))
    found = weighed(claim.weigh(predictions_path=path, predictions=name))
    assert (found.passed, found.why[:13]) == (False, "predictions: ")
    assert found.mismatches > claim.outcome.examples // 2


def test_as_many_flips_as_allowed_are_forgiven(claim: Claim, tmp_path: Path) -> None:
    classes = np.frombuffer(
        (claim.folder / f"{claim.outcome.predictions}.predictions").read_bytes(), "<u2"
    ).copy()
    right = np.flatnonzero(classes == LABELS)[:2]
    classes[right] = (classes[right] + 1) % 10
    path, name = write(tmp_path, classes.tobytes())
    request = claim.weigh(
        predictions_path=path, predictions=name, correct=claim.outcome.correct - 2, flips_allowed=2
    )
    assert (weighed(request).passed, weighed(request).mismatches) == (True, 2)
    assert weighed(replace(request, flips_allowed=1)).why.startswith("predictions: 2 of ")


@pytest.mark.parametrize("changes", [{"correct": 1}, {"correct": -1}, {"examples": 1}])
def test_an_accuracy_that_is_not_that_of_the_predictions_is_seen(
    changes: dict[str, int], claim: Claim
) -> None:
    wrong = {name: getattr(claim.outcome, name) + more for name, more in changes.items()}
    found = weighed(claim.weigh(**wrong))
    assert (found.passed, found.why[:10]) == (False, "accuracy: ")
    assert (found.mismatches, found.correct) == (0, claim.outcome.correct)


@pytest.mark.parametrize(
    ("make", "said"),
    [
        (lambda body: body[:-2], "bytes for"),
        (lambda body: body + b"\0\0", "may have"),
        (lambda _: b"", "bytes for"),
        (lambda _: PICKLE * 1000, "may have"),
    ],
)
def test_other_bytes_are_no_predictions(
    make: Callable[[bytes], bytes], said: str, exact: Claim, tmp_path: Path
) -> None:
    path, name = write(tmp_path, make(shifted(exact)))
    found = weighed(exact.weigh(predictions_path=path, predictions=name))
    assert (found.passed, found.why[:13], said in found.why) == (False, "predictions: ", True)
    other = weighed(exact.weigh(predictions="0" * 64))
    assert (other.passed, "SHA-256" in other.why) == (False, True)


def changed(claim: Claim, **arrays: Any) -> bytes:
    return pack({**parameters(claim), **arrays})[1]


def with_one(claim: Claim, value: float) -> bytes:
    found = {name: np.array(array) for name, array in parameters(claim).items()}
    found["b1"][0] = value
    return pack(found)[1]


HOSTILE: dict[str, tuple[Callable[[Claim], bytes], str]] = {
    "a header of 100 MB": (lambda c: (100 * 2**20).to_bytes(8, "little") + changed(c)[8:], "104857600"),
    "NaN": (lambda c: with_one(c, np.nan), "finite"),
    "infinite": (lambda c: with_one(c, np.inf), "finite"),
    "another dtype": (lambda c: changed(c, b1=parameters(c)["b1"].astype(np.float16)), "the data must have"),
    "integers": (
        lambda c: changed(c, b1=parameters(c)["b1"].view(f"i{parameters(c)['b1'].itemsize}")),
        "'b1' must be F",
    ),
    "another shape": (lambda c: changed(c, b1=parameters(c)["b1"].reshape(3, 4)), "'b1' must be F"),
    "an extra array": (lambda c: changed(c, b9=np.zeros(1)), "'b9' does not belong here"),
    "a pickle": (lambda _: PICKLE, "header"),
    "a bomb": (lambda _: zlib.compress(bytes(2**24)), "header"),
    "truncated": (lambda c: changed(c)[:-8], "the data must have"),
    "trailing bytes": (lambda c: changed(c) + b"\0", "the data must have"),
    "nothing": (lambda _: b"", "header"),
    "more than a learner's": (lambda _: bytes(10**6), "may have"),
}


@pytest.mark.parametrize("name", HOSTILE)
def test_hostile_weights_are_refused_in_words(name: str, claim: Claim, tmp_path: Path) -> None:
    make, said = HOSTILE[name]
    found = weigh_body(claim, tmp_path, make(claim))
    assert (found.passed, found.why[:9]) == (False, "weights: ")
    assert said in found.why
    assert (found.mismatches, found.correct, found.examples) == (0, 0, claim.outcome.examples)


@pytest.mark.parametrize("value", [2.0**-40, 4.5, 1e300])
def test_weights_off_the_grid_of_the_exact_class_are_refused(
    value: float, exact: Claim, tmp_path: Path
) -> None:
    found = weigh_body(exact, tmp_path, with_one(exact, value))
    assert (found.passed, found.why[:9]) == (False, "weights: ")
    assert "grid" in found.why or "finite" in found.why


def test_weights_under_another_name_are_refused(exact: Claim) -> None:
    found = weighed(exact.weigh(weights="0" * 64))
    assert (found.passed, "SHA-256" in found.why) == (False, True)


@pytest.mark.parametrize(
    ("changes", "kind"),
    [
        ({"task_id": "0" * 64}, "environment"),
        ({"genome_id": "0" * 64}, "error"),
        ({"genome": b"\xc1"}, "refused"),
        ({"limits": CostLimits(bytes=1)}, "refused"),
        ({"arithmetic": "task"}, "error"),
        ({"weights_path": "nowhere"}, "environment"),
        ({"predictions_path": "nowhere"}, "environment"),
    ],
)
def test_what_cannot_be_weighed_here_speaks_against_nobody(
    changes: dict[str, Any], kind: str, exact: Claim
) -> None:
    failure = run(exact.weigh(**changes), lambda _: None)
    assert isinstance(failure, Failure)
    assert (failure.kind, failure.number) == (kind, 8)


# Functions


def function_weigh() -> Weigh:
    asked = function_job("Bowl", GOOD)
    return Weigh(
        number=8,
        task=asked.task,
        task_id=asked.task_id,
        tier=asked.tier,
        genome=asked.genome,
        genome_id=asked.genome_id,
        arithmetic="task",
        weights_path="",
        weights="",
        predictions_path="",
        predictions="",
        correct=0,
        examples=0,
        flips_allowed=0,
    )


def test_a_function_is_replayed_as_a_whole() -> None:
    outcome = run(function_job("Bowl", GOOD), lambda _: None)
    assert isinstance(outcome, Outcome)
    assert outcome.checkpoints == (objectives_fingerprint(outcome.objectives),)
    found = replayed(Replay(number=9, job=function_job("Bowl", GOOD), segment=0))
    assert found == Replayed(number=9, end=outcome.checkpoints[0])
    other = replayed(Replay(number=9, job=function_job("Bowl", {**GOOD, "a": 0.4}), segment=0))
    assert other.end != found.end


def test_a_function_has_one_segment_and_no_weights() -> None:
    failure = run(Replay(number=9, job=function_job("Bowl", GOOD), segment=1), lambda _: None)
    assert isinstance(failure, Failure)
    assert (failure.kind, "segment 0" in failure.detail) == ("error", True)
    failure = run(function_weigh(), lambda _: None)
    assert isinstance(failure, Failure)
    assert (failure.kind, "no weights" in failure.detail) == ("refused", True)


# Workers


async def test_a_worker_weighs_and_replays_and_lives_on(exact: Claim, tmp_path: Path) -> None:
    path, name = write(tmp_path, b"\xff" * 1000)
    async with open_pool(PoolSettings(workers=1, nice=0)) as pool:
        (worker,) = pool._running
        found = await pool.weigh(exact.weigh())
        assert isinstance(found, Weighed)
        assert found.passed
        hostile = await pool.weigh(exact.weigh(weights_path=path, weights=name))
        assert isinstance(hostile, Weighed)
        assert hostile.why.startswith("weights: ")
        refused = await pool.weigh(function_weigh())
        assert isinstance(refused, Failure)
        again = await pool.replay(exact.replay(3))
        assert isinstance(again, Replayed)
        assert again.end == exact.outcome.checkpoints[3]
        assert pool._running == {worker}


async def test_a_worker_that_ends_in_a_replay_is_a_failure() -> None:
    endless = Replay(number=9, job=function_job("Endless", BAD, deadline_s=60.0), segment=0)
    results: list[Replayed | Failure] = []
    async with open_pool(PoolSettings(workers=1, nice=0)) as pool:
        assert isinstance(await pool.run(function_job("Bowl", GOOD)), Outcome)
        (worker,) = pool._running
        async with trio.open_nursery() as nursery:

            async def replay() -> None:
                results.append(await pool.replay(endless))

            nursery.start_soon(replay)
            await trio.testing.wait_all_tasks_blocked(0.05)
            os.kill(worker.process.pid, signal.SIGKILL)
        (result,) = results
        assert isinstance(result, Failure)
        assert (result.kind, result.number, "signal 9" in result.detail) == ("crashed", 9, True)
        late = await pool.replay(replace(endless, job=replace(endless.job, deadline_s=0.3)))
        assert isinstance(late, Failure)
        assert late.kind == "deadline"


def smallest_halved() -> float:
    """Half of the smallest normal number: zero where subnormal numbers are flushed."""
    return float(torch.full((64,), float(np.finfo(np.float32).tiny)).mul(0.5).sum())


def test_fast_arithmetic_flushes_subnormals_and_leaves_the_process_as_it_was(evidence: Path) -> None:
    asked = claimed(evidence, "fp32").job
    seen: list[float] = []
    assert smallest_halved() > 0
    run(asked, lambda _: seen.append(smallest_halved()))
    assert seen
    assert max(seen) == 0
    assert smallest_halved() > 0
