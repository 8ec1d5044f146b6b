"""One neurogenesis experiment: a regime learned from a seed, resumable, with its artefacts and manifest in a folder."""

import hashlib
import platform
from collections.abc import Callable, Mapping
from pathlib import Path
from types import MappingProxyType
from typing import TypeAlias

import msgspec
import numpy as np

from eqmesh import __version__
from evaluator.errors import SurroundingsError, TaskError
from evaluator.incremental.artefacts import write_artefacts
from evaluator.incremental.checkpoint import CheckpointError, read_checkpoint, write_checkpoint
from evaluator.incremental.data import Access, IncrementalData, class_order
from evaluator.incremental.metrics import backward_transfer, forgetting, macro
from evaluator.incremental.runner import Curriculum, RunState, advance, begin
from evaluator.incremental.settings import REGIMES, NeurogenesisSettings, Variant, settings_sha256
from evaluator.incremental.stages import GrowthRound
from evaluator.incremental.stagewise import Checkpointed, Method, learn_stages
from evaluator.weights import spool

__all__ = [
    "Event",
    "Manifest",
    "OnEvent",
    "RunResult",
    "StageLearned",
    "read_manifest",
    "run_folder",
    "run_neurogenesis",
]


# The growing regime that says how large a fixed one is.
TWINS: Mapping[Variant, Variant] = MappingProxyType({"cl": "ndl", "cl+ir": "ndl+ir", "cl+data": "ndl+data"})

METHOD = Method(begin=begin, advance=advance, read=read_checkpoint, write=write_checkpoint)


class StageLearned(msgspec.Struct, frozen=True, kw_only=True):
    """A stage was learned and its checkpoint stands: macro MSE over the classes seen so far, and the sizes now."""

    variant: Variant
    seed: int
    stage: int
    labels: tuple[int, ...]
    macro_mse: float
    sizes: tuple[int, ...]


Event: TypeAlias = StageLearned | GrowthRound
OnEvent: TypeAlias = Callable[[Event], None]


class RunResult(msgspec.Struct, frozen=True, kw_only=True):
    """What a regime ended with, over all classes counted alike.

    MSE per input, of samples never learned from. `forgetting` and `backward_transfer` are of the MSE. `accuracy`
    is that of the replay statistics at naming the class of a code; None where there are none. `cap_hit` says whether
    growth was ever bounded by a cap; `presented` how many samples training went through, epochs counted.
    """

    variant: Variant
    seed: int
    macro_mse: float
    forgetting: float
    backward_transfer: float
    accuracy: float | None
    sizes: tuple[int, ...]
    cap_hit: bool
    presented: int
    seconds: float


class Manifest(msgspec.Struct, frozen=True, kw_only=True):
    """Where a result came from: settings, seed, data, versions, files by their SHA-256, every reading of train data.

    `base_sha256` is that of the network after the base classes: equal for all regimes that began at one size.
    """

    run: str
    result: RunResult
    settings: NeurogenesisSettings
    settings_sha256: str
    data: str
    data_sha256: str
    order: tuple[tuple[int, ...], ...]
    base_sizes: tuple[int, ...]
    base_sha256: str
    thresholds: tuple[float, ...]
    files: dict[str, str]
    versions: dict[str, str]
    accesses: tuple[Access, ...]


def run_folder(out_folder: Path, variant: Variant, seed: int) -> Path:
    """The folder of one run under the experiment's."""
    return out_folder / variant.replace("+", "-") / f"seed-{seed}"


def read_manifest(folder: Path) -> Manifest:
    """The manifest of a finished run; raises CheckpointError where it is none, or a file is not the one it names."""
    path = folder / "manifest.json"
    try:
        manifest = msgspec.json.decode(path.read_bytes(), type=Manifest)
        found = {name: hashlib.sha256((folder / name).read_bytes()).hexdigest() for name in manifest.files}
    except (msgspec.MsgspecError, OSError) as error:
        raise CheckpointError(
            f"{path} is no manifest with its files: {error}. Remove it to run again."
        ) from error
    changed = sorted(name for name, sha256 in found.items() if sha256 != manifest.files[name])
    if changed or settings_sha256(manifest.settings) != manifest.settings_sha256:
        what = ", ".join(changed) or "the settings"
        raise CheckpointError(
            f"{what} in {folder} changed after the run. Remove manifest.json to write the files again."
        )
    return manifest


