"""Several readouts on one body: each head has weights of its own, and hears of the samples of its own task alone."""

from collections.abc import Mapping
from dataclasses import dataclass, replace

import torch
from torch import Tensor
from torch.nn import functional

from kernels.errors import KernelError
from kernels.general.couplings import Coupling, Dense
from kernels.general.structure import Structure, Weight
from kernels.topology import weight_name

__all__ = ["Head", "HeadedStructure", "head_name", "membership"]


def head_name(name: str, head: int) -> str:
    """Return the name of head number `head`'s part of the output weight called `name`."""
    return f"{name}h{head}"


def membership(heads: tuple[int, ...]) -> Tensor:
    """Return (classes, classes), 1 where two classes belong to one head: the row of a label marks its head."""
    head = torch.repeat_interleave(torch.arange(len(heads)), torch.tensor(heads))
    return (head.unsqueeze(0) == head.unsqueeze(1)).to(torch.float32)


@dataclass
class Head(Dense):
    """A dense coupling to `weight.shape[0]` of the `total` units of the output, from number `offset` on."""

    offset: int = 0
    total: int = 0

    @property
    def _end(self) -> int:
        return self.offset + len(self.weight)

    def up(self, low: Tensor) -> Tensor:
        """Return low W^T in this head's columns, (b, total), and 0 elsewhere."""
        return functional.pad(super().up(low), (self.offset, self.total - self._end))

    def down(self, high: Tensor, low: Tensor) -> Tensor:
        """Return what this head's columns of `high` send back, in the shape of `low`."""
        return super().down(high[:, self.offset : self._end], low)

    def product(self, low: Tensor, high: Tensor) -> Tensor:
        """Return the product with this head's columns of `high`."""
        return super().product(low, high[:, self.offset : self._end])


@dataclass(frozen=True)
class HeadedStructure:
    """The layers of `body`, whose output is split into `heads` of so many classes each.

    A label names head and class in one: head 0 has the classes 0 .. heads[0] - 1, the next head those that follow. In a
    batch, every sample's cost, nudge and output are those of the head that its label names; of the others nothing is
    felt. Output weights are a parameter for each head, so that no optimizer mixes them. Raises KernelError where the
    heads' classes are not those of the body's output, or what reaches the output is not dense.
    """

    body: Structure
    heads: tuple[int, ...]

    def __post_init__(self) -> None:
        if len(self.heads) < 1 or min(self.heads) < 1 or sum(self.heads) != self.body.classes:
            raise KernelError(
                f"heads must divide the {self.body.classes} outputs of the body, got heads of {self.heads} classes."
            )

    @property
    def inputs(self) -> int:
        """The number of inputs n_0."""
        return self.body.inputs

    @property
    def classes(self) -> int:
        """The number of classes of all heads."""
        return self.body.classes

    @property
    def last(self) -> int:
        """The number L of the output layer."""
        return self.body.last

    @property
    def output(self) -> str:
        """Where the output lives."""
        return self.body.output

    @property
    def clip(self) -> float:
        """The upper bound of a clipped hidden state."""
        return self.body.clip

    @property
    def _outgoing(self) -> frozenset[str]:
        return frozenset(weight_name(layer, self.last) for layer in range(self.last))

    @property
    def weights(self) -> tuple[Weight, ...]:
        """The weights of the body, those into the output once for each head."""
        found: list[Weight] = []
        for weight in self.body.weights:
            if weight.name not in self._outgoing:
                found.append(weight)
                continue
            found += [
                replace(weight, name=head_name(weight.name, head), shape=(classes, weight.shape[1]))
                for head, classes in enumerate(self.heads)
            ]
        return tuple(found)

    @property
    def biases(self) -> Mapping[int, int]:
        """The length of the bias of each layer after the input; that of the output holds all heads'."""
        return self.body.biases

    @property
    def untieable(self) -> tuple[str, ...]:
        """None: what comes down from a head comes through its weights."""
        return ()

    def couplings(self, met: Mapping[str, Tensor]) -> list[Coupling]:
        """Return the couplings of the body, those into the output once for each head."""
        outgoing = {name: met[head_name(name, 0)] for name in self._outgoing if head_name(name, 0) in met}
        found: list[Coupling] = []
        for coupling in self.body.couplings({**met, **outgoing}):
            if coupling.target != self.last:
                found.append(coupling)
            elif isinstance(coupling, Dense):
                found += self._split(coupling, met)
            else:
                raise KernelError(
                    f"heads need a dense way to the output, got {type(coupling).__name__} from layer {coupling.source}."
                )
        return found

    def _split(self, coupling: Dense, met: Mapping[str, Tensor]) -> list[Coupling]:
        found: list[Coupling] = []
        offset = 0
        for head, classes in enumerate(self.heads):
            name = head_name(coupling.name, head)
            mask = None if coupling.mask is None else coupling.mask[offset : offset + classes]
            found.append(Head(coupling.source, self.last, name, met[name], mask, None, offset, self.classes))
            offset += classes
        return found
