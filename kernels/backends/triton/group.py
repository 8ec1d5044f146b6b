"""What members of a population that are computed together have in common, however they are trained."""

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence

import numpy as np
import torch
from torch import Tensor

from kernels.backends.triton.stage import Stage
from kernels.backends.triton.update import Slots
from kernels.buffers import CHUNK
from kernels.learner import Array, check_state
from kernels.members import Member, Span, SpanReport

__all__ = ["Data", "Group"]


class Data:
    """The samples that spans point into: `x` [n, n_0] float32, `narrow` the same in the dtype of the states, `y` [n].

    In fp32 they are one array.
    """

    def __init__(self, x: Array, y: Array, *, dtype: torch.dtype, device: torch.device) -> None:
        # A copy: on the CPU torch would share memory that is the caller's.
        self.x = torch.from_numpy(np.array(x, order="C")).to(device)
        self.narrow = self.x.to(dtype)
        self.y = torch.from_numpy(y.astype(np.int64)).to(device)

    def take(self, x: Array, y: Array) -> bool:
        """Take in other samples, as many, where the present ones lie; return whether they fit."""
        if tuple(self.x.shape) != x.shape:
            return False
        self.x.copy_(torch.from_numpy(np.ascontiguousarray(x)))
        self.y.copy_(torch.from_numpy(y.astype(np.int64)))
        if self.narrow is not self.x:
            self.narrow.copy_(self.x)
        return True


class Group(ABC):
    """Members that agree in clip, classes and input; `dtype` is that of their states.

    What a step does is its subclass's. `blocks` are flat fp32: the parameters, then what optimizers remember.
    """

    blocks: tuple[Tensor, Tensor, Tensor]

    def __init__(self, members: Sequence[Member], *, dtype: torch.dtype, device: torch.device) -> None:
        self.members = tuple(members)
        self.dtype, self.device = dtype, device
        self.taken = [0] * len(self.members)
        self._reading: Stage | None = None

    @abstractmethod
    def hold(self, data: Data) -> None:
        """Let spans point into `data`."""

    @abstractmethod
    def run(self, spans: Sequence[Span]) -> list[SpanReport]:
        """Train each member over its span."""

    @abstractmethod
    def views(self, block: Tensor, index: int) -> Mapping[str, Tensor]:
        """Return a member's part of a block by parameter, as views in the shapes of its topology."""

    @abstractmethod
    def operands(self, reading: Stage) -> Slots:
        """Return the present parameters as `reading` takes them."""

    @abstractmethod
    def changed(self) -> None:
        """Take note that parameters have been written to."""

    def reports(self, spans: Sequence[Span], failed: Tensor, residual: Tensor) -> list[SpanReport]:
        """Note that `spans` have been taken; return what they did, given (P,) steps of failure and residuals."""
        self.taken = [taken + len(span.rows) for taken, span in zip(self.taken, spans, strict=True)]
        return [
            SpanReport(
                float(len(span.rows) * member.rule.free.steps),
                float(len(span.rows) * member.rule.nudged.steps),
                float(residue) if member.rule.free.steps else 0.0,
                int(step),
            )
            for member, span, step, residue in zip(
                self.members, spans, failed.tolist(), residual.tolist(), strict=True
            )
        ]

    @torch.inference_mode()
    def predict(self, x: Array) -> list[Array]:
        """Return scores (n, classes) of each member for `x` (n, n_0)."""
        if self._reading is None:
            self._reading = Stage(self.members, CHUNK, dtype=self.dtype, device=self.device)
        stage = self._reading
        slots, classes = self.operands(stage), stage.layout.ragged.classes
        data = torch.from_numpy(np.ascontiguousarray(x)).to(self.device, self.dtype)
        found = torch.empty(len(self.members), len(x), classes)
        for start in range(0, len(x), CHUNK):
            rows = torch.arange(start, start + CHUNK, dtype=torch.int32)
            rows[rows >= len(x)] = -1
            stage.rows.copy_(rows)
            stage.relax(data, slots)
            stage.read(slots, target=None)
            part = found[:, start : start + CHUNK]
            part.copy_(stage.out[:, : part.shape[1], :classes])
        return [np.array(each) for each in found.numpy()]

    def parameters(self, index: int) -> dict[str, Array]:
        """Return copies of the parameters of a member by name."""
        return self._read(self.blocks[0], index)

    def state(self, index: int) -> dict[str, Array]:
        """Return copies of all that a member needs to continue bit for bit."""
        held = self.parameters(index)
        for slot, block in self._slots(index):
            held |= {f"{slot}.{name}": array for name, array in self._read(block, index).items()}
        return held | {"step": np.array(self.taken[index])}

    @torch.inference_mode()
    def load(self, index: int, state: Mapping[str, Array]) -> None:
        """Let a member continue from its `state`; raises KernelError for one of another network or optimizer."""
        shapes = dict(self.members[index].topology.parameter_shapes)
        slots = self._slots(index)
        expected = shapes | {f"{slot}.{name}": shape for slot, _ in slots for name, shape in shapes.items()}
        check_state(expected | {"step": ()}, state, shapes)
        self._clear_padding()
        self._assign(self.blocks[0], index, state)
        for slot, block in slots:
            self._assign(block, index, {name: state[f"{slot}.{name}"] for name in shapes})
        self.taken[index] = int(state["step"])
        self.changed()

    def _clear_padding(self) -> None:
        # A network that diverged has left numbers that are none in its padding too, where 0 times NaN went.
        for block in self.blocks:
            clean = torch.zeros_like(block)
            for index in range(len(self.members)):
                present = self.views(block, index)
                for name, view in self.views(clean, index).items():
                    view.copy_(present[name])
            block.copy_(clean)

    def _slots(self, index: int) -> list[tuple[str, Tensor]]:
        _, first, second = self.blocks
        if self.members[index].optimizer.name == "sgd":
            return [("velocity", first)]
        return [("first", first), ("second", second)]

    @torch.inference_mode()
    def _assign(self, block: Tensor, index: int, values: Mapping[str, Array]) -> None:
        for name, view in self.views(block, index).items():
            view.copy_(torch.from_numpy(np.array(values[name], dtype=np.float64)))

    def _read(self, block: Tensor, index: int) -> dict[str, Array]:
        return {
            name: np.array(view.cpu().numpy(), order="C") for name, view in self.views(block, index).items()
        }
