"""The baseline: a ReLU network of the same shape, trained by backpropagation.

Nothing here is Equilibrium Propagation. The chain rule is written out by hand, in preallocated arrays and with
the optimizers of the EP learners, so that the two are compared by what they compute and not by overheads: a step
takes about four fifths of the time of torch's autograd with its fused Adam.
"""

import math
from collections.abc import Mapping
from functools import partial

import numpy as np
import torch
from torch import Tensor

from kernels.arithmetic import Arithmetic, Bfloat16, Op, run
from kernels.buffers import CHUNK, BySize, in_chunks
from kernels.diagnostics import Diagnostics
from kernels.errors import DivergedError, KernelError
from kernels.inputs import class_tensor, input_tensor, one_hot
from kernels.learner import DIVERGED_HINT, Array, StepReport, check_learner, check_rows, check_step
from kernels.making import make_optimizers
from kernels.parameters import Parameters
from kernels.rules import ArithmeticName, OptimizerSettings
from kernels.slots import load_state, read_state
from kernels.spectral import spectral_norm
from kernels.topology import Topology, bias_name, weight_name

__all__ = ["BackpropLearner"]

BACKEND = "torch-cpu"


class Pass:
    """The buffers of one batch size, and both passes over them written down once.

    The input is (batch, n_0), all else (units, batch).
    """

    def __init__(
        self, topology: Topology, arithmetic: Arithmetic, parameters: Parameters, batch: int
    ) -> None:
        self._topology = topology
        self._arithmetic = arithmetic
        self._parameters = parameters
        layers = range(1, topology.last + 1)
        self.x = arithmetic.input(batch, topology.sizes[0])
        self.target = arithmetic.zeros(topology.sizes[-1], batch)
        self._activity = {layer: arithmetic.signal(topology.sizes[layer], batch) for layer in layers}
        self._delta = {layer: arithmetic.signal(topology.sizes[layer], batch) for layer in layers}
        self.output = self._activity[topology.last].value
        self.forward: list[Op] = []
        for layer in layers:
            self.forward += self._forward(layer)
        self.backward = self._error()
        for layer in reversed(range(1, topology.last)):
            self.backward += self._pull_back(layer)
        for source, target in topology.connections:
            self.backward += self._weight_gradient(source, target)
        for layer in layers:
            out = parameters.gradient_views[bias_name(layer)]
            self.backward += [partial(torch.sum, self._delta[layer].value, dim=-1, out=out)]

    def _weight(self, source: int, target: int) -> Tensor:
        return self._parameters.views[weight_name(source, target)].operand

    def _forward(self, layer: int) -> list[Op]:
        value = self._activity[layer].value
        bias = self._parameters.views[bias_name(layer)].value.unsqueeze(-1)
        operations: list[Op] = [partial(value.copy_, bias)]
        for source, target in self._topology.connections:
            if target == layer and source == 0:
                operations += self._arithmetic.accumulate_input(value, self._weight(0, layer), self.x)
            elif target == layer:
                below = self._activity[source].operand
                operations += self._arithmetic.accumulate(value, self._weight(source, layer), below)
        if layer < self._topology.last:
            operations += [partial(value.clamp_min_, 0.0), *self._arithmetic.refresh(self._activity[layer])]
        return operations

    def _error(self) -> list[Op]:
        delta = self._delta[self._topology.last]
        if self._topology.has_readout:
            operations = self._arithmetic.softmax(delta.value, self.output)
        else:
            operations = [partial(delta.value.copy_, self.output)]
        return [*operations, partial(delta.value.sub_, self.target), *self._arithmetic.refresh(delta)]

    def _pull_back(self, layer: int) -> list[Op]:
        delta, activity = self._delta[layer], self._activity[layer].value
        operations: list[Op] = []
        for source, target in self._topology.connections:
            if source == layer:
                combine = self._arithmetic.accumulate if operations else self._arithmetic.multiply
                operations += combine(
                    delta.value, self._weight(layer, target).mT, self._delta[target].operand
                )
        gate = torch.ops.aten.threshold_backward.grad_input
        operations += [partial(gate, delta.value, activity, 0, grad_input=delta.value)]
        return [*operations, *self._arithmetic.refresh(delta)]

    def _weight_gradient(self, source: int, target: int) -> list[Op]:
        out = self._parameters.gradient_views[weight_name(source, target)]
        delta = self._delta[target].operand
        if source == 0:
            return self._arithmetic.multiply_input(out, delta, self.x)
        return self._arithmetic.multiply(out, delta, self._activity[source].operand.mT)


