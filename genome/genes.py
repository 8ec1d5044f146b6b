"""Typed genes: each a finite ordered table of levels between bounds, with a condition. Pure.

Variation moves along the table by integer steps, so a child is the same on every machine; a value given by
hand may lie anywhere between the bounds. Tables are computed in decimal arithmetic, never by the platform's
mathematics library.
"""

import math
import re
from collections.abc import Sequence
from dataclasses import dataclass, field
from itertools import pairwise
from typing import ClassVar, Literal, TypeGuard

from genome.conditions import ALWAYS, All, Any, AtLeast, Condition, Is, Value
from genome.errors import GenomeError
from genome.levels import nearest, spread
from genome.quoting import hint, show

__all__ = ["ALWAYS", "All", "Any", "AtLeast", "Choice", "Condition", "Gene", "Integer", "Is", "Real", "Value"]

MOST_LEVELS = 4096
# Squares of reals must not overflow (see levels.nearest), and integers must fit in 64 bits.
LARGEST_REAL = 1e150
LARGEST_INTEGER = 2**63 - 1
NAME = re.compile(r"[A-Za-z][A-Za-z0-9_.-]{0,63}")


@dataclass(frozen=True)
class Real:
    """A floating-point gene with `levels` evenly spaced levels from `low` to `high`, on `scale`.

    Levels between the bounds are rounded to `digits` significant decimal digits. Raises GenomeError where
    that would make two levels equal, or where the bounds make no interval.
    """

    name: str
    low: float
    high: float
    levels: int
    scale: Literal["linear", "log"] = "linear"
    digits: int = field(default=3, kw_only=True)
    doc: str = field(default="", kw_only=True)
    when: Condition = field(default=ALWAYS, kw_only=True)
    table: tuple[float, ...] = field(init=False, repr=False, compare=False)
    varied: ClassVar[bool] = True

    def __post_init__(self) -> None:
        _check_name(self.name)
        finite = all(_is_number(bound) and abs(bound) <= LARGEST_REAL for bound in (self.low, self.high))
        if not finite or not self.low < self.high:
            raise GenomeError(
                f"gene {self.name!r} expects bounds low < high within 1e150, got {show(self.low)} and "
                f"{show(self.high)}. Give two different numbers, the smaller one first."
            )
        if self.scale not in ("linear", "log") or (self.scale == "log" and self.low <= 0):
            raise GenomeError(
                f"gene {self.name!r} expects scale 'linear', or 'log' with low > 0; got {show(self.scale)} with "
                f"low {show(self.low)}. Change the scale or the bound."
            )
        if not (_is_whole(self.levels) and 2 <= self.levels <= MOST_LEVELS and 1 <= self.digits <= 15):
            raise GenomeError(
                f"gene {self.name!r} expects 2 to {MOST_LEVELS} levels of 1 to 15 digits, got "
                f"{show(self.levels)} of {show(self.digits)}. Give fewer."
            )
        # Adding 0.0 turns -0.0 into 0.0: equal values must have equal bytes.
        object.__setattr__(self, "low", float(self.low) + 0.0)
        object.__setattr__(self, "high", float(self.high) + 0.0)
        table = spread(self.low, self.high, self.levels, log=self.scale == "log", digits=self.digits)
        if any(a >= b for a, b in pairwise(table)):
            raise GenomeError(
                f"gene {self.name!r} expects {self.levels} different levels, but {self.digits} digits cannot tell "
                "them apart. Give fewer levels or more digits."
            )
        object.__setattr__(self, "table", table)

    @property
    def domain(self) -> str:
        """The lawful values, in words."""
        return f"lie in [{self.low}, {self.high}]"

    def check(self, value: object) -> float:
        """The value as a float; GenomeError unless it is a finite number between the bounds."""
        # The comparison comes first: it is exact for integers of any size, where float() would overflow.
        if _is_number(value) and self.low <= value <= self.high:
            return float(value) + 0.0
        raise _refusal(self.name, self.domain, value)

    def snap(self, value: object) -> int:
        """Index of the level nearest to a lawful value, on the gene's scale; the lower one of a tie."""
        return nearest(self.table, self.check(value), log=self.scale == "log")

    def clip(self, value: object) -> float:
        """The lawful value nearest to the given number; GenomeError for what is no number."""
        if _is_number(value):
            return self.low if value < self.low else self.high if value > self.high else float(value) + 0.0
        raise _refusal(self.name, self.domain, value)


