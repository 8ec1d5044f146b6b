"""`eqmesh compare`: genomes of several spaces, epochs, convergence and plots."""

import json
import re
from pathlib import Path

import pytest

from genome import preset
from node.plots import PLOTS
from tests.node.conftest import Eqmesh

SEVEN = "sgd,adam,adamw,ep,muon,smep,sdmep"
QUICK = ("--tier", "smoke", "--seeds", "2")
BOWL = "tests.support.tasks:Bowl"


def test_genomes_of_several_spaces_stand_in_one_table(eqmesh: Eqmesh) -> None:
    code, out, _ = eqmesh("compare", "--presets", SEVEN, "--tier", "smoke", "--seeds", "1", "--json")
    found = {one["name"]: one for one in json.loads(out)}
    assert (code, list(found)) == (0, SEVEN.split(","))
    assert {name: one["genome"] for name, one in found.items()} == {
        name: preset(name, "digits").id for name in SEVEN.split(",")
    }
    assert all(one["failures"] == [] for one in found.values())


def test_presets_on_mnist_are_all_of_one_shape() -> None:
    for task in ("mnist", "fashion-mnist"):
        genomes = [preset(name, task) for name in SEVEN.split(",")]
        for gene in ("depth", "width1", "output", "batch", "schedule"):
            assert len({genome[gene] for genome in genomes}) == 1, gene
        learned = [genome for genome in genomes if genome["credit"] == "ep"]
        assert len(learned) == 4
        for gene in ("estimate", "beta_mse", "free_steps", "nudged_steps", "clip"):
            assert len({genome[gene] for genome in learned}) == 1, gene


def test_a_genome_is_checked_by_its_own_space(eqmesh: Eqmesh, tmp_path: Path) -> None:
    found = preset("sdmep")
    genes = {**dict(found.values), "gamma": 99.0}
    (tmp_path / "odd.json").write_text(json.dumps({"space": found.space, "genes": genes}))
    code, _, err = eqmesh("compare", "odd.json", "--presets", "shallow", *QUICK)
    assert (code, "gamma" in err) == (1, True)


def test_epochs_and_convergence_in_json(eqmesh: Eqmesh) -> None:
    code, out, _ = eqmesh("compare", "--presets", "ep,backprop", *QUICK, "--level", "0.05", "--json")
    ep, backprop = json.loads(out)
    assert code == 0
    assert [epoch["epoch"] for epoch in ep["epochs"]] == [1, 2]
    assert ep["epochs"][1]["recurrent_norm"]["mean"] > 0
    assert ep["epochs"][1]["free_steps"]["mean"] == 4.0
    assert "free_energy" not in backprop["epochs"][0]
    assert len(ep["outcomes"][0]["epochs"]) == 2
    assert (ep["convergence"]["level"], ep["convergence"]["reached"]) == (0.05, 2)
    assert ep["convergence"]["cpu_s"]["mean"] <= ep["intervals"]["train_cpu_s"]["mean"]


def test_epochs_in_a_table(eqmesh: Eqmesh) -> None:
    code, out, err = eqmesh("compare", "--presets", "ep", *QUICK, "--epochs", "--level", "0.9999")
    assert code == 0
    first, second = out.split("genome  epoch")
    assert "CPU s to 0.9999" in first
    assert "0 of 2" in first
    assert re.findall(r"^ep +(\d)", second, flags=re.MULTILINE) == ["1", "2"]
    assert "exactly 0" in err
    assert "epoch  " not in eqmesh("compare", "--presets", "ep", *QUICK)[1].replace("epochs to it", "")


def test_plots_of_epochs_and_speed(eqmesh: Eqmesh, tmp_path: Path) -> None:
    code, _, _ = eqmesh(
        "compare", "--presets", "ep,backprop", *QUICK, "--plots", "p", "--plot-format", "svg", "--level", "0.999"
    )  # fmt: skip
    assert code == 0
    drawn = {path.stem: path.read_text() for path in (tmp_path / "p").iterdir()}
    assert drawn.keys() == {*PLOTS, "convergence"}
    assert all(text.lstrip().startswith("<?xml") for text in drawn.values())
    # Each is drawn from other data.
    assert len({re.sub(r'id="[^"]*"|#\w+', "", text) for text in drawn.values()}) == len(drawn)


def test_several_readouts_have_curves_and_no_telemetry(eqmesh: Eqmesh, tmp_path: Path) -> None:
    code, out, _ = eqmesh(
        "compare", "--presets", "ternary", "--task", "digits+digits-parity", *QUICK, "--plots", "p", "--json"
    )  # fmt: skip
    (found,) = json.loads(out)
    assert (code, found["epochs"], found["failures"]) == (0, [], [])
    assert {path.stem for path in (tmp_path / "p").iterdir()} == {
        "curves",
        "speed",
        "convergence",
        "relaxation",
    }


def test_on_the_test_split_there_is_no_speed(eqmesh: Eqmesh, tmp_path: Path) -> None:
    code, out, _ = eqmesh("compare", "--presets", "ep", "--split", "test", *QUICK, "--plots", "p", "--json")
    (found,) = json.loads(out)
    assert (code, found["convergence"]) == (0, None)
    assert "accuracy" not in found["epochs"][0]
    assert {path.stem for path in (tmp_path / "p").iterdir()} == {*PLOTS} - {"curves", "speed"}


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (("--presets", "ep", "--level", "1.5"), "--level is an accuracy"),
        (("--presets", "ep", "--seeds", "0"), "--seeds must be at least 1"),
        (("--presets", "ep", "--task", BOWL), "mlp/1"),
        (
            ("--presets", "ep", "--task", "digits+digits-parity", "--epochs"),
            "--epochs shows networks of one readout",
        ),
    ],
)
def test_what_cannot_be_compared_is_said(eqmesh: Eqmesh, arguments: tuple[str, ...], said: str) -> None:
    code, _, err = eqmesh("compare", *arguments)
    assert (code, said in err) == (1, True), err
