"""Who shares a launch, and whom its end is owed to: a pool of workers that do what the seeds say."""

import sys
from collections import Counter
from collections.abc import AsyncIterator, Sequence
from typing import Any

import pytest
import trio
import trio.testing

import evaluator.pool
from evaluator.errors import EvaluatorError
from evaluator.gathering import Line
from evaluator.groups import group_key
from evaluator.jobs import Failure, Job, Outcome, Progress, Result
from evaluator.pool import Pool, PoolSettings, open_pool
from genome import Genome, preset
from genome.spaces import MLP
from tests.evaluator.scripted_worker import CRASHES, DIVERGES, HANGS, HUNGRY, STRANGE
from tests.support.jobs import job


def tiny(**changes: Any) -> Genome:
    return MLP.genome({**dict(preset("shallow").values), "width1": 16, "batch": 16, **changes})


GENOME = tiny()


def seeded(seed: int, **changes: Any) -> Job:
    fields: dict[str, Any] = {"seed": seed, "purpose": "rescore", "deadline_s": 30.0, "number": 1}
    return job(changes.pop("genome", GENOME), **(fields | changes))


@pytest.fixture
def scripted(monkeypatch: pytest.MonkeyPatch) -> None:
    command = [sys.executable, "-m", "tests.evaluator.scripted_worker"]
    monkeypatch.setattr(evaluator.pool, "worker_command", lambda _settings: command)


@pytest.fixture
async def pool(scripted: None) -> AsyncIterator[Pool]:
    async with open_pool(PoolSettings(workers=1)) as opened:
        yield opened


async def together(pool: Pool, jobs: Sequence[Job], heard: Counter[int] | None = None) -> list[Result]:
    """Results of jobs that wait at the same time, in their order."""
    results: dict[int, Result] = {}

    async def one(index: int, asked: Job) -> None:
        def hear(_: Progress) -> None:
            if heard is not None:
                heard[index] += 1

        results[index] = await pool.run(asked, on_progress=hear)

    async with trio.open_nursery() as nursery:
        for index, asked in enumerate(jobs):
            nursery.start_soon(one, index, asked)
    return [results[index] for index in range(len(jobs))]


def company(result: Result) -> int:
    assert isinstance(result, Outcome), result
    return int(result.objectives["company"])


async def test_jobs_of_one_key_that_wait_share_a_launch(pool: Pool) -> None:
    heard: Counter[int] = Counter()
    jobs = [seeded(seed) for seed in range(5)]
    assert len({group_key(each) for each in jobs}) == 1
    found = await together(pool, jobs, heard)
    assert [company(each) for each in found] == [5] * 5
    # All have the same number, but each hears of itself and gets its own.
    assert [(each.seed, each.number) for each in found] == [(seed, 1) for seed in range(5)]
    assert heard == Counter(range(5))


async def test_jobs_of_other_keys_go_apart_and_those_of_none_alone(pool: Pool) -> None:
    wide = tiny(width1=24)
    jobs = [
        seeded(0),
        seeded(0, genome=wide),
        seeded(1),
        seeded(1, genome=wide),
        seeded(2),
        seeded(3, purpose="search"),
    ]
    assert [company(each) for each in await together(pool, jobs)] == [3, 2, 3, 2, 3, 1]


async def test_a_launch_has_at_most_as_many_jobs_as_lanes(scripted: None) -> None:
    async with open_pool(PoolSettings(workers=1, lanes=4)) as pool:
        found = await together(pool, [seeded(seed) for seed in range(10)])
    assert Counter(map(company, found)) == {4: 8, 2: 2}


async def test_one_lane_is_for_nobody_else(scripted: None) -> None:
    async with open_pool(PoolSettings(workers=1, lanes=1)) as pool:
        assert [company(each) for each in await together(pool, [seeded(0), seeded(1)])] == [1, 1]


async def test_idle_workers_get_their_share(scripted: None) -> None:
    async with open_pool(PoolSettings(workers=2)) as pool:
        found = await together(pool, [seeded(seed) for seed in range(8)])
    # Whoever is ready first leaves half of them to the other worker, even if it is done before that one is ready.
    assert max(map(company, found)) == 4


@pytest.mark.parametrize(
    ("bad", "kind", "said"),
    [
        (CRASHES, "crashed", "farewell"),
        (STRANGE, "crashed", "Progress"),
        (HUNGRY, "out-of-memory", "no more"),
    ],
)
async def test_who_fells_a_launch_is_found_out(pool: Pool, bad: int, kind: str, said: str) -> None:
    *good, failed = await together(pool, [*(seeded(seed) for seed in range(3)), seeded(bad)])
    assert isinstance(failed, Failure)
    assert (failed.kind, failed.number, said in failed.detail) == (kind, 1, True)
    # Who had an answer keeps it, the others are run again, alone.
    assert sorted(map(company, good)) == (
        [1, 1, 1] if bad == HUNGRY else [1, 1, 4] if bad == CRASHES else [1, 1, 1]
    )
    assert company((await together(pool, [seeded(5)]))[0]) == 1


