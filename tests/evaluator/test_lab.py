"""The lab: what it refuses, what it shows, that it diverges where it must and says so, and its child process."""

import itertools
import re
import subprocess
import sys

import msgspec
import numpy as np
import pytest
import torch

from evaluator.build import rule_of
from evaluator.errors import EvaluatorError
from evaluator.lab import (
    MOST_LINE_BYTES,
    Ended,
    Frame,
    Pace,
    Restart,
    Set,
    Settings,
    Told,
    decode_order,
    decode_report,
    line_of,
)
from evaluator.lab.messages import GRID_SIDE, MOST_POINTS
from evaluator.lab.path import Bench, Heights, Plane, energies_of, followed, landscape, plane_of, states_of
from evaluator.lab.session import Session, genes_of
from evaluator.limits import thread_environment
from kernels.arithmetic import run
from kernels.energy import energy, total_energy
from kernels.settle import sweep

SMALL = Settings(depth=2, width=12, batch=16, free_steps=6, nudged_steps=3)
DEEP = Settings(depth=3, width=48, batch=16, free_steps=4, nudged_steps=2, rate=1.0)


@pytest.fixture
def session() -> Session:
    return Session(SMALL)


def trained(settings: Settings, steps: int) -> Session:
    session = Session(settings)
    for _ in range(steps):
        session.step()
    return session


def changed(settings: Settings, **changes: object) -> Settings:
    return msgspec.structs.replace(settings, **changes)


# Messages


@pytest.mark.parametrize(
    "wrong",
    [
        {"depth": 4},
        {"width": 2},
        {"beta": 0},
        {"rate": "fast"},
        {"rate": 1e3},
        {"rule": "hebb"},
        {"free_steps": -1},
        {"spectral": 1},
        {"colour": "red"},
    ],
)
def test_settings_out_of_bounds_are_no_order(wrong: dict[str, object]) -> None:
    line = msgspec.json.encode({"type": "set", "number": 1, "settings": wrong})
    with pytest.raises(EvaluatorError, match="something else than it takes"):
        decode_order(line)


def test_messages_come_back_as_they_were() -> None:
    for order in (
        Set(number=1, settings=SMALL),
        Restart(number=2, settings=DEEP),
        Pace(number=3, steps_per_s=5),
    ):
        assert decode_order(line_of(order)) == order
    with pytest.raises(EvaluatorError, match="at most"):
        decode_report(b" " * (MOST_LINE_BYTES + 1))


@pytest.mark.parametrize(
    ("changes", "words"),
    [({"beta": 0.6}, "must be below 0.5"), ({"beta": 1.5, "rule": "one-sided"}, "must be below 1")],
)
def test_a_nudge_that_cannot_be_is_refused_and_changes_nothing(
    session: Session, changes: dict[str, object], words: str
) -> None:
    session.step()
    before = session.parameters()
    with pytest.raises(EvaluatorError, match=words):
        session.switch(changed(SMALL, **changes))
    assert session.settings == SMALL
    assert all(np.array_equal(before[name], values) for name, values in session.parameters().items())


# Training


def test_it_learns() -> None:
    session = Session(changed(SMALL, optimizer="adam", rate=0.01))
    first = session.accuracy()
    for _ in range(60):
        session.step()
    assert first is not None
    assert (session.accuracy() or 0) > max(0.5, first + 0.2)


def test_the_nudge_decides_where_the_weights_go() -> None:
    weak, strong = trained(SMALL, 3), trained(SMALL, 2)
    strong.switch(changed(SMALL, beta=0.4))
    strong.step()
    assert weak.step_number == strong.step_number == 3
    assert any(
        not np.array_equal(strong.parameters()[name], values) for name, values in weak.parameters().items()
    )


def test_a_switch_that_changes_nothing_changes_nothing() -> None:
    settings = changed(SMALL, optimizer="adam", rate=0.003)
    straight, switched = trained(settings, 6), trained(settings, 3)
    switched.switch(changed(settings, rate=0.002))
    switched.switch(settings)
    for _ in range(3):
        switched.step()
    assert all(
        np.array_equal(switched.parameters()[name], values) for name, values in straight.parameters().items()
    )


