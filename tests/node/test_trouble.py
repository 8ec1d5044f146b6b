"""What a search does when machine, task, store or person get in its way: nothing is lost, nothing is blamed."""

import json
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from evaluator.objectives import Objective
from genome import Birth, Genome, preset
from node.errors import StoreError
from node.store.records import Reader
from node.store.writer import Writer
from node.text import number, summary
from tests.node.test_search import bowl, command, environment, eqmesh, search

CODE = """
from evaluator.tasks import FunctionTask, Tier
from tests.support.tasks import OBJECTIVES, SPACE

class Own(FunctionTask):
    name = "own"
    version = 1
    doc = "A task that lies in the folder."
    space = SPACE
    objectives = OBJECTIVES
    tiers = (Tier(name="full", epochs=1),)
    default_tier = "full"

    def evaluate(self, values, *, seed, tier):
        return {"near": -float(values["a"]), "cheap": float(values["b"])}
"""


def evaluations(folder: Path) -> int:
    with Reader(folder / "eqmesh.db") as reader:
        return len(reader.evaluations())


def test_data_that_are_gone_stop_the_search_and_count_against_no_genome(tmp_path: Path) -> None:
    arguments = (*bowl("Breakable"), "-n", "12", "-w", "1", "--rescore", "0")
    search(tmp_path, *arguments[:3], "4", *arguments[4:])
    (tmp_path / "broken").write_text("data")
    told = eqmesh(tmp_path, "search", *arguments, code=1).stderr
    assert "the search cannot go on: the data are gone" in told
    assert "Traceback" not in told
    assert evaluations(tmp_path) == 4
    (tmp_path / "broken").unlink()
    found = search(tmp_path, *arguments)
    assert (found["evaluations"], found["failures"]) == (12, 0)


def test_a_front_outlives_fresh_scores_that_fail_and_gets_them_later(tmp_path: Path) -> None:
    arguments = (*bowl("Breakable"), "-n", "12", "-w", "1")
    before = search(tmp_path, *arguments, "--rescore", "0")
    (tmp_path / "broken").write_text("code")
    done = eqmesh(tmp_path, "search", "--json", *arguments, "--rescore", "2")
    broken = json.loads(done.stdout)
    assert [member["genome"] for member in broken["front"]] == [
        member["genome"] for member in before["front"]
    ]
    assert {member["n"] for member in broken["front"]} == {0}
    assert broken["hypervolume"] == before["hypervolume"] > 0
    assert "scores on fresh seeds failed; the last: error: RuntimeError: broken" in done.stderr
    (tmp_path / "broken").unlink()
    mended = search(tmp_path, *arguments, "--rescore", "2")
    assert {member["n"] for member in mended["front"]} == {2}
    # And then it rests.
    assert search(tmp_path, *arguments, "--rescore", "2")["rescored"] == mended["rescored"]


def test_a_genome_that_fits_no_space_is_not_imported(tmp_path: Path) -> None:
    (tmp_path / "bad.json").write_text('{"space": "mlp/1", "genes": {"foo": 1}}')
    assert "foo" in eqmesh(tmp_path, "genome", "import", "bad.json", code=1).stderr
    assert not (tmp_path / "eqmesh.db").exists()


def test_an_imported_genome_that_does_not_fit_stops_no_search(tmp_path: Path) -> None:
    path = tmp_path / "eqmesh.db"
    with Writer(path, now=lambda: 0.0) as writer:
        writer.import_genome(Genome("support/1", {"foo": 1}), Birth((), "import/1", 0))
    found = search(tmp_path, *bowl(), "-n", "4", "-w", "1", "--rescore", "0")
    assert found["evaluations"] == 4
    with Reader(path) as reader:
        assert [event.kind for event in reader.events()].count("import.unfit") == 1


def test_a_genome_that_was_born_here_can_be_imported_too(tmp_path: Path) -> None:
    found = search(tmp_path, *bowl(), "-n", "20", "-w", "1", "--rescore", "0")
    last = found["front"][-1]["genome"]
    eqmesh(tmp_path, "genome", "export", last, "-o", "one.json")
    assert not json.loads(eqmesh(tmp_path, "genome", "import", "one.json", "--json").stdout)["new"]
    search(tmp_path, *bowl(), "-n", "3", "-w", "1", "--rescore", "0", "--seed", "9")
    with Reader(tmp_path / "eqmesh.db") as reader:
        assert reader.evaluations(run=2)[0].genome == last


