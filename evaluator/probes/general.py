"""Networks of the general learner as probes see them, and what stands for a genome's network. Needs torch."""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from evaluator.build import general_rule_of, optimizer_of, rule_of, structure_of, topology_of
from evaluator.probes.subject import Network, Samples, Subject, one_hot
from evaluator.shape import Shape, is_plain, shape_of
from evaluator.tasks import DatasetTask
from genome import Value
from kernels import Relaxation
from kernels.general.bounds import spectral_bounds
from kernels.general.network import Network as Couplings
from kernels.general.rules import GeneralRule
from kernels.general.structure import Structure
from kernels.learner import Array
from kernels.probes.exponent import Advance
from kernels.probes.general import (
    GeneralDynamics,
    GeneralVictim,
    general_map,
    met_weights,
    network_of,
    noisy,
    silenced,
)

__all__ = ["GeneralNetwork", "subject_of"]

Float = NDArray[np.float64]


@dataclass(frozen=True)
class GeneralNetwork:
    """A network of the general learner as it stands; `met` are its weights as states meet them, feedback included.

    A share `removed` of its hidden units, drawn from `seed` (32 bytes), is silent.
    """

    structure: Structure
    met: Mapping[str, Array]
    rule: GeneralRule
    genes: Mapping[str, Value]
    shape: Shape
    removed: float = 0.0
    seed: bytes = bytes(32)

    @property
    def inputs(self) -> int:
        """The number of inputs."""
        return self.structure.inputs

    @property
    def classes(self) -> int:
        """The number of classes."""
        return self.structure.classes

    @property
    def free(self) -> Relaxation:
        """How it settles before a prediction; predictive coding predicts without a sweep."""
        return self.rule.free

    @property
    def nudged(self) -> Relaxation:
        """How its nudged phase settles."""
        return self.rule.nudged

    @cached_property
    def network(self) -> Couplings:
        """Its couplings in float64, without the units that are silent."""
        whole = network_of(self.structure, self.met, self.rule)
        if not self.removed:
            return whole
        return silenced(whole, np.zeros((1, self.inputs)), self.removed, self.seed)

    def dynamics(self, samples: Samples) -> GeneralDynamics:
        """Return its free sweeps on `samples`."""
        return GeneralDynamics(self.network, samples.x, one_hot(self, samples))

    def settle_map(self, samples: Samples, relaxation: Relaxation) -> tuple[Advance, Float]:
        """Return the free sweep of one sample as a map with its tangents, and the state that it starts from."""
        return general_map(self.network, samples.x, relaxation)

    def victim(self, sweeps: int) -> GeneralVictim:  # noqa: ARG002 - it is attacked as it predicts, by its own sweeps
        """Return the network as it predicts, with gradients back through the very sweeps that it takes."""
        return GeneralVictim(self.network, self.free)

    def unsettled(self, samples: Samples, sweeps: int) -> None:
        """Return None: a gradient through the sweeps themselves is exact wherever they end."""

    def noisy(self, level: float, seed: bytes) -> "GeneralNetwork":
        """Return it with normal noise on the weights that states meet, own feedback weights included."""
        return replace(self, met=noisy(self.structure, self.met, level, seed))

    def without(self, part: float, seed: bytes) -> "GeneralNetwork":
        """Return it with a share `part` of its hidden units silent."""
        return replace(self, removed=part, seed=seed)

    def disturbed(self, samples: Samples, level: float, seed: bytes) -> Float:
        """Return the scores of `samples` (b, classes) after a free phase with noise on the states in every sweep."""
        dynamics = self.dynamics(samples)
        return dynamics.scores(dynamics.disturbed(self.free, level, seed))


def subject_of(values: Mapping[str, Value], task: DatasetTask, parameters: Mapping[str, Array]) -> Subject:
    """Return a genome's network with these parameters: the engine's where that trains it, else the general learner's.

    Raises EvaluatorError for a genome with credit backprop, KernelError for parameters that do not fit.
    """
    if is_plain(values):
        topology = topology_of(values, inputs=task.inputs, classes=task.classes)
        return Network(topology, parameters, rule_of(values))
    rule = general_rule_of(values)
    structure = structure_of(values, inputs=task.inputs, classes=task.classes, image=task.image)
    bounds = spectral_bounds(structure, optimizer_of(values).spectral_cap)
    return GeneralNetwork(
        structure=structure,
        met=met_weights(parameters, rule, bounds),
        rule=rule,
        genes=values,
        shape=shape_of(values, inputs=task.inputs, classes=task.classes, image=task.image),
    )
