"""Every command on a small store: its JSON, its exit code, and what it says to bad input."""

import csv
import io
import json
import shutil
import statistics
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import networkx as nx
import pytest

from node.cli import main
from node.store.records import Reader
from tests.node.test_search import search
from tests.support.calibration import keep_calibration

ROOT = Path(__file__).parents[2]
BOWL = "tests.support.tasks:Bowl"

Run = Callable[..., tuple[int, str, str]]


@pytest.fixture
def run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]) -> Run:
    """Run one command in a fresh folder; gives exit code, standard output and standard error."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("EQMESH_STATE_DIR", str(tmp_path / "state"))
    monkeypatch.setenv("EQMESH_WORKERS", "1")
    monkeypatch.setenv("PYTHONPATH", str(ROOT))

    def call(*arguments: str) -> tuple[int, str, str]:
        capfd.readouterr()
        with pytest.raises(SystemExit) as ended:
            main(arguments)
        said = capfd.readouterr()
        assert isinstance(ended.value.code, int)
        return ended.value.code, said.out, said.err

    return call


@pytest.fixture(autouse=True)
def calibrated(run: Run, tmp_path: Path) -> None:
    """Nothing is measured for a command of this module."""
    keep_calibration(tmp_path / "state")


@pytest.fixture(scope="module")
def bowl(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, dict[str, Any]]:
    """The folder of a search, and its result. Nobody writes into it: copy it."""
    folder = tmp_path_factory.mktemp("bowl")
    return folder, search(folder, "--task", BOWL, "-n", "45", "-w", "1", "--population", "8")


@pytest.fixture
def searched(bowl: tuple[Path, dict[str, Any]], tmp_path: Path) -> dict[str, Any]:
    """The result of a search that left a store behind."""
    folder, found = bowl
    shutil.copytree(folder, tmp_path, dirs_exist_ok=True)
    return found


def test_a_table_names_every_member_of_the_front(run: Run, searched: dict[str, Any]) -> None:
    code, out, _ = run("front")
    assert code == 0
    for member in searched["front"]:
        assert member["genome"][:12] in out


def test_a_genome_is_shown_with_its_birth_and_evaluations(run: Run, searched: dict[str, Any]) -> None:
    best = searched["front"][0]["genome"]
    code, out, _ = run("genome", "show", best[:10], "--json")
    shown = json.loads(out)
    assert code == 0
    assert (shown["genome"], shown["space"]) == (best, "support/1")
    assert shown["birth"]["operator"]
    assert [row["purpose"] for row in shown["evaluations"]] == ["search", "rescore", "rescore", "rescore"]
    assert run("genome", "show", best[:10])[0] == 0


def test_an_export_can_be_imported_elsewhere(run: Run, searched: dict[str, Any], tmp_path: Path) -> None:
    best = searched["front"][0]["genome"]
    assert run("genome", "export", best[:10], "-o", "best.json")[0] == 0
    assert json.loads((tmp_path / "best.json").read_text())["genome"] == best
    code, out, _ = run("genome", "import", "best.json", "--store", "other.db")
    assert (code, best in out) == (0, True)
    with Reader(tmp_path / "other.db") as reader:
        assert set(reader.genomes()) == {best}
    assert "already" in run("genome", "import", "best.json", "--store", "other.db")[1]


def test_a_difference_names_genes(run: Run, searched: dict[str, Any]) -> None:
    first, second = (member["genome"][:12] for member in searched["front"][:2])
    code, out, _ = run("genome", "diff", first, second, "--json")
    genes = {change["gene"] for change in json.loads(out)}
    assert code == 0
    assert genes
    assert genes <= {"a", "b", "mood"}
    assert run("genome", "diff", first, first)[1].strip() == "no gene differs"


def test_lineage_in_numbers_agrees_with_the_store(run: Run, searched: dict[str, Any]) -> None:
    code, out, _ = run("lineage", "stats", "--json")
    shown = json.loads(out)
    assert (code, shown["count"]) == (0, 45)
    assert sum(shown["operators"].values()) == 45
    assert sum(shown["shares"].values()) == pytest.approx(1)
    assert shown["front"] == [member["genome"] for member in searched["front"]]
    assert run("lineage", "stats")[0] == 0


def test_ancestors_lead_back_to_a_founder(run: Run, searched: dict[str, Any], tmp_path: Path) -> None:
    with Reader(tmp_path / "eqmesh.db") as reader:
        child = next(row.genome for row in reader.births() if row.birth.parents)
    code, out, _ = run("lineage", "ancestors", child[:12], "--json")
    line = json.loads(out)
    assert (code, line[0]["genome"]) == (0, child)
    assert line[-1]["parents"] == []
    ids = {entry["genome"] for entry in line}
    assert all(set(entry["parents"]) <= ids for entry in line)
    assert line[0]["changes"]
    assert run("lineage", "ancestors", child[:12])[0] == 0


@pytest.mark.parametrize("name", ["csv", "graphml", "newick", "dot", "json"])
def test_an_exported_lineage_loads_in_other_readers(
    run: Run, searched: dict[str, Any], tmp_path: Path, name: str
) -> None:
    assert run("lineage", "export", "--format", name, "-o", "out")[0] == 0
    text = (tmp_path / "out").read_text()
    if name == "csv":
        rows = list(csv.DictReader(io.StringIO(text)))
        assert len(rows) == 45
        assert {"id", "ancestor_list"} <= set(rows[0])
    elif name == "graphml":
        assert nx.is_directed_acyclic_graph(nx.parse_graphml(text))
    elif name == "json":
        assert json.loads(text)
    assert searched["front"][0]["genome"][:12] in text


def test_an_evaluation_as_json_has_what_scripts_need(run: Run) -> None:
    arguments = ("evaluate", "--preset", "shallow", "--tier", "smoke", "--seed", "3", "--json")
    code, out, _ = run(*arguments)
    found = json.loads(out)
    assert code == 0
    assert set(found) >= {
        *(
            "genome",
            "accuracy",
            "speed",
            "memory",
            "weights",
            "arithmetic",
            "backend",
            "seed",
            "task",
            "tier",
        ),
        *("checkpoints", "curve", "settling", "measured", "examples", "macs", "predictions", "versions"),
    }
    assert (found["arithmetic"], found["backend"], len(found["weights"])) == ("fp32", "torch-cpu", 64)
    again = json.loads(run(*arguments)[1])
    for name in ("accuracy", "speed", "memory", "weights", "checkpoints", "predictions", "settling"):
        assert again[name] == found[name]


def test_several_seeds_give_means_with_intervals(run: Run) -> None:
    arguments = ("evaluate", "--preset", "shallow", "--tier", "smoke", "--seed", "4")
    code, out, _ = run(*arguments, "--seeds", "3", "--json")
    found = json.loads(out)
    assert (code, found["n"], found["failures"]) == (0, 3, [])
    assert [one["seed"] for one in found["outcomes"]] == [4, 5, 6]
    scores = [one["accuracy"] for one in found["outcomes"]]
    assert len(set(scores)) > 1
    accuracy = found["intervals"]["accuracy"]
    assert accuracy["mean"] == pytest.approx(statistics.fmean(scores))
    # Student's t for two degrees of freedom, 97.5 %, from a table.
    assert accuracy["half_width_95"] == pytest.approx(4.3027 * statistics.stdev(scores) / 3**0.5, rel=1e-4)
    assert json.loads(run(*arguments, "--json")[1])["accuracy"] == scores[0]
    code, out, err = run(*arguments, "--seeds", "2")
    (line,) = [line for line in out.splitlines() if line.startswith("accuracy")]
    assert (code, line.split()[1]) == (0, f"{statistics.fmean(scores[:2]):.4f}")
    assert "2 seeds" in err


def test_seeds_that_all_fail_are_told_one_by_one(run: Run) -> None:
    code, out, err = run(
        "evaluate", "--preset", "smep", "--tier", "smoke", "--arithmetic", "exact-1", "--seeds", "2", "--json"
    )
    found = json.loads(out)
    assert (code, found["n"], found["intervals"]) == (3, 0, {})
    assert [one["seed"] for one in found["failures"]] == [0, 1]
    assert err.count("failed: seed") == 2


def test_the_exact_class_and_its_kept_weights(run: Run, tmp_path: Path) -> None:
    arguments = ("evaluate", "--preset", "shallow", "--tier", "smoke", "--arithmetic", "exact-1", "--json")
    code, out, _ = run(*arguments, "--weights", "kept")
    found = json.loads(out)
    assert (code, found["arithmetic"]) == (0, "exact-1")
    assert (tmp_path / "kept" / f"{found['weights']}.safetensors").is_file()


def test_a_failed_evaluation_has_an_exit_code_of_its_own(run: Run) -> None:
    code, out, err = run(
        "evaluate", "--preset", "backprop", "--arithmetic", "exact-1", "--tier", "smoke", "--json"
    )
    assert code == 3
    assert json.loads(out)["failure"]["kind"] == "refused"
    assert "refused" in err


def test_the_test_split_is_opened_by_a_report_alone(run: Run) -> None:
    code, out, _ = run("evaluate", "--preset", "shallow", "--tier", "smoke", "--split", "test", "--json")
    found = json.loads(out)
    assert (code, found["split"], found["purpose"], found["examples"]) == (0, "test", "report", 360)
    assert found["curve"] == []  # scored once: nothing to choose the best epoch by
    code, _, err = run(
        "compare",
        "--presets",
        "shallow",
        "--tier",
        "smoke",
        "--seeds",
        "1",
        "--split",
        "test",
        "--plots",
        "p",
    )
    assert code == 0
    assert "curves" not in err
    assert "cost.png" in err


def test_a_comparison_has_intervals_and_plots(run: Run, tmp_path: Path) -> None:
    arguments = ("compare", "--presets", "shallow,backprop", "--tier", "smoke", "--seeds", "2", "--json")
    code, out, _ = run(*arguments, "--plots", "plots")
    found = json.loads(out)
    assert (code, [one["name"] for one in found]) == (0, ["shallow", "backprop"])
    for one in found:
        assert one["n"] == 2
        assert one["intervals"]["accuracy"]["half_width_95"] >= 0
    for name in ("curves", "cost", "relaxation"):
        assert (tmp_path / "plots" / f"{name}.png").read_bytes().startswith(b"\x89PNG")


def test_a_comparison_of_functions_needs_no_network(run: Run, searched: dict[str, Any]) -> None:
    ids = [member["genome"][:12] for member in searched["front"][:2]]
    code, out, _ = run("compare", *ids, "--task", BOWL, "--seeds", "2")
    assert code == 0
    assert all(name in out for name in ids)


def test_settings_show_their_origin(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("EQMESH_SEED", "9")
    assert run("config", "init")[0] == 0
    shown = json.loads(run("config", "show", "--json")[1])
    assert shown["seed"] == {"value": 9, "origin": "environment"}
    assert shown["task"]["origin"] == "default"
    code, _, err = run("config", "init")
    assert (code, "exists already" in err) == (1, True)


def test_the_doctor_finds_this_machine_well(run: Run) -> None:
    code, out, _ = run("doctor", "--json")
    found = {finding["what"]: finding for finding in json.loads(out)}
    assert code == 0
    assert found["worker"]["state"] == "ok"
    assert found["backend torch-cpu"]["state"] == "ok"
    assert found["data digits"]["state"] == "ok"


def test_the_doctor_names_bad_settings(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("EQMESH_WORKERZ", "1")
    code, out, _ = run("doctor")
    assert (code, "did you mean 'workers'" in out) == (1, True)


def test_tasks_and_data_are_listed(run: Run) -> None:
    tasks = {task["name"]: task for task in json.loads(run("task", "list", "--json")[1])}
    assert {"digits", "mnist", "fashion-mnist"} <= set(tasks)
    assert tasks["digits"]["objectives"] == ["accuracy", "speed", "memory"]
    data = {row["name"] for row in json.loads(run("data", "list", "--json")[1])}
    assert {"digits", "mnist", "fashion-mnist"} <= data
    assert run("data", "verify", "digits")[0] == 0


def test_missing_data_name_the_command_that_gets_them(
    run: Run, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("EQMESH_DATA_DIR", str(tmp_path / "empty"))
    code, _, err = run("search", "--task", "mnist")
    assert code == 1
    assert "eqmesh data fetch mnist" in err


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (("front",), "eqmesh search"),
        (("search", "--task", "digts"), "digits"),
        (("search", "--tier", "hughe"), "standard"),
        (("search", "--strategy", "nsga3"), "nsga2"),
        (("search", "--evaluations", "0"), ">= 1"),
        (("search", "--space", "tests.support.tasks:TINY"), "gave KeyError('depth')"),
        (("evaluate",), "--preset"),
        (("evaluate", "--preset", "shalow"), "shallow"),
        (("evaluate", "nowhere.json"), "nowhere.json"),
        (("evaluate", "--preset", "shallow", "--seeds", "0"), "--seeds"),
        (("evaluate", "--preset", "shallow", "--backend", "abacus"), "abacus"),
        (("compare",), "--presets"),
        (("lineage", "export", "--format", "xml"), "graphml"),
        (("genome", "import", "nowhere.json"), "nowhere.json"),
        (("data", "fetch", "mnits"), "mnist"),
    ],
)
def test_bad_input_is_told_what_to_do(run: Run, arguments: tuple[str, ...], said: str) -> None:
    code, _, err = run(*arguments)
    assert code in (1, 3)
    assert said in err
    assert "Traceback" not in err


def test_an_unknown_option_is_a_matter_of_the_command_line(run: Run) -> None:
    code, out, err = run("search", "--evaluationz", "3")
    assert code == 2
    assert "--evaluationz" in out + err


@pytest.mark.parametrize(
    "document",
    ["no json", "[]", "{}", '{"space": "mlp/1", "genes": {"width1": 1e400}}', '{"space": 5, "genes": {}}'],
)
def test_a_bad_file_is_refused_in_words(run: Run, tmp_path: Path, document: str) -> None:
    (tmp_path / "bad.json").write_text(document)
    code, _, err = run("genome", "import", "bad.json")
    assert code == 1
    assert err.startswith("eqmesh: ")
    assert "Traceback" not in err


def test_the_command_line_loads_nothing_heavy() -> None:
    """`eqmesh --help` has to be quick, and the node process never loads torch."""
    program = (
        "import sys\nfrom node.cli import main\n"
        "try:\n    main(['--help'])\nexcept SystemExit:\n    pass\n"
        "print(sorted({'torch', 'numpy', 'pymoo', 'deap', 'networkx', 'scipy', 'trio'} & set(sys.modules)))"
    )
    found = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert found.stdout.splitlines()[-1] == "[]"


def test_a_search_never_loads_torch(tmp_path: Path) -> None:
    program = (
        "import sys\nfrom node.cli import main\n"
        "try:\n    main(['search', '--tier', 'smoke', '-n', '2', '--rescore', '0'])\n"
        "except SystemExit as end:\n    assert end.code == 0\n"
        "print({'torch', 'triton', 'cupy'} & set(sys.modules))"
    )
    environment = {"PYTHONPATH": str(ROOT), "PATH": "/usr/bin:/bin", "EQMESH_STATE_DIR": str(tmp_path)}
    found = subprocess.run(
        [sys.executable, "-c", program],
        cwd=tmp_path,
        env=environment,
        capture_output=True,
        text=True,
        check=True,
    )
    assert found.stdout.splitlines()[-1] == "set()"
