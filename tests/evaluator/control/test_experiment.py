"""An experiment in a folder: resumable by seed, curves, a plot, a manifest; and the command that asks for it."""

import csv
import hashlib
import json
from pathlib import Path

import msgspec
import numpy as np
import pytest
from msgspec.structs import replace

from evaluator.control import experiment
from evaluator.control.curves import draw
from evaluator.control.experiment import CURVE_COLUMNS, run_cartpole, run_path
from evaluator.control.process import CartPole, Manifest
from evaluator.control.returns import bands, interquartile_mean, summary
from evaluator.control.settings import CartPoleSettings, Credit
from evaluator.control.summaries import Point, Run
from evaluator.errors import SurroundingsError, TaskError
from node.commands.experiment import cartpole
from node.errors import SettingsError
from tests.node.test_search import eqmesh

SMALL = CartPoleSettings(steps=256, hidden=(8,), poles=4, horizon=16, passes=1, batch=32, every=128, trials=2)


def asked(folder: Path, of: tuple[Credit, ...] = ("ep", "random"), seeds: int = 2) -> CartPole:
    return CartPole(settings=SMALL, credits=of, first_seed=3, seeds=seeds, out=str(folder))


def run(seed: int, returns: list[float], cpu_s: float = 1.0) -> Run:
    points = tuple(
        Point(steps=100 * i, mean_return=found, deviation=0.0, training_return=None)
        for i, found in enumerate(returns)
    )
    return Run(identity="", credit="ep", seed=seed, points=points, cpu_s=cpu_s)


def test_an_experiment_leaves_its_files_and_a_manifest_that_names_them(tmp_path: Path) -> None:
    manifest = run_cartpole(asked(tmp_path))
    assert msgspec.json.decode((tmp_path / "manifest.json").read_bytes(), type=Manifest) == manifest
    for name in ("curves.csv", "curves.png"):
        assert hashlib.sha256((tmp_path / name).read_bytes()).hexdigest() == manifest.files[name]
    assert (tmp_path / "curves.png").read_bytes().startswith(b"\x89PNG")
    rows = list(csv.DictReader((tmp_path / "curves.csv").read_text().splitlines()))
    assert tuple(rows[0]) == CURVE_COLUMNS
    assert [(row["credit"], row["seed"], row["steps"]) for row in rows] == [
        (credit, str(seed), str(steps))
        for credit in ("ep", "random")
        for seed in (3, 4)
        for steps in (0, 128, 256)
    ]
    last = [float(row["mean_return"]) for row in rows if row["credit"] == "ep" and row["steps"] == "256"]
    assert manifest.results[0].mean == pytest.approx(np.mean(last))
    assert str(tmp_path) not in (tmp_path / "manifest.json").read_text()


