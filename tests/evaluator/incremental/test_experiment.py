import csv
import hashlib
import math
import shutil
from pathlib import Path

import msgspec
import numpy as np
import pytest
from msgspec.structs import replace
from safetensors.numpy import load

from evaluator.errors import SurroundingsError, TaskError
from evaluator.incremental import (
    DIGITS,
    VARIANTS,
    GrowthRound,
    IncrementalData,
    Manifest,
    StageLearned,
    Variant,
    incremental_data,
    read_manifest,
    run_folder,
    run_neurogenesis,
)
from evaluator.incremental.checkpoint import CheckpointError, read_checkpoint
from evaluator.incremental.experiment import Event
from evaluator.incremental.settings import REGIMES, Phases, settings_sha256
from evaluator.tasks import resolve
from kernels.growth import Schedule
from tests.evaluator.incremental.runs import SMALL, few_digits

FILES = ("errors.csv", "growth.csv", "reconstructions.safetensors")


class KilledError(Exception):
    """What a test ends a run with."""


def manifest(folder: Path) -> Manifest:
    return read_manifest(folder)


def rows(path: Path) -> list[dict[str, str]]:
    with path.open(newline="") as file:
        return list(csv.DictReader(file))


def run(variant: Variant, out: Path, **changes: object) -> list[Event]:
    events: list[Event] = []
    run_neurogenesis(few_digits(), variant, 0, replace(SMALL, **changes), out, events.append)
    return events


