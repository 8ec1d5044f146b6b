"""How fast networks of typical shapes train here: what is timed, what bounds it, what it makes of an hour. Pure.

The timing itself is done by a child process, `evaluator.timer`.
"""

import math
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Literal

import msgspec

from evaluator.cost import StepCost, step_cost
from evaluator.jobs import Arithmetic, Calibration
from evaluator.shape import shape_of
from evaluator.spaces import class_admits
from evaluator.tasks import DatasetTask, Tier
from genome import Genome, preset
from genome.spaces import MLP

__all__ = [
    "CLASSES",
    "EXAMPLES",
    "Bound",
    "Probe",
    "Speed",
    "StepTime",
    "Timed",
    "Timing",
    "bound_by",
    "counts",
    "fastest",
    "hourly",
    "probes",
    "speeds",
]

CLASSES = 10
POPULATION = 16
# Hidden widths, inputs, preset, and the numbers of networks that train side by side.
_SHAPES: tuple[tuple[tuple[int, ...], int, str, tuple[int, ...]], ...] = (
    ((16,), 64, "shallow", (1, POPULATION)),
    ((64,), 64, "shallow", (1, POPULATION)),
    ((128,), 784, "shallow", (1,)),
    ((512,), 784, "shallow", (1,)),
    ((512, 512), 784, "deep", (1,)),
)
# The number of training examples of each bundled task, which its tiers cut short.
EXAMPLES: Mapping[str, int] = {"digits": 1_077, "mnist": 50_000, "fashion-mnist": 50_000}

BoundName = Literal["calls", "products", "memory"]
Clock = Literal["cpu", "wall"]


class Probe(msgspec.Struct, frozen=True, kw_only=True):
    """One shape to be timed: a genome on so many inputs, so many networks of it side by side."""

    genome: Genome
    inputs: int
    networks: int

    @property
    def name(self) -> str:
        """The layers, such as "64-16-10", or "16 x 64-16-10" for a population."""
        layers = "-".join(
            map(str, shape_of(dict(self.genome.values), inputs=self.inputs, classes=CLASSES).sizes)
        )
        return layers if self.networks == 1 else f"{self.networks} x {layers}"

    @property
    def batch(self) -> int:
        """Samples that each network learns from in a step."""
        return int(self.genome["batch"])


class StepTime(msgspec.Struct, frozen=True, kw_only=True):
    """One training step of a probe on one backend: median seconds, by the CPU's clock or the wall's.

    Sweeps are those that the step took. Of a population it is the step of all its networks together.
    """

    probe: int
    backend: str
    seconds: float
    clock: Clock
    free_steps: float
    nudged_steps: float


class Timing(msgspec.Struct, tag="timing", frozen=True, kw_only=True):
    """How fast is a step of each shape of a class? Each is taken for `seconds` at least, on every backend that runs."""

    arithmetic: Arithmetic
    seconds: float


class Timed(msgspec.Struct, tag="timed", frozen=True, kw_only=True):
    """All that a timer found: the answer to `Timing`.

    `product_rate` is that of sgemm (512 x 512 x 512, fp32, one thread of the CPU), operations a second. `backends` says
    for each why it cannot be used, empty where it can; `refused` why one that can did not train a probe. `auto` is the
    backend that one network gets, and whose calls, products and bytes a calibration fits.
    """

    product_rate: float
    auto: str
    backends: dict[str, str]
    steps: tuple[StepTime, ...]
    refused: tuple[tuple[int, str, str], ...]


class Bound(msgspec.Struct, frozen=True):
    """What takes the largest share of a step's predicted time, and that share."""

    what: BoundName
    share: float


class Speed(msgspec.Struct, frozen=True, kw_only=True):
    """What a timed step comes to.

    `bound_by` names what takes the largest share of the time that the calibration predicts for such a step, and
    `bound_share` that share: None on any backend but the one that was calibrated. `sgemm_share` is the rate of the
    step's products, all else that it does included, over that of sgemm on the CPU. Evaluations an hour, by task and
    tier, are predicted: of training alone, from the time of a step times the steps.
    """

    network: str
    genome: str
    networks: int
    batch: int
    backend: str
    step_s: float
    clock: Clock
    samples_per_s: float
    bound_by: BoundName | None
    bound_share: float | None
    sgemm_share: float
    predicted_evaluations_an_hour: dict[str, dict[str, float]]


