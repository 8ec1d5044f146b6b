"""Where parameters of networks of different shapes lie, first layers included, and what kernels are told of them.

One flat fp32 block holds everything that is learned: the weights between layers as `RaggedLayout` has them, the first
layers' weights [n_0, n_1], then the biases in the same order. Widths after the input are padded to multiples of 16,
offsets count units of 16 elements, and all padding stays 0. Pure.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property

import torch
from torch import Tensor

from kernels.backends.triton.ragged_layout import MAX_LAYERS, ORDERS, UNIT, Network, RaggedLayout, padded
from kernels.errors import KernelError
from kernels.rules import Relaxation
from kernels.topology import Topology, bias_name, weight_name

__all__ = ["INPUT", "LAYER_ROW", "OUTPUT", "READOUT", "PopulationLayout", "phase_table"]

# What feeds a layer and what becomes of it: a state fed by the input, a hidden state, an output state inside the
# energy, a readout outside it.
INPUT, HIDDEN, OUTPUT, READOUT = range(4)
# A row: member, kind, sources, targets, then the offsets of weights, bias, the states below, its own states and the
# drive, and the number of state layers of the network; sources of an input layer are a count, all else is in units.
LAYER_ROW = 12


@dataclass(frozen=True)
class PopulationLayout:
    """The flat buffers of networks that agree in the input's width, the classes and the batch.

    `ragged` lays out what a phase reads; raises KernelError for networks that it does not take.
    """

    topologies: tuple[Topology, ...]
    relaxations: tuple[Relaxation, ...]
    batch: int

    def __post_init__(self) -> None:
        widths = {topology.sizes[0] for topology in self.topologies}
        if len(widths) > 1:
            raise KernelError(
                f"networks of one population read one input, got inputs of {sorted(widths)} numbers. Train them apart."
            )

    @cached_property
    def ragged(self) -> RaggedLayout:
        """Where the layers from 2 on, the states and the drives lie."""
        return RaggedLayout(
            tuple(
                Network(topology.sizes, topology.output, relaxation.steps, relaxation.order)
                for topology, relaxation in zip(self.topologies, self.relaxations, strict=True)
            ),
            self.batch,
        )

    @property
    def inputs(self) -> int:
        """The numbers of a sample."""
        return self.topologies[0].sizes[0]

    @cached_property
    def _first(self) -> tuple[list[int], list[int], int, int]:
        """The offset of each first layer's weights and bias, where biases begin, and the total."""
        widths = [padded(topology.sizes[1]) for topology in self.topologies]
        weights, start = [], self.ragged.weight_size
        for width in widths:
            weights.append(start)
            # The rows are as many as the inputs, not padded: that the width is a multiple of 16 is enough.
            start += self.inputs * width
        bias_start = start
        biases, start = [], bias_start + self.ragged.bias_size
        for width in widths:
            biases.append(start)
            start += width
        if start >= UNIT * 2**31:
            raise KernelError(
                f"a population has fewer than {UNIT * 2**31} parameters, got {start}. Train fewer networks."
            )
        return weights, biases, bias_start, start

    @property
    def bias_start(self) -> int:
        """Where the biases begin: what lies before them has a shadow in the dtype of the states."""
        return self._first[2]

    @property
    def size(self) -> int:
        """The length of the block of parameters."""
        return self._first[3]

    def weight(self, block: Tensor, network: int, layer: int) -> Tensor:
        """Return W of `layer` (1 .. L) of a network as a view [n_{k-1}, n_k] of `block`."""
        if layer > 1:
            return self.ragged.weight(block[: self.ragged.weight_size], network, layer)
        sizes, start = self.topologies[network].sizes, self._first[0][network]
        width = padded(sizes[1])
        return block[start : start + self.inputs * width].view(self.inputs, width)[:, : sizes[1]]

    def bias(self, block: Tensor, network: int, layer: int) -> Tensor:
        """Return b of `layer` (1 .. L) of a network as a view [n_k] of `block`."""
        if layer > 1:
            return self.ragged.bias(self.biases(block), network, layer)
        start = self._first[1][network]
        return block[start : start + self.topologies[network].sizes[1]]

    def biases(self, block: Tensor) -> Tensor:
        """Return the biases of the layers from 2 on, as a phase takes them."""
        return block[self.bias_start : self.bias_start + self.ragged.bias_size]

    def views(self, block: Tensor, network: int) -> dict[str, Tensor]:
        """Return a network's part of `block` by parameter, as views in the shapes of its topology."""
        views = {}
        for layer in range(1, self.topologies[network].last + 1):
            views[weight_name(layer - 1, layer)] = self.weight(block, network, layer).mT
            views[bias_name(layer)] = self.bias(block, network, layer)
        return views

    def layers(self) -> Tensor:
        """Return what kernels read of each layer, (P * MAX_LAYERS, LAYER_ROW) int32 on the CPU, layer 1 first."""
        table = torch.zeros(len(self.topologies), MAX_LAYERS, LAYER_ROW, dtype=torch.int32)
        for member, topology in enumerate(self.topologies):
            for layer in range(1, topology.last + 1):
                table[member, layer - 1, : LAYER_ROW - 2] = torch.tensor(self._row(member, layer))
        return table.view(-1, LAYER_ROW)

    def _row(self, member: int, layer: int) -> list[int]:
        topology = self.topologies[member]
        below = topology.sizes[layer - 1]
        # Where views of a block without memory begin.
        block, states = self._nowhere(self.size), self._nowhere(self.ragged.state_size)
        offsets = (
            self.weight(block, member, layer),
            self.bias(block, member, layer),
            self.ragged.state(states, member, max(layer - 1, 1)),
            self.ragged.state(states, member, layer),
            self.ragged.driven(self._nowhere(self.ragged.drive_size), member),
        )
        return [
            member,
            _kind(topology, layer),
            below if layer == 1 else padded(below) // UNIT,
            padded(topology.sizes[layer]) // UNIT,
            *(int(view.storage_offset()) // UNIT for view in offsets),
            len(topology.state_layers),
        ]

    @staticmethod
    def _nowhere(size: int) -> Tensor:
        return torch.empty(size, device="meta")

    def column_tiles(self, block: int) -> Tensor:
        """Return (row of `layers`, number of tile) of each tile of `block` columns of first layers, (T, 2) int32."""
        pairs = [
            (member * MAX_LAYERS, tile)
            for member, topology in enumerate(self.topologies)
            for tile in range(_tiles(padded(topology.sizes[1]), block))
        ]
        return torch.tensor(pairs, dtype=torch.int32)

    def weight_tiles(self, block: int) -> Tensor:
        """Return (row of `layers`, tile of sources, tile of targets) of each square tile of weights, (T, 3) int32."""
        return torch.tensor(list(self._weight_tiles(block)), dtype=torch.int32)

    def _weight_tiles(self, block: int) -> Iterator[tuple[int, int, int]]:
        for member, topology in enumerate(self.topologies):
            for layer in range(1, topology.last + 1):
                below = self.inputs if layer == 1 else padded(topology.sizes[layer - 1])
                for source in range(_tiles(below, block)):
                    for target in range(_tiles(padded(topology.sizes[layer]), block)):
                        yield member * MAX_LAYERS + layer - 1, source, target


def _kind(topology: Topology, layer: int) -> int:
    if layer == 1:
        return INPUT
    if layer < topology.last:
        return HIDDEN
    return READOUT if topology.has_readout else OUTPUT


def _tiles(length: int, block: int) -> int:
    return -(-length // block)


def phase_table(layout: RaggedLayout, relaxations: Sequence[Relaxation | None]) -> Tensor:
    """Return the table of `layout` with other sweeps and orders: a network without a relaxation stays as it is."""
    table = layout.table()
    for row, relaxation in zip(table, relaxations, strict=True):
        row[2] = 0 if relaxation is None else relaxation.steps
        row[3] = 0 if relaxation is None else ORDERS.index(relaxation.order)
    return table
