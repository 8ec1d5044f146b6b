"""Tasks and runs of a store, how fast results come, and what the store takes on disk."""

import os
from bisect import bisect_left
from collections.abc import Sequence
from itertools import pairwise
from pathlib import Path
from typing import Final

import msgspec

from evaluator.jobs import Calibration
from evaluator.objectives import Objective
from node.store.board.board import Board
from node.store.board.runs import RunHead, runs
from node.store.board.spaces import SIZES
from node.store.connection import weights_folder_of

__all__ = [
    "BestLine",
    "Mark",
    "Pace",
    "RunLine",
    "StoreSize",
    "TaskLine",
    "calibrations",
    "pace",
    "per_hour",
    "store_size",
    "task_lines",
]

_MARKS: Final = 160
_WINDOWS: Final = 40
_HOUR_S: Final = 3600.0
MOST_FILES: Final = 20_000
"""Files of weights that are counted; a folder with more is said to have at least these."""


class BestLine(msgspec.Struct, frozen=True, kw_only=True):
    """The best value of an objective in a run's search, and whose it is; baselines are left out."""

    objective: Objective
    value: float
    genome: str


class RunLine(msgspec.Struct, frozen=True, kw_only=True):
    """One run: what it was told to do, what state its log leaves it in, and what it recorded.

    `state` is running, finished or stopped by the log alone: a node that was killed wrote nothing. `counts` are
    evaluations by purpose, `failures` by kind.
    """

    head: RunHead
    state: str
    why: str
    counts: dict[str, int]
    failures: dict[str, int]
    best: tuple[BestLine, ...]
    settings: dict[str, object]


class TaskLine(msgspec.Struct, frozen=True, kw_only=True):
    """One task at one tier in one arithmetic class, which alone are compared, with its runs, newest first.

    `split` is empty for a task that is not built in: its code is not loaded here.
    """

    task: str
    task_id: str
    tier: str
    arithmetic: str
    split: str
    objectives: tuple[Objective, ...]
    evaluations: int
    failures: int
    best: tuple[BestLine, ...]
    runs: tuple[RunLine, ...]


class Mark(msgspec.Struct, frozen=True, kw_only=True):
    """So many evaluations were on record at a time (seconds since the epoch)."""

    evaluations: int
    at: float


class Pace(msgspec.Struct, frozen=True, kw_only=True):
    """How results came: marks evenly spaced over the record, and evaluations in the hour before the newest."""

    marks: tuple[Mark, ...]
    last_hour: int
    last_at: float | None


class StoreSize(msgspec.Struct, frozen=True, kw_only=True):
    """Bytes of the store's file, its write-ahead log and the weights beside it. `counted_all`: no file was left out."""

    path: str
    store_bytes: int
    wal_bytes: int
    weights_bytes: int
    weights_files: int
    counted_all: bool
    disk_free_bytes: int
    disk_bytes: int
    rows: dict[str, int]


def task_lines(board: Board) -> list[TaskLine]:
    """The tasks of a store's runs, the one worked on last first."""
    lines = [_run_line(board, head) for head in runs(board)]
    groups: dict[tuple[str, str], list[RunLine]] = {}
    for line in lines:
        groups.setdefault((line.head.task_id, line.head.arithmetic), []).append(line)
    found = [_task_line(group) for group in groups.values()]
    return sorted(found, key=lambda line: -max(run.head.last_at or run.head.created_at for run in line.runs))


def _task_line(group: Sequence[RunLine]) -> TaskLine:
    head = group[0].head
    best: list[BestLine] = []
    for objective in head.objectives:
        every = [each for run in group for each in run.best if each.objective.name == objective.name]
        if every:
            best.append((max if objective.direction == "max" else min)(every, key=lambda each: each.value))
    size = SIZES.get(head.task)
    return TaskLine(
        task=head.task,
        task_id=head.task_id,
        tier=head.tier,
        arithmetic=head.arithmetic,
        split="" if size is None else size.split,
        objectives=head.objectives,
        evaluations=sum(sum(run.counts.values()) for run in group),
        failures=sum(sum(run.failures.values()) for run in group),
        best=tuple(best),
        runs=tuple(group),
    )


def _run_line(board: Board, head: RunHead) -> RunLine:
    ask = board.connection.execute
    state, why = _state(board, head.id)
    (settings,) = ask("SELECT settings FROM run WHERE id = ?", (head.id,)).fetchone()
    return RunLine(
        head=head,
        state=state,
        why=why,
        counts=dict(
            ask("SELECT purpose, count(*) FROM evaluation WHERE run = ? GROUP BY purpose", (head.id,))
        ),
        failures=dict(
            ask(
                "SELECT failure, count(*) FROM evaluation WHERE run = ? AND failure IS NOT NULL GROUP BY failure",
                (head.id,),
            )
        ),
        best=tuple(best for each in head.objectives if (best := _best(board, head.id, each)) is not None),
        settings=msgspec.json.decode(settings, type=dict),
    )


