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

import torch
from torch import Tensor

from kernels.arithmetic import Arithmetic
from kernels.phases import Phase
from kernels.rules import Rule
from kernels.topology import Topology

__all__ = ["Contrast", "distance"]


def distance(rule: Rule) -> float:
    """Return |d|: the raw sums of a `Contrast` are |d| times the batch size times the mean gradient."""
    return {"centred": 2.0 * rule.beta, "linearised": 1.0}.get(rule.estimate, rule.beta)


class Contrast:
    """The differences and means of states that the estimate of `rule` is formed from, for one batch."""

    def __init__(
        self, topology: Topology, arithmetic: Arithmetic, rule: Rule, free: Phase, nudged: Phase
    ) -> None:
        self.arithmetic = arithmetic
        self.estimate = rule.estimate
        self._pairs = {layer: self._pair(free, nudged, layer) for layer in topology.state_layers}
        self.differences = {
            layer: arithmetic.signal(topology.sizes[layer], free.batch) for layer in topology.state_layers
        }
        joined = sorted({layer for edge in topology.recurrent for layer in edge})
        self.means = {layer: arithmetic.signal(topology.sizes[layer], free.batch) for layer in joined}

    def _pair(self, free: Phase, nudged: Phase, layer: int) -> tuple[Tensor, Tensor]:
        moved = nudged.states_by_copy[layer]
        second = moved.select(-2, 1) if self.estimate == "centred" else free.states[layer].value
        return moved.select(-2, 0), second

    def form(self, sign: int | Tensor) -> None:
        """Take differences and means of the states of both phases; `sign` is that of a random-sign nudge."""
        for layer, (first, second) in self._pairs.items():
            difference = self.differences[layer]
            if self.estimate == "linearised":
                torch.neg(first, out=difference.value)
            elif self.estimate == "negative":
                torch.sub(first, second, out=difference.value)
            else:
                torch.sub(second, first, out=difference.value)
                if self.estimate == "random-sign":
                    difference.value.mul_(sign)
            self.arithmetic.refresh(difference)
        for layer, mean in self.means.items():
            first, second = self._pairs[layer]
            if self.estimate == "linearised":
                mean.value.copy_(second)
            else:
                torch.add(first, second, out=mean.value).mul_(0.5)
            self.arithmetic.refresh(mean)

    def weight(self, source: int, target: int, x: Tensor, out: Tensor) -> None:
        """Store the raw sum of the weights from `source` to the state layer `target` in `out` (n_target, n_source).

        `x` is the operand of the input, (batch, n_0).
        """
        difference = self.differences[target].operand
        if source == 0:
            self.arithmetic.multiply(out, difference, x)
            return
        self.arithmetic.multiply(out, difference, self.means[source].operand.mT)
        self.arithmetic.accumulate(out, self.means[target].operand, self.differences[source].operand.mT)

    def bias(self, layer: int, out: Tensor) -> None:
        """Store the raw sum of the bias of a state layer in `out` (n_layer,)."""
        torch.sum(self.differences[layer].value, dim=-1, out=out)
