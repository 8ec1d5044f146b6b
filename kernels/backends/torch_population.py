"""Members of one shape trained as one batch of products, with torch on the CPU or a CUDA device."""

import math
from collections.abc import Callable, Sequence
from functools import partial
from itertools import pairwise

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from kernels.backends.graph import fastest_step
from kernels.backends.memory import device_memory
from kernels.backends.probe import full_precision
from kernels.buffers import CHUNK
from kernels.elementwise import LARGEST_RATIO
from kernels.engine import Engine
from kernels.errors import KernelError
from kernels.exact import WEIGHT_LIMIT
from kernels.inputs import input_tensor
from kernels.learner import Array
from kernels.members import Member, Span, SpanReport, check_data, check_spans
from kernels.population import check_population
from kernels.rules import ArithmeticName, OptimizerSettings

__all__ = ["TorchPopulation"]

# Slots that the element-wise optimizers keep as (P, n), also for one network: a member's is (1, n).
_ROWS = ("first", "second", "velocity")


class TorchPopulation:
    """Members of one topology, batch and number of sweeps; see `kernels.PopulationLearner` for what may differ.

    In exact-1 a member's parameters and states equal those of an `EqpropLearner` bit for bit. In fp32 its bits are
    other ones than those of a learner, whose products and steps take other instructions, but the same in every
    population, one of a single member included.
    """

    def __init__(self, members: Sequence[Member], *, arithmetic: ArithmeticName, device: str = "cpu") -> None:
        self.size = len(members)
        self.backend = f"torch-{device}-population"
        check_members(members, arithmetic)
        self._members = tuple(members)
        exact = arithmetic == "exact-1"
        # Without the axis of networks a network alone is a tenth faster, and in exact-1 its bits are the same.
        self._alone = exact and self.size == 1
        if device != "cpu":
            full_precision()
        with torch.inference_mode(), device_memory(f"a population of {self.size} networks"):
            self._engine = Engine(
                members[0].topology,
                [member.parameters for member in members],
                [member.rule for member in members],
                [member.optimizer for member in members],
                batch=members[0].batch,
                arithmetic=arithmetic,
                population=None if self._alone else self.size,
                device=device,
            )
        self._advance = fastest_step(self._engine)
        bounded = exact and not self._alone
        self._bounds = [_Bound(member.optimizer) for member in members] if bounded else []
        self._x: Tensor | None = None
        self._y: Tensor | None = None

    def hold(self, x: Array, y: Array) -> None:
        """Take in the data that spans point into: `x` (n, n_0) float32 and `y` (n,) class numbers."""
        if self._x is not None:
            raise KernelError("a population holds its data once, got them a second time. Make another one.")
        sizes = self._members[0].topology.sizes
        check_data(x, y, inputs=sizes[0], classes=sizes[-1])
        self._x = input_tensor(x, sizes[0])
        self._y = torch.from_numpy(np.array(y, dtype=np.int64))

    def run(self, spans: Sequence[Span]) -> list[SpanReport]:
        """Train each member over its span; all spans have the same number of steps, batch sizes and scales."""
        if self._x is None or self._y is None:
            raise KernelError("a population learns from data that it holds, got none. Call `hold` first.")
        check_spans(spans, self._members, len(self._x))
        check_together(spans)
        rows = np.stack([span.rows for span in spans]).astype(np.int64)
        signs = torch.tensor(np.stack([span.signs for span in spans]).tolist())
        steps = rows.shape[1]
        failed = np.zeros(self.size, dtype=np.int64)
        sweeps = np.zeros(2)
        residuals: NDArray[np.float64] = np.zeros(self.size)
        for step in range(steps):
            present = int(np.count_nonzero(rows[0, step] >= 0))
            picked = torch.from_numpy(rows[:, step, :present].copy())
            x, y = (data[picked[0] if self._alone else picked] for data in (self._x, self._y))
            if step == steps - 1:
                residuals = self._residuals(x, y)
            taken, finite = self._step(x, y, float(spans[0].scales[step]), signs[:, step])
            sweeps += taken
            failed[(failed == 0) & ~finite] = step + 1
        return [
            SpanReport(float(sweeps[0]), float(sweeps[1]), float(residuals[index]), int(failed[index]))
            for index in range(self.size)
        ]

    def _step(
        self, x: Tensor, y: Tensor, scale: float, signs: Tensor
    ) -> tuple[tuple[int, int], NDArray[np.bool_]]:
        """Take one step; return the sweeps of both phases and whether each member's numbers were finite."""
        sign = int(signs) if self._alone else signs.view(-1, 1, 1)
        with device_memory(f"a step of {self.size} networks"):
            free, nudged, health = self._advance(x, y, scale=scale, sign=sign)
        for index, bound in enumerate(self._bounds):
            bound.step(scale, partial(self._largest, index))
        return (free.steps, nudged.steps), np.isfinite(np.atleast_1d(health.numpy(force=True)))

    @torch.inference_mode()
    def _residuals(self, x: Tensor, y: Tensor) -> NDArray[np.float64]:
        """Return the largest change of each member's states in the last free sweep on a batch.

        Settled apart from the step that follows, whose sweeps measure nothing: an eighth of a sweep's time in each
        would pay for one number at the end of a span.
        """
        if self._members[0].rule.free.steps == 0:
            return np.zeros(self.size)
        workspace = self._engine.workspace(x.shape[-2])
        workspace.load(x, y)
        workspace.relax(measured=True)
        return np.atleast_1d(workspace.free.change.numpy(force=True)).astype(np.float64)

    def _largest(self, index: int) -> float:
        return float(self._engine.parameters.flat.value[index].abs().max())

    def predict(self, x: Array) -> list[Array]:
        """Return scores (n, classes) of each member for `x` (n, n_0), any n."""
        inputs = input_tensor(x, self._members[0].topology.sizes[0])
        # Chunk by chunk, so that no copy of all of `x` is made for each member.
        parts = []
        for start in range(0, len(inputs), CHUNK):
            chunk = inputs[start : start + CHUNK]
            if not self._alone:
                chunk = chunk.expand(self.size, *chunk.shape).contiguous()
            with device_memory(f"predictions of {self.size} networks"):
                parts.append(np.asarray(self._engine.scores(chunk)))
        scores = np.concatenate(parts, axis=-2)
        return [scores] if self._alone else list(scores)

    def parameters(self, index: int) -> dict[str, Array]:
        """Return copies of the parameters of a member by name."""
        return self._engine.parameters.read(index)

    def state(self, index: int) -> dict[str, Array]:
        """Return copies of all that a member needs to continue bit for bit, in the form of an engine of one network."""
        held = self._engine.state()
        if self._alone:
            return held
        state = {}
        for name, array in held.items():
            kind = name.rpartition(".")[2]
            if name == "step" or kind == "clock":
                state[name] = array
            elif kind in _ROWS and name.count(".") == 1:
                state[name] = array[index : index + 1].copy()
            else:
                state[name] = array[index].copy()
            if kind == "clock" and self._bounds:
                state[name] = np.array([*array[:-1], self._bounds[index].value])
        return state


