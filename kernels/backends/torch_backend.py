"""One network with torch, on the CPU or another device."""

import math
from collections.abc import Mapping

import numpy as np
import torch
from torch import Tensor

from kernels.diagnostics import Diagnostics
from kernels.engine import Engine
from kernels.errors import DivergedError
from kernels.inputs import class_tensor, input_tensor
from kernels.learner import DIVERGED_HINT, Array, StepReport
from kernels.observe import observe
from kernels.rules import ArithmeticName, OptimizerSettings, Rule
from kernels.topology import Topology

__all__ = ["TorchLearner"]


class TorchLearner:
    """A network that learns by Equilibrium Propagation."""

    def __init__(
        self,
        topology: Topology,
        parameters: Mapping[str, Array],
        rule: Rule,
        optimizer: OptimizerSettings,
        *,
        batch: int,
        arithmetic: ArithmeticName = "fp32",
        device: str | torch.device = "cpu",
    ) -> None:
        with torch.inference_mode():
            self.engine = Engine(
                topology,
                [parameters],
                [rule],
                [optimizer],
                batch=batch,
                arithmetic=arithmetic,
                population=None,
                device=device,
            )
        self._advance = self.engine.step
        self._failed_at = 0

    def _inputs(self, x: Array) -> Tensor:
        return input_tensor(x, self.engine.topology.sizes[0])

    def step(self, x: Array, y: Array, *, scale: float, sign: int = 1) -> StepReport:
        """Learn from a batch; raises DivergedError once an earlier step was not finite."""
        if self._failed_at:
            raise DivergedError("states or parameters were", self._failed_at, DIVERGED_HINT)
        inputs = self._inputs(x)
        classes = class_tensor(y, (inputs.shape[0],))
        free, nudged, health = self._advance(inputs, classes, scale=scale, sign=sign)
        finite = math.isfinite(health)
        if not finite:
            self._failed_at = self.engine.steps
        return StepReport(free.steps, nudged.steps, free.residual, finite)

    def predict(self, x: Array) -> Array:
        """Return scores (n, classes) for `x` (n, n_0), any n: logits, or the output state."""
        return np.asarray(self.engine.scores(self._inputs(x)).numpy())

    def parameters(self) -> dict[str, Array]:
        """Return copies of the parameters by name."""
        return self.engine.parameters.read(0)

    def state(self) -> dict[str, Array]:
        """Return copies of all that is needed to continue bit for bit."""
        return self.engine.state()

    def load(self, state: Mapping[str, Array]) -> None:
        """Continue from a `state`."""
        self.engine.load(state)
        self._failed_at = 0

    def diagnose(self, x: Array, y: Array) -> Diagnostics:
        """Return how the network settles on a batch and how large its weights and gradients are."""
        inputs = self._inputs(x)
        return observe(self.engine, inputs, class_tensor(y, (inputs.shape[0],)))
