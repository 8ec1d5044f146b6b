"""Places of births: order, room, area, and growth that agrees with a fresh layout."""

import random
from array import array

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dashboard.lineage_layout import Extinct, ancestors_of, arrange


@st.composite
def trees(draw: st.DrawFn) -> tuple[list[int], list[int]]:
    """First parents of up to 30 births, and some of them that live."""
    count = draw(st.integers(1, 30))
    primary = [draw(st.integers(-1, at - 1)) for at in range(count)]
    living = draw(st.lists(st.integers(0, count - 1), unique=True, max_size=8))
    return primary, living


def chain_above(primary: list[int], at: int) -> list[int]:
    found = [at]
    while primary[found[-1]] >= 0:
        found.append(primary[found[-1]])
    return found


@given(trees())
def test_kept_are_the_living_and_their_ancestors(tree: tuple[list[int], list[int]]) -> None:
    primary, living = tree
    wanted = {above for one in living for above in chain_above(primary, one)}
    assert {at for at, kept in enumerate(ancestors_of(primary, living)) if kept} == wanted


@given(trees(), st.sampled_from(["hidden", "wedges", "full"]))
def test_a_subtree_stands_together(tree: tuple[list[int], list[int]], extinct: Extinct) -> None:
    primary, living = tree
    layout = arrange(primary, living, extinct=extinct)
    assert len(layout.y) == len(layout.kept) == len(primary)
    assert all(0 <= y <= layout.height + 1e-4 for y in layout.y)
    lines = [set(chain_above(primary, at)) for at in range(len(primary))]
    for at in range(len(primary)):
        inside = [layout.y[other] for other, line in enumerate(lines) if at in line]
        apart = [
            layout.y[other] for other, line in enumerate(lines) if at not in line and other not in lines[at]
        ]
        # Whoever is no kin in line stands above or below the whole subtree, never within it.
        assert all(y <= min(inside) + 1e-3 or y >= max(inside) - 1e-3 for y in apart)


@given(trees())
def test_in_full_every_leaf_has_a_slot(tree: tuple[list[int], list[int]]) -> None:
    primary, _ = tree
    layout = arrange(primary, [], extinct="full")
    leaves = [at for at in range(len(primary)) if at not in primary]
    assert layout.height == pytest.approx(len(leaves))
    assert sorted(layout.y[at] for at in leaves) == pytest.approx(
        [place + 0.5 for place in range(len(leaves))]
    )


@given(trees())
def test_hidden_gives_the_extinct_no_room(tree: tuple[list[int], list[int]]) -> None:
    primary, living = tree
    layout = arrange(primary, living, extinct="hidden")
    parents = {primary[at] for at, kept in enumerate(layout.kept) if kept}
    tips = [at for at, kept in enumerate(layout.kept) if at in living or (kept and at not in parents)]
    assert layout.height == pytest.approx(len(tips))


def test_wedges_have_areas_in_proportion_to_their_sizes() -> None:
    # A line of the living, and three clades that leave it: long and small, long and large, in between.
    rng = random.Random(5)
    primary = [-1, 0, 0, 0, 0]
    roots = {1: 200, 2: 800, 3: 400}
    inside = {root: [root] for root in roots}
    wanted = [root for root, size in roots.items() for _ in range(size - 1)]
    rng.shuffle(wanted)
    for root in wanted:
        primary.append(rng.choice(inside[root]))
        inside[root].append(len(primary) - 1)
    primary.append(4)
    layout = arrange(primary, [len(primary) - 1], extinct="wedges")
    areas = {}
    for root, members in inside.items():
        leaves = [layout.y[at] for at in members if at not in primary]
        # Leaves stand in the middle of their room: the clade's is as much wider as there are leaves.
        height = (max(leaves) - min(leaves)) * len(leaves) / (len(leaves) - 1)
        areas[root] = height * (max(members) - root) / 2 / len(members)
    assert max(areas.values()) == pytest.approx(min(areas.values()), rel=1e-3)
    assert layout.height == pytest.approx(2.0)


def test_a_parent_must_come_first() -> None:
    with pytest.raises(ValueError, match="birth 0 must come after its parent"):
        arrange([1, -1], [])


def test_newcomers_stand_by_their_parents_and_old_births_stay() -> None:
    rng = random.Random(2)
    primary = array("i", [-1, *(rng.randrange(-1, at) for at in range(1, 5000))])
    layout = arrange(primary, [4999])
    before = layout.y[:]
    primary.extend([17, 17, -1, 5000])
    assert not layout.stale(len(primary))
    layout.append(primary, [5003])
    assert layout.y[: len(before)] == before
    assert abs(layout.y[5000] - layout.y[17]) < 1 and abs(layout.y[5003] - layout.y[5000]) < 1
    assert layout.y[5000] != layout.y[5001]
    assert layout.y[5002] < layout.height
    assert set(chain_above(list(primary), 5003)) <= {at for at, kept in enumerate(layout.kept) if kept}
    assert layout.stale(5300)
    assert arrange([-1], [0]).stale(2)


def test_an_empty_lineage_has_no_height() -> None:
    assert arrange([], []).height == 0.0
