"""One trio run under a virtual clock that goes the same way each time: the one place that reaches into trio for it."""

from collections.abc import Awaitable, Callable
from typing import Any, TypeVar

import trio
from trio.testing import MockClock

__all__ = ["run_seeded"]

T = TypeVar("T")


def run_seeded(seed: int, act: Callable[[], Awaitable[T]]) -> T:
    """Run `act` while nothing but its own waits lets time pass, and every choice of the scheduler follows from `seed`.

    Trio runs the tasks that are due at one moment in an order that it shuffles, by a generator of its own, and sorts
    them before only if it is told to; without that, they would come in the order in which memory happens to lie. Both
    are set for this run and restored after it. A task that waits for a thread or a socket has no place in such a run.
    """
    # Private names of trio, as its own pytest and hypothesis plug-ins use them: there is no public way.
    scheduler: Any = trio._core._run
    before, sorted_before = scheduler._r.getstate(), scheduler._ALLOW_DETERMINISTIC_SCHEDULING
    scheduler._r.seed(seed)
    scheduler._ALLOW_DETERMINISTIC_SCHEDULING = True
    try:
        return trio.run(act, clock=MockClock(autojump_threshold=0))
    finally:
        scheduler._ALLOW_DETERMINISTIC_SCHEDULING = sorted_before
        scheduler._r.setstate(before)
