"""Learning where samples count by weights: the credit of a policy's actions, and of a value's targets.

The cost is mean_i w_i C_i, with weights of either sign: sample i is nudged by +-beta w_i, so that an action with a
positive advantage pulls the readout towards itself and one with a negative advantage pushes it away. With C the
cross-entropy of the action taken and w its advantage, the centred estimate is that of the policy gradient
-mean_i A_i grad log p(a_i | s_i) (Williams 1992; Sutton et al. 2000) as beta goes to 0.
"""

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Protocol

import numpy as np
import torch
from torch import Tensor

from kernels.arithmetic import Arithmetic
from kernels.errors import DivergedError, KernelError
from kernels.general.activations import make_activation
from kernels.general.estimators import added, bias_sum, contrast
from kernels.general.network import Network, Nudge, States
from kernels.general.structure import DenseStructure
from kernels.learner import DIVERGED_HINT, Array, check_finite
from kernels.making import make_optimizers
from kernels.parameters import Parameters
from kernels.rules import OptimizerSettings, Relaxation
from kernels.spectral import make_cap
from kernels.topology import Topology, bias_name

__all__ = ["ChainRule", "Credit", "EquilibriumCredit", "WeightedLearner"]


class Credit(Protocol):
    """How blame for a weighted cost finds its way to the weights."""

    def settle(self, network: Network, x: Tensor) -> States:
        """Return the states from which scores are read; of a squared error the output's are among them."""

    def gradient(self, network: Network, x: Tensor, y: Tensor, weights: Tensor) -> dict[str, Tensor]:
        """Return the gradient of mean_i w_i C_i: `y` (b, outputs) targets, `weights` (b, 1)."""

    def check(self, output: str, largest: float) -> None:
        """Raise KernelError where weights up to `largest` in magnitude are too much for a network's output."""


def readout(network: Network, x: Tensor, states: States, y: Tensor, weights: Tensor) -> Tensor:
    """Return w (prediction - y)/b, (b, outputs): what a weighted cost pushes the output by."""
    return weights * (network.prediction(states, x) - y) / len(x)


def into(network: Network, x: Tensor, states: States, layer: int, delta: Tensor) -> dict[str, Tensor]:
    """Return delta s_k^T for all that feeds `layer`, and the sum of delta for its bias."""
    found: dict[str, Tensor] = {bias_name(layer): bias_sum(delta)}
    for coupling in network.couplings:
        if coupling.target == layer:
            added(found, coupling.name, coupling.product(network.layer(states, x, coupling.source), delta))
    return found


@dataclass(frozen=True)
class EquilibriumCredit:
    """Centred Equilibrium Propagation (Laborieux et al. 2021, eq. 10), each sample nudged by +-beta w.

    What a weight learns reads the states of the two layers that it joins alone; no graph is recorded.
    """

    beta: float
    free: Relaxation
    nudged: Relaxation

    def __post_init__(self) -> None:
        if not (math.isfinite(self.beta) and self.beta > 0):
            raise KernelError(f"beta must be finite and above 0, got {self.beta}.")
        if self.nudged.steps < 1:
            raise KernelError("the nudged phase needs at least 1 step, got 0.")

    def settle(self, network: Network, x: Tensor) -> States:
        """Return the states at the end of the free phase."""
        return network.relax(network.feed_forward(x), x, Nudge(), self.free).states

    def gradient(self, network: Network, x: Tensor, y: Tensor, weights: Tensor) -> dict[str, Tensor]:
        """Return the contrast of the two nudged phases over 2 beta; a softmax readout learns at the free states."""
        free = self.settle(network, x)
        reach = self.beta * weights
        above = network.relax(free, x, Nudge(y, reach), self.nudged).states
        below = network.relax(free, x, Nudge(y, -reach), self.nudged).states
        found = contrast(network, x, above, below, 2.0 * self.beta)
        if network.output == "ce":
            found |= into(network, x, free, network.last, readout(network, x, free, y, weights))
        return found

    def check(self, output: str, largest: float) -> None:
        """Raise KernelError where a nudged output state would divide by less than half: beta |w| must be below .5."""
        if output == "mse" and not self.beta * largest < 0.5:
            raise KernelError(
                "with an mse output beta times the largest weight must be below 0.5 (the nudged output divides by "
                f"1 + beta w), got {self.beta:g} x {largest:g}. Scale the weights down, or use a smaller beta."
            )


@dataclass(frozen=True)
class ChainRule:
    """The baseline: the same weights and activations run forwards once, and the chain rule written out by hand.

    Exact, and not local: the error of each layer is carried down from the one above.
    """

    def settle(self, network: Network, x: Tensor) -> States:
        """Return the activities of one forward pass."""
        return network.feed_forward(x)

    def gradient(self, network: Network, x: Tensor, y: Tensor, weights: Tensor) -> dict[str, Tensor]:
        """Return the exact gradient of the forward network."""
        return self.pulled_back(network, x, self.settle(network, x), y, weights)

    def pulled_back(
        self, network: Network, x: Tensor, states: States, y: Tensor, weights: Tensor
    ) -> dict[str, Tensor]:
        """Return the gradient at the activities `states` of a forward pass."""
        deltas = {network.last: readout(network, x, states, y, weights)}
        found = into(network, x, states, network.last, deltas[network.last])
        for layer in reversed(range(1, network.last)):
            pulled = torch.zeros_like(states[layer])
            for coupling in network.couplings:
                if coupling.source == layer:
                    pulled = pulled + coupling.down(deltas[coupling.target], states[layer])
            deltas[layer] = network.activation.slope(states[layer]) * pulled
            found |= into(network, x, states, layer, deltas[layer])
        return found

    def check(self, output: str, largest: float) -> None:
        """Accept any weights: nothing settles here."""


