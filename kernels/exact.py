"""exact-1: arithmetic whose bits are the same on every machine.

Weights lie on a grid of 2**-24 or coarser with |w| <= 4; states, inputs and errors on 2**-16. Where every
partial sum of a product fits the 53 bits of float64 it is exact, so that it cannot depend on order, vector width,
fused multiply-add, threads or library. `weight_bits` and `check_batch` hold the bounds; nothing is assumed. All
else is element-wise: one correctly rounded operation at a time (+, -, *, /, sqrt), never a fused call and never a
library's exponential. So a CUDA device gives the bits of a CPU, by other orders of the same exact sums.
"""

import math
from functools import partial

import torch
from torch import Tensor

from kernels.arithmetic import Arithmetic, Op, Signal
from kernels.errors import KernelError
from kernels.rules import ArithmeticName, Rule
from kernels.topology import Topology

__all__ = [
    "Exact",
    "check_batch",
    "exact_softmax",
    "grid_clip",
    "round_to_grid",
    "rounding_anchor",
    "weight_bits",
]

STATE_BITS = 16
WEIGHT_BITS = 24
FEWEST_WEIGHT_BITS = 16
EXPONENTIAL_BITS = 30
WEIGHT_LIMIT = 4.0
INPUT_LIMIT = 1.0
# What no clip bounds (output states, errors, derivatives) saturates here.
FREE_LIMIT = 4.0
EXACT_BITS = 53

LOG2_E = 1.4426950408889634
LN2 = 0.6931471805599453
# 1/n! for n = 6 to 0: on [-ln2/2, ln2/2] the rest of the series is below 1.3e-7.
SERIES = tuple(1.0 / math.factorial(n) for n in range(6, -1, -1))
# exp(-24) is under half a step of the grid of exponentials.
LOWEST_EXPONENT = -24.0


def rounding_anchor(bits: int, precision: int) -> float:
    """Return the number whose addition and subtraction rounds small numbers to multiples of 2**-bits, ties to even.

    At its magnitude a unit in the last place of a float of `precision` bits is 2**-bits. It serves numbers below a
    third of itself.
    """
    return 1.5 * 2.0 ** (precision - 1 - bits)


INPUT_ANCHOR = rounding_anchor(STATE_BITS, 24)


def round_to_grid(array: Tensor, bits: int) -> list[Op]:
    """Round the float64 `array` in place to multiples of 2**-bits."""
    anchor = rounding_anchor(bits, 53)
    return [partial(array.add_, anchor), partial(array.sub_, anchor)]


def grid_clip(clip: float) -> float:
    """Return the greatest multiple of the state grid that is at most `clip`."""
    return math.floor(clip * 2.0**STATE_BITS) / 2.0**STATE_BITS


def _limits(topology: Topology, rule: Rule) -> dict[int, float]:
    """Return the largest magnitude that each layer sends to the others, in any phase."""
    hidden = max(topology.clip, FREE_LIMIT) if rule.estimate == "linearised" else topology.clip
    return {0: INPUT_LIMIT, **dict.fromkeys(topology.hidden_layers, hidden), topology.last: FREE_LIMIT}


def weight_bits(topology: Topology, rule: Rule) -> int:
    """Return the bits after the point of the finest weight grid on which every sum of a phase is exact.

    Raises KernelError where a layer has so many neighbours that fewer than 16 bits would be left.
    """
    limits = _limits(topology, rule)
    largest = 0.0
    for layer in range(1, topology.last + 1):
        below = sum(topology.sizes[k] * limits[k] for k, target in topology.connections if target == layer)
        above = sum(topology.sizes[m] * limits[m] for source, m in topology.connections if source == layer)
        largest = max(largest, below + above + 1.0)
    bits = min(WEIGHT_BITS, EXACT_BITS - STATE_BITS - math.frexp(largest * WEIGHT_LIMIT)[1])
    if bits < FEWEST_WEIGHT_BITS:
        raise KernelError(
            f"exact-1 sums at most 2**53 grid units a unit, but a layer of {topology.sizes} would leave {bits} bits to "
            f"its weights and {FEWEST_WEIGHT_BITS} are needed. Use narrower layers, or fp32."
        )
    return bits


def check_batch(topology: Topology, rule: Rule, batch: int) -> None:
    """Raise KernelError where the sums of a gradient over `batch` samples might not be exact."""
    sent = max(_limits(topology, rule).values())
    # Per sample: D_l S_k + S_l D_k with |D| <= 2 sent and |S| <= 2 sent.
    most = int(2.0 ** (EXACT_BITS - 2 * STATE_BITS) / (8.0 * sent * sent))
    if batch > most:
        raise KernelError(
            f"exact-1 sums a gradient over at most {most} samples here, got a batch of {batch}."
        )


class ExactInput(Signal):
    """An input of which only the columns `first` to `stop` can be other than zero; `operand` is those."""

    __slots__ = ("first", "narrow", "stop")

    def __init__(self, value: Tensor) -> None:
        super().__init__(value, value)
        self.narrow = torch.zeros(value.shape, dtype=torch.float32)
        self.first, self.stop = 0, value.shape[-1]


