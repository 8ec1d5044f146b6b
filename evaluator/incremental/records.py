"""Finished runs read back from an experiment's folder, and held to what their manifests say of them."""

import csv
import io
import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import msgspec
import numpy as np
from numpy.typing import NDArray
from safetensors import SafetensorError
from safetensors.numpy import load

from evaluator.incremental.artefacts import ERROR_COLUMNS, GROWTH_COLUMNS
from evaluator.incremental.checkpoint import CheckpointError
from evaluator.incremental.experiment import Manifest, read_manifest, run_folder
from evaluator.incremental.metrics import backward_transfer, forgetting, macro
from evaluator.incremental.settings import REGIMES
from evaluator.incremental.stages import GrowthRound

__all__ = ["Run", "read_run", "read_runs", "unfinished"]

# Sums of the same numbers, read back digit for digit: only their order may differ between versions of NumPy.
_TOLERANCE = 1e-9


@dataclass(frozen=True, eq=False)
class Run:
    """A finished run: `mse` (stages, classes) after each stage, decisions about growth, arrays of reconstructions."""

    folder: Path
    manifest: Manifest
    mse: NDArray[np.float64]
    rounds: tuple[GrowthRound, ...]
    shown: dict[str, NDArray[np.generic]]

    @property
    def labels(self) -> tuple[int, ...]:
        """The classes as they were learned: the columns of `mse`."""
        return tuple(label for labels in self.manifest.order for label in labels)

    @property
    def learned(self) -> tuple[int, ...]:
        """The stage in which each column's class was learned."""
        return tuple(stage for stage, labels in enumerate(self.manifest.order) for _ in labels)


def read_runs(folder: Path) -> tuple[Run, ...]:
    """Every finished run under an experiment's folder, by regime and then by seed.

    Raises CheckpointError where there is none, where a file is not what the manifest says, or where runs differ in
    data or settings, which makes them no one experiment.
    """
    runs = [read_run(path.parent) for variant in REGIMES for path in _manifests(folder, variant)]
    if not runs:
        raise CheckpointError(
            f"{folder} holds no finished run of `eqmesh experiment neurogenesis`. Name its --out folder, or finish one."
        )
    first = runs[0].manifest
    for run in runs[1:]:
        other = run.manifest
        for what in ("data", "data_sha256", "settings_sha256", "order", "versions"):
            if getattr(other, what) != getattr(first, what):
                raise CheckpointError(
                    f"runs of one experiment share their {what}, but {run.folder} and {runs[0].folder} differ. Move "
                    "one of them elsewhere."
                )
    return tuple(runs)


def unfinished(folder: Path) -> tuple[str, ...]:
    """Regime and seed of every run under the folder that was begun and not ended."""
    return tuple(
        f"{variant}, seed {path.parent.name.removeprefix('seed-')}"
        for variant in REGIMES
        for path in sorted(run_folder(folder, variant, 0).parent.glob("seed-*/checkpoint.safetensors"))
        if not (path.parent / "manifest.json").exists()
    )


def _manifests(folder: Path, variant: str) -> list[Path]:
    # In the order of the numbers, not of their digits: 2 comes before 10.
    found = run_folder(folder, variant, 0).parent.glob("seed-*/manifest.json")  # type: ignore[arg-type]
    return sorted(found, key=lambda path: (len(path.parent.name), path.parent.name))


def read_run(folder: Path) -> Run:
    """A finished run, its files held to their hashes and its result to its files; raises CheckpointError."""
    manifest = read_manifest(folder)
    try:
        errors = _rows(folder / "errors.csv", ERROR_COLUMNS)
        rounds = tuple(
            msgspec.convert(_plain(row), GrowthRound, strict=False)
            for row in _rows(folder / "growth.csv", GROWTH_COLUMNS)
        )
        columns = sum(len(labels) for labels in manifest.order)
        mse = np.array([float(row["mse"]) for row in errors]).reshape(len(manifest.order), columns)
        shown = dict(load((folder / "reconstructions.safetensors").read_bytes()))
    except (OSError, ValueError, msgspec.ValidationError, SafetensorError) as error:
        raise CheckpointError(
            f"the files of {folder} are not those of a run: {error}. Remove manifest.json to write them again."
        ) from error
    run = Run(folder, manifest, mse, rounds, shown)
    _check_result(run)
    return run


def _plain(row: dict[str, str]) -> dict[str, str]:
    """A row with its truth values as JSON writes them: the CSV has Python's."""
    return {**row, "cap_hit": row["cap_hit"].lower()}


def _rows(path: Path, columns: Sequence[str]) -> list[dict[str, str]]:
    reader = csv.DictReader(io.StringIO(path.read_text(encoding="utf-8")))
    rows = list(reader)
    if tuple(reader.fieldnames or ()) != tuple(columns):
        raise ValueError(f"{path.name} must have the columns {', '.join(columns)}, got {reader.fieldnames}")
    return rows


def _check_result(run: Run) -> None:
    """Raise CheckpointError where the manifest's result is not what its own files come to."""
    result, learned = run.manifest.result, run.learned
    added = [0] * (len(run.manifest.base_sizes) - 1)
    for growth in run.rounds:
        added[growth.level - 1] += growth.added
    base = run.manifest.base_sizes
    found: dict[str, object] = {
        "macro_mse": macro(run.mse),
        "forgetting": forgetting(run.mse, learned, lower_is_better=True),
        "backward_transfer": backward_transfer(run.mse, learned, lower_is_better=True),
        "sizes": (base[0], *(size + more for size, more in zip(base[1:], added, strict=True))),
        "cap_hit": any(growth.cap_hit for growth in run.rounds),
    }
    wrong = [name for name, value in found.items() if not _same(getattr(result, name), value)]
    folder = run_folder(run.folder.parent.parent, result.variant, result.seed)
    if wrong or folder != run.folder:
        what = ", ".join(wrong) or "regime or seed"
        raise CheckpointError(
            f"{what} in {run.folder / 'manifest.json'} must follow from the files and the folder beside it, and does "
            "not: it changed after the run. Remove it to write it again."
        )


def _same(told: object, found: object) -> bool:
    if isinstance(told, float) and isinstance(found, float):
        return math.isclose(told, found, rel_tol=_TOLERANCE, abs_tol=_TOLERANCE)
    return told == found
