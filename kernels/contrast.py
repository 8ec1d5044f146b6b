"""The parameter estimates: what two relaxations of one batch say about the loss.

Every estimate is a difference of products of states. With the pair (a, b) of relaxations, d the distance of their
nudges, D = b - a and M = (a + b)/2, it is

    dW_kl = -(a_l a_k^T - b_l b_k^T)/d = (D_l M_k^T + M_l D_k^T)/d,    db_l = D_l/d,

so that near-equal states are subtracted before anything is rounded, and the clamped input needs one product:
dW_0l = D_l x^T/d. centred: (s^+beta, s^-beta), d = 2 beta; one-sided: (s^beta, s^0), d = beta; negative:
(s^-beta, s^0), d = -beta; random-sign: (s^(sign beta), s^0), d = sign beta; linearised: D = -ds/dbeta, M = s^0,
d = 1. Scellier & Bengio (2017), eq. 9; Laborieux et al. (2021), eq. 8.

A weight's estimate reads only the states of the two layers that it joins.
"""

from collections.abc import Mapping
from functools import partial

import torch
from torch import Tensor

from kernels.arithmetic import Arithmetic, Op, Signal
from kernels.phases import Phase
from kernels.rules import Rule
from kernels.topology import Topology, bias_name, weight_name

__all__ = ["Contrast", "distance"]


def distance(rule: Rule) -> float:
    """Return |d|: the raw sums of a `Contrast` are |d| times the batch size times the mean gradient."""
    return {"centred": 2.0 * rule.beta, "linearised": 1.0}.get(rule.estimate, rule.beta)


class Contrast:
    """The differences and means of states that the estimate of `rule` is formed from, for one batch.

    `moved` is the first nudged phase, or the linear one; `other` the opposite nudge of the centred estimate, or the
    free phase. `sign` is that of a random-sign nudge, to be set before `form` runs. The differences take the place of
    the states of the phase that settled last: memory that is touched for the first time in a step costs most.
    """

    def __init__(
        self, topology: Topology, arithmetic: Arithmetic, rule: Rule, moved: Phase, other: Phase
    ) -> None:
        self.arithmetic = arithmetic
        self.topology = topology
        self.estimate = rule.estimate
        self.sign: int | Tensor = 1
        self._moved = moved
        self._other = other
        self.differences = (other if rule.estimate == "centred" else moved).states
        joined = sorted({layer for edge in topology.recurrent for layer in edge})
        batch = moved.states[1].value.shape[-1]
        self.means = {layer: arithmetic.signal(topology.sizes[layer], batch) for layer in joined}

    def form(self) -> list[Op]:
        """Take means and differences of the states of both phases."""
        operations: list[Op] = []
        for layer, mean in self.means.items():
            first, second = self._moved.states[layer].value, self._other.states[layer].value
            if self.estimate == "linearised":
                operations += [partial(mean.value.copy_, second)]
            else:
                operations += [
                    partial(torch.add, first, second, out=mean.value),
                    partial(mean.value.mul_, 0.5),
                ]
            operations += self.arithmetic.refresh(mean)
        for layer, difference in self.differences.items():
            operations += self._difference(layer, difference.value) + self.arithmetic.refresh(difference)
        return operations

    def _difference(self, layer: int, out: Tensor) -> list[Op]:
        first, second = self._moved.states[layer].value, self._other.states[layer].value
        if self.estimate == "linearised":
            return [out.neg_]
        if self.estimate == "negative":
            return [partial(out.sub_, second)]
        operations: list[Op] = [partial(torch.sub, second, first, out=out)]
        if self.estimate == "random-sign":
            operations += [lambda: out.mul_(self.sign)]
        return operations

    def weight(self, source: int, target: int, x: Signal, out: Tensor) -> list[Op]:
        """Store the raw sum of the weights from `source` to the state layer `target` in `out` (n_target, n_source).

        `x` is the input, (batch, n_0).
        """
        difference = self.differences[target].operand
        if source == 0:
            return self.arithmetic.multiply_input(out, difference, x)
        return [
            *self.arithmetic.multiply(out, difference, self.means[source].operand.mT),
            *self.arithmetic.accumulate(out, self.means[target].operand, self.differences[source].operand.mT),
        ]

    def bias(self, layer: int, out: Tensor) -> list[Op]:
        """Store the raw sum of the bias of a state layer in `out` (n_layer,)."""
        return [partial(torch.sum, self.differences[layer].value, dim=-1, out=out)]

    def gradients(self, x: Signal, out: Mapping[str, Tensor]) -> list[Op]:
        """Store the raw sums of all parameters inside the energy in `out`, by name."""
        operations: list[Op] = []
        for source, target in self.topology.connections:
            if target in self.differences:
                operations += self.weight(source, target, x, out[weight_name(source, target)])
        for layer in self.differences:
            operations += self.bias(layer, out[bias_name(layer)])
        return operations
