"""A run learned stage by stage, whatever it learns with: a checkpoint after each, from which the same run goes on."""

import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Generic, Protocol, TypeVar

import msgspec

from evaluator.incremental.data import Access, ClassGuard, IncrementalData
from evaluator.incremental.settings import Regime
from evaluator.incremental.stages import GrowthRound

__all__ = ["Checkpointed", "Method", "learn_stages"]


class _Plan(Protocol):
    """What a run learns and in which stages, and what its regime may look at."""

    @property
    def data(self) -> IncrementalData: ...
    @property
    def order(self) -> tuple[tuple[int, ...], ...]: ...
    @property
    def regime(self) -> Regime: ...


class _State(Protocol):
    """A run after one of its stages."""

    @property
    def stage(self) -> int: ...


Plan = TypeVar("Plan", bound=_Plan)
Plan_contra = TypeVar("Plan_contra", bound=_Plan, contravariant=True)
State = TypeVar("State", bound=_State)


class Checkpointed(msgspec.Struct, Generic[State], frozen=True, kw_only=True):
    """A state, every access to training data up to it, and the seconds that it took."""

    state: State
    accesses: tuple[Access, ...]
    seconds: float


class _Advance(Protocol[Plan_contra, State]):
    def __call__(
        self,
        state: State,
        plan: Plan_contra,
        guard: ClassGuard,
        /,
        *,
        on_round: Callable[[GrowthRound], None],
    ) -> State: ...


@dataclass(frozen=True)
class Method(Generic[Plan, State]):
    """How one kind of run learns and is kept.

    `begin` learns the first stage, `advance` the one after a state; `read` gives what the run of this identity left in
    a folder, or None, and `write` puts a new checkpoint in place of the one before it.
    """

    begin: Callable[[Plan, ClassGuard], State]
    advance: _Advance[Plan, State]
    read: Callable[[Path, str], Checkpointed[State] | None]
    write: Callable[[Path, str, Checkpointed[State]], Path]


def learn_stages(
    method: Method[Plan, State],
    plan: Plan,
    folder: Path,
    run: str,
    *,
    on_round: Callable[[GrowthRound], None],
    on_stage: Callable[[State], None],
) -> Checkpointed[State]:
    """The last state of a run, after all stages that its checkpoint does not hold yet were learned.

    `on_round` receives each decision about growth as it falls, `on_stage` each state once its checkpoint stands.
    Raises what `method` raises.
    """
    point = method.read(folder, run)
    guard = ClassGuard(
        plan.data,
        plan.order,
        plan.regime.source,
        stage=point.state.stage if point else 0,
        accesses=point.accesses if point else (),
    )
    while point is None or point.state.stage + 1 < len(plan.order):
        started = time.perf_counter()
        if point is None:
            state = method.begin(plan, guard)
        else:
            state = method.advance(point.state, plan, guard, on_round=on_round)
        seconds = time.perf_counter() - started + (point.seconds if point else 0.0)
        point = Checkpointed(state=state, accesses=guard.accesses, seconds=seconds)
        method.write(folder, run, point)
        on_stage(state)
    return point
