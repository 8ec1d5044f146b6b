"""The buffers in which networks of different shapes settle a batch freely, and read their outputs."""

from collections.abc import Sequence

import torch
from torch import Tensor

from kernels.backends.triton.forward import drive, feed_forward, read_out, tables_on
from kernels.backends.triton.population_layout import PopulationLayout, phase_table
from kernels.backends.triton.ragged import settle_persistent_ragged
from kernels.backends.triton.ragged_layout import padded
from kernels.backends.triton.update import Slots
from kernels.members import Member

__all__ = ["Stage"]


class Stage:
    """Settles `batch` samples of each of `members`, which agree in clip, classes and input.

    `rows` [P, batch] int32 says which samples of the data; `states` is the flat block of the free phase, `out`
    [P, batch, classes padded to 16] what was read.
    """

    def __init__(
        self, members: Sequence[Member], batch: int, *, dtype: torch.dtype, device: torch.device
    ) -> None:
        self.layout = PopulationLayout(
            tuple(member.topology for member in members),
            tuple(member.rule.nudged for member in members),
            batch,
        )
        ragged = self.layout.ragged
        self.tables = tables_on(self.layout, device)
        self.clip = members[0].topology.clip
        self.rows = torch.full((len(members), batch), -1, dtype=torch.int32, device=device)
        self.states = torch.zeros(ragged.state_size, dtype=dtype, device=device)
        self.drives = torch.zeros(ragged.drive_size, device=device)
        self.target = torch.zeros(len(members), batch, ragged.classes, device=device)
        self.out = torch.zeros(len(members), batch, padded(ragged.classes), device=device)
        self.change = torch.zeros(len(members), device=device)
        self._free = phase_table(ragged, [member.rule.free for member in members]).to(device)
        self._deep = any(len(member.topology.state_layers) > 1 for member in members)
        self._sweeps = any(member.rule.free.steps for member in members)
        self._still = torch.zeros(len(members), device=device)

    def relax(self, x: Tensor, slots: Slots) -> None:
        """Settle the free phase from the feed-forward state; leave the last sweep's `change` (P,)."""
        drive(
            self.layout, self.tables, self.rows,
            x=x, values=slots.values, operand=slots.shadow, states=self.states, drives=self.drives, clip=self.clip,
        )  # fmt: skip
        if self._deep:
            feed_forward(
                self.layout, self.tables,
                values=slots.values, operand=slots.shadow, states=self.states, clip=self.clip,
            )  # fmt: skip
        if self._sweeps:
            self.change.copy_(self.settle(self.states, slots, self._free, self._still))

    def settle(self, states: Tensor, slots: Slots, table: Tensor, beta: Tensor) -> Tensor:
        """Settle `states` in place by the phase of `table`; return the largest change of each network, (P,)."""
        ragged = self.layout.ragged
        return settle_persistent_ragged(
            ragged, states, table=table, order=self.tables.order, drive=self.drives,
            weights=slots.shadow[: ragged.weight_size], biases=self.layout.biases(slots.values),
            target=self.target, beta=beta, clip=self.clip,
        )  # fmt: skip

    def read(self, slots: Slots, *, target: Tensor | None) -> None:
        """Leave in `out` the mistakes p - y of readouts, or with no `target` the scores."""
        read_out(
            self.layout, self.tables, self.out,
            values=slots.values, operand=slots.shadow, states=self.states, target=target,
        )  # fmt: skip
