"""What a training shows as each of its epochs ends: what it learned, what it took, and how its network settles."""

from collections.abc import Mapping
from typing import TYPE_CHECKING, NamedTuple, Protocol

import numpy as np

from evaluator import limits
from evaluator.build import structure_of
from evaluator.jobs import EpochPoint
from evaluator.shape import Image
from genome import Value
from kernels import Diagnostics

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from evaluator.curriculum import Course

__all__ = ["DIAGNOSED", "SCORED", "EpochLog", "Observation", "Watched", "observe", "state_weights"]

SCORED = 256
"""Training examples on which loss and error are taken: a chunk of a prediction."""
DIAGNOSED = 32
"""Of these, the ones that are watched while they settle, which takes many more sweeps than a prediction."""


class Watched(Protocol):
    """What of a learner is looked at: its scores, and how it settles."""

    def predict(self, x: "NDArray[np.float32]") -> "NDArray[np.floating]":
        """Return scores (n, classes)."""

    def diagnose(self, x: "NDArray[np.float32]", y: "NDArray[np.int64]") -> Diagnostics:
        """Return how the network settles, and the norms of its weights and gradients."""


class Observation(NamedTuple):
    """A network at one moment, on fixed training examples; the fields are those of `jobs.EpochPoint`."""

    loss: float
    error: float
    free_energy: float | None
    nudged_energy: float | None
    spectral_norm: dict[str, float]
    recurrent_norm: float
    gradient_norm: dict[str, float]


def state_weights(
    values: Mapping[str, Value], *, inputs: int, classes: int, image: Image | None = None
) -> frozenset[str]:
    """Names of the weights between states, whose norm sets how fast a network settles; none of backpropagation's."""
    if values["credit"] != "ep":
        return frozenset()
    structure = structure_of(values, inputs=inputs, classes=classes, image=image)
    return frozenset(weight.name for weight in structure.weights if weight.recurrent)


def observe(
    learner: Watched,
    x: "NDArray[np.float32]",
    y: "NDArray[np.int64]",
    *,
    output: str,
    recurrent: frozenset[str],
    batch: int,
) -> Observation:
    """Look at a network on the first examples of `x` (n, inputs) and `y` (n,); it learns nothing from it.

    `output` is ce or mse, as the genome says; `recurrent` names the weights between states (`state_weights`); `batch`
    is the most examples that the learner diagnoses.
    """
    scores = learner.predict(x[:SCORED])
    rows = min(DIAGNOSED, batch)
    seen = learner.diagnose(x[:rows], y[:rows])
    norms = dict(seen.spectral_norms)
    return Observation(
        loss=_loss(scores.astype(np.float64), y[:SCORED], output),
        error=float(np.mean(scores.argmax(axis=1) != y[:SCORED])),
        free_energy=seen.free_energy[-1] if seen.free_energy else None,
        nudged_energy=seen.nudged_energy[-1] if seen.nudged_energy else None,
        spectral_norm=norms,
        recurrent_norm=max((norm for name, norm in norms.items() if name in recurrent), default=0.0),
        gradient_norm=dict(seen.gradient_norms),
    )


def _loss(scores: "NDArray[np.float64]", y: "NDArray[np.int64]", output: str) -> float:
    """Mean cost of scores (n, classes): cross-entropy of their softmax (ce), or half the squared distance (mse)."""
    if output == "mse":
        target = np.zeros_like(scores)
        target[np.arange(len(y)), y] = 1.0
        return float(0.5 * np.square(scores - target).sum(axis=1).mean())
    with np.errstate(invalid="ignore"):  # of infinite scores, which a training that diverges passes through
        shifted = scores - scores.max(axis=1, keepdims=True)
        logs = np.log(np.exp(shifted).sum(axis=1))
        return float((logs - shifted[np.arange(len(y)), y]).mean())


class EpochLog:
    """The epochs of one training so far, and what has been done since the last of them ended."""

    def __init__(self, course: "Course") -> None:
        self._course = course
        self._free = self._nudged = self._residual = 0.0
        self._seen = 0
        self.points: list[EpochPoint] = []

    def follow(self, free_steps: float, nudged_steps: float, residual: float) -> None:
        """Take in steps: the sums of their sweeps, and the last one's residual."""
        self._free, self._nudged = self._free + free_steps, self._nudged + nudged_steps
        self._residual = residual

    def end(
        self, observed: Observation, *, accuracy: float | None, cpu_s: float, wall_s: float, resident: int
    ) -> None:
        """An epoch is over. The seconds are those of the training so far; `resident` bytes were there before it."""
        epoch = len(self.points)
        steps = self._course.ends[epoch] - (self._course.ends[epoch - 1] if epoch else 0)
        self._seen += self._course.sizes[epoch]
        self.points.append(
            EpochPoint(
                epoch=epoch + 1,
                samples=self._seen,
                accuracy=accuracy,
                train_cpu_s=round(cpu_s, 6),
                train_wall_s=round(wall_s, 6),
                peak_bytes=max(0, limits.peak_resident_bytes() - resident),
                free_steps=self._free / steps,
                nudged_steps=self._nudged / steps,
                residual=self._residual,
                **observed._asdict(),
            )
        )
        self._free = self._nudged = 0.0
