"""Jobs trained together come to what they come to alone."""

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import pytest
import trio

from evaluator import measure, service
from evaluator.errors import EvaluatorError
from evaluator.groups import group_key
from evaluator.jobs import (
    Batch,
    CostLimits,
    Failure,
    Job,
    Measured,
    Outcome,
    Progress,
    Replay,
    Replayed,
    Reply,
    Result,
)
from evaluator.pool import PoolSettings, open_pool
from evaluator.setups import set_up
from genome import Genome, preset
from genome.spaces import MLP
from kernels.members import Member, Population, Span, SpanReport, population_of
from tests.support.jobs import job

SMALL = {"width1": 12, "batch": 32}
ADAM = {"optimizer": "adam", "lr_adam": 0.01}


def genome(name: str = "shallow", **changes: Any) -> Genome:
    values = {**dict(preset(name).values), **SMALL, **changes}
    if changes.get("optimizer") == "adam":
        values = {
            gene: value
            for gene, value in values.items()
            if gene not in ("lr_muon", "lr_bias", "momentum", "ns_steps")
        }
    return MLP.genome(values)


def asked(seed: int, found: Genome | None = None, **changes: Any) -> Job:
    return job(found or genome(), **({"seed": seed, "purpose": "rescore"} | changes))


def together(jobs: Sequence[Job], heard: list[Progress] | None = None) -> list[Result]:
    """What a worker answers to a batch of these jobs, in their order, with their own numbers."""
    replies: list[Reply] = []
    numbered = [msgspec.structs.replace(each, number=number) for number, each in enumerate(jobs)]
    service.run_batch(Batch(jobs=tuple(numbered)), replies.append)
    if heard is not None:
        heard += [reply for reply in replies if isinstance(reply, Progress)]
    results = {reply.number: reply for reply in replies if isinstance(reply, Outcome | Failure)}
    return [msgspec.structs.replace(results[number], number=each.number) for number, each in enumerate(jobs)]


def alone(asked: Job) -> Result:
    result = service.run(asked, lambda _: None)
    assert isinstance(result, Outcome | Failure)
    return result


@pytest.fixture
def ungrouped(monkeypatch: pytest.MonkeyPatch) -> Callable[[Job], Result]:
    """Train a job with a learner, whatever its key says."""

    def run(asked: Job) -> Result:
        with monkeypatch.context() as patch:
            patch.setattr(measure, "group_key", lambda _: None)
            return alone(asked)

    return run


def untimed(result: Result) -> Result:
    """A result without what a clock says."""
    if isinstance(result, Failure):
        return result
    curve = tuple(msgspec.structs.replace(point, train_cpu_s=0.0) for point in result.curve)
    return msgspec.structs.replace(result, measured=Measured(), curve=curve)


GENOMES = [
    pytest.param(genome(), id="shallow"),
    pytest.param(genome("ep", estimate="random-sign"), id="ep"),
    pytest.param(genome("deep", width2=16, **ADAM), id="deep"),
    pytest.param(genome("deep", width2=16), id="deep-muon"),
]


@pytest.mark.parametrize("found", GENOMES)
@pytest.mark.parametrize("arithmetic", ["fp32", "exact-1"])
def test_company_changes_nothing(found: Genome, arithmetic: str) -> None:
    jobs = [asked(seed, found, arithmetic=arithmetic) for seed in range(3)]
    if group_key(jobs[0]) is None:
        assert (arithmetic, found["optimizer"]) == ("exact-1", "muon")
        return
    heard: list[Progress] = []
    results = [untimed(each) for each in together(jobs, heard)]
    assert results == [untimed(alone(each)) for each in jobs]
    assert [untimed(each) for each in together(jobs[::-1])] == results[::-1]
    assert len({each.weights for each in results if isinstance(each, Outcome)}) == 3
    for result in results:
        assert isinstance(result, Outcome)
        assert (result.backend, len(result.curve), len(result.checkpoints)) == (
            "torch-cpu-population",
            10,
            16,
        )
    assert {progress.number for progress in heard} == {0, 1, 2}
    assert [each.done for each in heard if each.number == 1][-1] == 1.0


@pytest.mark.parametrize("found", [each for each in GENOMES if each.id != "deep-muon"])
def test_in_exact_1_they_come_to_what_a_learner_comes_to(
    found: Genome, ungrouped: Callable[[Job], Result]
) -> None:
    jobs = [asked(seed, found, arithmetic="exact-1", purpose="search") for seed in range(2)]
    for together_, single in zip(together(jobs), map(ungrouped, jobs), strict=True):
        assert isinstance(together_, Outcome)
        assert isinstance(single, Outcome)
        assert single.backend == "torch-cpu"
        assert untimed(msgspec.structs.replace(together_, backend="torch-cpu")) == untimed(single)


def test_in_fp32_they_come_close_to_it(ungrouped: Callable[[Job], Result]) -> None:
    """Other bits, the same network: its predictions differ for no example here, its curve in no point."""
    asked_ = asked(1)
    pair = alone(asked_), ungrouped(asked_)
    first, second = (each for each in pair if isinstance(each, Outcome))
    assert first.weights != second.weights
    assert [point.accuracy for point in first.curve] == pytest.approx(
        [point.accuracy for point in second.curve], abs=0.02
    )
    for name, value in first.settling.spectral_norm.items():
        assert value == pytest.approx(second.settling.spectral_norm[name], rel=1e-3)


