"""Convolutional layers: <s_l, pool(w * s_{l-1})> in the energy (Ernoult et al. 2019; Laborieux et al. 2021)."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal, cast

import torch
from torch import Tensor
from torch.nn import functional

from kernels.errors import KernelError
from kernels.general.couplings import Coupling, Dense
from kernels.general.structure import Weight
from kernels.topology import weight_name

__all__ = ["Convolution", "ConvolutionalStructure", "Pool"]

Pool = Literal["avg", "max"]


@dataclass
class Convolution:
    """A convolution with stride 1 and zero padding, then a 2 x 2 pool.

    `weight` is the matrix (channels above, channels below x kernel x kernel) of the filters. A maximum sends back to
    where it came from: to the unit of each window that is largest now. `image` is (channels, height, width) below.
    """

    source: int
    target: int
    name: str
    weight: Tensor
    image: tuple[int, int, int]
    kernel: int
    pool: Pool

    def _low(self, low: Tensor) -> Tensor:
        # The input comes flat.
        return low.reshape(len(low), *self.image)

    def _filters(self) -> Tensor:
        return self.weight.view(len(self.weight), self.image[0], self.kernel, self.kernel)

    def _convolved(self, low: Tensor) -> Tensor:
        return functional.conv2d(self._low(low), self._filters(), padding=self.kernel // 2)

    def up(self, low: Tensor) -> Tensor:
        """Return pool(w * low), (batch, channels, height // 2, width // 2)."""
        convolved = self._convolved(low)
        return (
            functional.avg_pool2d(convolved, 2) if self.pool == "avg" else functional.max_pool2d(convolved, 2)
        )

    def _unpooled(self, high: Tensor, low: Tensor) -> Tensor:
        """Return what `high` means to the convolution's output before the pool."""
        height, width = self.image[1:]
        if self.pool == "avg":
            spread = high.repeat_interleave(2, -2).repeat_interleave(2, -1) * 0.25
            return functional.pad(spread, (0, width - spread.shape[-1], 0, height - spread.shape[-2]))
        _, winners = functional.max_pool2d(self._convolved(low), 2, return_indices=True)
        flat = torch.zeros(*high.shape[:2], height * width, dtype=high.dtype)
        return flat.scatter_(2, winners.flatten(2), high.flatten(2)).view(*high.shape[:2], height, width)

    def down(self, high: Tensor, low: Tensor) -> Tensor:
        """Return w *' unpool(high) in the shape of `low`."""
        back = functional.conv_transpose2d(
            self._unpooled(high, low), self._filters(), padding=self.kernel // 2
        )
        return back.reshape(low.shape)

    def product(self, low: Tensor, high: Tensor) -> Tensor:
        """Return d<high, up(low)>/dw, summed over the batch, as a matrix."""
        # The kernel of autograd, called by itself: nothing is recorded.
        _, found, _ = torch.ops.aten.convolution_backward(
            self._unpooled(high, low),
            self._low(low),
            self._filters(),
            None,
            [1, 1],
            [self.kernel // 2] * 2,
            [1, 1],
            False,  # noqa: FBT003
            [0, 0],
            1,
            [False, True, False],
        )
        return cast("Tensor", found).reshape(self.weight.shape)


@dataclass(frozen=True)
class ConvolutionalStructure:
    """Convolutional layers of `channels`, each halved by its pool, then a dense output.

    `image` is (channels, height, width) of the input. Raises KernelError for an even kernel, or an image that the pools
    would leave nothing of.
    """

    image: tuple[int, int, int]
    channels: tuple[int, ...]
    classes: int
    kernel: int = 3
    pool: Pool = "max"
    output: str = "mse"
    clip: float = 1.0

    def __post_init__(self) -> None:
        if self.kernel % 2 == 0 or not 1 <= self.kernel <= 11:
            raise KernelError(f"a kernel has an odd side of 1 to 11, got {self.kernel}.")
        if self.pool not in ("avg", "max"):
            raise KernelError(f"pool must be avg or max, got {self.pool!r}.")
        if not self.channels or min(self.channels) < 1:
            raise KernelError(f"channels must name at least one layer of 1 or more, got {self.channels}.")
        if min(self.image[1:]) >> len(self.channels) < 1:
            raise KernelError(
                f"{len(self.channels)} pools leave nothing of an image of {self.image[1]} x {self.image[2]}. "
                "Use fewer layers."
            )

    @property
    def inputs(self) -> int:
        """The number of inputs n_0."""
        return self.image[0] * self.image[1] * self.image[2]

    @property
    def last(self) -> int:
        """The number L of the output layer."""
        return len(self.channels) + 1

    @property
    def maps(self) -> tuple[tuple[int, int, int], ...]:
        """(channels, height, width) of the input and of each convolutional layer."""
        found = [self.image]
        for channels in self.channels:
            _, height, width = found[-1]
            found.append((channels, height // 2, width // 2))
        return tuple(found)

    @property
    def weights(self) -> tuple[Weight, ...]:
        """The filters, as matrices, and the dense weights of the output."""
        found = []
        for layer, (below, above) in enumerate(zip(self.maps, self.maps[1:], strict=False), start=1):
            fan_in = below[0] * self.kernel**2
            name = weight_name(layer - 1, layer)
            # No cap: the norm of a convolution is not that of its matrix of filters.
            found.append(Weight(name, (above[0], fan_in), fan_in, inner=layer > 1, recurrent=False))
        top = self.maps[-1][0] * self.maps[-1][1] * self.maps[-1][2]
        name = weight_name(self.last - 1, self.last)
        found.append(Weight(name, (self.classes, top), top, inner=False, recurrent=self.output == "mse"))
        return tuple(found)

    @property
    def biases(self) -> Mapping[int, int]:
        """One bias a channel, and one a class."""
        return {
            **dict(enumerate(self.channels, start=1)),
            self.last: self.classes,
        }

    @property
    def untieable(self) -> tuple[str, ...]:
        """None: filters send back through themselves."""
        return ()

    def couplings(self, met: Mapping[str, Tensor]) -> list[Coupling]:
        """Return the convolutions and the dense output."""
        found: list[Coupling] = []
        for layer, below in enumerate(self.maps[:-1], start=1):
            name = weight_name(layer - 1, layer)
            found.append(Convolution(layer - 1, layer, name, met[name], below, self.kernel, self.pool))
        name = weight_name(self.last - 1, self.last)
        found.append(Dense(self.last - 1, self.last, name, met[name]))
        return found
