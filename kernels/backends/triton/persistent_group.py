"""Tiny networks, each of which one program trains over its whole span: one launch for all."""

from collections.abc import Mapping, Sequence

import torch
from torch import Tensor

from kernels.backends.triton.group import Data, Group
from kernels.backends.triton.stage import Stage
from kernels.backends.triton.training import TrainingBuffers, train_persistent
from kernels.backends.triton.training_layout import TrainingLayout
from kernels.backends.triton.training_plan import plan_training
from kernels.backends.triton.update import Slots
from kernels.members import Member, Span, SpanReport

__all__ = ["PersistentGroup"]


class PersistentGroup(Group):
    """Members whose trainings share nothing but a launch, whatever their depths, widths, batches, rules and rates."""

    def __init__(self, members: Sequence[Member], *, dtype: torch.dtype, device: torch.device) -> None:
        super().__init__(members, dtype=dtype, device=device)
        self.layout = TrainingLayout(self.members)
        self.buffers = TrainingBuffers.of(self.layout, device, dtype=dtype)
        self.blocks = (self.buffers.parameters, self.buffers.first, self.buffers.second)
        self._data: Data | None = None
        self._read_from: Slots | None = None

    def hold(self, data: Data) -> None:
        """Let spans point into `data`."""
        self._data = data

    @torch.inference_mode()
    def run(self, spans: Sequence[Span]) -> list[SpanReport]:
        """Train each member over its span."""
        assert self._data is not None
        plan = plan_training(self.layout, spans, done=self.taken, samples=len(self._data.y))
        report = train_persistent(self.layout, plan.to(self.device), self.buffers, self._data.x, self._data.y)
        return self.reports(spans, report.failed_at, report.residual)

    def views(self, block: Tensor, index: int) -> Mapping[str, Tensor]:
        """Return a member's part of a block by parameter, as views in the shapes of its topology."""
        names = self.members[index].topology.parameter_shapes
        return {name: self.layout.view(block, index, name) for name in names}

    def operands(self, reading: Stage) -> Slots:
        """Return the present parameters, copied to where `reading` wants them."""
        if self._read_from is None:
            values = torch.zeros(reading.layout.size, device=self.device)
            shadow = values
            if self.dtype != torch.float32:
                shadow = torch.zeros(reading.layout.bias_start, dtype=self.dtype, device=self.device)
            # A prediction steps nothing, and needs no slots.
            self._read_from = Slots(values, shadow, values, values)
        slots = self._read_from
        for index in range(len(self.members)):
            present = self.views(self.buffers.parameters, index)
            for name, view in reading.layout.views(slots.values, index).items():
                view.copy_(present[name])
        if slots.shadow is not slots.values:
            slots.shadow.copy_(slots.values[: reading.layout.bias_start])
        return slots

    def changed(self) -> None:
        """Do nothing: every launch reads the parameters themselves."""
