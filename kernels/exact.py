"""exact-1: arithmetic whose bits are the same on every machine.

Weights lie on a grid of 2**-24 or coarser with |w| <= 4; states, inputs and errors on 2**-16. Where every
partial sum of a product fits the 53 bits of float64 it is exact, so that it cannot depend on order, vector width,
fused multiply-add, threads or library. `weight_bits` and `check_batch` hold the bounds; nothing is assumed. All
else is element-wise: one correctly rounded operation at a time (+, -, *, /, sqrt), never a fused call and never a
library's exponential.
"""

import math

import torch
from torch import Tensor

from kernels.arithmetic import Arithmetic, Signal
from kernels.errors import KernelError
from kernels.rules import ArithmeticName, Rule
from kernels.topology import Topology

__all__ = ["Exact", "Softmax", "check_batch", "grid_clip", "round_to_grid", "weight_bits"]

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
# ln 2 in two parts: the first has 32 bits, so that its product with a small integer is exact.
LN2_HIGH = 0.693147180369123816490
LN2_LOW = 1.90821492927058770002e-10
# 1/n! for n = 10 to 0: on [-ln2/2, ln2/2] the rest of the series is below 2**-41.
SERIES = tuple(1.0 / math.factorial(n) for n in range(10, -1, -1))
# exp(-24) is under half a step of the grid of exponentials.
LOWEST_EXPONENT = -24.0


def round_to_grid(array: Tensor, bits: int) -> Tensor:
    """Round `array` in place to multiples of 2**-bits, ties to even; |array| must be below 2**(51 - bits)."""
    # At the magnitude of this number one unit in the last place of float64 is 2**-bits.
    anchor = 1.5 * 2.0 ** (52 - bits)
    return array.add_(anchor).sub_(anchor)


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


class Softmax:
    """Softmax of columns in float64, without new memory; exponentials are rounded to 2**-30 and then sum exactly."""

    def __init__(self, shape: torch.Size) -> None:
        self._z = torch.empty(shape, dtype=torch.float64)
        self._power = torch.empty_like(self._z)
        self._value = torch.empty_like(self._z)
        self._exponent = torch.empty(shape, dtype=torch.int64)
        self._row = torch.empty((*shape[:-2], 1, shape[-1]), dtype=torch.float64)

    def __call__(self, out: Tensor, logits: Tensor) -> None:
        """Store the softmax of each column of `logits` in `out`; they may be one array."""
        z, power, value = self._z, self._power, self._value
        torch.amax(logits, dim=-2, keepdim=True, out=self._row)
        torch.sub(logits, self._row, out=z).clamp_(min=LOWEST_EXPONENT)
        torch.mul(z, LOG2_E, out=power).round_()
        z.sub_(torch.mul(power, LN2_HIGH, out=value)).sub_(torch.mul(power, LN2_LOW, out=value))
        value.fill_(SERIES[0])
        for coefficient in SERIES[1:]:
            value.mul_(z).add_(coefficient)
        # 2**power, written into the exponent field.
        self._exponent.copy_(power).add_(1023).bitwise_left_shift_(52)
        round_to_grid(value.mul_(self._exponent.view(torch.float64)), EXPONENTIAL_BITS)
        torch.sum(value, dim=-2, keepdim=True, out=self._row)
        torch.div(value, self._row, out=out)


class Exact(Arithmetic):
    """float64 on grids; see the module."""

    name: ArithmeticName = "exact-1"
    dtype = torch.float64

    def __init__(self, population: int | None = None) -> None:
        super().__init__(population)
        self._softmaxes: dict[torch.Size, Softmax] = {}

    def take(self, signal: Signal, data: Tensor) -> None:
        """Set `signal` to the input `data` ([P,] samples, units) on the state grid; raises KernelError beyond 1."""
        largest = max(float(torch.amax(data)), -float(torch.amin(data)))
        if not largest <= INPUT_LIMIT:
            raise KernelError(
                f"exact-1 takes inputs in [-1, 1], got a magnitude of {largest}. Scale the data, or use fp32."
            )
        round_to_grid(signal.value.copy_(data), STATE_BITS)

    def clip(self, signal: Signal, source: Tensor, ceiling: float) -> None:
        """Set `signal` to `source` clipped to [0, ceiling] on the state grid; `ceiling` lies on it."""
        torch.clamp(source, 0.0, ceiling, out=signal.value)
        round_to_grid(signal.value, STATE_BITS)

    def assign(self, signal: Signal, source: Tensor) -> None:
        """Set `signal` to `source` on the state grid, inside the limits that the sums are made for."""
        torch.clamp(source, -FREE_LIMIT, FREE_LIMIT, out=signal.value)
        round_to_grid(signal.value, STATE_BITS)

    def softmax(self, out: Tensor, logits: Tensor) -> None:
        """Store the softmax of each column of `logits` in `out`; they may be one array."""
        if logits.shape not in self._softmaxes:
            self._softmaxes[logits.shape] = Softmax(logits.shape)
        self._softmaxes[logits.shape](out, logits)
