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

    `weight` is the matrix (channels above, channels below x kernel x kernel) of the filters. A mean of four shifted
    filters is a filter: with the pool "avg" it is applied at every second place, which takes (k + 1)^2/(4 k^2) of the
    products. A maximum sends back to where it came from: to the unit of each window that is largest now. `image` is
    (channels, height, width) below.

    In inference mode, what the clamped input sends is kept until another input comes, or `forget` says that the weight
    has moved.
    """

    source: int
    target: int
    name: str
    weight: Tensor
    image: tuple[int, int, int]
    kernel: int
    pool: Pool
    _drive: "_Drive | None" = None

    def forget(self) -> None:
        """Drop what is kept of the input: the weight is another one now."""
        self._drive = None

    def _low(self, low: Tensor) -> Tensor:
        # The input comes flat.
        return low.reshape(len(low), *self.image)

    def _filters(self) -> Tensor:
        """Return the filters (channels above, channels below, side, side); of a mean, those that it makes."""
        filters = self.weight.view(len(self.weight), self.image[0], self.kernel, self.kernel)
        if self.pool == "max":
            return filters
        first, *others = (functional.pad(filters, shift) for shift in _SHIFTS)
        return sum(others, first) * 0.25

    @property
    def _stride(self) -> int:
        return 1 if self.pool == "max" else 2

    def _found(self, low: Tensor) -> "_Drive":
        """Return what `low` sends up and, of a maximum, where its winners are."""
        if self._drive is not None and self._drive.low is low:
            return self._drive
        sent = functional.conv2d(
            self._low(low), self._filters(), stride=self._stride, padding=self.kernel // 2
        )
        winners = None
        if self.pool == "max":
            sent, winners = functional.max_pool2d(sent, 2, return_indices=True)
        found = _Drive(low, sent, winners)
        # A learner says when weights move. Others, who may follow gradients or change an input in place, do not.
        if self.source == 0 and torch.is_inference_mode_enabled():
            self._drive = found
        return found

    def up(self, low: Tensor) -> Tensor:
        """Return pool(w * low), (batch, channels, height // 2, width // 2)."""
        return self._found(low).sent

    def _unpooled(self, high: Tensor, low: Tensor) -> Tensor:
        """Return what `high` means to the convolution's output before the pool; of a mean, `high` itself."""
        winners = self._found(low).winners if self.pool == "max" else None
        if winners is None:
            return high
        height, width = self.image[1:]
        flat = torch.zeros(*high.shape[:2], height * width, dtype=high.dtype)
        return flat.scatter_(2, winners.flatten(2), high.flatten(2)).view(*high.shape[:2], height, width)

    def down(self, high: Tensor, low: Tensor) -> Tensor:
        """Return w *' unpool(high) in the shape of `low`."""
        # Of an odd side, a pool leaves the last row out.
        missing = [side % 2 for side in self.image[1:]] if self.pool == "avg" else 0
        back = functional.conv_transpose2d(
            self._unpooled(high, low),
            self._filters(),
            stride=self._stride,
            padding=self.kernel // 2,
            output_padding=missing,
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
            [self._stride] * 2,
            [self.kernel // 2] * 2,
            [1, 1],
            False,  # noqa: FBT003
            [0, 0],
            1,
            [False, True, False],
        )
        by_filter = cast("Tensor", found)
        if self.pool == "avg":
            k = self.kernel
            parts = [by_filter[..., i : i + k, j : j + k] for i in (0, 1) for j in (0, 1)]
            by_filter = (parts[0] + parts[1] + parts[2] + parts[3]) * 0.25
        return by_filter.reshape(self.weight.shape)


# By how much the filters under a 2 x 2 mean are shifted: columns before and after, rows before and after.
_SHIFTS = ((0, 1, 0, 1), (1, 0, 0, 1), (0, 1, 1, 0), (1, 0, 1, 0))


@dataclass(frozen=True)
class _Drive:
    """What states `low` send up, and where the winners of a maximum are."""

    low: Tensor
    sent: Tensor
    winners: Tensor | None


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
