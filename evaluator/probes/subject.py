"""What probes look at: a network and labelled samples that fit it. Pure."""

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from evaluator.errors import EvaluatorError
from kernels import Relaxation, Rule, Topology
from kernels.backends.reference import Reference
from kernels.learner import Array, check_learner

__all__ = ["Network", "Samples", "accuracy", "check", "check_fit", "hits", "one_hot"]

Float = NDArray[np.float64]


def check(condition: bool, expected: str, came: object) -> None:
    """Raise EvaluatorError that names what was expected and what came, unless `condition` holds."""
    if not condition:
        raise EvaluatorError(f"expected {expected}, got {came}.")


@dataclass(frozen=True)
class Network:
    """A network as it stands, trained or not: its shape, its parameters by name, and how it relaxes and learns.

    Raises KernelError for parameters that are missing, of another shape or not finite, or a rule that cannot nudge it.
    """

    topology: Topology
    parameters: Mapping[str, Array]
    rule: Rule

    def __post_init__(self) -> None:
        self.rule.check(self.topology)
        check_learner(self.topology, self.parameters, batch=1, arithmetic="fp32")

    def reference(self, samples: "Samples") -> Reference:
        """Return the arbiter's equations of this network on `samples`."""
        return Reference(self.topology, self.parameters, samples.x, one_hot(self, samples))


@dataclass(frozen=True)
class Samples:
    """Inputs `x` (n, n_0), finite, and their classes `y` (n,), whole numbers."""

    x: Array
    y: Array

    def __post_init__(self) -> None:
        check(self.x.ndim == 2 and len(self.x) > 0, "x of shape (samples, inputs)", self.x.shape)
        check(
            self.y.shape == (len(self.x),) and self.y.dtype.kind in "iu",
            f"y to be integers of shape ({len(self.x)},)",
            f"{self.y.dtype} {self.y.shape}",
        )
        check(bool(np.isfinite(self.x).all()), "finite inputs", "some that are not")

    def first(self, count: int) -> "Samples":
        """Return the first `count` samples, or all where there are fewer."""
        return Samples(self.x[:count], self.y[:count])

    @property
    def inputs(self) -> Float:
        """The inputs in float64."""
        return np.asarray(self.x, dtype=np.float64)


def check_fit(network: Network, samples: Samples) -> None:
    """Raise EvaluatorError unless `samples` have the inputs and classes of `network`."""
    sizes = network.topology.sizes
    check(samples.x.shape[1] == sizes[0], f"samples of {sizes[0]} inputs", samples.x.shape[1])
    low, high = int(samples.y.min()), int(samples.y.max())
    check(low >= 0 and high < sizes[-1], f"classes 0 to {sizes[-1] - 1}", f"{low} to {high}")


def one_hot(network: Network, samples: Samples) -> Float:
    """Return the classes as rows (n, classes) of zeros and a one."""
    return np.eye(network.topology.sizes[-1])[samples.y]


def hits(scores: Float, y: Array) -> int:
    """Count the samples whose best score is that of their class.

    Raises EvaluatorError for scores that are not finite: they have no best one.
    """
    check(bool(np.isfinite(scores).all()), "finite scores", "some that are not: the network runs away")
    return int((scores.argmax(axis=1) == y).sum())


def accuracy(network: Network, samples: Samples, relaxation: Relaxation | None = None) -> float:
    """Return the share of samples that the network gets right, relaxed as its rule says unless told otherwise."""
    reference = network.reference(samples)
    states, _, _ = reference.settle(reference.feed_forward(), 0.0, relaxation or network.rule.free)
    return hits(reference.scores(states), samples.y) / len(samples.x)
