"""The fast arithmetic classes, fp32 and bf16, and the few operations in which arithmetic classes differ.

Every array of a step is allocated once, so that the operations on them can be written down once too: methods here
return lists of operations, and a step runs them. What Python costs is then one call an operation, which is what
decides the speed of small networks.

Every network runs either alone, with arrays (units, samples), or as one of P same-shaped networks, with arrays
(P, units, samples). An `Arithmetic` is built for one of the two and hides the difference. Samples are columns because
products by the wide weights of a first layer are then 8 % faster.
"""

from collections.abc import Callable, Iterable, Sequence
from functools import partial

import numpy as np
import torch
from torch import Tensor

from kernels.rules import ArithmeticName

__all__ = ["Arithmetic", "Bfloat16", "Op", "Signal", "run"]

Op = Callable[[], object]


def run(operations: Iterable[Op]) -> None:
    """Run `operations` in order."""
    for operation in operations:
        operation()


class Signal:
    """An array as it is stored (`value`) and as products read it (`operand`); often the same tensor."""

    __slots__ = ("operand", "value")

    def __init__(self, value: Tensor, operand: Tensor) -> None:
        self.value = value
        self.operand = operand


class Arithmetic:
    """fp32: states, weights and products in float32.

    `population` is the number P of networks side by side, or None for one alone. `remote` says that arrays lie on a
    device of their own, see `works_remotely`.
    """

    name: ArithmeticName = "fp32"
    dtype = torch.float32

    def __init__(self, population: int | None = None, *, remote: bool = False) -> None:
        self.population = population
        self.remote = remote
        self.lead = () if population is None else (population,)
        self._product = torch.mm if population is None else torch.bmm

    def zeros(self, *shape: int) -> Tensor:
        """Return zeros of `shape`, with the population's axis in front where there is one."""
        return torch.zeros(self.lead + shape, dtype=self.dtype)

    def signal(self, units: int, samples: int) -> Signal:
        """Return a zero signal (units, samples)."""
        value = self.zeros(units, samples)
        return Signal(value, value)

    def input(self, samples: int, units: int) -> Signal:
        """Return a zero input (samples, units), which keeps the caller's layout."""
        return self.signal(samples, units)

    def weight(self, master: Tensor) -> Signal:
        """Return the signal of a parameter whose master copy is `master`."""
        return Signal(master, master)

    def by_network(self, values: Sequence[float], *, axes: int) -> float | Tensor:
        """Return one number for a network alone, else (P, 1, ...) with `axes` axes after the population's."""
        if self.population is None:
            return values[0]
        return torch.tensor(values, dtype=self.dtype).view(-1, *(1,) * axes)

    def take(self, signal: Signal, data: Tensor) -> None:
        """Set `signal` to the float32 input `data` ([P,] samples, units), read where it stands."""
        signal.value = signal.operand = data

    def check_input(self, data: Tensor) -> None:
        """Raise KernelError for an input, still on the host, that this class does not take."""

    def place(self, signal: Signal, data: Tensor) -> None:
        """Set `signal` to the float32 input `data`, checked before, in the memory that it has: on a device."""
        signal.value.copy_(data)

    def root(self, out: Tensor, source: Tensor, wide: Tensor) -> list[Op]:  # noqa: ARG002
        """Store the square root of the float32 `source` in `out`, correctly rounded on the CPU.

        `wide` is scratch of their shape in the precision of states.
        """
        if self.remote:
            return [partial(torch.sqrt, source, out=out)]
        # Not torch's: it calls the maths library, whose square roots are not all correctly rounded.
        return [partial(np.sqrt, source.numpy(), out.numpy())]

    def refresh(self, signal: Signal) -> list[Op]:  # noqa: ARG002
        """Bring the operand up to date with the value."""
        return []

    def readout(self, signal: Signal) -> Tensor:
        """Return what the products of a readout, one side of which are a few classes, read of `signal`."""
        return signal.operand

    def accumulate(self, out: Tensor, left: Tensor, right: Tensor) -> list[Op]:
        """Add the matrix product of two operands to `out`."""
        return [partial(out.addmm_ if self.population is None else out.baddbmm_, left, right)]

    def multiply(self, out: Tensor, left: Tensor, right: Tensor) -> list[Op]:
        """Store the matrix product of two operands in `out`."""
        return [partial(self._product, left, right, out=out)]

    def accumulate_input(self, out: Tensor, weight: Tensor, x: Signal) -> list[Op]:
        """Add the product of a weight and the input, (units, samples), to `out`."""
        add = out.addmm_ if self.population is None else out.baddbmm_
        return [lambda: add(weight, x.operand.mT)]

    def multiply_input(self, out: Tensor, left: Tensor, x: Signal) -> list[Op]:
        """Store the product of an operand (units, samples) and the input, (units, n_0), in `out`."""
        return [lambda: self._product(left, x.operand, out=out)]

    def clip(self, signal: Signal, source: Tensor, ceiling: float) -> list[Op]:
        """Set `signal` to `source` clipped to [0, ceiling]."""
        return [partial(torch.clamp, source, 0.0, ceiling, out=signal.value), *self.refresh(signal)]

    def assign(self, signal: Signal, source: Tensor) -> list[Op]:
        """Set `signal` to `source`: an output state, a derivative or an error, which no interval bounds."""
        copy = [] if source is signal.value else [partial(signal.value.copy_, source)]
        return [*copy, *self.refresh(signal)]

    def softmax(self, out: Tensor, logits: Tensor) -> list[Op]:
        """Store the softmax of each column of `logits` in `out`; they may be one array."""
        # Four times as fast as torch.softmax on ten classes.
        row = torch.empty_like(logits[..., :1, :])
        return [
            partial(torch.amax, logits, dim=-2, keepdim=True, out=row),
            partial(torch.sub, logits, row, out=out),
            out.exp_,
            partial(torch.sum, out, dim=-2, keepdim=True, out=row),
            partial(out.div_, row),
        ]

    def move(self, origin: Tensor, goal: Tensor, fraction: float) -> list[Op]:
        """Replace `goal` by the point that lies `fraction` of the way from `origin` to it."""
        return [partial(goal.sub_, origin), partial(goal.mul_, fraction), partial(goal.add_, origin)]


