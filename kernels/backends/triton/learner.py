"""One network on the Triton kernels: a population of one that takes its batches from the host."""

from collections.abc import Mapping

import numpy as np
import torch

from kernels.backends.torch_backend import TorchLearner
from kernels.backends.triton.population import TritonPopulation
from kernels.diagnostics import Diagnostics
from kernels.errors import DivergedError
from kernels.initial import initial_parameters
from kernels.inputs import class_tensor, classes_on, input_tensor
from kernels.learner import DIVERGED_HINT, Array, StepReport, check_step
from kernels.members import Member, Span
from kernels.rules import ArithmeticName, OptimizerSettings, Rule
from kernels.topology import Topology

__all__ = ["TritonLearner"]


class TritonLearner:
    """A network that learns by Equilibrium Propagation on `device`, in fp32 or with states in fp16.

    Raises KernelError for what the kernels do not do: skips, the linearised estimate, synchronous relaxation, a
    tolerance, muon, spectral caps and other arithmetic classes.
    """

    def __init__(
        self,
        topology: Topology,
        parameters: Mapping[str, Array],
        rule: Rule,
        optimizer: OptimizerSettings,
        *,
        batch: int,
        arithmetic: ArithmeticName = "fp32",
        device: str | torch.device = "cuda",
    ) -> None:
        self._member = Member(topology, parameters, rule, optimizer, batch)
        self._population = TritonPopulation.of([self._member], arithmetic=arithmetic, device=device)
        self._x = np.zeros((batch, topology.sizes[0]), dtype=np.float32)
        self._y = np.zeros(batch, dtype=np.int64)
        self._failed_at = 0
        self._steps = 0

    def step(self, x: Array, y: Array, *, scale: float, sign: int = 1) -> StepReport:
        """Learn from a batch; raises DivergedError once an earlier step was not finite."""
        if self._failed_at:
            raise DivergedError("states or parameters were", self._failed_at, DIVERGED_HINT)
        sizes = self._member.topology.sizes
        inputs = input_tensor(x, sizes[0])
        classes = classes_on(torch.device("cpu"), class_tensor(y, (len(inputs),)), sizes[-1])
        rows = len(inputs)
        check_step(rows, self._member.batch, scale, [sign])
        self._x[:rows], self._y[:rows] = inputs.numpy(), classes.numpy()
        self._population.hold(self._x, self._y)
        order = np.arange(self._member.batch, dtype=np.int32)
        order[rows:] = -1
        report = self._population.run(
            [Span(order[None], np.array([scale]), np.array([sign], dtype=np.int8))]
        )[0]
        self._steps += 1
        if report.failed_at:
            self._failed_at = self._steps
        return StepReport(
            int(report.free_steps), int(report.nudged_steps), report.residual, finite=not report.failed_at
        )

    def predict(self, x: Array) -> Array:
        """Return scores (n, classes) for `x` (n, n_0), any n: logits, or the output state."""
        return self._population.predict(x)[0]

    def parameters(self) -> dict[str, Array]:
        """Return copies of the parameters by name, float32."""
        return self._population.parameters(0)

    def state(self) -> dict[str, Array]:
        """Return copies of all that is needed to continue bit for bit on the same device."""
        return self._population.state(0)

    def load(self, state: Mapping[str, Array]) -> None:
        """Continue from a `state` of a learner made as this one; raises KernelError for another."""
        self._population.load(0, state)
        self._steps = int(state["step"])
        self._failed_at = 0

    def diagnose(self, x: Array, y: Array) -> Diagnostics:
        """Return how the network settles on a batch and how large its weights and gradients are.

        The network is watched on the CPU, in fp32, with the parameters that it has here.
        """
        member = self._member
        # Made from other parameters, for those of a network that has diverged would be refused.
        watcher = TorchLearner(
            member.topology,
            initial_parameters(member.topology, bytes(32), 1.0),
            member.rule,
            member.optimizer,
            batch=member.batch,
        )
        with torch.inference_mode():
            watcher.engine.parameters.assign([self.parameters()])
        return watcher.diagnose(x, y)
