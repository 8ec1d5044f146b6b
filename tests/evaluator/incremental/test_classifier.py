"""Class-incremental classifiers: replay of a fixed code, stages, and runs that resume."""

import csv
import functools
import hashlib
import shutil
from pathlib import Path

import numpy as np
import pytest
from msgspec.structs import replace

from evaluator.errors import SurroundingsError, TaskError
from evaluator.incremental import AccessError, ClassGuard, GrowthRound, IncrementalData, incremental_data
from evaluator.incremental.checkpoint import CheckpointError
from evaluator.incremental.classifier import (
    CLASSIFIER_DIGITS,
    CLASSIFIER_MNIST,
    CLASSIFIER_VARIANTS,
    ClassifierResult,
    ClassifierSettings,
    ClassifierVariant,
)
from evaluator.incremental.classifier.files import read_point
from evaluator.incremental.classifier.learning import ClassLesson, Samples, costs
from evaluator.incremental.classifier.memory import CosineCode, Memory
from evaluator.incremental.classifier.results import ClassifierManifest, read_manifest
from evaluator.incremental.classifier.run import ClassLearned, Event, classifier_folder, run_classifier
from evaluator.incremental.classifier.settings import CLASSIFIER_REGIMES, shortened
from evaluator.incremental.classifier.stages import Course, advance, begin, network_of
from evaluator.incremental.metrics import backward_transfer, forgetting
from evaluator.tasks import resolve
from kernels import DivergedError
from kernels.growth import ReplayStatistics, Stream, seed_bytes
from tests.evaluator.incremental.runs import few_digits

SMALL = replace(
    CLASSIFIER_DIGITS,
    widths=(12,),
    cap=20,
    class_cap=8,
    batch=16,
    base_epochs=16,
    plasticity_epochs=6,
    stability_epochs=1,
    learn_epochs=10,
    joint_epochs=16,
    new_fraction=0.1,
)
FILES = ("accuracy.csv", "growth.csv", "accuracy.png")


class KilledError(Exception):
    """What a test ends a run with."""


def run(variant: ClassifierVariant, out: Path, **changes: object) -> list[Event]:
    events: list[Event] = []
    run_classifier(few_digits(), variant, 0, replace(SMALL, **changes), out, events.append)
    return events


def rows(path: Path) -> list[dict[str, str]]:
    with path.open(newline="") as file:
        return list(csv.DictReader(file))


def manifest(out: Path, variant: ClassifierVariant) -> ClassifierManifest:
    return read_manifest(classifier_folder(out, variant, 0))


