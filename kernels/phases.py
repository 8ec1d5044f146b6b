"""The buffers of one phase and how one layer of it moves.

A phase holds `copies` relaxations of a batch side by side: two (at +beta and -beta) for the centred estimate,
else one. All of its arrays have copies * batch columns, and are allocated once.
"""

from collections.abc import Mapping

import torch
from torch import Tensor

from kernels.arithmetic import Arithmetic, Signal
from kernels.topology import Topology, weight_name

__all__ = ["FreePhase", "LinearPhase", "NudgedPhase", "Phase"]

Weights = Mapping[str, Signal]


class Phase:
    """State layers, and what each of them receives from the others.

    `base` holds by layer what does not change while a phase settles: the input drive W x + b, (units, 1, batch), of
    the layers that the input feeds; the bias of the others.
    """

    def __init__(
        self,
        topology: Topology,
        arithmetic: Arithmetic,
        weights: Weights,
        base: Mapping[int, Tensor],
        batch: int,
        *,
        copies: int = 1,
    ) -> None:
        self.topology = topology
        self.arithmetic = arithmetic
        self.layers = topology.state_layers
        self.copies = copies
        self.batch = batch
        self.base = base
        self._base_of_copy = {layer: array.squeeze(-2) for layer, array in base.items()}
        samples = copies * batch
        self.states = {layer: arithmetic.signal(topology.sizes[layer], samples) for layer in self.layers}
        self._from_below = {
            layer: [
                (weights[weight_name(source, layer)].operand, self.states[source].operand)
                for source in topology.below(layer)
            ]
            for layer in self.layers
        }
        self._from_above = {
            layer: [
                (weights[weight_name(layer, target)].operand.mT, self.states[target].operand)
                for target in topology.above(layer)
            ]
            for layer in self.layers
        }
        self.states_by_copy = {layer: self.by_copy(state.value) for layer, state in self.states.items()}
        self._spare: dict[tuple[int, str], Tensor] = {}
        self.change = torch.zeros(arithmetic.lead, dtype=arithmetic.dtype)
        self._largest = self.change.clone()

    def by_copy(self, array: Tensor) -> Tensor:
        """View (units, samples) as (units, copies, batch), the population's axis in front of both."""
        return array.view(*self.arithmetic.lead, array.shape[-2], self.copies, self.batch)

    def spare(self, layer: int, purpose: str) -> Tensor:
        """Return another array of the shape of a state, for relaxations that need old and new side by side."""
        key = (layer, purpose)
        if key not in self._spare:
            self._spare[key] = torch.zeros_like(self.states[layer].value)
        return self._spare[key]

    def receive(self, layer: int, out: Tensor) -> None:
        """Store in `out` what `layer` receives: pre_l = W_l s_{l-1} + b_l + W_{l+1}^T s_{l+1}, skips included.

        `out` may be the state of `layer` itself: it is written only after the cost has read it.
        """
        self.consult(layer)
        self.receive_from_below(layer, out)
        for left, right in self._from_above[layer]:
            self.arithmetic.accumulate(out, left, right)
        self.nudge(layer, out)

    def receive_from_below(self, layer: int, out: Tensor) -> None:
        """Store in `out` what `layer` receives from the input and the layers below."""
        by_copy = self.states_by_copy[layer] if out is self.states[layer].value else self.by_copy(out)
        by_copy.copy_(self.base[layer])
        for left, right in self._from_below[layer]:
            self.arithmetic.accumulate(out, left, right)

    def consult(self, layer: int) -> None:
        """Let the cost read the present states, if it pulls on `layer`; a free phase has no cost."""

    def nudge(self, layer: int, out: Tensor) -> None:
        """Add the pull of a cost outside the energy."""

    def minimise(self, layer: int, received: Tensor) -> None:
        """Turn what an output state inside the energy receives into its exact minimiser."""

    def goal(self, layer: int, received: Tensor) -> None:
        """Turn what an output state receives into the point that a synchronous step moves towards."""

    def activate(self, layer: int, source: Tensor) -> None:
        """Set the state of `layer` from `source`, inside its bounds; they may be one array."""
        if layer == self.topology.last:
            self.arithmetic.assign(self.states[layer], source)
        else:
            self.arithmetic.clip(self.states[layer], source, self.topology.clip)
        self.moved(layer)

    def moved(self, layer: int) -> None:
        """Take note that the state of `layer` has changed."""

    def compare(self, layer: int, old: Tensor) -> None:
        """Fold the largest change of `layer` since `old` into `change`; `old` is overwritten."""
        torch.sub(self.states[layer].value, old, out=old).abs_()
        torch.amax(old, dim=(-2, -1), out=self._largest)
        torch.maximum(self.change, self._largest, out=self.change)


