"""Seeded, budgeted training with checkpoints that a stranger can replay, segment by segment."""

import hashlib
import time
from collections.abc import Callable, Mapping, Sequence
from types import MappingProxyType
from typing import TYPE_CHECKING, NamedTuple

import msgspec
import numpy as np

from evaluator import limits
from evaluator.curriculum import ranking
from evaluator.errors import EvaluatorError
from evaluator.jobs import CurvePoint, EpochPoint
from evaluator.plan import Plan
from evaluator.telemetry import EpochLog, Observation
from kernels import DivergedError, Learner
from kernels.members import Population, Span, SpanReport

if TYPE_CHECKING:
    from numpy.typing import NDArray

__all__ = [
    "Segment",
    "State",
    "Trained",
    "fingerprint",
    "replay_segment",
    "train",
    "train_population",
]

State = Mapping[str, "NDArray[np.generic]"]


class Trained(msgspec.Struct, frozen=True, kw_only=True):
    """What a training left behind: hashes, curve, epochs where they were watched, mean sweeps, and what it needed.

    `peak_bytes` is the largest resident size of the process after the first steps, before anything
    else (a score, a checkpoint) was done: training allocates nothing later. Of a network in a population it is that of
    all its members, and the seconds are an equal share of theirs.
    """

    checkpoints: tuple[str, ...]
    curve: tuple[CurvePoint, ...]
    epochs: tuple[EpochPoint, ...] = ()
    free_steps: float
    nudged_steps: float
    samples: int
    train_cpu_s: float
    train_wall_s: float
    peak_bytes: int


class Segment(msgspec.Struct, frozen=True, kw_only=True):
    """One segment trained again: hash of the state at its end, and the mean sweeps taken in it."""

    end: str
    free_steps: float
    nudged_steps: float


class _Meter:
    """CPU and wall seconds of the training alone, without what is measured in between."""

    def __init__(self) -> None:
        self.cpu = self.wall = 0.0
        self._cpu = self._wall = 0.0

    def start(self) -> None:
        self._cpu, self._wall = time.process_time(), time.perf_counter()

    def stop(self) -> None:
        self.cpu += time.process_time() - self._cpu
        self.wall += time.perf_counter() - self._wall


def fingerprint(state: State) -> str:
    """SHA-256 of a learner's state: names, dtypes, shapes and little-endian bytes, sorted by name."""
    digest = hashlib.sha256()
    for name in sorted(state):
        array = np.ascontiguousarray(state[name])
        digest.update(f"{name} {array.dtype.str} {array.shape}\n".encode())
        digest.update(array.data)
    return digest.hexdigest()


def train(
    learner: Learner,
    x: "NDArray[np.float32]",
    y: "NDArray[np.int64]",
    plan: Plan,
    *,
    score: Callable[[Learner], float] | None,
    curve_points: int = 10,
    on_progress: Callable[[float, float | None], None] = lambda _done, _accuracy: None,
    on_state: Callable[[int, State], None] | None = None,
    watch: Callable[[Learner], Observation] | None = None,
    resident: int = 0,
) -> Trained:
    """Train `learner` by `plan` on x (n, inputs) in [0, 1] and y (n,).

    `score` gives the validation accuracy for the curve, which stays empty without it; `on_state(step, state)`
    receives the state at each checkpoint. `watch` is called as each epoch ends, which `Trained.epochs` then tells of;
    `resident` bytes were there before the learner. Neither changes a bit of the training. Raises
    kernels.DivergedError, naming the step, as soon as states or weights are not finite.
    """
    boundaries = plan.boundaries
    marks = plan.marks(curve_points)
    ends = frozenset() if watch is None else frozenset(plan.course.ends)
    log = EpochLog(plan.course)
    hashes: list[str] = []
    curve: list[CurvePoint] = []
    free = nudged = 0.0
    peak = 0
    ranked = ranking(plan.curriculum, x, y)
    meter = _Meter()
    first = 0
    for last in sorted(marks | ends | set(boundaries)):
        meter.start()
        taken = _run(learner, x, y, plan, first, last, ranked=ranked)
        meter.stop()
        peak = peak or limits.peak_resident_bytes()
        free, nudged, first = free + taken.free_steps, nudged + taken.nudged_steps, last
        log.follow(*taken)
        if last in boundaries:
            state = learner.state()
            _check_finite(state, plan, last)
            hashes.append(fingerprint(state))
            if on_state is not None:
                on_state(last, state)
        accuracy = score(learner) if score is not None and last in marks | ends else None
        if last in marks:
            if accuracy is not None:
                curve.append(_point(plan, last, accuracy, taken.residual, meter.cpu))
            on_progress(last / plan.steps, accuracy)
        if watch is not None and last in ends:
            log.end(watch(learner), accuracy=accuracy, cpu_s=meter.cpu, wall_s=meter.wall, resident=resident)
    return Trained(
        checkpoints=tuple(hashes),
        curve=tuple(curve),
        epochs=tuple(log.points),
        free_steps=free / plan.steps,
        nudged_steps=nudged / plan.steps,
        samples=plan.samples,
        train_cpu_s=meter.cpu,
        train_wall_s=meter.wall,
        peak_bytes=peak,
    )


