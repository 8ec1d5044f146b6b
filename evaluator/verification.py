"""A stranger's claim held against this machine's own arithmetic: its weights weighed, a segment replayed.

What a claim gets wrong is an answer, in words; only what this machine cannot do is raised.
"""

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING

import msgspec
import numpy as np

from evaluator import tensors, weights
from evaluator.build import build
from evaluator.cost import nominal_steps
from evaluator.errors import EvaluatorError, EvidenceError
from evaluator.groups import group_key
from evaluator.jobs import Replay, Replayed, Weigh, Weighed
from evaluator.setups import affordable, plan_of, split_arrays
from evaluator.tasks import DatasetTask, Tier
from evaluator.train import fingerprint, replay_segment
from genome import Genome, Value
from kernels import KernelError, Learner

if TYPE_CHECKING:
    from numpy.typing import NDArray

    Arrays = Mapping[str, NDArray[np.generic]]

__all__ = ["replay_network", "weigh"]

_PREDICTION_BYTES = 2


class _ImpossibleStateError(EvidenceError):
    """The claim commits to a state that its own training cannot have left."""


def weigh(request: Weigh, task: DatasetTask, tier: Tier, genome: Genome) -> Weighed:
    """Predict the whole validation split with a claim's weights, and compare with all that it says of that.

    Raises RefusedError for a genome beyond the limits, SurroundingsError where a file cannot be read, MemoryError.
    """
    values = dict(genome.values)
    _, arithmetic = affordable(values, task, request.arithmetic, request.limits)
    data = task.load().at(tier)
    x, y = data.validation_x, data.validation_y

    def make(parameters: "Arrays | None") -> Learner:
        return build(
            values,
            inputs=task.inputs,
            classes=task.classes,
            # Weights of a claim replace what it draws; which ones does not matter.
            seed=bytes(32),
            arithmetic=arithmetic,
            backend=request.backend,
            image=task.image,
            heads=task.heads,
            parameters=parameters,
        )

    found = Weighed(
        number=request.number, passed=False, why="", examples=len(y), free_steps=_prediction_steps(values)
    )
    try:
        learner = _with_weights(request, make)
    except EvidenceError as error:
        return msgspec.structs.replace(found, why=f"weights: {error}")
    try:
        claimed = _claimed_predictions(request, len(y))
    except EvidenceError as error:
        return msgspec.structs.replace(found, why=f"predictions: {error}")
    mismatches = int(np.count_nonzero(task.predicted(learner.predict(x), y) != claimed))
    correct = int(np.count_nonzero(claimed == y))
    why = _objection(request, mismatches=mismatches, correct=correct, examples=len(y))
    return msgspec.structs.replace(found, passed=not why, why=why, mismatches=mismatches, correct=correct)


def _prediction_steps(values: Mapping[str, Value]) -> float:
    """Sweeps of a prediction; 0.0 where there are none, or where the states decide."""
    return 0.0 if float(values.get("tolerance", 0.0)) > 0.0 else nominal_steps(values)[0]


def _with_weights(request: Weigh, make: "Callable[[Arrays | None], Learner]") -> Learner:
    """A learner of the claim's weights. Raises EvidenceError for a file of anything else."""
    like = make(None).parameters()
    body = tensors.fetch(Path(request.weights_path), request.weights, at_most=tensors.largest_file(like))
    given = tensors.unpack(body, like)
    tensors.refuse_infinite(given)
    try:
        learner = make(given)
    except KernelError as error:
        raise EvidenceError(str(error)) from error
    # The exact class rounds what it is made of; a training leaves nothing that there is to round. Elsewhere a spectral
    # cap is applied to what a learner is made of, and may round once more: the predictions show whether that matters.
    for name, array in learner.parameters().items():
        if request.arithmetic == "exact-1" and not np.array_equal(array, given[name]):
            raise EvidenceError(f"{name!r} must lie on the weight grid of {request.arithmetic}, it does not")
    return learner


def _claimed_predictions(request: Weigh, examples: int) -> "NDArray[np.uint16]":
    size = _PREDICTION_BYTES * examples
    body = tensors.fetch(Path(request.predictions_path), request.predictions, at_most=size)
    if len(body) != size:
        raise EvidenceError(f"the file must have {size} bytes for {examples} examples, got {len(body)}")
    return np.frombuffer(body, dtype="<u2")