@pytest.mark.parametrize(
    ("optimizer", "rate"), [("sgd", 0.05), ("adam", 0.003), ("muon", 0.02), ("dion", 0.02)]
)
def test_the_clip_holds_the_spectrum(optimizer: str, rate: float) -> None:
    settings = changed(DEEP, width=24, optimizer=optimizer, gamma=0.6, rate=rate)
    session = trained(settings, 12)
    names, points = session.weights, session.frame(0).points
    assert names == ("w1-2", "w2-3", "w3-4")
    for name in names:
        assert np.linalg.norm(session.parameters()[name], 2) <= 0.6 * (1 + 1e-3)
    assert all(norm is not None and norm <= 0.6 * (1 + 1e-3) for point in points for norm in point.norms)
    session.switch(changed(settings, spectral=False, rate=4 * rate))
    for _ in range(12):
        session.step()
    assert max(norm or np.inf for norm in session.frame(0).points[-1].norms) > 0.6 * 1.005


def test_it_runs_away_without_the_clip_says_so_and_settles_with_it() -> None:
    session = Session(changed(DEEP, spectral=False))
    frames = []
    for _ in range(200):
        session.step()
        # Those before the end too, whose numbers are near the largest that there are.
        if session.step_number > 12:
            frames.append(session.frame(0))
        if not session.going:
            break
    last = frames[-1]
    assert last.diverged is not None
    assert re.match(rf"Not finite at step {last.step}: the (weights|states|loss) ", last.diverged)
    assert "The largest spectral norm had come to" in last.diverged
    assert "clip the spectrum" in last.diverged
    assert (last.trace, last.landscape) == (None, None)
    for frame in frames:
        assert decode_report(line_of(frame)).run == 1
    # It stays where it is until it is begun anew, whatever is switched.
    session.switch(changed(DEEP, spectral=True))
    session.step()
    assert session.frame(0).step == last.step
    session.restart(changed(DEEP, spectral=True))
    for _ in range(2 * last.step):
        session.step()
    again = session.frame(0)
    assert (again.diverged, again.run, again.restarted) == (None, 2, True)
    assert again.step == 2 * last.step
    assert again.trace is not None and again.trace.free_residual[-1] is not None


@pytest.mark.parametrize("rule", ["one-sided", "negative", "random-sign", "linearised"])
def test_every_rule_is_shown(rule: str) -> None:
    frame = trained(changed(SMALL, rule=rule), 3).frame(7)
    assert frame.trace is not None and frame.landscape is not None
    assert len(frame.trace.free_energy) == len(frame.trace.free_residual) + 1
    nudges = rule != "linearised"
    assert (
        bool(frame.landscape.nudged)
        == bool(frame.landscape.near)
        == bool(frame.trace.nudged_energy)
        == nudges
    )


def test_backpropagation_settles_nothing() -> None:
    session = trained(changed(SMALL, rule="backprop", rate=0.1), 3)
    frame = session.frame(7)
    assert (frame.trace, frame.landscape) == (None, None)
    assert [point.step for point in frame.points] == [1, 2, 3]
    session.switch(SMALL)
    session.step()
    assert session.frame(7).trace is not None


def test_another_network_begins_anew(session: Session) -> None:
    session.step()
    session.switch(changed(SMALL, width=16))
    assert (session.step_number, session.parameters()["w0-1"].shape) == (0, (16, 64))


def test_frames_are_sane_and_bounded(session: Session) -> None:
    for _ in range(MOST_POINTS + 60):
        session.step()
    frame = session.frame(20.0)
    assert len(frame.points) <= MOST_POINTS
    steps = [point.step for point in frame.points]
    assert steps == sorted(set(steps)) and steps[-1] == frame.step == MOST_POINTS + 60
    assert frame.points[-1].loss is not None and frame.points[-1].loss > 0
    seen = [point.accuracy for point in frame.points if point.accuracy is not None]
    assert seen and all(0 <= value <= 1 for value in seen)
    line = line_of(frame)
    assert len(line) < MOST_LINE_BYTES // 2
    assert isinstance(decode_report(line), Frame)
    assert session.frame(20.0).points == ()