def _check_finite(state: State, plan: Plan, step: int) -> None:
    """Raise DivergedError for a state that is not finite: what a step made of it, a report shows a step later."""
    if not all(
        np.isfinite(array).all() for name, array in state.items() if name != "step" and "clock" not in name
    ):
        raise _diverged(plan, step)


def _diverged(plan: Plan, step: int) -> DivergedError:
    return DivergedError(
        f"of {plan.steps} training steps, states or weights are",
        step,
        "Lower the learning rate or the nudge, or cap the spectral norm.",
    )


def _point(plan: Plan, step: int, accuracy: float, residual: float, cpu_s: float) -> CurvePoint:
    course = plan.course
    epoch, rest = course.epoch(step)
    size = course.sizes[epoch]
    seen = min(rest * plan.batch, size)
    return CurvePoint(
        samples=sum(course.sizes[:epoch]) + seen,
        epoch=(epoch * size + seen) / size,
        accuracy=accuracy,
        residual=residual,
        train_cpu_s=round(cpu_s, 6),
    )


class _Taken(NamedTuple):
    """Sums of the sweeps of both phases over a run of steps, and the last step's residual."""

    free_steps: float
    nudged_steps: float
    residual: float


def _run(
    learner: Learner,
    x: "NDArray[np.float32]",
    y: "NDArray[np.int64]",
    plan: Plan,
    first: int,
    last: int,
    *,
    ranked: "NDArray[np.int64] | None",
) -> _Taken:
    """Steps `first` to `last - 1`."""
    free = nudged = residual = 0.0
    order: NDArray[np.int64] | None = None
    course = plan.course
    for step in range(first, last):
        epoch, index = course.epoch(step)
        if order is None or index == 0:
            order = plan.visit(epoch, ranked)
        rows = order[index * plan.batch : (index + 1) * plan.batch]
        report = learner.step(x[rows], y[rows], scale=plan.scale(step), sign=plan.sign(step))
        if not report.finite:
            raise _diverged(plan, step + 1)
        free += report.free_steps
        nudged += report.nudged_steps
        residual = report.residual
    return _Taken(free, nudged, residual)


class _Run:
    """One member of a population on its way: what it has shown so far, or where it failed."""

    def __init__(self, plan: Plan) -> None:
        self.plan = plan
        self.log = EpochLog(plan.course)
        self.hashes: list[str] = []
        self.curve: list[CurvePoint] = []
        self.free = self.nudged = self.residual = 0.0
        self.failure: DivergedError | None = None

    def follow(self, first: int, report: SpanReport) -> None:
        """Take in what the steps from `first` on did."""
        if report.failed_at:
            self.failure = _diverged(self.plan, first + report.failed_at)
        self.free, self.nudged = self.free + report.free_steps, self.nudged + report.nudged_steps
        self.residual = report.residual
        self.log.follow(report.free_steps, report.nudged_steps, report.residual)

    def keep(self, state: State, step: int) -> bool:
        """Hash the state at a checkpoint; False, and the run has failed, where it is not finite."""
        try:
            _check_finite(state, self.plan, step)
        except DivergedError as error:
            self.failure = error
            return False
        self.hashes.append(fingerprint(state))
        return True

    def trained(self, *, share_cpu_s: float, share_wall_s: float, peak_bytes: int) -> Trained | DivergedError:
        """What it left behind."""
        return self.failure or Trained(
            checkpoints=tuple(self.hashes),
            curve=tuple(self.curve),
            epochs=tuple(self.log.points),
            free_steps=self.free / self.plan.steps,
            nudged_steps=self.nudged / self.plan.steps,
            samples=self.plan.samples,
            train_cpu_s=share_cpu_s,
            train_wall_s=share_wall_s,
            peak_bytes=peak_bytes,
        )


def _going(runs: Sequence[_Run]) -> list[tuple[int, _Run]]:
    """The members that have not failed, by their numbers."""
    return [(index, run) for index, run in enumerate(runs) if run.failure is None]


