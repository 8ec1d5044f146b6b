"""The results of a run as columns, and which of them no other one dominates: what charts and lists of fronts show.

The same front as `node.front` and `node.report` give, from an index and the objectives alone: no outcome is read.
"""

import math
import statistics
from array import array
from collections import deque
from collections.abc import Iterable, Iterator, Sequence
from itertools import pairwise

import msgspec

from evaluator.objectives import Objective, unit_point
from genome import Genome
from node.errors import NotFoundError
from node.store.board.board import Board
from node.store.board.dominance import Point, costs, hypervolume, knee, nondominated
from node.store.board.runs import RunHead
from node.text import summary

__all__ = [
    "Cloud",
    "FailureLine",
    "Failures",
    "Named",
    "Progress",
    "Scored",
    "cloud",
    "compromise",
    "failures_of",
    "front_rows",
    "genomes_of",
    "hypervolume_of",
    "named",
    "progress",
    "values_of",
]

_MOST_NAMED = 400
_CHUNKS = 24


class Scored(msgspec.Struct, frozen=True, kw_only=True):
    """A genome on fresh seeds: mean and standard deviation of each objective (none below two seeds).

    `failed` counts the seeds that gave no result, `n` those that did.
    """

    n: int
    failed: int
    means: tuple[float, ...]
    spreads: tuple[float, ...]


class Cloud(msgspec.Struct, frozen=True, kw_only=True):
    """Every genome of a run that ever succeeded, in the order of first success, as columns.

    `evaluations` are the ids of these first successes and `orders` their places among the run's evaluations, failures
    counted; `selected` holds one column an objective. `scored` has those rows that were tried on fresh seeds. `tried`
    counts evaluations of the search and `failed` those without a result; `last` is the newest evaluation's id.
    """

    run: int
    objectives: tuple[Objective, ...]
    evaluations: "array[int]"
    orders: "array[int]"
    baseline: bytearray
    selected: tuple["array[float]", ...]
    scored: dict[int, Scored]
    tried: int
    failed: int
    last: int

    def __len__(self) -> int:
        return len(self.evaluations)


class Named(msgspec.Struct, frozen=True, kw_only=True):
    """The genome of an evaluation, and one line on what it is."""

    evaluation: int
    genome: str
    space: str
    summary: str
    seed: int
    finished_at: float


class FailureLine(msgspec.Struct, frozen=True, kw_only=True):
    """An evaluation that came to nothing."""

    genome: str
    kind: str
    detail: str


class Failures(msgspec.Struct, frozen=True, kw_only=True):
    """Failed evaluations of a run: how many of each kind, and the newest ones, the newest first."""

    kinds: dict[str, int]
    newest: tuple[FailureLine, ...]


class Progress(msgspec.Struct, frozen=True, kw_only=True):
    """How far a search was after so many evaluations, by the values it selected by.

    `hypervolume` is the share of the unit cube between `worst` and `best` of each objective, reference point `worst`.
    """

    evaluations: int
    evaluation: int
    hypervolume: float
    front: int
    best: float


# The pluses keep SQLite to the index of runs and purposes, which holds all that is asked for: the rows have bodies.
_SEEN = """SELECT id, purpose, genome FROM evaluation
 WHERE run = ? AND purpose IN ('baseline', 'search', 'rescore') ORDER BY +id"""
_TWICE = """SELECT genome FROM evaluation WHERE run = ?1 AND purpose IN ('baseline', 'search')
 GROUP BY +genome HAVING count(*) > 1
 UNION SELECT genome FROM evaluation WHERE run = ?1 AND purpose = 'rescore'"""


