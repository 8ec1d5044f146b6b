import re
import types
from pathlib import Path

import numpy as np
import pytest

from evaluator.tasks import TestPermit, names, resolve, task_id
from evaluator.tasks.data import CATALOGUE

DOCS = Path(__file__).parents[3] / "docs"
TASKS, DATA = (DOCS / "tasks.md").read_text(), (DOCS / "data.md").read_text()


def blocks(text: str, language: str) -> list[str]:
    return re.findall(rf"^```{language}\n(.*?)^```$", text, flags=re.DOTALL | re.MULTILINE)


@pytest.fixture
def my_tasks(tmp_path, monkeypatch):
    """The current folder of a reader who saved every example of tasks.md as my_tasks.py."""
    (tmp_path / "my_tasks.py").write_text("".join(blocks(TASKS, "python")))
    monkeypatch.chdir(tmp_path)


def test_the_example_functions_run(my_tasks):
    sphere = resolve("my_tasks:Sphere")
    assert sphere.measure({"x": 1.0, "y": 0.0}, seed=0, tier=sphere.tier()) == {
        "from_zero": 1.0,
        "from_one": 1.0,
    }
    assert sphere.measure({"x": -2.0, "y": -2.0}, seed=0, tier=sphere.tier()) == {
        "from_zero": 8.0,
        "from_one": 18.0,
    }
    cubic = resolve("my_tasks:CUBIC")
    assert cubic.measure({"x": 2.0, "y": 0.0}, seed=0, tier=cubic.tier())["from_zero"] == 8.0
    assert task_id(cubic, cubic.tier()) != task_id(sphere, sphere.tier())


def test_the_example_data_set_loads(my_tasks):
    data = resolve("my_tasks:Wine").load()
    x, y = data.open_test(TestPermit(reason="report"))
    assert (len(data.train_x), len(data.validation_x), len(x)) == (106, 36, 36)
    assert np.bincount(y).tolist() == [12, 14, 10]


def test_the_sealed_example_runs(capsys):
    (code,) = blocks(DATA, "python")
    exec(compile(code, "data.md", "exec"), types.SimpleNamespace().__dict__)  # noqa: S102
    assert "opened only for 'report' or 'export', got the reason 'search'" in capsys.readouterr().out


def test_every_example_task_is_searched_in_a_command(my_tasks):
    commands = "".join(blocks(TASKS, "console"))
    for name in ("Sphere", "CUBIC", "Wine"):
        assert f"--task my_tasks:{name}" in commands


def test_the_messages_shown_are_those_given(my_tasks):
    resolve("my_tasks:Wine")
    from evaluator.errors import TaskError

    with pytest.raises(TaskError) as unknown:
        resolve("digit")
    assert str(unknown.value) in TASKS


def test_every_task_and_its_tiers_are_described():
    for name in names():
        assert f"| `{name}` |" in TASKS
        for tier in resolve(name).tiers:
            assert re.search(rf"\b{tier.name}\b", TASKS)
    for name in ("digits", "mnist", "fashion-mnist"):
        (row,) = [line for line in TASKS.splitlines() if line.startswith(f"| `{name}` |") and "epoch" in line]
        for tier, cell in zip(resolve(name).tiers, row.split("|")[2:], strict=False):
            assert cell.strip().startswith(f"{tier.epochs} epoch")
            size = f"{tier.train_limit:,}" if tier.train_limit else ""
            assert size in cell


def test_every_data_set_is_described_with_licence_and_checksums():
    for known in CATALOGUE.values():
        assert f"| `{known.name}` |" in DATA
        for file in known.files:
            assert f"| {known.name} `{file.name}` | `{file.sha256}` |" in DATA
    assert "CC BY-SA 3.0" in DATA and "| MIT |" in DATA


def test_split_sizes_are_those_of_the_digits():
    data = resolve("digits").load()
    x, _ = data.open_test(TestPermit(reason="report"))
    assert f"| `digits` | {len(data.train_x):,} | {len(data.validation_x)} | {len(x)} |" in DATA


@pytest.mark.parametrize("variable", ["EQMESH_DATA_DIR", "EQMESH_DATA_OFFLINE"])
def test_every_variable_is_described(variable):
    assert f"| `{variable}` |" in DATA
