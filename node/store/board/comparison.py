"""One genome beside others of a run: genes, objectives over fresh seeds with intervals, a curve for each seed."""

from collections.abc import Sequence

import msgspec

from genome import Genome, Value
from node.errors import NotFoundError
from node.store.board.board import Board
from node.store.board.genome import Interval, Training, interval, training
from node.store.board.runs import RunHead
from node.text import summary

__all__ = ["Candidate", "Trial", "candidate"]

_MOST_TRIALS = 60


class Trial(msgspec.Struct, frozen=True, kw_only=True):
    """One evaluation that succeeded, with how its training went."""

    evaluation: int
    purpose: str
    seed: int
    training: Training


class Candidate(msgspec.Struct, frozen=True, kw_only=True):
    """One genome in a run.

    `objectives` are over fresh seeds where `fresh` is true, else the one value by which the genome was selected, which
    flatters; they are empty where no evaluation succeeded. `failed` counts evaluations that came to nothing.
    """

    genome: str
    space: str
    summary: str
    genes: dict[str, Value]
    objectives: dict[str, Interval]
    fresh: bool
    failed: int
    trials: tuple[Trial, ...]


def candidate(board: Board, run: RunHead, genome: str) -> Candidate:
    """The genome with this whole id, and the first 60 evaluations of it in a run. Raises NotFoundError."""
    row = board.connection.execute("SELECT body FROM genome WHERE id = ?", (genome,)).fetchone()
    if row is None:
        raise NotFoundError(f"{board.path} has no genome {genome[:64]!r}. The table of genomes lists them.")
    decoded = Genome.decode(row[0])
    rows = board.connection.execute(
        "SELECT id, purpose, seed, failure IS NULL FROM evaluation WHERE genome = ? AND run = ?"
        " ORDER BY id LIMIT ?",
        (genome, run.id, _MOST_TRIALS),
    ).fetchall()
    good = [(id_, purpose, seed) for id_, purpose, seed, succeeded in rows if succeeded]
    fresh = [id_ for id_, purpose, _ in good if purpose == "rescore"]
    counted = fresh or [id_ for id_, purpose, _ in good if purpose in ("baseline", "search")][:1]
    return Candidate(
        genome=genome,
        space=decoded.space,
        summary=summary(decoded),
        genes=dict(decoded.values),
        objectives=_intervals(board, counted, [objective.name for objective in run.objectives]),
        fresh=bool(fresh),
        failed=len(rows) - len(good),
        trials=tuple(
            Trial(evaluation=id_, purpose=purpose, seed=seed, training=training(board, id_))
            for id_, purpose, seed in good
        ),
    )


def _intervals(board: Board, evaluations: Sequence[int], names: Sequence[str]) -> dict[str, Interval]:
    if not evaluations:
        return {}
    ask = "SELECT value FROM objective WHERE evaluation = ? AND name = ?"
    columns = {
        name: [float(board.connection.execute(ask, (id_, name)).fetchone()[0]) for id_ in evaluations]
        for name in names
    }
    return {name: interval(values) for name, values in columns.items()}