class _Bound:
    """The bound on a member's weights that Adam of exact-1 would keep for it alone.

    A population keeps one bound for all of its networks. It holds as well and changes no weight, but it belongs to
    the state, and a member's state must not tell of its neighbours.
    """

    def __init__(self, optimizer: OptimizerSettings) -> None:
        self.value = math.inf
        self._rate = optimizer.rate
        self._kept = optimizer.name == "adam"

    def step(self, scale: float, largest: Callable[[], float]) -> None:
        """Follow a step at `scale` times the learning rate; `largest` looks up the largest weight."""
        if not self._kept:
            return
        self.value += LARGEST_RATIO * scale * self._rate
        if not self.value <= WEIGHT_LIMIT:
            self.value = largest()


def check_members(members: Sequence[Member], arithmetic: ArithmeticName) -> None:
    """Raise KernelError where these members cannot be trained as one batch of products."""
    check_population(
        len(members), [member.rule for member in members], [member.optimizer for member in members]
    )
    if arithmetic not in ("fp32", "exact-1"):
        raise KernelError(
            f"a population of torch runs in fp32 or exact-1, got {arithmetic!r}: networks this small are slower in "
            "bf16. Train them one by one."
        )
    for first, second in pairwise(members):
        if (first.topology, first.batch) != (second.topology, second.batch):
            raise KernelError(
                f"members of a population of torch must have one topology and batch, got {first.topology} with "
                f"{first.batch} and {second.topology} with {second.batch}. Group them by shape."
            )


def check_together(spans: Sequence[Span]) -> None:
    """Raise KernelError unless these spans take equally many steps, at the same scales, with batches of equal sizes."""
    first = spans[0]
    for span in spans[1:]:
        if span.rows.shape != first.rows.shape or not np.array_equal(span.scales, first.scales):
            raise KernelError(
                "members of a population of torch step together: spans must agree in steps and scales. Group members "
                "by what they are trained on and by their schedule."
            )
        if not np.array_equal(span.rows >= 0, first.rows >= 0):
            raise KernelError(
                "members of a population of torch step together: each step must read equally many samples for all."
            )
