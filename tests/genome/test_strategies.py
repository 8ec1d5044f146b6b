"""What every strategy must keep, and then what each one is for."""

import random
from collections.abc import Sequence

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from genome import (
    MLP,
    PRESETS,
    STRATEGIES,
    Choice,
    Direction,
    Genome,
    GenomeError,
    Integer,
    Is,
    Proposal,
    Record,
    SearchSpace,
    Strategy,
    make_strategy,
    preset,
    preset_birth,
    replay,
    survival,
)
from genome.strategies.map_elites import MapElites
from genome.strategies.nsga2 import Nsga2
from tests.genome.toys import (
    CURVE,
    CURVE_DIRECTIONS,
    TINY,
    births,
    curve,
    curve_hypervolume,
    record,
    some_objectives,
)
from tests.support.calls import calls

THREE: dict[str, Direction] = {"one": "max", "two": "max", "three": "min"}
NAMES = [name for name in PRESETS if preset(name).space == MLP.id][:6]
SEEDS = tuple(Proposal(preset(name), preset_birth(name)) for name in NAMES)

# What happens to a strategy: ("ask", how many), ("tell", which of the pending, "fails" or not).
events = st.lists(
    st.one_of(
        st.tuples(st.just("ask"), st.integers(1, 3), st.booleans()),
        st.tuples(st.just("tell"), st.integers(0, 9), st.booleans()),
    ),
    max_size=40,
)


def play(
    strategy: Strategy, happenings: list[tuple[str, int, bool]], *, expect: list[list[Proposal]] | None = None
) -> list[list[Proposal]]:
    """Let it all happen; with `expect`, the asks are replayed from there instead."""
    asked: list[list[Proposal]] = []
    pending: list[Proposal] = []
    for number, (kind, count, fails) in enumerate(happenings):
        if kind == "ask":
            if expect is None:
                asked.append(strategy.ask(random.Random(number), count))
            else:
                asked.append(expect[len(asked)])
                strategy.expect(asked[-1])
            pending += asked[-1]
        elif pending:
            proposal = pending.pop(count % len(pending))
            strategy.tell(
                [Record(proposal.genome, None if fails else some_objectives(proposal.genome), number)]
            )
    return asked


def make(
    name: str,
    space: SearchSpace = MLP,
    directions: dict[str, Direction] = THREE,
    seeds: Sequence[Proposal] = (),
    *,
    population: int = 4,
) -> Strategy:
    return make_strategy(name, space, directions, seeds, population=population)


