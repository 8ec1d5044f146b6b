"""What training a genome would take: its analytic cost, and the hours that this machine's calibration predicts."""

from typing import NamedTuple

from evaluator.cost import cost_of, nominal_steps, predict_rate, step_cost
from evaluator.jobs import Calibration
from evaluator.tasks import DatasetTask, Task
from genome import Genome
from node.errors import SettingsError

__all__ = ["Price", "price"]


class Price(NamedTuple):
    """Products, bytes and samples of a training in fp32; `hours` is None where this machine is not calibrated."""

    tier: str
    macs_per_sample: float
    parameter_bytes: int
    peak_bytes: int
    samples: int
    macs: float
    hours: float | None


def price(genome: Genome, task: Task, tier_name: str | None, calibration: Calibration | None) -> Price:
    """What the genome costs at a tier of the task, if every phase takes all its sweeps.

    Reads the task's data where the tier takes all of its examples. Raises SettingsError for a task without networks,
    NoImageError for filters on inputs that are no images, DataError where data are missing.
    """
    if not isinstance(task, DatasetTask):
        raise SettingsError(
            f"a genome has a cost on tasks with networks, got {task.name!r}. Name such a task."
        )
    tier = task.tier(tier_name)
    values = dict(genome.values)
    cost = cost_of(
        values,
        inputs=task.inputs,
        classes=task.classes,
        arithmetic="fp32",
        image=task.image,
        heads=task.heads,
    )
    samples = tier.epochs * (tier.train_limit or len(task.load().train_x))
    hours = None
    if calibration is not None:
        free, nudged = nominal_steps(values)
        step = step_cost(values, cost.shape, arithmetic="fp32", free_steps=free, nudged_steps=nudged)
        hours = samples / predict_rate(step, batch=cost.batch, calibration=calibration) / 3600
    macs = cost.macs_per_step / cost.batch
    return Price(tier.name, macs, cost.parameter_bytes, cost.peak_bytes, samples, macs * samples, hours)
