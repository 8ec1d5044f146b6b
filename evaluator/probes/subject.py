"""What probes look at: a network and labelled samples that fit it. Pure."""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from evaluator.errors import EvaluatorError
from evaluator.shape import Shape
from genome import Value
from kernels import Relaxation, Rule, Topology
from kernels.backends.reference import Reference
from kernels.learner import Array, check_learner
from kernels.probes.dynamics import Dynamics
from kernels.probes.equilibrium import THOROUGH, find_equilibrium
from kernels.probes.exponent import Advance, settle_map
from kernels.probes.harm import noisy_states, noisy_weights, without_units
from kernels.probes.victims import NetworkVictim, Victim

__all__ = [
    "Network",
    "Samples",
    "Subject",
    "accuracy",
    "check",
    "check_fit",
    "hits",
    "one_hot",
    "settled_hits",
]

Float = NDArray[np.float64]
ATTACK_TOLERANCE = 1e-7
UNSETTLED = 1e-6


class Subject(Protocol):
    """A network as it stands, of the engine or of the general learner, and what probes do to it."""

    @property
    def inputs(self) -> int:
        """The number of inputs."""

    @property
    def classes(self) -> int:
        """The number of classes."""

    @property
    def free(self) -> Relaxation:
        """How it settles before a prediction."""

    @property
    def nudged(self) -> Relaxation:
        """How its nudged phase settles."""

    @property
    def genes(self) -> Mapping[str, Value]:
        """What the cost model reads of it beside its shape and its training."""

    @property
    def shape(self) -> Shape:
        """Its layers and connections, as the cost model counts them."""

    def dynamics(self, samples: "Samples") -> Dynamics:
        """Return its free sweeps on `samples`."""

    def settle_map(self, samples: "Samples", relaxation: Relaxation) -> tuple[Advance, Float]:
        """Return the free sweep of one sample as a map with its tangents, and the state that it starts from."""

    def victim(self, sweeps: int) -> Victim:
        """Return what an attack sees of it; where it settles further than it predicts, in up to so many `sweeps`."""

    def unsettled(self, samples: "Samples", sweeps: int) -> float | None:
        """Return the share of samples whose gradient is not exact for want of rest; None where no gradient needs it."""

    def noisy(self, level: float, seed: bytes) -> "Subject":
        """Return it with normal noise on weights, of `level` times the root mean square of each array."""

    def without(self, part: float, seed: bytes) -> "Subject":
        """Return it with a share `part` of its hidden units silent."""

    def disturbed(self, samples: "Samples", level: float, seed: bytes) -> Float:
        """Return the scores of `samples` (b, classes) after a free phase with noise on the states in every sweep."""


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

    @property
    def inputs(self) -> int:
        """The number of inputs."""
        return self.topology.sizes[0]

    @property
    def classes(self) -> int:
        """The number of classes."""
        return self.topology.sizes[-1]

    @property
    def free(self) -> Relaxation:
        """How it settles before a prediction."""
        return self.rule.free

    @property
    def nudged(self) -> Relaxation:
        """How its nudged phase settles."""
        return self.rule.nudged

    @property
    def genes(self) -> Mapping[str, Value]:
        """What the cost model reads of it beside its shape and its training."""
        return {"credit": "ep", "estimate": self.rule.estimate}

    @property
    def shape(self) -> Shape:
        """Its layers and connections, as the cost model counts them."""
        return Shape(
            sizes=self.topology.sizes,
            connections=self.topology.connections,
            skips=self.topology.skips,
            output=self.topology.output,
            states=self.topology.state_layers,
        )

    def dynamics(self, samples: "Samples") -> Reference:
        """Return the arbiter's equations of this network on `samples`."""
        return Reference(self.topology, self.parameters, samples.x, one_hot(self, samples))

    def settle_map(self, samples: "Samples", relaxation: Relaxation) -> tuple[Advance, Float]:
        """Return the free sweep of one sample as a map with its tangents, and its feed-forward state."""
        return settle_map(self.dynamics(samples), relaxation)

    def victim(self, sweeps: int) -> NetworkVictim:
        """Return the network as it settles fully, in up to `sweeps`, with gradients by its equilibrium's adjoint."""
        return NetworkVictim(self.topology, self.parameters, sweeps=sweeps, tolerance=ATTACK_TOLERANCE)

    def unsettled(self, samples: "Samples", sweeps: int) -> float:
        """Return the share of samples which one more sweep moves by more than 1e-6: their adjoint is not exact."""
        target = one_hot(self, samples)
        relaxation = replace(THOROUGH, steps=sweeps)
        found = find_equilibrium(self.topology, self.parameters, samples.inputs, target, relaxation)
        return float((~(found.residuals <= UNSETTLED)).mean())

    def noisy(self, level: float, seed: bytes) -> "Network":
        """Return it with normal noise on weights, of `level` times the root mean square of each array."""
        return replace(self, parameters=noisy_weights(self.parameters, level, seed))

    def without(self, part: float, seed: bytes) -> "Network":
        """Return it with a share `part` of its hidden units silent."""
        return replace(self, parameters=without_units(self.topology, self.parameters, part, seed)[0])

    def disturbed(self, samples: "Samples", level: float, seed: bytes) -> Float:
        """Return the scores of `samples` (b, classes) after a free phase with noise on the states in every sweep."""
        reference = self.dynamics(samples)
        return reference.scores(noisy_states(reference, self.rule.free, level, seed))


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


def check_fit(network: Subject, samples: Samples) -> None:
    """Raise EvaluatorError unless `samples` have the inputs and classes of `network`."""
    check(samples.x.shape[1] == network.inputs, f"samples of {network.inputs} inputs", samples.x.shape[1])
    low, high = int(samples.y.min()), int(samples.y.max())
    check(low >= 0 and high < network.classes, f"classes 0 to {network.classes - 1}", f"{low} to {high}")


def one_hot(network: Subject, samples: Samples) -> Float:
    """Return the classes as rows (n, classes) of zeros and a one."""
    return np.eye(network.classes)[samples.y]


def hits(scores: Float, y: Array) -> int:
    """Count the samples whose best score is that of their class.

    Raises EvaluatorError for scores that are not finite: they have no best one.
    """
    check(bool(np.isfinite(scores).all()), "finite scores", "some that are not: the network runs away")
    return int((scores.argmax(axis=1) == y).sum())


def settled_hits(network: Subject, samples: Samples) -> int:
    """Count the samples that the network gets right, relaxed as its rule says."""
    dynamics = network.dynamics(samples)
    states, _, _ = dynamics.settle(dynamics.feed_forward(), 0.0, network.free)
    return hits(dynamics.scores(states), samples.y)


def accuracy(network: Subject, samples: Samples) -> float:
    """Return the share of samples that the network gets right, relaxed as its rule says."""
    return settled_hits(network, samples) / len(samples.x)
