"""A job to its outcome, alone or in a group: set up, build, train, measure. Runs in a worker."""

import time
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from evaluator import limits, weights
from evaluator.build import build, learner_of, member_of
from evaluator.cost import Cost, predict_rate, step_cost
from evaluator.errors import EvaluatorError
from evaluator.groups import group_key
from evaluator.jobs import Calibration, Job, Measured, Outcome, Settling
from evaluator.setups import RefusedError, Setup, set_up
from evaluator.tasks import DatasetTask, Tier
from evaluator.telemetry import Observation, Watched, observe, state_weights
from evaluator.train import State, Trained, train, train_population
from genome import Genome
from kernels import Diagnostics, DivergedError, Learner
from kernels.members import Member, Population, population_of

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from evaluator.probes.objectives import Scored

__all__ = ["Finished", "outcome_of", "run_network", "train_alone", "train_together"]

_CURVE_EXAMPLES = 2000
_DIAGNOSED_EXAMPLES = 128


class Finished(NamedTuple):
    """A trained network: who did the arithmetic, what it left behind, its parameters and its classes for what was held.

    `diagnose` watches it settle on a batch.
    """

    backend: str
    trained: Trained
    parameters: "dict[str, NDArray[np.generic]]"
    predicted: "NDArray[np.int64]"
    evaluate_cpu_s: float
    resident: int
    diagnose: "Callable[[NDArray[np.float32], NDArray[np.int64]], Diagnostics]"


def run_network(
    job: Job,
    task: DatasetTask,
    tier: Tier,
    genome: Genome,
    *,
    on_progress: Callable[[float, float | None], None],
    versions: dict[str, str],
) -> Outcome:
    """Train and measure one network. Raises RefusedError, DivergedError, DataError, MemoryError.

    A job that belongs to a group is trained as a population of one: its bits are those that it has in company.
    """
    setup = set_up(job, task, tier, genome)
    if group_key(job) is None:
        return outcome_of(setup, train_alone(setup, on_progress=on_progress), versions=versions)
    (found,) = train_together(
        [setup], on_progress=lambda _member, done, accuracy: on_progress(done, accuracy)
    )
    if isinstance(found, DivergedError):
        raise found
    return outcome_of(setup, found, versions=versions)


def train_alone(setup: Setup, *, on_progress: Callable[[float, float | None], None]) -> Finished:
    """Train one network with a learner. Raises DivergedError, MemoryError."""
    job, (held_x, held_y) = setup.job, setup.arrays[1]
    resident = limits.reset_peak()
    learner = build(
        setup.values,
        inputs=setup.task.inputs,
        classes=setup.task.classes,
        seed=setup.plan.key,
        arithmetic=setup.arithmetic,
        backend=job.backend,
        image=setup.task.image,
        heads=setup.task.heads,
    )

    def score(trained: Learner) -> float:
        return _accuracy(setup.task, trained.predict(held_x[:_CURVE_EXAMPLES]), held_y[:_CURVE_EXAMPLES])

    trained = train(
        learner,
        *setup.arrays[0],
        setup.plan,
        score=None if _sealed(job) else score,
        on_progress=on_progress,
        on_state=setup.evidence.keep_state if job.evidence else None,
        watch=_observer(setup) if job.telemetry else None,
        resident=resident,
    )
    start = time.process_time()
    predicted = setup.task.predicted(learner.predict(held_x), held_y)
    return Finished(
        backend=learner.backend,
        trained=trained,
        parameters=learner.parameters(),
        predicted=predicted,
        evaluate_cpu_s=time.process_time() - start,
        resident=resident,
        diagnose=learner.diagnose,
    )


