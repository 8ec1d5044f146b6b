"""Ancestry as columns: who descends from whom, by which operator, and what came of it."""

import math
import statistics
from array import array
from bisect import bisect_left
from collections.abc import Iterable, Iterator
from typing import Literal

import msgspec

from genome import Genome, diff
from genome.conditions import Value
from node.errors import NotFoundError
from node.store.board.board import Board
from node.store.board.fronts import Cloud, Scored, front_rows
from node.store.board.runs import RunHead
from node.text import summary

__all__ = [
    "STANDINGS",
    "Gene",
    "Grown",
    "Kin",
    "Standing",
    "Step",
    "all_ids",
    "change_of",
    "genomes_at",
    "grow",
    "ids_at",
    "load",
    "ordinal_of",
    "steps",
]

Standing = Literal["unmeasured", "failed", "scored", "fresh", "baseline"]
"""What is on record of a genome: nothing, only failures, a score, a score on fresh seeds too, or it is a baseline."""

STANDINGS: tuple[Standing, ...] = ("unmeasured", "failed", "scored", "fresh", "baseline")
"""Standings in the order of the numbers that stand for them in columns."""

_UNMEASURED, _FAILED, _SCORED, _FRESH, _BASELINE = range(len(STANDINGS))
# Operators have one byte; no search has as many, but presets of strangers' stores may.
_MOST_OPERATORS = 255
_OTHER = "other"
_MOST_VARIABLES = 500


class Kin:
    """The first birth of every genome, oldest first, as columns that grow with the store; whoever loads it owns it.

    `first` and `second` are the places of the parents in these columns, -1 where there is none or where it was born
    here later: a genome that came from elsewhere may reach a store before its parents. `selected` holds each objective
    of the run's task and class as the genome was selected by it, NaN where there is none, `fresh` what it reached on
    fresh seeds (None for a seed without a result).
    """

    def __init__(self, run: RunHead | None) -> None:
        self.run = run
        self.first = array("i")
        self.second = array("i")
        self.born = array("i")
        self.operator = bytearray()
        self.operators: list[str] = []
        self.standing = bytearray()
        names = () if run is None else tuple(objective.name for objective in run.objectives)
        self.selected = {name: array("d") for name in names}
        self.fresh: dict[int, list[dict[str, float] | None]] = {}
        self.last_evaluation = 0

    def __len__(self) -> int:
        return len(self.first)

    def values(self, name: str) -> "array[float]":
        """One objective of every genome: the mean over fresh seeds where there are any, else as selected."""
        found = array("f", self.selected[name])
        for at in self.fresh:
            mean = self._fresh_mean(at, name)
            if mean is not None:
                found[at] = mean
        return found

    def values_at(self, at: int) -> dict[str, float]:
        """The objectives of one genome, chosen as in `values`; empty where there are none."""
        found = {}
        for name, values in self.selected.items():
            mean = self._fresh_mean(at, name)
            value = values[at] if mean is None else mean
            if not math.isnan(value):
                found[name] = value
        return found

    def front(self, among: Iterable[int] | None = None) -> list[int]:
        """Places of the front of the run's task and class, by the rule that every front here follows.

        `among` are the places that can be on it, where that is known: a front and what came since.
        """
        if self.run is None:
            return []
        asked = range(len(self)) if among is None else among
        places = array("i", (at for at in asked if self.standing[at] >= _SCORED))
        scored = {row: self._scored(at) for row, at in enumerate(places) if at in self.fresh}
        cloud = Cloud(
            run=self.run.id,
            objectives=self.run.objectives,
            evaluations=places,
            orders=places,
            baseline=bytearray(self.standing[at] == _BASELINE for at in places),
            selected=tuple(array("d", (column[at] for at in places)) for column in self.selected.values()),
            scored=scored,
            tried=len(places),
            failed=0,
            last=self.last_evaluation,
        )
        return [places[row] for row in front_rows(cloud)]

    def _scored(self, at: int) -> Scored:
        good = [found for found in self.fresh[at] if found is not None]
        means = tuple(statistics.fmean(each[name] for each in good) for name in self.selected) if good else ()
        return Scored(n=len(good), failed=len(self.fresh[at]) - len(good), means=means, spreads=())

    def _fresh_mean(self, at: int, name: str) -> float | None:
        good = [found[name] for found in self.fresh.get(at, ()) if found is not None]
        return statistics.fmean(good) if good else None

    def add(self, births: Iterable[tuple[int, str, tuple[int, int]]]) -> None:
        """Append births: the number of each, its operator, and the places of its parents."""
        numbers = {name: number for number, name in enumerate(self.operators)}
        for born, operator, (first, second) in births:
            number = numbers.get(operator)
            if number is None:
                number = numbers[operator] = self._new_operator(operator)
            self.born.append(born)
            self.first.append(first)
            self.second.append(second)
            self.operator.append(number)
        missing = len(self.born) - len(self.standing)
        self.standing += bytes([_UNMEASURED]) * missing
        for values in self.selected.values():
            values.extend(array("d", [math.nan]) * missing)

    def _new_operator(self, operator: str) -> int:
        if len(self.operators) < _MOST_OPERATORS:
            last = len(self.operators) == _MOST_OPERATORS - 1
            self.operators.append(_OTHER if last else operator)
        return len(self.operators) - 1

    def score(self, at: int, purpose: str, found: dict[str, float] | None) -> None:
        """Take in one evaluation; `found` is None for a failure."""
        if purpose == "rescore":
            self.fresh.setdefault(at, []).append(found)
            if found is not None and self.standing[at] == _SCORED:
                self.standing[at] = _FRESH
        elif self.standing[at] in (_UNMEASURED, _FAILED):
            if found is None:
                self.standing[at] = _FAILED
                return
            self.standing[at] = _BASELINE if purpose == "baseline" else _SCORED
            for name, column in self.selected.items():
                column[at] = found.get(name, math.nan)


