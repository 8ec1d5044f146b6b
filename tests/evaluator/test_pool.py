"""Real worker processes: whatever a genome or a task does to one of them, the pool lives on."""

import os
import signal
from collections.abc import AsyncIterator, Callable

import msgspec
import pytest
import trio
import trio.testing

from evaluator.errors import EvaluatorError
from evaluator.jobs import CostLimits, Failure, Job, Outcome, Progress, Result
from evaluator.pool import Pool, PoolSettings, open_pool
from genome import preset
from tests.support.jobs import function_job, job

GOOD = {"a": 0.3, "b": 0.7, "mood": "good"}
BAD = {**GOOD, "mood": "bad"}


@pytest.fixture
async def pool() -> AsyncIterator[Pool]:
    async with open_pool(PoolSettings(workers=1, nice=0)) as opened:
        yield opened


async def works_again(pool: Pool) -> bool:
    result = await pool.run(function_job("Bowl", GOOD))
    return isinstance(result, Outcome) and result.objectives == {"near": 0.0, "cheap": 1.0}


@pytest.mark.parametrize(
    ("task", "kind", "said"),
    [
        ("Raiser", "error", "ArithmeticError: the bowl is upset"),
        ("Hungry", "out-of-memory", "memory limit"),
        ("Suicidal", "crashed", "exit status 7: farewell"),
        ("NotANumber", "error", "near"),
        ("Endless", "deadline", "within its 0.5 s"),
    ],
)
async def test_a_failure_is_told_and_the_pool_lives_on(pool: Pool, task: str, kind: str, said: str) -> None:
    result = await pool.run(function_job(task, BAD, deadline_s=0.5 if kind == "deadline" else 30.0))
    assert isinstance(result, Failure)
    assert result.kind == kind
    assert said in result.detail
    assert await works_again(pool)


async def test_what_a_task_prints_does_not_reach_the_frames(pool: Pool) -> None:
    assert isinstance(await pool.run(function_job("Talkative", GOOD)), Outcome)


async def test_a_killed_worker_is_a_failure_and_is_replaced(pool: Pool) -> None:
    assert await works_again(pool)
    (worker,) = pool._running
    results: list[Result] = []

    async with trio.open_nursery() as nursery:

        async def run() -> None:
            results.append(await pool.run(function_job("Endless", BAD, deadline_s=60.0)))

        nursery.start_soon(run)
        await trio.testing.wait_all_tasks_blocked(0.05)
        os.kill(worker.process.pid, signal.SIGKILL)
    (result,) = results
    assert isinstance(result, Failure)
    assert (result.kind, "signal 9" in result.detail) == ("crashed", True)
    assert await works_again(pool)


async def test_a_worker_that_ended_while_idle_costs_no_job(pool: Pool) -> None:
    assert await works_again(pool)
    (worker,) = pool._running
    os.kill(worker.process.pid, signal.SIGKILL)
    await worker.process.wait()
    assert await works_again(pool)


async def test_a_worker_that_is_killed_while_it_starts_is_started_again(pool: Pool) -> None:
    (worker,) = pool._running
    assert worker.ready is None
    os.kill(worker.process.pid, signal.SIGKILL)
    assert await works_again(pool)


def test_a_pool_without_workers_is_refused() -> None:
    with pytest.raises(EvaluatorError, match="at least one worker"):
        PoolSettings(workers=0)


async def test_a_cancelled_job_leaves_no_worker_behind() -> None:
    async with open_pool(PoolSettings(workers=1, nice=0)) as pool:
        assert await works_again(pool)
        (worker,) = pool._running
        with trio.move_on_after(0.3):
            await pool.run(function_job("Endless", BAD, deadline_s=60.0))
        assert worker.process.returncode == -signal.SIGKILL
        assert await works_again(pool)
        (last,) = pool._running
    assert last.process.returncode is not None


async def test_a_worker_is_replaced_after_its_jobs() -> None:
    async with open_pool(PoolSettings(workers=1, jobs_before_restart=2, nice=0)) as pool:
        (first,) = pool._running
        assert await works_again(pool)
        assert pool._running == {first}
        assert await works_again(pool)
        assert first.process.returncode is not None
        assert await works_again(pool)
        (second,) = pool._running
        assert second is not first


async def test_a_worker_that_cannot_start_is_an_error_in_words() -> None:
    with pytest.raises(ExceptionGroup) as caught:
        async with open_pool(PoolSettings(workers=1, memory_bytes=2**24, nice=0)) as pool:
            await works_again(pool)
    assert caught.group_contains(EvaluatorError, match="16 MiB")


async def test_a_worker_ends_with_its_parent() -> None:
    """The pipe's end ends the worker, also in the middle of a job."""
    async with open_pool(PoolSettings(workers=1, nice=0)) as pool:
        assert await works_again(pool)
        (worker,) = pool._running
        await worker.send(function_job("Endless", BAD))
        await worker._stdin.aclose()
        with trio.fail_after(300):
            assert await worker.process.wait() == 0


@pytest.mark.parametrize(
    ("make", "kind", "said"),
    [
        (lambda: job(task_id="0" * 64), "environment", "same version of the task"),
        (lambda: job(genome_id="0" * 64), "error", "its bytes are"),
        (lambda: msgspec.structs.replace(job(), genome=b"\xc1"), "refused", "MessagePack"),
        (lambda: job(limits=CostLimits(bytes=1)), "refused", "at most 1 bytes"),
        (lambda: job(split="test"), "refused", "test split"),
        (lambda: job(preset("backprop"), arithmetic="exact-1"), "refused", "exact-1"),
    ],
)
async def test_a_job_that_cannot_be_done_is_refused_in_words(
    pool: Pool, make: Callable[[], Job], kind: str, said: str
) -> None:
    result = await pool.run(make())
    assert isinstance(result, Failure)
    assert result.kind == kind
    assert said in result.detail


async def test_a_network_is_trained_and_measured(pool: Pool) -> None:
    heard: list[Progress] = []
    result = await pool.run(job(), on_progress=heard.append)
    assert isinstance(result, Outcome)
    assert 0.3 < result.objectives["accuracy"] <= 1.0
    assert heard[-1].done == 1.0
    assert (result.backend, result.arithmetic) == ("torch-cpu", "fp32")
    assert len(result.checkpoints) == len(set(result.checkpoints))
    assert result.measured.train_cpu_s > 0
    assert result.examples == 120


async def test_equal_jobs_give_equal_bits_in_other_processes(pool: Pool) -> None:
    first = await pool.run(job(seed=3))
    async with open_pool(PoolSettings(workers=1, nice=0)) as other:
        second = await other.run(job(seed=3))
    third = await pool.run(job(seed=4))
    assert isinstance(first, Outcome)
    assert isinstance(second, Outcome)
    assert isinstance(third, Outcome)
    for name in ("weights", "checkpoints", "predictions", "objectives", "settling"):
        assert getattr(first, name) == getattr(second, name)
    assert third.weights != first.weights