def _state(board: Board, run: int) -> tuple[str, str]:
    row = board.connection.execute(
        "SELECT kind, json_extract(body, '$.why') FROM event WHERE kind IN ('run.started', 'run.resumed',"
        " 'run.stopped', 'run.finished') AND json_extract(body, '$.run') = ? ORDER BY seq DESC LIMIT 1",
        (run,),
    ).fetchone()
    if row is None:
        return "unknown", ""
    kind, why = row
    words = {"run.stopped": "stopped", "run.finished": "finished"}
    return words.get(kind, "running"), str(why or "")


def _best(board: Board, run: int, objective: Objective) -> BestLine | None:
    extreme = "max" if objective.direction == "max" else "min"
    # SQLite gives the other columns of the row that has the extreme.
    value, genome = board.connection.execute(
        f"SELECT {extreme}(o.value), e.genome FROM evaluation e JOIN objective o ON o.evaluation = e.id"
        " WHERE e.run = ? AND e.purpose = 'search' AND o.name = ?",
        (run, objective.name),
    ).fetchone()
    return None if value is None else BestLine(objective=objective, value=value, genome=genome)


def pace(board: Board) -> Pace:
    """How fast results came, from some 160 looks at the record: evaluations are numbered as they finish."""
    ask = board.connection.execute
    low, high = ask("SELECT min(id), max(id) FROM evaluation").fetchone()
    if low is None:
        return Pace(marks=(), last_hour=0, last_at=None)
    step = max(1, (high - low) // _MARKS)
    ids = dict.fromkeys([*range(low, high + 1, step), high])
    marks = [
        Mark(evaluations=id_ - low + 1, at=_finished(board, id_, low))
        for id_ in ids
    ]  # fmt: skip
    last = marks[-1].at
    first_of_hour = bisect_left(
        range(low, high + 1), last - _HOUR_S, key=lambda id_: _finished(board, id_, low)
    )
    return Pace(marks=tuple(marks), last_hour=high - low + 1 - first_of_hour, last_at=last)


def _finished(board: Board, id_: int, low: int) -> float:
    """When the evaluation with this number, or the one before it where a number is missing, had finished."""
    (at,) = board.connection.execute(
        "SELECT finished_at FROM evaluation WHERE id <= ? AND id >= ? ORDER BY id DESC LIMIT 1", (id_, low)
    ).fetchone()
    return float(at)


def per_hour(marks: Sequence[Mark]) -> list[tuple[float, float]]:
    """Evaluations an hour between marks that lie at least a fortieth of the record apart, each with the later time.

    Results that were trained together arrive together: from one to the next there is no pace.
    """
    if not marks:
        return []
    least = (marks[-1].at - marks[0].at) / _WINDOWS
    kept = [marks[0]]
    for mark in marks[1:]:
        if mark.at - kept[-1].at >= least:
            kept.append(mark)
    return [
        (after.at, (after.evaluations - before.evaluations) / (after.at - before.at) * _HOUR_S)
        for before, after in pairwise(kept)
        if after.at > before.at
    ]


def calibrations(board: Board) -> list[tuple[int, Calibration]]:
    """What each run's speeds are predicted by, newest run first; runs of functions have none."""
    rows = board.connection.execute(
        "SELECT id, calibration FROM run WHERE calibration IS NOT NULL ORDER BY id DESC"
    )
    return [(run, msgspec.json.decode(text, type=Calibration)) for run, text in rows]


def store_size(board: Board) -> StoreSize:
    """What the store takes on disk, and how many rows its tables have."""
    files, weights, complete = _weigh(weights_folder_of(board.path))
    disk = os.statvfs(board.path.resolve().parent)
    tables = ("run", "genome", "birth", "evaluation", "event", "signed", "finding")
    return StoreSize(
        path=board.path.name,
        store_bytes=_bytes(board.path),
        wal_bytes=_bytes(board.path.with_name(f"{board.path.name}-wal")),
        weights_bytes=weights,
        weights_files=files,
        counted_all=complete,
        disk_free_bytes=disk.f_bavail * disk.f_frsize,
        disk_bytes=disk.f_blocks * disk.f_frsize,
        rows={
            table: board.connection.execute(f"SELECT count(*) FROM {table}").fetchone()[0] for table in tables
        },
    )


def _bytes(path: Path) -> int:
    try:
        return path.stat().st_size
    except FileNotFoundError:
        return 0  # no log: the last writer closed the store


def _weigh(folder: Path) -> tuple[int, int, bool]:
    """Files of a folder, their bytes, and whether all were counted; of a folder that is not there, none."""
    number = size = 0
    try:
        with os.scandir(folder) as entries:
            for entry in entries:
                if number >= MOST_FILES:
                    return number, size, False
                try:
                    size += entry.stat().st_size
                except FileNotFoundError:
                    continue  # taken away while we looked
                number += 1
    except FileNotFoundError:
        return 0, 0, True
    return number, size, True
