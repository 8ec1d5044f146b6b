"""How a classifier of Equilibrium Propagation learns one stage: by growing or not, with or without replay.

After Draelos et al. (2017), algorithm 1. Its autoencoders call a sample an outlier by the error that they are trained
to lower; a classifier's is its cost at the free equilibrium, the C of F = E + beta C, and so here. Everything is a
function of its arguments: random numbers come from streams named by stage and round.
"""

import math
from collections.abc import Callable
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from evaluator.incremental.classifier.memory import Memory
from evaluator.incremental.classifier.settings import ClassifierSettings
from evaluator.incremental.stages import GrowthRound
from kernels import DivergedError, OptimizerSettings, Relaxation, Rule, Topology, initial_parameters
from kernels.growth import Decision, Situation, Stream, decide, estimate_thresholds
from kernels.growth.eqprop import GrowingClassifier, newest_alone, outlier_units
from kernels.learner import DIVERGED_HINT

__all__ = ["ClassLesson", "Samples", "costs", "first_network", "grow", "learn", "threshold_of"]

Inputs = NDArray[np.floating]
# The layer that grows: the one that the clamped input feeds.
GROWING = 1


@dataclass(frozen=True, eq=False)
class Samples:
    """Inputs (n, d) float32 and the numbers of their classes (n,)."""

    x: NDArray[np.float32]
    y: NDArray[np.int64]


@dataclass
class ClassLesson:
    """A new class to learn and what there is to keep the old ones; counts the samples that training went through.

    `residual` is the largest change of a state in the last free sweep of the batch trained last.

    `label` is the class, `numbers` says at which output each class stands; `old` classes are recalled from `memory`,
    which knows the new one too.
    """

    stage: int
    label: int
    new_x: NDArray[np.float32]
    old: tuple[int, ...]
    numbers: dict[int, int]
    memory: Memory | None
    settings: ClassifierSettings
    stream: Stream
    on_round: Callable[[GrowthRound], None]
    presented: int = field(default=0)
    residual: float = field(default=0.0)

    def of(self, x: NDArray[np.float32]) -> Samples:
        """Samples of the new class."""
        return Samples(x, np.full(len(x), self.numbers[self.label], dtype=np.int64))

    def fit(self, network: GrowingClassifier, samples: Samples, name: str, how: tuple[int, float]) -> None:
        """Let a network learn samples for so many epochs at a share of the rate, in an order drawn by `name`."""
        epochs, scale = how
        self.presented += epochs * len(samples.x)
        if epochs:
            self.residual = learn(
                network,
                samples,
                (epochs, scale),
                batch=self.settings.batch,
                stream=self.stream.child(f"{name}/order"),
            )

    def mixed(self, network: GrowingClassifier, name: str, how: tuple[int, float]) -> None:
        """Let a network learn the new class and, with replay, samples of every old class, drawn anew for each name.

        Where `new_from` says so the new class is drawn too, from its own Gaussian: told real from drawn samples, a
        network would take all that is real for the new class.
        """
        if self.memory is None:
            self.fit(network, self.of(self.new_x), name, how)
            return
        count, parts = len(self.new_x), [self.of(self.new_x)]
        if self.settings.new_from == "replay":
            drawn = self.memory.recall(self.label, count, self.stream.child(f"{name}/replay/{self.label}"))
            parts = [self.of(drawn)]
        each = max(1, round(self.settings.replay_ratio * count))
        for label in self.old:
            x = self.memory.recall(label, each, self.stream.child(f"{name}/replay/{label}"))
            parts.append(Samples(x, np.full(each, self.numbers[label], dtype=np.int64)))
        x = np.concatenate([part.x for part in parts])
        self.fit(network, Samples(x, np.concatenate([part.y for part in parts])), name, how)


def first_network(
    settings: ClassifierSettings, widths: tuple[int, ...], capacity: int, classes: int, seed: bytes
) -> GrowingClassifier:
    """A network of these hidden widths, whose first hidden layer has room for `capacity` units."""
    inputs = settings.side**2
    room = Topology((inputs, capacity, *widths[1:], classes), output=settings.output)
    used = Topology((inputs, *widths, classes), output=settings.output)
    rule = Rule(
        estimate="centred",
        beta=settings.beta,
        free=Relaxation(steps=settings.free_steps),
        nudged=Relaxation(order="backward", steps=settings.nudged_steps),
    )
    return GrowingClassifier(
        room,
        widths,
        initial_parameters(used, seed=seed, gain=settings.gain),
        rule,
        OptimizerSettings("adam", rate=settings.rate),
        batch=settings.batch,
    )