@dataclass(frozen=True)
class Integer:
    """A whole-number gene: every integer from `low` to `high`, or just the given `levels` between them.

    Raises GenomeError for bounds that make no interval, or levels that do not rise between them.
    """

    name: str
    low: int
    high: int
    levels: Sequence[int] | None = None
    doc: str = field(default="", kw_only=True)
    when: Condition = field(default=ALWAYS, kw_only=True)
    table: tuple[int, ...] = field(init=False, repr=False, compare=False)
    varied: ClassVar[bool] = True

    def __post_init__(self) -> None:
        _check_name(self.name)
        whole = all(_is_whole(bound) and abs(bound) <= LARGEST_INTEGER for bound in (self.low, self.high))
        if not whole or not self.low < self.high:
            raise GenomeError(
                f"gene {self.name!r} expects 64-bit whole bounds low < high, got {show(self.low)} and "
                f"{show(self.high)}. Give two different integers, the smaller one first."
            )
        if self.levels is None and self.high - self.low >= MOST_LEVELS:
            raise GenomeError(
                f"gene {self.name!r} spans more than {MOST_LEVELS} integers. Pass the levels that a search is to "
                "try, e.g. levels=(1, 2, 4, 8)."
            )
        table = tuple(range(self.low, self.high + 1) if self.levels is None else self.levels)
        lawful = all(_is_whole(level) and self.low <= level <= self.high for level in table)
        if not lawful or len(table) > MOST_LEVELS or not table or sorted(set(table)) != list(table):
            raise GenomeError(
                f"gene {self.name!r} expects 1 to {MOST_LEVELS} rising integer levels in [{self.low}, "
                f"{self.high}], got others. Sort them, drop repeats and keep them between the bounds."
            )
        object.__setattr__(self, "levels", None if self.levels is None else table)
        object.__setattr__(self, "table", table)

    @property
    def domain(self) -> str:
        """The lawful values, in words."""
        return f"be an integer in [{self.low}, {self.high}]"

    def check(self, value: object) -> int:
        """The value itself; GenomeError unless it is an integer between the bounds."""
        if _is_whole(value) and self.low <= value <= self.high:
            return int(value)
        raise _refusal(self.name, self.domain, value)

    def snap(self, value: object) -> int:
        """Index of the level nearest to a lawful value; the lower one of a tie."""
        return nearest(self.table, self.check(value))

    def clip(self, value: object) -> int:
        """The integer between the bounds nearest to the given number; GenomeError for what is no number."""
        if _is_number(value):
            return self.low if value < self.low else self.high if value > self.high else round(value)
        raise _refusal(self.name, self.domain, value)


@dataclass(frozen=True)
class Choice:
    """A gene that takes one of the named options.

    With `varied=False` no operator ever changes it: a child takes its first parent's option, and a random
    genome the first option.
    """

    name: str
    options: Sequence[str]
    doc: str = field(default="", kw_only=True)
    when: Condition = field(default=ALWAYS, kw_only=True)
    varied: bool = field(default=True, kw_only=True)
    table: tuple[str, ...] = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        _check_name(self.name)
        table = tuple(self.options)
        # A plain string would pass for a list of its letters.
        lawful = not isinstance(self.options, str) and all(
            isinstance(option, str) and 0 < len(option) <= 64 and option.isascii() and option.isprintable()
            for option in table
        )
        if not lawful or not 1 <= len(table) <= 256 or len(set(table)) != len(table):
            raise GenomeError(
                f"gene {self.name!r} expects a sequence of 1 to 256 different option names of 1 to 64 printable "
                f"characters, got {show(self.options)}. Write e.g. options=('adam', 'sgd')."
            )
        object.__setattr__(self, "options", table)
        object.__setattr__(self, "table", table)

    @property
    def domain(self) -> str:
        """The lawful values, in words."""
        return f"be one of {', '.join(repr(option) for option in self.table)}"

    def check(self, value: object) -> str:
        """The option itself; GenomeError, with the nearest option, for anything else."""
        if isinstance(value, str) and value in self.table:
            return self.table[self.table.index(value)]
        raise _refusal(self.name, self.domain, value, extra=hint(value, self.table))

    def snap(self, value: object) -> int:
        """Index of the option."""
        return self.table.index(self.check(value))

    def clip(self, value: object) -> str:
        """The option itself: a word cannot be clipped, so another one is a GenomeError."""
        return self.check(value)


Gene = Real | Integer | Choice


def _is_whole(value: object) -> TypeGuard[int]:
    # True and False are ints to Python, never to a genome.
    return isinstance(value, int) and not isinstance(value, bool)


def _is_number(value: object) -> TypeGuard[int | float]:
    # math.isnan would overflow on a huge integer, so it may only see floats.
    return _is_whole(value) or (isinstance(value, float) and not math.isnan(value))


def _check_name(name: object) -> None:
    if not isinstance(name, str) or not NAME.fullmatch(name):
        raise GenomeError(
            f"a gene's name expects a letter and then up to 63 letters, digits, '_', '.' or '-', got {show(name)}. "
            "Rename it."
        )


def _refusal(name: str, domain: str, value: object, *, extra: str = "") -> GenomeError:
    return GenomeError(f"gene {name!r} must {domain}, got {show(value)}.{extra}")
