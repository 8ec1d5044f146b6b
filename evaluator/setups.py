"""A job made ready to be trained: what it may cost, its data, its order of steps and its evidence."""

from collections.abc import Mapping
from typing import TYPE_CHECKING, NamedTuple

from evaluator.cost import Cost, cost_of, excess
from evaluator.curriculum import curriculum_of
from evaluator.errors import EvaluatorError
from evaluator.evidence import Evidence
from evaluator.jobs import Arithmetic, CostLimits, Job, JobArithmetic, stream_key
from evaluator.plan import Plan
from evaluator.shape import NoImageError
from evaluator.tasks import DatasetTask, TestPermit, Tier
from genome import Genome, Value

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    Arrays = tuple[NDArray[np.float32], NDArray[np.int64]]

__all__ = ["RefusedError", "Setup", "affordable", "plan_of", "set_up", "split_arrays"]


class RefusedError(EvaluatorError):
    """The genome asks for more than the limits of the job allow."""


def affordable(
    values: Mapping[str, Value], task: DatasetTask, arithmetic: JobArithmetic, bounds: CostLimits
) -> tuple[Cost, Arithmetic]:
    """Analytic cost of a network, and its arithmetic class.

    Raises RefusedError for a cost beyond the bounds, and for filters where the task's inputs are no images.
    """
    if arithmetic == "task":
        raise EvaluatorError(
            f"task {task.name!r} trains networks, so an arithmetic class must be named, got 'task'"
        )
    try:
        cost = cost_of(
            values,
            inputs=task.inputs,
            classes=task.classes,
            arithmetic=arithmetic,
            image=task.image,
            heads=task.heads,
        )
    except NoImageError as error:
        raise RefusedError(str(error)) from error
    refusal = excess(cost, bounds)
    if refusal is not None:
        raise RefusedError(refusal)
    return cost, arithmetic


def split_arrays(task: DatasetTask, tier: Tier, job: Job) -> "tuple[Arrays, Arrays]":
    """Arrays to train on and arrays to measure on, as the job's split and purpose allow.

    A report on the test split trains on the tier's training examples and on the validation split, for nothing is
    left to be chosen by then. Raises SealedSplitError for a search that asks for the test split.
    """
    data = task.load().at(tier)
    if job.split == "test":
        return data.train_and_validation(), data.open_test(TestPermit(reason=job.purpose))
    return (data.train_x, data.train_y), (data.validation_x, data.validation_y)


def plan_of(job: Job, tier: Tier, values: Mapping[str, Value], *, examples: int) -> Plan:
    """The training that this job stands for, of a genome of these values."""
    return Plan(
        examples=examples,
        epochs=tier.epochs,
        batch=int(values["batch"]),
        key=stream_key(job.genome_id, job.task_id, job.seed),
        schedule=str(values["schedule"]),
        checkpoints=job.checkpoints,
        curriculum=curriculum_of(values),
    )


class Setup(NamedTuple):
    """A job that is ready to be trained: what it may cost, what it is trained and measured on, and in which order."""

    job: Job
    task: DatasetTask
    genome: Genome
    cost: Cost
    arithmetic: Arithmetic
    arrays: "tuple[Arrays, Arrays]"
    plan: Plan
    evidence: Evidence

    @property
    def values(self) -> dict[str, Value]:
        """The genes by name."""
        return dict(self.genome.values)


def set_up(
    job: Job, task: DatasetTask, tier: Tier, genome: Genome, *, arrays: "tuple[Arrays, Arrays] | None" = None
) -> Setup:
    """All that a training needs but the network. `arrays` are those of another job of its group, which has the same.

    Raises RefusedError, SealedSplitError, DataError, EvaluatorError.
    """
    values = dict(genome.values)
    cost, arithmetic = affordable(values, task, job.arithmetic, job.limits)
    if task.heads and (job.telemetry or job.probes):
        raise RefusedError(
            f"telemetry by epoch and probes read one head's scores, task {task.name!r} has {len(task.heads)}. Ask for "
            "neither, or take its parts one by one."
        )
    evidence = Evidence(job)
    arrays = arrays or split_arrays(task, tier, job)
    plan = plan_of(job, tier, values, examples=len(arrays[0][0]))
    return Setup(job, task, genome, cost, arithmetic, arrays, plan, evidence)
