"""The benchmark of the GPU kernels where there is no GPU: it shows that they are right, and publishes no time."""

import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import msgspec
import numpy as np
import pytest
import torch

from tests.bench import kernel_trainings as trainings
from tests.bench import kernels
from tests.bench.report import ROOT, Report
from tests.kernels.gpu.gates import needs_interpreter


@needs_interpreter
@pytest.mark.interp
def test_without_a_device_kernels_are_checked_and_nothing_is_timed(tmp_path: Path) -> None:
    output = tmp_path / "report.json"
    done = subprocess.run(
        [sys.executable, "-m", "tests.bench.kernels", "--cpu", "--smoke", "--output", str(output)],
        cwd=ROOT,
        env={**os.environ, "OMP_NUM_THREADS": "1"},
        capture_output=True,
        text=True,
        timeout=150,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    report = msgspec.json.decode(output.read_bytes(), type=Report)
    assert [(figure.reached, figure.measured != "not measured") for figure in report.figures[:2]] == [
        (True, True)
    ] * 2
    assert report.figures[2:]
    assert {(figure.reached, figure.measured) for figure in report.figures[2:]} == {(None, "not measured")}
    toys, *timed = report.tables
    assert all(0 < float(cell or 0) < 0.02 for row in toys.rows for cell in row[2:])
    assert timed
    for table in timed:
        named = {"net", "P", "states"}
        for row in table.rows:
            cells = [
                cell for cell, column in zip(row, table.columns, strict=True) if column.title not in named
            ]
            assert cells
            assert set(cells) <= {"not measured", None}, table.title
    assert any("not measured" in note for note in report.notes)


def launch_that(changes: Callable[[np.ndarray], np.ndarray]) -> type:
    """A launch whose networks are those of the CPU's learner, changed."""

    class Launch:
        def __init__(self, asked: trainings.Sizes, device: str, dtype: torch.dtype, steps: int) -> None:
            self.asked, self.steps = asked, steps
            self.layout = self
            self.buffers = self
            self.parameters = None

        def run(self) -> None:
            return None

        def read(self, _: object, number: int) -> dict[str, np.ndarray]:
            data = trainings.batch_of(self.steps * self.asked.batch, self.asked.sizes[0])
            right = trainings.learned(self.asked, number, data, self.steps)
            return {name: changes(np.array(value)) for name, value in right.items()}

    return Launch


@pytest.mark.parametrize(
    "changes", [lambda value: value * 1.001, lambda value: value * np.nan, np.zeros_like]
)
def test_a_launch_that_learns_something_else_ends_the_benchmark(
    changes: Callable[[np.ndarray], np.ndarray], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(trainings, "Launch", launch_that(changes))
    with pytest.raises(ValueError, match="A kernel is wrong"):
        trainings.launch_error(trainings.TOY, "cpu", torch.float32)
    monkeypatch.setattr(trainings, "Launch", launch_that(lambda value: value))
    assert trainings.launch_error(trainings.TOY, "cpu", torch.float32) == 0.0


def test_figures_are_judged_once_there_are_numbers() -> None:
    rows = [{"states": "float32", "gain": 999.0}, {"states": "float16", "gain": 1000.0}]
    assert [figure.reached for figure in trainings.training_figures(rows)] == [False, True]
    same, other = {"shape": "a", "bytes": [5, 5]}, {"shape": "b", "bytes": [5, 6]}
    assert trainings.memory_figure([same]).reached is True
    assert trainings.memory_figure([same, other]).reached is False
    assert kernels.figure("x", "<=", 2, 2.5).reached is False
    assert kernels.figure("x", ">=", 2, 2.5).reached is True
    assert kernels.figure("x", ">=", 2, None).reached is None
