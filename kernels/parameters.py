"""The parameters of a network, or of P side by side, in one block of memory, and their gradients in another.

Optimizers then take one pass over everything, and products read views.
"""

from collections.abc import Mapping, Sequence
from typing import Protocol

import numpy as np
import torch
from torch import Tensor

from kernels.arithmetic import Arithmetic, Signal, run
from kernels.learner import Array

__all__ = ["Parameters", "Shaped"]

# Views begin on cache lines.
ALIGNMENT = 16


class Shaped(Protocol):
    """Whatever knows the shapes of parameters by name, weights before biases: a `Topology`, for one."""

    @property
    def parameter_shapes(self) -> Mapping[str, tuple[int, ...]]:
        """The shape of each parameter."""


class Parameters:
    """`flat` holds all values, ([P,] total): weights first, then biases from `bias_start` on.

    `views` and `gradient_views` are the parameters and their gradients by name. The padding between them stays 0.
    """

    def __init__(self, shapes: Shaped, arithmetic: Arithmetic, values: Sequence[Mapping[str, Array]]) -> None:
        self.arithmetic = arithmetic
        self._shapes = shapes.parameter_shapes
        self._offsets: dict[str, int] = {}
        total = 0
        self.bias_start = 0
        for name, shape in self._shapes.items():
            if name.startswith("b") and not self.bias_start:
                self.bias_start = total
            self._offsets[name] = total
            total += -(-int(np.prod(shape)) // ALIGNMENT) * ALIGNMENT
        self.flat = arithmetic.weight(arithmetic.zeros(total))
        self.gradient = arithmetic.zeros(total)
        self.views = {
            name: Signal(self._view(self.flat.value, name), self._view(self.flat.operand, name))
            for name in self._shapes
        }
        self.gradient_views = {name: self._view(self.gradient, name) for name in self._shapes}
        self.assign(values)

    def _view(self, flat: Tensor, name: str) -> Tensor:
        shape = self._shapes[name]
        start = self._offsets[name]
        return flat[..., start : start + int(np.prod(shape))].view(*self.arithmetic.lead, *shape)

    def assign(self, values: Sequence[Mapping[str, Array]]) -> None:
        """Set all parameters from one mapping for each network, which `check_learner` has passed."""
        for index, mapping in enumerate(values):
            for name in self._shapes:
                target = self.views[name].value
                source = torch.from_numpy(np.array(mapping[name], dtype=np.float64))
                (target if self.arithmetic.population is None else target[index]).copy_(source)
        run(self.arithmetic.refresh(self.flat))

    def read(self, index: int) -> dict[str, Array]:
        """Return copies of the parameters of network `index`, in the arithmetic's own precision."""
        alone = self.arithmetic.population is None
        return {
            name: (view.value if alone else view.value[index]).numpy(force=True).copy()
            for name, view in self.views.items()
        }
