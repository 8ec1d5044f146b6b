"""What one layer of a phase receives, and how it moves, as operations on arrays that are allocated once.

All arrays are ([P,] units, batch).
"""

from collections.abc import Iterable, Mapping
from functools import partial

import torch
from torch import Tensor

from kernels.arithmetic import Arithmetic, Op, Signal
from kernels.topology import Topology, weight_name

__all__ = ["LinearPhase", "NudgedPhase", "Phase"]

Weights = Mapping[str, Signal]


class Phase:
    """State layers that relax towards a minimum of the energy E: the free phase.

    `base` holds by layer what does not change while a phase settles: the input drive W x + b, (units, batch), of the
    layers that the input feeds; the bias, (units, 1), of the others. States in `adopted` are another phase's, which
    needs them no longer.
    """

    def __init__(
        self,
        topology: Topology,
        arithmetic: Arithmetic,
        weights: Weights,
        base: Mapping[int, Tensor],
        batch: int,
        *,
        adopted: Mapping[int, Signal] | None = None,
    ) -> None:
        self.topology = topology
        self.arithmetic = arithmetic
        self.weights = weights
        self.base = base
        self.layers = topology.state_layers
        adopted = adopted or {}
        self.states = {
            layer: adopted.get(layer) or arithmetic.signal(topology.sizes[layer], batch)
            for layer in self.layers
        }
        self.change = torch.zeros(arithmetic.lead, dtype=arithmetic.dtype)
        self._largest = self.change.clone()
        self._spare: dict[tuple[int, str], Tensor] = {}

    def spare(self, layer: int, purpose: str) -> Tensor:
        """Return another array of the shape of a state, for relaxations that need old and new side by side."""
        key = (layer, purpose)
        if key not in self._spare:
            self._spare[key] = torch.zeros_like(self.states[layer].value)
        return self._spare[key]

    def from_below(self, layer: int, out: Tensor) -> list[Op]:
        """Store in `out` what `layer` receives from the input and the layers below."""
        operations: list[Op] = [partial(out.copy_, self.base[layer])]
        for source in self.topology.below(layer):
            weight = self.weights[weight_name(source, layer)].operand
            operations += self.arithmetic.accumulate(out, weight, self.states[source].operand)
        return operations

    def receive(self, layer: int, out: Tensor) -> list[Op]:
        """Store in `out` what `layer` receives: pre_l = W_l s_{l-1} + b_l + W_{l+1}^T s_{l+1}, skips included.

        `out` may be the state of `layer` itself, which none of it depends on.
        """
        operations = self.from_below(layer, out)
        for target in self.topology.above(layer):
            weight = self.weights[weight_name(layer, target)].operand.mT
            operations += self.arithmetic.accumulate(out, weight, self.states[target].operand)
        return operations

    def reads(self, layer: int) -> bool:  # noqa: ARG002
        """Whether what `layer` receives includes the pull of a cost that reads its state; a free phase has none."""
        return False

    def consult(self) -> list[Op]:
        """Let the cost read the present states, before the layers that it pulls on are overwritten."""
        return []

    def minimise(self, layer: int, received: Tensor) -> list[Op]:  # noqa: ARG002
        """Turn what an output state inside the energy receives into its exact minimiser."""
        return []

    def goal(self, layer: int, received: Tensor) -> list[Op]:  # noqa: ARG002
        """Turn what an output state receives into the point that a synchronous step moves towards."""
        return []

    def activate(self, layer: int, source: Tensor) -> list[Op]:
        """Set the state of `layer` from `source`, inside its bounds; they may be one array."""
        if layer == self.topology.last:
            return self.arithmetic.assign(self.states[layer], source)
        return self.arithmetic.clip(self.states[layer], source, self.topology.clip)

    def remember(self, layer: int) -> list[Op]:
        """Keep the state of `layer` for `compare`."""
        return [partial(self.spare(layer, "old").copy_, self.states[layer].value)]

    def compare(self, layer: int) -> list[Op]:
        """Fold the largest change of `layer` since `remember` into `change`."""
        old = self.spare(layer, "old")
        return [
            partial(torch.sub, self.states[layer].value, old, out=old),
            old.abs_,
            partial(torch.amax, old, dim=(-2, -1), out=self._largest),
            partial(torch.maximum, self.change, self._largest, out=self.change),
        ]

    def feed_forward(self) -> list[Op]:
        """Set every state from the layers below alone."""
        operations: list[Op] = []
        for layer in self.layers:
            received = self.states[layer].value
            if self.topology.below(layer):
                operations += self.from_below(layer, received)
            else:
                received = self.base[layer]
            operations += self.activate(layer, received)
        return operations

    def copy_from(self, other: "Phase", layers: Iterable[int]) -> list[Op]:
        """Take over the states of `layers` from another phase."""
        operations: list[Op] = []
        for layer in layers:
            state = self.states[layer]
            operations += [
                partial(state.value.copy_, other.states[layer].value),
                *self.arithmetic.refresh(state),
            ]
        return operations


