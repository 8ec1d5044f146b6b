"""What a search starts from in each built-in space, and in others."""

import json
from pathlib import Path

import msgspec
import pytest

from evaluator.jobs import Arithmetic
from evaluator.spaces import class_admits
from evaluator.tasks import resolve
from genome import SearchSpace, preset
from genome.spaces import MLP, SPACES
from node.service import _BASELINES, _SEEDS, _spec, starting_presets
from node.settings import Settings
from node.store.records import Reader
from node.store.rows import RunSpec
from tests.node.test_search import eqmesh

NETWORKS = ("mlp", "family", "cube", "conv")
# Narrower than `mlp/1`, under its name.
NARROW = SearchSpace("mlp", 1, tuple(gene for gene in MLP.genes if gene.name != "skip"))


def spec(
    space: SearchSpace, *, task: str = "digits", source: str = "", arithmetic: Arithmetic = "fp32"
) -> RunSpec:
    settings = msgspec.structs.replace(Settings(), task=task, space=source, arithmetic=arithmetic)
    return _spec(settings, resolve(task), space, 1, [], starting_presets(space))


@pytest.mark.parametrize("name", NETWORKS)
def test_every_preset_that_a_space_starts_from_is_one_of_it(name: str) -> None:
    found = spec(SPACES[name], source=name)
    assert found.seeds == _SEEDS[name] != ()
    assert found.baselines == _BASELINES.get(name, ())
    for one in (*found.seeds, *found.baselines):
        SPACES[name].check(preset(one))
    assert {preset(one)["credit"] for one in found.seeds} == {"ep"}
    assert {preset(one)["credit"] for one in found.baselines} <= {"backprop"}


def test_a_space_that_can_learn_by_backpropagation_has_a_baseline() -> None:
    for name in NETWORKS:
        assert ("backprop" in SPACES[name].by_name["credit"].table) == (name in _BASELINES)


def test_a_run_of_the_default_space_is_the_one_that_it_was() -> None:
    """Its key, which reads these, decides whether a store goes on with a run."""
    found = spec(MLP)
    assert (found.space, found.space_source) == ("mlp/1", "")
    assert (found.seeds, found.baselines) == (("shallow", "ep", "smep", "deep"), ("backprop",))


def test_other_spaces_and_tasks_start_from_nothing() -> None:
    for found in (
        spec(NARROW, source="my.module:NARROW"),
        spec(resolve("tests.support.tasks:Bowl").space, task="tests.support.tasks:Bowl"),
    ):
        assert (found.seeds, found.baselines) == ((), ())


def test_a_baseline_that_the_class_does_not_have_is_left_out() -> None:
    assert not class_admits("exact-1", preset("backprop-family"))
    assert spec(SPACES["family"], source="family", arithmetic="exact-1").baselines == ()


@pytest.mark.slow
def test_a_search_of_cubes_begins_with_the_preset(tmp_path: Path) -> None:
    done = eqmesh(
        tmp_path, "search", "--space", "cube", "--tier", "smoke", "-n", "2", "-w", "1", "--rescore", "0", "--json"
    )  # fmt: skip
    assert json.loads(done.stdout)["evaluations"] == 2
    with Reader(tmp_path / "eqmesh.db") as reader:
        first, second = reader.births()
    assert (first.birth.operator, first.genome) == ("preset/cube", preset("cube").id)
    assert not second.birth.operator.startswith("preset/")
