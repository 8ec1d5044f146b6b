"""A class-incremental run of a classifier, stage by stage: each state follows from the one before it and the seed."""

from collections.abc import Callable
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from evaluator.incremental.classifier.learning import (
    ClassLesson,
    Samples,
    first_network,
    grow,
    learn,
    threshold_of,
)
from evaluator.incremental.classifier.memory import CosineCode, Memory
from evaluator.incremental.classifier.messages import ClassifierVariant
from evaluator.incremental.classifier.settings import ClassifierSettings
from evaluator.incremental.data import ClassGuard, IncrementalData
from evaluator.incremental.settings import Regime
from evaluator.incremental.stages import GrowthRound
from kernels.growth import ReplayStatistics, Stream, seed_bytes
from kernels.growth.eqprop import GrowingClassifier
from kernels.learner import Array

__all__ = ["ClassifierState", "Course", "advance", "begin", "network_of"]

Matrix = NDArray[np.float64]


@dataclass(frozen=True, eq=False)
class Course:
    """What a run learns and how: data, the stages of classes, a variant and its regime, settings and a seed.

    `widths` are those that the network has in the first stage.
    """

    data: IncrementalData
    order: tuple[tuple[int, ...], ...]
    variant: ClassifierVariant
    regime: Regime
    settings: ClassifierSettings
    seed: int
    widths: tuple[int, ...]

    @property
    def labels(self) -> tuple[int, ...]:
        """The classes as they are learned: the columns of the accuracy matrix."""
        return tuple(label for labels in self.order for label in labels)

    @property
    def learned(self) -> tuple[int, ...]:
        """The stage in which each column's class is learned."""
        return tuple(stage for stage, labels in enumerate(self.order) for _ in labels)

    @property
    def numbers(self) -> dict[int, int]:
        """At which output each class stands: ascending, whatever the order of the stages."""
        return {label: number for number, label in enumerate(sorted(self.labels))}

    @property
    def capacity(self) -> int:
        """Units that the first hidden layer has room for."""
        return self.settings.widths[0] + self.settings.cap if self.regime.grows else self.widths[0]

    def stream(self, label: str) -> Stream:
        """The random numbers of this name; those of the base do not depend on the regime."""
        return Stream(seed_bytes(self.seed), label)


@dataclass(frozen=True, eq=False)
class ClassifierState:
    """A run after `stage`: the network's state, threshold, statistics, and what was measured after each stage.

    `accuracy` (stages, classes) is that at naming a class among all outputs, those of classes to come included;
    `presented` counts the samples that training went through; `residual` is the largest change of a state in the last
    free sweep of the batch trained last.
    """

    stage: int
    network: dict[str, Array]
    widths: tuple[int, ...]
    threshold: float
    statistics: ReplayStatistics | None
    accuracy: Matrix
    rounds: tuple[GrowthRound, ...]
    presented: int
    residual: float


def begin(course: Course, guard: ClassGuard) -> ClassifierState:
    """Stage 0: learn the base classes (all, of a joint run), take the threshold and, with replay, statistics."""
    settings = course.settings
    taught = {label: guard.read(label) for label in course.order[0]}
    samples = Samples(
        np.concatenate(list(taught.values())),
        np.concatenate([np.full(len(x), course.numbers[label]) for label, x in taught.items()]),
    )
    network = _fresh(course)
    epochs = settings.base_epochs if len(course.order) > 1 else settings.joint_epochs
    residual = learn(
        network, samples, (epochs, 1.0), batch=settings.batch, stream=course.stream("base/order")
    )
    memory = None
    if course.regime.source == "intrinsic":
        statistics = ReplayStatistics({}, shrinkage=settings.shrinkage, floor=settings.floor)
        memory = _memory(course, statistics)
        for label, x in taught.items():
            memory = memory.with_class(label, x)
    state = ClassifierState(
        stage=0,
        network=network.state(),
        widths=network.widths,
        threshold=threshold_of(network, samples, settings),
        statistics=None if memory is None else memory.statistics,
        accuracy=np.empty((0, len(course.labels))),
        rounds=(),
        presented=epochs * len(samples.x),
        residual=residual,
    )
    return _measured(state, network, course)


def advance(
    state: ClassifierState, course: Course, guard: ClassGuard, *, on_round: Callable[[GrowthRound], None]
) -> ClassifierState:
    """The state after the next class was learned; `on_round` receives each decision about growth as it falls."""
    stage = state.stage + 1
    (label,) = course.order[stage]
    guard.advance(stage)
    rounds: list[GrowthRound] = []

    def record(growth: GrowthRound) -> None:
        rounds.append(growth)
        on_round(growth)

    new_x = guard.read(label)
    memory = None
    if state.statistics is not None:
        memory = _memory(course, state.statistics).with_class(label, new_x)
    lesson = ClassLesson(
        stage=stage,
        label=label,
        new_x=new_x,
        old=course.labels[: course.labels.index(label)],
        numbers=course.numbers,
        memory=memory,
        settings=course.settings,
        stream=course.stream(f"stage/{stage}"),
        on_round=record,
    )
    network = network_of(state, course)
    # Moments of gradients of data that are gone would carry into this class: each stage begins without.
    network.forget()
    if course.regime.grows:
        grow(network, state.threshold, lesson)
    lesson.mixed(network, "learn", (course.settings.learn_epochs, 1.0))
    after = replace(
        state,
        stage=stage,
        network=network.state(),
        widths=network.widths,
        statistics=None if memory is None else memory.statistics,
        rounds=(*state.rounds, *rounds),
        presented=state.presented + lesson.presented,
        residual=lesson.residual,
    )
    return _measured(after, network, course)


def network_of(state: ClassifierState, course: Course) -> GrowingClassifier:
    """The network of a state, ready to learn on; raises kernels.KernelError for the state of another course."""
    network = _fresh(course)
    network.load(state.network)
    return network


def _fresh(course: Course) -> GrowingClassifier:
    return first_network(
        course.settings,
        course.widths,
        course.capacity,
        len(course.labels),
        seed_bytes(course.seed),
    )


def _memory(course: Course, statistics: ReplayStatistics) -> Memory:
    return Memory(CosineCode(course.settings.side, course.settings.code_side), statistics)


def _measured(state: ClassifierState, network: GrowingClassifier, course: Course) -> ClassifierState:
    found = []
    for label in course.labels:
        answers = network.predict(course.data.measured(label)).argmax(axis=1)
        found.append(float((answers == course.numbers[label]).mean()))
    return replace(state, accuracy=np.concatenate([state.accuracy, [found]]))
