"""What every learner can do, whatever its rule, backend or arithmetic. Pure."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Protocol

from numpy.typing import NDArray

from kernels.diagnostics import Diagnostics

__all__ = ["DIVERGED_HINT", "Array", "Learner", "StepReport"]

DIVERGED_HINT = (
    "Lower the learning rate or beta, or cap the spectral norm; `diagnose` shows how the network settles."
)

# Arrays of any dtype cross this seam: parameters and scores are floats, counters are integers.
Array = NDArray[Any]


@dataclass(frozen=True, slots=True)
class StepReport:
    """What one training step did.

    `free_steps` and `nudged_steps` are the sweeps taken (0 for backpropagation); `residual` is the largest change
    of any state in the last free sweep, 0.0 where there was none; `finite` is False once the parameters that
    the step began with, or a state that it met, were not finite.
    """

    free_steps: int
    nudged_steps: int
    residual: float
    finite: bool


class Learner(Protocol):
    """A network that learns from batches."""

    def step(self, x: Array, y: Array, *, scale: float, sign: int = 1) -> StepReport:
        """Learn from a batch: `x` (b, n_0) float32, `y` (b,) int64 class numbers, b at most the learner's batch.

        `scale` multiplies the learning rate; `sign` (1 or -1) is the nudge's sign of the estimate "random-sign".
        """

    def predict(self, x: Array) -> Array:
        """Return scores (n, classes) for `x` (n, n_0), any n: logits, or the output state."""

    def parameters(self) -> dict[str, Array]:
        """Return copies of the parameters by name."""

    def state(self) -> dict[str, Array]:
        """Return copies of all that is needed to continue bit for bit."""

    def load(self, state: Mapping[str, Array]) -> None:
        """Continue from a `state`."""

    def diagnose(self, x: Array, y: Array) -> Diagnostics:
        """Return how the network settles on a batch and how large its weights and gradients are."""
