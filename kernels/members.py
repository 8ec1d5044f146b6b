"""Populations: networks that are trained side by side over spans of steps, whatever does the arithmetic.

A member's results depend on that member alone, never on its slot or on its neighbours. Loads torch only in
`population_of`.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from kernels.errors import KernelError
from kernels.learner import Array, check_labels, check_step
from kernels.rules import ArithmeticName, OptimizerSettings, Rule
from kernels.topology import Topology

__all__ = ["Member", "Population", "Span", "SpanReport", "check_data", "check_spans", "population_of"]


@dataclass(frozen=True)
class Member:
    """One network of a population: what a learner of it would be made from.

    `batch` is the most samples that one of its steps reads.
    """

    topology: Topology
    parameters: Mapping[str, Array]
    rule: Rule
    optimizer: OptimizerSettings
    batch: int


@dataclass(frozen=True)
class Span:
    """Consecutive training steps of one member.

    `rows` (steps, batch) int32 says which samples of the data each step reads, -1 where its batch is shorter, always
    at its end. `scales` (steps,) float64 are shares of the learning rate in [0, 1]; `signs` (steps,) int8, 1 or -1,
    those of a nudge of the estimate "random-sign".
    """

    rows: NDArray[np.int32]
    scales: NDArray[np.float64]
    signs: NDArray[np.int8]


@dataclass(frozen=True)
class SpanReport:
    """What a span did to one member.

    `free_steps` and `nudged_steps` are summed over its steps; `residual` is the largest change of a state in the last
    free sweep of the last step, 0.0 where there was none and NaN where the backend does not measure it. `failed_at`
    is the step of the span, from 1, at which numbers were no longer finite, 0 for none; what came later means nothing.
    """

    free_steps: float
    nudged_steps: float
    residual: float
    failed_at: int


class Population(Protocol):
    """Networks that learn side by side, each from its own samples of data that all share."""

    @property
    def backend(self) -> str:
        """The name of what does the arithmetic, as it stands in outcomes."""

    @property
    def size(self) -> int:
        """The number of members."""

    def hold(self, x: Array, y: Array) -> None:
        """Take in the data that spans point into: `x` (n, n_0) float32 and `y` (n,) int64. Once, before `run`."""

    def run(self, spans: Sequence[Span]) -> list[SpanReport]:
        """Train each member over its span; a member whose numbers fail harms no other."""

    def predict(self, x: Array) -> list[Array]:
        """Return scores (n, classes) of each member for `x` (n, n_0), any n."""

    def parameters(self, index: int) -> dict[str, Array]:
        """Return copies of the parameters of a member by name."""

    def state(self, index: int) -> dict[str, Array]:
        """Return copies of all that a member needs to continue bit for bit.

        Of the form that an `EqpropLearner` of that member and backend gives, where one exists.
        """


def population_of(
    members: Sequence[Member], *, arithmetic: ArithmeticName, backend: str = "auto"
) -> Population:
    """Return a population of these members on a backend, or for "auto" on the first that serves them here.

    Torch trains members of one shape, batch and kind of rule and optimizer, in fp32 or exact-1; triton those of any
    shapes. Raises KernelError for a backend that has no populations or cannot serve these members.
    """
    from kernels.backend import choose_backend  # noqa: PLC0415 - launches probes

    if not members:
        raise KernelError("a population needs at least one member, got none.")
    name = choose_backend(backend, arithmetic, members)[0].name
    if name == "triton":
        from kernels.backends.triton.population import TritonPopulation  # noqa: PLC0415 - loads triton

        return TritonPopulation.of(members, arithmetic=arithmetic)
    if name in ("torch-cpu", "torch-cuda"):
        from kernels.backends.torch_population import TorchPopulation  # noqa: PLC0415 - loads torch

        return TorchPopulation(members, arithmetic=arithmetic, device=name.removeprefix("torch-"))
    raise KernelError(
        f"populations run on torch-cpu, torch-cuda or triton, got the backend {name!r}. Choose another, or train its "
        "members one by one."
    )


def check_data(x: Array, y: Array, *, inputs: int, classes: int) -> None:
    """Raise KernelError unless `x` (n, inputs) float32 and `y` (n,) are data that members of this size can learn."""
    if x.ndim != 2 or not len(x) or x.shape[1] != inputs or x.dtype != np.float32:
        raise KernelError(
            f"x must be float32 of the shape (samples, {inputs}), at least one sample, got {x.dtype} {x.shape}."
        )
    check_labels(y, (len(x),))
    if y.min() < 0 or y.max() >= classes:
        raise KernelError(f"y must hold classes 0 to {classes - 1}, got {y.min()} to {y.max()}.")


def check_spans(spans: Sequence[Span], members: Sequence[Member], samples: int) -> None:
    """Raise KernelError unless there is one span for each member that points into data of `samples` samples."""
    if len(spans) != len(members):
        raise KernelError(f"spans must be one for each of {len(members)} members, got {len(spans)}.")
    for span, member in zip(spans, members, strict=True):
        _check_span(span, member.batch, samples)


def _check_span(span: Span, batch: int, samples: int) -> None:
    steps = len(span.rows)
    if (
        span.rows.shape != (steps, batch)
        or not steps
        or len(span.scales) != steps
        or len(span.signs) != steps
    ):
        raise KernelError(
            f"a span needs rows (steps, {batch}) of at least one step, and a scale and a sign for each, got rows "
            f"{span.rows.shape}, {len(span.scales)} scales and {len(span.signs)} signs."
        )
    present = span.rows >= 0
    if span.rows.min() < -1 or span.rows.max() >= samples or (present[:, 1:] > present[:, :-1]).any():
        raise KernelError(
            f"rows of a span must lie in [0, {samples - 1}], with -1 only at the end of a batch, got "
            f"{span.rows.min()} to {span.rows.max()}. Call `hold` with all samples first."
        )
    if not present[:, 0].all():
        raise KernelError("each step of a span must read at least one sample, got a row of -1 alone.")
    lowest, highest = float(np.min(span.scales)), float(np.max(span.scales))
    for scale in (lowest, highest):
        check_step(1, batch, scale, sorted({int(sign) for sign in span.signs}))
