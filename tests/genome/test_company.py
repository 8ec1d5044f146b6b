"""What others bring to an ask: guests, a mate, and ids that are barred; and that nothing of it stays."""

import random
from collections.abc import Mapping

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from genome import (
    STRATEGIES,
    Genome,
    GenomeError,
    Proposal,
    Record,
    Strategy,
    make_strategy,
    replay,
    survival,
)
from genome.strategies import Company
from genome.strategies.map_elites import MapElites
from genome.strategies.nsga2 import Nsga2
from tests.genome.toys import CURVE, CURVE_DIRECTIONS, TINY, births, curve, record, some_objectives

BEST = {"f1": -1.0, "f2": -1.0}
WORST = {"f1": 1e6, "f2": 1e6}
VARYING = ("nsga2", "map_elites")


def make(name: str = "nsga2", *, population: int = 4) -> Strategy:
    return make_strategy(name, CURVE, CURVE_DIRECTIONS, population=population)


def begun(name: str, evaluations: int = 12) -> tuple[Strategy, dict[str, Genome]]:
    """A strategy that was told of some evaluations, and the genomes of these."""
    strategy = make(name)
    asked = strategy.ask(random.Random(0), evaluations)
    strategy.tell([record(proposal, curve) for proposal in asked])
    return strategy, {proposal.genome.id: proposal.genome for proposal in asked}


def stranger(number: int) -> Genome:
    """A genome that no test's own search comes upon: the same level throughout."""
    return CURVE.genome({f"x{index}": number / 32 for index in range(8)})


def guest(number: int, objectives: Mapping[str, float]) -> Record:
    return Record(stranger(number), objectives, None)


def parents(asked: list[Proposal]) -> list[str]:
    return [parent for proposal in asked for parent in proposal.birth.parents]


companies = st.builds(
    Company,
    guests=st.lists(st.integers(0, 15), unique=True, max_size=5).map(
        lambda numbers: tuple(guest(number, curve(stranger(number))) for number in numbers)
    ),
    mate=st.none() | st.integers(16, 32).map(stranger),
    barred=st.frozensets(st.integers(0, 32).map(lambda number: stranger(number).id), max_size=5),
)


