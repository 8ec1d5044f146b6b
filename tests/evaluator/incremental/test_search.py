"""Class-incremental learning of a genome: every gene is read, the curve and the objectives are those of its course."""

import functools
import json
from typing import Any

import numpy as np
import pytest

from evaluator import service
from evaluator.errors import TaskError
from evaluator.incremental import IncrementalData
from evaluator.incremental.classifier.search import course_of, learn_course, memory_bytes, settings_of
from evaluator.incremental.classifier.settings import CLASSIFIER_DIGITS, CLASSIFIER_MNIST
from evaluator.incremental.metrics import forgetting
from evaluator.jobs import CurvePoint, Failure, Outcome, Progress, Reply
from evaluator.tasks import FunctionTask, TestPermit, resolve
from genome import Choice, preset
from genome.incremental import INCREMENTAL, REGIMES
from kernels import DivergedError
from tests.support.jobs import job

TASK = resolve("digits-incremental")
assert isinstance(TASK, FunctionTask)
EPOCHS = 6


@functools.cache
def few() -> IncrementalData:
    """24 digits of each of four classes to learn, 60 to measure on."""
    data = resolve("digits").load()  # type: ignore[attr-defined]
    rows = np.concatenate([np.flatnonzero(data.train_y == label)[:24] for label in (0, 1, 2, 7)])
    shown = np.flatnonzero(np.isin(data.validation_y, (0, 1, 2, 7)))[:80]
    return IncrementalData(
        "few", data.train_x[rows], data.train_y[rows], data.validation_x[shown], data.validation_y[shown]
    )


# Small enough to be quick, and tuned so that several rounds of growth fall to every class.
SMALL = {
    "width1": 6, "batch": 8, "cap": 96, "class_cap": 16, "added": 0.2, "margin": 0.5, "quantile": 0.9, "patience": 2,
    "improvement": 0.2, "outliers": 0.05, "plasticity": 0.5, "stability": 0.2, "stability_rate": 0.3, "lr_adam": 0.01,
}  # fmt: skip
CONTEXTS: dict[str, tuple[str, dict[str, Any]]] = {
    "ndl": ("ndl", {**SMALL, "patience": 6}),
    "ndl-ir": ("ndl-ir", {**SMALL, "code": 0.75, "shrinkage": 0.05, "floor": 1e-4}),
    "cl-ir": ("cl-ir", {**SMALL, "width1": 16, "new_from": "data"}),
    "joint": ("joint", {**SMALL, "width1": 16}),
    "tight": ("ndl", {**SMALL, "cap": 8, "class_cap": 28, "patience": 8}),
    "patient": ("ndl", {**SMALL, "class_cap": 112, "added": 0.05, "plasticity": 0.15, "margin": 0.1}),
    "mse": ("cl", {**SMALL, "width1": 16, "output": "mse", "beta_mse": 0.2, "free_steps": 3, "nudged_steps": 2}),
    "deep": ("ndl-ir", {**SMALL, "depth": 2, "width2": 8, "gain": 0.5, "free_steps": 3, "nudged_steps": 2}),
}  # fmt: skip


def values_of(context: str, **changes: Any) -> dict[str, Any]:
    base, changed = CONTEXTS[context]
    merged = {**dict(preset(base).values), **changed, **changes}
    kept = INCREMENTAL.build(lambda gene: merged.get(gene.name, FILL.get(gene.name, gene.table[0])))
    return dict(INCREMENTAL.genome(kept).values)


FILL = {
    **SMALL, **{name: value for name, value in REGIMES["ndl-ir"].values.items() if name not in SMALL},
    "width2": 8, "gain": 0.5, "beta_mse": 0.2, "free_steps": 2,
}  # fmt: skip


@functools.cache
def outcome(context: str, changes: tuple[tuple[str, Any], ...] = ()) -> str:
    values = values_of(context, **dict(changes))
    try:
        found = learn_course(course_of(values, few(), epochs=EPOCHS, seed=3), lambda _point, _done: None)
    except DivergedError as error:
        return str(error)
    # The network as it stands: a counter alone would make a dead gene look alive.
    return json.dumps([part.tobytes().hex() for part in (found.state.network["parameters"],)])


CASES = [
    pytest.param(context, name, id=f"{context}-{name}")
    for context in CONTEXTS
    for name in values_of(context)
    if not (context in ("tight", "patient", "mse", "deep") and name in REGIMES["ndl-ir"].values)
]


def others(context: str, name: str) -> list[Any]:
    gene, now = INCREMENTAL.by_name[name], values_of(context)[name]
    levels = [level for level in gene.table if not name.startswith("width") or int(level) <= 32]
    tried = levels if isinstance(gene, Choice) else [levels[0], levels[-1]]
    return [value for value in tried if value != now]


# Bounds that nothing reaches bind nothing: each is tried where it is reached.
REACHED = {"cap": ("tight",), "patience": ("patient",), "improvement": ("ndl-ir",)}


@pytest.mark.parametrize(("context", "name"), CASES)
def test_another_value_gives_another_network(context: str, name: str) -> None:
    for chosen in REACHED.get(name, (context,)):
        alive = [outcome(chosen, ((name, value),)) != outcome(chosen) for value in others(chosen, name)]
        assert all(alive) if isinstance(INCREMENTAL.by_name[name], Choice) else any(alive)


def test_every_gene_is_tried_where_it_is_expressed() -> None:
    assert {case.values[1] for case in CASES} == set(INCREMENTAL.by_name)


