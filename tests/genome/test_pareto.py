import itertools
import math
import random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from genome import Direction, GenomeError, crowding, fronts, hypervolume, nondominated, pareto, survival

DIRECTIONS: dict[str, Direction] = {"gain": "max", "cost": "min", "size": "min"}
# Few values, so that equal points and equal coordinates are common.
coordinate = st.one_of(st.integers(0, 4).map(float), st.sampled_from([math.nan, math.inf, -math.inf]))
rows_of_any = st.lists(st.fixed_dictionaries(dict.fromkeys(DIRECTIONS, coordinate)), max_size=14)
unit = st.integers(0, 8).map(lambda eighth: eighth / 8)


def cost(row: dict[str, float], name: str) -> float:
    value = -row[name] if DIRECTIONS[name] == "max" else row[name]
    return math.inf if math.isnan(value) else value


def dominates(a: dict[str, float], b: dict[str, float]) -> bool:
    pairs = [(cost(a, name), cost(b, name)) for name in DIRECTIONS]
    return all(x <= y for x, y in pairs) and any(x < y for x, y in pairs)


def slow_fronts(rows: list[dict[str, float]]) -> list[list[int]]:
    left, ranks = list(range(len(rows))), []
    while left:
        best = [i for i in left if not any(dominates(rows[j], rows[i]) for j in left)]
        ranks.append(best)
        left = [i for i in left if i not in best]
    return ranks


def slow_hypervolume(points: list[tuple[float, ...]]) -> float:
    """Inclusion and exclusion over all subsets of the boxes between the points and (1, ..., 1)."""
    total = 0.0
    for size in range(1, len(points) + 1):
        for subset in itertools.combinations(points, size):
            corner = [max(axis) for axis in zip(*subset, strict=True)]
            total += (-1) ** (size + 1) * math.prod(1 - value for value in corner)
    return total


@given(rows_of_any)
def test_one_pair_is_judged_as_the_sorting_does(rows: list[dict[str, float]]) -> None:
    for one, other in itertools.product(rows, repeat=2):
        found = pareto.dominates(one, other, DIRECTIONS)
        assert found == dominates(one, other)
        assert found == (nondominated([one, other], DIRECTIONS) == [0])


@given(rows_of_any)
def test_fronts_equal_brute_force(rows: list[dict[str, float]]) -> None:
    expected = slow_fronts(rows)
    assert [sorted(front) for front in fronts(rows, DIRECTIONS)] == expected
    assert nondominated(rows, DIRECTIONS) == (expected[0] if rows else [])


@given(rows_of_any)
def test_no_member_of_a_front_dominates_another(rows: list[dict[str, float]]) -> None:
    for front in fronts(rows, DIRECTIONS):
        assert not any(dominates(rows[i], rows[j]) for i in front for j in front)


@given(rows_of_any, st.integers(0, 16))
def test_survivors_are_the_best_by_rank_then_crowding_then_position(
    rows: list[dict[str, float]], n: int
) -> None:
    ranks = slow_fronts(rows)
    kept = survival(rows, DIRECTIONS, n)
    assert len(kept) == len(set(kept)) == min(n, len(rows))
    expected: list[int] = []
    for front in ranks:
        distance = dict(zip(front, crowding([rows[i] for i in front], DIRECTIONS), strict=True))
        expected += sorted(front, key=lambda i, d=distance: (-d[i], i))  # type: ignore[misc]
    assert kept == expected[:n]


@given(st.lists(st.floats(0, 100), min_size=3, max_size=12, unique=True))
def test_crowding_is_the_distance_between_neighbours(xs: list[float]) -> None:
    rows = [{"gain": x, "cost": x} for x in xs]
    distances = crowding(rows, {"gain": "max", "cost": "min"})
    order = sorted(range(len(xs)), key=lambda i: xs[i])
    span = max(xs) - min(xs)
    assert math.isinf(distances[order[0]])
    assert math.isinf(distances[order[-1]])
    for before, at, after in zip(order, order[1:], order[2:], strict=False):
        assert distances[at] == pytest.approx((xs[after] - xs[before]) / span)


def test_infinite_values_do_not_spoil_the_crowding_of_the_others() -> None:
    rows = [{"a": -float(x), "b": float(x)} for x in (1, 2, 5, 10)]
    extremes = [{"a": math.inf, "b": -math.inf}, {"a": -math.inf, "b": math.nan}]
    directions: dict[str, Direction] = {"a": "min", "b": "min"}
    distances = crowding([*rows, *extremes], directions)
    # Neighbours over the span of the finite values, where the infinite ones stand at its ends.
    assert distances[1:3] == pytest.approx([4 / 9, 8 / 9])
    assert not any(math.isnan(distance) for distance in distances)
    assert not any(math.isnan(distance) for distance in crowding(extremes * 2, directions))


