"""Predictive coding: layers predict the next, and errors settle (Rao & Ballard 1999; Whittington & Bogacz 2017)."""

from dataclasses import dataclass

import torch
from torch import Tensor

from kernels.general.estimators import Learned, Update, added, bias_sum
from kernels.general.network import Network, States, softmax
from kernels.rules import Relaxation
from kernels.topology import bias_name

__all__ = ["Predictive"]


@dataclass(frozen=True)
class Predictive:
    """F = sum_l |e_l|^2/2 with e_l = s_l - rho(u_l), u_l = W_l s_{l-1} + b_l, and the output held at its target.

    Values settle by s_l <- s_l - eps (e_l - W_{l+1}^T (rho'(u_{l+1}) e_{l+1})), all layers at once, eps being the
    `step_size` of the relaxation; then dW_l = -(rho'(u_l) e_l) s_{l-1}^T. With the first values on the feed-forward
    pass, errors reach layer l after L - l steps. It approaches backpropagation as errors become small, and is not the
    gradient otherwise. A prediction is the feed-forward pass. Of a softmax readout the error is y - p.
    """

    inference: Relaxation

    def settle(self, network: Network, x: Tensor) -> States:
        """Return the feed-forward states."""
        return network.feed_forward(x)

    def learn(self, network: Network, x: Tensor, y: Tensor, update: Update, *, sign: int) -> Learned:  # noqa: ARG002
        """Let values and errors settle, and descend what is left."""
        start = network.feed_forward(x)
        values = {layer: start[layer] for layer in range(1, network.last)}
        residual = 0.0
        for _ in range(self.inference.steps):
            errors, pulled = self._errors(network, x, y, values)
            new = {}
            for layer, s in values.items():
                step = errors[layer]
                for coupling in network.couplings:
                    if coupling.source == layer:
                        step = step - coupling.down(pulled[coupling.target], s)
                new[layer] = s - self.inference.step_size * step
            change = torch.stack([(new[layer] - values[layer]).abs().amax() for layer in new])
            residual, values = float(change.amax()), new
        _, pulled = self._errors(network, x, y, values)
        gradient: dict[str, Tensor] = {}
        for coupling in network.couplings:
            low = network.layer(values, x, coupling.source)
            added(gradient, coupling.name, coupling.product(low, pulled[coupling.target]) * (-1.0 / len(x)))
        for layer in range(1, network.last + 1):
            gradient[bias_name(layer)] = bias_sum(pulled[layer]) * (-1.0 / len(x))
        update(gradient)
        return Learned(0, self.inference.steps, residual, start)

    def _errors(self, network: Network, x: Tensor, y: Tensor, values: States) -> tuple[States, States]:
        """Return e_l, and rho'(u_l) e_l: what an error sends down."""
        errors, pulled = {}, {}
        for layer in range(1, network.last + 1):
            u = network.from_below(values, x, layer)
            if layer == network.last:
                errors[layer] = pulled[layer] = y - (softmax(u) if network.output == "ce" else u)
            else:
                predicted = network.activation.apply(u)
                errors[layer] = values[layer] - predicted
                pulled[layer] = network.activation.slope(predicted) * errors[layer]
        return errors, pulled