class Bfloat16(Arithmetic):
    """bf16: products of bfloat16 operands; states, differences of states and master weights in float32.

    Products of a readout are float32: of a few classes they are as fast on hardware for bfloat16 as off it, and the
    conversions around them cost more than they do.
    """

    name: ArithmeticName = "bf16"

    def __init__(self, population: int | None = None, *, remote: bool = False) -> None:
        super().__init__(population, remote=remote)
        self._products: dict[torch.Size, Tensor] = {}

    def signal(self, units: int, samples: int) -> Signal:
        """Return a zero signal (units, samples) with a bfloat16 operand."""
        value = self.zeros(units, samples)
        return Signal(value, value.bfloat16())

    def input(self, samples: int, units: int) -> Signal:
        """Return a zero input (samples, units), in bfloat16 alone: nothing reads it in float32."""
        operand = torch.zeros((*self.lead, samples, units), dtype=torch.bfloat16)
        return Signal(operand, operand)

    def weight(self, master: Tensor) -> Signal:
        """Return the signal of a parameter whose float32 master copy is `master`."""
        return Signal(master, master.bfloat16())

    def take(self, signal: Signal, data: Tensor) -> None:
        """Set `signal` to the float32 input `data` ([P,] samples, units), rounded for products."""
        signal.operand.copy_(data)

    def place(self, signal: Signal, data: Tensor) -> None:
        """Set `signal` to the float32 input `data`, rounded for products, in the memory that it has."""
        self.take(signal, data)

    def refresh(self, signal: Signal) -> list[Op]:
        """Round the value to the operand."""
        return [partial(signal.operand.copy_, signal.value)]

    def _rounded(self, shape: torch.Size) -> Tensor:
        # A product of bfloat16 operands comes in bfloat16; one array of each shape serves all.
        if shape not in self._products:
            self._products[shape] = torch.empty(shape, dtype=torch.bfloat16)
        return self._products[shape]

    def readout(self, signal: Signal) -> Tensor:
        """Return the float32 value."""
        return signal.value

    def accumulate(self, out: Tensor, left: Tensor, right: Tensor) -> list[Op]:
        """Add the matrix product of two operands to the float32 `out`."""
        if left.dtype == out.dtype:
            return super().accumulate(out, left, right)
        rounded = self._rounded(out.shape)
        return [partial(self._product, left, right, out=rounded), partial(out.add_, rounded)]

    def multiply(self, out: Tensor, left: Tensor, right: Tensor) -> list[Op]:
        """Store the matrix product of two operands in the float32 `out`."""
        if left.dtype == out.dtype:
            return super().multiply(out, left, right)
        rounded = self._rounded(out.shape)
        return [partial(self._product, left, right, out=rounded), partial(out.copy_, rounded)]

    def accumulate_input(self, out: Tensor, weight: Tensor, x: Signal) -> list[Op]:
        """Add the product of a weight and the input, (units, samples), to `out`."""
        return self.accumulate(out, weight, x.operand.mT)

    def multiply_input(self, out: Tensor, left: Tensor, x: Signal) -> list[Op]:
        """Store the product of an operand (units, samples) and the input, (units, n_0), in `out`."""
        return self.multiply(out, left, x.operand)