def test_presets_are_the_settings_of_the_experiment() -> None:
    for task, expected in (
        ("digits-incremental", CLASSIFIER_DIGITS),
        ("mnist-incremental", CLASSIFIER_MNIST),
    ):
        found = settings_of(
            dict(preset("ndl-ir", task).values), side=expected.side, epochs=expected.learn_epochs
        )
        for name in expected.__struct_fields__:
            # Fifteen passes of forty are no level of the gene; sixteen are.
            if name not in ("plasticity_epochs", "gain"):
                assert getattr(found, name) == getattr(expected, name), (task, name)
        assert abs(found.plasticity_epochs - expected.plasticity_epochs) <= 1


def test_shares_are_passes_of_the_tier_and_a_share_above_zero_is_one_at_least() -> None:
    values = values_of("ndl", stability=0.025, plasticity=0.5, learn=0.05)
    some = settings_of(values, side=8, epochs=10)
    assert (some.base_epochs, some.plasticity_epochs, some.stability_epochs, some.learn_epochs) == (
        10,
        5,
        1,
        1,
    )
    assert settings_of(values_of("ndl", stability=0.0), side=8, epochs=10).stability_epochs == 0


def test_the_curve_has_a_point_a_class_and_the_objectives_are_those_of_the_last_state() -> None:
    points: list[tuple[CurvePoint, float]] = []
    course = course_of(values_of("deep"), few(), epochs=EPOCHS, seed=0)
    found = learn_course(course, lambda point, done: points.append((point, done)))
    assert [point.epoch for point, _ in points] == [2.0, 3.0, 4.0]
    assert [done for _, done in points] == pytest.approx([1 / 3, 2 / 3, 1.0])
    samples = [point.samples for point, _ in points]
    assert samples == sorted(samples) and samples[-1] == found.state.presented
    # Two hidden layers settle in sweeps, of which the last one moves something in some stage.
    assert any(point.residual > 0 for point, _ in points)
    assert points[-1][0].accuracy == pytest.approx(found.objectives["accuracy"])
    assert found.objectives["forgetting"] == forgetting(
        found.state.accuracy, course.learned, lower_is_better=False
    )
    again = learn_course(course, lambda _point, _done: None)
    assert again.objectives == found.objectives


def test_joint_training_forgets_nothing_and_learns_best() -> None:
    def objectives(context: str) -> dict[str, float]:
        course = course_of(values_of(context), few(), epochs=20, seed=0)
        return learn_course(course, lambda _point, _done: None).objectives

    joint, forgetful, replayed = objectives("joint"), objectives("ndl"), objectives("cl-ir")
    assert joint["forgetting"] == 0.0
    assert joint["accuracy"] > 0.8 > forgetful["accuracy"]
    # Without replay nothing but the last class is left of them: sabotage by design.
    assert forgetful["forgetting"] > 0.8 > replayed["forgetting"]


def test_memory_counts_room_for_growth_statistics_and_the_largest_mixture() -> None:
    def needed(**changes: Any) -> int:
        return memory_bytes(course_of(values_of("ndl-ir", **changes), few(), epochs=EPOCHS, seed=0))

    # 64 inputs in float32, 24 samples a class: another multiple of replay is three old classes' worth.
    assert needed(replay_ratio=2.0) - needed(replay_ratio=1.0) > 3 * 0.9 * 24 * 64 * 4
    # A mean and a covariance of 36 or 64 codes, in float64, for each of four classes.
    assert needed(code=1.0) - needed(code=0.75) == 4 * 8 * (64 + 64**2 - 36 - 36**2)
    assert needed(cap=224) > needed(cap=96)
    without = memory_bytes(course_of(values_of("ndl"), few(), epochs=EPOCHS, seed=0))
    assert without < needed()


# In the worker


def answers(**changes: Any) -> tuple[Outcome | Failure, list[Reply]]:
    sent: list[Reply] = []
    asked = job(preset("cl-ir"), task="digits-incremental", tier="smoke", arithmetic="task", **changes)
    found = service.run(asked, sent.append)
    assert isinstance(found, Outcome | Failure)
    return found, sent


def test_the_worker_gives_a_curve_and_says_how_far_it_is() -> None:
    found, sent = answers()
    assert isinstance(found, Outcome), found
    assert set(found.objectives) == {"accuracy", "forgetting", "memory", "work"}
    assert (found.arithmetic, found.backend, len(found.checkpoints)) == ("task", "task", 1)
    assert [point.epoch for point in found.curve] == [2, 3, 4, 5, 6, 7, 8, 9, 10]
    assert [reply.accuracy for reply in sent if isinstance(reply, Progress)] == [
        point.accuracy for point in found.curve
    ]
    assert found.measured.train_cpu_s == found.curve[-1].train_cpu_s > 0


def test_the_test_split_is_opened_for_a_report_alone() -> None:
    report, _ = answers(split="test", purpose="report")
    validation, _ = answers()
    assert isinstance(report, Outcome) and isinstance(validation, Outcome)
    assert report.curve == () and report.objectives["accuracy"] != validation.objectives["accuracy"]
    refused, _ = answers(split="test")
    assert isinstance(refused, Failure) and refused.kind == "refused"


def test_what_the_task_cannot_learn_is_told() -> None:
    with pytest.raises(TaskError, match=r"genes of the space 'incremental/1', .* course\."):
        TASK.measure(dict(preset("shallow").values), seed=0, tier=TASK.tier("smoke"))
    tier = TASK.tier("smoke")
    few_left = type(tier)(name="tiny", epochs=1, train_limit=4)
    with pytest.raises(TaskError, match="'tiny' leaves too few"):
        TASK.measure(dict(preset("cl").values), seed=0, tier=few_left)
    assert not TASK.portable and resolve("zdt1").portable
    assert TestPermit(reason="report")
