"""SGD, Adam and AdamW one element-wise operation at a time, for exact-1 and for populations.

Each pass is one correctly rounded operation; on a CPU passes run over blocks that stay in a core's cache. Numbers
that differ between the networks of a population are arrays (P, 1).
"""

import math
from collections.abc import Iterator, Sequence
from functools import partial

import numpy as np
import torch
from torch import Tensor

from kernels.arithmetic import Op, run
from kernels.buffers import Numbers
from kernels.errors import KernelError
from kernels.exact import round_to_grid, rounding_anchor
from kernels.learner import Array
from kernels.optimizers import ADAM_BETAS, ADAM_EPSILON, Optimizer
from kernels.parameters import Parameters
from kernels.rules import OptimizerSettings

__all__ = ["ElementwiseAdam", "ElementwiseSgd", "WeightGrid", "blocks"]

BLOCK = 32_768
# A device has no cache to stay in: blocks only bound the scratch that they need.
REMOTE_BLOCK = 2**24
# First moments this small come from gradients that stopped long ago: they are dropped, and second moments kept from
# zero, before they become subnormal numbers, on which processors and the vector library's square root crawl.
FORGOTTEN = 2.0**-40
SMALLEST_SECOND = 2.0**-60
FORGETTING = 64
# |m| / sqrt(v), both corrected, is at most sqrt(sum_j .01 (.81)^j / (.001 (.999)^j)) = 7.27.
LARGEST_RATIO = 8.0


