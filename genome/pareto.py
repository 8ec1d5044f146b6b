"""Dominance, fronts, crowding, survival and hypervolume of objective values. Pure.

The only file that imports pymoo, at the first call (0.4 s that the command line need not pay), and only the
parts of it that draw no random numbers: its survival operator breaks ties by a generator of its own, so survival
here is pymoo's sorting and pymoo's crowding distance with ties broken by position. NaN counts as worse than any
number.
"""

import math
from collections.abc import Collection, Mapping, Sequence
from typing import TYPE_CHECKING, Literal

from genome.errors import GenomeError
from genome.quoting import show

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    Points = NDArray[np.float64]

__all__ = ["Direction", "crowding", "dominates", "fronts", "hypervolume", "nondominated", "survival"]

Direction = Literal["max", "min"]
Row = Mapping[str, float]


def dominates(one: Row, other: Row, directions: Mapping[str, Direction]) -> bool:
    """Whether a row is nowhere worse than another and somewhere better; for a few rows, where no sorting pays."""
    better = False
    for name, way in directions.items():
        mine, theirs = _cost(one[name], way), _cost(other[name], way)
        if mine > theirs:
            return False
        better = better or mine < theirs
    return better


def _cost(value: float, way: Direction) -> float:
    if math.isnan(value):
        return math.inf
    return -value if way == "max" else value


def nondominated(rows: Sequence[Row], directions: Mapping[str, Direction]) -> list[int]:
    """Indices, rising, of the rows that no other row dominates; equal rows stand or fall together."""
    return sorted(fronts(rows, directions)[0]) if rows else []


def fronts(rows: Sequence[Row], directions: Mapping[str, Direction]) -> list[list[int]]:
    """Indices by rank: the non-dominated rows, those non-dominated without them, and so on (Deb et al. 2002)."""
    return _fronts(_points(rows, directions)) if rows else []


def crowding(
    rows: Sequence[Row], directions: Mapping[str, Direction], logarithmic: Collection[str] = ()
) -> list[float]:
    """Crowding distance of each row among all of them, taken as one front (Deb et al. 2002); ends get infinity.

    Objectives in `logarithmic` are compared by their logarithms: where values span decades, the distances of all
    but the largest would otherwise vanish. Those at zero or below count as the smallest.
    """
    return _crowding(_spaced(_points(rows, directions), directions, logarithmic)) if rows else []


def survival(
    rows: Sequence[Row], directions: Mapping[str, Direction], n: int, logarithmic: Collection[str] = ()
) -> list[int]:
    """Indices of the `n` best rows, best first: by rank, then by crowding in their front, then by position."""
    if not rows:
        return []
    points = _points(rows, directions)
    spaced = _spaced(points, directions, logarithmic)
    kept: list[int] = []
    for front in _fronts(points):
        if len(kept) >= n:
            break
        distance = dict(zip(front, _crowding(spaced[front]), strict=True))
        kept += sorted(front, key=lambda index: (-distance[index], index))
    return kept[:n]


def hypervolume(points: Sequence[Sequence[float]]) -> float:
    """Volume of the unit cube that the points dominate, each axis to be minimised, reference point all ones.

    Coordinates are clipped to [0, 1] and NaN counts as 1, so a bad point adds nothing. No points: 0.
    """
    import numpy as np  # noqa: PLC0415
    from pymoo.indicators.hv import HV  # noqa: PLC0415

    if not points:
        return 0.0
    size = len(points[0])
    if size == 0 or any(len(point) != size for point in points):
        raise GenomeError(
            "a hypervolume expects points of one and the same number of coordinates, at least one."
        )
    cube = np.clip(np.nan_to_num(np.asarray(points, dtype=np.float64), nan=1.0), 0.0, 1.0)
    return float(HV(ref_point=np.ones(size), norm_ref_point=False)(cube))


def _points(rows: Sequence[Row], directions: Mapping[str, Direction]) -> "Points":
    """One line a row, one column an objective, to be minimised; NaN is infinity."""
    import numpy as np  # noqa: PLC0415

    for name, direction in directions.items():
        if direction not in ("max", "min"):
            raise GenomeError(f"objective {name!r} expects direction 'max' or 'min', got {show(direction)}.")
    if not directions:
        raise GenomeError("ranking expects at least one objective, got none. Name those to compare.")
    missing = next((name for row in rows for name in directions if name not in row), None)
    if missing is not None:
        raise GenomeError(
            f"ranking expects objective {missing!r} in every row, but one lacks it. Leave that row out."
        )
    signs = [-1.0 if direction == "max" else 1.0 for direction in directions.values()]
    points = np.array([[row[name] for name in directions] for row in rows], dtype=np.float64) * signs
    points[np.isnan(points)] = np.inf
    return points


def _spaced(points: "Points", directions: Mapping[str, Direction], logarithmic: Collection[str]) -> "Points":
    """The points, with logarithms in place of the values of some objectives: a change of spacing, not of order."""
    spaced = points.copy()
    for column, (name, direction) in enumerate(directions.items()):
        if name in logarithmic:
            sign = -1.0 if direction == "max" else 1.0
            spaced[:, column] = [sign * _logarithm(sign * value) for value in points[:, column]]
    return spaced


def _logarithm(value: float) -> float:
    return math.log(value) if value > 0 else -math.inf


def _fronts(points: "Points") -> list[list[int]]:
    import numpy as np  # noqa: PLC0415
    from pymoo.util.nds.non_dominated_sorting import NonDominatedSorting  # noqa: PLC0415

    # Dominance needs only the order along each axis, so values give way to their places: the C code below
    # (moocore 0.3.2) ranks infinity wrongly, and minus infinity ends the process with a segmentation fault.
    places = [np.unique(column, return_inverse=True)[1] for column in points.T]
    return [[int(index) for index in front] for front in NonDominatedSorting().do(np.column_stack(places))]


def _crowding(points: "Points") -> list[float]:
    import numpy as np  # noqa: PLC0415
    from pymoo.operators.survival.rank_and_crowding.metrics import calc_crowding_distance  # noqa: PLC0415

    # Infinities count as the ends of the finite values, or they would make the distances between these vanish.
    finite = np.isfinite(points)
    lows, highs = np.where(finite, points, np.inf).min(axis=0), np.where(finite, points, -np.inf).max(axis=0)
    some = finite.any(axis=0)
    return [
        float(x)
        for x in calc_crowding_distance(np.clip(points, np.where(some, lows, 0), np.where(some, highs, 0)))
    ]
