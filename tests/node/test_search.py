"""The whole loop with real workers: search, kill, resume, stop, rescore."""

import json
import os
import re
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from evaluator.jobs import Outcome
from evaluator.objectives import directions
from genome import Record
from genome.strategies.nsga2 import Nsga2
from node.schedule import ask_rng
from node.store.records import Reader
from tests.support.calibration import keep_calibration
from tests.support.tasks import SPACE, Decades

ROOT = Path(__file__).parents[2]


def command(*arguments: str) -> list[str]:
    return [sys.executable, "-c", "from node.cli import main; main()", *arguments]


def environment(folder: Path) -> dict[str, str]:
    keep_calibration(folder / "state")
    # One worker, where a test does not say otherwise: each of them takes seconds to load its libraries.
    own = {"PYTHONPATH": str(ROOT), "EQMESH_STATE_DIR": str(folder / "state"), "EQMESH_WORKERS": "1"}
    return {**os.environ, **own}


def eqmesh(folder: Path, *arguments: str, code: int = 0) -> subprocess.CompletedProcess[str]:
    found = subprocess.run(
        command(*arguments),
        cwd=folder,
        env=environment(folder),
        capture_output=True,
        text=True,
        timeout=500,
        check=False,
    )
    assert found.returncode == code, found.stderr
    return found


def search(folder: Path, *arguments: str, code: int = 0) -> dict[str, Any]:
    found: dict[str, Any] = json.loads(eqmesh(folder, "search", "--json", *arguments, code=code).stdout)
    return found


def records(store: Path) -> list[tuple[object, ...]]:
    """All of a store's record that must not depend on when it was made."""
    with Reader(store) as reader:
        births = {row.genome: row.birth for row in reader.births()}
        return sorted(
            (
                row.purpose,
                row.ask,
                row.genome,
                row.seed,
                str(births[row.genome]),
                str(row.objectives),
                row.failure,
            )
            for row in reader.evaluations()
        )


def bowl(name: str = "Bowl") -> tuple[str, str]:
    return "--task", f"tests.support.tasks:{name}"


def kill_when(folder: Path, arguments: tuple[str, ...], evaluations: int, number: int) -> int:
    """Start a search, send it a signal once at least so many evaluations are on record; gives its exit code."""
    process = subprocess.Popen(
        command("search", *arguments), cwd=folder, env=environment(folder), stderr=subprocess.PIPE, text=True
    )
    assert process.stderr is not None
    for line in process.stderr:
        said = re.match(r"\[(\d+)/", line)
        if said and int(said[1]) >= evaluations:
            process.send_signal(number)
            break
    process.stderr.read()
    process.stderr.close()
    return process.wait(timeout=500)


def test_a_search_finds_a_front_and_says_what_it_did(tmp_path: Path) -> None:
    found = search(tmp_path, *bowl(), "-n", "30", "-w", "1", "--seed", "3")
    assert (found["evaluations"], found["failures"], found["seed"], found["stopped"]) == (30, 0, 3, None)
    assert 0 < found["hypervolume"] < 1
    assert found["rescored"] == 3 * len(found["front"])
    for member in found["front"]:
        assert set(member) >= {"genome", "near", "cheap", "n", "spread", "genes"}
        assert member["n"] == 3


def test_nsga2_spreads_over_the_decades_of_an_objective_on_a_log_scale(tmp_path: Path) -> None:
    search(tmp_path, *bowl("Decades"), "-n", "40", "-w", "1", "--population", "4", "--rescore", "0")
    with Reader(tmp_path / "eqmesh.db") as reader:
        rows = sorted(reader.evaluations(), key=lambda row: row.ask)
        genomes = [reader.genome(row.genome) for row in rows]

    def follows(logarithmic: tuple[str, ...]) -> bool:
        """Whether the strategy, told the same, would have asked the same."""
        strategy = Nsga2(SPACE, directions(Decades.objectives), population=4, logarithmic=logarithmic)
        for row, genome in zip(rows, genomes, strict=True):
            if [proposal.genome for proposal in strategy.ask(ask_rng(0, row.ask))] != [genome]:
                return False
            strategy.tell([Record(genome, row.objectives, row.ask)])
        return True

    assert follows(("cost",))
    assert not follows(())


def test_the_front_command_shows_what_the_search_found(tmp_path: Path) -> None:
    found = search(tmp_path, *bowl("Noisy"), "-n", "12", "-w", "1")
    again = json.loads(eqmesh(tmp_path, "front", "--json").stdout)
    assert {key: found[key] for key in again} == again
    assert "hypervolume" in again


@pytest.mark.parametrize(
    ("workers", "extra"), [(1, ()), (2, ("--reproducible",))], ids=["one-worker", "reproducible"]
)
def test_a_killed_search_continues_to_the_same_records(
    tmp_path: Path, workers: int, extra: tuple[str, ...]
) -> None:
    arguments = (*bowl("Noisy"), "-n", "36", "--population", "8", "-w", str(workers), "--seed", "5", *extra)
    whole, broken = tmp_path / "whole", tmp_path / "broken"
    whole.mkdir()
    broken.mkdir()
    search(whole, *arguments)
    for evaluations in (3, 17):
        assert kill_when(broken, arguments, evaluations, signal.SIGKILL) == -signal.SIGKILL
    search(broken, *arguments)
    assert len(records(whole / "eqmesh.db")) > 40
    assert records(broken / "eqmesh.db") == records(whole / "eqmesh.db")


