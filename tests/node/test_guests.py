"""What others found enters the search as parents, within bounds, and leaves it without a trace."""

import math
import random
from collections.abc import Callable, Iterable, Sequence

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from genome import Genome, GenomeError, SearchSpace, Strategy, make_strategy, replay
from node.schedule import Ask, Done, Guest, Schedule
from tests.node.test_schedule import WAYS, by_number, done, run, schedule, score
from tests.support.tasks import SPACE, TINY

ABSURD = {"near": 1e9, "cheap": -1e9}
POOR = {"near": -1e9, "cheap": 1e9}
VARYING = ("nsga2", "map_elites")


def genome(number: int) -> Genome:
    return SPACE.genome({"a": number / 100, "b": 1 - number / 100, "mood": "bad"})


def guests(numbers: Iterable[int], objectives: dict[str, float] | None = None) -> list[Guest]:
    return [
        Guest(genome=genome(number), objectives=objectives or score(genome(number))) for number in numbers
    ]


def ids(hosted: Sequence[Guest]) -> set[str]:
    return {guest.genome.id for guest in hosted}


def planned(name: str = "nsga2", *, space: SearchSpace = SPACE) -> tuple[Schedule, Strategy]:
    strategy = make_strategy(name, space, WAYS, population=8)
    return Schedule(strategy, run_seed=7, baselines=[], look_behind=None), strategy


def play(plan: Schedule, asks: int, measure: Callable[[Genome], dict[str, float]] = score) -> list[Ask]:
    """Ask and record so many times, one at a time."""
    played = []
    for _ in range(asks):
        ask = plan.next(10**6)
        assert ask is not None
        found = measure(ask.proposal.genome)
        plan.record(
            Done(
                number=ask.number,
                genome=ask.proposal.genome,
                birth=ask.proposal.birth,
                objectives=found,
                baseline=ask.baseline,
            )
        )
        played.append(ask)
    return played


def size(one: Genome) -> dict[str, float]:
    """Objectives of a genome of TINY."""
    return {"near": float(one["n"]), "cheap": float(one["n"])}


def parents(asks: Sequence[Ask]) -> set[str]:
    return {parent for ask in asks for parent in ask.proposal.birth.parents}


@settings(max_examples=15, deadline=None)
@given(
    look_behind=st.sampled_from((None, 1, 3)),
    hosts=st.sets(st.integers(0, 29)),
    seed=st.integers(0, 99),
    cut=st.integers(0, 29),
)
def test_hosting_and_shunning_nobody_changes_nothing(
    look_behind: int | None, hosts: set[int], seed: int, cut: int
) -> None:
    class Empty(Schedule):
        def next(self, limit: int) -> Ask | None:
            if self.finished in hosts:
                self.host([], [])
                self.shun(set())
            return super().next(limit)

    def empty(recorded: Sequence[Done] = ()) -> Empty:
        strategy = make_strategy("nsga2", SPACE, WAYS, population=8)
        return Empty(strategy, run_seed=7, baselines=[], look_behind=look_behind, recorded=recorded)

    whole = run(schedule(look_behind=look_behind), 30, workers=3, rng=random.Random(seed))
    assert run(empty(), 30, workers=3, rng=random.Random(seed)) == whole
    if look_behind == 3:
        rng = random.Random(seed)
        part = run(empty(), 30, workers=3, rng=rng, stop_after=cut)
        assert by_number(part + run(empty(part), 30, workers=3, rng=rng)) == by_number(whole)


@pytest.mark.parametrize("name", VARYING)
@pytest.mark.parametrize("tier", ["confirmed", "provisional"])
def test_guests_become_parents_while_they_are_hosted_and_never_afterwards(name: str, tier: str) -> None:
    plan, _ = planned(name)
    visiting = guests(range(0, 100, 10), ABSURD if tier == "confirmed" else None)
    former = play(plan, 40)
    plan.host(visiting if tier == "confirmed" else [], visiting if tier == "provisional" else [])
    meanwhile = play(plan, 120)
    plan.host([], [])
    afterwards = play(plan, 120)
    assert ids(visiting) & parents(meanwhile)
    assert not ids(visiting) & parents(former + afterwards)
    # As if they had never been there, but for their children, which are own records.
    record = [done(ask) for ask in former + meanwhile]
    strategy = make_strategy(name, SPACE, WAYS, population=8)
    again = Schedule(strategy, run_seed=7, baselines=[], look_behind=None, recorded=record)
    assert play(again, 120) == afterwards


@pytest.mark.parametrize("name", VARYING)
def test_those_who_stay_are_parents_and_those_who_left_are_not(name: str) -> None:
    plan, _ = planned(name)

    def apart(number: int) -> Guest:
        """No two in one cell, and none that dominates another."""
        return Guest(genome=genome(number), objectives={"near": 1e9 + number, "cheap": 2.0**number})

    plan.host([apart(10), apart(20)], [])
    assert genome(10).id in parents(play(plan, 60))
    plan.host([apart(20), apart(30)], [])
    later = parents(play(plan, 60))
    assert {genome(20).id, genome(30).id} <= later
    assert genome(10).id not in later


