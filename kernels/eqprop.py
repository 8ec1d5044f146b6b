"""The learner of Equilibrium Propagation, on whichever backend serves."""

from collections.abc import Mapping

from kernels.backend import choose_backend
from kernels.diagnostics import Diagnostics
from kernels.learner import Array
from kernels.members import Member
from kernels.rules import ArithmeticName, OptimizerSettings, Rule
from kernels.topology import Topology

__all__ = ["EqpropLearner"]


class EqpropLearner:
    """A network that learns by Equilibrium Propagation (Scellier & Bengio 2017), without backpropagation."""

    def __init__(
        self,
        topology: Topology,
        parameters: Mapping[str, Array],
        rule: Rule,
        optimizer: OptimizerSettings,
        *,
        batch: int,
        arithmetic: ArithmeticName = "fp32",
        backend: str = "auto",
    ) -> None:
        rule.check(topology)
        chosen, self.refusals = choose_backend(backend, arithmetic)
        self.backend = chosen.name
        self._learner = chosen.learner(
            Member(topology, parameters, rule, optimizer, batch), arithmetic=arithmetic
        )
        self.step = self._learner.step

    def predict(self, x: Array) -> Array:
        """Return scores (n, classes) for `x` (n, n_0), any n: logits, or the output state."""
        return self._learner.predict(x)

    def parameters(self) -> dict[str, Array]:
        """Return copies of the parameters by name."""
        return self._learner.parameters()

    def state(self) -> dict[str, Array]:
        """Return copies of all that is needed to continue bit for bit."""
        return self._learner.state()

    def load(self, state: Mapping[str, Array]) -> None:
        """Continue from a `state`."""
        self._learner.load(state)

    def diagnose(self, x: Array, y: Array) -> Diagnostics:
        """Return how the network settles on a batch and how large its weights and gradients are."""
        return self._learner.diagnose(x, y)