def train_together(
    setups: Sequence[Setup], *, on_progress: Callable[[int, float, float | None], None]
) -> list[Finished | DivergedError]:
    """Train networks of one group side by side; `on_progress(member, done, accuracy)` hears of each.

    Raises MemoryError and kernels.KernelError for them all.
    """
    first = setups[0]
    held_x, held_y = first.arrays[1]
    resident = limits.reset_peak()
    population = population_of(
        [_member(setup) for setup in setups], arithmetic=first.arithmetic, backend=first.job.backend
    )

    def score(trained: Population) -> list[float]:
        scores = trained.predict(held_x[:_CURVE_EXAMPLES])
        return [_accuracy(first.task, one, held_y[:_CURVE_EXAMPLES]) for one in scores]

    def keep(index: int, step: int, state: State) -> None:
        if setups[index].job.evidence:
            setups[index].evidence.keep_state(step, state)

    found = train_population(
        population,
        *first.arrays[0],
        [setup.plan for setup in setups],
        score=None if _sealed(first.job) else score,
        on_progress=on_progress,
        on_state=keep,
        watch={
            index: partial(_observe_apart, setup, population, index)
            for index, setup in enumerate(setups)
            if setup.job.telemetry
        },
        resident=resident,
    )
    start = time.process_time()
    predicted = [first.task.predicted(scores, held_y) for scores in population.predict(held_x)]
    evaluate_cpu_s = (time.process_time() - start) / len(setups)
    finished: list[Finished | DivergedError] = []
    for index, (setup, trained) in enumerate(zip(setups, found, strict=True)):
        if isinstance(trained, DivergedError):
            finished.append(trained)
            continue
        parameters = population.parameters(index)
        finished.append(
            Finished(
                backend=population.backend,
                trained=trained,
                parameters=parameters,
                predicted=predicted[index],
                evaluate_cpu_s=evaluate_cpu_s,
                resident=resident,
                diagnose=partial(_diagnose_apart, setup, parameters),
            )
        )
    return finished


def _member(setup: Setup, parameters: "dict[str, NDArray[np.generic]] | None" = None) -> Member:
    return member_of(
        setup.values,
        inputs=setup.task.inputs,
        classes=setup.task.classes,
        seed=setup.plan.key,
        parameters=parameters,
    )


def _observer(setup: Setup) -> Callable[[Watched], Observation]:
    """What looks at a network of this job, always on the same training examples."""
    x, y = setup.arrays[0]
    task = setup.task
    recurrent = state_weights(setup.values, inputs=task.inputs, classes=task.classes, image=task.image)
    output, batch = str(setup.values["output"]), setup.plan.batch
    return lambda learner: observe(learner, x, y, output=output, recurrent=recurrent, batch=batch)


def _observe_apart(setup: Setup, population: Population, index: int) -> Observation:
    """Look at a member of a population, as a network alone of its parameters."""
    member = _member(setup, population.parameters(index))
    learner = learner_of(member, arithmetic=setup.arithmetic, backend=setup.job.backend)
    return _observer(setup)(learner)


def _diagnose_apart(
    setup: Setup,
    parameters: "dict[str, NDArray[np.generic]]",
    x: "NDArray[np.float32]",
    y: "NDArray[np.int64]",
) -> Diagnostics:
    """Watch a member of a population settle, as a network alone of its parameters: nothing of it remembers more."""
    member = _member(setup, parameters)
    learner = learner_of(member, arithmetic=setup.arithmetic, backend=setup.job.backend)
    return learner.diagnose(x, y)


def _sealed(job: Job) -> bool:
    """Whether there is no curve: the test split is scored once, for a curve on it would invite to choose by it."""
    return job.split == "test"