def test_genes_of_provisional_guests_reach_their_children() -> None:
    plan, _ = planned()

    def share(genomes: Sequence[Genome]) -> float:
        return sum(one["a"] == 0.99 for one in genomes) / len(genomes)

    before = [ask.proposal.genome for ask in play(plan, 60)]
    visitors = [
        Guest(genome=SPACE.genome({"a": 0.99, "b": b / 10, "mood": "bad"}), objectives=POOR)
        for b in range(10)
    ]
    plan.host([], visitors)
    asks = play(plan, 150)
    children = [ask.proposal.genome for ask in asks if ids(visitors).intersection(ask.proposal.birth.parents)]
    assert len(children) > 10
    # By a coin from either parent and then perhaps mutated, where one in a hundred has it by chance.
    assert share(children) > 0.2 > 0.05 > share(before)


@pytest.mark.parametrize("name", VARYING)
@pytest.mark.parametrize("confirmed", [0, 5])
@pytest.mark.parametrize("provisional", [1, 60])
def test_provisional_guests_have_at_most_their_share_of_matings(
    name: str, confirmed: int, provisional: int
) -> None:
    plan, _ = planned(name)
    waiting = guests(range(provisional), ABSURD)
    plan.host(guests(range(90, 90 + confirmed)), waiting)
    matings = some = 0
    for ask in play(plan, 500):
        chosen = ask.proposal.birth.parents
        matings += len(chosen) == 2
        some += bool(ids(waiting).intersection(chosen))
        assert some <= 0.35 * matings
    assert some > (0.25 * matings if provisional == 60 else 0)


def test_what_provisional_guests_are_said_to_reach_changes_nothing() -> None:
    """So they can displace nobody, however good the story."""
    runs = []
    for objectives in (ABSURD, POOR):
        plan, strategy = planned()
        play(plan, 30)
        plan.host(guests((1, 2)), guests(range(40, 60), objectives))
        for ask in play(plan, 200):
            chosen = ask.proposal.birth.parents
            waiting = ids(guests(range(40, 60)))
            # The first parent is the strategy's own choice, and only crosses have a second one.
            assert waiting.isdisjoint(chosen[:1])
        assert ids(guests(range(40, 60))).isdisjoint(item.genome.id for item in strategy.parents())
        runs.append([item.genome.id for item in strategy.parents()])
    assert runs[0] == runs[1]


def test_provisional_guests_wait_for_the_first_own_parent() -> None:
    plan, _ = planned()
    waiting = guests(range(20), ABSURD)
    plan.host(guests((90, 91), ABSURD), waiting)
    asks = [plan.next(200) for _ in range(100)]
    chosen = parents([ask for ask in asks if ask])
    assert ids(guests((90, 91))) <= chosen
    assert not ids(waiting) & chosen
    assert asks[0] is not None
    plan.record(done(asks[0]))
    more = [plan.next(200) for _ in range(100)]
    assert ids(waiting) & parents([ask for ask in more if ask])


def test_random_search_ignores_guests() -> None:
    alone, hosting = planned("random")[0], planned("random")[0]
    hosting.host(guests(range(5), ABSURD), guests(range(5, 9), ABSURD))
    assert play(hosting, 60) == play(alone, 60)


@settings(max_examples=10, deadline=None)
@given(order=st.permutations(range(8)), tiers=st.lists(st.booleans(), min_size=8, max_size=8))
def test_the_order_of_guests_changes_nothing(order: list[int], tiers: list[bool]) -> None:
    def asked(numbers: Iterable[int]) -> list[Ask]:
        plan, _ = planned()
        numbers = list(numbers)
        plan.host(
            guests(number for number in numbers if tiers[number]),
            guests(number for number in numbers if not tiers[number]),
        )
        return play(plan, 40)

    assert asked(order) == asked(range(8))


def test_a_genome_of_both_tiers_counts_as_confirmed() -> None:
    one, both = planned()[0], planned()[0]
    one.host(guests((1, 2), ABSURD), guests((3,)))
    both.host(guests((1, 2), ABSURD), guests((2, 3)))
    assert play(both, 60) == play(one, 60)