def test_two_runs_of_a_store_leave_each_other_their_weights(tmp_path: Path) -> None:
    small = ("--tier", "smoke", "-n", "6", "-w", "1", "--rescore", "0", "--population", "4")
    first = search(tmp_path, *small)
    search(tmp_path, *small, "--strategy", "random", "--seed", "0")
    kept = {file.stem for file in (tmp_path / "eqmesh.db.weights").iterdir()}
    assert {member["weights"] for member in first["front"]} <= kept


def test_weights_on_record_survive_in_the_spool(tmp_path: Path) -> None:
    small = ("--tier", "smoke", "-n", "6", "-w", "1", "--rescore", "0")
    found = search(tmp_path, *small)
    weights, spool = tmp_path / "eqmesh.db.weights", tmp_path / "eqmesh.db.spool"
    member = found["front"][0]["weights"]
    # As a kill between record and move leaves it.
    (weights / f"{member}.safetensors").rename(spool / f"{member}.safetensors")
    (spool / "folder").mkdir()
    (spool / "stray.safetensors").touch()
    search(tmp_path, *small)
    assert (weights / f"{member}.safetensors").is_file()
    assert [path.name for path in spool.iterdir()] == ["folder"]


def test_a_search_in_the_exact_class_proposes_only_what_that_class_can_do(tmp_path: Path) -> None:
    found = search(
        tmp_path, "--tier", "smoke", "-n", "8", "-w", "1", "--rescore", "0", "--arithmetic", "exact-1"
    )
    assert (found["evaluations"], found["failures"]) == (8, 0)


def test_other_limits_make_another_run(tmp_path: Path) -> None:
    small = ("--tier", "smoke", "-n", "2", "-w", "1", "--rescore", "0")
    refused = json.loads(eqmesh(tmp_path, "search", "--json", *small, "--genome-macs", "1", code=3).stdout)
    assert refused["failures"] == 2
    assert search(tmp_path, *small)["failures"] == 0


def test_a_store_is_read_without_the_code_that_filled_it(tmp_path: Path) -> None:
    (tmp_path / "own.py").write_text(CODE)
    found = search(tmp_path, "--task", "own:Own", "-n", "6", "-w", "1", "--rescore", "0")
    (tmp_path / "own.py").write_text("raise SystemExit('the code of a store must not run')")
    shown = json.loads(eqmesh(tmp_path, "front", "--json").stdout)
    assert shown["front"] == found["front"]
    eqmesh(tmp_path, "lineage", "stats")


def test_an_own_exception_of_a_task_module_is_told_in_words(tmp_path: Path) -> None:
    (tmp_path / "own.py").write_text("class Own(Exception): pass\nraise Own('boom')\n")
    told = eqmesh(tmp_path, "search", "--task", "own:Task", code=1).stderr
    assert "module 'own' cannot be imported: Own: boom" in told


@pytest.mark.parametrize("name", ["n", "weights", "macs", "spread", "genome"])
def test_an_objective_cannot_take_the_name_of_what_stands_beside_it(tmp_path: Path, name: str) -> None:
    (tmp_path / "own.py").write_text(
        f"from tests.support.tasks import Bowl\nfrom evaluator.objectives import Objective\nclass Own(Bowl):\n"
        f"    objectives = (Objective(name={name!r}, unit='1', direction='min', worst=2.0, best=0.0),)\n"
    )
    told = eqmesh(tmp_path, "search", "--task", "own:Own", code=1).stderr
    assert name in told
    assert "otherwise" in told


# Whatever runs the tests in the background has Ctrl-C ignored, and so would every process that they start.
HEEDFUL = "import signal; signal.signal(signal.SIGINT, signal.default_int_handler); from node.cli import main; main()"


def test_ctrl_c_ends_an_evaluation_without_a_traceback(tmp_path: Path) -> None:
    process = subprocess.Popen(
        [sys.executable, "-c", HEEDFUL, "evaluate", "--preset", "deep", "--tier", "full"],
        cwd=tmp_path,
        env=environment(tmp_path),
        stderr=subprocess.PIPE,
        text=True,
    )
    assert process.stderr is not None
    process.stderr.readline()  # the first line of progress
    process.send_signal(signal.SIGINT)
    told = process.stderr.read()
    process.stderr.close()
    assert process.wait(timeout=500) == 130
    assert "Traceback" not in told