@pytest.mark.parametrize("name", STRATEGIES)
class TestEveryStrategy:
    def test_seeds_come_first_and_once(self, name: str) -> None:
        strategy = make(name, seeds=[*SEEDS, SEEDS[0]])
        asked = strategy.ask(random.Random(0), 4) + strategy.ask(random.Random(1), 4)
        assert births(asked[:6]) == births(SEEDS)
        assert len({proposal.genome.id for proposal in asked}) == 8

    def test_seeds_that_were_told_or_expected_are_skipped(self, name: str) -> None:
        strategy = make(name, seeds=SEEDS)
        strategy.tell([record(SEEDS[1], some_objectives)])
        strategy.expect([SEEDS[0]])
        assert births(strategy.ask(random.Random(0), 4)) == births(SEEDS[2:])

    @given(happenings=events)
    @settings(max_examples=30)
    def test_no_id_is_proposed_twice(self, name: str, happenings: list[tuple[str, int, bool]]) -> None:
        ids = [proposal.genome.id for asked in play(make(name), happenings) for proposal in asked]
        assert len(ids) == len(set(ids))

    def test_what_others_found_is_not_proposed_and_the_last_one_left_is(self, name: str) -> None:
        space = SearchSpace("forty", 1, (Choice("kind", ("a", "b")), Integer("size", 1, 20)))
        everything = [space.genome({"kind": kind, "size": size}) for kind in "ab" for size in range(1, 21)]
        for last in range(10):
            strategy = make(name, space)
            told = [genome for genome in everything if genome != everything[4 * last]]
            strategy.tell([Record(genome, some_objectives(genome), 0) for genome in told])
            (left,) = strategy.ask(random.Random(last), 2)
            assert left.genome == everything[4 * last]

    @given(happenings=events)
    @settings(max_examples=30)
    def test_it_is_a_fold_over_asks_and_tells(
        self, name: str, happenings: list[tuple[str, int, bool]]
    ) -> None:
        first, second, resumed = make(name, seeds=SEEDS), make(name, seeds=SEEDS), make(name, seeds=SEEDS)
        asked = play(first, happenings)
        assert list(map(births, play(second, happenings))) == list(map(births, asked))
        play(resumed, happenings, expect=asked)
        after = births(first.ask(random.Random(77), 3))
        assert births(second.ask(random.Random(77), 3)) == after
        assert births(resumed.ask(random.Random(77), 3)) == after

    def test_the_size_of_a_batch_told_changes_nothing(self, name: str) -> None:
        one, many = make(name), make(name)
        asked = one.ask(random.Random(0), 30)
        many.expect(asked)
        records = [record(proposal, some_objectives) for proposal in asked]
        for item in records:
            one.tell([item])
        many.tell(records)
        assert births(one.ask(random.Random(1), 5)) == births(many.ask(random.Random(1), 5))

    def test_a_record_told_again_changes_nothing(self, name: str) -> None:
        one, two = make(name), make(name)
        asked = one.ask(random.Random(0), 12)
        two.expect(asked)
        records = [record(proposal, some_objectives) for proposal in asked]
        one.tell(records)
        two.tell(
            [*records, *(Record(item.genome, {"one": 1e9, "two": 1e9, "three": 0.5}, 5) for item in records)]
        )
        assert births(one.ask(random.Random(1), 5)) == births(two.ask(random.Random(1), 5))

    def test_every_proposal_replays_from_its_birth(self, name: str) -> None:
        strategy = make(name, seeds=SEEDS)
        known: dict[str, Genome] = {}
        for ask in range(40):
            for proposal in strategy.ask(random.Random(ask), 2):
                assert replay(proposal.birth, MLP, known) == proposal.genome
                known[proposal.genome.id] = proposal.genome
                strategy.tell([record(proposal, some_objectives, ask)])

    def test_it_never_waits_for_stragglers(self, name: str) -> None:
        strategy = make(name)
        pending = [proposal for ask in range(100) for proposal in strategy.ask(random.Random(ask), 2)]
        assert len(pending) == 200
        strategy.tell([record(proposal, some_objectives) for proposal in pending[::50]])
        assert len(strategy.ask(random.Random(1000), 20)) == 20

    def test_failures_are_never_parents(self, name: str) -> None:
        strategy = make(name, population=2)
        asked = strategy.ask(random.Random(0), 20)
        good = {proposal.genome.id for proposal in asked[:3]}
        bad = [
            None,
            {"one": float("nan"), "two": 1.0, "three": 1.0},
            {"one": 1.0, "two": float("inf"), "three": 1.0},
        ]
        strategy.tell([record(proposal, some_objectives) for proposal in asked[:3]])
        strategy.tell([Record(proposal.genome, bad[k % 3], 0) for k, proposal in enumerate(asked[3:])])
        for proposal in strategy.ask(random.Random(1), 60):
            assert set(proposal.birth.parents) <= good

    def test_with_failures_only_it_goes_on(self, name: str) -> None:
        strategy = make(name, population=2)
        for ask in range(20):
            asked = strategy.ask(random.Random(ask), 2)
            assert len(asked) == 2
            strategy.tell([Record(proposal.genome, None, ask) for proposal in asked])

    def test_a_failure_may_succeed_later(self, name: str) -> None:
        one, two = make(name, population=2), make(name, population=2)
        for strategy, fails in ((one, True), (two, False)):
            asked = strategy.ask(random.Random(0), 4)
            if fails:
                strategy.tell([Record(proposal.genome, None, 0) for proposal in asked])
            strategy.tell([record(proposal, some_objectives) for proposal in asked])
        assert births(one.ask(random.Random(1), 6)) == births(two.ask(random.Random(1), 6))

    @pytest.mark.parametrize("tell", [True, False])
    def test_a_tiny_space_is_exhausted_cleanly(self, name: str, tell: bool) -> None:
        strategy = make(name, TINY)
        ids: set[str] = set()
        for ask in range(8):
            asked = strategy.ask(random.Random(ask), 4)
            ids |= {proposal.genome.id for proposal in asked}
            if tell:
                strategy.tell([record(proposal, some_objectives) for proposal in asked])
        assert len(ids) == 6
        assert strategy.ask(random.Random(99), 4) == []

    def test_only_what_fits_is_told(self, name: str) -> None:
        strategy = make(name)
        with pytest.raises(GenomeError, match="lacks 'two'"):
            strategy.tell([Record(preset("ep"), {"one": 1.0, "three": 1.0}, 0)])
        with pytest.raises(GenomeError, match="got a genome of space 'tiny/1'"):
            strategy.tell([Record(TINY.genome({"kind": "a", "size": 1}), None, 0)])
        with pytest.raises(GenomeError, match="got a genome of space 'mlp/1'"):
            make(name, TINY, seeds=SEEDS)

    def test_an_ask_costs_no_more_with_five_thousand_records(self, name: str) -> None:
        def work(asks: int) -> int:
            strategy = make(name, population=16)
            asked = [proposal for ask in range(asks) for proposal in strategy.ask(random.Random(ask), 100)]
            strategy.tell([record(proposal, some_objectives) for proposal in asked])
            return min(calls(lambda: strategy.ask(random.Random(10_000))) for _ in range(3))

        assert work(50) < 3 * work(5)