class FreePhase(Phase):
    """The relaxation towards a minimum of the energy E, from the feed-forward state."""

    def feed_forward(self) -> None:
        """Set every state from the layers below alone."""
        for layer in self.layers:
            received = self.states[layer].value
            if self._from_below[layer]:
                self.receive_from_below(layer, received)
            else:
                received = self._base_of_copy[layer]
            self.activate(layer, received)


class NudgedPhase(Phase):
    """The relaxation of F = E + beta C from the free state, `copies` nudges side by side."""

    def __init__(
        self,
        topology: Topology,
        arithmetic: Arithmetic,
        weights: Weights,
        base: Mapping[int, Tensor],
        target: Tensor,
        *,
        copies: int,
    ) -> None:
        classes, batch = target.shape[-2:]
        super().__init__(topology, arithmetic, weights, base, batch, copies=copies)
        samples = copies * batch
        self.beta = arithmetic.zeros(1, samples)
        self._beta_by_copy = self.by_copy(self.beta)
        self._minus_beta_by_copy = torch.zeros_like(self._beta_by_copy)
        self._target_by_copy = target.unsqueeze(-2)
        # With a readout, -beta (p - y), else beta y: (classes, samples).
        self._pull = arithmetic.signal(classes, samples)
        self._pull_by_copy = self.by_copy(self._pull.value)
        readers = topology.below(topology.last) if topology.has_readout else ()
        forward = {layer: weights[weight_name(layer, topology.last)].operand for layer in readers}
        self._readout = [(weight, self.states[layer].operand) for layer, weight in forward.items()]
        self._feedback = {layer: weight.mT for layer, weight in forward.items()}
        self._scores = arithmetic.zeros(classes, samples)
        self._scores_by_copy = self.by_copy(self._scores)
        self._shrink = arithmetic.zeros(1, samples)
        self._first_pull = self.by_copy(self._pull.operand).select(-2, 0)
        self._first: int | None = None
        self._has_read = False

    def set_beta(self, betas: Tensor) -> None:
        """Set the nudge of each copy: `betas` is (1, copies, 1), the population's axis in front."""
        self._beta_by_copy.copy_(betas)
        torch.neg(self._beta_by_copy, out=self._minus_beta_by_copy)
        torch.add(self.beta, 1.0, out=self._shrink).reciprocal_()

    def start(self, free: Phase, mistake: Tensor, *, first: int | None) -> None:
        """Begin at the states of `free`, which make the `mistake` p - y (classes, batch).

        Where a block sweep begins with the layer `first`, what that layer receives from the other layers is still the
        same for all copies: it is computed once. None where no layer moves before the others.
        """
        self._first = first
        self._free = free
        for layer, state in self.states.items():
            if layer != first:
                self.states_by_copy[layer].copy_(free.states[layer].value.unsqueeze(-2))
                self.arithmetic.refresh(state)
        if self.topology.has_readout:
            self._pull_back(mistake.unsqueeze(-2))
        else:
            torch.mul(self._target_by_copy, self._beta_by_copy, out=self._pull_by_copy)

    def receive(self, layer: int, out: Tensor) -> None:
        """Store in `out` what `layer` receives."""
        if layer != self._first:
            super().receive(layer, out)
            return
        self._first = None
        free = self._free
        common = free.spare(layer, "received")
        free.receive(layer, common)
        if layer not in self._feedback:
            self.states_by_copy[layer].copy_(common.unsqueeze(-2))
            return
        # The second nudge, where there is one, is the negative of the first.
        pull = free.spare(layer, "pull")
        self.arithmetic.multiply(pull, self._feedback[layer], self._first_pull)
        torch.add(common, pull, out=self.states_by_copy[layer].select(-2, 0))
        if self.copies == 2:
            torch.sub(common, pull, out=self.states_by_copy[layer].select(-2, 1))

    def _pull_back(self, mistake_by_copy: Tensor) -> None:
        torch.mul(mistake_by_copy, self._minus_beta_by_copy, out=self._pull_by_copy)
        self.arithmetic.assign(self._pull, self._pull.value)
        self._has_read = True

    def consult(self, layer: int) -> None:
        """Let the softmax cost read the states, before the layer that it pulls on is overwritten."""
        if self._has_read or layer not in self._feedback:
            return
        self._read()
        self.arithmetic.softmax(self._scores, self._scores)
        self._scores_by_copy.sub_(self._target_by_copy)
        self._pull_back(self._scores_by_copy)

    def _read(self) -> None:
        self._scores_by_copy.copy_(self.base[self.topology.last])
        for left, right in self._readout:
            self.arithmetic.accumulate(self._scores, left, right)

    def cost(self) -> Tensor:
        """Return C of the present states, for each sample of each copy."""
        if self.topology.has_readout:
            self._read()
            picked = self.by_copy(torch.log_softmax(self._scores, -2)) * self._target_by_copy
            return -picked.sum(-3).flatten(-2)
        output = self.states_by_copy[self.topology.last]
        return 0.5 * (output - self._target_by_copy).square().sum(-3).flatten(-2)

    def nudge(self, layer: int, out: Tensor) -> None:
        """Add beta W_L^T (y - p) to a layer that a readout reads."""
        if layer in self._feedback:
            self.arithmetic.accumulate(out, self._feedback[layer], self._pull.operand)

    def minimise(self, layer: int, received: Tensor) -> None:
        """Replace h by (h + beta y)/(1 + beta) at an output inside the energy."""
        if layer == self.topology.last:
            received.add_(self._pull.value).mul_(self._shrink)

    def goal(self, layer: int, received: Tensor) -> None:
        """Add beta (y - o) to what an output inside the energy receives."""
        if layer == self.topology.last:
            torch.mul(self.states[layer].value, self.beta, out=self._scores)
            received.add_(self._pull.value).sub_(self._scores)

    def moved(self, layer: int) -> None:
        """Note that a readout must read again once a layer that it reads has moved."""
        if layer in self._feedback:
            self._has_read = False


