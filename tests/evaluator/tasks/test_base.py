import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from evaluator.errors import TaskError
from evaluator.objectives import ACCURACY, MEMORY, NETWORK_OBJECTIVES, SPEED, Objective
from evaluator.tasks import Dataset, DatasetTask, FunctionTask, Tier, fingerprint, names, resolve, task_id
from genome.genes import Real
from genome.space import SearchSpace
from genome.spaces import MLP

GOLDEN = json.loads((Path(__file__).parent / "golden_task_ids.json").read_text())


class Line(FunctionTask):
    name = "line"
    space = SearchSpace("line", 1, (Real("x", 0.0, 1.0, 11),))
    objectives = (Objective(name="y", unit="1", direction="max", worst=0.0, best=1.0),)
    answer: object = None

    def evaluate(self, values, *, seed, tier):
        return {"y": values["x"]} if self.answer is None else self.answer


def line(**fields: object) -> Line:
    task = Line()
    for name, value in fields.items():
        setattr(task, name, value)
    return task


@pytest.mark.parametrize("name", sorted(GOLDEN))
def test_ids_of_built_in_tasks_never_change(name):
    task = resolve(name)
    assert {tier.name: task_id(task, tier) for tier in task.tiers} == GOLDEN[name]


def test_every_built_in_task_has_golden_ids():
    assert set(GOLDEN) == set(names())


def test_an_id_is_the_same_in_another_process():
    code = "from evaluator.tasks import resolve, task_id; t = resolve('zdt1'); print(task_id(t, t.tier()))"
    env = {"PYTHONHASHSEED": "123", "PYTHONPATH": str(Path(__file__).parents[3])}
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, env=env)
    assert done.stdout.strip() == GOLDEN["zdt1"]["full"]


@pytest.mark.parametrize(
    "fields",
    [
        {"name": "other"},
        {"version": 2},
        {"fingerprint": "f"},
        {"split_rule": "r"},
        {"kind": "dataset"},
        {"objectives": (Objective(name="z", unit="1", direction="max", worst=0.0, best=1.0),)},
        {"objectives": (Objective(name="y", unit="1", direction="min", worst=1.0, best=0.0),)},
        {"objectives": ()},
    ],
)
def test_an_id_tells_apart_whatever_makes_results_incomparable(fields):
    tier = Line().tier()
    assert task_id(line(**fields), tier) != task_id(Line(), tier)


@pytest.mark.parametrize(
    "other",
    [
        Tier(name="b", epochs=1),
        Tier(name="a", epochs=2),
        Tier(name="a", epochs=1, train_limit=5),
        Tier(name="a", epochs=1, validation_limit=5),
    ],
)
def test_an_id_tells_tiers_apart(other):
    assert task_id(Line(), other) != task_id(Line(), Tier(name="a", epochs=1))


def test_an_id_ignores_words_for_people():
    assert task_id(line(doc="d"), Tier(name="a", epochs=1, doc="e")) == task_id(
        Line(), Tier(name="a", epochs=1)
    )
    shown_wider = (Objective(name="y", unit="m", direction="max", worst=-9.0, best=1.0, doc="d"),)
    assert task_id(line(objectives=shown_wider), Line().tier()) == task_id(Line(), Line().tier())


def test_fields_cannot_run_into_each_other():
    assert fingerprint("ab", "c") != fingerprint("a", "bc")
    tier = Line().tier()
    assert task_id(line(fingerprint="a", split_rule="bc"), tier) != task_id(
        line(fingerprint="ab", split_rule="c"), tier
    )


def test_the_default_tier_and_one_by_name():
    task = resolve("digits")
    assert task.tier() == task.tier("standard") == task.tiers[2]
    assert task.tier("smoke").epochs < task.tier("full").epochs


def test_an_unknown_tier_suggests_the_nearest():
    with pytest.raises(
        TaskError, match=r"smoke, quick, standard, full; got 'standart'\. Did you mean 'standard'"
    ):
        resolve("digits").tier("standart")
    with pytest.raises(TaskError, match=r"got 'xyz'\. Choose one of those"):
        resolve("digits").tier("xyz")


