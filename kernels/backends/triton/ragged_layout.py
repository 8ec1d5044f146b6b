"""Where networks of different depths and widths lie in flat buffers, and the table that tells a kernel. Pure.

Every width is padded to a multiple of 16 and every offset counts units of 16 elements: a compiler that sees the factor
16 loads 16 bytes at once. Padded weights and biases are 0, so padded states stay 0.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Literal

import torch
from torch import Tensor

from kernels.errors import KernelError

__all__ = ["MAX_LAYERS", "ROW", "UNIT", "Network", "RaggedLayout"]

UNIT = 16
# The most layers after the input, the output or readout included.
MAX_LAYERS = 8
# What a row of the table begins with: layers, readout, sweeps, order, the offset of the drive; the rest is 0.
HEAD = 8
# What follows for each layer from the input to MAX_LAYERS + 1: width, and the offsets of its weights, bias and states.
FIELDS = 4
ROW = HEAD + FIELDS * (MAX_LAYERS + 2)
LARGEST_WIDTH = 4096
MAX_STEPS = 10**6
ORDERS = ("forward", "backward", "alternating")


def padded(width: int) -> int:
    """Return `width` rounded up to a multiple of 16."""
    return -(-width // UNIT) * UNIT


@dataclass(frozen=True, slots=True)
class Network:
    """One network of a ragged population: `sizes` (n_0, ..., n_L), how its output is read, and how it settles.

    Of `steps` sweeps, "alternating" ones begin backward.
    """

    sizes: tuple[int, ...]
    output: Literal["ce", "mse"]
    steps: int
    order: Literal["forward", "backward", "alternating"]

    def __post_init__(self) -> None:
        if not 3 <= len(self.sizes) <= MAX_LAYERS + 1:
            raise KernelError(
                f"sizes must name an input, 1 to {MAX_LAYERS - 1} hidden layers and an output, got {self.sizes}. "
                "Settle deeper networks layer by layer."
            )
        if any(not 1 <= size <= LARGEST_WIDTH for size in self.sizes[1:]) or self.sizes[0] < 1:
            raise KernelError(
                f"every width after the input must lie in [1, {LARGEST_WIDTH}], got {self.sizes}. Settle wider "
                "networks layer by layer."
            )
        if self.output not in ("ce", "mse"):
            raise KernelError(f"output must be 'ce' or 'mse', got {self.output!r}.")
        if not 1 <= self.steps <= MAX_STEPS:
            raise KernelError(f"steps must lie in [1, {MAX_STEPS}], got {self.steps}.")
        if self.order not in ORDERS:
            raise KernelError(f"order must be one of {', '.join(ORDERS)}, got {self.order!r}.")

    @property
    def work(self) -> int:
        """Count the multiplications of a sample while it settles: what decides who starts first."""
        pairs = zip(self.sizes[1:], self.sizes[2:], strict=False)
        return 2 * self.steps * sum(padded(below) * padded(above) for below, above in pairs)


@dataclass(frozen=True)
class RaggedLayout:
    """The flat buffers of `networks` that settle a batch of `batch` samples each, all with as many classes.

    `weights` holds W_2 .. W_L of each network as [d_{k-1}, d_k] (W_1 makes the drive, before the launch), `biases`
    b_2 .. b_L, `states` S_1 .. S_L as [B, d_k] (the last is the output, or the pull of a readout), and `drive`
    x W_1 + b_1 as [B, d_1]. Every side but B is padded to a multiple of 16.
    """

    networks: tuple[Network, ...]
    batch: int

    def __post_init__(self) -> None:
        if not self.networks:
            raise KernelError("a ragged population needs at least one network, got none.")
        if not 1 <= self.batch <= 2**15:
            raise KernelError(f"batch must lie in [1, {2**15}], got {self.batch}.")
        classes = {network.sizes[-1] for network in self.networks}
        if len(classes) > 1:
            raise KernelError(
                f"all networks of a launch must have as many classes, got {sorted(classes)}. Launch them apart."
            )
        # An offset counts units of 16 elements in 32 bits.
        if max(self.weight_size, self.state_size, self.drive_size) >= UNIT * 2**31:
            raise KernelError(
                f"a buffer must have fewer than {UNIT * 2**31} elements. Launch fewer networks."
            )

    @property
    def classes(self) -> int:
        """The number of classes."""
        return self.networks[0].sizes[-1]

    @cached_property
    def _offsets(self) -> tuple[list[list[tuple[int, int, int]]], list[int], tuple[int, int, int, int]]:
        """Each layer's (weights, bias, states), each network's drive, and the four totals, in elements."""
        rows: list[list[tuple[int, int, int]]] = []
        drives: list[int] = []
        weight = bias = state = drive = 0
        for network in self.networks:
            drives.append(drive)
            layers = []
            for number, below, width in _layers(network):
                layers.append((weight, bias, state))
                if number > 1:
                    weight += below * width
                    bias += width
                else:
                    drive += self.batch * width
                state += self.batch * width
            rows.append(layers)
        return rows, drives, (weight, bias, state, drive)

    @property
    def weight_size(self) -> int:
        """The length of `weights`."""
        return self._offsets[2][0]

    @property
    def bias_size(self) -> int:
        """The length of `biases`."""
        return self._offsets[2][1]

    @property
    def state_size(self) -> int:
        """The length of `states`."""
        return self._offsets[2][2]

    @property
    def drive_size(self) -> int:
        """The length of `drive`."""
        return self._offsets[2][3]

    def table(self) -> Tensor:
        """Return the descriptors, (P, ROW) int32 on the CPU; widths and offsets in units of 16."""
        rows, drives, _ = self._offsets
        table = torch.zeros(len(self.networks), ROW, dtype=torch.int32)
        for row, network, layers, drive in zip(table, self.networks, rows, drives, strict=True):
            head = [len(layers), int(network.output == "ce"), network.steps, ORDERS.index(network.order)]
            row[:5] = torch.tensor([*head, drive // UNIT], dtype=torch.int32)
            for (number, _, width), offsets in zip(_layers(network), layers, strict=True):
                start = HEAD + FIELDS * number
                values = [width, *offsets]
                row[start : start + FIELDS] = torch.tensor(
                    [value // UNIT for value in values], dtype=torch.int32
                )
        return table

    def order(self) -> Tensor:
        """Return the networks, those with the most work first, (P,) int32 on the CPU: no long one starts last."""
        numbers = sorted(range(len(self.networks)), key=lambda number: -self.networks[number].work)
        return torch.tensor(numbers, dtype=torch.int32)

    def weight(self, weights: Tensor, network: int, layer: int) -> Tensor:
        """Return W of `layer` (2 .. L) of a network as a view [n_{k-1}, n_k] of `weights`."""
        sizes = self._sizes(network, layer, first=2)
        below, width = sizes[layer - 1], sizes[layer]
        start = self._offsets[0][network][layer - 1][0]
        whole = weights[start : start + padded(below) * padded(width)].view(padded(below), padded(width))
        return whole[:below, :width]

    def bias(self, biases: Tensor, network: int, layer: int) -> Tensor:
        """Return b of `layer` (2 .. L) of a network as a view [n_k] of `biases`."""
        sizes = self._sizes(network, layer, first=2)
        start = self._offsets[0][network][layer - 1][1]
        return biases[start : start + sizes[layer]]

    def state(self, states: Tensor, network: int, layer: int) -> Tensor:
        """Return S of `layer` (1 .. L) of a network as a view [B, n_k] of `states`."""
        sizes = self._sizes(network, layer, first=1)
        start, width = self._offsets[0][network][layer - 1][2], padded(sizes[layer])
        return states[start : start + self.batch * width].view(self.batch, width)[:, : sizes[layer]]

    def driven(self, drive: Tensor, network: int) -> Tensor:
        """Return the drive of a network as a view [B, n_1] of `drive`."""
        sizes = self._sizes(network, 1, first=1)
        start, width = self._offsets[1][network], padded(sizes[1])
        return drive[start : start + self.batch * width].view(self.batch, width)[:, : sizes[1]]

    def _sizes(self, network: int, layer: int, *, first: int) -> tuple[int, ...]:
        if not 0 <= network < len(self.networks):
            raise KernelError(f"network must lie in [0, {len(self.networks)}), got {network}.")
        sizes = self.networks[network].sizes
        if not first <= layer < len(sizes):
            raise KernelError(f"layer must lie in [{first}, {len(sizes) - 1}], got {layer}.")
        return sizes


def _layers(network: Network) -> Iterator[tuple[int, int, int]]:
    """Return the number, the width below and the width of each layer after the input, widths padded."""
    sizes: Sequence[int] = [padded(size) for size in network.sizes]
    return zip(range(1, len(sizes)), sizes, sizes[1:], strict=False)