class TestMakeStrategy:
    def test_unknown_names_suggest_the_nearest(self) -> None:
        with pytest.raises(
            GenomeError, match=r"one of random, nsga2, map_elites; got 'nsga'. Did you mean 'nsga2'\?"
        ):
            make_strategy("nsga", MLP, THREE)

    @pytest.mark.parametrize("directions", [{}, {"one": "up"}])
    def test_directions_are_checked(self, directions: dict[str, Direction]) -> None:
        with pytest.raises(GenomeError, match="at least one objective with direction"):
            make_strategy("random", MLP, directions)

    @pytest.mark.parametrize("population", [1, 0, -1, 2**60, True, 2.5])
    def test_populations_are_checked(self, population: int) -> None:
        with pytest.raises(GenomeError, match="population from 2"):
            make_strategy("nsga2", MLP, THREE, population=population)


class TestNsga2:
    def test_survivors_are_those_of_the_steady_state(self) -> None:
        strategy = Nsga2(MLP, THREE, population=5)
        kept: list[Record] = []
        for ask in range(60):
            (proposal,) = strategy.ask(random.Random(ask))
            told = record(proposal, some_objectives, ask)
            strategy.tell([told])
            rivals = [*kept, told]
            kept = [rivals[i] for i in survival([rival.objectives or {} for rival in rivals], THREE, 5)]
            assert strategy.survivors == tuple(kept)

    def test_survivors_spread_over_the_logarithms_where_asked(self) -> None:
        def told(strategy: Nsga2) -> list[float]:
            for ask, level in enumerate((1e1, 1e2, 1e4, 1e6, 1e7)):
                (proposal,) = strategy.ask(random.Random(ask))
                values = {"one": level, "two": 0.5, "three": 3 * level}
                strategy.tell([Record(proposal.genome, values, ask)])
            return sorted((survivor.objectives or {})["one"] for survivor in strategy.survivors)

        assert told(Nsga2(MLP, THREE, population=3)) != told(
            Nsga2(MLP, THREE, population=3, logarithmic=("one", "three"))
        )
        assert told(Nsga2(MLP, THREE, population=3, logarithmic=("one", "three"))) == [1e1, 1e4, 1e7]

    def test_parents_are_survivors_and_better_ones_have_more_children(self) -> None:
        strategy = Nsga2(CURVE, CURVE_DIRECTIONS, population=8)
        asked = strategy.ask(random.Random(0), 30)
        strategy.tell([record(proposal, curve) for proposal in asked])
        order = [item.genome.id for item in strategy.survivors]
        children = [proposal.birth for proposal in strategy.ask(random.Random(1), 800)]
        uses = [sum(id_ in birth.parents for birth in children) for id_ in order]
        assert all(birth.parents or birth.operator == "random/1" for birth in children)
        # A binary tournament takes the best of eight with probability 15/64, the worst with 1/64.
        assert uses[0] > 5 * uses[-1] > 0
        assert uses[0] > uses[3] > uses[-1]

    def test_it_varies_in_every_way(self) -> None:
        strategy = Nsga2(CURVE, CURVE_DIRECTIONS, population=16)
        strategy.tell([record(proposal, curve) for proposal in strategy.ask(random.Random(0), 16)])
        operators = [proposal.birth.operator for proposal in strategy.ask(random.Random(1), 400)]
        assert (
            min(operators.count("cross/1"), operators.count("mutate/1"))
            > 100
            > operators.count("random/1")
            > 12
        )

    def test_it_starts_with_random_genomes_but_evolves_as_soon_as_it_can(self) -> None:
        strategy = Nsga2(CURVE, CURVE_DIRECTIONS, population=8)
        start = strategy.ask(random.Random(0), 7)
        assert {proposal.birth.operator for proposal in start} == {"random/1"}
        # One answer, all others still pending.
        strategy.tell([record(start[0], curve)])
        later = strategy.ask(random.Random(1), 30)
        assert later[0].birth.operator == "random/1"
        assert {parent for proposal in later for parent in proposal.birth.parents} == {start[0].genome.id}

    def test_it_beats_random_search_at_equal_evaluations(self) -> None:
        wins = 0
        for seed in range(5):
            found = {
                name: curve_hypervolume(
                    make_strategy(name, CURVE, CURVE_DIRECTIONS), seed=seed, evaluations=150, workers=4
                )
                for name in ("nsga2", "random")
            }
            wins += found["nsga2"] > found["random"]
        assert wins >= 4