def cloud(board: Board, run: RunHead) -> Cloud:
    """The results of a run; some tenths of a second at 100,000 genomes."""
    connection = board.connection
    low, high = connection.execute(
        "SELECT coalesce(min(id), 0), coalesce(max(id), -1) FROM evaluation WHERE run = ?", (run.id,)
    ).fetchone()
    values = _values(board, run.objectives, low, high)
    # Genomes met once need no name here: only the few of these are looked up again.
    again: dict[str, int | None] = {str(genome): None for (genome,) in connection.execute(_TWICE, (run.id,))}
    evaluations, orders, baseline = array("i"), array("i"), bytearray()
    fresh: dict[str, list[int]] = {}
    tried = failed = 0
    for id_, purpose, genome in connection.execute(_SEEN, (run.id,)):
        if purpose == "rescore":
            fresh.setdefault(genome, []).append(id_)
            continue
        tried += 1
        if math.isnan(values[0][id_ - low]):
            failed += 1
            continue
        if again.get(genome) is None:
            if genome in again:
                again[genome] = len(evaluations)
            evaluations.append(id_)
            orders.append(tried)
            baseline.append(purpose == "baseline")
    columns = tuple(array("d", (column[id_ - low] for id_ in evaluations)) for column in values)
    scored = {
        row: _scored(values, [id_ - low for id_ in fresh[genome]])
        for genome, row in again.items()
        if row is not None and genome in fresh
    }
    return Cloud(
        run=run.id,
        objectives=run.objectives,
        evaluations=evaluations,
        orders=orders,
        baseline=baseline,
        selected=columns,
        scored=scored,
        tried=tried,
        failed=failed,
        last=max(high, 0),
    )


def _values(
    board: Board, objectives: tuple[Objective, ...], low: int, high: int
) -> "tuple[array[float], ...]":
    """One column an objective, from evaluation `low` to `high`; NaN where there is no result: none is ever recorded."""
    columns = {
        objective.name: array("d", [math.nan]) * (max(0, high - low + 1) or 1) for objective in objectives
    }
    for id_, name, value in board.connection.execute(
        "SELECT evaluation, name, value FROM objective WHERE evaluation BETWEEN ? AND ?", (low, high)
    ):
        if name in columns:
            columns[name][id_ - low] = value
    return tuple(columns.values())


def _scored(values: "tuple[array[float], ...]", places: Sequence[int]) -> Scored:
    good = [place for place in places if not math.isnan(values[0][place])]
    found = [[column[place] for place in good] for column in values]
    return Scored(
        n=len(good),
        failed=len(places) - len(good),
        means=tuple(statistics.fmean(each) for each in found) if good else (),
        spreads=tuple(statistics.stdev(each) for each in found) if len(good) > 1 else (),
    )


def values_of(found: Cloud, row: int) -> tuple[float, ...]:
    """Means over fresh seeds where there are any, else the values that the genome was selected by."""
    scored = found.scored.get(row)
    return scored.means if scored is not None and scored.means else _selected(found, row)


def _selected(found: Cloud, row: int) -> tuple[float, ...]:
    return tuple(column[row] for column in found.selected)


def front_rows(found: Cloud, selected: Sequence[int] | None = None) -> list[int]:
    """Rows of the front, best first objective first; the rule of `node.front.front_of`.

    `selected`, where it is known already, is the front of the values that genomes were selected by.
    """
    maximised = [objective.direction == "max" for objective in found.objectives]
    folded = deque(_folds(found, _marks(found, _CHUNKS)), maxlen=1) if selected is None else [list(selected)]
    front = folded[0] if folded else []
    scored = [row for row in found.scored if found.scored[row].n and not found.baseline[row]]
    if scored and all(row in found.scored for row in front):
        fresh = [costs(found.scored[row].means, maximised) for row in scored]
        front = [scored[i] for i in nondominated(fresh)]
    sign = -1.0 if maximised[0] else 1.0
    return sorted(front, key=lambda row: (sign * values_of(found, row)[0], found.evaluations[row]))


def genomes_of(board: Board, found: Cloud, rows: Sequence[int]) -> frozenset[str]:
    """Ids of the genomes in these rows."""
    evaluations = [found.evaluations[row] for row in rows]
    genomes = board.connection.execute(
        "SELECT genome FROM evaluation WHERE id IN (SELECT value FROM json_each(?))",
        (msgspec.json.encode(evaluations).decode(),),
    )
    return frozenset(str(genome) for (genome,) in genomes)


def _marks(found: Cloud, marks: int) -> "list[array[int]]":
    """The rows of the search, without baselines, in up to `marks` parts that follow one another."""
    rows = array("i", (row for row in range(len(found)) if not found.baseline[row]))
    cuts = sorted({round(len(rows) * mark / marks) for mark in range(marks + 1)})
    return [rows[start:end] for start, end in pairwise(cuts)]