class BackpropLearner:
    """A feed-forward ReLU network that learns by backpropagation of the cross-entropy or the squared error.

    Its `Topology` means: hidden layers are ReLU (`clip` is not read), the output is linear. It runs on torch-cpu, which
    `backend` says; raises KernelError where another one is asked for.
    """

    def __init__(
        self,
        topology: Topology,
        parameters: Mapping[str, Array],
        optimizer: OptimizerSettings,
        *,
        batch: int,
        arithmetic: ArithmeticName = "fp32",
        backend: str = "auto",
    ) -> None:
        if backend not in ("auto", BACKEND):
            raise KernelError(
                f"backpropagation runs on {BACKEND} alone, got {backend!r}. Use that, or 'auto'."
            )
        self.backend = BACKEND
        check_learner(topology, parameters, batch=batch, arithmetic=arithmetic)
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
        self._passes = BySize(self._make_pass, batch)
        with torch.inference_mode():
            self._arithmetic = Bfloat16() if arithmetic == "bf16" else Arithmetic()
            self._parameters = Parameters(topology, self._arithmetic, [parameters])
            self._optimizers = make_optimizers(self._parameters, [optimizer], units=[1.0 / batch])
        self._refresh = self._arithmetic.refresh(self._parameters.flat)
        self._bias_gradient = self._parameters.gradient[self._parameters.bias_start :]

    def _make_pass(self, rows: int) -> Pass:
        return Pass(self._topology, self._arithmetic, self._parameters, rows)

    def _gradient(self, x: Tensor, y: Tensor) -> None:
        buffers = self._passes[x.shape[0]]
        self._arithmetic.take(buffers.x, x)
        one_hot(buffers.target, y)
        run(buffers.forward)
        run(buffers.backward)

    @torch.inference_mode()
    def step(self, x: Array, y: Array, *, scale: float, sign: int = 1) -> StepReport:  # noqa: ARG002
        """Learn from a batch by backpropagation; `sign` has no meaning here and is not read."""
        if self._failed_at:
            raise DivergedError("activities or parameters were", self._failed_at, DIVERGED_HINT)
        inputs = input_tensor(x, self._topology.sizes[0])
        rows = inputs.shape[0]
        check_step(rows, self._batch, scale)
        self._gradient(inputs, class_tensor(y, (rows,)))
        if rows != self._batch:
            self._parameters.gradient.mul_(self._batch / rows)
        for optimizer in self._optimizers:
            optimizer.update(scale)
        run(self._refresh)
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
        buffers = self._passes[CHUNK]
        for rows, chunk in in_chunks(inputs):
            self._arithmetic.take(buffers.x, chunk)
            run(buffers.forward)
            scores[rows] = buffers.output.T[: rows.stop - rows.start].numpy()
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
        """Return weight and gradient norms; a feed-forward network has nothing to settle.

        Raises KernelError for a batch that no step would take.
        """
        inputs = input_tensor(x, self._topology.sizes[0])
        check_rows(inputs.shape[0], self._batch)
        self._gradient(inputs, class_tensor(y, (inputs.shape[0],)))
        unit = 1.0 / inputs.shape[0]
        gradients = self._parameters.gradient_views
        norms = {name: float(gradient.double().norm()) * unit for name, gradient in gradients.items()}
        healthy = all(math.isfinite(norm) for norm in norms.values())
        healthy = healthy and bool(torch.isfinite(self._parameters.flat.value).all())
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
