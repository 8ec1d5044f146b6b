"""The fast arithmetic classes, fp32 and bf16, and the few operations in which arithmetic classes differ.

Every network runs either alone, with arrays (units, samples), or as one of P same-shaped networks, with arrays
(P, units, samples). An `Arithmetic` is built for one of the two and hides the difference. Samples are columns because
products by the wide weights of a first layer are then 8 % faster (oneMKL packs the narrow operand instead).
"""

from collections.abc import Sequence

import torch
from torch import Tensor

from kernels.rules import ArithmeticName

__all__ = ["Arithmetic", "Bfloat16", "Signal"]


class Signal:
    """An array as it is stored (`value`) and as products read it (`operand`); often the same tensor."""

    __slots__ = ("operand", "value")

    def __init__(self, value: Tensor, operand: Tensor) -> None:
        self.value = value
        self.operand = operand


class Arithmetic:
    """fp32: states, weights and products in float32.

    `population` is the number P of networks side by side, or None for one alone.
    """

    name: ArithmeticName = "fp32"
    dtype = torch.float32

    def __init__(self, population: int | None = None) -> None:
        self.population = population
        self.lead = () if population is None else (population,)
        self._multiply = torch.mm if population is None else torch.bmm
        self._rows: dict[torch.Size, Tensor] = {}

    def zeros(self, *shape: int) -> Tensor:
        """Return zeros of `shape`, with the population's axis in front where there is one."""
        return torch.zeros(self.lead + shape, dtype=self.dtype)

    def signal(self, units: int, samples: int) -> Signal:
        """Return a zero signal (units, samples)."""
        value = self.zeros(units, samples)
        return Signal(value, value)

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

    def refresh(self, signal: Signal) -> None:
        """Bring the operand up to date with the value."""

    def accumulate(self, out: Tensor, left: Tensor, right: Tensor) -> None:
        """Add the matrix product of two operands to `out`."""
        if self.population is None:
            out.addmm_(left, right)
        else:
            out.baddbmm_(left, right)

    def multiply(self, out: Tensor, left: Tensor, right: Tensor) -> None:
        """Store the matrix product of two operands in `out`."""
        self._multiply(left, right, out=out)

    def clip(self, signal: Signal, source: Tensor, ceiling: float) -> None:
        """Set `signal` to `source` clipped to [0, ceiling]."""
        torch.clamp(source, 0.0, ceiling, out=signal.value)
        self.refresh(signal)

    def assign(self, signal: Signal, source: Tensor) -> None:
        """Set `signal` to `source`: an output state, a derivative or an error, which no interval bounds."""
        if source is not signal.value:
            signal.value.copy_(source)
        self.refresh(signal)

    def softmax(self, out: Tensor, logits: Tensor) -> None:
        """Store the softmax of each column of `logits` in `out`; they may be one array."""
        # Four times as fast as torch.softmax on ten classes.
        row = self._row(logits)
        torch.amax(logits, dim=-2, keepdim=True, out=row)
        torch.sub(logits, row, out=out).exp_()
        out.div_(torch.sum(out, dim=-2, keepdim=True, out=row))

    def _row(self, array: Tensor) -> Tensor:
        if array.shape not in self._rows:
            self._rows[array.shape] = torch.empty((*array.shape[:-2], 1, array.shape[-1]), dtype=self.dtype)
        return self._rows[array.shape]

    def move(self, origin: Tensor, goal: Tensor, fraction: float) -> None:
        """Replace `goal` by the point that lies `fraction` of the way from `origin` to it."""
        goal.sub_(origin).mul_(fraction).add_(origin)


class Bfloat16(Arithmetic):
    """bf16: products of bfloat16 operands; states, differences of states and master weights in float32."""

    name: ArithmeticName = "bf16"

    def __init__(self, population: int | None = None) -> None:
        super().__init__(population)
        self._products: dict[torch.Size, Tensor] = {}

    def signal(self, units: int, samples: int) -> Signal:
        """Return a zero signal (units, samples) with a bfloat16 operand."""
        value = self.zeros(units, samples)
        return Signal(value, value.bfloat16())

    def weight(self, master: Tensor) -> Signal:
        """Return the signal of a parameter whose float32 master copy is `master`."""
        return Signal(master, master.bfloat16())

    def take(self, signal: Signal, data: Tensor) -> None:
        """Set `signal` to the float32 input `data` ([P,] samples, units), rounded for products."""
        signal.value = data
        self.refresh(signal)

    def refresh(self, signal: Signal) -> None:
        """Round the value to the operand."""
        signal.operand.copy_(signal.value)

    def _product(self, shape: torch.Size, left: Tensor, right: Tensor) -> Tensor:
        if shape not in self._products:
            self._products[shape] = torch.empty(shape, dtype=torch.bfloat16)
        return self._multiply(left, right, out=self._products[shape])

    def accumulate(self, out: Tensor, left: Tensor, right: Tensor) -> None:
        """Add the matrix product of two bfloat16 operands to the float32 `out`."""
        out.add_(self._product(out.shape, left, right))

    def multiply(self, out: Tensor, left: Tensor, right: Tensor) -> None:
        """Store the matrix product of two bfloat16 operands in the float32 `out`."""
        out.copy_(self._product(out.shape, left, right))
