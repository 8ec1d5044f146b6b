"""What a genome looks like as layers and products, without building it. Pure."""

import itertools
import math
from collections.abc import Mapping

import msgspec

from evaluator.errors import EvaluatorError
from genome import Value

__all__ = ["Edge", "Image", "NoImageError", "Shape", "is_plain", "rule_name", "shape_of"]

Edge = tuple[int, int]
"""A connection (k, l) from layer k to layer l, k < l."""
Image = tuple[int, int, int]
"""Channels, height and width of an input."""

# Values of the family's genes with which a network is one that the engine trains.
_PLAIN: Mapping[str, Value] = {
    "rule_ce": "plain", "rule_mse": "plain", "looped": "off", "activation": "clip", "keep": 1.0, "weight_bits": "32",
    "feedback": "tied", "damping": 1.0, "settle_momentum": 0.0, "sleep": "off",
}  # fmt: skip
_COLOURS = tuple(itertools.product((0, 1), repeat=3))


class NoImageError(EvaluatorError):
    """Filters met a task that does not say which image its inputs are."""


class Shape(msgspec.Struct, frozen=True, kw_only=True):
    """Layer sizes (n_0 .. n_L), connections (k, l) with k < l, and where the output lives.

    `states` are the layers that settle: 1 .. L with output `mse`, 1 .. L-1 with `ce`, whose readout
    lies outside the energy. Where `looped`, connections between hidden layers read one weight; with `feedback`, what
    comes down has weights of its own. `maps` are channels, height and width of the input and of the first layers where
    those are joined by filters of a side of `kernel`; other layers are joined unit by unit. `heads` are the classes of
    each head, where there are several: each has output weights of its own.
    """

    sizes: tuple[int, ...]
    connections: tuple[Edge, ...]
    skips: tuple[Edge, ...]
    output: str
    states: tuple[int, ...]
    looped: bool = False
    feedback: bool = False
    maps: tuple[Image, ...] = ()
    kernel: int = 1
    heads: tuple[int, ...] = ()

    @property
    def last(self) -> int:
        """The number L of the output layer."""
        return len(self.sizes) - 1

    @property
    def parameters(self) -> int:
        """Number of weights and biases that are held; of a cube, what is off its mask too."""
        weights = sum(math.prod(self.matrix(edge)) for edge in self.own)
        back = sum(math.prod(self.matrix(edge)) for edge in self.untied)
        return weights + back + sum(channels for channels, _, _ in self.maps[1:]) + sum(self._unit_biases)

    @property
    def _unit_biases(self) -> tuple[int, ...]:
        # A filter's bias is one a channel.
        return self.sizes[max(1, len(self.maps)) :]

    @property
    def own(self) -> tuple[Edge, ...]:
        """The connections whose weight no earlier one has."""
        inner = [edge for edge in self.connections if self.looped and edge[0] > 0 and edge[1] < self.last]
        return tuple(edge for edge in self.connections if edge not in inner[1:])

    @property
    def untied(self) -> tuple[Edge, ...]:
        """The connections of `own` whose way down has weights of its own."""
        return tuple(edge for edge in self.own if self.feedback and edge[0] > 0)

    @property
    def iterative(self) -> bool:
        """Whether states feed each other, so that the free phase is more than one pass."""
        return len(self.states) > 1

    def filtered(self, edge: Edge) -> bool:
        """Whether filters join these layers."""
        return edge[1] < len(self.maps)

    def matrix(self, edge: Edge) -> tuple[int, int]:
        """Rows and columns of a connection's weight; filters are a row each."""
        if self.filtered(edge):
            return self.maps[edge[1]][0], self.maps[edge[0]][0] * self.kernel**2
        return self.sizes[edge[1]], self.sizes[edge[0]]

    def matrices(self, edge: Edge) -> tuple[tuple[int, int], ...]:
        """Rows and columns of a connection's weights: of one, or of one for each head."""
        rows, columns = self.matrix(edge)
        parts = self.heads if self.heads and edge[1] == self.last else (rows,)
        return tuple((part, columns) for part in parts)


def is_plain(values: Mapping[str, Value]) -> bool:
    """Whether the engine trains this network: dense layers, a plain estimate, and every other gene without effect."""
    return (
        "side" not in values
        and "layers" not in values
        and all(values.get(gene, value) == value for gene, value in _PLAIN.items())
        and "activation_smooth" not in values
    )