@pytest.mark.parametrize("name", STRATEGIES)
class TestEveryStrategy:
    @given(company=companies, seed=st.integers(0, 99))
    @settings(max_examples=25, deadline=None)
    def test_company_leaves_no_trace(self, name: str, company: Company, seed: int) -> None:
        one, two = begun(name)[0], begun(name)[0]
        two.expect(one.ask(random.Random(seed), 3, company))
        assert one.parents() == two.parents()
        assert births(one.ask(random.Random(seed), 5)) == births(two.ask(random.Random(seed), 5))

    @given(company=companies, seed=st.integers(0, 99))
    @settings(max_examples=25, deadline=None)
    def test_births_replay_from_own_genomes_and_those_of_the_company(
        self, name: str, company: Company, seed: int
    ) -> None:
        strategy, known = begun(name)
        known |= {item.genome.id: item.genome for item in company.guests}
        if company.mate is not None:
            known[company.mate.id] = company.mate
        for proposal in strategy.ask(random.Random(seed), 8, company):
            assert replay(proposal.birth, CURVE, known) == proposal.genome
            assert proposal.genome.id not in company.barred

    def test_what_is_barred_is_not_proposed_until_it_no_longer_is(self, name: str) -> None:
        coming = births(begun(name)[0].ask(random.Random(1), 6))
        strategy = begun(name)[0]
        barred = frozenset(id_ for id_, _, _ in coming[::2])
        instead = strategy.ask(random.Random(1), 6, Company(barred=barred))
        assert len(instead) == 6
        assert barred.isdisjoint(proposal.genome.id for proposal in instead)
        again = begun(name)[0]
        again.ask(random.Random(2), 0, Company(barred=barred))
        assert births(again.ask(random.Random(1), 6)) == coming

    def test_barred_seeds_wait(self, name: str) -> None:
        seeds = [Proposal(stranger(k), make(name).ask(random.Random(k))[0].birth) for k in range(3)]
        strategy = make_strategy(name, CURVE, CURVE_DIRECTIONS, seeds)
        company = Company(barred=frozenset({seeds[0].genome.id, seeds[2].genome.id}))
        asked = strategy.ask(random.Random(0), 2, company)
        assert asked[0] == seeds[1]
        assert asked[1] not in seeds
        assert strategy.ask(random.Random(0), 2) == [seeds[0], seeds[2]]

    def test_a_space_that_is_barred_throughout_ends_the_ask(self, name: str) -> None:
        everything = [TINY.genome({"kind": kind, "size": size}) for kind in "ab" for size in (1, 2, 3)]
        strategy = make_strategy(name, TINY, CURVE_DIRECTIONS, population=2)
        strategy.tell([Record(genome, {"f1": 1.0, "f2": 2.0}, 0) for genome in everything[:2]])
        barred = frozenset(genome.id for genome in everything[2:])
        mate = Company(mate=everything[3], barred=barred)
        assert strategy.ask(random.Random(0), 2, mate) == []
        (left,) = strategy.ask(random.Random(0), 2, Company(barred=barred - {everything[4].id}))
        assert left.genome == everything[4]

    def test_a_check_refuses_what_tell_refuses_and_takes_nothing_in(self, name: str) -> None:
        strategy = make(name)
        with pytest.raises(GenomeError, match="lacks 'f2'"):
            strategy.check(Record(stranger(1), {"f1": 1.0}, None))
        with pytest.raises(GenomeError, match="got a genome of space 'tiny/1'"):
            strategy.check(Record(TINY.genome({"kind": "a", "size": 1}), BEST, None))
        for number in range(8):
            strategy.check(guest(number, BEST))
        assert strategy.parents() == ()
        assert births(strategy.ask(random.Random(0), 8)) == births(make(name).ask(random.Random(0), 8))


@pytest.mark.parametrize("name", VARYING)
class TestStrategiesThatVary:
    def test_genes_of_a_good_guest_appear_in_its_children(self, name: str) -> None:
        strategy, _ = begun(name)
        asked = strategy.ask(random.Random(1), 200, Company(guests=(guest(32, BEST),)))
        children = [proposal.genome for proposal in asked if stranger(32).id in proposal.birth.parents]
        others = [proposal.genome for proposal in asked if stranger(32).id not in proposal.birth.parents]
        assert len(children) > 40

        def share(genomes: list[Genome]) -> float:
            return sum(value == 1.0 for genome in genomes for _, value in genome.values) / (8 * len(genomes))

        # Half of the genes by a cross and nearly all by a mutation, against 1 in 33 by chance.
        assert share(children) > 0.4 > 0.2 > share(others)

    def test_a_mate_is_the_second_parent_of_all_crosses_and_nothing_else(self, name: str) -> None:
        strategy, own = begun(name)
        before = strategy.parents()
        asked = strategy.ask(random.Random(1), 200, Company(mate=stranger(32)))
        crosses = [proposal.birth for proposal in asked if proposal.birth.operator == "cross/1"]
        assert len(crosses) > 50
        assert {birth.parents[1] for birth in crosses} == {stranger(32).id}
        assert {birth.parents[0] for birth in crosses} <= set(own)
        assert stranger(32).id not in parents([item for item in asked if item.birth.operator == "mutate/1"])
        assert strategy.parents() == before

    def test_a_mate_comes_to_nobody_who_has_no_parents(self, name: str) -> None:
        strategy = make(name)
        assert strategy.parents() == ()
        assert parents(strategy.ask(random.Random(0), 60, Company(mate=stranger(32)))) == []

    def test_guests_are_parents_where_nothing_was_told_yet(self, name: str) -> None:
        strategy = make(name)
        company = Company(guests=(guest(3, BEST), guest(5, {"f1": -2.0, "f2": 9.0})))
        asked = strategy.ask(random.Random(0), 60, company)
        # The first ones are random all the same: others' genomes are no sample of the space.
        assert parents(asked[:4]) == []
        assert set(parents(asked)) == {stranger(3).id, stranger(5).id}


