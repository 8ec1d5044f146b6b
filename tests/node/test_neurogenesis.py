"""`eqmesh experiment neurogenesis` and `eqmesh report`, on the shortest experiments there are."""

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from matplotlib.image import imsave

from evaluator.incremental import class_order
from tests.node.conftest import ROOT, Eqmesh

NEUROGENESIS = ("experiment", "neurogenesis", "--smoke", "--per-class", "6")


@pytest.mark.usefixtures("answered_here")
@pytest.mark.slow
def test_four_regimes_are_learned_once_and_reported(eqmesh: Eqmesh, tmp_path: Path) -> None:
    code, out, err = eqmesh(*NEUROGENESIS, "--out", "found", "--json")
    found = json.loads(out)
    assert code == 0, err
    assert [one["variant"] for one in found["regimes"]] == ["ndl", "cl", "ndl+ir", "cl+ir"]
    assert found["order"] == [[1, 7], [0], [2], [3], [4], [5], [6], [8], [9]]
    assert found["data"] == "digits, measured on validation, at most 6 a class learned"
    assert all(one["old_readings"] == 0 for one in found["regimes"])
    assert found["regimes"][0]["sizes"] == found["regimes"][1]["sizes"]
    assert err.count("ndl, seed 0: [") == 9
    pictures = {f"{name}.png" for name in ("regimes", "errors", "growth", "reconstructions")}
    assert pictures == {path.name for path in (tmp_path / "found").glob("*.png")}
    assert {Path(path).name for path in found["files"]} == pictures

    before = {path: path.read_bytes() for path in (tmp_path / "found").rglob("manifest.json")}
    code, out, err = eqmesh(*NEUROGENESIS, "--out", "found")
    assert code == 0
    assert len(before) == 4
    assert {path: path.read_bytes() for path in before} == before
    assert err.count("was done before") == 4 and "[1/9]" not in err
    lines = [line.split() for line in out.splitlines()]
    macro = {one["variant"]: f"{one['macro_mse']['mean']:.4f}" for one in found["regimes"]}
    assert {line[0]: line[2] for line in lines if line and line[0] in macro} == macro

    code, out, err = eqmesh("report", "found")
    assert code == 0
    assert "wrote found/report.html" in err
    text = (tmp_path / "found" / "report.md").read_text()
    for comparison in found["comparisons"]:
        assert comparison["words"] in text

    errors = tmp_path / "found" / "cl-ir" / "seed-0" / "errors.csv"
    errors.write_text(errors.read_text().replace("0.0", "0.1", 1))
    code, out, err = eqmesh("report", "found", "--json")
    assert (code, out) == (1, "")
    assert "errors.csv in" in err and "cl-ir/seed-0" in err


@pytest.mark.slow
def test_the_smoke_experiment_as_people_call_it(eqmesh: Eqmesh) -> None:
    code, out, err = eqmesh(
        "experiment", "neurogenesis", "--smoke", "--variant", "all", "--out", "found", "--json"
    )
    macro = {one["variant"]: one["macro_mse"]["mean"] for one in json.loads(out)["regimes"]}
    assert code == 0, err
    # Replay halves the error, also in so short a run: measured 0.034 to 0.077 and 0.028 to 0.066.
    assert macro["ndl+ir"] < 0.7 * macro["ndl"]
    assert macro["cl+ir"] < 0.7 * macro["cl"]


@pytest.mark.usefixtures("answered_here")
def test_a_fixed_regime_runs_its_growing_twin_first_in_an_order_of_its_own(eqmesh: Eqmesh) -> None:
    code, out, err = eqmesh(*NEUROGENESIS, "--variant", "cl", "--order", "3", "--out", "found", "--json")
    assert code == 0, err
    found = json.loads(out)
    assert [one["variant"] for one in found["regimes"]] == ["ndl", "cl"]
    assert tuple(map(tuple, found["order"])) == class_order(range(10), seed=3) != class_order(range(10))
    # The folder is that experiment's.
    code, _, err = eqmesh(*NEUROGENESIS, "--variant", "ndl", "--out", "found")
    assert code == 1
    assert "belongs to the run" in err and "Choose another folder" in err


@pytest.mark.usefixtures("answered_here")
def test_letters_of_a_local_copy_are_learned(eqmesh: Eqmesh, tmp_path: Path) -> None:
    for column, code in enumerate(("30", "31", "41")):
        for number in range(12):
            pixels = np.ones((128, 128))
            pixels[10 + number : 110, 20 + 30 * column : 40 + 30 * column] = 0.0
            path = tmp_path / "by_class" / code / "hsf_0" / f"hsf_0_{number:05}.png"
            path.parent.mkdir(parents=True, exist_ok=True)
            imsave(path, pixels, cmap="gray", vmin=0.0, vmax=1.0)
    code_, out, err = eqmesh(
        *NEUROGENESIS,
        "--dataset",
        "sd19",
        "--data",
        "by_class",
        "--variant",
        "ndl",
        "--out",
        "found",
        "--json",
    )
    assert code_ == 0, err
    assert json.loads(out)["order"] == [[0, 1], [10]]
    shutil.rmtree(tmp_path / "by_class")
    code_, _, err = eqmesh(*NEUROGENESIS, "--dataset", "sd19", "--data", "by_class", "--out", "other")
    assert code_ == 1
    assert "there is none" in err and "--data" in err


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (("--seeds", "0"), "--seeds must be at least 1"),
        (("--order", "up"), "--order expects fixed or a seed"),
        (("--order", "-2"), "order must lie"),
        (("--per-class", "1"), "--per-class must be at least 2"),
        (("--dataset", "sd19"), "--data DIR"),
        (("--data", "."), "--data DIR"),
        (("--deadline", "0"), "--deadline must be above 0"),
    ],
)
def test_what_makes_no_sense_is_refused_before_anything_runs(
    eqmesh: Eqmesh, tmp_path: Path, arguments: tuple[str, str], says: str
) -> None:
    code, _, err = eqmesh("experiment", "neurogenesis", "--out", "found", *arguments)
    assert code == 1
    assert says in err
    assert not (tmp_path / "found").exists()


@pytest.mark.usefixtures("answered_here")
def test_a_report_of_nothing_is_refused(eqmesh: Eqmesh, tmp_path: Path) -> None:
    code, _, err = eqmesh("report", "nowhere")
    assert (code, "there is none at nowhere" in err) == (1, True)
    (tmp_path / "empty").mkdir()
    code, _, err = eqmesh("report", "empty")
    assert (code, "no finished run" in err) == (1, True)


def test_neither_command_loads_torch_or_draws_in_the_node(tmp_path: Path) -> None:
    program = (
        "import sys; import node.commands.neurogenesis, node.commands.experiment_report; "
        "print([name for name in ('torch', 'matplotlib', 'scipy') if name in sys.modules])"
    )
    done = subprocess.run(
        [sys.executable, "-c", program],
        check=True, capture_output=True, text=True, cwd=tmp_path, env={**os.environ, "PYTHONPATH": str(ROOT)},
    )  # fmt: skip
    assert done.stdout.strip() == "[]"
