"""Tables of levels: spreading them between bounds, and finding the nearest. Pure."""

from bisect import bisect_left
from collections.abc import Sequence
from decimal import ROUND_HALF_EVEN, Context, Decimal

__all__ = ["nearest", "spread"]

# Decimal's ln and exp are correctly rounded by their specification, so tables are the same on every machine.
# 30 digits leave no doubt about the rounding to the 15 at most that are kept.
_ARITHMETIC = Context(prec=30, rounding=ROUND_HALF_EVEN)


def spread(low: float, high: float, count: int, *, log: bool, digits: int) -> tuple[float, ...]:
    """`count` values from `low` to `high`, even on the scale, all but the two ends rounded to `digits` digits."""
    first, last = Decimal(repr(low)), Decimal(repr(high))
    if log:
        first, last = _ARITHMETIC.ln(first), _ARITHMETIC.ln(last)
    span = _ARITHMETIC.subtract(last, first)
    rounding = Context(prec=digits, rounding=ROUND_HALF_EVEN)
    inner = []
    for index in range(1, count - 1):
        step = _ARITHMETIC.divide(_ARITHMETIC.multiply(span, Decimal(index)), Decimal(count - 1))
        at = _ARITHMETIC.add(first, step)
        inner.append(float(rounding.plus(_ARITHMETIC.exp(at) if log else at)))
    return (low, *inner, high)


def nearest(table: Sequence[float], value: float, *, log: bool = False) -> int:
    """Index of the level nearest to `value` in a rising table; the lower one of a tie."""
    right = bisect_left(table, value)
    if right == 0:
        return 0
    if right == len(table):
        return right - 1
    below, above = table[right - 1], table[right]
    # On a log scale the midpoint is the geometric mean; squares need no logarithm.
    closer_below = value * value <= below * above if log else value - below <= above - value
    return right - 1 if closer_below else right
