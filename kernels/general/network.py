"""A network of couplings that settles: states, nudges, relaxation, energy. No parameter is changed here.

Equations: Scellier & Bengio (2017); Laborieux et al. (2021) for the softmax readout outside the energy.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from kernels.general.activations import Activation
from kernels.general.couplings import Coupling
from kernels.rules import Relaxation
from kernels.settle import sweep_order

__all__ = ["Motion", "Network", "Nudge", "Relaxed", "States"]

States = dict[int, Tensor]

# The logit of a class that is out of the question. Not minus infinity, of which 0 times is no number.
_NEVER = -1e30


@dataclass(frozen=True)
class Nudge:
    """What acts on the output: beta C, or the output held at `held` (b, classes). Neither in a free phase.

    `beta` is real, or complex: a number, or (b, 1) where samples differ. `y` is one-hot, (b, classes).
    """

    y: Tensor | None = None
    beta: float | Tensor = 0.0
    held: Tensor | None = None


@dataclass(frozen=True)
class Motion:
    """How a state moves towards its minimiser: `damping` of the way, plus `momentum` times its last change."""

    damping: float = 1.0
    momentum: float = 0.0

    @property
    def plain(self) -> bool:
        """Whether states simply take their minimisers."""
        return self.damping == 1.0 and self.momentum == 0.0


@dataclass(frozen=True)
class Relaxed:
    """Where a relaxation ended: states, sweeps taken, the largest change of a state in the last one."""

    states: States
    steps: int
    residual: float


@dataclass(frozen=True)
class Network:
    """Layers 0 (the clamped input) to `last`, their couplings and biases.

    With `output` "mse" the last layer is a linear state inside the energy; with "ce" a softmax readout outside it.
    `keep` is the share of the units of a hidden layer that may be active at once: the others are set to 0, sample by
    sample (top-k sparsity); 1.0 keeps all. `mask` (b, classes) marks the units of the output that each sample of a
    batch has: the others are 0, have no share in a softmax, and are felt nowhere. None where all have all.
    """

    last: int
    output: str
    couplings: Sequence[Coupling]
    biases: Mapping[int, Tensor]
    activation: Activation
    keep: float = 1.0
    motion: Motion = Motion()
    mask: Tensor | None = None

    @property
    def state_layers(self) -> tuple[int, ...]:
        """The layers that relax."""
        return tuple(range(1, self.last + (self.output == "mse")))

    def layer(self, states: States, x: Tensor, number: int) -> Tensor:
        """Return the states of a layer, the clamped input's included."""
        return x if number == 0 else states[number]

    def from_below(self, states: States, x: Tensor, layer: int) -> Tensor:
        """Return sum_k up(s_k) + b_l."""
        total: Tensor | None = None
        for coupling in self.couplings:
            if coupling.target == layer:
                part = coupling.up(self.layer(states, x, coupling.source))
                total = part if total is None else total + part
        assert total is not None, "every layer is fed"
        bias = self.biases[layer]
        return total + bias.view(-1, *(1,) * (total.dim() - 2))

    def scores(self, states: States, x: Tensor) -> Tensor:
        """Return the logits of the readout, or the output state, (b, classes)."""
        return self.from_below(states, x, self.last) if self.output == "ce" else states[self.last]

    def prediction(self, states: States, x: Tensor) -> Tensor:
        """Return softmax of the logits, or the output state: what is compared with y."""
        scores = self.scores(states, x)
        return self._shares(scores) if self.output == "ce" else scores

    def _shares(self, logits: Tensor) -> Tensor:
        """Return the softmax over the units that each sample has."""
        return softmax(self._own(logits, _NEVER))

    def _own(self, output: Tensor, other: float) -> Tensor:
        """Return `output` with `other` for the units that a sample does not have."""
        return output if self.mask is None else output.masked_fill(self.mask == 0, other)

    def received(self, states: States, x: Tensor, layer: int, nudge: Nudge) -> Tensor:
        """Return -d(E + beta C - G)/ds_l: what a layer receives, without the cost's pull on an output state."""
        total = self.from_below(states, x, layer)
        error: Tensor | None = None
        for coupling in self.couplings:
            if coupling.source != layer:
                continue
            if coupling.target in self.state_layers:
                total = total + coupling.down(states[coupling.target], states[layer])
            elif nudge.y is not None:
                if error is None:
                    error = nudge.y - self._shares(self.from_below(states, x, self.last))
                total = total + coupling.down(nudge.beta * error, states[layer])
        return total

    def minimiser(self, states: States, x: Tensor, layer: int, nudge: Nudge) -> Tensor:
        """Return the exact minimiser of F in the states of one layer, given the others."""
        if layer == self.last and nudge.held is not None:
            return nudge.held
        received = self.received(states, x, layer, nudge)
        if layer == self.last:
            received = self._own(received, 0.0)
            return received if nudge.y is None else (received + nudge.beta * nudge.y) / (1.0 + nudge.beta)
        return self.sparse(self.activation.apply(received))

    def sparse(self, states: Tensor) -> Tensor:
        """Return hidden states (b, ...) with all but the largest share `keep` of each sample's set to 0."""
        if self.keep >= 1.0:
            return states
        flat = states.flatten(1)
        count = max(1, round(self.keep * flat.shape[1]))
        size = flat.real if torch.is_complex(flat) else flat
        kept = torch.zeros_like(size).scatter_(1, size.topk(count, dim=1).indices, 1.0)
        return (flat * kept).view_as(states)

    def feed_forward(self, x: Tensor) -> States:
        """Return the states that a free phase begins from: each layer from those below alone."""
        states: States = {}
        for layer in self.state_layers:
            received = self.from_below(states, x, layer)
            if layer == self.last:
                states[layer] = self._own(received, 0.0)
            else:
                states[layer] = self.sparse(self.activation.apply(received))
        return states

    def sweep(
        self,
        states: States,
        x: Tensor,
        nudge: Nudge,
        relaxation: Relaxation,
        step: int,
        last_change: States | None = None,
    ) -> States:
        """Return the states after one sweep; `states` stays as it is. `last_change` feeds the momentum."""
        new = dict(states)
        synchronous = relaxation.scheme == "synchronous"
        order = self.state_layers if synchronous else sweep_order(self.state_layers, relaxation, step)
        for layer in order:
            goal = self.minimiser(states if synchronous else new, x, layer, nudge)
            held = layer == self.last and nudge.held is not None
            if synchronous and not held:
                goal = states[layer] + relaxation.step_size * (goal - states[layer])
            if not self.motion.plain and not held:
                goal = states[layer] + self.motion.damping * (goal - states[layer])
                if last_change is not None:
                    goal = goal + self.motion.momentum * last_change[layer]
            new[layer] = goal
        return new

    def relax(self, states: States, x: Tensor, nudge: Nudge, relaxation: Relaxation) -> Relaxed:
        """Settle from `states`; ends early once no state changes by more than the relaxation's tolerance."""
        residual = 0.0
        change: States | None = None
        for step in range(relaxation.steps):
            new = self.sweep(states, x, nudge, relaxation, step, change)
            change = {layer: new[layer] - states[layer] for layer in new}
            states = new
            if relaxation.tolerance > 0 or step == relaxation.steps - 1:
                # amax and not Python's max, which may lose a NaN.
                residual = float(torch.stack([part.abs().amax() for part in change.values()]).amax())
            if relaxation.tolerance > 0 and not residual > relaxation.tolerance:
                return Relaxed(states, step + 1, residual)
        return Relaxed(states, relaxation.steps, residual)

    def energy(self, states: States, x: Tensor) -> Tensor:
        """Return E for each sample, (b,), of real states."""
        total = torch.zeros(len(x), dtype=x.dtype)
        for layer in self.state_layers:
            s = states[layer]
            own = 0.5 * s * s if layer == self.last else self.activation.potential(s)
            total = total + (own - s * self.from_below(states, x, layer)).flatten(1).sum(1)
        return total

    def cost(self, states: States, x: Tensor, y: Tensor) -> Tensor:
        """Return C for each sample, (b,): cross-entropy of the readout, or half the squared error."""
        if self.output == "ce":
            return -(y * torch.log_softmax(self._own(self.scores(states, x), _NEVER), dim=1)).sum(1)
        return 0.5 * (states[self.last] - y).square().sum(1)


def softmax(logits: Tensor) -> Tensor:
    """Return the softmax of each row, real or complex: exp is holomorphic, and so is its normalisation."""
    top = (logits.real if torch.is_complex(logits) else logits).amax(dim=1, keepdim=True)
    raised = torch.exp(logits - top)
    return raised / raised.sum(dim=1, keepdim=True)