class Stricken:
    """A population whose second member diverges at a step, whatever it does."""

    def __init__(self, inner: Population, at: int) -> None:
        self._inner, self._at = inner, at
        self.backend, self.size = inner.backend, inner.size
        self.hold, self.predict = inner.hold, inner.predict
        self.parameters, self.state = inner.parameters, inner.state
        self._done = 0

    def run(self, spans: Sequence[Span]) -> list[SpanReport]:
        reports = self._inner.run(spans)
        here = self._at - self._done
        self._done += len(spans[0].rows)
        if 1 <= here <= len(spans[0].rows) and self.size > 1:
            reports[1] = SpanReport(0.0, 0.0, 0.0, here)
        return reports


def test_a_member_that_diverges_is_its_own_failure(monkeypatch: pytest.MonkeyPatch) -> None:
    jobs = [asked(seed) for seed in range(3)]
    expected = [untimed(alone(each)) for each in jobs]

    def stricken(members: Sequence[Member], **settings: Any) -> Population:
        return Stricken(population_of(members, **settings), at=5)

    monkeypatch.setattr(measure, "population_of", stricken)
    first, failed, last = together(jobs)
    assert isinstance(failed, Failure)
    assert (failed.kind, failed.seed) == ("diverged", 1)
    assert "of 16 training steps, states or weights are not finite at step 5" in failed.detail
    assert [untimed(first), untimed(last)] == [expected[0], expected[2]]


def test_in_exact_1_company_changes_nothing_at_the_largest_rates_either(
    ungrouped: Callable[[Job], Result],
) -> None:
    found = MLP.genome({**dict(genome("ep").values), "lr_sgd": 1.0, "momentum": 0.98})
    jobs = [asked(seed, found, arithmetic="exact-1") for seed in range(2)]
    assert [untimed(each) for each in together(jobs)] == [
        untimed(
            msgspec.structs.replace(each, backend="torch-cpu-population")
            if isinstance(each, Outcome)
            else each
        )
        for each in map(ungrouped, jobs)
    ]


def test_what_a_job_is_refused_for_is_its_own_failure() -> None:
    limits = CostLimits(bytes=1)
    results = together([asked(0), asked(1, limits=limits), asked(2, task_id="0" * 64)])
    assert isinstance(results[0], Outcome)
    kinds = [each.kind for each in results[1:] if isinstance(each, Failure)]
    assert kinds == ["refused", "environment"]


def test_memory_that_runs_out_is_told_to_all(monkeypatch: pytest.MonkeyPatch) -> None:
    def starved(_members: Sequence[Member], **_settings: Any) -> Population:
        raise MemoryError

    monkeypatch.setattr(measure, "population_of", starved)
    results = together([asked(0), asked(1)])
    assert [each.kind for each in results if isinstance(each, Failure)] == ["out-of-memory"] * 2


@pytest.fixture
def evidence(tmp_path: Path) -> tuple[Path, list[Result]]:
    jobs = [
        asked(seed, arithmetic="exact-1", evidence=True, spool=str(tmp_path), checkpoints=4)
        for seed in range(2)
    ]
    return tmp_path, together(jobs)


def test_evidence_of_a_group_is_replayed_with_a_network_alone(evidence: tuple[Path, list[Result]]) -> None:
    folder, results = evidence
    for result in results:
        assert isinstance(result, Outcome)
        assert len(result.states) == len(result.checkpoints) == 4
        assert (folder / f"{result.predictions}.predictions").exists()
        again = asked(result.seed, arithmetic="exact-1", checkpoints=4)
        for segment in (0, 3):
            start = None if segment == 0 else result.states[segment - 1]
            replay = Replay(
                number=1,
                job=again,
                segment=segment,
                state=start,
                state_path=None if start is None else str(folder / f"{start}.state"),
                leaf=None if start is None else result.checkpoints[segment - 1],
            )
            found = service.run(replay, lambda _: None)
            assert isinstance(found, Replayed)
            assert (found.start_ok, found.end) == (True, result.checkpoints[segment])


def test_an_fp32_training_of_a_population_is_not_replayed_with_other_bits() -> None:
    found = service.run(Replay(number=1, job=asked(0), segment=0), lambda _: None)
    assert isinstance(found, Failure)
    assert "runs in a population" in found.detail


def test_plans_that_differ_are_refused() -> None:
    setups = [
        set_up(each, *service._subject(each))
        for each in (asked(0), asked(0, genome(batch=16)))  # type: ignore[arg-type]
    ]
    members = [measure._member(setup) for setup in setups[:1]]
    with pytest.raises(EvaluatorError, match="key and schedule"):
        measure.train_population(
            population_of(members, arithmetic="fp32"),
            np.zeros((1, 64), np.float32),
            np.zeros(1, np.int64),
            [setup.plan for setup in setups],
            score=None,
        )


async def test_a_real_worker_trains_a_group() -> None:
    jobs = [asked(seed) for seed in range(2)]
    async with open_pool(PoolSettings(workers=1, nice=0)) as pool:
        worker_results: dict[int, Result] = {}

        async def one(seed: int) -> None:
            worker_results[seed] = await pool.run(jobs[seed])

        async with trio.open_nursery() as nursery:
            for seed in range(2):
                nursery.start_soon(one, seed)
        (worker,) = pool._running
        assert worker.jobs == 2
    assert [untimed(worker_results[seed]) for seed in range(2)] == [untimed(alone(each)) for each in jobs]