@pytest.mark.parametrize(
    "arguments",
    [
        ("genome", "export", "PRESET", "-o", "nodir/x"),
        ("evaluate", "--preset", "shallow", "--tier", "smoke", "--weights", "/dev/null"),
        ("compare", "--presets", "shallow", "--tier", "smoke", "--plots", "/dev/null"),
        ("genome", "show", "a" * 5000),
    ],
    ids=["export", "weights", "plots", "name"],
)
def test_a_file_that_cannot_be_used_is_told_in_words(tmp_path: Path, arguments: tuple[str, ...]) -> None:
    (tmp_path / "one.json").write_text(json.dumps(preset("shallow").as_json()))
    told = eqmesh(tmp_path, *("one.json" if word == "PRESET" else word for word in arguments), code=1).stderr
    assert "eqmesh: " in told
    assert "Traceback" not in told


def test_a_calibration_that_cannot_be_kept_is_used_all_the_same(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    done = subprocess.run(
        command("search", "--json", "--tier", "smoke", "-n", "1", "-w", "1", "--rescore", "0"),
        cwd=tmp_path,
        env={**environment(tmp_path), "EQMESH_STATE_DIR": str(tmp_path / "file" / "state")},
        capture_output=True,
        text=True,
        timeout=500,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert "cannot be kept" in done.stderr


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (("evaluate", "--preset", "shallow", "--seed", "99999999999999999999999"), "2^63 - 1"),
        (("evaluate", "--preset", "shallow", "--seed=-1"), "2^63 - 1"),
        (("bench", "--seeds", "0"), "at least 1"),
        (("search", "--store", "."), "is a folder"),
    ],
)
def test_numbers_and_names_out_of_range_are_told(
    tmp_path: Path, arguments: tuple[str, ...], said: str
) -> None:
    assert said in eqmesh(tmp_path, *arguments, code=1).stderr


def test_two_names_of_one_store_have_one_writer(tmp_path: Path) -> None:
    path = tmp_path / "eqmesh.db"
    (tmp_path / "other.db").symlink_to(path)
    with (
        Writer(path, now=lambda: 0.0),
        pytest.raises(StoreError, match="another eqmesh"),
        Writer(tmp_path / "other.db", now=lambda: 0.0),
    ):
        pass


def test_a_record_is_on_the_disk_before_the_search_goes_on(tmp_path: Path) -> None:
    with Writer(tmp_path / "eqmesh.db", now=lambda: 0.0) as writer:
        assert writer._connection.execute("PRAGMA synchronous").fetchone() == (2,)  # FULL


def test_a_space_that_is_only_called_like_ours_is_summed_up_by_its_values() -> None:
    assert summary(Genome("mlpx/1", {"a": 1, "b": 2})) == "a=1 b=2"
    assert summary(Genome("mlp/1", {"credit": "ep"})) == "credit=ep"


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("deep", "centred 512-512 ce muon 0.02 b512"),
        ("backprop", "backprop 512 ce adam 0.004 b128"),
        ("holomorphic", "holomorphic 128-64 ce adam 0.005 b16"),
        ("continual", "continual 128 ce sgd 0.2 b16"),
        ("kolen-pollack", "centred, kolen-pollack feedback 128 ce adam 0.01 b16"),
        ("sparse", "centred, sparse 0.3 128 ce adam 0.003 b16"),
        ("ternary", "centred, 2 bits 128 ce adam 0.01 b16"),
        ("looped", "centred 96 x 4 looped ce adam 0.003 b16"),
        ("cube", "centred cube 4 ce adam 0.003 b16"),
        ("conv", "centred conv 16 ce adam 0.01 b16"),
    ],
)
def test_a_network_is_summed_up_by_rule_layers_output_and_optimizer(name: str, words: str) -> None:
    assert summary(preset(name)) == words


def test_words_in_brackets_reach_a_terminal_as_they_are() -> None:
    program = (
        "import sys; sys.stdout.isatty = lambda: True\n"
        "from node.output import write_table\n"
        "write_table(['a', 'b'], [['path [/tmp/a] x', 'values [0, 1] and [red]x']], title='[bold]t')\n"
    )
    shown = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, check=True, env={**os.environ}
    ).stdout
    for text in ("path [/tmp/a] x", "values [0, 1] and [red]x", "[bold]t"):
        assert text in shown


def test_small_values_of_a_linear_objective_are_not_rounded_away() -> None:
    linear = Objective(name="x", unit="1", direction="min", worst=1.0, best=0.0)
    assert number(3.2e-6, linear) == "3.2e-06"
    assert number(0.5, linear) == "0.5000"