def run_neurogenesis(
    data: IncrementalData,
    variant: Variant,
    seed: int,
    settings: NeurogenesisSettings,
    out_folder: Path,
    on_event: OnEvent = lambda _event: None,
) -> RunResult:
    """Learn the classes one after another by a regime, and write what came of it under `out_folder`.

    A finished run is not run again, an interrupted one goes on after its last class and ends bit for bit as if it
    had not been interrupted. A fixed regime is sized as the growing one with the same replay and seed ends: that one
    runs first, if it has not. Writes errors.csv, growth.csv, reconstructions.safetensors and last manifest.json.

    Raises TaskError for settings that do not fit the data, CheckpointError for a folder that holds another run,
    kernels.DivergedError where training left the numbers, SurroundingsError where nothing can be written.
    """
    _check(data, variant, settings)
    sizes, capacities = settings.sizes, settings.capacities
    if variant in TWINS:
        twin = run_neurogenesis(data, TWINS[variant], seed, settings, out_folder, on_event)
        sizes = capacities = twin.sizes
    order = class_order(data.classes, base=settings.base, seed=settings.order_seed)
    curriculum = Curriculum(data, order, REGIMES[variant], settings, seed, sizes, capacities)
    folder = run_folder(out_folder, variant, seed)
    run = _identity(curriculum, variant)
    done = _finished(folder, run)
    if done is not None:
        return done.result
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise SurroundingsError(
            f"a folder must be made at {folder}, but: {error.strerror}. Choose another."
        ) from error
    point = learn_stages(
        METHOD,
        curriculum,
        folder,
        run,
        on_round=on_event,
        on_stage=lambda state: on_event(_stage_learned(state, curriculum, variant)),
    )
    files = write_artefacts(folder, point.state, curriculum)
    manifest = _manifest(curriculum, variant, run, point, files)
    body = msgspec.json.format(msgspec.json.encode(manifest), indent=1)
    spool(folder, "manifest", body + b"\n", suffix=".json")
    return manifest.result


def _check(data: IncrementalData, variant: Variant, settings: NeurogenesisSettings) -> None:
    """Raise TaskError where variant or settings do not fit the data."""
    if variant not in REGIMES:
        raise TaskError(f"variant must be one of {', '.join(REGIMES)}, got {variant!r}.")
    width = data.train_x.shape[1]
    if width != settings.sizes[0]:
        raise TaskError(
            f"sizes begin with the {width} inputs of {data.name}, got {settings.sizes}. Set sizes."
        )
    unmeasured = [label for label in data.classes if not len(data.measured(label))]
    if unmeasured:
        raise TaskError(f"every class needs samples to measure on, {data.name} has none of {unmeasured}.")


def _identity(curriculum: Curriculum, variant: Variant) -> str:
    """SHA-256 (hex) of all that determines a run, package and numpy included."""
    parts = (
        "eqmesh-neurogenesis/1",
        variant,
        curriculum.seed,
        settings_sha256(curriculum.settings),
        curriculum.data.sha256,
        curriculum.sizes,
        sorted(_versions().items()),
    )
    return hashlib.sha256(msgspec.msgpack.encode(parts)).hexdigest()


def _versions() -> dict[str, str]:
    return {"eqmesh": __version__, "numpy": np.__version__, "python": platform.python_version()}


def _finished(folder: Path, run: str) -> Manifest | None:
    path = folder / "manifest.json"
    if not path.exists():
        return None
    manifest = read_manifest(folder)
    if manifest.run != run:
        raise CheckpointError(
            f"{path} belongs to the run {manifest.run[:12]}, expected {run[:12]}: settings, seed, data or versions "
            "differ. Choose another folder, or remove it."
        )
    return manifest


def _stage_learned(state: RunState, curriculum: Curriculum, variant: Variant) -> StageLearned:
    seen = sum(len(labels) for labels in curriculum.order[: state.stage + 1])
    return StageLearned(
        variant=variant,
        seed=curriculum.seed,
        stage=state.stage,
        labels=curriculum.order[state.stage],
        macro_mse=float(state.mse[-1, :seen].mean()),
        sizes=state.stack.sizes,
    )


def _manifest(
    curriculum: Curriculum, variant: Variant, run: str, point: Checkpointed[RunState], files: dict[str, str]
) -> Manifest:
    state, learned = point.state, curriculum.learned
    result = RunResult(
        variant=variant,
        seed=curriculum.seed,
        macro_mse=macro(state.mse),
        forgetting=forgetting(state.mse, learned, lower_is_better=True),
        backward_transfer=backward_transfer(state.mse, learned, lower_is_better=True),
        accuracy=macro(state.accuracy) if state.statistics is not None else None,
        sizes=state.stack.sizes,
        cap_hit=any(growth.cap_hit for growth in state.rounds),
        presented=state.presented,
        seconds=round(point.seconds, 3),
    )
    return Manifest(
        run=run,
        result=result,
        settings=curriculum.settings,
        settings_sha256=settings_sha256(curriculum.settings),
        data=curriculum.data.name,
        data_sha256=curriculum.data.sha256,
        order=curriculum.order,
        base_sizes=curriculum.sizes,
        base_sha256=state.base_sha256,
        thresholds=state.thresholds,
        files=files,
        versions=_versions(),
        accesses=point.accesses,
    )