def test_ctrl_c_ends_cleanly_and_says_how_to_go_on(tmp_path: Path) -> None:
    arguments = (*bowl(), "-n", "4000", "-w", "1")
    assert kill_when(tmp_path, arguments, 5, signal.SIGINT) == 130
    with Reader(tmp_path / "eqmesh.db") as reader:
        before = reader.run().evaluations
        assert reader.events()[-1].kind == "run.stopped"
    assert before >= 5
    found = search(tmp_path, *bowl(), "-n", str(before + 3), "-w", "1")
    assert found["evaluations"] == before + 3


def test_a_finished_search_is_extended_by_more_evaluations(tmp_path: Path) -> None:
    search(tmp_path, *bowl(), "-n", "8", "-w", "1")
    assert search(tmp_path, *bowl(), "-n", "8", "-w", "1")["evaluations"] == 8
    assert search(tmp_path, *bowl(), "-n", "12", "-w", "1")["evaluations"] == 12


@pytest.mark.parametrize("strategy", ["random", "map_elites"])
def test_every_strategy_searches(tmp_path: Path, strategy: str) -> None:
    assert search(tmp_path, *bowl(), "-n", "10", "--strategy", strategy)["evaluations"] == 10


def test_failures_are_recorded_and_the_search_goes_on(tmp_path: Path) -> None:
    found = search(tmp_path, *bowl("Suicidal"), "-n", "6", "-w", "2", "--rescore", "0")
    assert found["evaluations"] == 6
    assert 0 < found["failures"] < 6
    with Reader(tmp_path / "eqmesh.db") as reader:
        for row in reader.evaluations():
            assert (row.failure is not None) == (reader.genome(row.genome)["mood"] == "bad")


def test_a_small_space_ends_the_search_with_a_word(tmp_path: Path) -> None:
    found = search(tmp_path, *bowl("Few"), "-n", "100", "-w", "2")
    assert found["evaluations"] == 6
    assert "every genome" in found["stopped"]


def test_a_time_limit_ends_the_search(tmp_path: Path) -> None:
    found = search(tmp_path, *bowl(), "-n", "1000000", "--minutes", "0.02", "--rescore", "0")
    assert found["stopped"] == "the time is up"


def test_a_second_search_on_a_busy_store_is_told_so(tmp_path: Path) -> None:
    process = subprocess.Popen(
        command("search", *bowl(), "-n", "100000"),
        cwd=tmp_path,
        env=environment(tmp_path),
        stderr=subprocess.PIPE,
        text=True,
    )
    assert process.stderr is not None
    assert process.stderr.readline()
    said = eqmesh(tmp_path, "search", *bowl(), code=1).stderr
    process.send_signal(signal.SIGTERM)
    process.stderr.read()
    process.stderr.close()
    assert process.wait(timeout=500) == 130
    assert "another eqmesh" in said


def test_an_imported_genome_is_asked_first(tmp_path: Path) -> None:
    document = {"space": "support/1", "genes": {"a": 0.31, "b": 0.69, "mood": "good"}}
    (tmp_path / "mine.json").write_text(json.dumps(document))
    eqmesh(tmp_path, "genome", "import", "mine.json")
    search(tmp_path, *bowl(), "-n", "3", "-w", "1", "--rescore", "0")
    with Reader(tmp_path / "eqmesh.db") as reader:
        first = reader.evaluations()[0]
        assert dict(reader.genome(first.genome).values) == document["genes"]


@pytest.mark.parametrize(
    ("name", "words"), [("abacus", "there is no such backend"), ("cupy", "two hidden layers")]
)
def test_a_backend_that_cannot_run_here_is_refused_before_anything_is_recorded(
    tmp_path: Path, name: str, words: str
) -> None:
    told = eqmesh(tmp_path, "search", *bowl(), "--backend", name, code=1).stderr
    assert words in " ".join(told.split())
    assert "torch-cpu" in told
    with Reader(tmp_path / "eqmesh.db") as reader:
        assert not list(reader.evaluations())


def test_a_search_trains_on_the_backend_that_was_asked_for_and_its_baseline_as_ever(tmp_path: Path) -> None:
    search(tmp_path, "--tier", "smoke", "-n", "4", "--rescore", "0", "--backend", "reference")
    with Reader(tmp_path / "eqmesh.db") as reader:
        results = [reader.result(row.id) for row in reader.evaluations()]
        found = {result.backend for result in results if isinstance(result, Outcome)}
    assert found == {"reference", "torch-cpu"}


@pytest.mark.slow
def test_a_search_on_real_data_keeps_the_weights_of_its_front(tmp_path: Path) -> None:
    found = search(tmp_path, "--tier", "smoke", "-n", "6", "-w", "2", "--rescore", "1", "--reproducible")
    assert found["baselines"][0]["genes"]["credit"] == "backprop"
    assert all(member["genes"]["credit"] == "ep" for member in found["front"])
    kept = {file.stem for file in (tmp_path / "eqmesh.db.weights").iterdir()}
    front = {member["genome"] for member in found["front"]}
    with Reader(tmp_path / "eqmesh.db") as reader:
        rows = [row for row in reader.evaluations() if row.weights]
    assert kept == {row.weights for row in rows if row.genome in front}
    assert any(row.genome not in front for row in rows)
    assert list((tmp_path / "eqmesh.db.spool").iterdir()) == []
    again = tmp_path / "again"
    again.mkdir()
    (again / "state").symlink_to(tmp_path / "state")
    search(again, "--tier", "smoke", "-n", "6", "-w", "2", "--rescore", "1", "--reproducible")
    assert records(again / "eqmesh.db") == records(tmp_path / "eqmesh.db")
