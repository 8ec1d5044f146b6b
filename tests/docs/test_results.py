"""docs/results.md says what the committed reports say, and every benchmark runs."""

import importlib.util
import json
import os
import re
import subprocess
import sys
from pathlib import Path

import msgspec
import pytest

from tests.bench import render
from tests.bench.report import ROOT, Column, Figure, Report, Table

SCRIPTS = (
    "training",
    "search",
    "throughput",
    "prediction",
    "readers",
    "startup",
    "genomes",
    "settle",
    "naive",
    "population",
    "bf16",
    "exact",
    "rules",
    "kernels",
    "fuzz",
    "mesh",
)
ON_SOCKETS = ("blob", "gossip", "idle", "pair")
NO_SOCKETS = [
    pytest.mark.skipif(
        importlib.util.find_spec("libp2p") is None, reason="libp2p (extra `mesh`) is not installed"
    )
]


def report_of(**changes: object) -> Report:
    """A small report."""
    plain: dict[str, object] = {
        "name": "toy",
        "title": "A toy",
        "about": "Nothing was measured.",
        "smoke": False,
        "seeds": [1, 2],
        "figures": [Figure(what="speed", target="<= 2", measured="3", reached=False)],
        "tables": [
            Table(title="Rows", columns=(Column("a"), Column("b", ".1f")), rows=[["x|y", 1.25], ["z", None]])
        ],
        "origin": {
            "command": "python -m tests.bench.toy",
            "date": "2000-01-01",
            "machine": "a machine",
            "cores": 1,
            "load": 0.5,
            "commit": "none",
            "source": "0" * 12,
            "versions": {"torch": "1"},
        },
    }
    return msgspec.convert(msgspec.to_builtins({**plain, **changes}), Report)


def test_the_page_is_what_the_reports_give() -> None:
    assert render.PAGE.read_text(encoding="utf-8") == render.render(render.read_reports())


def test_a_figure_that_was_missed_is_said_to_be() -> None:
    page = render.render([report_of()])
    assert "0 of 1 figures with a target were reached. Missed: speed (3)." in page
    assert "| speed | <= 2 | 3 | **missed** | [toy](#a-toy) |" in page
    assert "| x\\|y | 1.2 |" in page
    assert "| z | - |" in page


def test_a_report_of_a_smoke_run_is_never_shown(tmp_path: Path) -> None:
    (tmp_path / "toy.json").write_bytes(msgspec.json.encode(report_of(smoke=True)))
    with pytest.raises(ValueError, match="smoke run"):
        render.read_reports(tmp_path)


def test_each_report_names_what_made_it_and_no_machine_path() -> None:
    for report in render.read_reports():
        assert re.match(rf"python -m tests\.bench\.{report.name}\b", report.origin.command)
        assert not re.search(r"[ =][/~]", report.origin.command)


@pytest.fixture(scope="module")
def state(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Where this machine's calibration is kept for the module, so that it is measured once."""
    return tmp_path_factory.mktemp("state")


@pytest.mark.slow
@pytest.mark.parametrize(
    "script", [*SCRIPTS, *(pytest.param(name, marks=[pytest.mark.live, *NO_SOCKETS]) for name in ON_SOCKETS)]
)
def test_a_benchmark_runs_and_writes_its_report(script: str, state: Path, tmp_path: Path) -> None:
    output = tmp_path / "report.json"
    found = subprocess.run(
        [sys.executable, "-m", f"tests.bench.{script}", "--smoke", "--output", str(output)],
        cwd=ROOT,
        env={**os.environ, "EQMESH_STATE_DIR": str(state), "OMP_NUM_THREADS": "1"},
        capture_output=True,
        text=True,
        timeout=500,
        check=False,
    )
    assert found.returncode == 0, found.stderr
    report = msgspec.json.decode(output.read_bytes(), type=Report)
    assert (report.name, report.smoke) == (script, True)
    assert report.figures
    assert report.tables
    assert all(len(row) == len(table.columns) for table in report.tables for row in table.rows)
    assert json.loads(output.read_text())["data"]
    for table in report.tables:
        assert table.title in found.stdout
