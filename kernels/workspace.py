"""All buffers of one batch size, and the way of a batch from its input to its gradient."""

from collections.abc import Mapping, Sequence

import torch
from torch import Tensor

from kernels.arithmetic import Arithmetic, Signal
from kernels.contrast import Contrast, distance
from kernels.inputs import one_hot
from kernels.phases import FreePhase, LinearPhase, NudgedPhase
from kernels.rules import Relaxation, Rule
from kernels.settle import Settled, settle, sweep_order
from kernels.topology import Topology, bias_name, weight_name

__all__ = ["Workspace"]

SIGNS = {"centred": (1.0, -1.0), "negative": (-1.0,)}


class Workspace:
    """Settles batches of `batch` samples and forms their estimates.

    `rules` has one rule for each network; they may differ in beta alone.
    """

    def __init__(
        self,
        topology: Topology,
        arithmetic: Arithmetic,
        weights: Mapping[str, Signal],
        rules: Sequence[Rule],
        batch: int,
    ) -> None:
        self.topology = topology
        self.arithmetic = arithmetic
        self.weights = weights
        self.rule = rules[0]
        sizes, classes = topology.sizes, topology.sizes[-1]
        # The input keeps the caller's layout, (batch, n_0); all else is (units, batch).
        self.x = arithmetic.signal(batch, sizes[0])
        self.target = arithmetic.zeros(classes, batch)
        self.scores = arithmetic.zeros(classes, batch)
        self.mistake = arithmetic.zeros(classes, batch)
        self._weighted = arithmetic.signal(classes, batch)
        self._distance = arithmetic.by_network([distance(rule) for rule in rules], axes=2)
        fed = [layer for layer in range(1, topology.last + 1) if topology.reads_input(layer)]
        self._drives = {layer: arithmetic.zeros(sizes[layer], batch) for layer in fed}
        self._drive_weights = {layer: weights[weight_name(0, layer)].operand for layer in fed}
        self._drive_biases = {layer: weights[bias_name(layer)].value.unsqueeze(-1) for layer in fed}
        base = self._base()
        self.free = FreePhase(topology, arithmetic, weights, base, batch)
        self.nudged: NudgedPhase | LinearPhase
        if self.rule.estimate == "linearised":
            self.nudged = LinearPhase(topology, arithmetic, weights, batch)
        else:
            signs = SIGNS.get(self.rule.estimate, (1.0,))
            self.nudged = NudgedPhase(topology, arithmetic, weights, base, self.target, copies=len(signs))
            nudges = [[sign * rule.beta for sign in signs] for rule in rules]
            self._nudges = torch.tensor(nudges, dtype=arithmetic.dtype).view(
                *arithmetic.lead, 1, len(signs), 1
            )
            self.nudged.set_beta(self._nudges)
        self.contrast = Contrast(topology, arithmetic, self.rule, self.free, self.nudged)
        self._plan_gradients()
        self._base_scores = base[topology.last].squeeze(-2)
        readers = topology.below(topology.last) if topology.has_readout else ()
        self._readout = [
            (weights[weight_name(layer, topology.last)].operand, self.free.states[layer].operand)
            for layer in readers
        ]

    def _base(self) -> dict[int, Tensor]:
        base = {}
        for layer in range(1, self.topology.last + 1):
            if layer in self._drives:
                base[layer] = self._drives[layer].unsqueeze(-2)
            else:
                base[layer] = self.weights[bias_name(layer)].value.unsqueeze(-1).unsqueeze(-1)
        return base

    def _plan_gradients(self) -> None:
        # Names are formed once: a step of a small network takes as long as they do.
        edges = [
            (source, target, weight_name(source, target)) for source, target in self.topology.connections
        ]
        states = self.topology.state_layers
        self._edges = [edge for edge in edges if edge[1] in states]
        self._biases = [(layer, bias_name(layer)) for layer in states]
        self._readout_edges = [(source, name) for source, target, name in edges if target not in states]
        self._readout_bias = bias_name(self.topology.last)

    def load(self, x: Tensor, y: Tensor | None) -> None:
        """Take in a batch: `x` ([P,] batch, n_0) float32, `y` ([P,] batch) class numbers."""
        self.arithmetic.take(self.x, x)
        if y is not None:
            one_hot(self.target, y)

    def relax(self, relaxation: Relaxation, *, measured: bool) -> Settled:
        """Settle the free phase from the feed-forward state, and read the scores."""
        self.begin()
        settled = settle(self.free, relaxation, measured=measured)
        self.read()
        return settled

    def begin(self) -> None:
        """Compute the input drive once, and the feed-forward state."""
        for layer, drive in self._drives.items():
            drive.copy_(self._drive_biases[layer])
            self.arithmetic.accumulate(drive, self._drive_weights[layer], self.x.operand.mT)
        self.free.feed_forward()

    def read(self) -> None:
        """Set the scores of the free state: logits, or the output state."""
        if self.topology.has_readout:
            self.scores.copy_(self._base_scores)
            for left, right in self._readout:
                self.arithmetic.accumulate(self.scores, left, right)
        else:
            self.scores.copy_(self.free.states[self.topology.last].value)

    def nudge(self, sign: int | Tensor) -> Settled:
        """Compare the scores with the target, settle the nudged phase from the free state, and contrast both."""
        self.compare(sign)
        settled = settle(self.nudged, self.rule.nudged, measured=False)
        self.contrast.form(sign)
        return settled

    def compare(self, sign: int | Tensor) -> None:
        """Set the mistake p - y or o - y, and begin the nudged phase at the free state."""
        if self.topology.has_readout:
            self.arithmetic.softmax(self.mistake, self.scores)
            self.mistake.sub_(self.target)
        else:
            torch.sub(self.scores, self.target, out=self.mistake)
        if isinstance(self.nudged, LinearPhase):
            self.nudged.start(self.free, self.mistake)
            return
        if self.rule.estimate == "random-sign":
            self.nudged.set_beta(self._nudges * (sign.unsqueeze(-1) if isinstance(sign, Tensor) else sign))
        relaxation = self.rule.nudged
        moves_first = relaxation.scheme == "block" and relaxation.tolerance == 0
        first = sweep_order(self.nudged.layers, relaxation, 0)[0] if moves_first else None
        self.nudged.start(self.free, self.mistake, first=first)

    def gradients(self, out: Mapping[str, Tensor]) -> None:
        """Store the raw sums of all parameters in `out`: `distance` times batch times the mean gradient.

        The readout's is (p - y) s^T at the free state.
        """
        for source, target, name in self._edges:
            self.contrast.weight(source, target, self.x.operand, out[name])
        for layer, name in self._biases:
            self.contrast.bias(layer, out[name])
        if not self.topology.has_readout:
            return
        weighted = self._weighted
        self.arithmetic.assign(weighted, torch.mul(self.mistake, self._distance, out=weighted.value))
        for source, name in self._readout_edges:
            read = self.free.states[source].operand.mT if source else self.x.operand
            self.arithmetic.multiply(out[name], weighted.operand, read)
        torch.sum(weighted.value, dim=-1, out=out[self._readout_bias])