def test_survival_prefers_the_ends_and_drops_the_most_crowded() -> None:
    rows = [{"a": x, "b": 10 - x} for x in (0.0, 5.0, 5.1, 5.2, 10.0)]
    directions: dict[str, Direction] = {"a": "min", "b": "min"}
    assert survival(rows, directions, 2) == [0, 4]
    assert 2 not in survival(rows, directions, 4)


def test_crowding_by_logarithms_is_that_of_the_logarithms() -> None:
    directions: dict[str, Direction] = {"speed": "max", "memory": "min"}
    values = (1e1, 1e2, 1e4, 1e6, 1e7)
    rows = [{"speed": value, "memory": value * 3} for value in values]
    logs = [{"speed": math.log(row["speed"]), "memory": math.log(row["memory"])} for row in rows]
    assert crowding(rows, directions, ("speed", "memory")) == pytest.approx(crowding(logs, directions))
    # By the values themselves, the small ones would be as good as one.
    assert crowding(rows, directions)[1] < 0.01
    assert survival(rows, directions, 3, ("speed", "memory")) == [0, 4, 2]
    assert survival(rows, directions, 3) == [0, 4, 3]
    # Nothing is lost where there is no logarithm.
    odd = [{"speed": x, "memory": y} for x, y in ((0.0, -1.0), (math.nan, math.inf), (1.0, 2.0), (3.0, 4.0))]
    assert not any(math.isnan(distance) for distance in crowding(odd, directions, ("speed", "memory")))
    assert len(survival(odd, directions, 4, ("speed", "memory"))) == 4


def test_one_objective_ranks_by_value() -> None:
    rows = [{"a": value} for value in (3.0, 1.0, 2.0, 1.0, math.nan)]
    assert fronts(rows, {"a": "min"}) == [[1, 3], [2], [0], [4]]
    assert nondominated(rows, {"a": "max"}) == [0]


@given(st.integers(1, 4).flatmap(lambda k: st.lists(st.tuples(*[unit] * k), max_size=6)))
def test_hypervolume_equals_inclusion_and_exclusion(points: list[tuple[float, ...]]) -> None:
    assert hypervolume(points) == pytest.approx(slow_hypervolume(points), abs=1e-12)


def test_hypervolume_agrees_with_random_samples() -> None:
    rng = random.Random(5)
    points = [tuple(rng.uniform(0, 1) for _ in range(3)) for _ in range(12)]
    samples = [tuple(rng.uniform(0, 1) for _ in range(3)) for _ in range(20_000)]
    inside = sum(
        any(all(p <= s for p, s in zip(point, sample, strict=True)) for point in points) for sample in samples
    )
    # Four standard deviations of a share of 20,000 samples are at most .0142.
    assert hypervolume(points) == pytest.approx(inside / len(samples), abs=0.0142)


@given(st.lists(st.tuples(unit, unit, unit), max_size=8), st.tuples(unit, unit, unit))
def test_hypervolume_never_falls_when_a_point_comes(
    points: list[tuple[float, ...]], point: tuple[float, ...]
) -> None:
    before, after = hypervolume(points), hypervolume([*points, point])
    assert after >= before - 1e-12
    covered = any(all(a <= b for a, b in zip(other, point, strict=True)) for other in points)
    if not covered and max(point) < 1:
        assert after > before


def test_hypervolume_edges() -> None:
    assert hypervolume([]) == 0.0
    assert hypervolume([(0.0, 0.0)]) == 1.0
    assert hypervolume([(1.0, 0.0)]) == 0.0
    assert hypervolume([(-5.0, 0.5)]) == 0.5
    assert hypervolume([(2.0, 0.0), (math.inf, 0.0), (math.nan, 0.0)]) == 0.0
    assert hypervolume([(0.25,)]) == 0.75
    for wrong in ([()], [(0.5,), (0.5, 0.5)]):
        with pytest.raises(GenomeError, match="same number of coordinates"):
            hypervolume(wrong)


def test_rows_and_directions_are_checked() -> None:
    assert fronts([], DIRECTIONS) == []
    assert nondominated([], DIRECTIONS) == []
    assert survival([], DIRECTIONS, 3) == []
    assert crowding([], DIRECTIONS) == []
    with pytest.raises(GenomeError, match="expects objective 'cost' in every row"):
        fronts([{"gain": 1.0}], DIRECTIONS)
    with pytest.raises(GenomeError, match="direction 'max' or 'min', got 'up'"):
        fronts([{"a": 1.0}], {"a": "up"})  # type: ignore[dict-item]
    with pytest.raises(GenomeError, match="at least one objective"):
        fronts([{"a": 1.0}], {})
