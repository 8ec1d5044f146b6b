"""The runs of a store, and how much is in it: what every page says at its top."""

import msgspec

from evaluator.objectives import Objective
from node.errors import NotFoundError
from node.store.board.board import Board

__all__ = ["Chosen", "Counts", "RunHead", "choose", "counts", "runs"]

_MOST_RUNS = 200


class RunHead(msgspec.Struct, frozen=True, kw_only=True):
    """What a page says of a run. `evaluations` are those on record, of every purpose."""

    id: int
    task: str
    task_id: str
    tier: str
    space: str
    space_source: str
    strategy: str
    arithmetic: str
    seed: int
    created_at: float
    last_at: float | None
    evaluations: int
    objectives: tuple[Objective, ...]


class Counts(msgspec.Struct, frozen=True, kw_only=True):
    """How much is on record; each figure costs a look at an index, not a scan.

    `births` counts births, of which a genome may have several; `evaluations`, `events` and `findings` are the last
    numbers given. Whenever something is written that a page shows, one of them grows.
    """

    runs: int
    births: int
    evaluations: int
    events: int
    signed: int
    beliefs: int
    findings: int


class Chosen(msgspec.Struct, frozen=True, kw_only=True):
    """The run that a page shows (None in a store without runs), and the runs that it may show instead."""

    run: RunHead | None
    runs: tuple[RunHead, ...]


class _Spec(msgspec.Struct):
    """The part of a run's specification that pages show."""

    objectives: tuple[Objective, ...]
    space_source: str = ""


_COUNTS = """SELECT (SELECT count(*) FROM run), (SELECT coalesce(max(born), 0) FROM birth),
 (SELECT coalesce(max(id), 0) FROM evaluation), (SELECT coalesce(max(seq), 0) FROM event),
 (SELECT count(*) FROM signed), (SELECT coalesce(max(seq), 0) FROM belief),
 (SELECT coalesce(max(id), 0) FROM finding)"""

_RUNS = """WITH done AS (SELECT run, count(*) AS number, max(id) AS last FROM evaluation GROUP BY run)
 SELECT run.id, task, run.task_id, tier, space, strategy, run.arithmetic, run.seed, created_at, settings,
 finished_at, coalesce(number, 0) FROM run LEFT JOIN done ON done.run = run.id
 LEFT JOIN evaluation ON evaluation.id = done.last ORDER BY run.id DESC LIMIT ?"""


def counts(board: Board) -> Counts:
    """How much is on record."""
    row = board.connection.execute(_COUNTS).fetchone()
    return Counts(**dict(zip(Counts.__struct_fields__, row, strict=True)))


def runs(board: Board) -> list[RunHead]:
    """The newest runs, the newest first; at most 200."""
    return [_head(row) for row in board.connection.execute(_RUNS, (_MOST_RUNS,))]


def choose(board: Board, run: int | None) -> Chosen:
    """The run with this id, or for None the one worked on last. Raises NotFoundError for an id that is not there."""
    heads = tuple(runs(board))
    if run is None:
        return Chosen(run=_last(board, heads), runs=heads)
    found = next((head for head in heads if head.id == run), None)
    if found is None:
        known = ", ".join(str(head.id) for head in heads[:10]) or "none"
        raise NotFoundError(f"{board.path} has no run {run}. Its newest runs: {known}.")
    return Chosen(run=found, runs=heads)


def _last(board: Board, heads: tuple[RunHead, ...]) -> RunHead | None:
    if not heads:
        return None
    row = board.connection.execute(
        "SELECT run, finished_at FROM evaluation ORDER BY id DESC LIMIT 1"
    ).fetchone()
    # A run without a result was begun just now, or came to nothing: then the one with results is worth more.
    if row is None or heads[0].created_at > row[1]:
        return heads[0]
    return next((head for head in heads if head.id == row[0]), heads[0])


def _head(row: tuple[object, ...]) -> RunHead:
    *plain, settings, last_at, evaluations = row
    names = ("id", "task", "task_id", "tier", "space", "strategy", "arithmetic", "seed", "created_at")
    spec = msgspec.json.decode(str(settings), type=_Spec)
    return msgspec.convert(
        {
            **dict(zip(names, plain, strict=True)),
            "last_at": last_at,
            "evaluations": evaluations,
            "objectives": spec.objectives,
            "space_source": spec.space_source,
        },
        RunHead,
    )