def outcome_of(setup: Setup, finished: Finished, *, versions: dict[str, str]) -> Outcome:
    """Measure a trained network and keep its weights and evidence. Raises SurroundingsError, DivergedError."""
    job, cost, trained = setup.job, setup.cost, finished.trained
    held_y = setup.arrays[1][1]
    correct = int(np.count_nonzero(finished.predicted == held_y))
    predictions = finished.predicted.astype("<u2").tobytes()
    name, body = weights.pack(finished.parameters)
    if job.spool is not None:
        weights.spool(Path(job.spool), name, body)
    objectives = setup.task.accuracies(finished.predicted, held_y) | {"memory": float(cost.peak_bytes)}
    if job.calibration is not None:
        objectives["speed"] = _predicted_rate(job.calibration, setup.genome, cost, trained)
    probed = _probed(setup, finished) if job.probes else {}
    return Outcome(
        number=job.number,
        genome=setup.genome.id,
        task=job.task,
        task_id=job.task_id,
        tier=job.tier,
        seed=job.seed,
        arithmetic=job.arithmetic,
        backend=finished.backend,
        purpose=job.purpose,
        split=job.split,
        objectives=objectives | {name: score.value for name, score in probed.items()},
        controls={name: score.control for name, score in probed.items() if score.control},
        examples=len(held_y),
        correct=correct,
        macs=cost.macs_per_step * setup.plan.steps,
        parameter_bytes=cost.parameter_bytes,
        activation_bytes=cost.activation_bytes,
        weights=name,
        weights_bytes=len(body),
        predictions=setup.evidence.keep_predictions(predictions),
        checkpoints=trained.checkpoints,
        states=tuple(setup.evidence.states),
        state_bytes=setup.evidence.state_bytes,
        curve=trained.curve,
        epochs=trained.epochs,
        settling=_settling(setup, finished),
        measured=Measured(
            train_cpu_s=trained.train_cpu_s,
            train_wall_s=trained.train_wall_s,
            evaluate_cpu_s=finished.evaluate_cpu_s,
            samples_per_s=trained.samples / max(trained.train_cpu_s, 1e-9),
            peak_bytes=max(0, trained.peak_bytes - finished.resident),
        ),
        versions=versions,
    )


def _probed(setup: Setup, finished: Finished) -> "dict[str, Scored]":
    """Objectives that probes measure, on what the accuracy is measured on. Raises RefusedError, DivergedError."""
    from evaluator.probes.objectives import probed  # noqa: PLC0415 - few jobs ask for it

    job, trained = setup.job, finished.trained
    try:
        return probed(
            job.probes,
            setup.values,
            setup.task,
            finished.parameters,
            held=setup.arrays[1],
            steps=(trained.free_steps, trained.nudged_steps),
            key=setup.plan.key,
        )
    except EvaluatorError as error:
        raise RefusedError(str(error)) from error


def _accuracy(task: DatasetTask, scores: "NDArray[np.floating]", y: "NDArray[np.int64]") -> float:
    return float(np.mean(task.predicted(scores, y) == y))


def _predicted_rate(calibration: Calibration, genome: Genome, cost: Cost, trained: Trained) -> float:
    step = step_cost(
        dict(genome.values),
        cost.shape,
        arithmetic=calibration.arithmetic,
        free_steps=trained.free_steps,
        nudged_steps=trained.nudged_steps,
    )
    return float(f"{predict_rate(step, batch=cost.batch, calibration=calibration):.6g}")


def _settling(setup: Setup, finished: Finished) -> Settling:
    trained, (x, y) = finished.trained, setup.arrays[1]
    if not setup.job.diagnose:
        return Settling(free_steps=trained.free_steps, nudged_steps=trained.nudged_steps)
    rows = min(setup.cost.batch, _DIAGNOSED_EXAMPLES, len(x))
    seen = finished.diagnose(x[:rows], y[:rows])
    return Settling(
        free_steps=trained.free_steps,
        nudged_steps=trained.nudged_steps,
        verdict=seen.verdict if setup.values["credit"] == "ep" else "none",
        period=seen.period or 0,
        free_energy=seen.free_energy,
        nudged_energy=seen.nudged_energy,
        free_residual=seen.free_residual,
        nudged_residual=seen.nudged_residual,
        spectral_norm=dict(seen.spectral_norms),
        gradient_norm=dict(seen.gradient_norms),
    )
