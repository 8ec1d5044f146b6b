"""A class-incremental run, stage by stage: each stage is a function of the state before it and of the seed."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import TypeAlias

import numpy as np
from numpy.typing import NDArray

from evaluator.incremental.data import ClassGuard, IncrementalData
from evaluator.incremental.settings import NeurogenesisSettings, Regime
from evaluator.incremental.stages import GrowthRound, Lesson, grow_class, learn_class
from kernels.growth import (
    ReplayStatistics,
    Stack,
    Stream,
    estimate_thresholds,
    initial_stack,
    seed_bytes,
    train_levels,
    train_whole,
)

__all__ = ["Curriculum", "RunState", "advance", "begin", "stack_sha256"]

Matrix: TypeAlias = NDArray[np.float64]


@dataclass(frozen=True, eq=False)
class Curriculum:
    """What a run learns and how: data, the stages of classes, a regime, settings and a seed.

    `sizes` and `capacities` are those of the network that learns the base.
    """

    data: IncrementalData
    order: tuple[tuple[int, ...], ...]
    regime: Regime
    settings: NeurogenesisSettings
    seed: int
    sizes: tuple[int, ...]
    capacities: tuple[int, ...]

    @property
    def labels(self) -> tuple[int, ...]:
        """The classes as they are learned: the columns of every matrix."""
        return tuple(label for labels in self.order for label in labels)

    @property
    def learned(self) -> tuple[int, ...]:
        """The stage in which each column's class is learned."""
        return tuple(stage for stage, labels in enumerate(self.order) for _ in labels)

    def stream(self, label: str) -> Stream:
        """The random numbers of this name; those of the base do not depend on the regime."""
        return Stream(seed_bytes(self.seed), label)


@dataclass(frozen=True, eq=False)
class RunState:
    """A run after `stage`: network, thresholds, statistics, and what was measured after each stage so far.

    `mse` and `accuracy` are (stages, classes). Accuracy is that of the classes' Gaussians at telling codes of the
    classes seen so far apart; it is NaN for others, and throughout where no replay keeps statistics up to date.
    `presented` counts the samples that training went through.
    """

    stage: int
    stack: Stack
    thresholds: tuple[float, ...]
    statistics: ReplayStatistics | None
    mse: Matrix
    accuracy: Matrix
    rounds: tuple[GrowthRound, ...]
    presented: int
    base_sha256: str


def stack_sha256(stack: Stack) -> str:
    """SHA-256 (hex) of a network's numbers, at their capacity."""
    arrays: dict[str, NDArray[np.generic]] = {"sizes": np.asarray(stack.sizes)}
    for k, level in enumerate(stack.levels):
        arrays |= {f"{k}/{name}": value for name, value in vars(level).items()}
    # Here, not above: trainings load torch, which whoever asks for a run must not.
    from evaluator.train import fingerprint  # noqa: PLC0415

    return fingerprint(arrays)


def begin(curriculum: Curriculum, guard: ClassGuard) -> RunState:
    """Stage 0: learn the base classes, estimate the thresholds from their errors, take their statistics."""
    settings = curriculum.settings
    by_class = {label: guard.read(label) for label in curriculum.order[0]}
    x = np.concatenate(list(by_class.values()))
    stack = initial_stack(curriculum.sizes, curriculum.stream("initial"), capacities=curriculum.capacities)
    stack = train_levels(stack, x, settings.pretrain, curriculum.stream("pretrain"))
    stack, _ = train_whole(stack, x, settings.finetune, curriculum.stream("finetune"))
    thresholds = estimate_thresholds(
        [stack.errors(x, level + 1) for level in range(stack.depth)],
        settings.quantile,
        margin=settings.margin,
    )
    statistics = None
    if curriculum.regime.source != "none":
        statistics = ReplayStatistics({}, shrinkage=settings.shrinkage, floor=settings.floor)
        for label, inputs in by_class.items():
            statistics = statistics.updated(label, stack.encode(inputs))
    epochs = stack.depth * settings.pretrain.epochs + settings.finetune.epochs
    state = RunState(
        stage=0,
        stack=stack,
        thresholds=thresholds,
        statistics=statistics,
        mse=np.empty((0, len(curriculum.labels))),
        accuracy=np.empty((0, len(curriculum.labels))),
        rounds=(),
        presented=epochs * len(x),
        base_sha256=stack_sha256(stack),
    )
    return _measured(state, curriculum)


