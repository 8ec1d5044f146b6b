"""What every learner can do, whatever its rule, backend or arithmetic. Pure."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from kernels.diagnostics import Diagnostics
from kernels.errors import KernelError
from kernels.rules import ARITHMETIC, ArithmeticName
from kernels.topology import Topology

__all__ = [
    "DIVERGED_HINT",
    "Array",
    "Learner",
    "StepReport",
    "check_labels",
    "check_learner",
    "check_rows",
    "check_state",
    "check_step",
]

DIVERGED_HINT = (
    "Lower the learning rate or beta, or cap the spectral norm; `diagnose` shows how the network settles."
)

LARGEST_BATCH = 2**20
LARGEST_PARAMETER = float(np.finfo(np.float32).max)

# Arrays of any dtype cross this seam: parameters and scores are floats, counters are integers.
Array = NDArray[Any]
Shape = tuple[int, ...]


@dataclass(frozen=True, slots=True)
class StepReport:
    """What one training step did.

    `free_steps` and `nudged_steps` are the sweeps taken (0 for backpropagation); `residual` is the largest change
    of any state in the last free sweep, 0.0 where there was none. `finite` is False where gradients were not
    finite, as after a NaN among the parameters that the step began with and read, or among the states that it met. An
    infinite parameter need not show, where a clip or the softmax keeps what follows finite; and what the step made of
    the parameters shows in the next one.
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
        """Return scores (n, classes) for `x` (n, n_0), any n: logits, or the output state.

        Where the free phase has a tolerance, samples that settle together stop together: those of a chunk of 256, or,
        in the reference, all of a call.
        """

    def parameters(self) -> dict[str, Array]:
        """Return copies of the parameters by name."""

    def state(self) -> dict[str, Array]:
        """Return copies of all that is needed to continue bit for bit."""

    def load(self, state: Mapping[str, Array]) -> None:
        """Continue from a `state`."""

    def diagnose(self, x: Array, y: Array) -> Diagnostics:
        """Return how the network settles on a batch and how large its weights and gradients are.

        The batch is one that `step` would take. What is not finite is a norm of NaN and the verdict "diverged".
        """


def check_learner(
    topology: Topology, parameters: Mapping[str, Array], *, batch: int, arithmetic: ArithmeticName
) -> None:
    """Raise KernelError unless a learner can be made of these parameters, batch size and arithmetic class."""
    if arithmetic not in ARITHMETIC:
        raise KernelError(f"arithmetic must be one of {', '.join(ARITHMETIC)}, got {arithmetic!r}.")
    if not 1 <= batch <= LARGEST_BATCH:
        raise KernelError(f"batch must lie in [1, {LARGEST_BATCH}], got {batch}.")
    for name, shape in topology.parameter_shapes.items():
        if name not in parameters or np.shape(parameters[name]) != shape:
            came = np.shape(parameters[name]) if name in parameters else "nothing"
            raise KernelError(f"parameter {name!r} must have the shape {shape}, got {came}.")
        check_finite(name, parameters[name])


def check_finite(name: str, values: Array) -> None:
    """Raise KernelError unless all `values` of a parameter are finite in float32."""
    fine = np.abs(np.asarray(values, dtype=np.float64)) <= LARGEST_PARAMETER
    if not fine.all():
        raise KernelError(
            f"{name!r} must hold finite numbers (of float32), got {fine.size - np.count_nonzero(fine)} of {fine.size} "
            "that are not. Begin from initial_parameters, or from a run that has not diverged."
        )


def check_state(expected: Mapping[str, Shape], state: Mapping[str, Array], parameters: Iterable[str]) -> None:
    """Raise KernelError unless `state` has the `expected` shapes by name, and finite values of `parameters`."""
    came = {name: np.shape(array) for name, array in state.items()}
    if came != expected:
        raise KernelError(
            f"this state belongs to another network or optimizer: expected {dict(expected)}, got {came}. "
            "Load it into a learner made as the one that saved it."
        )
    for name in parameters:
        check_finite(name, state[name])


def check_rows(rows: int, batch: int) -> None:
    """Raise KernelError unless a learner made for `batch` samples may take `rows`."""
    if not 1 <= rows <= batch:
        raise KernelError(
            f"a batch here has 1 to {batch} samples, got {rows}. Pass fewer, or make the learner for a larger batch."
        )


def check_step(rows: int, batch: int, scale: float, signs: Sequence[int] = (1,)) -> None:
    """Raise KernelError unless a step may take `rows` samples at `scale` times the learning rate."""
    check_rows(rows, batch)
    if not 0.0 <= scale <= 1.0:
        raise KernelError(f"scale, the share of the learning rate, must lie in [0, 1], got {scale}.")
    if any(sign not in (1, -1) for sign in signs):
        raise KernelError(f"sign must be 1 or -1, got {list(signs)}.")


def check_labels(y: Array, shape: tuple[int, ...]) -> None:
    """Raise KernelError unless `y` holds one whole number for each sample."""
    if y.shape != shape or y.dtype.kind not in "iu":
        raise KernelError(
            f"y must be one class number for each sample, integers of shape {shape}, got {y.dtype} {y.shape}."
        )