def rule_name(values: Mapping[str, Value]) -> str:
    """The learning rule: "plain" for the estimates that the engine has too."""
    return str(values.get("rule_ce", values.get("rule_mse", "plain")))


def shape_of(
    values: Mapping[str, Value],
    *,
    inputs: int,
    classes: int,
    image: Image | None = None,
    heads: tuple[int, ...] = (),
) -> Shape:
    """The shape that `values`, valid in a space for networks, give for a task of that size.

    `heads` divide the classes, where a task has several heads. Filters need the `image` that an input is: NoImageError
    where it is None or has another size than `inputs`.
    """
    return msgspec.structs.replace(_shape(values, inputs, classes, image), heads=heads)


def _shape(values: Mapping[str, Value], inputs: int, classes: int, image: Image | None) -> Shape:
    if "side" in values:
        return _cube(values, inputs, classes)
    if "layers" in values:
        return _convolutional(values, inputs, classes, image)
    looped = values.get("looped") == "on"
    depth = int(values["loop_depth" if looped else "depth"])
    widths = (int(values["width1" if looped else f"width{i}"]) for i in range(1, depth + 1))
    sizes = (inputs, *widths, classes)
    last = len(sizes) - 1
    skips = tuple((k, k + 2) for k in range(last - 1)) if values.get("skip") == "two" else ()
    return Shape(
        sizes=sizes,
        connections=(*((l - 1, l) for l in range(1, last + 1)), *skips),
        skips=skips,
        output=str(values["output"]),
        states=_states(values, last),
        looped=looped,
        feedback=values.get("feedback", "tied") != "tied",
    )


def _states(values: Mapping[str, Value], last: int) -> tuple[int, ...]:
    return tuple(range(1, last + 1 if values["output"] == "mse" else last))


def _cube(values: Mapping[str, Value], inputs: int, classes: int) -> Shape:
    """The eight colours of a cube: units whose coordinates agree in parity, joined to all other colours."""
    side = int(values["side"])
    counts = ((side + 1) // 2, side // 2)
    units = (counts[x] * counts[y] * counts[z] for x, y, z in _COLOURS)
    sizes = (inputs, *units, classes)
    last = len(sizes) - 1
    # Inputs feed the face z = 0, the output reads the face z = side - 1.
    lit = {layer for layer, (_, _, z) in enumerate(_COLOURS, start=1) if z == 0}
    read = {layer for layer, (_, _, z) in enumerate(_COLOURS, start=1) if z == (side - 1) % 2}
    joined = (
        (k, l)
        for k, l in itertools.combinations(range(last + 1), 2)
        if (k > 0 and l < last) or (k == 0 and l in lit) or (l == last and k in read)
    )
    return Shape(
        sizes=sizes,
        connections=tuple(joined),
        skips=(),
        output=str(values["output"]),
        states=_states(values, last),
        feedback=values.get("feedback", "tied") != "tied",
    )


def _convolutional(values: Mapping[str, Value], inputs: int, classes: int, image: Image | None) -> Shape:
    """Convolutional layers, each halved by its pool, then a dense output."""
    layers = int(values["layers"])
    if image is None or math.prod(image) != inputs:
        raise NoImageError(
            f"filters need a task whose `image` (channels, height, width) makes its {inputs} inputs, got {image}. "
            "Give the task its image, or search another space than conv."
        )
    if min(image[1:]) >> layers < 1:
        raise NoImageError(
            f"{layers} pools leave nothing of an image of {image[1]} x {image[2]}, expected one of at least "
            f"{2**layers} x {2**layers}. Take fewer layers."
        )
    maps = [image]
    for layer in range(1, layers + 1):
        _, height, width = maps[-1]
        maps.append((int(values[f"channels{min(layer, 3)}"]), height // 2, width // 2))
    sizes = (*(math.prod(each) for each in maps), classes)
    last = len(sizes) - 1
    return Shape(
        sizes=sizes,
        connections=tuple((layer - 1, layer) for layer in range(1, last + 1)),
        skips=(),
        output=str(values["output"]),
        states=_states(values, last),
        maps=tuple(maps),
        kernel=int(values["kernel"]),
    )
