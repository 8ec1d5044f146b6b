"""A run's results as the charts of several pages show them: computed once for each state of the store."""

import threading
from collections import OrderedDict
from pathlib import Path

import msgspec
from starlette.requests import Request

from dashboard.context import context_of
from node.store.board import Board
from node.store.board.claims import Foreign, Tiers, claims_of, tiers
from node.store.board.fronts import (
    Cloud,
    Progress,
    cloud,
    compromise,
    front_rows,
    genomes_of,
    hypervolume_of,
    progress,
    values_of,
)
from node.store.board.runs import Counts, RunHead, counts

__all__ = ["Fronts", "Results", "fronts_of"]

_MARKS = 60
_KEPT = 2


class Results(msgspec.Struct, frozen=True, kw_only=True):
    """What is known of a run: every genome's values, its front with peers' claims, and how it came to be.

    `front` are the rows of the own front, before peers' claims, `genomes` the ids of their genomes; `knee` is one of
    the rows or None. `hypervolume` is that of the front as `eqmesh front` gives it: with confirmed claims, by means
    over fresh seeds where there are any. `known` counts all genomes of the store.
    """

    cloud: Cloud
    front: tuple[int, ...]
    genomes: frozenset[str]
    knee: int | None
    claims: tuple[Foreign, ...]
    tiers: Tiers
    hypervolume: float
    known: int
    progress: tuple[Progress, ...]


class Fronts:
    """The results of the runs looked at last; a change of the store makes them anew. For several threads."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._found: OrderedDict[tuple[Path, int], tuple[Counts, Results]] = OrderedDict()

    def results(self, board: Board, run: RunHead, now: float) -> Results:
        """The results of a run; `now`, in seconds since the epoch, decides which bans of peers hold."""
        state, key = counts(board), (board.path, run.id)
        # Held all along: of two pages that ask at once, the second takes what the first has made.
        with self._lock:
            known = self._found.get(key)
            if known is not None and known[0] == state:
                self._found.move_to_end(key)
                return known[1]
            made = _made(board, run, now)
            self._found[key] = (state, made)
            self._found.move_to_end(key)
            while len(self._found) > _KEPT:
                self._found.popitem(last=False)
            return made


def fronts_of(request: Request) -> Fronts:
    """The results that this server holds."""
    return context_of(request).held(Fronts)


def _made(board: Board, run: RunHead, now: float) -> Results:
    found = cloud(board, run)
    course, selected = progress(found, _MARKS)
    front = front_rows(found, selected)
    claims = claims_of(board, run, now)
    placed = tiers([(row, values_of(found, row)) for row in front], claims, run.objectives)
    standing = [
        *(values_of(found, row) for row in placed.own),
        *(one.values for one in placed.joined if one.values is not None),
    ]
    return Results(
        cloud=found,
        front=tuple(front),
        genomes=genomes_of(board, found, front),
        knee=compromise(found, placed.own),
        claims=tuple(claims),
        tiers=placed,
        hypervolume=hypervolume_of(run.objectives, standing),
        known=board.connection.execute("SELECT count(*) FROM genome").fetchone()[0],
        progress=tuple(course),
    )
