"""The child that times training steps by shape: a `rates.Timing` comes in, a `rates.Timed` goes out.

See `evaluator.oneshot`. A process of its own, because the node's never loads torch.
"""

import statistics
import time
from collections.abc import Callable
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from evaluator.jobs import Arithmetic, stream_key
from evaluator.oneshot import serve
from evaluator.rates import CLASSES, Probe, StepTime, Timed, Timing, probes
from kernels import KernelError
from kernels.learner import Array
from kernels.randomness import words

if TYPE_CHECKING:
    from kernels.members import Member

__all__ = ["answer", "main", "median_seconds", "noise", "timed"]

_WARM_UPS = 2
_LEAST_REPEATS = 3
_PRODUCT_SIDE = 512
# Backends that compute on this process's cores; the others are timed by the wall.
_ON_THE_CPU = ("torch-cpu", "reference")


# So many steps of a population are timed together, as they are run: a device is given whole trainings, not steps.
_SPAN = 32


class _Way(NamedTuple):
    """A way of training: `act` takes `steps` steps and gives the free and the nudged sweeps of one of them."""

    act: Callable[[], tuple[float, float]]
    steps: int


def noise(key: bytes, *lead: int, inputs: int) -> tuple[Array, Array]:
    """Uniform inputs (*lead, inputs) in [0, 1) float32, and labels (*lead,) int64, from `key`."""
    x = words(key, "x", int(np.prod(lead)) * inputs) / np.float64(2**64)
    y = words(key, "y", int(np.prod(lead))) % np.uint64(CLASSES)
    return x.reshape(*lead, inputs).astype(np.float32), y.reshape(lead).astype(np.int64)


def median_seconds(act: Callable[[], object], *, budget_s: float, clock: Callable[[], float]) -> float:
    """Median seconds of one call, after two to warm up, over at least three and `budget_s` seconds of calls."""
    for _ in range(_WARM_UPS):
        act()
    seconds: list[float] = []
    while len(seconds) < _LEAST_REPEATS or sum(seconds) < budget_s:
        start = clock()
        act()
        seconds.append(clock() - start)
    return statistics.median(seconds)


def _way_of(probe: Probe, backend: str, arithmetic: Arithmetic) -> _Way:
    """One network, or a population, ready to be trained. Raises KernelError where the backend has none such."""
    return (
        _alone(probe, backend, arithmetic) if probe.networks == 1 else _together(probe, backend, arithmetic)
    )


def _alone(probe: Probe, backend: str, arithmetic: Arithmetic) -> _Way:
    from evaluator.build import build  # noqa: PLC0415 - loads torch

    key = stream_key(probe.genome.id, "bench", 0)
    learner = build(
        dict(probe.genome.values),
        inputs=probe.inputs, classes=CLASSES, seed=key, arithmetic=arithmetic, backend=backend,
    )  # fmt: skip
    x, y = noise(key, probe.batch, inputs=probe.inputs)

    def act() -> tuple[float, float]:
        # Half the rate: noise cannot be learned, and the weights are to stay where weights lie.
        report = learner.step(x, y, scale=0.5, sign=1)
        return float(report.free_steps), float(report.nudged_steps)

    return _Way(act, 1)


def _together(probe: Probe, backend: str, arithmetic: Arithmetic) -> _Way:
    from kernels.members import Span, population_of  # noqa: PLC0415 - loads torch

    population = population_of(_members(probe), arithmetic=arithmetic, backend=backend)
    key = stream_key(probe.genome.id, "bench", 0)
    x, y = noise(key, _SPAN * probe.batch, inputs=probe.inputs)
    population.hold(x, y)
    rows = np.arange(_SPAN * probe.batch, dtype=np.int32).reshape(_SPAN, probe.batch)
    span = Span(rows=rows, scales=np.full(_SPAN, 0.5), signs=np.ones(_SPAN, dtype=np.int8))

    def act() -> tuple[float, float]:
        report = population.run([span] * probe.networks)[0]
        return report.free_steps / _SPAN, report.nudged_steps / _SPAN

    return _Way(act, _SPAN)


def _members(probe: Probe) -> "list[Member]":
    """The networks of a population, each with parameters of its own."""
    from evaluator.build import member_of  # noqa: PLC0415 - loads torch

    values = dict(probe.genome.values)
    keys = [stream_key(probe.genome.id, "bench", number) for number in range(probe.networks)]
    return [member_of(values, inputs=probe.inputs, classes=CLASSES, seed=key) for key in keys]


def product_rate(budget_s: float) -> float:
    """Operations a second of a product of 512 x 512 float32 matrices, on one thread of the CPU."""
    import torch  # noqa: PLC0415

    a, b = (torch.rand(_PRODUCT_SIDE, _PRODUCT_SIDE) for _ in range(2))
    c = torch.empty_like(a)
    seconds = median_seconds(lambda: torch.mm(a, b, out=c), budget_s=budget_s, clock=time.process_time)
    return 2.0 * _PRODUCT_SIDE**3 / seconds


def timed(arithmetic: Arithmetic, budget_s: float, chosen: list[Probe] | None = None) -> Timed:
    """Time every probe on every backend that runs here, `budget_s` seconds each at least."""
    from kernels.backend import backend_table, choose_backend  # noqa: PLC0415 - loads torch

    backends = backend_table(arithmetic)
    steps: list[StepTime] = []
    refused: list[tuple[int, str, str]] = []
    for number, probe in enumerate(probes(arithmetic) if chosen is None else chosen):
        for backend in (name for name, why in backends.items() if not why):
            try:
                steps.append(_timed_step(number, probe, backend, arithmetic, budget_s))
            except KernelError as error:
                refused.append((number, backend, str(error)))
    return Timed(
        product_rate=product_rate(budget_s),
        auto=choose_backend("auto", arithmetic)[0].name,
        backends=backends,
        steps=tuple(steps),
        refused=tuple(refused),
    )


def _timed_step(number: int, probe: Probe, backend: str, arithmetic: Arithmetic, budget_s: float) -> StepTime:
    way, here = _way_of(probe, backend, arithmetic), backend in _ON_THE_CPU
    clock = time.process_time if here else time.perf_counter
    seconds = median_seconds(way.act, budget_s=budget_s, clock=clock) / way.steps
    free, nudged = way.act()
    return StepTime(
        probe=number, backend=backend, seconds=seconds, clock="cpu" if here else "wall",
        free_steps=free, nudged_steps=nudged,
    )  # fmt: skip


def answer(question: Timing) -> Timed:
    """Time the shapes of the class that is asked for."""
    return timed(question.arithmetic, question.seconds)


def main() -> None:
    """Answer the one question that comes in."""
    serve(Timing, answer)


if __name__ == "__main__":
    main()
