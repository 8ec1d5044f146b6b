"""The schedule is a fold: what it asks follows from the record alone."""

import hashlib
import random
from collections.abc import Sequence

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from genome import Birth, Genome, Proposal, make_strategy
from node.schedule import Ask, Done, Schedule, ask_rng, evaluation_seed
from tests.support.tasks import SPACE, TINY

WAYS = {"near": "max", "cheap": "min"}


def score(genome: Genome) -> dict[str, float]:
    a, b = float(genome["a"]), float(genome["b"])
    return {"near": -((a - 0.3) ** 2 + (b - 0.7) ** 2), "cheap": a + b}


def done(ask: Ask) -> Done:
    proposal = ask.proposal
    return Done(
        number=ask.number,
        genome=proposal.genome,
        birth=proposal.birth,
        objectives=score(proposal.genome),
        baseline=ask.baseline,
    )


def schedule(*, look_behind: int | None, recorded: Sequence[Done] = (), baselines: int = 0) -> Schedule:
    strategy = make_strategy("nsga2", SPACE, WAYS, population=8)
    fixed = [
        Proposal(SPACE.genome({"a": i / 10, "b": 0.5, "mood": "good"}), Birth((), "import/1", 0))
        for i in range(baselines)
    ]
    return Schedule(strategy, run_seed=7, baselines=fixed, look_behind=look_behind, recorded=recorded)


def run(
    plan: Schedule, limit: int, *, workers: int, rng: random.Random, stop_after: int | None = None
) -> list[Done]:
    """Play workers that finish in a random order; gives what was recorded, in order of finishing."""
    flying: list[Ask] = []
    finished: list[Done] = []
    while stop_after is None or len(finished) < stop_after:
        while len(flying) < workers:
            ask = plan.next(limit)
            if ask is None:
                break
            flying.append(ask)
        if not flying:
            break
        result = done(flying.pop(rng.randrange(len(flying))))
        plan.record(result)
        finished.append(result)
    return finished


def by_number(found: Sequence[Done]) -> list[tuple[int, str]]:
    return sorted((one.number, one.genome.id) for one in found)


@settings(max_examples=20, deadline=None)
@given(seed=st.integers(0, 10**6), cut=st.integers(0, 29), workers=st.integers(1, 4))
def test_a_resumed_reproducible_run_equals_an_unbroken_one(seed: int, cut: int, workers: int) -> None:
    whole = run(schedule(look_behind=workers), 30, workers=workers, rng=random.Random(1))
    rng = random.Random(seed)
    before = run(schedule(look_behind=workers), 30, workers=workers, rng=rng, stop_after=cut)
    after = run(schedule(look_behind=workers, recorded=before), 30, workers=workers, rng=rng)
    assert by_number(before + after) == by_number(whole)


def test_timing_changes_a_run_without_look_behind() -> None:
    """Otherwise the test above would hold for no reason."""
    runs = {
        tuple(by_number(run(schedule(look_behind=None), 40, workers=4, rng=random.Random(seed))))
        for seed in range(5)
    }
    assert len(runs) > 1


def test_without_look_behind_an_ask_never_waits() -> None:
    plan = schedule(look_behind=None)
    asks = [plan.next(50) for _ in range(50)]
    assert None not in asks
    assert len({ask.proposal.genome.id for ask in asks if ask}) == 50


def test_with_look_behind_an_ask_waits_for_what_it_has_to_see() -> None:
    plan = schedule(look_behind=2)
    first, second = plan.next(10), plan.next(10)
    assert first is not None
    assert second is not None
    assert plan.next(10) is None
    plan.record(done(second))
    assert plan.next(10) is None
    plan.record(done(first))
    assert plan.next(10) is not None


def test_a_resumed_run_asks_the_missing_numbers_first_and_no_genome_twice() -> None:
    plan = schedule(look_behind=None)
    asks = [plan.next(6) for _ in range(6)]
    kept = [done(ask) for ask in asks if ask and ask.number in (0, 2, 5)]
    again = schedule(look_behind=None, recorded=kept)
    more = [again.next(8) for _ in range(5)]
    assert [ask.number for ask in more if ask] == [1, 3, 4, 6, 7]
    ids = [one.genome.id for one in kept] + [ask.proposal.genome.id for ask in more if ask]
    assert len(ids) == len(set(ids))


@pytest.mark.parametrize(
    ("name", "look_behind", "expected"),
    [
        ("random", None, "c162179a02ae740d"),
        ("random", 3, "c162179a02ae740d"),
        ("nsga2", None, "8f4ae14cfa1f2b31"),
        ("nsga2", 3, "367f406aa6baa043"),
        ("map_elites", None, "f41fe9e6a617ebd2"),
        ("map_elites", 3, "4222833ad4281840"),
    ],
)
def test_asks_are_golden(name: str, look_behind: int | None, expected: str) -> None:
    """As they were before there were guests: a run on record would not go on as it began otherwise."""
    strategy = make_strategy(name, SPACE, WAYS, population=8)
    plan = Schedule(strategy, run_seed=7, baselines=[], look_behind=look_behind)
    found = run(plan, 150, workers=1, rng=random.Random(0))
    ids = "\n".join(one.genome.id for one in found)
    assert hashlib.sha256(ids.encode()).hexdigest()[:16] == expected


@pytest.mark.parametrize("look_behind", [None, 1, 3])
def test_baselines_come_first_and_never_become_parents(look_behind: int | None) -> None:
    plan = schedule(look_behind=look_behind, baselines=2)
    found = run(plan, 40, workers=1, rng=random.Random(0))
    assert [one.baseline for one in found[:3]] == [True, True, False]
    ids = {one.genome.id for one in found if one.baseline}
    assert all(ids.isdisjoint(one.birth.parents) for one in found)


def test_a_failure_never_becomes_a_parent() -> None:
    plan = schedule(look_behind=1)
    failed = set()
    for number in range(60):
        ask = plan.next(60)
        assert ask is not None
        assert failed.isdisjoint(ask.proposal.birth.parents)
        result = done(ask)
        if number % 3 == 0:
            failed.add(ask.proposal.genome.id)
            result = Done(
                number=number,
                genome=result.genome,
                birth=result.birth,
                objectives=None,
                baseline=False,
            )
        plan.record(result)


def test_a_small_space_ends_the_run() -> None:
    strategy = make_strategy("random", TINY, WAYS)
    plan = Schedule(strategy, run_seed=1, baselines=[], look_behind=None)
    asks = [plan.next(100) for _ in range(7)]
    assert [ask is None for ask in asks] == [False] * 6 + [True]
    assert plan.exhausted


def test_seeds_are_golden() -> None:
    """Other values would make every recorded run another run."""
    assert ask_rng(1, 2).getrandbits(64) == ASK_1_2
    assert evaluation_seed(1, "ab", 0) == EVALUATION_1
    assert evaluation_seed(1, "ab", 1) != EVALUATION_1
    assert 0 <= evaluation_seed(2**63 - 1, "ff", 10**6) < 2**63


ASK_1_2 = 17051601831830469072
EVALUATION_1 = 8411656007696747881
