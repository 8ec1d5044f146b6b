"""What a network of the general learner is made of: its weights, its layers, and how they are coupled. Pure.

States of a layer are (batch, units), or (batch, channels, height, width) in a convolutional one; the input arrives as
(batch, n_0).
"""

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Protocol

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

from kernels.errors import KernelError
from kernels.general.couplings import Coupling, Dense
from kernels.randomness import uniform_integers
from kernels.topology import Topology, bias_name, weight_name

__all__ = ["DenseStructure", "Structure", "Weight", "feedback_name", "initial_values"]

GRID = 2**24


def feedback_name(name: str) -> str:
    """Return the name of the feedback of the weight called `name`."""
    return f"f{name}"


@dataclass(frozen=True)
class Weight:
    """A weight of a network: its matrix (n_target, n_source), and what its first values and a cap need to know.

    `fan_in` counts what feeds a unit of the target, over all of its weights; `inner` says that it joins hidden layers,
    so that the gain scales it; `recurrent` that it joins layers that settle.
    """

    name: str
    shape: tuple[int, int]
    fan_in: int
    inner: bool
    recurrent: bool


class Structure(Protocol):
    """The layers 0 (the clamped input) to `last` of a network, and their couplings."""

    @property
    def inputs(self) -> int:
        """The number of inputs n_0."""

    @property
    def classes(self) -> int:
        """The number of classes."""

    @property
    def last(self) -> int:
        """The number L of the output layer."""

    @property
    def output(self) -> str:
        """Where the output lives: "ce", a softmax readout outside the energy, or "mse", a state inside it."""

    @property
    def clip(self) -> float:
        """The upper bound of a clipped hidden state."""

    @property
    def weights(self) -> tuple[Weight, ...]:
        """The weights; several couplings may read one."""

    @property
    def biases(self) -> Mapping[int, int]:
        """The length of the bias of each layer after the input."""

    @property
    def untieable(self) -> tuple[str, ...]:
        """The weights whose way down may be given weights of its own."""

    def couplings(self, met: Mapping[str, Tensor]) -> list[Coupling]:
        """Return the couplings on the weights `met`, by name, and on feedback weights where there are such."""


@dataclass(frozen=True)
class DenseStructure:
    """A dense layered network; where `looped`, hidden layers of one width share the weights between them.

    Looped weights are one matrix W for s_l and s_{l+1} whatever l is: a network whose parameters do not grow with its
    depth. Raises KernelError where the hidden widths differ, or there are fewer than three hidden layers to share.
    """

    topology: Topology
    looped: bool = False

    def __post_init__(self) -> None:
        hidden = self.topology.sizes[1:-1]
        if self.looped and (len(set(hidden)) > 1 or len(hidden) < 3):
            raise KernelError(
                f"looped weights join 3 or more hidden layers of one width, got the hidden widths {hidden}."
            )
        if self.looped and self.topology.skips:
            raise KernelError(
                f"looped weights have no place for skip connections, got {self.topology.skips}."
            )

    @property
    def inputs(self) -> int:
        """The number of inputs n_0."""
        return self.topology.sizes[0]

    @property
    def classes(self) -> int:
        """The number of classes."""
        return self.topology.sizes[-1]

    @property
    def last(self) -> int:
        """The number L of the output layer."""
        return self.topology.last

    @property
    def output(self) -> str:
        """Where the output lives."""
        return self.topology.output

    @property
    def clip(self) -> float:
        """The upper bound of a clipped hidden state."""
        return self.topology.clip

    def _name(self, source: int, target: int) -> str:
        inner = source > 0 and target < self.last
        return "wloop" if self.looped and inner else weight_name(source, target)

    @property
    def weights(self) -> tuple[Weight, ...]:
        """The weights, each once."""
        found: dict[str, Weight] = {}
        for source, target in self.topology.connections:
            name = self._name(source, target)
            shape = (self.topology.sizes[target], self.topology.sizes[source])
            inner = source > 0 and target < self.last
            recurrent = (source, target) in self.topology.recurrent
            found.setdefault(name, Weight(name, shape, self.topology.fan_in(target), inner, recurrent))
        return tuple(found.values())

    @property
    def biases(self) -> Mapping[int, int]:
        """The length of the bias of each layer after the input."""
        return {layer: size for layer, size in enumerate(self.topology.sizes) if layer}

    @property
    def untieable(self) -> tuple[str, ...]:
        """Every weight that does not come from the input."""
        names = [self._name(*edge) for edge in self.topology.connections if edge[0] > 0]
        return tuple(dict.fromkeys(names))

    def couplings(self, met: Mapping[str, Tensor]) -> list[Coupling]:
        """Return one dense coupling for each connection."""
        found: list[Coupling] = []
        for source, target in self.topology.connections:
            name = self._name(source, target)
            found.append(Dense(source, target, name, met[name], feedback=met.get(feedback_name(name))))
        return found


def initial_values(structure: Structure, seed: bytes, gain: float) -> dict[str, NDArray[np.float64]]:
    """Draw weights uniform on +-1/sqrt(fan-in) and zero biases, as multiples of 2**-24, from `seed` (32 bytes).

    `gain` scales the weights between hidden layers. Of a plain dense network these are the values of
    `kernels.initial_parameters`. The same on every machine.
    """
    if not (math.isfinite(gain) and 0 < gain <= 16):
        raise KernelError(f"gain must lie in (0, 16], got {gain}.")
    values: dict[str, NDArray[np.float64]] = {}
    for weight in structure.weights:
        bound = int((gain if weight.inner else 1.0) / math.sqrt(weight.fan_in) * GRID)
        drawn = uniform_integers(seed, f"initial/{weight.name}", math.prod(weight.shape), bound)
        values[weight.name] = (drawn.astype(np.float64) / GRID).reshape(weight.shape)
    for layer, size in structure.biases.items():
        values[bias_name(layer)] = np.zeros(size)
    return values