def learn(
    network: GrowingClassifier, samples: Samples, how: tuple[int, float], *, batch: int, stream: Stream
) -> float:
    """Train for (epochs, share of the rate), each epoch in an order of its own; raises kernels.DivergedError.

    Gives the largest change of a state in the last free sweep of the last batch; 0 where nothing was trained.
    """
    epochs, scale = how
    steps, residual = 0, 0.0
    for _ in range(epochs):
        order = stream.permutation(len(samples.x))
        for start in range(0, len(order), batch):
            rows = order[start : start + batch]
            steps += 1
            report = network.step(samples.x[rows], samples.y[rows], scale=scale)
            if not report.finite:
                raise DivergedError("states or parameters were", steps, DIVERGED_HINT)
            residual = report.residual
    return residual


def costs(network: GrowingClassifier, samples: Samples) -> NDArray[np.float64]:
    """The cost (n,) of each sample at the free equilibrium: cross-entropy, or half the squared error."""
    scores = network.predict(samples.x).astype(np.float64)
    if network.topology.output == "mse":
        return np.asarray(0.5 * np.square(scores - np.eye(scores.shape[1])[samples.y]).sum(axis=1))
    raised = scores - scores.max(axis=1, keepdims=True)
    own = raised[np.arange(len(scores)), samples.y]
    return np.asarray(np.log(np.exp(raised).sum(axis=1)) - own)


def chance_cost(network: GrowingClassifier) -> float:
    """The cost of a network that knows nothing: even odds for all classes, or the best constant output."""
    classes = network.topology.sizes[-1]
    return math.log(classes) if network.topology.output == "ce" else 0.5 * (1.0 - 1.0 / classes)


def threshold_of(network: GrowingClassifier, base: Samples, settings: ClassifierSettings) -> float:
    """The cost beyond which a sample is an outlier: `margin` times a quantile of the costs of the base (n samples).

    At most half of what chance costs: of a base that is barely learned nothing would be an outlier otherwise.
    """
    (found,) = estimate_thresholds([costs(network, base)], settings.quantile, margin=settings.margin)
    return min(found, 0.5 * chance_cost(network))


def grow(network: GrowingClassifier, threshold: float, lesson: ClassLesson) -> None:
    """Add units while too many of the new class are outliers: each round plasticity, then stability."""
    settings = lesson.settings
    start = network.widths[GROWING - 1]
    fractions: tuple[float, ...] = ()
    while True:
        errors = costs(network, lesson.of(lesson.new_x))
        # The worst first; equal errors keep their order.
        order = np.argsort(-errors, kind="stable")
        outliers = lesson.new_x[order[: int((errors > threshold).sum())]]
        width = network.widths[GROWING - 1]
        situation = Situation(
            samples=len(errors),
            outliers=len(outliers),
            added_before=start - settings.widths[GROWING - 1],
            added=width - start,
            fractions=fractions,
        )
        decision = decide(situation, settings.limits)
        if decision.add:
            _add(network, outliers, decision.add, (f"round/{len(fractions)}", lesson))
        lesson.on_round(_told(lesson, situation, decision, threshold, network.widths[GROWING - 1]))
        if not decision.add:
            return
        fractions = (*fractions, situation.fraction)


def _add(
    network: GrowingClassifier, outliers: NDArray[np.float32], count: int, where: tuple[str, ClassLesson]
) -> None:
    """Insert units, let them alone learn the outliers (plasticity), then all weights the mixture (stability)."""
    name, lesson = where
    settings = lesson.settings
    mature = network.widths[GROWING - 1]
    network.insert(GROWING, *outlier_units(outliers, count, selectivity=settings.selectivity))
    network.learn_only(newest_alone(network.active, GROWING, mature))
    plasticity = (settings.plasticity_epochs, settings.plasticity_scale)
    lesson.fit(network, lesson.of(outliers), f"{name}/plasticity", plasticity)
    network.learn_only(None)
    if settings.stability_epochs:
        stability = (settings.stability_epochs, settings.stability_scale)
        lesson.mixed(network, f"{name}/stability", stability)


def _told(
    lesson: ClassLesson, situation: Situation, decision: Decision, threshold: float, width: int
) -> GrowthRound:
    return GrowthRound(
        stage=lesson.stage,
        label=lesson.label,
        level=GROWING,
        round=len(situation.fractions),
        samples=situation.samples,
        outliers=situation.outliers,
        fraction=situation.fraction,
        threshold=threshold,
        added=decision.add,
        width=width,
        reason=decision.reason,
        cap_hit=decision.cap_hit,
    )
