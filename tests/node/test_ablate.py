"""`eqmesh ablate` on small trainings."""

import json
from pathlib import Path

import pytest

from genome import Genome, preset
from tests.node.conftest import Eqmesh
from tests.support.genomes import runaway
from tests.support.tasks import SPACE

BOWL = "tests.support.tasks:Bowl"


def test_an_ablation_as_json_has_what_scripts_need(eqmesh: Eqmesh) -> None:
    arguments = (
        "--preset",
        "shallow",
        "--tier",
        "smoke",
        "--seeds",
        "2",
        "--genes",
        "skip,optimizer",
        "--json",
    )
    code, out, err = eqmesh("ablate", *arguments)
    found = json.loads(out)
    assert code == 0, err
    assert (found["genome"], found["task"], found["tier"], found["seeds"], found["objective"]) == (
        *(preset("shallow").id, "digits", "smoke", 2, "accuracy"),
    )
    assert found["whole"]["n"] == 2
    skip, optimizer = found["genes"]
    assert (skip["gene"], skip["to"], skip["genome"], skip["verdict"]) == (
        "skip",
        None,
        None,
        "plain already",
    )
    assert (optimizer["from"], optimizer["to"], optimizer["n"]) == ("adam", "sgd", 2)
    assert (optimizer["appeared"], optimizer["gone"]) == ({"lr_sgd": 0.1, "momentum": 0.9}, ["lr_adam"])
    scores, seconds = optimizer["objective"], optimizer["train_cpu_s"]
    assert scores["with"] == pytest.approx(found["whole"]["interval"]["mean"])
    assert scores["difference"]["mean"] == pytest.approx(scores["without"] - scores["with"])
    # SGD at this rate learns far less than Adam does in four passes.
    assert scores["difference"]["mean"] < -0.1
    assert scores["difference"]["half_width_95"] >= 0
    assert seconds["with"] > 0
    again = json.loads(eqmesh("ablate", *arguments)[1])
    assert [one["objective"] for one in again["genes"]] == [one["objective"] for one in found["genes"]]


def _written(genome: Genome, name: str) -> str:
    Path(name).write_text(json.dumps(genome.as_json()), encoding="utf-8")
    return name


def test_trainings_that_diverge_are_rows(eqmesh: Eqmesh) -> None:
    path = _written(runaway(), "runaway.json")
    code, out, err = eqmesh(
        "ablate", path, "--tier", "smoke", "--seeds", "1", "--genes", "lr_sgd,momentum,skip"
    )
    assert code == 3
    rows = {line.split()[0]: line for line in out.splitlines() if line}
    assert "not known (1 failed: diverged)" in rows["skip"]
    assert "trains only without" in rows["lr_sgd"]
    assert "whole genome, seed 0: diverged" in err


def test_a_table_says_what_a_change_brings_and_takes(eqmesh: Eqmesh) -> None:
    arguments = ("--preset", "shallow", "--tier", "smoke", "--seeds", "1", "--genes", "optimizer")
    code, out, err = eqmesh("ablate", *arguments)
    assert code == 0
    assert out.splitlines()[1].split()[:3] == ["gene", "from", "to"]
    assert out.splitlines()[2].endswith("not known  lr_sgd=0.1 momentum=0.9")
    assert "optimizer=sgd takes lr_adam away" in err


def test_genomes_of_other_spaces_are_ablated_in_their_own(eqmesh: Eqmesh) -> None:
    arguments = ("--tier", "smoke", "--seeds", "1", "--json")
    code, out, err = eqmesh("ablate", "--preset", "sparse", "--genes", "keep,feedback,activation", *arguments)
    assert code == 0, err
    keep = {one["gene"]: one for one in json.loads(out)["genes"]}
    assert (keep["keep"]["from"], keep["keep"]["to"], keep["keep"]["n"]) == (0.3, 1.0, 1)
    assert keep["feedback"]["verdict"] == keep["activation"]["verdict"] == "plain already"
    incremental = ("--preset", "ndl-ir", "--task", "digits-incremental", "--genes", "growth,replay")
    code, out, err = eqmesh("ablate", *incremental, *arguments)
    found = json.loads(out)
    assert (code, found["objective"]) == (0, "accuracy"), err
    growth, replay = found["genes"]
    assert (growth["to"], replay["to"]) == ("off", "off")
    assert {"cap", "plasticity", "selectivity"} <= set(growth_gone(out))
    # What replay is for: without it all but the last class is forgotten.
    assert replay["objective"]["difference"]["mean"] < -0.3
    assert replay["train_cpu_s"] is None


def growth_gone(document: str) -> list[str]:
    """The genes that the first knock-out took away."""
    gone: list[str] = json.loads(document)["genes"][0]["gone"]
    return gone


def test_an_ablation_of_functions_needs_no_network(eqmesh: Eqmesh) -> None:
    path = _written(SPACE.genome({"a": 0.3, "b": 0.7, "mood": "bad"}), "point.json")
    code, out, _ = eqmesh("ablate", path, "--task", BOWL, "--seeds", "2", "--json")
    found = json.loads(out)
    assert (code, found["objective"]) == (0, "near")
    differences = {one["gene"]: one["objective"]["difference"]["mean"] for one in found["genes"]}
    # near = -((a - 0.3)^2 + (b - 0.7)^2), which is 0 here.
    assert differences == pytest.approx({"a": -0.09, "b": -0.49, "mood": 0.0})
    assert [one["verdict"] for one in found["genes"]] == [
        "worse without",
        "worse without",
        "no difference shown",
    ]
    assert all(one["train_cpu_s"] is None for one in found["genes"])


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        ((), "--preset"),
        (("--preset", "shalow"), "shallow"),
        (("--preset", "shallow", "--genes", "optimzer"), "'optimizer'"),
        (("--preset", "shallow", "--seeds", "0"), "at least 1"),
        (("--preset", "shallow", "--task", BOWL), "support/1"),
    ],
)
def test_bad_input_is_told_what_to_do(eqmesh: Eqmesh, arguments: tuple[str, ...], said: str) -> None:
    code, out, err = eqmesh("ablate", *arguments)
    assert (code, out) == (1, "")
    assert said in err
