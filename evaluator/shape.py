"""What a genome of the MLP space looks like as layers and products, without building it. Pure."""

from collections.abc import Mapping

from genome import Value

__all__ = ["Shape", "shape_of"]

import msgspec


class Shape(msgspec.Struct, frozen=True, kw_only=True):
    """Layer sizes (n_0 .. n_L), connections (k, l) with k < l, and where the output lives.

    `states` are the layers that settle: 1 .. L with output `mse`, 1 .. L-1 with `ce`, whose readout
    lies outside the energy.
    """

    sizes: tuple[int, ...]
    connections: tuple[tuple[int, int], ...]
    skips: tuple[tuple[int, int], ...]
    output: str
    states: tuple[int, ...]

    @property
    def parameters(self) -> int:
        """Number of weights and biases."""
        return sum(self.sizes[k] * self.sizes[l] for k, l in self.connections) + sum(self.sizes[1:])

    @property
    def iterative(self) -> bool:
        """Whether states feed each other, so that the free phase is more than one pass."""
        return len(self.states) > 1


def shape_of(values: Mapping[str, Value], *, inputs: int, classes: int) -> Shape:
    """The shape that `values`, valid in the space `mlp`, give for a task of that size."""
    depth = int(values["depth"])
    sizes = (inputs, *(int(values[f"width{i}"]) for i in range(1, depth + 1)), classes)
    last = len(sizes) - 1
    output = str(values["output"])
    skips = tuple((k, k + 2) for k in range(last - 1)) if values["skip"] == "two" else ()
    return Shape(
        sizes=sizes,
        connections=(*((l - 1, l) for l in range(1, last + 1)), *skips),
        skips=skips,
        output=output,
        states=tuple(range(1, last + 1 if output == "mse" else last)),
    )
