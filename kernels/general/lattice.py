"""The neural cube: units on a lattice of side n, each joined to its 26 neighbours.

Units whose coordinates agree in parity are never neighbours, so that the cube is eight layers of a layered network,
and a block sweep over them moves every unit to its exact minimiser.
"""

import itertools
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from kernels.errors import KernelError
from kernels.general.couplings import Coupling, Dense
from kernels.general.structure import Weight, feedback_name
from kernels.topology import weight_name

__all__ = ["LatticeStructure"]

COLOURS = tuple(itertools.product((0, 1), repeat=3))


@dataclass(frozen=True)
class LatticeStructure:
    """A cube of `side`^3 units: the input feeds the face z = 0, and the output reads the face z = side - 1.

    Layers 1 to 8 are the colours (x, y, z modulo 2). Raises KernelError for a side below 2.
    """

    inputs: int
    side: int
    classes: int
    output: str = "ce"
    clip: float = 1.0

    def __post_init__(self) -> None:
        if not 2 <= self.side <= 32:
            raise KernelError(f"the side of a cube has 2 to 32 units, got {self.side}.")

    @property
    def last(self) -> int:
        """The number L of the output layer."""
        return len(COLOURS) + 1

    @cached_property
    def places(self) -> tuple[NDArray[np.int64], ...]:
        """The coordinates (units, 3) of each colour's units."""
        grid = np.array(list(itertools.product(range(self.side), repeat=3)))
        return tuple(grid[(grid % 2 == colour).all(axis=1)] for colour in COLOURS)

    def _mask(self, source: int, target: int) -> NDArray[np.bool_]:
        """Return which units of two layers are joined, (n_target, n_source)."""
        if source == 0:
            return np.repeat(self.places[target - 1][:, 2:] == 0, self.inputs, axis=1)
        if target == self.last:
            return (
                np.repeat(self.places[source - 1][:, 2] == self.side - 1, self.classes)
                .reshape(-1, self.classes)
                .T
            )
        steps = np.abs(self.places[target - 1][:, None] - self.places[source - 1][None])
        return np.asarray(steps.max(axis=2) == 1)

    @cached_property
    def masks(self) -> Mapping[tuple[int, int], NDArray[np.bool_]]:
        """The mask (n_target, n_source) of each pair of layers that are joined anywhere."""
        found = {}
        for source, target in itertools.combinations(range(self.last + 1), 2):
            if (source, target) != (0, self.last):
                mask = self._mask(source, target)
                if mask.any():
                    found[source, target] = mask
        return found

    @cached_property
    def weights(self) -> tuple[Weight, ...]:
        """One matrix for each pair of joined layers; what is off its mask is never felt."""
        joined: dict[int, int] = {}
        for (_, target), mask in self.masks.items():
            joined[target] = joined.get(target, 0) + int(mask.sum(axis=1).max())
        return tuple(
            Weight(
                weight_name(source, target),
                (mask.shape[0], mask.shape[1]),
                joined[target],
                source > 0 and target < self.last,
                source > 0 and (target < self.last or self.output == "mse"),
            )
            for (source, target), mask in self.masks.items()
        )

    @property
    def biases(self) -> Mapping[int, int]:
        """One bias a unit, and one a class."""
        return {
            **{layer: len(units) for layer, units in enumerate(self.places, start=1)},
            self.last: self.classes,
        }

    @property
    def untieable(self) -> tuple[str, ...]:
        """Every weight that does not come from the input."""
        return tuple(weight_name(*edge) for edge in self.masks if edge[0] > 0)

    def couplings(self, met: Mapping[str, Tensor]) -> list[Coupling]:
        """Return one masked coupling for each pair of joined layers."""
        found: list[Coupling] = []
        for (source, target), mask in self.masks.items():
            name = weight_name(source, target)
            kept = torch.from_numpy(mask).to(met[name].dtype)
            found.append(
                Dense(source, target, name, met[name], mask=kept, feedback=met.get(feedback_name(name)))
            )
        return found
