"""The lineage that one server holds: read once, grown by what is new, laid out in each of its three ways when asked."""

import math
import threading
from array import array
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TypeVar

from dashboard.columns import Column, pack
from dashboard.lineage_layout import Extinct, Layout, arrange
from dashboard.text import clean
from node.store.board import Board
from node.store.board.kin import Grown, Kin, grow, load
from node.store.board.runs import RunHead, choose

__all__ = ["LIVING", "Held", "Kinship", "told_objective"]

T = TypeVar("T")

LIVING = 8
"""The bit of a column of standings that says that the genome is on the front."""

# Runs of one store are few, and each costs some megabytes at 100,000 genomes.
_MOST_RUNS = 3


@dataclass
class Held:
    """One run's births, their front, and the layouts made so far. `version` counts full layouts: y moved with each.

    `whole` has the last answer with every birth, by the way of its layout, and what it was made from.
    """

    kin: Kin
    living: list[int]
    version: int = 0
    layouts: dict[Extinct, Layout] = field(default_factory=dict)
    whole: dict[Extinct, tuple[tuple[int, int, int], bytes]] = field(default_factory=dict)

    def layout(self, extinct: Extinct) -> Layout:
        """The layout of one way, up to date with the births."""
        found = self.layouts.get(extinct)
        count = len(self.kin)
        if found is None or found.stale(count):
            self.version += 1
            found = self.layouts[extinct] = arrange(self.kin.first, self.living, extinct=extinct)
        else:
            found.append(self.kin.first, self.living)
        return found

    def packed(self, extinct: Extinct, begin: int, told: Mapping[str, object]) -> bytes:
        """The columns from birth `begin` on as bytes, with `told` beside them; kept while nothing changes."""
        if begin:
            return pack(self.columns(extinct, begin), begin=begin, **told)
        self.layout(extinct)
        state = (self.version, len(self.kin), self.kin.last_evaluation)
        before, body = self.whole.get(extinct, (None, b""))
        if before != state:
            body = pack(self.columns(extinct), begin=0, **told)
            self.whole[extinct] = (state, body)
        return body

    def columns(self, extinct: Extinct, begin: int = 0) -> dict[str, Column]:
        """What a page draws, from birth `begin` on; fitness is the run's first objective, NaN where there is none."""
        kin, layout = self.kin, self.layout(extinct)
        return {
            "p1": ("i32", kin.first[begin:]),
            "p2": ("i32", kin.second[begin:]),
            "birth": ("f32", array("f", kin.born[begin:])),
            "y": ("f32", layout.y[begin:]),
            "fitness": ("f32", self.fitness()[begin:]),
            "operator": ("u8", array("B", bytes(kin.operator[begin:]))),
            "standing": ("u8", array("B", bytes(self.standings()[begin:]))),
        }

    def fitness(self) -> "array[float]":
        """The run's first objective of every genome, float32."""
        names = list(self.kin.selected)
        return self.kin.values(names[0]) if names else array("f", [math.nan]) * len(self.kin)

    def standings(self) -> bytearray:
        """Standings of every genome, with the bit of the living."""
        found = self.kin.standing[:]
        for at in self.living:
            found[at] |= LIVING
        return found


class Kinship:
    """Lineages of one store by run. Any thread may ask; one at a time reads and grows them."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._held: dict[tuple[int | None, str], Held] = {}

    def ask(self, board: Board, run: int | None, question: Callable[[Held], T]) -> T:
        """What `question` makes of the lineage of a run (None: the one worked on last), brought up to date first."""
        head = choose(board, run).run
        key = (None, "") if head is None else (head.id, f"{head.task_id} {head.arithmetic} {head.created_at}")
        with self._lock:
            # Others may have grown it since this board's first question: nothing in it may be newer than the board.
            board.look()
            held = self._held.pop(key, None)
            held = _read(board, head) if held is None else _refreshed(board, held)
            # At the end: the run asked for last is the last to be let go.
            self._held[key] = held
            for old in list(self._held)[: max(0, len(self._held) - _MOST_RUNS)]:
                del self._held[old]
            return question(held)


def _read(board: Board, run: RunHead | None) -> Held:
    kin = load(board, run)
    return Held(kin, kin.front())


def _refreshed(board: Board, held: Held) -> Held:
    found: Grown = grow(board, held.kin)
    if found.scored:
        held.living = _front_with(held.kin, held.living, before_count=found.begin, changed=found.changed)
    return held


def _front_with(kin: Kin, living: Sequence[int], *, before_count: int, changed: Sequence[int]) -> list[int]:
    """The front after some births and scores: of the old front and what is new, where that is the whole question."""
    if kin.fresh:
        return kin.front()
    return kin.front(among=sorted({*living, *changed, *range(before_count, len(kin))}))


def told_objective(objective: object) -> dict[str, object]:
    """An objective as a page needs it."""
    return {name: clean(getattr(objective, name)) for name in ("name", "unit", "direction", "scale")}