@pytest.fixture(scope="module")
def done(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """All variants, run once."""
    out = tmp_path_factory.mktemp("classifier")
    for variant in CLASSIFIER_VARIANTS:
        run(variant, out)
    return out


def course(variant: ClassifierVariant = "ndl+ir", **changes: object) -> Course:
    settings = replace(SMALL, **changes)
    order = ((1, 7), (0,), (2,), (4,))
    return Course(few_digits(), order, variant, CLASSIFIER_REGIMES[variant], settings, 0, settings.widths)


# The code.


def test_a_cosine_code_is_orthonormal_and_keeps_smooth_images() -> None:
    code = CosineCode(8, 5)
    assert np.allclose(code.basis @ code.basis.T, np.eye(25), atol=1e-12)
    column, row = np.meshgrid(np.arange(8), np.arange(8))
    smooth = 0.5 + 0.25 * np.cos(np.pi / 8 * (column + 0.5)) * np.cos(np.pi / 8 * 2 * (row + 0.5))
    assert np.allclose(code.decode(code.encode(smooth.reshape(1, 64))), smooth.reshape(1, 64), atol=1e-6)
    checkers = ((column + row) % 2).astype(float).reshape(1, 64)
    assert np.abs(code.decode(code.encode(checkers)) - checkers).max() > 0.3
    whole = CosineCode(8, 8)
    assert np.allclose(whole.decode(whole.encode(checkers)), checkers, atol=1e-6)
    with pytest.raises(TaskError, match="8 x 8 pixels"):
        code.encode(np.zeros((2, 63)))


def test_what_is_recalled_has_the_mean_and_spread_of_its_class() -> None:
    data = few_digits()
    x = data.train_x[data.train_y == 0]
    memory = Memory(CosineCode(8, 8), ReplayStatistics({}, shrinkage=0.02)).with_class(0, x)
    drawn = memory.recall(0, 4000, Stream(seed_bytes(1), "test"))
    assert drawn.dtype == np.float32
    assert drawn.min() >= 0.0
    assert drawn.max() <= 1.0
    # Clipping at the bounds of a pixel lifts what lies near 0 a little.
    assert np.abs(drawn.mean(axis=0) - x.mean(axis=0)).max() < 0.06
    inner = (x.mean(axis=0) > 0.3) & (x.mean(axis=0) < 0.7)
    ratio = drawn.std(axis=0)[inner] / x.std(axis=0)[inner]
    assert inner.sum() > 5
    assert 0.8 < ratio.min() <= ratio.max() < 1.1


# One stage.


def test_costs_are_those_of_the_energy(tmp_path: Path) -> None:
    for output in ("ce", "mse"):
        one = course(output=output, beta=0.3, free_steps=2, nudged_steps=2)
        guard = ClassGuard(one.data, one.order, "intrinsic")
        network = network_of(begin(one, guard), one)
        samples = Samples(few_digits().test_x[:30], np.arange(30) % 5)
        scores = network.predict(samples.x).astype(np.float64)
        hot = np.eye(5)[samples.y]
        soft = np.exp(scores) / np.exp(scores).sum(axis=1, keepdims=True)
        expected = -np.log((soft * hot).sum(1)) if output == "ce" else 0.5 * ((scores - hot) ** 2).sum(1)
        assert np.allclose(costs(network, samples), expected, rtol=1e-9)


@pytest.mark.parametrize("quantile", [0.5, 0.9])
def test_the_threshold_leaves_its_share_of_the_base_beyond_it(quantile: float) -> None:
    one = course(quantile=quantile, margin=1.0, widths=(40,), base_epochs=40)
    state = begin(one, ClassGuard(one.data, one.order, "intrinsic"))
    mask = np.isin(one.data.train_y, (1, 7))
    numbers = np.array([one.numbers[label] for label in one.data.train_y[mask]])
    beyond = costs(network_of(state, one), Samples(one.data.train_x[mask], numbers)) > state.threshold
    assert beyond.mean() == pytest.approx(1 - quantile, abs=1 / mask.sum())


def test_a_base_that_is_barely_learned_leaves_no_threshold_beyond_chance() -> None:
    for output, chance in (("ce", np.log(5)), ("mse", 0.4)):
        one = course(output=output, beta=0.3, base_epochs=0)
        state = begin(one, ClassGuard(one.data, one.order, "intrinsic"))
        assert state.threshold == pytest.approx(0.5 * chance, rel=1e-12)


def test_old_data_cannot_be_read_where_replay_is_intrinsic() -> None:
    guard = ClassGuard(few_digits(), ((1, 7), (0,)), "intrinsic")
    guard.read(7)
    guard.advance(1)
    with pytest.raises(AccessError, match="real data of old class 7"):
        guard.read(7)


# Whole runs.


def test_every_variant_leaves_its_files(done: Path) -> None:
    for variant in CLASSIFIER_VARIANTS:
        folder, record = classifier_folder(done, variant, 0), manifest(done, variant)
        assert set(record.files) == set(FILES)
        for name, sha256 in record.files.items():
            assert hashlib.sha256((folder / name).read_bytes()).hexdigest() == sha256
        assert (folder / "accuracy.png").read_bytes().startswith(b"\x89PNG")
        assert record.settings == SMALL
        assert record.data_sha256 == few_digits().sha256
        expected = ((1, 7, 0, 2, 4),) if variant == "joint" else ((1, 7), (0,), (2,), (4,))
        assert record.order == expected
        assert not list(folder.glob(".*"))


def test_accuracies_are_those_of_the_networks_and_make_the_figures(done: Path) -> None:
    for variant in CLASSIFIER_VARIANTS:
        folder, record = classifier_folder(done, variant, 0), manifest(done, variant)
        stages = len(record.order)
        table = rows(folder / "accuracy.csv")
        matrix = np.array([float(row["accuracy"]) for row in table]).reshape(stages, 5)
        learned = [int(row["learned_in"]) for row in table[:5]]
        point = read_point(folder, record.run)
        assert point is not None
        one = replace_course(course(variant), point.state.widths, record)
        network = network_of(point.state, one)
        for column, row in enumerate(table[-5:]):
            label = int(row["class"])
            answers = network.predict(few_digits().measured(label)).argmax(axis=1)
            assert matrix[-1, column] == (answers == one.numbers[label]).mean()
        result = record.result
        assert result.accuracy == pytest.approx(matrix[-1].mean(), rel=1e-12)
        if variant == "joint":
            assert result.forgetting is result.backward_transfer is None
            continue
        assert result.forgetting == forgetting(matrix, learned, lower_is_better=False)
        assert result.backward_transfer == backward_transfer(matrix, learned, lower_is_better=False)


def replace_course(one: Course, widths: tuple[int, ...], record: ClassifierManifest) -> Course:
    start = SMALL.widths if one.regime.grows else widths
    return Course(one.data, record.order, one.variant, one.regime, one.settings, one.seed, start)


def test_the_trace_of_growth_adds_up_to_the_widths(done: Path) -> None:
    for variant in ("ndl", "ndl+ir"):
        table = rows(classifier_folder(done, variant, 0) / "growth.csv")
        result = manifest(done, variant).result
        added = sum(int(row["added"]) for row in table)
        assert 0 < added <= SMALL.cap
        assert result.widths == (SMALL.widths[0] + added,)
        assert result.cap_hit == any(row["cap_hit"] == "True" for row in table)
        assert {float(row["threshold"]) for row in table} == {manifest(done, variant).threshold}
    assert rows(classifier_folder(done, "cl+ir", 0) / "growth.csv") == []


def test_fixed_networks_are_sized_as_the_growing_ones_end(done: Path) -> None:
    sizes = {variant: manifest(done, variant).result.widths for variant in CLASSIFIER_VARIANTS}
    assert sizes["cl"] == sizes["ndl"]
    assert sizes["cl+ir"] == sizes["joint"] == sizes["ndl+ir"] != SMALL.widths


def test_replay_keeps_the_classes_and_joint_training_is_best(done: Path) -> None:
    found = {variant: manifest(done, variant).result for variant in CLASSIFIER_VARIANTS}
    for without, kept in (("ndl", "ndl+ir"), ("cl", "cl+ir")):
        assert found[kept].accuracy > found[without].accuracy + 0.3  # type: ignore[index]
        assert found[kept].forgetting < found[without].forgetting  # type: ignore[index, operator]
    assert found["ndl+ir"].accuracy > 0.8


def test_each_stage_begins_with_empty_slots() -> None:
    one = course("cl")
    guard = ClassGuard(one.data, one.order, "none")
    state = advance(begin(one, guard), one, guard, on_round=lambda _round: None)
    # 40 samples in batches of 16.
    assert state.network["0.count"] == one.settings.learn_epochs * 3


@pytest.mark.parametrize("new_from", ["replay", "data"])
def test_the_new_class_is_drawn_or_read_as_the_settings_say(
    monkeypatch: pytest.MonkeyPatch, new_from: str
) -> None:
    seen: list[Samples] = []
    monkeypatch.setattr(ClassLesson, "fit", lambda _self, _network, samples, *_rest: seen.append(samples))
    one = course("cl+ir", new_from=new_from, base_epochs=1)
    guard = ClassGuard(one.data, one.order, "intrinsic")
    advance(begin(one, guard), one, guard, on_round=lambda _round: None)
    (samples,) = seen
    read = {row.tobytes() for row in one.data.train_x}
    new, old = samples.y == one.numbers[0], samples.y != one.numbers[0]
    assert new.sum() == 40
    assert old.sum() == 80
    assert [row.tobytes() in read for row in samples.x[new]] == [new_from == "data"] * 40
    assert not any(row.tobytes() in read for row in samples.x[old])


def test_no_old_datum_is_touched(done: Path) -> None:
    for variant in CLASSIFIER_VARIANTS:
        accesses = manifest(done, variant).accesses
        assert not any(access.old for access in accesses)
        expected = (
            [(0, label) for label in (1, 7, 0, 2, 4)]
            if variant == "joint"
            else [(0, 1), (0, 7), (1, 0), (2, 2), (3, 4)]
        )
        assert [(access.stage, access.label) for access in accesses] == expected


@pytest.mark.parametrize("variant", ["ndl", "cl", "ndl+ir", "cl+ir"])
def test_old_data_could_as_well_be_gone(done: Path, tmp_path: Path, variant: ClassifierVariant) -> None:
    known = few_digits()
    data = IncrementalData("few digits", known.train_x.copy(), known.train_y, known.test_x, known.test_y)
    assert data.sha256 == known.sha256

    def destroy(event: Event) -> None:
        # The training data of what has been learned become what no training survives.
        if isinstance(event, ClassLearned) and event.variant == variant:
            data.train_x[np.isin(data.train_y, event.labels)] = np.nan

    twin = {"cl": "ndl", "cl+ir": "ndl+ir"}.get(variant)
    if twin is not None:
        shutil.copytree(classifier_folder(done, twin, 0), classifier_folder(tmp_path, twin, 0))  # type: ignore[arg-type]
    run_classifier(data, variant, 0, SMALL, tmp_path, destroy)
    assert np.isnan(data.train_x).all()
    assert_same_run(tmp_path, done, variant)


@pytest.mark.parametrize("variant", ["ndl+ir", "cl+ir"])
@pytest.mark.parametrize("killed_in", [0, 2, 3])
def test_a_run_killed_at_any_class_ends_as_if_it_had_not_been(
    done: Path, tmp_path: Path, variant: ClassifierVariant, killed_in: int
) -> None:
    def kill(event: Event) -> None:
        if isinstance(event, ClassLearned) and event.variant == variant and event.stage == killed_in:
            raise KilledError

    with pytest.raises(KilledError):
        run_classifier(few_digits(), variant, 0, SMALL, tmp_path, kill)
    events = run(variant, tmp_path)
    assert all(event.stage > killed_in for event in events)
    assert_same_run(tmp_path, done, variant)
    assert run(variant, tmp_path) == [], "a finished run is not run again"


def test_a_run_killed_within_a_class_begins_that_class_anew(done: Path, tmp_path: Path) -> None:
    def kill(event: Event) -> None:
        if isinstance(event, GrowthRound) and event.stage == 2 and event.round == 1:
            raise KilledError

    with pytest.raises(KilledError):
        run_classifier(few_digits(), "ndl+ir", 0, SMALL, tmp_path, kill)
    assert {event.stage for event in run("ndl+ir", tmp_path)} == {2, 3}
    assert_same_run(tmp_path, done, "ndl+ir")


def assert_same_run(one: Path, other: Path, variant: ClassifierVariant) -> None:
    """Both folders hold the same bytes, but for the seconds that the runs took."""
    folders = [classifier_folder(out, variant, 0) for out in (one, other)]
    for name in FILES:
        assert (folders[0] / name).read_bytes() == (folders[1] / name).read_bytes()
    ours, theirs = (
        replace(found, result=replace(found.result, seconds=0.0))
        for found in (read_manifest(folder) for folder in folders)
    )
    assert ours == theirs
    points = [read_point(folder, ours.run) for folder in folders]
    states = [point.state.network for point in points if point is not None]
    assert states[0].keys() == states[1].keys()
    assert all(np.array_equal(states[0][name], states[1][name]) for name in states[0])


def test_another_run_and_tampered_files_are_refused(done: Path, tmp_path: Path) -> None:
    with pytest.raises(CheckpointError, match="settings, seed, data or versions"):
        run("ndl", done, quantile=0.9)
    folder = classifier_folder(tmp_path, "ndl", 0)
    shutil.copytree(classifier_folder(done, "ndl", 0), folder)
    text = (folder / "accuracy.csv").read_text()
    (folder / "accuracy.csv").write_text(text.replace("1.0", "0.9", 1))
    with pytest.raises(CheckpointError, match=r"accuracy\.csv in .* changed"):
        run("ndl", tmp_path)
    (folder / "manifest.json").write_text("{}")
    with pytest.raises(CheckpointError, match="is no manifest"):
        run("ndl", tmp_path)
    # Without a manifest the checkpoint stands, and the files are written again.
    (folder / "manifest.json").unlink()
    assert run("ndl", tmp_path) == []
    assert (folder / "accuracy.csv").read_text() == text
    (folder / "manifest.json").unlink()
    with pytest.raises(CheckpointError, match="Choose another folder"):
        run("ndl", tmp_path, quantile=0.9)
    (folder / "checkpoint.safetensors").write_bytes(b"no such thing")
    with pytest.raises(CheckpointError, match="is no checkpoint"):
        run("ndl", tmp_path)


def test_what_does_not_fit_the_data_is_refused(tmp_path: Path) -> None:
    with pytest.raises(TaskError, match="side x side pixels"):
        run("ndl", tmp_path, side=9)
    with pytest.raises(TaskError, match="variant must be one of"):
        run("gdl", tmp_path)  # type: ignore[arg-type]
    with pytest.raises(TaskError, match="code_side must lie"):
        ClassifierSettings(side=8, code_side=9)
    with pytest.raises(TaskError, match="scales lie in"):
        ClassifierSettings(side=8, code_side=8, stability_scale=2.0)
    (tmp_path / "file").touch()
    with pytest.raises(SurroundingsError, match="Choose another"):
        run("ndl", tmp_path / "file")


@pytest.mark.parametrize("output", ["ce", "mse"])
def test_two_hidden_layers_and_either_output_learn_so_too(tmp_path: Path, output: str) -> None:
    deep = {"widths": (12, 10), "output": output, "beta": 0.4, "free_steps": 6, "nudged_steps": 3}
    run("cl+ir", tmp_path, **deep)
    grown, fixed = (manifest(tmp_path, variant).result for variant in ("ndl+ir", "cl+ir"))  # type: ignore[arg-type]
    assert grown.widths == fixed.widths
    assert grown.widths[0] > 12
    assert grown.widths[1] == 10
    assert min(grown.accuracy, fixed.accuracy) > 0.5, "five classes: chance is .2"


def test_an_order_seed_permutes_what_follows_the_base(tmp_path: Path) -> None:
    labels = [event.labels for event in run("ndl", tmp_path, order_seed=3) if isinstance(event, ClassLearned)]
    assert labels[0] == (1, 7)
    assert sorted(labels[1:]) == [(0,), (2,), (4,)]
    assert labels[1:] != [(0,), (2,), (4,)]


def test_training_that_leaves_the_numbers_says_so(tmp_path: Path) -> None:
    known = few_digits()
    x = np.where(known.train_y[:, None] == 0, np.float32(np.nan), known.train_x)
    data = IncrementalData("broken", x, known.train_y, known.test_x, known.test_y)
    with pytest.raises(DivergedError, match="step 1"):
        run_classifier(data, "ndl", 0, SMALL, tmp_path)


def test_smoke_settings_have_a_quarter_of_the_epochs() -> None:
    short = shortened(CLASSIFIER_DIGITS)
    assert (short.base_epochs, short.plasticity_epochs, short.stability_epochs, short.learn_epochs) == (
        *(10, 4, 2, 10),
    )
    assert CLASSIFIER_MNIST.side**2 == 784


@functools.cache
def digits() -> IncrementalData:
    return incremental_data(resolve("digits").load(), "digits")


@pytest.mark.slow
def test_the_preset_for_digits_remembers_all_ten_classes(tmp_path: Path) -> None:
    found: dict[str, list[ClassifierResult]] = {
        variant: [run_classifier(digits(), variant, seed, CLASSIFIER_DIGITS, tmp_path) for seed in range(3)]
        for variant in CLASSIFIER_VARIANTS
    }
    mean = {variant: np.mean([one.accuracy for one in results]) for variant, results in found.items()}
    # Three seeds gave .968, .953, .983, .100 and .102.
    assert mean["ndl+ir"] >= 0.94
    assert mean["cl+ir"] >= 0.93
    assert mean["joint"] >= 0.96
    assert max(mean["ndl"], mean["cl"]) < 0.2
    assert all(60 < one.widths[0] < 256 for one in found["ndl+ir"])