# The path and the energy around it


def of(session: Session):  # type: ignore[no-untyped-def]
    """Topology, weights, rule and the watched example of a session."""
    x, y = session._example
    return session.topology, session.parameters(), rule_of(genes_of(session.settings)), x[0], int(y[0])


@pytest.mark.parametrize("output", ["mse", "ce"])
def test_energies_along_the_path_are_the_kernels(output: str) -> None:
    session = trained(changed(SMALL, output=output), 5)
    topology, parameters, rule, x, label = of(session)
    shown = landscape(topology, parameters, rule, x, label)
    bench = Bench(topology, parameters, rule, 1)
    with torch.inference_mode():
        bench.load(torch.from_numpy(x[None, :]), torch.tensor([label]))
        found = [float(energy(bench.free))]
        for step in range(len(shown.free) - 1):
            run(sweep(bench.free, rule.free, step, measured=True))
            found.append(float(energy(bench.free)))
        assert found == pytest.approx(list(shown.free_energy), abs=1e-6)
        # Each to its exact minimum in turn: a free energy never rises.
        assert all(later <= earlier + 1e-5 for earlier, later in itertools.pairwise(found))
        bench.begin_nudged()
        assert float(total_energy(bench.nudged)) == pytest.approx(shown.nudged_energy[0], abs=1e-5)
    assert shown.free[-1] == (0.0, 0.0)
    assert shown.nudged[0] == pytest.approx((0.0, 0.0), abs=1e-6)
    assert 0 < shown.share <= 1 + 1e-9


@pytest.mark.parametrize("output", ["mse", "ce"])
def test_the_grid_holds_the_energy_of_its_points(output: str) -> None:
    session = trained(changed(SMALL, output=output), 5)
    topology, parameters, rule, x, label = of(session)
    shown = landscape(topology, parameters, rule, x, label)
    assert (len(shown.whole.grid), len(shown.whole.grid[0])) == (GRID_SIDE, GRID_SIDE)
    # All of the path is in sight, and the nudged phase closer by.
    for points, scope in (((*shown.free, *shown.nudged), shown.whole), (shown.nudged, shown.near)):
        assert all(scope.u_range[0] < u < scope.u_range[1] for u, _ in points)
        assert all(scope.v_range[0] < v < scope.v_range[1] for _, v in points)
    with torch.inference_mode():
        bench = Bench(topology, parameters, rule, 1)
        bench.load(torch.from_numpy(x[None, :]), torch.tensor([label]))
        path, energies = followed(bench.free, rule.free)
        plane = plane_of(path[-1], path, np.ones(path.shape[1]))
        # A grid of two points along each side: its corners are the origin, and where the path sets out.
        (u, v), _ = plane.coordinates(path[[0, -1]])
        free, nudged = Heights(topology, parameters, rule, x, label, side=2).over(plane, (0.0, u), (0.0, v))
        assert free[0, 0] == pytest.approx(energies[-1], abs=1e-5)
        bench.put(bench.free, plane.states(np.array([[u, v]])))
        assert free[1, 1] == pytest.approx(float(energies_of(bench.free)[0]), abs=1e-5)
        # The energy by its formula, in float64, at a corner that the path never met.
        bench.put(bench.free, plane.states(np.array([[u, 0.0]])))
        layers = np.split(
            states_of(bench.free)[0], np.cumsum(topology.sizes[1:-1])[: len(topology.state_layers) - 1]
        )
        below, expected = x.astype(np.float64), 0.0
        for layer, state in zip(topology.state_layers, layers, strict=True):
            drive = parameters[f"w{layer - 1}-{layer}"].astype(np.float64) @ below + parameters[f"b{layer}"]
            expected += float(state @ (0.5 * state - drive))
            below = state
        assert free[0, 1] == pytest.approx(expected, abs=1e-4)
        last, weights = topology.last, parameters
        scores = below if output == "mse" else weights[f"w{last - 1}-{last}"] @ below + weights[f"b{last}"]
        cost = (
            0.5 * np.square(scores - np.eye(10)[label]).sum()
            if output == "mse"
            else np.log(np.exp(scores).sum()) - scores[label]
        )
        assert nudged[0, 1] == pytest.approx(expected + rule.beta * cost, abs=1e-4)