def _folds(found: Cloud, parts: Iterable[Sequence[int]]) -> Iterator[list[int]]:
    """The front by selected values after each part: so a hundred thousand points are never in memory as tuples."""
    columns = [
        array("d", (-value for value in column)) if objective.direction == "max" else column
        for column, objective in zip(found.selected, found.objectives, strict=True)
    ]
    front: list[int] = []
    for part in parts:
        pool = [*front, *part]
        points = list(zip(*([column[row] for row in pool] for column in columns), strict=True))
        front = [pool[i] for i in nondominated(points)]
        yield front


def compromise(found: Cloud, rows: Sequence[int]) -> int | None:
    """The row of the front's knee on the objectives' own scales; None below three rows."""
    place = knee([_unit(found.objectives, values_of(found, row)) for row in rows])
    return None if place is None else rows[place]


def _unit(objectives: tuple[Objective, ...], values: Sequence[float]) -> Point:
    names = (objective.name for objective in objectives)
    return unit_point(objectives, dict(zip(names, values, strict=True)))


def hypervolume_of(objectives: tuple[Objective, ...], rows: Iterable[Sequence[float]]) -> float:
    """Share of the unit cube (each objective between its `worst` and `best`) that these values dominate."""
    return hypervolume([_unit(objectives, values) for values in rows])


def progress(found: Cloud, marks: int) -> tuple[list[Progress], list[int]]:
    """How the search went, at up to `marks` places evenly spaced over its genomes, and the front it selected.

    Baselines are left out.
    """
    best = max if found.objectives[0].direction == "max" else min
    parts = _marks(found, marks)
    said: list[Progress] = []
    before: list[int] = []
    for part, front in zip(parts, _folds(found, parts), strict=True):
        volume = said[-1].hypervolume if front == before else _selected_volume(found, front)
        said.append(
            Progress(
                evaluations=found.orders[part[-1]],
                evaluation=found.evaluations[part[-1]],
                hypervolume=volume,
                front=len(front),
                best=best(found.selected[0][row] for row in front),
            )
        )
        before = front
    return said, before


def _selected_volume(found: Cloud, rows: Iterable[int]) -> float:
    return hypervolume_of(found.objectives, (_selected(found, row) for row in rows))


def failures_of(board: Board, run: int, limit: int) -> Failures:
    """How many evaluations of a run failed by kind, and the newest `limit` of them."""
    kinds: dict[str, int] = {}
    newest: list[FailureLine] = []
    # By the log, which is small: the rows themselves have the outcome's bytes before the columns that are wanted.
    for kind, genome in board.connection.execute(
        "SELECT json_extract(body, '$.failure'), json_extract(body, '$.genome') FROM event"
        " WHERE kind = 'evaluation.failed' AND json_extract(body, '$.run') = ? ORDER BY seq DESC",
        (run,),
    ):
        kinds[kind] = kinds.get(kind, 0) + 1
        if len(newest) < limit:
            newest.append(FailureLine(genome=genome, kind=kind, detail=_detail(board, run, genome)))
    return Failures(kinds=kinds, newest=tuple(newest))


def _detail(board: Board, run: int, genome: str) -> str:
    row = board.connection.execute(
        "SELECT detail FROM evaluation WHERE genome = ? AND run = ? AND failure IS NOT NULL LIMIT 1",
        (genome, run),
    ).fetchone()
    return "" if row is None else str(row[0])


def named(board: Board, evaluations: Sequence[int]) -> list[Named]:
    """The genomes of evaluations, in the order asked for. Raises NotFoundError for an id that is not there."""
    if len(evaluations) > _MOST_NAMED:
        raise NotFoundError(f"at most {_MOST_NAMED} evaluations are named at once, got {len(evaluations)}.")
    found = []
    for evaluation in evaluations:
        row = board.connection.execute(
            "SELECT genome, seed, finished_at, genome.body FROM evaluation JOIN genome ON genome.id = genome"
            " WHERE evaluation.id = ?",
            (evaluation,),
        ).fetchone()
        if row is None:
            raise NotFoundError(f"{board.path} has no evaluation {evaluation}.")
        genome = Genome.decode(row[3])
        found.append(
            Named(
                evaluation=evaluation,
                genome=row[0],
                space=genome.space,
                summary=summary(genome),
                seed=row[1],
                finished_at=row[2],
            )
        )
    return found
