"""Searches by other objectives than the task's own: probes of networks, and what is forgotten."""

import json
from pathlib import Path
from typing import Any

import msgspec
import pytest

from evaluator.jobs import Outcome
from evaluator.objectives import NETWORK_OBJECTIVES, PROBE_OBJECTIVES, Objective
from node.errors import SettingsError
from node.membership import Membership
from node.search import SearchState
from node.service import run_search
from node.settings import FILE_NAME, Settings, resolve
from node.store.records import Reader
from tests.node.conftest import Eqmesh

PROBED = ("--tier", "smoke", "--rescore", "0", "--population", "4", "--json")


def found(eqmesh: Eqmesh, *arguments: str) -> dict[str, Any]:
    code, out, err = eqmesh("search", *arguments)
    assert code == 0, err
    result: dict[str, Any] = json.loads(out)
    return result


def test_a_search_by_a_probe_records_it_and_ranks_by_it(eqmesh: Eqmesh) -> None:
    arguments = ("--evaluations", "4", "--objectives", "damage,accuracy,memory", *PROBED)
    result = found(eqmesh, *arguments)
    assert result["failures"] == 0
    with Reader(Path("eqmesh.db")) as reader:
        rows = reader.evaluations(run=result["run"])
        (run,) = reader.runs()
    spec = json.loads(run.settings)
    # In the order of the task and then of the probes, whatever the order on the line.
    assert [each["name"] for each in spec["objectives"]] == ["accuracy", "memory", "damage"]
    # No baseline: a network of backpropagation does not settle.
    assert spec["baselines"] == [] and {row.purpose for row in rows} == {"search"}
    assert all({"accuracy", "memory", "speed", "damage"} == set(row.objectives) for row in rows)
    front = {one["genome"]: one for one in result["front"]}
    for row in rows:
        beaten = any(
            other.objectives["accuracy"] >= row.objectives["accuracy"]
            and other.objectives["memory"] <= row.objectives["memory"]
            and other.objectives["damage"] >= row.objectives["damage"]
            and other.objectives != row.objectives
            for other in rows
        )
        assert (row.genome in front) != beaten
    # The same line goes on with the same run; other objectives are another run.
    again = found(eqmesh, "--evaluations", "5", *arguments[2:])
    assert (again["run"], again["evaluations"]) == (result["run"], 5)
    other = found(eqmesh, "--evaluations", "1", "--objectives", "accuracy,memory", *PROBED)
    assert other["run"] != result["run"]


def test_a_search_without_the_setting_has_the_run_that_it_always_had(eqmesh: Eqmesh) -> None:
    result = found(eqmesh, "--evaluations", "1", *PROBED)
    named = found(eqmesh, "--evaluations", "1", "--objectives", "accuracy speed memory", *PROBED)
    assert named["run"] == result["run"]
    with Reader(Path("eqmesh.db")) as reader:
        (run,) = reader.runs()
    spec = json.loads(run.settings)
    assert msgspec.convert(spec["objectives"], tuple[Objective, ...]) == NETWORK_OBJECTIVES
    assert spec["baselines"] == ["backprop"]


def test_a_search_by_what_is_forgotten_goes_on_and_has_a_front(eqmesh: Eqmesh) -> None:
    arguments = ("--task", "digits-incremental", "--tier", "smoke", "--rescore", "0", "--json")
    some = found(eqmesh, "--evaluations", "6", *arguments)
    more = found(eqmesh, "--evaluations", "7", *arguments)
    assert (some["evaluations"], more["evaluations"], more["run"]) == (6, 7, some["run"])
    with Reader(Path("eqmesh.db")) as reader:
        rows = reader.evaluations(run=more["run"])
        outcomes = [reader.result(row.id) for row in rows]
    assert [row.purpose for row in rows] == ["baseline", *["search"] * 6]
    assert all(isinstance(one, Outcome) and len(one.curve) in (1, 9) for one in outcomes)
    assert all(set(row.objectives) == {"accuracy", "forgetting", "memory", "work"} for row in rows)
    assert rows[0].objectives["forgetting"] == 0.0
    replayed = max(rows[1:5], key=lambda row: row.objectives["accuracy"])
    assert replayed.genome in {one["genome"] for one in more["front"]}


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (("--objectives", "accuracy,robustnes"), "'robustness'"),
        (("--objectives", "accuracy,accuracy"), "once"),
        (("--task", "zdt1", "--objectives", "f1,robustness"), "f1, f2"),
    ],
)
def test_objectives_that_there_are_not_are_told(
    eqmesh: Eqmesh, arguments: tuple[str, ...], said: str
) -> None:
    code, out, err = eqmesh("search", *arguments, "--tier", "full" if "zdt1" in arguments else "smoke")
    assert (code, out) == (1, "")
    assert said in err


def test_objectives_are_a_setting(tmp_path: Any) -> None:
    (tmp_path / FILE_NAME).write_text('objectives = ["accuracy", "noise"]\n', encoding="utf-8")

    def objectives(flags: dict[str, Any], environ: dict[str, str]) -> tuple[tuple[str, ...], str]:
        settled = resolve(flags, folder=tmp_path, environ=environ)
        return settled.settings.objectives, settled.origins["objectives"]

    assert objectives({}, {}) == (("accuracy", "noise"), FILE_NAME)
    assert objectives({}, {"EQMESH_OBJECTIVES": "memory, energy"}) == (("memory", "energy"), "environment")
    assert objectives({"objectives": "accuracy,damage"}, {}) == (("accuracy", "damage"), "flag")
    (tmp_path / FILE_NAME).write_text('objectives = "accuracy"\n', encoding="utf-8")
    with pytest.raises(SettingsError, match="objectives"):
        objectives({}, {})
    told = resolve.__globals__["describe"]()["objectives"]
    assert all(each.name in told for each in PROBE_OBJECTIVES)


class Nobody:
    """Whoever watches a search that must not start."""

    def started(self, state: SearchState) -> None:
        raise AssertionError("it started")


@pytest.mark.parametrize(
    ("settings", "said"),
    [
        (Settings(objectives=("accuracy", "damage")), "what any peer can check"),
        (Settings(objectives=("accuracy", "memory")), "speed"),
        (Settings(task="digits-incremental"), "float32"),
    ],
)
async def test_a_node_of_the_mesh_refuses_what_peers_cannot_check(
    tmp_path: Any, monkeypatch: pytest.MonkeyPatch, settings: Settings, said: str
) -> None:
    monkeypatch.chdir(tmp_path)
    membership = Membership.__new__(Membership)  # refused before anything of it is read
    with pytest.raises(SettingsError, match=said):
        await run_search(settings, Nobody(), membership)  # type: ignore[arg-type]
    assert not any(tmp_path.iterdir())
