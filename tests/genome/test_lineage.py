import random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from genome import Change, Entry, Genome, GenomeError, Lineage, diff
from tests.genome.golden import lineage as small_lineage
from tests.support.calls import calls


@st.composite
def lineages(draw: st.DrawFn) -> list[Entry]:
    """Any lineage, in any order, with parents that are known, unknown or none."""
    count = draw(st.integers(1, 12))
    entries = []
    for number in range(count):
        known = [f"g{k}" for k in range(number)] + ["u0", "u1"]
        parents = draw(st.lists(st.sampled_from(known), max_size=2, unique=True))
        entries.append(
            Entry(f"g{number}", tuple(parents), ("random/1", "mutate/1", "cross/1")[len(parents)], number)
        )
    return draw(st.permutations(entries))


def slow_ancestors(entries: dict[str, Entry], id_: str) -> set[str]:
    known = {parent for parent in entries[id_].parents if parent in entries}
    return known.union(*(slow_ancestors(entries, parent) for parent in known))


def slow_generation(entries: dict[str, Entry], id_: str) -> int:
    return max(
        (1 + slow_generation(entries, parent) for parent in entries[id_].parents if parent in entries),
        default=0,
    )


def slow_share(entries: dict[str, Entry], id_: str, founder: str) -> float:
    if id_ not in entries or not entries[id_].parents:
        return float(id_ == founder)
    parents = entries[id_].parents
    return sum(slow_share(entries, parent, founder) for parent in parents) / len(parents)


def by_id(entries: list[Entry]) -> dict[str, Entry]:
    return {entry.id: entry for entry in entries}


@given(lineages())
def test_ancestors_descendants_and_generations_equal_recursion(entries: list[Entry]) -> None:
    lineage, known = Lineage(entries), by_id(entries)
    for id_ in known:
        assert set(lineage.ancestors(id_)) == slow_ancestors(known, id_)
        assert set(lineage.descendants(id_)) == {
            other for other in known if id_ in slow_ancestors(known, other)
        }
        assert lineage.generations[id_] == slow_generation(known, id_)
        for some in (lineage.ancestors(id_), lineage.descendants(id_)):
            assert [known[other].order for other in some] == sorted(known[other].order for other in some)


@given(lineages(), st.data())
def test_the_common_ancestor_is_the_most_recent_of_the_common_ones(
    entries: list[Entry], data: st.DataObject
) -> None:
    lineage, known = Lineage(entries), by_id(entries)
    chosen = data.draw(st.lists(st.sampled_from(sorted(known)), min_size=1, max_size=4))
    common = set.intersection(*(slow_ancestors(known, id_) | {id_} for id_ in chosen))
    expected = max(common, key=lambda id_: known[id_].order, default=None)
    assert lineage.common_ancestor(chosen) == expected


@given(lineages())
def test_shares_are_expected_contributions_and_sum_to_one(entries: list[Entry]) -> None:
    lineage, known = Lineage(entries), by_id(entries)
    living = sorted(known)[::2]
    shares = lineage.shares(living)
    assert sum(shares.values()) == pytest.approx(1.0)
    for founder in {*known, "u0", "u1"}:
        expected = sum(slow_share(known, id_, founder) for id_ in living) / len(living)
        assert shares.get(founder, 0.0) == pytest.approx(expected)
    assert list(shares.values()) == sorted(shares.values(), reverse=True)


@given(lineages())
def test_statistics_count(entries: list[Entry]) -> None:
    lineage, known = Lineage(entries), by_id(entries)
    edges = [(parent, entry.id) for entry in entries for parent in entry.parents if parent in known]
    leaves = set(known) - {parent for parent, _ in edges}
    statistics = lineage.statistics()
    assert statistics.count == len(entries)
    assert statistics.roots == len(set(known) - {child for _, child in edges})
    assert statistics.leaves == len(leaves)
    assert statistics.unknown_parents == len(
        {parent for entry in entries for parent in entry.parents} - set(known)
    )
    assert statistics.generations == max(lineage.generations.values())
    assert statistics.mean_children == pytest.approx(len(edges) / len(entries))
    assert sum(statistics.operators.values()) == len(entries)
    assert statistics.shares == lineage.shares(leaves)
    assert statistics.common_ancestor == lineage.common_ancestor(leaves)


def test_a_worked_lineage() -> None:
    lineage = small_lineage()
    assert [entry.id for entry in lineage.entries] == ["aa", "bb", "cc", "d'd", '<e"e>']
    assert lineage.ancestors('<e"e>') == ("aa", "bb", "cc", "d'd")
    assert lineage.descendants("bb") == ("cc", "d'd", '<e"e>')
    assert lineage.statistics().shares == {"ff": 0.5, "aa": 0.25, "bb": 0.25}
    assert lineage.statistics(["aa", "cc"]).common_ancestor == "aa"
    assert lineage.statistics(["aa", "bb"]).common_ancestor is None
    assert lineage.statistics([]).shares == {}
    assert "aa" in lineage
    assert "ff" not in lineage
    assert lineage.entry("cc").parents == ("aa", "bb")


def test_an_empty_lineage() -> None:
    statistics = Lineage([]).statistics()
    assert (statistics.count, statistics.roots, statistics.mean_children, statistics.generations) == (
        0,
        0,
        0.0,
        0,
    )
    assert statistics.common_ancestor is None


def test_loops_and_repeated_ids_are_refused() -> None:
    with pytest.raises(GenomeError, match=r"got the loop (a -> b|b -> a)"):
        Lineage([Entry("a", ("b",), "mutate/1", 0), Entry("b", ("a",), "mutate/1", 1)])
    with pytest.raises(GenomeError, match="got the loop a"):
        Lineage([Entry("a", ("a",), "mutate/1", 0)])
    with pytest.raises(GenomeError, match="got 'a' again"):
        Lineage([Entry("a", (), "random/1", 0), Entry("b", (), "random/1", 1), Entry("a", (), "random/1", 2)])


def test_unknown_ids_are_refused() -> None:
    lineage = small_lineage()
    for ask in (lineage.entry, lineage.ancestors, lineage.descendants):
        with pytest.raises(GenomeError, match="a lineage of 5 genomes has no 'ff'"):
            ask("ff")
    for of_many in (lineage.common_ancestor, lineage.shares):
        with pytest.raises(GenomeError, match="has no 'ff'"):
            of_many(["aa", "ff"])


def test_ten_times_the_genomes_are_about_ten_times_the_work() -> None:
    rng = random.Random(3)
    entries = [Entry("0", (), "random/1", 0)]
    for number in range(1, 10_000):
        # Mostly recent parents, so that the lineage is deep as well as wide.
        parents = {str(max(0, number - rng.randrange(1, 40))) for _ in range(2)}
        entries.append(Entry(str(number), tuple(sorted(parents)), "cross/1", number))
    few, many = (calls(lambda: Lineage(entries[:count]).statistics()) for count in (1000, 10_000))  # noqa: B023
    assert many < 15 * few
    statistics = Lineage(entries).statistics()
    assert statistics.generations > 300
    assert statistics.common_ancestor is not None


def test_diff_names_what_changed_appeared_and_went() -> None:
    before = Genome("toy/1", {"same": 1, "moved": 0.5, "gone": "x", "typed": 1})
    after = Genome("toy/1", {"same": 1, "moved": 0.25, "new": 3, "typed": 1.0})
    assert diff(before, after) == (
        Change("gone", "x", None),
        Change("moved", 0.5, 0.25),
        Change("new", None, 3),
        Change("typed", 1, 1.0),
    )
    assert diff(before, before) == ()