@pytest.fixture(scope="module")
def done(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """All four regimes and one control, run once."""
    out = tmp_path_factory.mktemp("neurogenesis")
    for variant in (*VARIANTS, "ndl+data"):
        run(variant, out)
    return out


def test_every_regime_leaves_its_files(done: Path) -> None:
    for variant in VARIANTS:
        folder = run_folder(done, variant, 0)
        record = manifest(folder)
        assert set(record.files) == set(FILES)
        for name, sha256 in record.files.items():
            assert hashlib.sha256((folder / name).read_bytes()).hexdigest() == sha256
        assert record.settings == SMALL
        assert record.settings_sha256 == settings_sha256(SMALL)
        assert record.data_sha256 == few_digits().sha256
        assert record.order == ((1, 7), (0,), (2,), (4,))
        assert set(record.versions) == {"eqmesh", "numpy", "python"}
        assert len(record.thresholds) == 2
        assert not list(folder.glob(".*"))


def test_errors_are_those_of_the_final_network(done: Path) -> None:
    for variant in VARIANTS:
        folder = run_folder(done, variant, 0)
        record = manifest(folder)
        table = rows(folder / "errors.csv")
        assert len(table) == 4 * 5
        last = [row for row in table if row["stage"] == "3"]
        assert [row["class"] for row in last] == ["1", "7", "0", "2", "4"]
        assert [row["learned_in"] for row in last] == ["0", "0", "1", "2", "3"]
        point = read_checkpoint(folder, record.run)
        assert point is not None
        for row in last:
            x = few_digits().measured(int(row["class"]))
            assert float(row["mse"]) == pytest.approx(point.state.stack.errors(x).mean(), rel=1e-12)
        macro = np.mean([float(row["mse"]) for row in last])
        assert record.result.macro_mse == pytest.approx(macro, rel=1e-12)
        assert record.result.sizes == point.state.stack.sizes


def test_the_trace_of_growth_adds_up_to_the_sizes(done: Path) -> None:
    for variant in ("ndl", "ndl+ir"):
        folder = run_folder(done, variant, 0)
        record = manifest(folder)
        table = rows(folder / "growth.csv")
        for level in (1, 2):
            added = sum(int(row["added"]) for row in table if row["level"] == str(level))
            assert SMALL.sizes[level] + added == record.result.sizes[level]
            assert added <= SMALL.caps[level - 1]
        assert record.result.cap_hit == any(row["cap_hit"] == "True" for row in table)
        assert {float(row["threshold"]) for row in table} == set(record.thresholds)
        assert sum(int(row["added"]) for row in table) > 0
    assert rows(run_folder(done, "cl", 0) / "growth.csv") == []


def test_fixed_networks_are_sized_as_the_growing_ones_end(done: Path) -> None:
    for fixed, growing in (("cl", "ndl"), ("cl+ir", "ndl+ir")):
        grown = manifest(run_folder(done, growing, 0))
        matched = manifest(run_folder(done, fixed, 0))
        assert matched.result.sizes == matched.base_sizes == grown.result.sizes
        assert grown.base_sizes == SMALL.sizes


def test_what_is_learned_first_does_not_depend_on_replay(done: Path) -> None:
    bases = {manifest(run_folder(done, variant, 0)).base_sha256 for variant in ("ndl", "ndl+ir", "ndl+data")}
    assert len(bases) == 1


def test_no_old_datum_is_touched_unless_replay_is_of_data(done: Path) -> None:
    for variant in (*VARIANTS, "ndl+data"):
        accesses = manifest(run_folder(done, variant, 0)).accesses
        current = [(access.stage, access.label, access.rows) for access in accesses if not access.old]
        assert current == [(0, 1, 40), (0, 7, 40), (1, 0, 40), (2, 2, 40), (3, 4, 40)]
        assert any(access.old for access in accesses) == (REGIMES[variant].source == "data")


def test_statistics_cover_all_classes_with_replay_and_none_without(done: Path) -> None:
    for variant in VARIANTS:
        record = manifest(run_folder(done, variant, 0))
        point = read_checkpoint(run_folder(done, variant, 0), record.run)
        assert point is not None
        statistics = point.state.statistics
        if REGIMES[variant].source == "none":
            assert statistics is None
            assert record.result.accuracy is None
            continue
        assert statistics is not None
        assert statistics.labels == (0, 1, 2, 4, 7)
        assert statistics.width == record.result.sizes[-1]
        counts = {label: statistics.classes[label].count for label in statistics.labels}
        # Old classes are known from what was recalled of them, the last from its data.
        assert counts == {0: 60, 1: 60, 2: 60, 7: 60, 4: 40}
        assert record.result.accuracy is not None
        assert 0.3 < record.result.accuracy <= 1.0


def test_accuracy_stands_for_classes_seen_so_far(done: Path) -> None:
    table = rows(run_folder(done, "cl+ir", 0) / "errors.csv")
    for row in table:
        assert (row["accuracy"] == "") == (int(row["learned_in"]) > int(row["stage"]))
    assert all(row["accuracy"] == "" for row in rows(run_folder(done, "cl", 0) / "errors.csv"))


def test_reconstructions_are_arrays_of_all_classes(done: Path) -> None:
    for variant in VARIANTS:
        folder = run_folder(done, variant, 0)
        arrays = load((folder / "reconstructions.safetensors").read_bytes())
        assert arrays["labels"].tolist() == [1, 7, 0, 2, 4]
        assert arrays["originals"].shape == arrays["reconstructions"].shape == (5, 8, 64)
        assert np.array_equal(arrays["originals"][0], few_digits().measured(1)[:8])
        assert ("replay" in arrays) == (REGIMES[variant].source != "none")


def test_replay_keeps_the_classes(done: Path) -> None:
    for growing, with_replay in (("ndl", "ndl+ir"), ("cl", "cl+ir")):
        without = manifest(run_folder(done, growing, 0)).result
        kept = manifest(run_folder(done, with_replay, 0)).result
        assert kept.macro_mse < without.macro_mse
        assert kept.forgetting < without.forgetting


def test_events_tell_of_every_stage_and_decision(tmp_path: Path) -> None:
    events = run("ndl", tmp_path)
    stages = [event for event in events if isinstance(event, StageLearned)]
    assert [event.labels for event in stages] == [(1, 7), (0,), (2,), (4,)]
    written = rows(run_folder(tmp_path, "ndl", 0) / "growth.csv")
    told = [event for event in events if isinstance(event, GrowthRound)]
    assert len(told) == len(written)
    assert [str(event.outliers) for event in told] == [row["outliers"] for row in written]
    # A finished run is not run again.
    assert run("ndl", tmp_path) == []


@pytest.mark.parametrize("variant", ["ndl+ir", "cl+ir"])
@pytest.mark.parametrize("killed_in", [0, 2, 3])
def test_a_run_killed_at_any_class_ends_as_if_it_had_not_been(
    done: Path, tmp_path: Path, variant: Variant, killed_in: int
) -> None:
    def kill(event: Event) -> None:
        if isinstance(event, StageLearned) and event.variant == variant and event.stage == killed_in:
            raise KilledError

    with pytest.raises(KilledError):
        run_neurogenesis(few_digits(), variant, 0, SMALL, tmp_path, kill)
    events = run(variant, tmp_path)
    assert all(event.stage > killed_in for event in events)
    assert_same_run(run_folder(tmp_path, variant, 0), run_folder(done, variant, 0))


def test_a_run_killed_within_a_class_begins_that_class_anew(done: Path, tmp_path: Path) -> None:
    def kill(event: Event) -> None:
        if isinstance(event, GrowthRound) and event.stage == 2 and event.level == 2:
            raise KilledError

    with pytest.raises(KilledError):
        run_neurogenesis(few_digits(), "ndl+ir", 0, SMALL, tmp_path, kill)
    events = run("ndl+ir", tmp_path)
    assert {event.stage for event in events} == {2, 3}
    assert_same_run(run_folder(tmp_path, "ndl+ir", 0), run_folder(done, "ndl+ir", 0))


def assert_same_run(one: Path, other: Path) -> None:
    """Both folders hold the same bytes, but for the seconds that the runs took."""
    for name in FILES:
        assert (one / name).read_bytes() == (other / name).read_bytes()
    ours, theirs = (
        replace(found, result=replace(found.result, seconds=0.0))
        for found in (manifest(one), manifest(other))
    )
    assert ours == theirs
    states = [read_checkpoint(folder, ours.run) for folder in (one, other)]
    networks = [point.state.stack.levels for point in states if point is not None]
    assert len(networks) == 2
    for left, right in zip(*networks, strict=True):
        assert all(
            np.array_equal(a, b) for a, b in zip(vars(left).values(), vars(right).values(), strict=True)
        )


def test_a_folder_of_another_run_is_refused(done: Path, tmp_path: Path) -> None:
    with pytest.raises(CheckpointError, match="settings, seed, data or versions"):
        run("ndl", done, quantile=0.9)

    def kill(event: Event) -> None:
        raise KilledError

    with pytest.raises(KilledError):
        run_neurogenesis(few_digits(), "ndl", 0, SMALL, tmp_path, kill)
    with pytest.raises(CheckpointError, match="Choose another folder"):
        run("ndl", tmp_path, quantile=0.9)
    (run_folder(tmp_path, "ndl", 0) / "checkpoint.safetensors").write_bytes(b"no such thing")
    with pytest.raises(CheckpointError, match="is no checkpoint"):
        run("ndl", tmp_path)


def test_what_was_tampered_with_is_refused(done: Path, tmp_path: Path) -> None:
    folder = run_folder(tmp_path, "ndl", 0)
    shutil.copytree(run_folder(done, "ndl", 0), folder)
    assert run("ndl", tmp_path) == []
    text = (folder / "errors.csv").read_text()
    (folder / "errors.csv").write_text(text.replace("0.0", "0.00", 1))
    with pytest.raises(CheckpointError, match=r"errors\.csv in .* changed"):
        run("ndl", tmp_path)
    (folder / "errors.csv").write_text(text)
    record = (folder / "manifest.json").read_text()
    (folder / "manifest.json").write_text(record.replace('"quantile": 0.95', '"quantile": 0.96'))
    with pytest.raises(CheckpointError, match=r"the settings in .* changed"):
        run("ndl", tmp_path)
    (folder / "manifest.json").write_text("{}")
    with pytest.raises(CheckpointError, match="is no manifest"):
        run("ndl", tmp_path)
    # Without a manifest the checkpoint stands, and the files are written again.
    (folder / "manifest.json").unlink()
    assert run("ndl", tmp_path) == []
    assert (folder / "errors.csv").read_text() == text


@pytest.mark.parametrize("variant", VARIANTS)
def test_old_data_could_as_well_be_gone(done: Path, tmp_path: Path, variant: Variant) -> None:
    known = few_digits()
    data = IncrementalData("few digits", known.train_x.copy(), known.train_y, known.test_x, known.test_y)
    assert data.sha256 == known.sha256

    def destroy(event: Event) -> None:
        # The training data of what has been learned become what no training survives.
        if isinstance(event, StageLearned) and event.variant == variant:
            data.train_x[np.isin(data.train_y, event.labels)] = np.nan

    if not REGIMES[variant].grows:
        twin = {"cl": "ndl", "cl+ir": "ndl+ir"}[variant]
        shutil.copytree(run_folder(done, twin, 0), run_folder(tmp_path, twin, 0))
    run_neurogenesis(data, variant, 0, SMALL, tmp_path, destroy)
    assert np.isnan(data.train_x).all()
    assert_same_run(run_folder(tmp_path, variant, 0), run_folder(done, variant, 0))


def test_thresholds_come_from_the_base_and_are_kept(done: Path) -> None:
    record = manifest(run_folder(done, "ndl", 0))
    point = read_checkpoint(run_folder(done, "ndl", 0), record.run)
    assert point is not None
    assert point.state.thresholds == record.thresholds
    assert all(0 < threshold < math.inf for threshold in record.thresholds)
    assert len(set(record.thresholds)) == 2


@pytest.mark.parametrize("quantile", [0.5, 0.9])
def test_a_threshold_leaves_its_share_of_the_base_beyond_it(tmp_path: Path, quantile: float) -> None:
    def stop(event: Event) -> None:
        raise KilledError

    settings = replace(SMALL, quantile=quantile)
    with pytest.raises(KilledError):
        run_neurogenesis(few_digits(), "ndl", 0, settings, tmp_path, stop)
    arrays = load((run_folder(tmp_path, "ndl", 0) / "checkpoint.safetensors").read_bytes())
    head = msgspec.json.decode(arrays["head"].tobytes())
    point = read_checkpoint(run_folder(tmp_path, "ndl", 0), head["run"])
    assert point is not None
    base = few_digits().train_x[np.isin(few_digits().train_y, (1, 7))]
    for level, threshold in enumerate(point.state.thresholds, start=1):
        beyond = (point.state.stack.errors(base, level) > threshold).mean()
        assert beyond == pytest.approx(1 - quantile, abs=1 / len(base))


def test_regimes_without_replay_have_phases_of_their_own(done: Path, tmp_path: Path) -> None:
    phases = Phases(
        plasticity=Schedule(epochs=2, rate=0.01, batch=16),
        consolidate=Schedule(epochs=3, rate=1e-3, batch=16),
        slow=0.1,
    )
    chosen = {name: getattr(phases, name) for name in ("plasticity", "consolidate", "slow")}
    for variant, changes in (("ndl", chosen), ("cl", chosen), ("ndl+ir", {})):
        alone, plain = tmp_path / "alone", tmp_path / "plain"
        run(variant, alone, alone=phases)  # type: ignore[arg-type]
        run(variant, plain, **changes)  # type: ignore[arg-type]
        same, other = (
            manifest(run_folder(folder, variant, 0)).result  # type: ignore[arg-type]
            for folder in (alone, plain)
        )
        assert (same.macro_mse, same.sizes) == (other.macro_mse, other.sizes)
    assert manifest(run_folder(done, "ndl", 0)).result.macro_mse != same.macro_mse
    with pytest.raises(TaskError, match="slow must lie in"):
        replace(SMALL, alone=replace(phases, slow=0.0))


def test_what_does_not_fit_the_data_is_refused(tmp_path: Path) -> None:
    with pytest.raises(TaskError, match="sizes begin with the 64 inputs"):
        run("ndl", tmp_path, sizes=(63, 16, 6))
    with pytest.raises(TaskError, match="variant must be one of"):
        run("gdl", tmp_path)  # type: ignore[arg-type]
    (tmp_path / "file").touch()
    with pytest.raises(SurroundingsError, match="Choose another"):
        run("ndl", tmp_path / "file")


@pytest.mark.slow
def test_the_preset_for_digits_learns_all_ten_classes(tmp_path: Path) -> None:
    data = incremental_data(resolve("digits").load(), "digits")
    found = {variant: run_neurogenesis(data, variant, 0, DIGITS, tmp_path) for variant in VARIANTS}
    # A third above what three seeds gave, and well below the .039 and more of the regimes without replay.
    assert found["ndl+ir"].macro_mse < 0.026
    assert found["cl+ir"].macro_mse < 0.014
    for without, with_replay in (("ndl", "ndl+ir"), ("cl", "cl+ir")):
        assert found[with_replay].macro_mse < 0.5 * found[without].macro_mse
        assert found[with_replay].forgetting < 0.25 * found[without].forgetting