def train_population(
    population: Population,
    x: "NDArray[np.float32]",
    y: "NDArray[np.int64]",
    plans: Sequence[Plan],
    *,
    score: Callable[[Population], Sequence[float]] | None,
    curve_points: int = 10,
    on_progress: Callable[[int, float, float | None], None] = lambda _member, _done, _accuracy: None,
    on_state: Callable[[int, int, State], None] | None = None,
    watch: Mapping[int, Callable[[], Observation]] = MappingProxyType({}),
    resident: int = 0,
) -> list[Trained | DivergedError]:
    """Train each member of a population by its plan, as `train` does a network alone.

    The plans may differ in key and schedule. A member whose numbers fail gives its DivergedError, and the others go
    on. `score` gives the accuracy of each member; `on_progress(member, done, accuracy)` and
    `on_state(member, step, state)` are called for those that have not failed. `watch` holds, by number, what is called
    for a member as each epoch ends.
    """
    shared = plans[0]
    if any(
        msgspec.structs.replace(plan, key=shared.key, schedule=shared.schedule) != shared for plan in plans
    ):
        raise EvaluatorError(
            "plans of a population may differ in key and schedule alone. Group jobs by their key."
        )
    population.hold(x, y)
    ranked = ranking(shared.curriculum, x, y)
    runs = [_Run(plan) for plan in plans]
    boundaries, marks = shared.boundaries, shared.marks(curve_points)
    ends = frozenset(shared.course.ends if watch else ())
    meter, peak, first = _Meter(), 0, 0
    share_cpu_s = share_wall_s = 0.0
    for last in sorted(marks | ends | set(boundaries)):
        meter.start()
        reports = population.run([_span(plan, first, last, ranked) for plan in plans])
        meter.stop()
        peak = peak or limits.peak_resident_bytes()
        for run, report in zip(runs, reports, strict=True):
            if run.failure is None:
                run.follow(first, report)
        first = last
        if last in boundaries:
            for index, run in _going(runs):
                state = population.state(index)
                if run.keep(state, last) and on_state is not None:
                    on_state(index, last, state)
        share_cpu_s, share_wall_s = meter.cpu / population.size, meter.wall / population.size
        if not _going(runs):
            break
        accuracies = score(population) if score is not None and last in marks | ends else None
        for index, run in _going(runs):
            accuracy = None if accuracies is None else accuracies[index]
            if last in marks:
                if accuracy is not None:
                    run.curve.append(_point(run.plan, last, accuracy, run.residual, share_cpu_s))
                on_progress(index, last / shared.steps, accuracy)
            if last in ends and index in watch:
                run.log.end(
                    watch[index](),
                    accuracy=accuracy,
                    cpu_s=share_cpu_s,
                    wall_s=share_wall_s,
                    resident=resident,
                )
    return [run.trained(share_cpu_s=share_cpu_s, share_wall_s=share_wall_s, peak_bytes=peak) for run in runs]


def _span(plan: Plan, first: int, last: int, ranked: "NDArray[np.int64] | None") -> Span:
    """Steps `first` to `last - 1` of a plan."""
    steps, course = range(first, last), plan.course
    rows = np.full((len(steps), plan.batch), -1, dtype=np.int32)
    for index, step in enumerate(steps):
        epoch, batch = course.epoch(step)
        if index == 0 or batch == 0:
            order = plan.visit(epoch, ranked)
        taken = order[batch * plan.batch : (batch + 1) * plan.batch]
        rows[index, : len(taken)] = taken
    return Span(
        rows=rows,
        scales=np.array([plan.scale(step) for step in steps]),
        signs=np.array([plan.sign(step) for step in steps], dtype=np.int8),
    )


def replay_segment(
    learner: Learner,
    x: "NDArray[np.float32]",
    y: "NDArray[np.int64]",
    plan: Plan,
    *,
    segment: int,
    state: State | None,
) -> Segment:
    """Train checkpoint segment `segment` again, started from `state`, or from the learner as it stands (None).

    In the class `exact-1` the hash equals the claimed one on every machine; in the others on a like one.
    Raises EvaluatorError for a segment that the plan does not have, kernels.KernelError for the state of another
    network, and kernels.DivergedError as `train` does.
    """
    first, last = plan.segment(segment)
    if state is not None:
        learner.load(state)
    ranked = ranking(plan.curriculum, x, y)
    taken = _run(learner, x, y, plan, first, last, ranked=ranked)
    end = learner.state()
    _check_finite(end, plan, last)
    return Segment(
        end=fingerprint(end),
        free_steps=taken.free_steps / (last - first),
        nudged_steps=taken.nudged_steps / (last - first),
    )
