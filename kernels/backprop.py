"""The baseline: a ReLU network of the same shape, trained by backpropagation.

Nothing here is Equilibrium Propagation. The chain rule is written out by hand, in preallocated arrays and with
the optimizers of the EP learners, so that the two are compared by what they compute and not by overheads: a step
takes about four fifths of the time of torch's autograd with its fused Adam.
"""

import math
from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from kernels.arithmetic import Arithmetic, Bfloat16, Signal
from kernels.diagnostics import Diagnostics
from kernels.errors import DivergedError, KernelError
from kernels.inputs import class_tensor, input_tensor, one_hot
from kernels.learner import DIVERGED_HINT, Array, StepReport
from kernels.making import make_optimizers
from kernels.parameters import Parameters
from kernels.rules import ArithmeticName, OptimizerSettings
from kernels.slots import load_state, read_state
from kernels.spectral import spectral_norm
from kernels.topology import Topology, bias_name, weight_name

__all__ = ["BackpropLearner"]

CHUNK = 256


@dataclass(frozen=True)
class Pass:
    """The buffers of one batch size: activities and their derivatives by layer, and the one-hot target.

    The input is (batch, n_0), all else (units, batch).
    """

    activity: dict[int, Signal]
    delta: dict[int, Signal]
    target: Tensor