class LinearPhase(Phase):
    """The relaxation of d = ds/dbeta at beta = 0, the limit of a vanishing nudge.

    d_l <- m_l (W_l d_{l-1} + W_{l+1}^T d_{l+1}), m_l = [0 < s_l < clip], with the source y - o at an output
    inside the energy, or W_L^T (y - p) at the layers that a readout reads.
    """

    def __init__(self, topology: Topology, arithmetic: Arithmetic, weights: Weights, batch: int) -> None:
        nothing = torch.zeros(1, 1, 1, dtype=arithmetic.dtype)
        super().__init__(topology, arithmetic, weights, dict.fromkeys(topology.state_layers, nothing), batch)
        self._masks = {
            layer: arithmetic.zeros(topology.sizes[layer], batch) for layer in topology.hidden_layers
        }
        self._source = arithmetic.signal(topology.sizes[-1], batch)
        readers = topology.below(topology.last) if topology.has_readout else ()
        self._feedback = {layer: weights[weight_name(layer, topology.last)].operand.mT for layer in readers}

    def start(self, free: Phase, mistake: Tensor) -> None:
        """Begin at d = 0, given the free states and the mistake p - y or o - y (classes, batch) that they make."""
        for layer, mask in self._masks.items():
            settled = free.states[layer].value
            torch.lt(settled, self.topology.clip, out=mask)
            mask.mul_(torch.gt(settled, 0.0, out=self.states[layer].value))
        torch.neg(mistake, out=self._source.value)
        self.arithmetic.refresh(self._source)
        for state in self.states.values():
            state.value.zero_()
            self.arithmetic.refresh(state)

    def nudge(self, layer: int, out: Tensor) -> None:
        """Add the source."""
        if layer in self._feedback:
            self.arithmetic.accumulate(out, self._feedback[layer], self._source.operand)
        elif layer == self.topology.last:
            out.add_(self._source.value)

    def activate(self, layer: int, source: Tensor) -> None:
        """Set the derivative of `layer` from `source`; it is zero where the free state is at a bound."""
        if layer in self._masks:
            source.mul_(self._masks[layer])
        self.arithmetic.assign(self.states[layer], source)