class WeightedLearner:
    """A dense network that learns from batches whose samples count by weights of either sign.

    Targets are arrays (b, outputs): one-hot actions for a "ce" output, numbers for an "mse" one. `parameters` are those
    of the topology. `precision` is float32 where left out. Raises KernelError for what does not fit.
    """

    def __init__(
        self,
        topology: Topology,
        parameters: Mapping[str, Array],
        credit: Credit,
        optimizer: OptimizerSettings,
        *,
        activation: str = "tanh",
        precision: Arithmetic | None = None,
    ) -> None:
        self.topology, self._credit = topology, credit
        self._arithmetic = precision or Arithmetic()
        self._steps = self._failed_at = 0
        for name, shape in topology.parameter_shapes.items():
            came = np.shape(parameters[name]) if name in parameters else "nothing"
            if came != shape:
                raise KernelError(f"parameter {name!r} must have the shape {shape}, got {came}.")
            check_finite(name, parameters[name])
        structure = DenseStructure(topology)
        with torch.inference_mode():
            self._parameters = Parameters(topology, self._arithmetic, [parameters])
            self._optimizers = make_optimizers(self._parameters, [optimizer], units=[1.0])
            self._caps = [
                make_cap(self._parameters.views[weight.name].value, [optimizer.spectral_cap])
                for weight in structure.weights
                if weight.recurrent and optimizer.spectral_cap is not None
            ]
            views = {name: view.value for name, view in self._parameters.views.items()}
            self._network = Network(
                topology.last,
                topology.output,
                structure.couplings(views),
                {layer: views[bias_name(layer)] for layer in structure.biases},
                make_activation(activation, ceiling=topology.clip),
            )

    def _tensor(self, name: str, array: Array, columns: int, rows: int | None = None) -> Tensor:
        if array.ndim != 2 or array.shape[1] != columns or rows not in (None, len(array)):
            asked = ("samples" if rows is None else rows, columns)
            raise KernelError(f"{name} must have the shape {asked}, got {array.shape}.")
        return torch.from_numpy(np.ascontiguousarray(array)).to(self._arithmetic.dtype)

    def _formed(self, x: Array, y: Array, weights: Array) -> dict[str, Tensor]:
        assert torch.is_inference_mode_enabled(), "a local rule never records a graph"
        inputs = self._tensor("x", x, self.topology.sizes[0])
        rows = len(inputs)
        if not rows:
            raise KernelError("a batch needs at least 1 sample, got 0.")
        targets = self._tensor("y", y, self.topology.sizes[-1], rows)
        counted = self._tensor("weights", np.reshape(weights, (-1, 1)), 1, rows)
        largest = float(counted.abs().amax())
        if not math.isfinite(largest):
            raise KernelError(
                "weights must be finite, got NaN or infinity. Look at how advantages were formed."
            )
        self._credit.check(self.topology.output, largest)
        return self._credit.gradient(self._network, inputs, targets, counted)

    @torch.inference_mode()
    def gradient(self, x: Array, y: Array, weights: Array) -> dict[str, Array]:
        """Return the gradient that a step would descend, by name; `weights` is (b,)."""
        return {name: part.numpy().copy() for name, part in self._formed(x, y, weights).items()}

    @torch.inference_mode()
    def step(self, x: Array, y: Array, weights: Array, *, scale: float = 1.0) -> None:
        """Descend mean_i w_i C_i once, at `scale` times the rate.

        `x` is (b, inputs), `y` (b, outputs), `weights` (b,). Raises DivergedError where the gradient is not finite:
        the parameters then stay as they were, and no further step is taken.
        """
        if self._failed_at:
            raise DivergedError("states or parameters were", self._failed_at, DIVERGED_HINT)
        self._steps += 1
        gradient = self._formed(x, y, weights)
        for name, view in self._parameters.gradient_views.items():
            view.copy_(gradient[name])
        if not bool(torch.isfinite(self._parameters.gradient).all()):
            self._failed_at = self._steps
            raise DivergedError("the gradient was", self._steps, DIVERGED_HINT)
        for optimizer in self._optimizers:
            optimizer.update(scale)
        for cap in self._caps:
            cap.apply()

    @torch.inference_mode()
    def scores(self, x: Array) -> Array:
        """Return logits, or output states, (n, outputs) for `x` (n, inputs)."""
        inputs = self._tensor("x", x, self.topology.sizes[0])
        states = self._credit.settle(self._network, inputs)
        return np.asarray(self._network.scores(states, inputs).numpy())

    def parameters(self) -> dict[str, Array]:
        """Return copies of the parameters by name."""
        return self._parameters.read(0)
