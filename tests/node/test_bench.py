"""`eqmesh bench` on this machine: what it says of speed, in words and in JSON."""

import io
import json
import re
import sys
from pathlib import Path

import msgspec
import pytest
import trio

from evaluator.errors import EvaluatorError
from evaluator.jobs import Calibration, Measured
from evaluator.rates import StepTime, Timed, probes
from genome import preset
from node.commands import bench
from node.errors import SettingsError
from node.settings import Settings
from node.text import summary
from tests.node.test_search import eqmesh
from tests.support.jobs import CALIBRATION
from tests.support.outcomes import outcome


class Screen(io.StringIO):
    """Standard output, a terminal if `drawn`."""

    def __init__(self, *, drawn: bool) -> None:
        super().__init__()
        self.drawn = drawn

    def isatty(self) -> bool:
        return self.drawn


NEVER = Timed(
    product_rate=1e11,
    auto="torch-cpu",
    backends={"torch-cuda": "no CUDA device", "torch-cpu": ""},
    steps=(),
    refused=((0, "torch-cpu", "it is asleep"),),
)
CONSTANTS = Calibration(
    arithmetic="fp32", machine="a machine", seconds_per_call=1e-6, seconds_per_mac=1e-11, seconds_per_byte=1e-11,
    error=0.1,
)  # fmt: skip


@pytest.mark.slow
def test_speed_by_shape_in_json(tmp_path: Path) -> None:
    done = eqmesh(tmp_path, "bench", "--calibrate", "--only", "speed", "--seconds", "0.001", "--json")
    found = json.loads(done.stdout)
    assert found["calibration"]["seconds_per_mac"] != CALIBRATION.seconds_per_mac
    assert set(found) == {"machine", "calibration", "sgemm_flops", "backends", "steps", "not_timed"}
    assert found["backends"]["torch-cpu"] == ""
    rows = {(row["network"], row["backend"]): row for row in found["steps"]}
    for network in ("64-16-10", "16 x 64-64-10", "784-128-10", "784-512-512-10"):
        row = rows[network, "torch-cpu"]
        assert row["samples_per_s"] == pytest.approx(row["networks"] * row["batch"] / row["step_s"])
        assert row["sgemm_share"] > 0
        tasks = {"digits"} if "64-16" in network or "64-64" in network else {"mnist", "fashion-mnist"}
        assert set(row["predicted_evaluations_an_hour"]) == tasks
    assert rows["64-16-10", "reference"]["clock"] == "cpu"
    assert any(row["backend"] == "reference" and "population" in row["why"] for row in found["not_timed"])


def test_what_was_not_timed_is_told_with_its_reason(capsys: pytest.CaptureFixture[str]) -> None:
    bench._write_speed(NEVER, CONSTANTS)
    said = capsys.readouterr().out
    assert "not timed: torch-cuda: no CUDA device" in said
    assert "not timed: 64-16-10 on torch-cpu: it is asleep" in said


def test_the_tables_of_speed_fit_into_eighty_columns(capsys: pytest.CaptureFixture[str]) -> None:
    steps = tuple(
        StepTime(probe=at, backend=backend, seconds=7.35e-5, clock="cpu", free_steps=6.0, nudged_steps=3.0)
        for at in range(len(probes("fp32")))
        for backend in ("torch-cuda", "torch-cpu")
    )
    backends = {"torch-cuda": "", "torch-cpu": ""}
    bench._write_speed(msgspec.structs.replace(NEVER, steps=steps, backends=backends, refused=()), CONSTANTS)
    said = capsys.readouterr().out.splitlines()
    assert sum("784-512-512-10" in line for line in said) == 2 + 2
    assert max(map(len, said)) <= 80


@pytest.mark.parametrize("seconds", [0.0, -1.0, 11.0, float("nan")])
def test_a_budget_out_of_range_is_told(seconds: float) -> None:
    with pytest.raises(SettingsError, match=r"--seconds must lie in \(0, 10\]"):
        bench.bench(seconds=seconds)


def test_the_table_of_predictions_fits_into_a_hundred_columns(monkeypatch: pytest.MonkeyPatch) -> None:
    """Drawn or plain, with the widest figures that there are: a hundred columns hold it."""
    made = outcome(
        preset("shallow"),
        objectives={"accuracy": 0.9, "speed": 123_456.0, "memory": 123_456_789.0},
        measured=Measured(
            train_cpu_s=123.45,
            train_wall_s=124.0,
            evaluate_cpu_s=0.1,
            samples_per_s=98_765.0,
            peak_bytes=987_654_321,
        ),
    )
    for drawn in (False, True):
        screen = Screen(drawn=drawn)
        monkeypatch.setattr(sys, "stdout", screen)
        monkeypatch.setenv("COLUMNS", "200")
        bench._write_predictions([(summary(genome), made) for genome in bench._genomes("fp32")])
        said = re.sub(r"\x1b\[[0-9;]*m", "", screen.getvalue()).splitlines()
        assert sum("backprop 512 ce adam" in line for line in said) == 1
        assert max(len(line.rstrip()) for line in said) <= 100


def test_a_timer_that_ends_in_another_way_is_told() -> None:
    tight = msgspec.structs.replace(Settings(), worker_memory=1)
    with pytest.raises(EvaluatorError, match=r"exit status .*1 MiB"):
        trio.run(bench._timed, tight, 0.001)
