"""Networks of different shapes that step together: some ten launches a step, whatever their number."""

from collections.abc import Mapping, Sequence

import torch
from torch import Tensor

from kernels.backends.graph import CudaRecorder
from kernels.backends.triton.group import Data, Group
from kernels.backends.triton.population_layout import PopulationLayout, phase_table
from kernels.backends.triton.ragged_layout import padded
from kernels.backends.triton.replay import Replays
from kernels.backends.triton.stage import Stage
from kernels.backends.triton.step_numbers import Number, step_numbers, step_rows
from kernels.backends.triton.update import NEVER, Contrasted, Slots, ragged_update, update_tile
from kernels.members import Member, Span, SpanReport

__all__ = ["RaggedGroup"]


class RaggedGroup(Group):
    """Members that agree in batch too, whatever their depths, widths, rules and rates.

    Which tiles a network is computed in follows from the batch and the dtype, so its bits depend on itself alone. On a
    device steps are recorded, and read what changes from step to step by a clock that runs there.
    """

    def __init__(self, members: Sequence[Member], *, dtype: torch.dtype, device: torch.device) -> None:
        super().__init__(members, dtype=dtype, device=device)
        self.stage = Stage(members, members[0].batch, dtype=dtype, device=device)
        layout, size = self.stage.layout, len(members)
        values = torch.zeros(layout.size, device=device)
        shadow = values if dtype == torch.float32 else values[: layout.bias_start].to(dtype)
        self.slots = Slots(values, shadow, torch.zeros_like(values), torch.zeros_like(values))
        self.blocks = (values, self.slots.first, self.slots.second)
        for index, member in enumerate(self.members):
            self._assign(values, index, member.parameters)
        self.changed()
        self._moved, self._other = torch.zeros_like(self.stage.states), torch.zeros_like(self.stage.states)
        nudged = [member.rule.nudged for member in members]
        self._first_nudge = phase_table(layout.ragged, nudged).to(device)
        # Who has one nudge alone takes no sweep of the other phase, whose states are then the free ones.
        twice = [member.rule.nudged if member.rule.estimate == "centred" else None for member in members]
        self._second_nudge = phase_table(layout.ragged, twice).to(device) if any(twice) else None
        self._reads = any(member.topology.has_readout for member in members)
        self._tiles = layout.weight_tiles(update_tile(exact=dtype == torch.float32)).to(device)
        self._numbers = torch.zeros(1, len(Number), padded(size), device=device)
        self._clock = torch.zeros(1, dtype=torch.int64, device=device)
        self._failed = torch.full((size,), NEVER, dtype=torch.int32, device=device)
        self._residual = torch.zeros(size, device=device)
        self._data: Data | None = None
        self._table: tuple[Tensor, Tensor] | None = None
        self._capacity = 0
        self._replays = Replays(self._advance, CudaRecorder(device) if device.type == "cuda" else None)

    @property
    def layout(self) -> PopulationLayout:
        """Where everything lies."""
        return self.stage.layout

    def hold(self, data: Data) -> None:
        """Let spans point into `data`."""
        if self._data is not data:
            self._data = data
            self._replays.forget()

    @torch.inference_mode()
    def run(self, spans: Sequence[Span]) -> list[SpanReport]:
        """Train each member over its span."""
        steps = max(len(span.rows) for span in spans)
        self._tell(spans, steps)
        self._failed.fill_(NEVER)
        self._residual.zero_()
        # Nobody steps at the last row of the tables: what a recording is rehearsed with.
        self._clock.fill_(self._capacity)
        self._replays.prepare(steps)
        self._clock.zero_()
        self._replays.run(steps)
        return self.reports(spans, self._failed.masked_fill(self._failed == NEVER, 0), self._residual)

    def _tell(self, spans: Sequence[Span], steps: int) -> None:
        if steps > self._capacity:
            self._capacity = 1 << (steps - 1).bit_length()
            self._table = None
        numbers = torch.from_numpy(step_numbers(self.members, spans, self.taken, self._capacity))
        rows = torch.from_numpy(step_rows(spans, self._capacity))
        if self._table is None:
            self._table = (numbers.to(self.device), rows.to(self.device))
            self._replays.forget()
        else:
            self._table[0].copy_(numbers)
            self._table[1].copy_(rows)

    def _advance(self) -> None:
        """Take one step."""
        assert torch.is_inference_mode_enabled(), "an EP path never records a graph"
        assert self._data is not None
        assert self._table is not None
        stage, slots = self.stage, self.slots
        torch.index_select(self._table[0], 0, self._clock, out=self._numbers)
        torch.index_select(self._table[1], 0, self._clock, out=stage.rows.unsqueeze(0))
        numbers = self._numbers[0, :, : len(self.members)]
        classes = self._data.y.index_select(0, stage.rows.clamp_min(0).flatten())
        stage.target.zero_().scatter_(2, classes.view(*stage.rows.shape, 1), 1.0)
        stage.relax(self._data.narrow, slots)
        if self._reads:
            stage.read(slots, target=stage.target)
        self._moved.copy_(stage.states)
        stage.settle(self._moved, slots, self._first_nudge, numbers[Number.BETA])
        other = stage.states
        if self._second_nudge is not None:
            other = self._other.copy_(stage.states)
            stage.settle(other, slots, self._second_nudge, numbers[Number.BETA_OTHER])
        ragged_update(
            stage.layout,
            slots,
            Contrasted(self._data.narrow, stage.rows, stage.states, self._moved, other, stage.out),
            layers=stage.tables.layers,
            tiles=self._tiles,
            numbers=numbers,
            clock=self._clock,
            failed=self._failed,
        )
        torch.where(numbers[Number.SAMPLES] > 0, stage.change, self._residual, out=self._residual)
        self._clock.add_(1)

    def views(self, block: Tensor, index: int) -> Mapping[str, Tensor]:
        """Return a member's part of a block by parameter, as views in the shapes of its topology."""
        return self.layout.views(block, index)

    def operands(self, reading: Stage) -> Slots:  # noqa: ARG002 - parameters lie alike for every batch
        """Return the present parameters."""
        return self.slots

    def changed(self) -> None:
        """Bring the weights' shadow up to date."""
        if self.slots.shadow is not self.slots.values:
            self.slots.shadow.copy_(self.slots.values[: self.layout.bias_start])