class Exact(Arithmetic):
    """float64 on grids; see the module."""

    name: ArithmeticName = "exact-1"
    dtype = torch.float64

    def input(self, samples: int, units: int) -> Signal:
        """Return a zero input (samples, units)."""
        return ExactInput(self.zeros(samples, units))

    def take(self, signal: Signal, data: Tensor) -> None:
        """Set `signal` to the input `data` ([P,] samples, units) on the state grid; raises KernelError beyond 1.

        The check reads every column, so it finds margins that are zero throughout (those of images, often) for
        nothing; products leave them out, which changes no sum.
        """
        assert isinstance(signal, ExactInput)
        leading = tuple(range(data.dim() - 1))
        high, low = torch.amax(data, dim=leading), torch.amin(data, dim=leading)
        check_magnitude(high, low)
        active = (high - low + high.abs()).nonzero()
        first, last = (int(active[0]), int(active[-1])) if len(active) else (0, 0)
        signal.first, signal.stop = first // 8 * 8, min(data.shape[-1], last // 8 * 8 + 8)
        columns = slice(signal.first, signal.stop)
        narrow = torch.add(data[..., columns], INPUT_ANCHOR, out=signal.narrow[..., columns]).sub_(
            INPUT_ANCHOR
        )
        signal.operand = signal.value[..., columns].copy_(narrow)

    def check_input(self, data: Tensor) -> None:
        """Raise KernelError for inputs beyond 1."""
        check_magnitude(data, data)

    def place(self, signal: Signal, data: Tensor) -> None:
        """Set `signal` to the input `data`, checked before, on the state grid, in the memory that it has.

        All columns stay in the products: to find those that are zero would be to wait for the device, and a step that
        is recorded must always read the same ones.
        """
        assert isinstance(signal, ExactInput)
        signal.value.copy_(signal.narrow.copy_(data).add_(INPUT_ANCHOR).sub_(INPUT_ANCHOR))

    def root(self, out: Tensor, source: Tensor, wide: Tensor) -> list[Op]:
        """Store the square root of the float32 `source` in `out`, correctly rounded.

        On a device through float64: no root of a float32 number lies within 2**-51 of itself of the middle between
        two of them, so that one which is off by a unit in the last place of float64 is still rounded to the right
        one. Nothing then depends on how a device's library takes square roots of float32.
        """
        if not self.remote:
            return super().root(out, source, wide)
        return [partial(wide.copy_, source), wide.sqrt_, partial(out.copy_, wide)]

    def accumulate_input(self, out: Tensor, weight: Tensor, x: Signal) -> list[Op]:
        """Add the product of a weight and the input, (units, samples), to `out`."""
        assert isinstance(x, ExactInput)
        add = out.addmm_ if self.population is None else out.baddbmm_
        return [lambda: add(weight[..., x.first : x.stop], x.operand.mT)]

    def multiply_input(self, out: Tensor, left: Tensor, x: Signal) -> list[Op]:
        """Store the product of an operand (units, samples) and the input, (units, n_0), in `out`."""
        assert isinstance(x, ExactInput)

        def multiply() -> None:
            out[..., : x.first].zero_()
            out[..., x.stop :].zero_()
            self._product(left, x.operand, out=out[..., x.first : x.stop])

        return [multiply]

    def clip(self, signal: Signal, source: Tensor, ceiling: float) -> list[Op]:
        """Set `signal` to `source` clipped to [0, ceiling] on the state grid; `ceiling` lies on it."""
        value = signal.value
        return [partial(torch.clamp, source, 0.0, ceiling, out=value), *round_to_grid(value, STATE_BITS)]

    def assign(self, signal: Signal, source: Tensor) -> list[Op]:
        """Set `signal` to `source` on the state grid, inside the limits that the sums are made for."""
        value = signal.value
        return [
            partial(torch.clamp, source, -FREE_LIMIT, FREE_LIMIT, out=value),
            *round_to_grid(value, STATE_BITS),
        ]

    def softmax(self, out: Tensor, logits: Tensor) -> list[Op]:
        """Store the softmax of each column of `logits` in `out`; they may be one array."""
        return exact_softmax(out, logits)


def check_magnitude(high: Tensor, low: Tensor) -> None:
    """Raise KernelError unless the largest of `high` and the smallest of `low` lie in [-1, 1]."""
    largest = max(float(high.amax()), -float(low.amin()))
    if not largest <= INPUT_LIMIT:
        raise KernelError(
            f"exact-1 takes inputs in [-1, 1], got a magnitude of {largest}. Scale the data, or use fp32."
        )


def exact_softmax(out: Tensor, logits: Tensor) -> list[Op]:
    """Store the softmax of each column of the float64 `logits` in `out`; they may be one array.

    exp(z) = 2^k exp(r), r = z - k ln 2, the second factor by its Taylor series. Exponentials are rounded to 2**-30,
    so that their sum is exact; their relative error is below 2e-7.
    """
    row = torch.empty_like(logits[..., :1, :])
    z, power, value = (torch.empty_like(logits) for _ in range(3))
    exponent = torch.empty(logits.shape, dtype=torch.int64)
    operations: list[Op] = [
        partial(torch.amax, logits, dim=-2, keepdim=True, out=row),
        partial(torch.sub, logits, row, out=z),
        partial(z.clamp_, min=LOWEST_EXPONENT),
        partial(torch.mul, z, LOG2_E, out=power),
        power.round_,
        partial(torch.mul, power, LN2, out=value),
        partial(z.sub_, value),
        partial(value.fill_, SERIES[0]),
    ]
    for coefficient in SERIES[1:]:
        operations += [partial(value.mul_, z), partial(value.add_, coefficient)]
    return [
        *operations,
        # 2**power, written into the exponent field.
        partial(exponent.copy_, power),
        partial(exponent.add_, 1023),
        partial(exponent.bitwise_left_shift_, 52),
        partial(value.mul_, exponent.view(torch.float64)),
        *round_to_grid(value, EXPONENTIAL_BITS),
        partial(torch.sum, value, dim=-2, keepdim=True, out=row),
        partial(torch.div, value, row, out=out),
    ]
