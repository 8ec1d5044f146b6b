"""The shape of a layered network: sizes, output, connections and the names of its parameters. Pure."""

import math
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Literal

from kernels.errors import KernelError

__all__ = ["Output", "Topology", "bias_name", "weight_name"]

Output = Literal["ce", "mse"]


def weight_name(source: int, target: int) -> str:
    """Return the name of the weights from layer `source` to layer `target`: an array (n_target, n_source)."""
    return f"w{source}-{target}"


def bias_name(layer: int) -> str:
    """Return the name of the bias of `layer`: an array (n_layer,)."""
    return f"b{layer}"


@dataclass(frozen=True)
class Topology:
    """Layers 0 (the clamped input) to L (the output), each fed by the one below and by its skips.

    `sizes` is (n_0, ..., n_L) with at least one hidden layer. With `output` "mse" the output is a state inside
    the energy with cost 1/2 |o - y|^2; with "ce" it is a softmax readout outside the energy, and the states are
    layers 1 to L-1. `skips` are extra connections (k, l), l >= k + 2. Hidden states live in [0, `clip`].

    Raises KernelError for sizes, skips or a clip that make no network.
    """

    sizes: tuple[int, ...]
    output: Output = "ce"
    skips: tuple[tuple[int, int], ...] = ()
    clip: float = 1.0

    def __post_init__(self) -> None:
        if len(self.sizes) < 3:
            raise KernelError(
                f"sizes must name an input, at least one hidden layer and an output, got {self.sizes}."
            )
        if any(not 1 <= size <= 2**24 for size in self.sizes):
            raise KernelError(f"every size must lie in [1, 2**24], got {self.sizes}.")
        if self.output not in ("ce", "mse"):
            raise KernelError(f"output must be 'ce' or 'mse', got {self.output!r}.")
        if not (math.isfinite(self.clip) and self.clip > 0):
            raise KernelError(f"clip must be finite and positive, got {self.clip}.")
        for source, target in self.skips:
            if not (source >= 0 and source + 2 <= target <= self.last):
                raise KernelError(
                    f"a skip (k, l) must have 0 <= k and k + 2 <= l <= {self.last}, got ({source}, {target})."
                )
        if len(set(self.skips)) != len(self.skips):
            raise KernelError(f"each skip may stand once, got {self.skips}.")

    @property
    def last(self) -> int:
        """The number L of the output layer."""
        return len(self.sizes) - 1

    @cached_property
    def connections(self) -> tuple[tuple[int, int], ...]:
        """All connections (k, l), ordered by target and then by source."""
        chain = tuple((layer - 1, layer) for layer in range(1, len(self.sizes)))
        return tuple(sorted(chain + self.skips, key=lambda edge: (edge[1], edge[0])))

    @cached_property
    def state_layers(self) -> tuple[int, ...]:
        """The layers that relax: 1 to L-1, and L too where the output is "mse"."""
        return tuple(range(1, self.last + (self.output == "mse")))

    @cached_property
    def hidden_layers(self) -> tuple[int, ...]:
        """The layers 1 to L-1, whose states are clipped."""
        return tuple(range(1, self.last))

    @cached_property
    def parameter_shapes(self) -> Mapping[str, tuple[int, ...]]:
        """The shape of every parameter by name: weights (n_target, n_source), then biases (n_layer,)."""
        shapes: dict[str, tuple[int, ...]] = {
            weight_name(source, target): (self.sizes[target], self.sizes[source])
            for source, target in self.connections
        }
        shapes.update({bias_name(layer): (size,) for layer, size in enumerate(self.sizes) if layer})
        return shapes

    @cached_property
    def recurrent(self) -> tuple[tuple[int, int], ...]:
        """The state-to-state connections: those that set how fast the network settles."""
        return tuple(edge for edge in self.connections if edge[0] > 0 and edge[1] in self.state_layers)

    def below(self, layer: int) -> tuple[int, ...]:
        """The state layers that feed `layer`."""
        return tuple(source for source, target in self.connections if target == layer and source > 0)

    def above(self, layer: int) -> tuple[int, ...]:
        """The state layers that `layer` feeds, which pull on it in return."""
        return tuple(target for source, target in self.recurrent if source == layer)

    @cached_property
    def fed(self) -> tuple[int, ...]:
        """The layers that the input feeds, a readout among them."""
        return tuple(target for source, target in self.connections if source == 0)

    @property
    def has_readout(self) -> bool:
        """Whether the output is a softmax readout outside the energy."""
        return self.output == "ce"

    def fan_in(self, layer: int) -> int:
        """Count the units that feed `layer` from below, skips included."""
        return sum(self.sizes[source] for source, target in self.connections if target == layer)
