import os
import sys
from importlib import metadata
from pathlib import Path

import pytest

from evaluator.errors import TaskError
from evaluator.tasks import DatasetTask, FunctionTask, load, names, registry, resolve, task_id
from evaluator.tasks.registry import BUILT_IN

HEAD = """
from evaluator.objectives import ACCURACY, NETWORK_OBJECTIVES, Objective
from evaluator.tasks import DatasetTask, FunctionTask, Task, Tier
from genome.genes import Real
from genome.space import SearchSpace
"""
GOOD = """
class Good(FunctionTask):
    name = "good"
    space = SearchSpace("good", 1, (Real("x", 0.0, 1.0, 11),))
    objectives = (Objective(name="y", unit="1", direction="max", worst=0.0, best=1.0),)
    power = 1

    def evaluate(self, values, *, seed, tier):
        return {"y": values["x"] ** self.power}
"""
DATA = """
class Data(DatasetTask):
    name = "data"
    inputs, classes = 3, 2
    tiers = (Tier(name="only", epochs=1),)
    default_tier = "only"
    fingerprint = "sum"
    split_rule = "rule"

    def read(self, cache):
        raise OSError
"""


@pytest.fixture
def write(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    """Give a function that writes a module into the current folder, which is an empty one."""
    here = tmp_path / "here"
    here.mkdir()
    monkeypatch.chdir(here)

    def put(code: str, name: str = "my_tasks") -> Path:
        path = here / f"{name}.py"
        path.write_text(HEAD + code)
        return path

    return put


@pytest.mark.parametrize("name", sorted(registry.BUILT_IN))
def test_built_in_tasks_are_found_under_their_own_names(name):
    task = resolve(name)
    assert task.name == name
    assert resolve(name) is task
    assert task.doc


@pytest.mark.parametrize(
    ("name", "hint"),
    [
        ("digit", "Did you mean 'digits'"),
        ("fashion", "Did you mean 'fashion-mnist'"),
        ("qqq", "import string"),
    ],
)
def test_an_unknown_name_suggests_the_nearest(name, hint):
    with pytest.raises(
        TaskError, match=f"known tasks are {', '.join(sorted(BUILT_IN))}; got '{name}'.*{hint}"
    ):
        resolve(name)


def test_an_import_string_may_name_a_class_or_an_instance(write):
    write(GOOD + "squared = Good()\nsquared.name, squared.power = 'squared', 2\n" + DATA)
    a_class, an_instance, data = (resolve(f"my_tasks:{name}") for name in ("Good", "squared", "Data"))
    assert isinstance(a_class, FunctionTask) and isinstance(data, DatasetTask)
    tier = a_class.tier()
    assert a_class.measure({"x": 0.5}, seed=1, tier=tier) == {"y": 0.5}
    assert an_instance.measure({"x": 0.5}, seed=1, tier=tier) == {"y": 0.25}
    assert len({task_id(task, tier) for task in (a_class, an_instance, data)}) == 3
    assert resolve("my_tasks:Good") is a_class


def test_an_import_string_may_name_a_module_in_a_package(write, tmp_path):
    (tmp_path / "here" / "my_package").mkdir()
    (tmp_path / "here" / "my_package" / "__init__.py").touch()
    (tmp_path / "here" / "my_package" / "inner.py").write_text(HEAD + GOOD)
    assert resolve("my_package.inner:Good").name == "good"
    sys.modules.pop("my_package.inner")


def test_the_current_folder_is_searched_last_and_once(write, tmp_path, monkeypatch):
    (tmp_path / "installed").mkdir()
    (tmp_path / "installed" / "my_tasks.py").write_text(HEAD + GOOD.replace('"good"', '"installed"'))
    write(GOOD)
    monkeypatch.setattr(sys, "path", [*sys.path, str(tmp_path / "installed")])
    assert resolve("my_tasks:Good").name == "installed"
    assert sys.path[-1] == str(tmp_path / "here")
    load("my_tasks:Good")
    assert sys.path.count(str(tmp_path / "here")) == 1


def test_a_module_written_after_a_first_failure_is_found(write):
    with pytest.raises(TaskError, match="does neither"):
        resolve("my_tasks:Good")
    here = Path.cwd()
    before = here.stat().st_mtime_ns
    write(GOOD)
    # As on a file system whose clock is coarse: the folder looks as if nothing had been added.
    os.utime(here, ns=(before, before))
    assert resolve("my_tasks:Good").name == "good"


def test_whatever_an_import_string_names_can_be_loaded(write):
    write("SPACE = SearchSpace('own', 1, (Real('x', 0.0, 1.0, 11),))")
    assert load("my_tasks:SPACE").id == "own/1"


@pytest.mark.parametrize(
    "text",
    ["my_tasks:", ":Good", "my_tasks.py:Good/", "./my_tasks:Good", "my_tasks:a.b", "a:b:c", "a b:c", ".a:b"],
)
def test_malformed_import_strings_are_refused(text):
    with pytest.raises(TaskError, match="must look like 'my_tasks:MyTask'"):
        resolve(text)


@pytest.mark.parametrize(
    ("code", "message"),
    [
        ("", r"module 'my_tasks' \(.*my_tasks.py\) must define 'Good', it does not. Define it"),
        ("class Goood: pass", "Did you mean 'Goood'"),
        (
            "import no_such_thing",
            "module 'my_tasks' cannot be imported: ModuleNotFoundError: No module named 'no_such_thing'",
        ),
        ("from math import nothing", "cannot be imported: ImportError: cannot import name 'nothing'"),
        ("class (", "cannot be imported: SyntaxError: invalid syntax"),
        ("1 / 0", "cannot be imported: ZeroDivisionError: division by zero. Correct it"),
        ("raise SystemExit(3)", "cannot be imported: SystemExit: 3"),
        ("Tier(name='t', epochs=0)", "cannot be imported: TaskError: tier 't': epochs must be"),
        ("Good = 3", "my_tasks:Good must be a DatasetTask or a FunctionTask .* got int"),
        ("def Good(): pass", "got function"),
        ("class Good: pass", "must derive from DatasetTask or FunctionTask .* derives from object"),
        ("class Good(Task): pass", "must be a DatasetTask or a FunctionTask .* got Good"),
        ("Good = FunctionTask", r"my_tasks:Good must write evaluate\(\); it is missing"),
        ("class Good(DatasetTask): pass", r"must write read\(\)"),
        (
            GOOD + "    def __init__(self, n): pass",
            "must be constructible without arguments, got TypeError: .*'n'.*an instance",
        ),
        (GOOD + "    def __init__(self): raise ValueError('no')", "without arguments, got ValueError: no"),
        (GOOD.replace('name = "good"', "pass"), "'name' must be set, it is missing. Add `name = ...`"),
        (GOOD.replace('"good"', '"good task"', 1), "'name' must be 1 to 64 letters.*, got 'good task'"),
        (GOOD.replace('"good"', '"digits"', 1), r"'name' must differ from the built-in tasks'.*got 'digits'"),
        (GOOD + "    version = '1'", "'version' must be a whole number of at least 1, got '1'"),
        (GOOD + "    version = 0", "'version' must be a whole number"),
        (GOOD + "    fingerprint = None", "'fingerprint' must be a string, got None"),
        (GOOD + "    doc = 5", "'doc' must be a string, got 5"),
        (GOOD + "    tiers = ()", r"'tiers' must be a tuple of one or more Tier, got \(\)"),
        (GOOD + "    tiers = [Tier(name='full', epochs=1)]", "'tiers' must be a tuple"),
        (GOOD + "    tiers = ('full',)", "'tiers' must be a tuple of one or more Tier"),
        (
            GOOD + "    tiers = (Tier(name='full', epochs=1), Tier(name='full', epochs=2))",
            r"names of their own, got \['full', 'full'\]",
        ),
        (
            GOOD + "    default_tier = 'quick'",
            r"'default_tier' must be the name of one of the tiers \['full'\], got 'quick'",
        ),
        (GOOD + "    objectives = ()", "'objectives' must be a tuple of one or more Objective"),
        (
            GOOD + "    objectives = (ACCURACY, 'speed')",
            "'objectives' must be a tuple of one or more Objective",
        ),
        (
            GOOD + "    objectives = (ACCURACY, ACCURACY)",
            r"names of their own, got \['accuracy', 'accuracy'\]",
        ),
        (GOOD + "    space = 'mlp/1'", "'space' must be a genome.space.SearchSpace, got 'mlp/1'"),
        (GOOD.replace("    space =", "    other ="), "'space' must be set"),
    ],
)
def test_tasks_that_cannot_be_used_say_why(write, code, message):
    write(code)
    with pytest.raises(TaskError, match=message):
        resolve("my_tasks:Good")


@pytest.mark.parametrize(
    ("code", "message"),
    [
        ("inputs = 0", "'inputs' must be a whole number of at least 1, got 0"),
        ("classes = 1", "'classes' must be a whole number of at least 2, got 1"),
        ("classes = 2.0", "'classes' must be a whole number"),
        ("fingerprint = ''", r"'fingerprint' must be a text that pins the data \(a checksum\)"),
        ("split_rule = ''", "'split_rule' must be a text that pins the data"),
        ("del tiers", "'tiers' must be set, it is missing"),
        (
            "objectives = (ACCURACY, Objective(name='joy', unit='1', direction='max', worst=0.0, best=1.0))",
            r"'objectives' must be among evaluator.objectives.NETWORK_OBJECTIVES.*got \['joy'\]",
        ),
    ],
)
def test_data_set_tasks_are_held_to_more(write, code, message):
    write(f"{DATA}    {code}\n")
    with pytest.raises(TaskError, match=message):
        resolve("my_tasks:Data")


def test_a_long_wrong_value_is_cut(write):
    write(GOOD + "    space = 'x' * 10_000")
    with pytest.raises(TaskError) as caught:
        resolve("my_tasks:Good")
    assert len(str(caught.value)) < 200


def test_an_interrupt_while_importing_passes(write):
    write("raise KeyboardInterrupt")
    with pytest.raises(KeyboardInterrupt):
        resolve("my_tasks:Good")


class Owner:
    def __init__(self, name: str) -> None:
        self.name = name


def offer(monkeypatch: pytest.MonkeyPatch, *offers: tuple[str, str, str]) -> None:
    points = []
    for name, value, owner in offers:
        point = metadata.EntryPoint(name=name, value=value, group="eqmesh.tasks")
        vars(point)["dist"] = Owner(owner)
        points.append(point)

    def entry_points(*, group: str) -> list[metadata.EntryPoint]:
        assert group == "eqmesh.tasks"
        return points

    monkeypatch.setattr(metadata, "entry_points", entry_points)


def test_installed_packages_offer_tasks_by_entry_point(write, monkeypatch):
    write(GOOD)
    offer(monkeypatch, ("good", "my_tasks:Good", "my-package"), ("broken", "my_tasks:Gone", "other"))
    assert names() == tuple(sorted({*BUILT_IN, "broken", "good"}))
    assert resolve("good").name == "good"
    with pytest.raises(TaskError, match="must define 'Gone'"):
        resolve("broken")
    with pytest.raises(TaskError, match="Did you mean 'good'"):
        resolve("goood")


def test_an_entry_point_cannot_take_a_built_in_name(write, monkeypatch):
    write(GOOD)
    offer(monkeypatch, ("digits", "my_tasks:Good", "my-package"))
    assert resolve("digits").inputs == 64
    assert names() == tuple(sorted(BUILT_IN))


def test_two_packages_that_offer_one_name_are_named(monkeypatch):
    offer(monkeypatch, ("good", "a:A", "one-package"), ("good", "b:B", "another-package"))
    with pytest.raises(TaskError, match="must belong to one package, got another-package, one-package"):
        resolve("good")