def probes(arithmetic: Arithmetic) -> list[Probe]:
    """The shapes that are timed, small to large, at their presets' batches; those that the class admits."""
    return [probe for probe in _probes() if class_admits(arithmetic, probe.genome)]


def _probes() -> Iterator[Probe]:
    for widths, inputs, name, sizes in _SHAPES:
        changes = {f"width{number}": width for number, width in enumerate(widths, start=1)}
        genome = MLP.genome({**dict(preset(name).values), **changes})
        for networks in sizes:
            yield Probe(genome=genome, inputs=inputs, networks=networks)


def speeds(
    timed: Timed, asked: Sequence[Probe], calibration: Calibration, tasks: Mapping[str, DatasetTask]
) -> list[Speed]:
    """What the steps of a timer come to, in its order. `asked` are the probes that it was given."""
    return [_speed(asked[step.probe], step, timed, calibration, tasks) for step in timed.steps]


def _speed(
    probe: Probe, step: StepTime, timed: Timed, calibration: Calibration, tasks: Mapping[str, DatasetTask]
) -> Speed:
    cost = counts(probe, step, calibration.arithmetic)
    bound = bound_by(cost, calibration) if step.backend == timed.auto else None
    return Speed(
        network=probe.name,
        genome=probe.genome.id,
        networks=probe.networks,
        batch=probe.batch,
        backend=step.backend,
        step_s=step.seconds,
        clock=step.clock,
        samples_per_s=probe.networks * probe.batch / step.seconds,
        bound_by=bound.what if bound else None,
        bound_share=bound.share if bound else None,
        sgemm_share=2.0 * cost.macs / step.seconds / timed.product_rate,
        predicted_evaluations_an_hour={
            name: {tier.name: hourly(probe, step, tier, EXAMPLES[name]) for tier in task.tiers}
            for name, task in tasks.items()
            if task.inputs == probe.inputs
        },
    )


def fastest(found: Iterable[Speed]) -> list[Speed]:
    """Of each network the row of the backend that trains most samples a second, in the order of `found`."""
    best: dict[str, Speed] = {}
    for speed in found:
        if speed.network not in best or speed.samples_per_s > best[speed.network].samples_per_s:
            best[speed.network] = speed
    return list(best.values())


def counts(probe: Probe, step: StepTime, arithmetic: Arithmetic) -> StepCost:
    """Counts of the timed step. A population makes the calls of one network, and the products and bytes of all."""
    values = dict(probe.genome.values)
    one = step_cost(
        values,
        shape_of(values, inputs=probe.inputs, classes=CLASSES),
        arithmetic=arithmetic,
        free_steps=step.free_steps,
        nudged_steps=step.nudged_steps,
    )
    return StepCost(calls=one.calls, macs=one.macs * probe.networks, bytes=one.bytes * probe.networks)


def bound_by(cost: StepCost, calibration: Calibration) -> Bound | None:
    """The largest share of what the calibration predicts for a step; None where it predicts no time at all."""
    parts: dict[BoundName, float] = {
        "calls": cost.calls * calibration.seconds_per_call,
        "products": cost.macs * calibration.seconds_per_mac,
        "memory": cost.bytes * calibration.seconds_per_byte,
    }
    whole = sum(parts.values())
    if not whole > 0:
        return None
    largest = max(parts, key=parts.__getitem__)
    return Bound(largest, parts[largest] / whole)


def hourly(probe: Probe, step: StepTime, tier: Tier, examples: int) -> float:
    """Trainings an hour of so many examples, cut short by the tier, if every step took as long as the timed one."""
    used = min(examples, tier.train_limit or examples)
    steps = tier.epochs * math.ceil(used / probe.batch)
    return 3600.0 * probe.networks / (step.seconds * steps)