class TestMapElites:
    def test_each_cell_holds_the_best_that_was_told(self) -> None:
        strategy = MapElites(MLP, THREE, population=4)
        told: list[Record] = []
        for ask in range(120):
            (proposal,) = strategy.ask(random.Random(ask))
            told.append(record(proposal, some_objectives, ask))
            strategy.tell([told[-1]])

        def cell(item: Record) -> tuple[int, ...]:
            values = item.objectives or {}
            # Bins of a factor of two: [2^(k-1), 2^k).
            return tuple(next(k for k in range(20) if values[name] < 2**k) for name in ("two", "three"))

        expected: dict[tuple[int, ...], Record] = {}
        for item in told:
            rival = expected.get(cell(item))
            if rival is None or (item.objectives or {})["one"] > (rival.objectives or {})["one"]:
                expected[cell(item)] = item
        assert len(expected) > 10
        assert strategy.elites == expected

    def test_the_first_objective_may_be_one_to_minimise(self) -> None:
        strategy = MapElites(TINY, {"loss": "min", "size": "min"})
        for loss, size in ((3.0, 1), (1.0, 2), (2.0, 3)):
            strategy.tell([Record(TINY.genome({"kind": "a", "size": size}), {"loss": loss, "size": 5.0}, 0)])
        ((_, elite),) = strategy.elites.items()
        assert elite.objectives == {"loss": 1.0, "size": 5.0}
        # Of equals, the first one stays.
        strategy.tell([Record(TINY.genome({"kind": "b", "size": 1}), {"loss": 1.0, "size": 5.0}, 9)])
        assert list(strategy.elites.values()) == [elite]

    def test_cells_split_at_powers_of_two_whatever_the_sign(self) -> None:
        strategy = MapElites(CURVE, {"q": "max", "d": "max"})
        values = [0.999, 1.0, 1.5, 2.0, 0.0, -1.0, -8.0, 5e-324, 1e308]
        for k, value in enumerate(values):
            genome = CURVE.genome({f"x{i}": 1.0 if i == 0 else k / 32 for i in range(8)})
            strategy.tell([Record(genome, {"q": 1.0, "d": value}, k)])
        assert sorted(strategy.elites) == [(-1000,), (0,), (1,), (2,), (1024,)]

    def test_default_descriptors_fit_any_space(self) -> None:
        assert MapElites(MLP, THREE).descriptors == ("two", "three")
        assert MapElites(MLP, CURVE_DIRECTIONS).descriptors == ("f2",)
        assert MapElites(MLP, {"one": "max"}).descriptors == ("depth", "width1")
        assert MapElites(TINY, {"one": "max"}).descriptors == ("kind", "size")

    def test_genes_may_describe_also_where_they_are_not_expressed(self) -> None:
        space = SearchSpace(
            "when", 1, (Choice("kind", ("a", "b")), Integer("size", 1, 3, when=Is("kind", "a")))
        )
        strategy = MapElites(space, {"one": "max"}, descriptors=("size",))
        genomes = [space.genome({"kind": "a", "size": size}) for size in (1, 3)] + [
            space.genome({"kind": "b"})
        ]
        strategy.tell([Record(genome, {"one": 1.0}, 0) for genome in genomes])
        assert [item.genome for item in strategy.elites.values()] == [genomes[2], genomes[0], genomes[1]]
        assert list(strategy.elites) == [(-1,), (0,), (2,)]

    def test_unknown_descriptors_suggest_the_nearest(self) -> None:
        with pytest.raises(GenomeError, match="Did you mean 'width1'"):
            MapElites(MLP, THREE, descriptors=("with1",))

    def test_parents_are_elites_from_many_cells(self) -> None:
        strategy = MapElites(MLP, THREE, population=4)
        asked = strategy.ask(random.Random(0), 60)
        strategy.tell([record(proposal, some_objectives) for proposal in asked])
        elites = {item.genome.id for item in strategy.elites.values()}
        parents = {
            parent for proposal in strategy.ask(random.Random(1), 300) for parent in proposal.birth.parents
        }
        assert parents == elites