def test_random_search_has_no_parents_whoever_comes() -> None:
    strategy, _ = begun("random")
    company = Company(guests=(guest(1, BEST),), mate=stranger(2))
    assert strategy.parents(company.guests) == ()
    assert births(strategy.ask(random.Random(1), 9, company)) == births(
        begun("random")[0].ask(random.Random(1), 9)
    )


class TestNsga2:
    @given(numbers=st.lists(st.integers(0, 32), unique=True, max_size=9))
    def test_parents_are_the_best_of_survivors_and_guests(self, numbers: list[int]) -> None:
        strategy = Nsga2(CURVE, CURVE_DIRECTIONS, population=5)
        strategy.tell([record(proposal, curve) for proposal in strategy.ask(random.Random(0), 12)])
        survivors = strategy.survivors
        guests = [guest(number, curve(stranger(number))) for number in numbers]
        rivals = [*survivors, *guests]
        kept = survival([rival.objectives or {} for rival in rivals], CURVE_DIRECTIONS, 5)
        assert strategy.parents(guests) == tuple(rivals[i] for i in kept)
        assert strategy.survivors == survivors

    def test_a_guest_of_equal_worth_displaces_nobody(self) -> None:
        strategy = Nsga2(CURVE, CURVE_DIRECTIONS, population=2)
        same = {"f1": 1.0, "f2": 1.0}
        strategy.tell([Record(stranger(number), same, number) for number in (1, 2)])
        own = strategy.survivors
        assert len(own) == 2
        assert strategy.parents([guest(0, same), guest(3, same)]) == own

    def test_a_bad_guest_displaces_nobody_and_a_good_one_does(self) -> None:
        strategy, _ = begun("nsga2")
        own = strategy.parents()
        assert strategy.parents([guest(1, WORST)]) == own
        better = strategy.parents([guest(1, BEST)])
        assert better[0] == guest(1, BEST)
        assert len(better) == len(own) == 4


class TestMapElites:
    def test_guests_fill_cells_and_beat_elites(self) -> None:
        strategy = MapElites(TINY, {"one": "max", "two": "max", "three": "min"})
        near, far = {"two": 1.0, "three": 1.0}, {"two": 1.0, "three": 64.0}
        elite = Record(TINY.genome({"kind": "a", "size": 1}), {"one": 5.0, **near}, 0)
        strategy.tell([elite])

        def come(objectives: Mapping[str, float]) -> Record:
            return Record(TINY.genome({"kind": "b", "size": 2}), objectives, None)

        worse, equal = come({"one": 4.0, **near}), come({"one": 5.0, **near})
        better, elsewhere = come({"one": 6.0, **near}), come({"one": -9.0, **far})
        assert strategy.parents([worse]) == strategy.parents([equal]) == (elite,)
        assert strategy.parents([better]) == (better,)
        assert strategy.parents([elsewhere]) == (elite, elsewhere)
        assert list(strategy.elites.values()) == [elite]


@pytest.mark.parametrize("name", VARYING)
def test_own_records_stay_parents_beside_many_guests_of_equal_worth(name: str) -> None:
    """Or a mesh of look-alikes would end what is searched here."""
    strategy = make_strategy(name, CURVE, {"one": "max", "two": "max", "three": "min"}, population=8)
    asked = strategy.ask(random.Random(0), 40)
    strategy.tell([record(proposal, some_objectives) for proposal in asked])
    guests = [Record(stranger(k), some_objectives(stranger(k)), None) for k in range(33)]
    own = {proposal.genome.id for proposal in asked}
    chosen = [item.genome.id for item in strategy.parents(guests)]
    assert own & set(chosen)
    assert set(chosen) - own
