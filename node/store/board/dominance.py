"""Fronts and hypervolumes of columns of numbers without numpy, quick at 100,000 rows and three objectives. Pure.

What `genome.pareto` says of rows, for a process that must start in a moment. Every axis is to be minimised; NaN counts
as worse than any number; equal rows stand or fall together.
"""

import math
from bisect import bisect_left, bisect_right
from collections.abc import Iterable, Sequence

__all__ = ["Point", "costs", "hypervolume", "knee", "nondominated"]

Point = tuple[float, ...]
_SWEPT = 3
"""Most axes that the sweep handles; with more, rows are compared with the front found so far."""


def costs(values: Sequence[float], maximised: Sequence[bool]) -> Point:
    """Values as a point to be minimised."""
    return tuple(
        math.inf if math.isnan(value) else -value if up else value
        for value, up in zip(values, maximised, strict=True)
    )


def nondominated(points: Sequence[Point]) -> list[int]:
    """Indices, rising, of the points that no other one dominates: O(n log n) up to three axes (Kung et al. 1975)."""
    distinct: dict[Point, list[int]] = {}
    for index, point in enumerate(points):
        distinct.setdefault(point, []).append(index)
    # In this order whoever dominates comes first, since it is nowhere larger and somewhere smaller.
    ordered = sorted(distinct)
    if not ordered:
        return []
    kept = _swept(ordered) if len(ordered[0]) <= _SWEPT else _compared(ordered)
    return sorted(index for point in kept for index in distinct[point])


def _swept(ordered: Sequence[Point]) -> list[Point]:
    """The staircase holds the best second and third values so far: seconds rise, thirds fall."""
    seconds: list[float] = []
    thirds: list[float] = []
    kept = []
    for point in ordered:
        second, third = (*point[1:], 0.0, 0.0)[:2]
        place = bisect_right(seconds, second)
        if place and thirds[place - 1] <= third:
            continue
        kept.append(point)
        _into_staircase(seconds, thirds, second, third)
    return kept


def _into_staircase(seconds: list[float], thirds: list[float], second: float, third: float) -> None:
    """Add a step that no other one dominates, and take out those that it dominates."""
    start = bisect_left(seconds, second)
    stop = start
    while stop < len(seconds) and thirds[stop] >= third:
        stop += 1
    seconds[start:stop] = [second]
    thirds[start:stop] = [third]


def _compared(ordered: Sequence[Point]) -> list[Point]:
    kept: list[Point] = []
    for point in ordered:
        if not any(all(a <= b for a, b in zip(other, point, strict=True)) for other in kept):
            kept.append(point)
    return kept


def hypervolume(points: Iterable[Point]) -> float:
    """Volume of the unit cube that the points dominate; the reference point is all ones, coordinates are clipped.

    Exact: O(n log n) up to three axes but for the shifting of lists, slower by n for each one more.
    """
    clipped = [tuple(1.0 if math.isnan(x) else min(1.0, max(0.0, x)) for x in point) for point in points]
    # A point on the far side of the cube spans nothing.
    inside = sorted({point for point in clipped if all(x < 1.0 for x in point)}, key=lambda point: point[-1])
    return _volume(inside) if inside else 0.0


def _volume(ordered: Sequence[Point]) -> float:
    """Points sorted by their last coordinate: slices along it, each as thick as it is to the next point."""
    size = len(ordered[0])
    if size <= _SWEPT:
        return _swept_volume([(*(0.0, 0.0)[size - 1 :], *point) for point in ordered])
    total = 0.0
    layer: list[Point] = []
    for index, point in enumerate(ordered):
        layer.append(point[:-1])
        end = ordered[index + 1][-1] if index + 1 < len(ordered) else 1.0
        if end > point[-1]:
            layer = _front(layer)
            total += (end - point[-1]) * _volume(sorted(layer, key=lambda other: other[-1]))
    return total


def _swept_volume(ordered: Sequence[Point]) -> float:
    """Three coordinates, sorted by the last: the area under a staircase that grows from slice to slice."""
    firsts: list[float] = []
    seconds: list[float] = []
    area = total = 0.0
    for index, (first, second, third) in enumerate(ordered):
        area += _widened(firsts, seconds, first, second)
        end = ordered[index + 1][2] if index + 1 < len(ordered) else 1.0
        total += area * (end - third)
    return total


def _widened(firsts: list[float], seconds: list[float], first: float, second: float) -> float:
    """Add a step to the staircase; gives the area that it dominates beyond what the others do."""
    stop = bisect_right(firsts, first)
    height = seconds[stop - 1] if stop else 1.0
    if height <= second:
        return 0.0
    start, at, gained = bisect_left(firsts, first), first, 0.0
    while True:
        end = firsts[stop] if stop < len(firsts) else 1.0
        gained += (end - at) * (height - second)
        if stop == len(firsts) or seconds[stop] < second:
            break
        at, height = end, seconds[stop]
        stop += 1
    firsts[start:stop] = [first]
    seconds[start:stop] = [second]
    return gained


def _front(points: Sequence[Point]) -> list[Point]:
    return [points[index] for index in nondominated(points)]


def knee(points: Sequence[Point]) -> int | None:
    """Index of the point nearest to the best of every axis, each scaled to what the points span; None below three.

    The usual choice of a compromise where nobody states a preference (distance to the ideal point, Zeleny 1974).
    """
    if len(points) < 3:
        return None
    lows = [min(column) for column in zip(*points, strict=True)]
    spans = [max(column) - low for column, low in zip(zip(*points, strict=True), lows, strict=True)]
    if not all(math.isfinite(span) for span in spans):
        return None

    def distance(index: int) -> float:
        shares = [
            (x - low) / span for x, low, span in zip(points[index], lows, spans, strict=True) if span > 0
        ]
        return math.hypot(*shares)

    return min(range(len(points)), key=distance)
