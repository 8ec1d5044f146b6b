"""Many same-shaped networks trained as one batch of products.

Small networks are too small to keep a core busy: 64-64-10 trains 2 to 5 times as fast in groups of 16 to 64. Wide
ones (784-128 and up) gain nothing.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np
import torch
from numpy.typing import NDArray

from kernels.backends.graph import fastest_step
from kernels.backends.probe import full_precision
from kernels.engine import Engine
from kernels.errors import KernelError
from kernels.inputs import class_tensor, input_tensor
from kernels.learner import Array
from kernels.rules import ArithmeticName, OptimizerSettings, Rule
from kernels.topology import Topology

__all__ = ["PopulationLearner", "PopulationReport"]


@dataclass(frozen=True, slots=True)
class PopulationReport:
    """What one step did: the sweeps taken, and whether each network's numbers (P,) were finite."""

    free_steps: int
    nudged_steps: int
    finite: NDArray[np.bool_]


class PopulationLearner:
    """P networks of one topology, each with its own parameters, batches, beta, rates, momentum, decay and cap.

    The rules must agree in all but beta, and take fixed numbers of steps; the settings in the optimizer's name,
    Newton-Schulz steps and whether there is a cap. In "exact-1" a network's result depends on its own arguments
    alone, not on its slot, its neighbours or the device, and equals that of an `EqpropLearner`. `device` is the CPU
    or a CUDA device, where steps are CUDA graphs; arrays come from the host and go back to it.
    """

    def __init__(
        self,
        topology: Topology,
        parameters: Sequence[Mapping[str, Array]],
        rules: Sequence[Rule],
        optimizers: Sequence[OptimizerSettings],
        *,
        batch: int,
        arithmetic: ArithmeticName = "fp32",
        device: str | torch.device = "cpu",
    ) -> None:
        self.size = len(parameters)
        check_population(self.size, rules, optimizers)
        if arithmetic == "bf16":
            raise KernelError("a population runs in fp32 or exact-1: networks this small are slower in bf16.")
        if torch.device(device).type != "cpu":
            full_precision()
        with torch.inference_mode():
            self._engine = Engine(
                topology,
                parameters,
                rules,
                optimizers,
                batch=batch,
                arithmetic=arithmetic,
                population=self.size,
                device=device,
            )
        self._advance = fastest_step(self._engine)

    def step(
        self, x: Array, y: Array, *, scale: float, signs: Sequence[int] | None = None
    ) -> PopulationReport:
        """Learn from one batch for each network: `x` (P, b, n_0) float32, `y` (P, b) int64.

        `signs` (1 or -1 for each network) are those of the estimate "random-sign"; 1 where None.
        """
        inputs = input_tensor(x, self._engine.topology.sizes[0], (self.size,))
        classes = class_tensor(y, inputs.shape[:2])
        if signs is not None and len(signs) != self.size:
            raise KernelError(f"signs must be one for each of {self.size} networks, got {len(signs)}.")
        sign = torch.tensor([1] * self.size if signs is None else [*signs]).view(-1, 1, 1)
        free, nudged, health = self._advance(inputs, classes, scale=scale, sign=sign)
        return PopulationReport(free.steps, nudged.steps, np.isfinite(health.numpy(force=True)))

    def predict(self, x: Array) -> Array:
        """Return scores (P, n, classes) for `x` (P, n, n_0), any n."""
        return np.asarray(self._engine.scores(input_tensor(x, self._engine.topology.sizes[0], (self.size,))))

    def parameters(self) -> list[dict[str, Array]]:
        """Return copies of the parameters of each network by name."""
        return [self._engine.parameters.read(index) for index in range(self.size)]

    def state(self) -> dict[str, Array]:
        """Return copies of all that is needed to continue bit for bit."""
        return self._engine.state()

    def load(self, state: Mapping[str, Array]) -> None:
        """Continue from a `state`."""
        self._engine.load(state)


def check_population(size: int, rules: Sequence[Rule], settings: Sequence[OptimizerSettings]) -> None:
    """Raise KernelError where `size` networks cannot be trained side by side."""
    if not size or len(rules) != size or len(settings) != size:
        raise KernelError(
            f"a population needs one rule and optimizer each for {size} networks, at least one."
        )
    if any(replace(rule, beta=rules[0].beta) != rules[0] for rule in rules):
        raise KernelError("the rules of a population may differ in beta alone.")
    if rules[0].free.tolerance or rules[0].nudged.tolerance:
        raise KernelError("a population takes fixed numbers of steps: tolerance must be 0.")
    kinds = {(each.name, each.ns_steps, each.rank_fraction, each.spectral_cap is None) for each in settings}
    if len(kinds) > 1:
        raise KernelError(f"the optimizers of a population must be of one kind, got {sorted(kinds)}.")