def advance(
    state: RunState, curriculum: Curriculum, guard: ClassGuard, *, on_round: Callable[[GrowthRound], None]
) -> RunState:
    """The state after the next class was learned; `on_round` receives each decision about growth as it falls."""
    stage = state.stage + 1
    (label,) = curriculum.order[stage]
    guard.advance(stage)
    old = curriculum.labels[: curriculum.labels.index(label)]
    rounds: list[GrowthRound] = []

    def record(growth: GrowthRound) -> None:
        rounds.append(growth)
        on_round(growth)

    lesson = Lesson(
        stage=stage,
        label=label,
        new_x=guard.read(label),
        old=old,
        recall=_recall(state, curriculum, guard),
        settings=curriculum.settings.of_source(curriculum.regime.source),
        stream=curriculum.stream(f"stage/{stage}"),
        on_round=record,
    )
    if curriculum.regime.grows:
        stack = grow_class(state.stack, state.thresholds, lesson)
    else:
        stack = learn_class(state.stack, lesson)
    after = replace(
        state,
        stage=stage,
        stack=stack,
        statistics=_refreshed(state, stack, lesson),
        rounds=(*state.rounds, *rounds),
        presented=state.presented + lesson.presented,
    )
    return _measured(after, curriculum)


def _recall(
    state: RunState, curriculum: Curriculum, guard: ClassGuard
) -> Callable[[int, int, Stream], NDArray[np.floating]] | None:
    """Where samples of old classes come from: the network and statistics as the stage found them, or real data."""
    statistics = state.statistics
    if statistics is None:
        return None
    if curriculum.regime.source == "intrinsic":
        return lambda label, n, stream: state.stack.decode(statistics.sample(label, n, stream))

    def real(label: int, n: int, stream: Stream) -> NDArray[np.floating]:
        x = guard.read(label)
        return x[stream.permutation(max(n, len(x)))[:n] % len(x)]

    return real


def _refreshed(state: RunState, stack: Stack, lesson: Lesson) -> ReplayStatistics | None:
    """The statistics in codes of the changed network: of what is recalled of old classes, and of the new one."""
    if state.statistics is None or lesson.recall is None:
        return None
    statistics = replace(state.statistics, classes={})
    for label in lesson.old:
        stream = lesson.stream.child(f"refresh/{label}")
        recalled = lesson.recall(label, lesson.settings.refresh_samples, stream)
        statistics = statistics.updated(label, stack.encode(recalled))
    return statistics.updated(lesson.label, stack.encode(lesson.new_x))


def _measured(state: RunState, curriculum: Curriculum) -> RunState:
    data, labels = curriculum.data, curriculum.labels
    errors = [float(state.stack.errors(data.measured(label)).mean()) for label in labels]
    accuracies = _accuracies(state, data, labels)
    return replace(
        state,
        mse=np.concatenate([state.mse, [errors]]),
        accuracy=np.concatenate([state.accuracy, [accuracies]]),
    )


def _accuracies(state: RunState, data: IncrementalData, labels: Sequence[int]) -> list[float]:
    known = state.statistics.classes if state.statistics is not None else {}
    found = []
    for label in labels:
        if state.statistics is None or label not in known:
            found.append(float("nan"))
            continue
        answers = state.statistics.classify(state.stack.encode(data.measured(label)))
        found.append(float((answers == label).mean()))
    return found
