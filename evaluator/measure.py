"""One job to one outcome: check its cost, build, train, measure. Runs in a worker."""

import hashlib
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from evaluator import limits, weights
from evaluator.build import build
from evaluator.cost import Cost, cost_of, excess, predict_rate, step_cost
from evaluator.errors import EvaluatorError
from evaluator.jobs import (
    Arithmetic,
    Calibration,
    CostLimits,
    Job,
    JobArithmetic,
    Measured,
    Outcome,
    Settling,
    stream_key,
)
from evaluator.tasks import DatasetTask, TestPermit, Tier
from evaluator.train import Plan, State, Trained, train
from genome import Genome, Value
from kernels import EqpropLearner, Learner

if TYPE_CHECKING:
    from numpy.typing import NDArray

    Arrays = tuple[NDArray[np.float32], NDArray[np.int64]]

__all__ = ["RefusedError", "affordable", "plan_of", "run_network", "split_arrays"]

_CURVE_EXAMPLES = 2000
_DIAGNOSED_EXAMPLES = 128


class RefusedError(EvaluatorError):
    """The genome asks for more than the limits of the job allow."""


def affordable(
    values: Mapping[str, Value], task: DatasetTask, arithmetic: JobArithmetic, bounds: CostLimits
) -> tuple[Cost, Arithmetic]:
    """Analytic cost of a network, and its arithmetic class. Raises RefusedError for a cost beyond the bounds."""
    if arithmetic == "task":
        raise EvaluatorError(
            f"task {task.name!r} trains networks, so an arithmetic class must be named, got 'task'"
        )
    cost = cost_of(values, inputs=task.inputs, classes=task.classes, arithmetic=arithmetic)
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


def plan_of(job: Job, tier: Tier, *, examples: int, batch: int, schedule: str) -> Plan:
    """The training that this job stands for."""
    return Plan(
        examples=examples,
        epochs=tier.epochs,
        batch=batch,
        key=stream_key(job.genome_id, job.task_id, job.seed),
        schedule=schedule,
        checkpoints=job.checkpoints,
    )


def run_network(
    job: Job,
    task: DatasetTask,
    tier: Tier,
    genome: Genome,
    *,
    on_progress: Callable[[float, float | None], None],
    versions: dict[str, str],
) -> Outcome:
    """Train and measure one network. Raises RefusedError, DivergedError, DataError, MemoryError."""
    values = dict(genome.values)
    cost, arithmetic = affordable(values, task, job.arithmetic, job.limits)
    evidence = _Evidence(job)
    (x, y), (held_x, held_y) = split_arrays(task, tier, job)
    plan = plan_of(job, tier, examples=len(x), batch=cost.batch, schedule=str(values["schedule"]))
    resident = limits.reset_peak()
    learner = build(
        values,
        inputs=task.inputs,
        classes=task.classes,
        seed=plan.key,
        arithmetic=arithmetic,
        backend=job.backend,
    )

    def score(trained: Learner) -> float:
        return _accuracy(trained.predict(held_x[:_CURVE_EXAMPLES]), held_y[:_CURVE_EXAMPLES])

    # The test split is scored once, at the end: a curve on it would invite to choose the best epoch by it.
    trained = train(
        learner,
        x,
        y,
        plan,
        score=None if job.split == "test" else score,
        on_progress=on_progress,
        on_state=evidence.keep_state if job.evidence else None,
    )
    start = time.process_time()
    predicted = learner.predict(held_x).argmax(axis=1)
    evaluate_cpu_s = time.process_time() - start
    correct = int(np.count_nonzero(predicted == held_y))
    predictions = predicted.astype("<u2").tobytes()
    name, body = weights.pack(learner.parameters())
    if job.spool is not None:
        weights.spool(Path(job.spool), name, body)
    objectives = {"accuracy": correct / len(held_y), "memory": float(cost.peak_bytes)}
    if job.calibration is not None:
        objectives["speed"] = _predicted_rate(job.calibration, genome, cost, trained)
    return Outcome(
        number=job.number,
        genome=genome.id,
        task=job.task,
        task_id=job.task_id,
        tier=job.tier,
        seed=job.seed,
        arithmetic=job.arithmetic,
        backend=learner.backend,
        purpose=job.purpose,
        split=job.split,
        objectives=objectives,
        examples=len(held_y),
        correct=correct,
        macs=cost.macs_per_step * plan.steps,
        parameter_bytes=cost.parameter_bytes,
        activation_bytes=cost.activation_bytes,
        weights=name,
        weights_bytes=len(body),
        predictions=evidence.keep_predictions(predictions),
        checkpoints=trained.checkpoints,
        states=tuple(evidence.states),
        state_bytes=evidence.state_bytes,
        curve=trained.curve,
        settling=_settling(learner, trained, held_x, held_y, cost.batch if job.diagnose else 0),
        measured=Measured(
            train_cpu_s=trained.train_cpu_s,
            train_wall_s=trained.train_wall_s,
            evaluate_cpu_s=evaluate_cpu_s,
            samples_per_s=trained.samples / max(trained.train_cpu_s, 1e-9),
            peak_bytes=max(0, trained.peak_bytes - resident),
        ),
        versions=versions,
    )


class _Evidence:
    """Files by which a stranger can check a training, written where the job asks for them."""

    def __init__(self, job: Job) -> None:
        if job.evidence and job.spool is None:
            raise EvaluatorError(
                "evidence is written to the spool folder, but the job names none. Set spool."
            )
        self._folder = Path(job.spool) if job.evidence and job.spool is not None else None
        self.states: list[str] = []
        self.state_bytes = 0

    def keep_state(self, _step: int, state: State) -> None:
        """Write a learner's state, named by its bytes."""
        assert self._folder is not None
        name, body = weights.pack(state)
        weights.spool(self._folder, name, body, suffix=".state")
        self.states.append(name)
        self.state_bytes = max(self.state_bytes, len(body))

    def keep_predictions(self, body: bytes) -> str:
        """Name of the predictions; written only as evidence."""
        name = hashlib.sha256(body).hexdigest()
        if self._folder is not None:
            weights.spool(self._folder, name, body, suffix=".predictions")
        return name


def _accuracy(scores: "NDArray[np.floating]", y: "NDArray[np.int64]") -> float:
    return float(np.mean(scores.argmax(axis=1) == y))


def _predicted_rate(calibration: Calibration, genome: Genome, cost: Cost, trained: Trained) -> float:
    step = step_cost(
        dict(genome.values),
        cost.shape,
        arithmetic=calibration.arithmetic,
        free_steps=trained.free_steps,
        nudged_steps=trained.nudged_steps,
    )
    return float(f"{predict_rate(step, batch=cost.batch, calibration=calibration):.6g}")


def _settling(
    learner: Learner, trained: Trained, x: "NDArray[np.float32]", y: "NDArray[np.int64]", batch: int
) -> Settling:
    if batch == 0:
        return Settling(free_steps=trained.free_steps, nudged_steps=trained.nudged_steps)
    rows = min(batch, _DIAGNOSED_EXAMPLES, len(x))
    seen = learner.diagnose(x[:rows], y[:rows])
    return Settling(
        free_steps=trained.free_steps,
        nudged_steps=trained.nudged_steps,
        verdict=seen.verdict if isinstance(learner, EqpropLearner) else "none",
        period=seen.period or 0,
        free_energy=seen.free_energy,
        nudged_energy=seen.nudged_energy,
        free_residual=seen.free_residual,
        nudged_residual=seen.nudged_residual,
        spectral_norm=dict(seen.spectral_norms),
        gradient_norm=dict(seen.gradient_norms),
    )
