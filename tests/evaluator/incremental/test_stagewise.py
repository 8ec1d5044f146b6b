"""The loop that every kind of class-incremental run shares, on a run that adds up what it read."""

from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import pytest

from evaluator.incremental.data import AccessError, ClassGuard, IncrementalData
from evaluator.incremental.settings import Regime
from evaluator.incremental.stages import GrowthRound
from evaluator.incremental.stagewise import Checkpointed, Method, learn_stages

LABELS = np.array([0, 1, 1, 2], dtype=np.int64)
DATA = IncrementalData("few", np.zeros((4, 1), np.float32), LABELS, np.zeros((4, 1), np.float32), LABELS)
REGIME = Regime(grows=False, source="none")


@dataclass(frozen=True)
class Plan:
    data: IncrementalData = DATA
    order: tuple[tuple[int, ...], ...] = ((0,), (1,), (2,))
    regime: Regime = REGIME


@dataclass(frozen=True)
class State:
    stage: int
    rows: int


@dataclass
class Kept:
    """A folder of one checkpoint, and what was asked of the method."""

    point: Checkpointed[State] | None = None
    asked: list[str] = field(default_factory=list)

    def begin(self, plan: Plan, guard: ClassGuard) -> State:
        self.asked.append("begin")
        return State(0, len(guard.read(plan.order[0][0])))

    def advance(
        self, state: State, plan: Plan, guard: ClassGuard, /, *, on_round: Callable[[GrowthRound], None]
    ) -> State:
        self.asked.append(f"advance from {state.stage}")
        guard.advance(state.stage + 1)
        return State(state.stage + 1, state.rows + len(guard.read(plan.order[state.stage + 1][0])))

    def read(self, _folder: Path, _run: str) -> Checkpointed[State] | None:
        return self.point

    def write(self, folder: Path, _run: str, point: Checkpointed[State]) -> Path:
        self.point = point
        return folder

    @property
    def method(self) -> Method[Plan, State]:
        return Method(begin=self.begin, advance=self.advance, read=self.read, write=self.write)


def learned(kept: Kept, on_stage: Callable[[State], None] = lambda _: None) -> Checkpointed[State]:
    return learn_stages(kept.method, Plan(), Path(), "run", on_round=lambda _: None, on_stage=on_stage)


def test_an_interrupted_run_goes_on_after_its_last_stage_as_if_it_had_not_been() -> None:
    def stop(state: State) -> None:
        if state.stage == 1:
            raise KeyboardInterrupt

    whole, broken = Kept(), Kept()
    found = learned(whole)
    assert (found.state, whole.asked) == (State(2, 4), ["begin", "advance from 0", "advance from 1"])
    assert [(access.stage, access.label, access.rows) for access in found.accesses] == [
        (0, 0, 1), (1, 1, 2), (2, 2, 1),
    ]  # fmt: skip
    with pytest.raises(KeyboardInterrupt):
        learned(broken, stop)
    broken.asked.clear()
    again = learned(broken)
    assert broken.asked == ["advance from 1"]
    assert (again.state, again.accesses) == (found.state, found.accesses)
    assert again.seconds > 0


def test_a_stage_is_told_once_its_checkpoint_stands_and_a_finished_run_tells_nothing() -> None:
    kept, told = Kept(), list[State]()

    def tell(state: State) -> None:
        assert kept.point is not None and kept.point.state == state
        told.append(state)

    first = learned(kept, tell)
    assert [state.stage for state in told] == [0, 1, 2]
    assert learned(kept, tell) is first
    assert len(told) == 3


def test_a_run_that_goes_on_may_not_read_what_was_taught_before() -> None:
    kept = Kept(Checkpointed(state=State(1, 3), accesses=(), seconds=0.0))

    def greedy(
        state: State, _plan: Plan, guard: ClassGuard, /, *, on_round: Callable[[GrowthRound], None]
    ) -> State:
        guard.read(0)
        return state

    method = Method(begin=kept.begin, advance=greedy, read=kept.read, write=kept.write)
    with pytest.raises(AccessError, match="old class 0"):
        learn_stages(method, Plan(), Path(), "run", on_round=lambda _: None, on_stage=lambda _: None)