@pytest.mark.parametrize("resumed", [False, True])
@pytest.mark.parametrize("tier", ["confirmed", "provisional"])
def test_what_was_asked_here_counts_by_its_own_record(tier: str, resumed: bool) -> None:
    def asked(claims: dict[str, float] | None) -> list[Ask]:
        plan, _ = planned()
        found = play(plan, 30)
        if resumed:
            strategy = make_strategy("nsga2", SPACE, WAYS, population=8)
            record = [done(ask) for ask in found]
            plan = Schedule(strategy, run_seed=7, baselines=[], look_behind=None, recorded=record)
        if claims:
            visiting = [Guest(genome=ask.proposal.genome, objectives=claims) for ask in found]
            plan.host(visiting if tier == "confirmed" else [], visiting if tier == "provisional" else [])
        return play(plan, 60)

    assert asked(ABSURD) == asked(None)


def test_a_baseline_does_not_become_a_parent_as_a_guest() -> None:
    plan = schedule(look_behind=None, baselines=2)
    baselines = [ask.proposal.genome for ask in play(plan, 2)]
    claimed = [Guest(genome=baseline, objectives=ABSURD) for baseline in baselines]
    plan.host(claimed[:1], claimed[1:])
    assert parents(play(plan, 100)).isdisjoint({baseline.id for baseline in baselines})


@pytest.mark.parametrize("look_behind", [None, 3])
def test_births_replay_from_the_record_and_the_guests_of_the_ask(look_behind: int | None) -> None:
    plan = schedule(look_behind=look_behind)
    confirmed, provisional = guests(range(5), ABSURD), guests(range(50, 60))
    known: dict[str, Genome] = {}
    brought: set[str] = set()
    for number in range(120):
        if number == 20:
            plan.host(confirmed, provisional)
        ask = plan.next(200)
        assert ask is not None
        foreign = {one.id: one for one in ask.guests}
        assert set(foreign) == set(ask.proposal.birth.parents) - set(known)
        brought |= set(foreign)
        assert replay(ask.proposal.birth, SPACE, known | foreign) == ask.proposal.genome
        known[ask.proposal.genome.id] = ask.proposal.genome
        plan.record(done(ask))
    assert brought & ids(confirmed)
    assert brought & ids(provisional)


@pytest.mark.parametrize("name", ["random", *VARYING])
def test_what_others_saw_fail_is_not_asked_for(name: str) -> None:
    coming = {ask.proposal.genome.id for ask in play(planned(name)[0], 40)}
    plan, _ = planned(name)
    plan.shun(coming)
    assert coming.isdisjoint(ask.proposal.genome.id for ask in play(plan, 40))
    replaced, _ = planned(name)
    replaced.shun(coming)
    replaced.shun([])
    assert {ask.proposal.genome.id for ask in play(replaced, 40)} == coming


def test_guests_are_not_asked_for_while_they_stay() -> None:
    everything = [TINY.genome({"n": n}) for n in range(1, 7)]
    plan, _ = planned(space=TINY)
    plan.host(
        [Guest(genome=everything[0], objectives=ABSURD)],
        [Guest(genome=everything[1], objectives=ABSURD)],
    )
    assert {ask.proposal.genome for ask in play(plan, 4, size)} == set(everything[2:])
    assert plan.next(100) is None
    plan.host([], [])
    assert {ask.proposal.genome for ask in play(plan, 2, size)} == set(everything[:2])


@pytest.mark.parametrize("name", ["random", *VARYING])
def test_a_space_that_is_shunned_throughout_ends_the_run_until_it_no_longer_is(name: str) -> None:
    everything = [TINY.genome({"n": n}).id for n in range(1, 7)]
    plan, _ = planned(name, space=TINY)
    plan.shun(everything)
    assert plan.next(100) is None
    assert plan.exhausted
    plan.shun(everything[1:])
    assert not plan.exhausted
    (ask,) = play(plan, 1, size)
    assert (ask.number, ask.proposal.genome.id) == (0, everything[0])


OTHERS = TINY.genome({"n": 1})


@pytest.mark.parametrize(
    ("wrong", "match"),
    [
        ([Guest(genome=OTHERS, objectives=ABSURD)], "got a genome of space 'tiny/1'"),
        ([Guest(genome=genome(1), objectives={"near": 1.0})], "lacks 'cheap'"),
        (guests((1,), {"near": math.nan, "cheap": 1.0}), "finite objectives, got .*nan"),
        (guests((1,), {"near": 1.0, "cheap": -math.inf}), "finite objectives, got .*-inf"),
        (guests((1, 2, 1)), "each guest once, got 3 guests of 2 different genomes"),
    ],
)
@pytest.mark.parametrize("tier", [0, 1])
def test_guests_who_do_not_fit_are_refused_and_the_former_ones_stay(
    wrong: list[Guest], match: str, tier: int
) -> None:
    plan, untroubled = planned()[0], planned()[0]
    for each in (plan, untroubled):
        each.host(guests((5, 6), ABSURD), guests((7,)))
    with pytest.raises(GenomeError, match=match):
        plan.host(wrong if tier == 0 else guests((8,), ABSURD), wrong if tier == 1 else [])
    assert play(plan, 60) == play(untroubled, 60)