def _objection(request: Weigh, *, mismatches: int, correct: int, examples: int) -> str:
    """What speaks against the claim, or nothing."""
    if mismatches > request.flips_allowed:
        return (
            f"predictions: {mismatches} of {examples} are not what these weights give here, "
            f"{request.flips_allowed} may differ"
        )
    if (request.correct, request.examples) != (correct, examples):
        return (
            f"accuracy: {request.correct} right of {request.examples} are claimed, "
            f"the predictions are right for {correct} of {examples}"
        )
    return ""


def replay_network(request: Replay, task: DatasetTask, tier: Tier, genome: Genome) -> Replayed:
    """Train one checkpoint segment of a claim's job again, from the state before it.

    Raises EvaluatorError for a request that makes no sense, RefusedError for a genome beyond the limits,
    SurroundingsError where the state cannot be read, kernels.DivergedError as the training does, and MemoryError.
    """
    job = request.job
    if job.arithmetic == "fp32" and job.backend != "triton" and group_key(job) is not None:
        raise EvaluatorError(
            f"a {job.arithmetic} training of purpose {job.purpose!r} runs in a population, whose bits no network alone "
            "repeats. Ask for evidence, or train in exact-1, to have it replayed."
        )
    values = dict(genome.values)
    _, arithmetic = affordable(values, task, job.arithmetic, job.limits)
    (x, y), _ = split_arrays(task, tier, job)
    plan = plan_of(job, tier, values, examples=len(x))
    first, _ = plan.segment(request.segment)
    learner = build(
        values,
        inputs=task.inputs,
        classes=task.classes,
        seed=plan.key,
        arithmetic=arithmetic,
        backend=job.backend,
        image=task.image,
        heads=task.heads,
    )
    try:
        _take_start(request, learner, first)
        found = replay_segment(learner, x, y, plan, segment=request.segment, state=None)
    except _ImpossibleStateError as error:
        return Replayed(number=request.number, end="", start_ok=False, why=f"leaf: {error}")
    except EvidenceError as error:
        return Replayed(number=request.number, end="", start_ok=False, why=f"state: {error}")
    except (ArithmeticError, ValueError) as error:
        if request.segment == 0:
            raise
        # Counters that no training leaves behind: Python's own arithmetic fails on them, an array's does not.
        why = f"leaf: no step can be taken from this state ({error})"
        return Replayed(number=request.number, end="", start_ok=False, why=why)
    count = len(plan.boundaries)
    return Replayed(
        number=request.number,
        end=found.end,
        free_steps=found.free_steps,
        nudged_steps=found.nudged_steps,
        segments=count,
        weights=weights.pack(learner.parameters())[0] if request.segment == count - 1 else "",
    )


def _take_start(request: Replay, learner: Learner, step: int) -> None:
    """Load the state that the segment starts from, of `step` steps.

    Raises EvidenceError for arrays that are not those of the leaf, _ImpossibleStateError for a leaf of something else.
    """
    path, name, leaf = request.state_path, request.state, request.leaf
    if request.segment == 0:
        if path is not None or name is not None or leaf is not None:
            raise EvaluatorError(
                "segment 0 starts from the network as it is built, got a state. Leave it out."
            )
        return
    if path is None or name is None or leaf is None:
        raise EvaluatorError(
            f"segment {request.segment} starts from a state: expected state_path, state and leaf, got "
            f"{path!r}, {name!r} and {leaf!r}."
        )
    like = learner.state()
    state = tensors.unpack(tensors.fetch(Path(path), name, at_most=tensors.largest_file(like)), like)
    found = fingerprint(state)
    if found != leaf:
        raise EvidenceError(f"the checkpoint before has the fingerprint {leaf!r}, this state {found!r}")
    if int(state["step"].item()) != step:
        raise _ImpossibleStateError(
            f"segment {request.segment} starts after {step} steps, this state is of {state['step'].item()}"
        )
    try:
        learner.load(state)
    except KernelError as error:
        raise _ImpossibleStateError(str(error)) from error