class NudgedPhase(Phase):
    """The relaxation of F = E + beta C from the free state; beta is a number, or (P, 1, 1) for a population."""

    def __init__(
        self,
        topology: Topology,
        arithmetic: Arithmetic,
        weights: Weights,
        base: Mapping[int, Tensor],
        target: Tensor,
        *,
        adopted: Mapping[int, Signal] | None = None,
    ) -> None:
        classes, batch = target.shape[-2:]
        super().__init__(topology, arithmetic, weights, base, batch, adopted=adopted)
        self._target = target
        # With a readout -beta (p - y), else beta y: (classes, batch).
        self.pull = arithmetic.signal(classes, batch)
        self._scores = arithmetic.zeros(classes, batch)
        self._readers = topology.below(topology.last) if topology.has_readout else ()
        self.set_beta(0.0)

    def set_beta(self, beta: float | Tensor) -> None:
        """Set the nudge of the operations that follow, those already written down included."""
        self.beta = beta
        self._minus_beta = -beta
        if not self.topology.has_readout:
            self._shrink = 1.0 / (1.0 + beta)

    def pull_by(self, mistake: Tensor) -> list[Op]:
        """Set the pull of the cost, given the `mistake` p - y (classes, batch) of a readout."""
        value = self.pull.value
        if not self.topology.has_readout:
            return [lambda: torch.mul(self._target, self.beta, out=value)]
        return [
            lambda: torch.mul(mistake, self._minus_beta, out=value),
            *self.arithmetic.assign(self.pull, value),
        ]

    def reads(self, layer: int) -> bool:
        """Whether a readout reads `layer`."""
        return layer in self._readers

    def feedback(self, layer: int) -> Tensor:
        """Return the transposed readout weights through which the cost pulls on `layer`."""
        return self.arithmetic.readout(self.weights[weight_name(layer, self.topology.last)]).mT

    def receive(self, layer: int, out: Tensor) -> list[Op]:
        """Store in `out` what `layer` receives, the pull beta W_L^T (y - p) of a readout included."""
        operations = super().receive(layer, out)
        if self.reads(layer):
            pull = self.arithmetic.readout(self.pull)
            operations += self.arithmetic.accumulate(out, self.feedback(layer), pull)
        return operations

    def read(self) -> list[Op]:
        """Set the scores of the present states."""
        operations: list[Op] = [partial(self._scores.copy_, self.base[self.topology.last])]
        for layer in self._readers:
            weight = self.arithmetic.readout(self.weights[weight_name(layer, self.topology.last)])
            state = self.arithmetic.readout(self.states[layer])
            operations += self.arithmetic.accumulate(self._scores, weight, state)
        return operations

    def consult(self) -> list[Op]:
        """Let the softmax cost read the present states, before the layers that it pulls on are overwritten."""
        return [
            *self.read(),
            *self.arithmetic.softmax(self._scores, self._scores),
            partial(self._scores.sub_, self._target),
            *self.pull_by(self._scores),
        ]

    def minimise(self, layer: int, received: Tensor) -> list[Op]:
        """Replace h by (h + beta y)/(1 + beta) at an output inside the energy."""
        if layer != self.topology.last:
            return []
        return [partial(received.add_, self.pull.value), lambda: received.mul_(self._shrink)]

    def goal(self, layer: int, received: Tensor) -> list[Op]:
        """Add beta (y - o) to what an output inside the energy receives."""
        if layer != self.topology.last:
            return []
        state = self.states[layer].value
        return [
            lambda: torch.mul(state, self.beta, out=self._scores),
            partial(received.add_, self.pull.value),
            partial(received.sub_, self._scores),
        ]

    def cost(self) -> Tensor:
        """Return C, ([P,] batch), of the scores last `read`, or of the output state."""
        if self.topology.has_readout:
            return -(torch.log_softmax(self._scores, -2) * self._target).sum(-2)
        return 0.5 * (self.states[self.topology.last].value - self._target).square().sum(-2)


class LinearPhase(Phase):
    """The relaxation of d = ds/dbeta at beta = 0, the limit of a vanishing nudge.

    d_l <- m_l (W_l d_{l-1} + W_{l+1}^T d_{l+1}), m_l = [0 < s_l < clip], with the source y - o at an output
    inside the energy, or W_L^T (y - p) at the layers that a readout reads.
    """

    def __init__(self, topology: Topology, arithmetic: Arithmetic, weights: Weights, batch: int) -> None:
        nothing = torch.zeros(1, 1, dtype=arithmetic.dtype)
        super().__init__(topology, arithmetic, weights, dict.fromkeys(topology.state_layers, nothing), batch)
        self._masks = {
            layer: arithmetic.zeros(topology.sizes[layer], batch) for layer in topology.hidden_layers
        }
        self._source = arithmetic.signal(topology.sizes[-1], batch)
        self._readers = topology.below(topology.last) if topology.has_readout else ()

    def start(self, free: Phase, mistake: Tensor) -> list[Op]:
        """Begin at d = 0, given the free states and the mistake p - y or o - y (classes, batch) that they make."""
        operations: list[Op] = [partial(torch.neg, mistake, out=self._source.value)]
        operations += self.arithmetic.assign(self._source, self._source.value)
        for layer, mask in self._masks.items():
            settled, above_zero = free.states[layer].value, self.states[layer].value
            operations += [
                partial(torch.lt, settled, self.topology.clip, out=mask),
                partial(torch.gt, settled, 0.0, out=above_zero),
                partial(mask.mul_, above_zero),
            ]
        for state in self.states.values():
            operations += [state.value.zero_, *self.arithmetic.refresh(state)]
        return operations

    def receive(self, layer: int, out: Tensor) -> list[Op]:
        """Store in `out` what `layer` receives, the source included."""
        operations = super().receive(layer, out)
        if layer in self._readers:
            feedback = self.arithmetic.readout(self.weights[weight_name(layer, self.topology.last)]).mT
            operations += self.arithmetic.accumulate(out, feedback, self.arithmetic.readout(self._source))
        elif layer == self.topology.last:
            operations += [partial(out.add_, self._source.value)]
        return operations

    def activate(self, layer: int, source: Tensor) -> list[Op]:
        """Set the derivative of `layer` from `source`; it is zero where the free state is at a bound."""
        masked: list[Op] = [partial(source.mul_, self._masks[layer])] if layer in self._masks else []
        return [*masked, *self.arithmetic.assign(self.states[layer], source)]
