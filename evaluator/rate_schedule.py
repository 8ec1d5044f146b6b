"""Shares of the learning rate over a training, the same to the last bit on every machine. Pure."""

from decimal import Context, Decimal

from evaluator.errors import EvaluatorError

__all__ = ["SCHEDULES", "rate_share"]

SCHEDULES = ("linear", "constant", "cosine", "warm-up-linear", "warm-up-cosine")
"""How the learning rate moves: down to 0 in a line or half a cosine, after a rise or not, or not at all."""

# A tenth of the steps, as in most recipes of large networks.
_WARM_UP = 10
_PI = Decimal("3.14159265358979323846264338328")
# The platform's cosine may differ in its last bit from another's, and with it a training in exact-1.
_CONTEXT = Context(prec=30)


def rate_share(schedule: str, step: int, steps: int) -> float:
    """Share of the learning rate, in [0, 1], at `step` (from 0) of `steps`.

    A warm-up rises to the whole rate over the first tenth of the steps, which are not part of the fall. Raises
    EvaluatorError for an unknown schedule.
    """
    if schedule not in SCHEDULES:
        raise EvaluatorError(f"a schedule is one of {', '.join(SCHEDULES)}, got {schedule!r}.")
    shape = schedule.removeprefix("warm-up-")
    warm = steps // _WARM_UP if shape != schedule else 0
    if step < warm:
        return (step + 1) / (warm + 1)
    if shape == "constant":
        return 1.0
    done, all_ = step - warm, steps - warm
    return 1.0 - done / all_ if shape == "linear" else _half_cosine(done, all_)


def _half_cosine(done: int, all_: int) -> float:
    """(1 + cos(pi done/all))/2, by its series in decimal arithmetic."""
    angle = _CONTEXT.divide(_CONTEXT.multiply(_PI, Decimal(done)), Decimal(all_))
    square = _CONTEXT.multiply(angle, angle)
    term = total = Decimal(1)
    # The twentieth term is below pi^40/40! = 1e-28.
    for n in range(1, 20):
        term = _CONTEXT.divide(_CONTEXT.multiply(term, _CONTEXT.minus(square)), Decimal((2 * n - 1) * 2 * n))
        total = _CONTEXT.add(total, term)
    return min(1.0, max(0.0, float(_CONTEXT.divide(_CONTEXT.add(Decimal(1), total), Decimal(2)))))