def test_a_training_that_ended_is_not_run_again_and_one_that_did_not_is(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    first = run_cartpole(asked(tmp_path, ("ep",)))
    curves = (tmp_path / "curves.csv").read_bytes()
    run_path(tmp_path, "ep", 4).unlink()
    told: list[int] = []
    second = run_cartpole(asked(tmp_path, ("ep",)), lambda _credit, seed, _point: told.append(seed))
    assert set(told) == {4}
    assert (tmp_path / "curves.csv").read_bytes() == curves
    assert second.runs == first.runs
    # One more seed leaves the others as they are.
    told.clear()
    run_cartpole(asked(tmp_path, ("ep",), seeds=3), lambda _credit, seed, _point: told.append(seed))
    assert set(told) == {5}

    def never(*_: object) -> list[Point]:
        raise AssertionError

    monkeypatch.setattr(experiment, "train", never)
    assert run_cartpole(asked(tmp_path, ("ep",), seeds=3)).results[0].seeds == 3


def test_another_experiment_does_not_go_on_from_a_folder(tmp_path: Path) -> None:
    run_cartpole(asked(tmp_path, ("random",), seeds=1))
    other = msgspec.structs.replace(asked(tmp_path, ("random",), seeds=1), settings=replace(SMALL, trials=3))
    with pytest.raises(TaskError, match="settings or versions differ"):
        run_cartpole(other)
    run_path(tmp_path, "random", 3).write_text("{")
    with pytest.raises(TaskError, match="Remove it to run it again"):
        run_cartpole(asked(tmp_path, ("random",), seeds=1))


def test_where_nothing_can_be_written_is_said(tmp_path: Path) -> None:
    (tmp_path / "taken").write_text("")
    with pytest.raises(SurroundingsError, match="a folder must be made"):
        run_cartpole(asked(tmp_path / "taken", ("random",), seeds=1))


@pytest.mark.parametrize(
    "changes", [{"seeds": 0}, {"first_seed": -1}, {"credits": ()}, {"credits": ("ep", "ep")}]
)
def test_requests_that_make_no_experiment_are_refused(tmp_path: Path, changes: dict[str, object]) -> None:
    with pytest.raises(TaskError, match="must"):
        replace(asked(tmp_path), **changes)


def test_the_interquartile_mean_drops_a_quarter_at_each_end() -> None:
    assert interquartile_mean(np.array([0.0, 9.0, 1.0, 2.0])) == 1.5
    assert interquartile_mean(np.array([500.0] * 7 + [0.0, 499.0, 400.0])) == pytest.approx(2999 / 6)
    assert interquartile_mean(np.array([1.0, 2.0, 6.0])) == 3.0


def test_a_summary_says_when_the_mean_passed_the_mark_and_whether_it_stayed() -> None:
    runs = [run(0, [20, 500, 300, 450, 500], 1.0), run(1, [20, 400, 350, 350, 350], 3.0)]
    found = summary(runs)
    assert (found.seeds, found.steps, found.mean, found.worst, found.passed) == (2, 400, 425.0, 350.0, 1)
    assert (found.passed_after, found.kept_after, found.cpu_s) == (100, 300, 2.0)
    assert found.iqm is None
    assert found.half_width == pytest.approx(12.7062 * 75.0, rel=1e-4)
    fallen = summary([run(0, [20, 500, 300])])
    assert (fallen.passed_after, fallen.kept_after, fallen.half_width) == (100, None, None)
    never = summary([run(0, [20, 30])])
    assert (never.passed_after, never.kept_after) == (None, None)
    always = summary([run(0, [400, 401])])
    assert (always.passed_after, always.kept_after) == (0, 0)


def test_from_ten_seeds_on_there_is_an_interquartile_mean_with_its_interval() -> None:
    final = [500.0, 480.0, 450.0, 500.0, 100.0, 490.0, 500.0, 495.0, 420.0, 470.0]
    runs = [run(seed, [20.0, value]) for seed, value in enumerate(final)]
    found = summary(runs)
    assert found.iqm == interquartile_mean(np.array(final))
    assert found.iqm_low is not None and found.iqm_high is not None
    assert 350.0 < found.iqm_low < found.iqm < found.iqm_high <= 500.0
    curve = bands(runs)
    assert (curve[1].centre, curve[1].low, curve[1].high) == (found.iqm, found.iqm_low, found.iqm_high)
    assert (curve[0].low, curve[0].high) == (20.0, 20.0)
    few = bands(runs[:3])
    assert (few[1].centre, few[1].low, few[1].high) == (pytest.approx(1430 / 3), 450.0, 500.0)


def test_a_plot_is_drawn_of_every_credit() -> None:
    curve = bands([run(0, [20, 500])])
    one, two = draw({"ep": curve}, 1), draw({"ep": curve, "random": curve}, 1)
    assert one.startswith(b"\x89PNG") and two.startswith(b"\x89PNG")
    assert one != two


@pytest.mark.slow
def test_the_command_runs_an_experiment_and_goes_on_with_it(tmp_path: Path) -> None:
    plain = ("experiment", "cartpole", "--seeds", "2", "--steps", "1024", "--out", "found")
    arguments = (*plain, "--hidden", "8")
    done = eqmesh(tmp_path, *arguments, "--json", code=0)
    document = json.loads(done.stdout)
    assert [found["credit"] for found in document["results"]] == ["ep", "backprop", "random"]
    assert "ep, seed 1: 1024 steps, return" in done.stderr
    again = eqmesh(tmp_path, *arguments, code=0)
    assert "Return after 1024 steps" in again.stdout
    assert "seed 1" not in again.stderr
    assert {path.name for path in (tmp_path / "found").iterdir()} == {
        "ep", "backprop", "random", "curves.csv", "curves.png", "manifest.json",
    }  # fmt: skip
    other = eqmesh(tmp_path, *plain, "--hidden", "9", code=1)
    assert "settings or versions differ" in other.stderr


def test_what_the_command_cannot_ask_for_is_refused_at_once(tmp_path: Path) -> None:
    with pytest.raises(TaskError, match="steps must reach for one update"):
        cartpole(out=tmp_path, steps=10)
    with pytest.raises(SettingsError, match="--hidden expects whole numbers"):
        cartpole(out=tmp_path, hidden="x")
    with pytest.raises(SettingsError, match="--deadline must be above 0"):
        cartpole(out=tmp_path, deadline=0.0)
    assert not list(tmp_path.iterdir())