class Grown(msgspec.Struct, frozen=True, kw_only=True):
    """What came since: births from `begin` on, and places before it of which something else is said now.

    `scored` says whether there was an evaluation of this task and class.
    """

    begin: int
    changed: tuple[int, ...]
    scored: bool


class Gene(msgspec.Struct, frozen=True, kw_only=True):
    """One gene that differs from a parent; None where it is not expressed."""

    gene: str
    before: Value | None
    after: Value | None


class Step(msgspec.Struct, frozen=True, kw_only=True):
    """One genome on a line of descent, with what its birth changed against its first and its second parent.

    `at` is its place in the columns, `parents` those of its known parents.
    """

    at: int
    id: str
    born: int
    operator: str
    standing: Standing
    parents: tuple[int, ...]
    summary: str
    values: dict[str, float]
    changes: tuple[Gene, ...]
    against_second: tuple[Gene, ...]


_BIRTHS = "SELECT genome, operator, parent1, parent2, born FROM birth"
_EVALUATIONS = """SELECT id, genome, purpose, failure IS NOT NULL FROM evaluation
 WHERE id > ? AND task_id = ? AND arithmetic = ? AND purpose IN ('baseline', 'search', 'rescore') ORDER BY id"""
_OBJECTIVES = "SELECT evaluation, name, value FROM objective WHERE evaluation > ? ORDER BY evaluation"


def load(board: Board, run: RunHead | None) -> Kin:
    """Every birth of the store, with what the task and class of `run` made of it."""
    kin = Kin(run)
    # Ids as bytes: a hundred thousand of them as text, with all rows in memory, would be the most that a reader holds.
    places: dict[bytes, int] = {}

    def place(genome: str | None) -> int:
        return -1 if genome is None else places.get(genome.encode(), -1)

    def births() -> Iterator[tuple[int, str, tuple[int, int]]]:
        for genome, operator, first, second, born in board.connection.execute(f"{_BIRTHS} ORDER BY born"):
            if place(genome) < 0:
                yield born, operator, _parents(place(first), place(second))
                places[genome.encode()] = len(places)

    kin.add(births())
    for genome, purpose, found in _scores(board, kin):
        at = place(genome)
        if at >= 0:
            kin.score(at, purpose, found)
    return kin


def grow(board: Board, kin: Kin) -> Grown:
    """Take in what was recorded since, by looking at that alone."""
    begin = len(kin)
    last = kin.born[-1] if begin else 0
    rows = board.connection.execute(
        f"{_BIRTHS} b WHERE born > ? AND NOT EXISTS"
        " (SELECT 1 FROM birth e WHERE e.genome = b.genome AND e.born < b.born) ORDER BY born",
        (last,),
    )
    for _, operator, first, second, born in rows.fetchall():
        # One by one: a newcomer's parent may be the newcomer before it.
        kin.add([(born, operator, _parents(_place(board, kin, first), _place(board, kin, second)))])
    changed = set()
    scores = list(_scores(board, kin))
    for genome, purpose, found in scores:
        place = _place(board, kin, genome)
        if place >= 0:
            kin.score(place, purpose, found)
        if 0 <= place < begin:
            changed.add(place)
    return Grown(begin=begin, changed=tuple(sorted(changed)), scored=bool(scores))


def _parents(first: int, second: int) -> tuple[int, int]:
    """A known second parent stands for a first one that is not known: the tree has no other place for the child."""
    return (first, second) if first >= 0 else (second, -1)


def _place(board: Board, kin: Kin, genome: str | None) -> int:
    """Place of a genome in the columns, -1 where it has none (yet)."""
    if genome is None:
        return -1
    (born,) = board.connection.execute("SELECT min(born) FROM birth WHERE genome = ?", (genome,)).fetchone()
    if born is None:
        return -1
    place = bisect_left(kin.born, born)
    return place if place < len(kin) and kin.born[place] == born else -1