async def test_a_launch_has_the_time_of_all_its_jobs_and_each_its_own_afterwards(pool: Pool) -> None:
    jobs = [seeded(0, deadline_s=0.8), seeded(1, deadline_s=0.8), seeded(HANGS, deadline_s=0.2)]
    with trio.fail_after(300):
        first, second, failed = await together(pool, jobs)
    assert sorted([company(first), company(second)]) == [1, 3]
    assert isinstance(failed, Failure)
    assert (failed.kind, "0.2 s" in failed.detail) == ("deadline", True)


@pytest.mark.parametrize("lanes", [1, 16])
async def test_a_crowd_leaves_spare_workers_to_others(scripted: None, lanes: int) -> None:
    async with open_pool(PoolSettings(workers=2, spare=1, lanes=lanes)) as pool:
        with trio.fail_after(300), trio.move_on_after(40) as crowd:
            async with trio.open_nursery() as nursery:
                for width in (8, 12, 16):
                    nursery.start_soon(pool.run, seeded(HANGS, genome=tiny(width1=width)))
                await trio.testing.wait_all_tasks_blocked(0.05)
                found = [await pool.run(seeded(seed, purpose="search")) for seed in range(2)]
                crowd.cancel()
    assert [company(each) for each in found] == [1, 1]


@pytest.mark.parametrize("wrong", [{"spare": 2}, {"spare": -1}, {"lanes": 0}])
def test_settings_without_sense_are_refused(wrong: dict[str, int]) -> None:
    with pytest.raises(EvaluatorError, match="a pool"):
        PoolSettings(workers=2, **wrong)


async def test_numbers_that_fail_are_the_jobs_own(pool: Pool) -> None:
    found = await together(pool, [seeded(0), seeded(DIVERGES), seeded(1)])
    assert isinstance(found[1], Failure)
    assert found[1].kind == "diverged"
    assert [company(found[0]), company(found[2])] == [3, 3]


async def test_a_waiting_job_that_is_cancelled_is_not_done(pool: Pool) -> None:
    results: list[Result] = []
    with trio.CancelScope() as scope:
        async with trio.open_nursery() as nursery:

            async def one(seed: int) -> None:
                results.append(await pool.run(seeded(seed)))

            async def forsaken() -> None:
                with trio.CancelScope() as cancelled:
                    nursery.start_soon(cancel_soon, cancelled)
                    await pool.run(seeded(HANGS))

            async def cancel_soon(cancelled: trio.CancelScope) -> None:
                cancelled.cancel()

            nursery.start_soon(forsaken)
            nursery.start_soon(one, 0)
            nursery.start_soon(one, 1)
    assert not scope.cancelled_caught
    assert [company(each) for each in results] == [2, 2]
    assert len(pool._line) == 0


async def running(
    pool: Pool, heard: trio.Event, scope: trio.CancelScope, seed: int, out: list[Result]
) -> None:
    with scope:
        out.append(await pool.run(seeded(seed), on_progress=lambda _: heard.set()))


async def test_a_running_job_that_is_cancelled_leaves_its_company_alone(pool: Pool) -> None:
    scopes, heard, out = [trio.CancelScope() for _ in range(3)], trio.Event(), list[Result]()
    with trio.fail_after(300):
        async with trio.open_nursery() as nursery:
            for scope, seed in zip(scopes, (0, HANGS, 1), strict=True):
                nursery.start_soon(running, pool, heard, scope, seed, out)
            await heard.wait()
            (worker,) = pool._running
            scopes[0].cancel()
            await trio.testing.wait_all_tasks_blocked(0.05)
            assert worker.process.returncode is None
            scopes[1].cancel()
            scopes[2].cancel()
        # Nobody waited for it any more.
        assert worker.process.returncode is not None
        assert company((await together(pool, [seeded(5)]))[0]) == 1


async def test_workers_that_cannot_start_are_told_to_every_caller(
    scripted: None,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(evaluator.pool, "worker_command", lambda _settings: [sys.executable, "-c", "pass"])
    with pytest.raises(ExceptionGroup) as caught:
        async with open_pool(PoolSettings(workers=1)) as pool:
            await together(pool, [seeded(0), seeded(1)])
    assert caught.group_contains(Exception, match="must start and say that it is ready")


def test_searches_ask_for_more_only_where_launches_fill() -> None:
    async def asked() -> list[int]:
        async with trio.open_nursery() as nursery:
            pool = Pool(PoolSettings(workers=2, lanes=8), nursery)
        return [
            pool.asks_per_worker("fp32"),
            pool.asks_per_worker("exact-1"),
            pool.asks_per_worker("fp32", "triton"),
        ]

    assert trio.run(asked) == [1, 1, 8]


def test_a_line_gives_the_oldest_of_a_key_first_and_leaves_a_share() -> None:
    line: Line[int] = Line()
    for number, key in enumerate("aabababb"):
        line.join(number, key)
    assert line.leave(1)
    assert not line.leave(1)
    assert line.gather("a", most=2, idle=0) == [0, 3]
    assert line.gather("b", most=9, idle=1) == [2, 4]
    assert line.gather("b", most=9, idle=0) == [6, 7]
    assert line.gather("c", most=9, idle=0) == []
    line.join(9, "b")
    line.join(10, "b")
    assert line.gather("b", most=9, idle=0, starting=3) == [9]
    assert len(line) == 2