@pytest.mark.parametrize("name", ["digits", "mnist", "fashion-mnist"])
def test_network_tasks_share_space_and_objectives(name):
    task = resolve(name)
    assert isinstance(task, DatasetTask)
    assert task.kind == "dataset"
    assert task.space is MLP
    assert task.objectives is NETWORK_OBJECTIVES
    assert [tier.name for tier in task.tiers] == ["smoke", "quick", "standard", "full"]
    assert task.default_tier == "standard"


def test_full_tiers_are_the_published_budgets():
    assert resolve("mnist").tier("full") == Tier(name="full", epochs=5, doc=resolve("mnist").tier("full").doc)
    assert resolve("fashion-mnist").tier("full").epochs == 8


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"name": ""}, "a tier's name must be"),
        ({"name": "two words"}, "a tier's name must be"),
        ({"name": 3}, "a tier's name must be"),
        ({"epochs": 0}, "epochs must be a whole number of at least 1, got 0"),
        ({"epochs": None}, "epochs must be a whole number of at least 1, got None"),
        ({"epochs": True}, "epochs must be"),
        ({"epochs": 1.5}, "epochs must be"),
        ({"train_limit": 0}, "train_limit must be"),
        ({"validation_limit": -1}, "validation_limit must be"),
    ],
)
def test_malformed_tiers_are_refused(fields, message):
    with pytest.raises(TaskError, match=message):
        Tier(**{"name": "t", "epochs": 1, **fields})


def test_a_function_is_measured_in_plain_floats_in_the_objectives_order():
    task = line(
        objectives=(ACCURACY, SPEED, MEMORY),
        answer={"memory": 3, "accuracy": np.float32(0.5), "speed": np.float64(2.0)},
    )
    found = task.measure({}, seed=0, tier=task.tier())
    assert list(found.items()) == [("accuracy", 0.5), ("speed", 2.0), ("memory", 3.0)]
    assert all(type(value) is float for value in found.values())


@pytest.mark.parametrize(
    ("answer", "message"),
    [
        ({}, r"must return the objectives \['y'\], got \[\]"),
        ({"y": 1.0, "z": 1.0}, r"got \['y', 'z'\]"),
        (1.0, r"must return the objectives \['y'\], got float"),
        ({"y": float("nan")}, "objective 'y' must be a finite number, got nan"),
        ({"y": float("inf")}, "must be a finite number, got inf"),
        ({"y": "1"}, "must be a finite number, got '1'"),
        ({"y": True}, "must be a finite number, got True"),
        ({"y": None}, "must be a finite number, got None"),
        ({"y": 1j}, "must be a finite number"),
    ],
)
def test_answers_that_are_not_the_objectives_are_refused(answer, message):
    task = line(answer=answer)
    with pytest.raises(TaskError, match=message):
        task.measure({"x": 0.5}, seed=0, tier=task.tier())


class Small(DatasetTask):
    name = "small"
    inputs, classes = 2, 3
    fingerprint, split_rule = "f", "r"
    tiers = (Tier(name="only", epochs=1),)
    default_tier = "only"
    reads = 0

    def read(self, cache):
        self.reads += 1
        x, y = np.zeros((3, 2), np.float32), np.array([0, 1, 2])
        return Dataset(train_x=x, train_y=y, validation_x=x, validation_y=y, test=lambda: (x, y))


def test_a_data_set_is_read_once_and_kept_until_another_is_read(tmp_path):
    first, second = Small(), Small()
    assert first.load() is first.load()
    assert first.reads == 1
    second.load()
    first.load()
    assert first.reads == 2
    first.load(tmp_path)
    assert first.reads == 3


@pytest.mark.parametrize(("inputs", "classes"), [(3, 3), (2, 2)])
def test_data_that_do_not_fit_the_tasks_promise_are_refused(inputs, classes):
    task = Small()
    task.inputs, task.classes = inputs, classes
    with pytest.raises(TaskError, match=r"2 inputs and labels up to 2\. Set inputs = 2, classes = 3"):
        task.load()


def test_a_task_without_files_requires_nothing():
    assert Small().require() is None


def test_listing_tasks_loads_no_arrays():
    code = (
        "import sys, evaluator.tasks as t; t.names(); print('numpy' in sys.modules, 'torch' in sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.split() == ["False", "False"]