def test_the_target_pulls_the_output_towards_it() -> None:
    session = trained(changed(SMALL, depth=1), 1)
    topology, parameters, rule, x, label = of(session)
    shown = landscape(topology, parameters, rule, x, label)
    # Where the nudged path goes is where the target pulls.
    assert np.dot(shown.pull, shown.nudged[-1]) > 0
    assert shown.label == label and 0 <= shown.predicted < 10


def test_a_plane_has_two_directions_whatever_the_path() -> None:
    origin, pull = np.zeros(4), np.array([0.0, 3.0, 0.0, 4.0])
    resting = plane_of(origin, np.zeros((1, 4)), pull)
    assert resting.directions[0] == pytest.approx([0, 0.6, 0, 0.8])
    straight = plane_of(origin, np.array([[-2.0, 0, 0, 0], [0, 0, 0, 0]]), np.array([1.0, 0, 0, 0]))
    # From the origin the path's start lies ahead, however the decomposition signs it.
    assert straight.directions[0] == pytest.approx([-1, 0, 0, 0])
    for plane in (resting, straight):
        assert plane.directions @ plane.directions.T == pytest.approx(np.eye(2))
    points = np.array([[0.5, -1.0]])
    assert straight.coordinates(straight.states(points)) == pytest.approx(points)
    assert isinstance(plane_of(np.zeros(1), np.ones((2, 1)), np.ones(1)), Plane)


# The process


def started(seconds: float = 100) -> "subprocess.Popen[bytes]":
    return subprocess.Popen(
        [
            sys.executable,
            "-P",
            "-m",
            "evaluator.lab",
            "--memory=1073741824",
            "--nice=1",
            f"--seconds={seconds}",
        ],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        env=thread_environment(),
    )


def test_the_child_ends_at_its_time_and_says_so() -> None:
    process = started(seconds=0)
    last = decode_report(process.stdout.readlines()[-1])
    assert isinstance(last, Ended) and "ends after 0 minutes" in last.why
    assert process.wait(20) == 0
    for pipe in (process.stdin, process.stdout, process.stderr):
        pipe.close()


def test_the_child_answers_orders_and_ends_with_its_input() -> None:
    process = started()
    process.stdin.write(line_of(Pace(number=1, steps_per_s=0)) + line_of(Restart(number=2, settings=SMALL)))
    process.stdin.write(line_of(Set(number=3, settings=changed(SMALL, beta=0.7))))
    process.stdin.write(line_of(Pace(number=4, steps_per_s=0, once=True)))
    process.stdin.flush()
    answers, frame = {}, None
    while len(answers) < 4 or frame is None or frame.step < 1 or frame.settings != SMALL:
        report = decode_report(process.stdout.readline())
        if isinstance(report, Told):
            answers[report.number] = report.refused
        elif isinstance(report, Frame):
            frame = report
    assert {number for number, refused in answers.items() if refused is None} == {1, 2, 4}
    assert "below 0.5" in str(answers[3])
    assert frame.step == 1 and frame.steps_per_s == 0
    process.stdin.close()
    assert process.wait(20) == 0
    process.stdout.close()
    process.stderr.close()


def test_the_child_ends_at_an_order_that_it_does_not_know() -> None:
    process = started()
    _, said = process.communicate(b'{"type": "dance"}\n', timeout=240)
    assert process.returncode == 2
    assert b"something else than it takes" in said
