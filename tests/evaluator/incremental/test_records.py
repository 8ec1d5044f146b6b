import csv
import json
import shutil
from pathlib import Path

import numpy as np
import pytest
from msgspec.structs import replace

from evaluator.incremental import run_folder, run_neurogenesis
from evaluator.incremental.checkpoint import CheckpointError
from evaluator.incremental.records import Run, read_run, read_runs, unfinished
from tests.evaluator.incremental.runs import SMALL, few_digits


@pytest.fixture
def copied(experiment: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(experiment, tmp_path / "copied"))


def rewritten(path: Path, change: dict[str, object]) -> None:
    """Change numbers of a manifest's result."""
    document = json.loads(path.read_text())
    document["result"] |= change
    path.write_text(json.dumps(document))


def test_runs_come_by_regime_and_seed(runs: tuple[Run, ...]) -> None:
    found = [(run.manifest.result.variant, run.manifest.result.seed) for run in runs]
    assert found == [(variant, seed) for variant in ("ndl", "cl", "ndl+ir", "cl+ir") for seed in (0, 1)]


def test_seeds_are_ordered_as_numbers(copied: Path) -> None:
    for seed in (10, 2):
        run_neurogenesis(few_digits(), "ndl", seed, SMALL, copied)
    seeds = [run.manifest.result.seed for run in read_runs(copied)]
    assert seeds[:4] == [0, 1, 2, 10]


def test_a_run_holds_what_its_files_hold(runs: tuple[Run, ...]) -> None:
    for run in runs:
        with (run.folder / "errors.csv").open(newline="") as file:
            rows = list(csv.DictReader(file))
        for row in rows:
            column = run.labels.index(int(row["class"]))
            assert run.mse[int(row["stage"]), column] == float(row["mse"])
            assert run.learned[column] == int(row["learned_in"])
        assert run.mse.size == len(rows)
        grown = run.manifest.result.variant.startswith("ndl")
        assert bool(run.rounds) == grown
        assert np.array_equal(run.shown["labels"], run.labels)


@pytest.mark.parametrize("name", ["errors.csv", "growth.csv", "reconstructions.safetensors"])
def test_a_file_that_changed_is_named(copied: Path, name: str) -> None:
    path = run_folder(copied, "ndl+ir", 1) / name
    body = bytearray(path.read_bytes())
    body[-2] ^= 1
    path.write_bytes(bytes(body))
    with pytest.raises(CheckpointError, match=rf"{name} in .*ndl-ir.seed-1 changed"):
        read_runs(copied)


def test_a_file_that_is_gone_is_named(copied: Path) -> None:
    (run_folder(copied, "cl", 0) / "growth.csv").unlink()
    with pytest.raises(CheckpointError, match=r"growth\.csv"):
        read_runs(copied)


@pytest.mark.parametrize(
    "change",
    [
        {"macro_mse": 0.001},
        {"forgetting": 0.0},
        {"backward_transfer": 0.5},
        {"sizes": [64, 16, 7]},
        {"cap_hit": False},
        {"seed": 7},
        {"variant": "cl+ir"},
    ],
    ids=str,
)
def test_a_result_that_does_not_follow_from_the_files_is_refused(
    copied: Path, change: dict[str, object]
) -> None:
    folder = run_folder(copied, "ndl", 0)
    assert read_run(folder).manifest.result.cap_hit
    rewritten(folder / "manifest.json", change)
    what = "regime or seed" if {"seed", "variant"} & set(change) else next(iter(change))
    with pytest.raises(CheckpointError, match=f"^{what} in .*must follow"):
        read_run(folder)


def test_runs_of_other_settings_are_no_one_experiment(copied: Path) -> None:
    run_neurogenesis(few_digits(), "ndl", 2, replace(SMALL, patience=2), copied)
    with pytest.raises(CheckpointError, match="share their settings_sha256"):
        read_runs(copied)


def test_runs_of_other_versions_are_no_one_experiment(copied: Path) -> None:
    path = run_folder(copied, "cl", 1) / "manifest.json"
    document = json.loads(path.read_text())
    document["versions"]["numpy"] = "1.0"
    path.write_text(json.dumps(document))
    with pytest.raises(CheckpointError, match="share their versions"):
        read_runs(copied)


def test_a_folder_without_runs_is_refused(tmp_path: Path) -> None:
    with pytest.raises(CheckpointError, match="no finished run"):
        read_runs(tmp_path)


def test_what_was_begun_and_not_ended_is_told(copied: Path) -> None:
    assert unfinished(copied) == ()
    (run_folder(copied, "cl+ir", 1) / "manifest.json").unlink()
    assert unfinished(copied) == ("cl+ir, seed 1",)
    assert len(read_runs(copied)) == 7
