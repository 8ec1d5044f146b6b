"""All buffers of one batch size, and the way of a batch from its input to its gradient, written down once."""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from functools import partial

import torch
from torch import Tensor

from kernels.arithmetic import Arithmetic, Op, Signal, run
from kernels.contrast import Contrast, distance
from kernels.inputs import classes_on, one_hot
from kernels.phases import LinearPhase, NudgedPhase, Phase
from kernels.rules import Relaxation, Rule
from kernels.settle import Relaxer, Settled, sweep, sweep_order
from kernels.topology import Topology, bias_name, weight_name

__all__ = ["Workspace"]


class Workspace:
    """Settles batches of `batch` samples and forms their estimates.

    `rules` has one rule for each network; they may differ in beta alone. `gradients` are where raw sums go, by name:
    `distance` times batch times the mean gradient.
    """

    def __init__(
        self,
        topology: Topology,
        arithmetic: Arithmetic,
        weights: Mapping[str, Signal],
        gradients: Mapping[str, Tensor],
        rules: Sequence[Rule],
        batch: int,
    ) -> None:
        self.topology = topology
        self.arithmetic = arithmetic
        self.weights = weights
        self.rule = rules[0]
        self.rows = batch
        sizes, classes = topology.sizes, topology.sizes[-1]
        self.x = arithmetic.input(batch, sizes[0])
        self.target = arithmetic.zeros(classes, batch)
        self._device = self.target.device
        self.scores = arithmetic.zeros(classes, batch)
        self.mistake = arithmetic.zeros(classes, batch)
        self._weighted = arithmetic.signal(classes, batch)
        self._distance = arithmetic.by_network([distance(rule) for rule in rules], axes=2)
        layers = range(1, topology.last + 1)
        biases = {layer: weights[bias_name(layer)].value.unsqueeze(-1) for layer in layers}
        self._drives = {layer: arithmetic.zeros(sizes[layer], batch) for layer in topology.fed}
        base = biases | self._drives
        self.free = Phase(topology, arithmetic, weights, base, batch)
        self._betas = [
            arithmetic.by_network([rule.beta * side for rule in rules], axes=2) for side in self._sides()
        ]
        nudged = self.rule.nudged
        self._lead = sweep_order(self.free.layers, nudged, 0)[0]
        self._shared = nudged.scheme == "block" and nudged.tolerance == 0
        self.nudged: list[NudgedPhase] = []
        for beta in self._betas:
            # Once a pair of nudges has set out, the free state of the layer that moves first is read no more.
            spent = self._shared and len(self._betas) == 2 and not self.nudged
            adopted = {self._lead: self.free.states[self._lead]} if spent else {}
            self.nudged.append(NudgedPhase(topology, arithmetic, weights, base, self.target, adopted=adopted))
            self.nudged[-1].set_beta(beta)
        self.linear = LinearPhase(topology, arithmetic, weights, batch) if not self.nudged else None
        moved: Phase = self.linear or self.nudged[0]
        other = self.nudged[1] if len(self.nudged) == 2 else self.free
        self.contrast = Contrast(topology, arithmetic, self.rule, moved, other)
        self._write(biases, gradients)

    def _sides(self) -> tuple[int, ...]:
        return {"centred": (1, -1), "negative": (-1,), "linearised": ()}.get(self.rule.estimate, (1,))

    def _write(self, biases: Mapping[int, Tensor], gradients: Mapping[str, Tensor]) -> None:
        rule = self.rule
        self.begin: list[Op] = []
        for layer, drive in self._drives.items():
            weight = self.weights[weight_name(0, layer)].operand
            self.begin += [partial(drive.copy_, biases[layer])]
            self.begin += self.arithmetic.accumulate_input(drive, weight, self.x)
        self.begin += self.free.feed_forward()
        self._relaxer = Relaxer(self.free, rule.free, measured=False)
        self._measured = Relaxer(self.free, rule.free, measured=True)
        self._deferred = self._defer(rule.free) if self.arithmetic.remote else []
        self.read = self._read()
        self.compare = [*self._compare(), *self._readout_gradients(gradients)]
        self.nudging = self._start_linear() if self.linear is not None else self._start_nudged()
        self.contrasting = [*self.contrast.form(), *self.contrast.gradients(self.x, gradients)]

    def _defer(self, relaxation: Relaxation) -> list[Op]:
        """The free phase of a fixed number of sweeps, the last of which leaves `free.change` to be read later."""
        steps = relaxation.steps
        if relaxation.tolerance > 0 or not steps:
            return []
        before = Relaxer(self.free, replace(relaxation, steps=steps - 1), measured=False)
        measured = self.arithmetic.population is None
        return [before.run, *sweep(self.free, relaxation, steps - 1, measured=measured)]

    def _read(self) -> list[Op]:
        last = self.topology.last
        if not self.topology.has_readout:
            return [partial(self.scores.copy_, self.free.states[last].value)]
        operations: list[Op] = [partial(self.scores.copy_, self.free.base[last])]
        for source in self.topology.below(last):
            weight = self.arithmetic.readout(self.weights[weight_name(source, last)])
            state = self.arithmetic.readout(self.free.states[source])
            operations += self.arithmetic.accumulate(self.scores, weight, state)
        return operations

    def _compare(self) -> list[Op]:
        if not self.topology.has_readout:
            return [partial(torch.sub, self.scores, self.target, out=self.mistake)]
        return [*self.arithmetic.softmax(self.mistake, self.scores), partial(self.mistake.sub_, self.target)]

    def _start_linear(self) -> list[tuple[list[Op], Relaxer]]:
        assert self.linear is not None
        start = self.linear.start(self.free, self.mistake)
        return [(start, Relaxer(self.linear, self.rule.nudged, measured=False))]

    def _start_nudged(self) -> list[tuple[list[Op], Relaxer]]:
        relaxation, lead, shared = self.rule.nudged, self._lead, self._shared
        programmes = []
        for side, phase in zip((1, -1), self.nudged, strict=False):
            # The layer that moves first needs no copy: it is overwritten before anything reads it.
            start = phase.copy_from(
                self.free, [layer for layer in phase.layers if not (shared and layer == lead)]
            )
            reads = shared and phase.reads(lead)
            # A second phase that begins by the first one's pull reads for itself before it pulls again.
            start += [] if reads and side == -1 else phase.pull_by(self.mistake)
            first = None
            if shared:
                start += self._outset(lead, phase) if side == 1 else []
                first = self._receive_outset(lead, phase, side)
            programmes.append((start, Relaxer(phase, relaxation, measured=False, fresh=True, first=first)))
        return programmes

    def _common(self, layer: int) -> Tensor:
        # What the first layer to move receives from the others at the free state; a mere drive needs no copy.
        alone = not self.topology.below(layer) and not self.topology.above(layer)
        return self.free.base[layer] if alone else self.free.spare(layer, "received")

    def _outset(self, layer: int, phase: NudgedPhase) -> list[Op]:
        """Compute once what the first layer receives at the free state, which both nudges share up to a sign.

        The cost's pull waits in the state of the phase that settles last.
        """
        common = self._common(layer)
        operations = [] if common is self.free.base[layer] else self.free.receive(layer, common)
        if phase.reads(layer):
            pull = self.nudged[-1].states[layer].value
            received = self.arithmetic.readout(phase.pull)
            operations += self.arithmetic.multiply(pull, phase.feedback(layer), received)
        return operations

    def _receive_outset(self, layer: int, phase: NudgedPhase, side: int) -> list[Op]:
        common, out = self._common(layer), phase.states[layer].value
        if not phase.reads(layer):
            return [partial(out.copy_, common)]
        combine = torch.add if side == 1 else torch.sub
        return [partial(combine, common, self.nudged[-1].states[layer].value, out=out)]

    def _readout_gradients(self, gradients: Mapping[str, Tensor]) -> list[Op]:
        if not self.topology.has_readout:
            return []
        weighted, last = self._weighted, self.topology.last
        operations: list[Op] = [partial(torch.mul, self.mistake, self._distance, out=weighted.value)]
        operations += self.arithmetic.assign(weighted, weighted.value)
        for source, target in self.topology.connections:
            out = gradients[weight_name(source, target)]
            if target == last and source == 0:
                operations += self.arithmetic.multiply_input(out, weighted.operand, self.x)
            elif target == last:
                mistake = self.arithmetic.readout(weighted)
                state = self.arithmetic.readout(self.free.states[source])
                operations += self.arithmetic.multiply(out, mistake, state.mT)
        return [*operations, partial(torch.sum, weighted.value, dim=-1, out=gradients[bias_name(last)])]

    def load(self, x: Tensor, y: Tensor | None) -> None:
        """Take in a batch from the host: `x` ([P,] batch, n_0) float32, `y` ([P,] batch) class numbers."""
        if self.arithmetic.remote:
            # What is wrong with a batch is found here, before anything has changed and without asking the device.
            self.arithmetic.check_input(x)
            y = y if y is None else classes_on(self._device, y, self.topology.sizes[-1])
            self.arithmetic.place(self.x, x.to(self._device, non_blocking=True))
        else:
            self.arithmetic.take(self.x, x)
        if y is not None:
            one_hot(self.target, y)

    def relax(self, *, measured: bool) -> Settled:
        """Settle the free phase from the feed-forward state, and read the scores: logits, or the output state."""
        run(self.begin)
        settled = (self._measured if measured else self._relaxer).run()
        run(self.read)
        return settled

    def relax_unread(self) -> None:
        """Settle the free phase like `relax`, for fixed numbers of sweeps on a device, reading nothing back.

        Its residual is left to `residual`; that of a population is not measured.
        """
        run(self.begin)
        run(self._deferred)
        run(self.read)

    def residual(self) -> float:
        """Return the largest change of any state in the last sweep of `relax_unread`; waits for the device."""
        measured = self._deferred and self.arithmetic.population is None
        return float(self.free.change.max()) if measured else 0.0

    def aim(self, sign: int | Tensor) -> None:
        """Set the sign of a random-sign nudge; the other estimates do not read it."""
        if self.rule.estimate == "random-sign":
            self.nudged[0].set_beta(self._betas[0] * sign)
            self.contrast.sign = sign

    def nudge(self, sign: int | Tensor) -> Settled:
        """Compare the scores with the target, settle the nudged phases from the free state, and form the gradients.

        Each nudge stops for itself; the longer relaxation is returned. The free state is spent afterwards.
        """
        run(self.compare)
        self.aim(sign)
        settled = []
        for start, relaxer in self.nudging:
            run(start)
            settled.append(relaxer.run())
        run(self.contrasting)
        return max(settled, key=lambda each: each.steps)
