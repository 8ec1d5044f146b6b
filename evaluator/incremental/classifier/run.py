"""One class-incremental run of a classifier: resumable after each class, with its files and manifest in a folder."""

import hashlib
import platform
from collections.abc import Callable
from pathlib import Path
from typing import TypeAlias

import msgspec
import numpy as np
import torch

from eqmesh import __version__
from evaluator.errors import SurroundingsError, TaskError
from evaluator.incremental.checkpoint import CheckpointError
from evaluator.incremental.classifier.files import read_point, write_files, write_point
from evaluator.incremental.classifier.messages import ClassifierResult, ClassifierVariant
from evaluator.incremental.classifier.results import ClassifierManifest, read_manifest
from evaluator.incremental.classifier.settings import (
    CLASSIFIER_REGIMES,
    SIZED_AS,
    ClassifierSettings,
)
from evaluator.incremental.classifier.stages import ClassifierState, Course, advance, begin
from evaluator.incremental.data import IncrementalData, class_order
from evaluator.incremental.metrics import backward_transfer, forgetting, macro
from evaluator.incremental.stages import GrowthRound
from evaluator.incremental.stagewise import Checkpointed, Method, learn_stages
from evaluator.weights import spool

__all__ = ["ClassLearned", "classifier_folder", "run_classifier"]

METHOD = Method(begin=begin, advance=advance, read=read_point, write=write_point)


class ClassLearned(msgspec.Struct, frozen=True, kw_only=True):
    """A stage was learned and its checkpoint stands: mean accuracy over the classes seen so far, and the widths."""

    variant: ClassifierVariant
    seed: int
    stage: int
    stages: int
    labels: tuple[int, ...]
    accuracy: float
    widths: tuple[int, ...]


Event: TypeAlias = ClassLearned | GrowthRound
OnEvent: TypeAlias = Callable[[Event], None]


def classifier_folder(out_folder: Path, variant: ClassifierVariant, seed: int) -> Path:
    """The folder of one run under the experiment's."""
    return out_folder / variant.replace("+", "-") / f"seed-{seed}"


def run_classifier(
    data: IncrementalData,
    variant: ClassifierVariant,
    seed: int,
    settings: ClassifierSettings,
    out_folder: Path,
    on_event: OnEvent = lambda _event: None,
) -> ClassifierResult:
    """Learn the classes by a variant, and write what came of it under `out_folder`.

    A finished run is not run again, an interrupted one goes on after its last class and ends, on the same machine, bit
    for bit as if it had not been interrupted. A fixed network is sized as the growing one with the same replay and seed
    ends, a joint one as "ndl+ir" does: that one runs first, if it has not. Writes accuracy.csv, growth.csv,
    accuracy.png and last manifest.json.

    Raises TaskError for settings that do not fit the data, CheckpointError for a folder that holds another run,
    kernels.DivergedError where training left the numbers, SurroundingsError where nothing can be written.
    """
    _check(data, variant, settings)
    widths = settings.widths
    if variant in SIZED_AS:
        widths = run_classifier(data, SIZED_AS[variant], seed, settings, out_folder, on_event).widths
    order = class_order(data.classes, base=settings.base, seed=settings.order_seed)
    if variant == "joint":
        order = (tuple(label for labels in order for label in labels),)
    course = Course(data, order, variant, CLASSIFIER_REGIMES[variant], settings, seed, widths)
    folder = classifier_folder(out_folder, variant, seed)
    run = _identity(course)
    if (folder / "manifest.json").exists():
        manifest = read_manifest(folder)
        if manifest.run != run:
            raise CheckpointError(
                f"{folder} holds the run {manifest.run[:12]}, expected {run[:12]}: settings, seed, data or versions "
                "differ. Choose another folder, or remove it."
            )
        return manifest.result
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise SurroundingsError(
            f"a folder must be made at {folder}, but: {error.strerror}. Choose another."
        ) from error
    point = learn_stages(
        METHOD,
        course,
        folder,
        run,
        on_round=on_event,
        on_stage=lambda state: on_event(_class_learned(state, course)),
    )
    manifest = _manifest(course, run, point, write_files(folder, point.state, course))
    body = msgspec.json.format(msgspec.json.encode(manifest), indent=1)
    spool(folder, "manifest", body + b"\n", suffix=".json")
    return manifest.result


def _check(data: IncrementalData, variant: ClassifierVariant, settings: ClassifierSettings) -> None:
    if variant not in CLASSIFIER_REGIMES:
        raise TaskError(f"variant must be one of {', '.join(CLASSIFIER_REGIMES)}, got {variant!r}.")
    width = data.train_x.shape[1]
    if width != settings.side**2:
        raise TaskError(
            f"the {width} inputs of {data.name} must be images of side x side pixels, got side {settings.side}. "
            "Set side to theirs."
        )
    unmeasured = [label for label in data.classes if not len(data.measured(label))]
    if unmeasured:
        raise TaskError(f"every class needs samples to measure on, {data.name} has none of {unmeasured}.")


def _identity(course: Course) -> str:
    """SHA-256 (hex) of all that determines a run, packages included."""
    parts = (
        "eqmesh-incremental-classifier/1",
        course.variant,
        course.seed,
        course.settings.sha256,
        course.data.sha256,
        course.widths,
        sorted(_versions().items()),
    )
    return hashlib.sha256(msgspec.msgpack.encode(parts)).hexdigest()


def _versions() -> dict[str, str]:
    return {
        "eqmesh": __version__,
        "numpy": np.__version__,
        "python": platform.python_version(),
        "torch": str(torch.__version__),
    }


def _class_learned(state: ClassifierState, course: Course) -> ClassLearned:
    seen = sum(len(labels) for labels in course.order[: state.stage + 1])
    return ClassLearned(
        variant=course.variant,
        seed=course.seed,
        stage=state.stage,
        stages=len(course.order),
        labels=course.order[state.stage],
        accuracy=float(state.accuracy[-1, :seen].mean()),
        widths=state.widths,
    )


def _manifest(
    course: Course, run: str, point: Checkpointed[ClassifierState], files: dict[str, str]
) -> ClassifierManifest:
    state, learned = point.state, course.learned
    incremental = len(course.order) > 1
    result = ClassifierResult(
        variant=course.variant,
        seed=course.seed,
        accuracy=macro(state.accuracy),
        forgetting=forgetting(state.accuracy, learned, lower_is_better=False) if incremental else None,
        backward_transfer=(
            backward_transfer(state.accuracy, learned, lower_is_better=False) if incremental else None
        ),
        widths=state.widths,
        cap_hit=any(growth.cap_hit for growth in state.rounds),
        presented=state.presented,
        seconds=round(point.seconds, 3),
    )
    return ClassifierManifest(
        run=run,
        result=result,
        settings=course.settings,
        settings_sha256=course.settings.sha256,
        data=course.data.name,
        data_sha256=course.data.sha256,
        order=course.order,
        threshold=state.threshold,
        files=files,
        versions=_versions(),
        accesses=point.accesses,
    )