def _scores(board: Board, kin: Kin) -> Iterator[tuple[str, str, dict[str, float] | None]]:
    """Genome, purpose and objectives (None for a failure) of each evaluation since the last one that was read."""
    if kin.run is None:
        return
    after = kin.last_evaluation
    found = board.connection.execute(_OBJECTIVES, (after,))
    ahead: tuple[int, str, float] | None = next(found, None)
    for id_, genome, purpose, failed in board.connection.execute(
        _EVALUATIONS, (after, kin.run.task_id, kin.run.arithmetic)
    ):
        values: dict[str, float] = {}
        # Both go by the evaluation's number, so that one pass over each is enough.
        while ahead is not None and ahead[0] <= id_:
            if ahead[0] == id_:
                values[ahead[1]] = ahead[2]
            ahead = next(found, None)
        yield genome, purpose, None if failed else values
    # Also past those of other runs, so that nobody walks over them again.
    (last,) = board.connection.execute("SELECT coalesce(max(id), 0) FROM evaluation").fetchone()
    kin.last_evaluation = max(after, last)


def ids_at(board: Board, kin: Kin, places: Iterable[int]) -> dict[int, str]:
    """Ids of the genomes at these places."""
    by_birth = {kin.born[at]: at for at in places if 0 <= at < len(kin)}
    return {
        by_birth[born]: str(genome)
        for born, genome in _in_parts(board, "SELECT born, genome FROM birth WHERE born IN", by_birth)
    }


def all_ids(board: Board, kin: Kin) -> list[str]:
    """Ids of all genomes, in order."""
    ids = dict(board.connection.execute("SELECT born, genome FROM birth"))
    return [str(ids[born]) for born in kin.born]


def genomes_at(board: Board, kin: Kin, places: Iterable[int]) -> dict[int, Genome]:
    """Genomes at these places."""
    by_birth = {kin.born[at]: at for at in places if 0 <= at < len(kin)}
    query = "SELECT born, body FROM birth JOIN genome ON genome.id = genome WHERE born IN"
    found = ((by_birth[born], body) for born, body in _in_parts(board, query, by_birth))
    return {at: Genome.decode(body) for at, body in found if isinstance(body, bytes)}


def _in_parts(board: Board, query: str, keys: Iterable[int]) -> Iterator[tuple[int, str | bytes]]:
    # SQLite takes only so many variables in one question.
    wanted = list(keys)
    for begin in range(0, len(wanted), _MOST_VARIABLES):
        part = wanted[begin : begin + _MOST_VARIABLES]
        yield from board.connection.execute(f"{query} ({', '.join('?' * len(part))})", part)


def ordinal_of(board: Board, kin: Kin, prefix: str) -> int:
    """Place of the genome whose id begins so (at least six digits). Raises NotFoundError where it is not one."""
    text = prefix.lower()
    rows = board.connection.execute(
        "SELECT DISTINCT genome FROM birth WHERE genome >= ? AND genome < ? LIMIT 2", (text, f"{text}g")
    ).fetchall()
    if len(text) < 6 or len(rows) != 1:
        few = "several genomes begin" if len(rows) > 1 else "no genome begins"
        raise NotFoundError(
            f"a genome is named by at least six digits of its id; {few} with {prefix[:64]!r} in {board.path}. Give "
            "another id, or more digits of it."
        )
    place = _place(board, kin, rows[0][0])
    if place < 0:
        raise NotFoundError(f"the birth of {prefix[:64]!r} is not among those read yet. Reload in a moment.")
    return place


def steps(board: Board, kin: Kin, places: Iterable[int]) -> list[Step]:
    """What is to be said of the genomes at these places, in that order."""
    chosen = list(places)
    wanted = {*chosen, *(kin.first[at] for at in chosen), *(kin.second[at] for at in chosen)} - {-1}
    genomes = genomes_at(board, kin, wanted)
    return [_step(kin, at, genomes) for at in chosen]


def _step(kin: Kin, at: int, genomes: dict[int, Genome]) -> Step:
    genome = genomes[at]
    parents = tuple(parent for parent in (kin.first[at], kin.second[at]) if parent >= 0)
    against = [change_of(genomes[parent], genome) for parent in parents]
    return Step(
        at=at,
        id=genome.id,
        born=kin.born[at],
        operator=kin.operators[kin.operator[at]],
        standing=STANDINGS[kin.standing[at]],
        parents=parents,
        summary=summary(genome),
        values=kin.values_at(at),
        changes=against[0] if against else (),
        against_second=against[1] if len(against) > 1 else (),
    )


def change_of(before: Genome, after: Genome) -> tuple[Gene, ...]:
    """The genes in which two genomes differ."""
    return tuple(Gene(gene=c.gene, before=c.before, after=c.after) for c in diff(before, after))