class BackpropLearner:
    """A feed-forward ReLU network that learns by backpropagation of the cross-entropy or the squared error.

    Its `Topology` means: hidden layers are ReLU (`clip` is not read), the output is linear.
    """

    def __init__(
        self,
        topology: Topology,
        parameters: Mapping[str, Array],
        optimizer: OptimizerSettings,
        *,
        batch: int,
        arithmetic: ArithmeticName = "fp32",
    ) -> None:
        if arithmetic == "exact-1":
            raise KernelError("exact-1 is for Equilibrium Propagation; backpropagation runs in fp32 or bf16.")
        if optimizer.spectral_cap is not None:
            raise KernelError(
                "spectral_cap bounds state-to-state weights; a backpropagation network has none."
            )
        self._topology = topology
        self._batch = batch
        self._failed_at = 0
        self._steps = 0
        self._passes: dict[int, Pass] = {}
        with torch.inference_mode():
            self._arithmetic = Bfloat16() if arithmetic == "bf16" else Arithmetic()
            self._parameters = Parameters(topology, self._arithmetic, [parameters])
            self._optimizers = make_optimizers(self._parameters, [optimizer], units=[1.0 / batch])
        self._bias_gradient = self._parameters.gradient[self._parameters.bias_start :]
        weights, gradients = self._parameters.views, self._parameters.gradient_views
        self._biases = {
            layer: weights[bias_name(layer)].value.unsqueeze(-1) for layer in range(1, topology.last + 1)
        }
        self._bias_gradients = {layer: gradients[bias_name(layer)] for layer in self._biases}
        self._edges = [
            (
                source,
                target,
                weights[weight_name(source, target)].operand,
                gradients[weight_name(source, target)],
            )
            for source, target in topology.connections
        ]

    def _pass(self, rows: int) -> Pass:
        if rows not in self._passes:
            sizes, make = self._topology.sizes, self._arithmetic.signal
            self._passes[rows] = Pass(
                {0: make(rows, sizes[0])} | {layer: make(sizes[layer], rows) for layer in self._biases},
                {layer: make(sizes[layer], rows) for layer in self._biases},
                self._arithmetic.zeros(sizes[-1], rows),
            )
        return self._passes[rows]

    def _forward(self, x: Tensor, activity: dict[int, Signal]) -> None:
        self._arithmetic.take(activity[0], x)
        for layer, bias in self._biases.items():
            value = activity[layer].value
            value.copy_(bias)
            for source, target, weight, _ in self._edges:
                if target == layer:
                    below = activity[source].operand
                    self._arithmetic.accumulate(value, weight, below if source else below.mT)
            if layer < self._topology.last:
                value.clamp_min_(0.0)
                self._arithmetic.refresh(activity[layer])

    def _gradient(self, x: Tensor, y: Tensor) -> None:
        buffers = self._pass(x.shape[0])
        activity, delta = buffers.activity, buffers.delta
        self._forward(x, activity)
        last = self._topology.last
        one_hot(buffers.target, y)
        if self._topology.has_readout:
            self._arithmetic.softmax(delta[last].value, activity[last].value)
        else:
            delta[last].value.copy_(activity[last].value)
        delta[last].value.sub_(buffers.target)
        self._arithmetic.refresh(delta[last])
        for layer in range(last - 1, 0, -1):
            self._pull_back(layer, activity, delta)
        for source, target, _, gradient in self._edges:
            below = activity[source].operand
            self._arithmetic.multiply(gradient, delta[target].operand, below.mT if source else below)
        for layer, gradient in self._bias_gradients.items():
            torch.sum(delta[layer].value, dim=-1, out=gradient)

    def _pull_back(self, layer: int, activity: dict[int, Signal], delta: dict[int, Signal]) -> None:
        value, first = delta[layer].value, True
        for source, target, weight, _ in self._edges:
            if source == layer:
                combine = self._arithmetic.multiply if first else self._arithmetic.accumulate
                combine(value, weight.mT, delta[target].operand)
                first = False
        torch.ops.aten.threshold_backward.grad_input(value, activity[layer].value, 0, grad_input=value)
        self._arithmetic.refresh(delta[layer])

    @torch.inference_mode()
    def step(self, x: Array, y: Array, *, scale: float, sign: int = 1) -> StepReport:  # noqa: ARG002
        """Learn from a batch by backpropagation; `sign` has no meaning here and is not read."""
        if self._failed_at:
            raise DivergedError("activities or parameters were", self._failed_at, DIVERGED_HINT)
        inputs = input_tensor(x, self._topology.sizes[0])
        rows = inputs.shape[0]
        if not 1 <= rows <= self._batch:
            raise KernelError(f"a batch here has 1 to {self._batch} samples, got {rows}.")
        self._gradient(inputs, class_tensor(y, (rows,)))
        if rows != self._batch:
            self._parameters.gradient.mul_(self._batch / rows)
        for optimizer in self._optimizers:
            optimizer.update(scale)
        self._arithmetic.refresh(self._parameters.flat)
        self._steps += 1
        finite = math.isfinite(float(self._bias_gradient.sum()))
        if not finite:
            self._failed_at = self._steps
        return StepReport(0, 0, 0.0, finite)

    @torch.inference_mode()
    def predict(self, x: Array) -> Array:
        """Return the output layer (n, classes) for `x` (n, n_0), any n."""
        inputs = input_tensor(x, self._topology.sizes[0])
        scores = np.empty((inputs.shape[0], self._topology.sizes[-1]), dtype=np.float32)
        padded = torch.zeros(CHUNK, inputs.shape[1])
        activity = self._pass(CHUNK).activity
        for start in range(0, len(scores), CHUNK):
            part = inputs[start : start + CHUNK]
            padded[: len(part)] = part
            self._forward(padded, activity)
            scores[start : start + CHUNK] = activity[self._topology.last].value.T[: len(part)].numpy()
        return scores

    def parameters(self) -> dict[str, Array]:
        """Return copies of the parameters by name."""
        return self._parameters.read(0)

    def state(self) -> dict[str, Array]:
        """Return copies of all that is needed to continue bit for bit."""
        return read_state(self._parameters, self._optimizers, self._steps)

    @torch.inference_mode()
    def load(self, state: Mapping[str, Array]) -> None:
        """Continue from a `state`; raises KernelError for one of another network or optimizer."""
        self._steps = load_state(self._parameters, self._optimizers, state)
        self._failed_at = 0

    @torch.inference_mode()
    def diagnose(self, x: Array, y: Array) -> Diagnostics:
        """Return weight and gradient norms; a feed-forward network has nothing to settle."""
        inputs = input_tensor(x, self._topology.sizes[0])
        self._gradient(inputs, class_tensor(y, (inputs.shape[0],)))
        unit = 1.0 / inputs.shape[0]
        gradients = self._parameters.gradient_views
        norms = {name: float(gradient.double().norm()) * unit for name, gradient in gradients.items()}
        healthy = all(math.isfinite(norm) for norm in norms.values())
        weights = {name: view.value for name, view in self._parameters.views.items() if view.value.dim() == 2}
        return Diagnostics(
            free_energy=(),
            free_residual=(),
            nudged_energy=(),
            nudged_residual=(),
            spectral_norms={name: float(spectral_norm(weight)) for name, weight in weights.items()},
            gradient_norms=norms,
            verdict="converged" if healthy else "diverged",
            period=None,
        )
