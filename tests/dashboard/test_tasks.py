"""The tasks of a store: counts, states, splits and bests, as the plain reader has them."""

from pathlib import Path

from evaluator.tasks import DatasetTask, resolve
from node.store.board import Board
from node.store.board.resources import task_lines
from node.store.records import Reader
from node.store.writer import Writer
from tests.dashboard.conftest import make_client


def test_a_task_has_its_runs_with_counts_and_bests(searched: Path) -> None:
    with Board(searched) as board:
        (task,) = task_lines(board)
    (run,) = task.runs
    with Reader(searched) as reader:
        rows = reader.evaluations(run=run.head.id)
    searched_rows = [row for row in rows if row.purpose == "search" and row.failure is None]
    digits = resolve("digits")
    assert isinstance(digits, DatasetTask)
    assert (task.task, task.tier, task.arithmetic, task.split) == (
        "digits",
        "smoke",
        "fp32",
        digits.split_rule,
    )
    assert (task.evaluations, sum(run.counts.values())) == (len(rows), len(rows))
    assert task.failures == sum(row.failure is not None for row in rows)
    assert run.state == "finished"
    best = {each.objective.name: (each.value, each.genome) for each in task.best}
    assert best["accuracy"][0] == max(row.objectives["accuracy"] for row in searched_rows)
    assert best["memory"][0] == min(row.objectives["memory"] for row in searched_rows)
    for name, (value, genome) in best.items():
        assert any(row.genome == genome and row.objectives[name] == value for row in searched_rows)
    assert run.settings["seed"] == 3


def test_a_run_that_was_begun_and_not_ended_runs(mesh_store: Path) -> None:
    with Board(mesh_store) as board:
        (task,) = task_lines(board)
    assert [run.state for run in task.runs] == ["running"]


def test_the_page_and_its_question_answer(searched: Path, tmp_path: Path) -> None:
    with make_client(searched) as client:
        assert client.get("/tasks").status_code == 200
        assert [task["task"] for task in client.get("/api/tasks").json()["tasks"]] == ["digits"]
    with Writer(tmp_path / "empty.db", now=lambda: 1.0):
        pass
    with make_client(tmp_path / "empty.db") as client:
        assert client.get("/api/tasks").json() == {"tasks": []}