def blocks(networks: int, total: int, size: int = BLOCK) -> Iterator[tuple[slice, slice]]:
    """Cut (networks, total) into blocks of at most `size` elements."""
    rows = max(1, size // total)
    for first in range(0, networks, rows):
        for start in range(0, total, size):
            yield slice(first, first + rows), slice(start, start + size)


def block_size(weights: Tensor, *, remote: bool) -> int:
    """Return the most elements of `weights` that a pass takes at a time."""
    return min(REMOTE_BLOCK, weights.numel()) if remote else BLOCK


class WeightGrid:
    """The multiples of 2**-bits inside [-limit, limit], on which exact-1 keeps its weights."""

    def __init__(self, bits: int, limit: float) -> None:
        self.bits = bits
        self.limit = limit

    def settle(self, weights: Tensor) -> list[Op]:
        """Bring float64 `weights` onto the grid in place, ties to even."""
        return [*round_to_grid(weights, self.bits), partial(weights.clamp_, -self.limit, self.limit)]

    def check(self, weights: Array) -> None:
        """Raise KernelError unless all `weights` lie on the grid."""
        values = np.asarray(weights, dtype=np.float64)
        steps = np.ldexp(values, self.bits)
        wrong = (steps != np.rint(steps)) | ~(np.abs(values) <= self.limit)
        if wrong.any():
            raise KernelError(
                f"exact-1 keeps parameters at multiples of 2**-{self.bits} inside [-{self.limit}, {self.limit}], got "
                f"{values[wrong][0]} in a state. Load a state that exact-1 saved, or make a learner of the parameters, "
                "which brings them onto the grid."
            )


def step_bits(rate: float, bits: int) -> int:
    """Return the bits after the point, at most `bits`, to which float32 steps at `rate` can be rounded."""
    return min(bits, 22 - math.frexp(LARGEST_RATIO * rate)[1])


class ElementwiseAdam(Optimizer):
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
        networks, remote = len(rates), parameters.arithmetic.remote
        self._arithmetic = parameters.arithmetic
        self._units, self._rates, self._decays, self._grid = units, rates, decays, grid
        self._weights = parameters.flat.value.view(networks, -1)[:, part]
        gradient = parameters.gradient.view(networks, -1)[:, part]
        self._first = torch.zeros(self._weights.shape, dtype=torch.float32)
        self._second = torch.full_like(self._first, SMALLEST_SECOND)
        # p, q, the number of steps, and a bound on every weight's magnitude: the host's, wherever the weights lie.
        self._clock = torch.tensor([1.0, 1.0, 0.0, math.inf], dtype=torch.float64, device="cpu")
        self._count, self._bound = 0.0, math.inf
        self.slots = {"first": self._first, "second": self._second, "clock": self._clock}
        self._size, self._floor, self._anchor = (
            Numbers(networks, torch.float32, remote=remote) for _ in range(3)
        )
        self._keep = Numbers(networks, self._weights.dtype, remote=remote)
        if grid is not None:
            self._anchor.set([rounding_anchor(step_bits(rate, grid.bits), 24) for rate in rates])
        size = block_size(self._weights, remote=remote)
        scratch = torch.zeros(2, size, dtype=torch.float32)
        spare = torch.zeros(size, dtype=self._weights.dtype)
        self._operations: list[Op] = []
        for rows, columns in blocks(networks, self._weights.shape[1], size):
            weight = self._weights[rows, columns]
            narrow = scratch[:, : weight.numel()].view(2, *weight.shape)
            wide = spare[: weight.numel()].view(weight.shape)
            self._operations += self._form_step(rows, columns, gradient[rows, columns], narrow, wide)
            self._operations += self._take_step(rows, weight, narrow[1], wide)

    def _form_step(
        self, rows: slice, columns: slice, gradient: Tensor, scratch: Tensor, wide: Tensor
    ) -> list[Op]:
        raw, step = scratch
        first, second = self._first[rows, columns], self._second[rows, columns]
        narrow = gradient.dtype == torch.float32
        g = gradient if narrow else raw
        return [
            *([] if narrow else [partial(raw.copy_, gradient)]),
            partial(first.mul_, ADAM_BETAS[0]),
            partial(first.add_, g),
            partial(torch.mul, g, g, out=step),
            partial(second.mul_, ADAM_BETAS[1]),
            partial(second.add_, step),
            *self._arithmetic.root(step, second, wide),
            partial(step.add_, self._floor.of(rows)),
            partial(torch.div, first, step, out=step),
            partial(step.mul_, self._size.of(rows)),
        ]

    def _take_step(self, rows: slice, weight: Tensor, step: Tensor, wide: Tensor) -> list[Op]:
        decay = [] if self._decays is None else [partial(weight.mul_, self._keep.of(rows))]
        if self._grid is None:
            return [*decay, partial(weight.sub_, step)]
        widen_and_subtract = [partial(wide.copy_, step), partial(weight.sub_, wide)]
        if decay:
            return [*decay, *widen_and_subtract, *self._grid.settle(weight)]
        # The weight lies on the grid already: rounding the narrower step costs less.
        anchor = self._anchor.of(rows)
        return [partial(step.add_, anchor), partial(step.sub_, anchor), *widen_and_subtract]

    def prepare(self, scale: float) -> None:
        """Set the numbers of the next step, at `scale` times the learning rate."""
        beta1, beta2 = ADAM_BETAS
        p, q, count, bound = self._clock.tolist()
        p, q, count = p * beta1, q * beta2, count + 1.0
        spread = math.sqrt((1.0 - q) / (1.0 - beta2))
        gain = (1.0 - beta1) / (1.0 - p) * spread
        self._size.set([rate * scale * gain for rate in self._rates])
        self._floor.set([ADAM_EPSILON / unit * spread for unit in self._units])
        if self._decays is not None:
            self._keep.set(
                [1.0 - rate * scale * decay for rate, decay in zip(self._rates, self._decays, strict=True)]
            )
        if self._grid is not None and self._decays is None:
            bound += LARGEST_RATIO * scale * max(self._rates)
        self._count, self._bound = count, bound
        self._clock.copy_(torch.tensor([p, q, count, bound], dtype=torch.float64, device="cpu"))

    def launch(self) -> None:
        """Step by the numbers that were prepared."""
        run(self._operations)

    def finish(self) -> None:
        """Drop moments that are too small to matter, and hold the weights inside their grid, where it is time."""
        if self._count % FORGETTING == 0.0:
            torch.hardshrink(self._first, FORGOTTEN, out=self._first)
            self._second.clamp_min_(SMALLEST_SECOND)
        # Clamping matters only once a weight may have passed the limit: a bound is kept to save the pass.
        # `not <=`: a NaN must not save it.
        if self._grid is not None and self._decays is None and not self._bound <= self._grid.limit:
            self._weights.clamp_(-self._grid.limit, self._grid.limit)
            self._clock[-1] = float(self._weights.abs().max())

    def distrust(self) -> None:
        """Raise the bound on the weights to what they show: one that was loaded need not hold."""
        *_, bound = self._clock.tolist()
        shown = float(self._weights.abs().max())
        self._clock[-1] = max(shown, bound)


class ElementwiseSgd(Optimizer):
    """V <- momentum V + G, W <- W - rate V."""

    def __init__(
        self,
        parameters: Parameters,
        *,
        units: Sequence[float],
        settings: Sequence[OptimizerSettings],
        grid: WeightGrid | None = None,
    ) -> None:
        networks = len(settings)
        self._settings, self._units = settings, units
        weights = parameters.flat.value.view(networks, -1)
        gradient = parameters.gradient.view(networks, -1)
        velocity = torch.zeros_like(weights)
        self.slots = {"velocity": velocity}
        remote = parameters.arithmetic.remote
        self._size, momentum = (Numbers(networks, weights.dtype, remote=remote) for _ in range(2))
        momentum.set([each.momentum for each in settings])
        size = block_size(weights, remote=remote)
        scratch = torch.zeros(size, dtype=weights.dtype)
        self._operations: list[Op] = []
        for rows, columns in blocks(networks, weights.shape[1], size):
            weight, moving = weights[rows, columns], velocity[rows, columns]
            step = scratch[: weight.numel()].view(weight.shape)
            self._operations += [
                partial(moving.mul_, momentum.of(rows)),
                partial(moving.add_, gradient[rows, columns]),
                partial(torch.mul, moving, self._size.of(rows), out=step),
                partial(weight.sub_, step),
                *(grid.settle(weight) if grid is not None else []),
            ]

    def prepare(self, scale: float) -> None:
        """Set the sizes of the next step, at `scale` times the learning rate."""
        self._size.set(
            [each.rate * scale * unit for each, unit in zip(self._settings, self._units, strict=True)]
        )

    def launch(self) -> None:
        """Step by the sizes that were prepared."""
        run(self._operations)
