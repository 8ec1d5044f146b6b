"""SGD, Adam and AdamW one element-wise operation at a time, for exact-1 and for populations.

Each pass is one correctly rounded operation, and passes run over blocks that stay in a core's cache. Numbers
that differ between the networks of a population are arrays (P, 1).
"""

import math
from collections.abc import Iterator, Sequence
from typing import NamedTuple

import torch
from torch import Tensor

from kernels.optimizers import ADAM_BETAS, ADAM_EPSILON
from kernels.parameters import Parameters
from kernels.rules import OptimizerSettings

__all__ = ["ElementwiseAdam", "ElementwiseSgd", "WeightGrid", "blocks"]

BLOCK = 32_768
# Moments this small come from gradients that stopped long ago. They are dropped before they become subnormal
# numbers, which processors handle a hundred times slower.
FORGOTTEN = 2.0**-40
FORGETTING = 64
# |m| / sqrt(v), both corrected, is at most sqrt(sum_j .01 (.81)^j / (.001 (.999)^j)) = 7.27.
LARGEST_RATIO = 8.0


def blocks(networks: int, total: int) -> Iterator[tuple[slice, slice]]:
    """Cut (networks, total) into blocks of about 32,768 elements."""
    rows = max(1, BLOCK // total)
    for first in range(0, networks, rows):
        for start in range(0, total, BLOCK):
            yield slice(first, first + rows), slice(start, start + BLOCK)


class Numbers:
    """One number for each network: a float where a network is alone, else rows of an array (P, 1)."""

    def __init__(self, networks: int, dtype: torch.dtype, *, alone: bool) -> None:
        self._alone = alone
        self._column = torch.zeros(networks, 1, dtype=dtype)
        self._values = self._column.numpy()

    def set(self, values: Sequence[float]) -> None:
        """Replace all numbers."""
        self._values[:, 0] = values
        self._single = values[0]

    def of(self, networks: slice) -> float | Tensor:
        """Return what multiplies the rows `networks`."""
        return self._single if self._alone else self._column[networks]


class WeightGrid:
    """The multiples of 2**-bits inside [-limit, limit], on which exact-1 keeps its weights."""

    def __init__(self, bits: int, limit: float) -> None:
        self.bits = bits
        self.limit = limit
        self._anchor = rounding_anchor(bits, 53)

    def settle(self, weights: Tensor) -> None:
        """Bring float64 `weights` onto the grid in place, ties to even."""
        weights.add_(self._anchor).sub_(self._anchor).clamp_(-self.limit, self.limit)


def rounding_anchor(bits: int, precision: int) -> float:
    """Return the number whose addition and subtraction rounds small numbers to multiples of 2**-bits.

    At its magnitude a unit in the last place of a float of `precision` bits is 2**-bits.
    """
    return 1.5 * 2.0 ** (precision - 1 - bits)


class Moments(NamedTuple):
    """One block of an Adam step: views of the parameters, their gradient, the moments, and scratch."""

    networks: slice
    weight: Tensor
    gradient: Tensor
    first: Tensor
    second: Tensor
    raw: Tensor
    step: Tensor
    wide: Tensor


class ElementwiseAdam:
    """Adam, or AdamW where `decays` are given; moments and steps in float32 whatever the precision of the weights.

    With p and q the running products of both betas, m <- .9 m + g and v <- .999 v + g^2 in raw units,
    W <- W - rate (.1/(1 - p)) sqrt((1 - q)/.001) m / (sqrt v + (epsilon/unit) sqrt((1 - q)/.001)),
    which is the step of Kingma & Ba (2015). On a grid it is the step that is rounded.
    """

    def __init__(
        self,
        parameters: Parameters,
        part: slice,
        *,
        units: Sequence[float],
        rates: Sequence[float],
        decays: Sequence[float] | None = None,
        grid: WeightGrid | None = None,
    ) -> None:
        alone = parameters.arithmetic.population is None
        networks = len(rates)
        weights = parameters.flat.value.view(networks, -1)[:, part]
        gradient = parameters.gradient.view(networks, -1)[:, part]
        first = torch.zeros(weights.shape, dtype=torch.float32)
        second = torch.zeros_like(first)
        # p, q, the number of steps, and a bound on every weight's magnitude.
        self._clock = torch.tensor([1.0, 1.0, 0.0, math.inf], dtype=torch.float64)
        self.slots = {"first": first, "second": second, "clock": self._clock}
        self._weights = weights
        self._units, self._rates, self._decays, self._grid = units, rates, decays, grid
        self._size, self._floor, self._anchor = (
            Numbers(networks, torch.float32, alone=alone) for _ in range(3)
        )
        self._keep = Numbers(networks, weights.dtype, alone=alone)
        if grid is not None:
            self._anchor.set([rounding_anchor(step_bits(rate, grid.bits), 24) for rate in rates])
        raw, step = torch.zeros(2, BLOCK, dtype=torch.float32)
        wide = torch.zeros(BLOCK, dtype=weights.dtype)
        self._blocks = []
        for rows, columns in blocks(*weights.shape):
            views = [array[rows, columns] for array in (weights, gradient, first, second)]
            shape, count = views[0].shape, views[0].numel()
            scratch = [array[:count].view(shape) for array in (raw, step, wide)]
            self._blocks.append(Moments(rows, *views, *scratch))

    def update(self, scale: float) -> None:
        """Step once at `scale` times the learning rate."""
        forget = self._prepare(scale)
        bounded = self._grid is None or self._decays is not None or self._within(scale)
        for block in self._blocks:
            self._form_step(block, forget=forget)
            self._take_step(block)
            if not bounded and self._grid is not None:
                block.weight.clamp_(-self._grid.limit, self._grid.limit)

    def _form_step(self, block: Moments, *, forget: bool) -> None:
        first, second, step = block.first, block.second, block.step
        g = block.gradient if block.gradient.dtype == torch.float32 else block.raw.copy_(block.gradient)
        first.mul_(ADAM_BETAS[0]).add_(g)
        if forget:
            torch.hardshrink(first, FORGOTTEN, out=first)
        torch.mul(g, g, out=step)
        second.mul_(ADAM_BETAS[1]).add_(step)
        torch.sqrt(second, out=step)
        step.add_(self._floor.of(block.networks))
        torch.div(first, step, out=step)
        step.mul_(self._size.of(block.networks))

    def _take_step(self, block: Moments) -> None:
        weight, step = block.weight, block.step
        if self._decays is not None:
            weight.mul_(self._keep.of(block.networks))
        if self._grid is None:
            weight.sub_(step)
        elif self._decays is not None:
            weight.sub_(block.wide.copy_(step))
            self._grid.settle(weight)
        else:
            # The weight lies on the grid already, so rounding the narrower step costs less.
            anchor = self._anchor.of(block.networks)
            step.add_(anchor).sub_(anchor)
            weight.sub_(block.wide.copy_(step))

    def _prepare(self, scale: float) -> bool:
        beta1, beta2 = ADAM_BETAS
        p, q, count, _ = self._clock.tolist()
        p, q, count = p * beta1, q * beta2, count + 1.0
        self._clock[0], self._clock[1], self._clock[2] = p, q, count
        spread = math.sqrt((1.0 - q) / (1.0 - beta2))
        gain = (1.0 - beta1) / (1.0 - p) * spread
        self._size.set([rate * scale * gain for rate in self._rates])
        self._floor.set([ADAM_EPSILON / unit * spread for unit in self._units])
        if self._decays is not None:
            self._keep.set(
                [1.0 - rate * scale * decay for rate, decay in zip(self._rates, self._decays, strict=True)]
            )
        return count % FORGETTING == 0.0

    def _within(self, scale: float) -> bool:
        # Clamping is needed only where a weight might have reached the limit: a bound is kept instead of a pass.
        assert self._grid is not None
        reach = LARGEST_RATIO * scale * max(self._rates)
        bound = float(self._clock[3])
        if bound + reach > self._grid.limit:
            bound = float(self._weights.abs().max())
        self._clock[3] = bound + reach
        return bound + reach <= self._grid.limit


def step_bits(rate: float, bits: int) -> int:
    """Return the bits after the point, at most `bits`, to which float32 steps at `rate` can be rounded."""
    return min(bits, 22 - math.frexp(LARGEST_RATIO * rate)[1])


class ElementwiseSgd:
    """V <- momentum V + G, W <- W - rate V."""

    def __init__(
        self,
        parameters: Parameters,
        *,
        units: Sequence[float],
        settings: Sequence[OptimizerSettings],
        grid: WeightGrid | None = None,
    ) -> None:
        alone = parameters.arithmetic.population is None
        networks = len(settings)
        self._settings, self._units, self._grid = settings, units, grid
        weights = parameters.flat.value.view(networks, -1)
        gradient = parameters.gradient.view(networks, -1)
        velocity = torch.zeros_like(weights)
        self.slots = {"velocity": velocity}
        self._size, self._momentum = (Numbers(networks, weights.dtype, alone=alone) for _ in range(2))
        self._momentum.set([each.momentum for each in settings])
        scratch = torch.zeros(BLOCK, dtype=weights.dtype)
        self._blocks = []
        for rows, columns in blocks(*weights.shape):
            block = weights[rows, columns]
            step = scratch[: block.numel()].view(block.shape)
            self._blocks.append((rows, block, gradient[rows, columns], velocity[rows, columns], step))

    def update(self, scale: float) -> None:
        """Step once at `scale` times the learning rate."""
        self._size.set(
            [each.rate * scale * unit for each, unit in zip(self._settings, self._units, strict=True)]
        )
        for rows, weight, gradient, velocity, step in self._blocks:
            velocity.mul_(self._momentum.of(rows)).add_(gradient)
            weight.sub_(torch.mul(velocity, self._size.of(rows), out=step))
            if self._grid is not None:
                self._grid.settle(weight)
