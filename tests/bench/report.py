"""The document that a benchmark prints and writes: what was measured, where, by which command.

One format for all benchmarks, so that `tests.bench.render` needs to know none of them.
"""

import argparse
import hashlib
import importlib.metadata
import os
import platform
import statistics
import subprocess
import sys
from collections.abc import Iterable
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import msgspec

from eqmesh import __version__
from evaluator.calibration import machine
from node.text import table

__all__ = [
    "ROOT",
    "Cell",
    "Column",
    "Figure",
    "Origin",
    "Report",
    "Table",
    "arguments",
    "finish",
    "origin",
    "percentile",
    "show",
    "source_hash",
]

ROOT = Path(__file__).parents[2]
_PACKAGES = ("torch", "numpy", "pymoo", "deap")

Cell = str | int | float | None


class Column(msgspec.Struct, frozen=True):
    """A column's title and the format of its numbers, such as ".2f" or ".1%"; text stands as it is."""

    title: str
    format: str = ""


class Table(msgspec.Struct, frozen=True, kw_only=True):
    """Rows of cells; None is shown as a dash. `note` stands below the table."""

    title: str
    columns: tuple[Column, ...]
    rows: list[list[Cell]]
    note: str = ""


class Figure(msgspec.Struct, frozen=True, kw_only=True):
    """One figure of the design beside its target. `reached` is None where there is nothing to reach."""

    what: str
    target: str
    measured: str
    reached: bool | None = None


class Origin(msgspec.Struct, frozen=True, kw_only=True):
    """Which code ran where and when. `source` is the hash of the packages' files, whatever git says."""

    command: str
    date: str
    machine: str
    cores: int
    load: float
    commit: str
    source: str
    versions: dict[str, str]


class Report(msgspec.Struct, frozen=True, kw_only=True):
    """What one benchmark found. `data` is for machines: all that the tables were made from."""

    name: str
    title: str
    about: str
    smoke: bool
    seeds: tuple[int, ...]
    figures: tuple[Figure, ...]
    tables: tuple[Table, ...]
    origin: Origin
    notes: tuple[str, ...] = ()
    data: Any = None


def arguments(about: str) -> argparse.ArgumentParser:
    """A parser with the options that every benchmark has."""
    parser = argparse.ArgumentParser(description=about)
    parser.add_argument("--smoke", action="store_true", help="do as little as shows that it runs")
    parser.add_argument("--output", type=Path, help="write the report as JSON to this file")
    return parser


def origin(name: str) -> Origin:
    """Where and how this process runs; call it at the start, so that `load` is that of the others."""
    options = [argument for argument in sys.argv[1:] if argument]
    return Origin(
        command=" ".join(["python -m", f"tests.bench.{name}", *options]),
        date=datetime.now(UTC).strftime("%Y-%m-%d"),
        machine=machine(),
        cores=len(os.sched_getaffinity(0)),
        load=round(os.getloadavg()[0], 2),
        commit=_commit(),
        source=source_hash(),
        versions={
            "eqmesh": __version__,
            "python": platform.python_version(),
            **{package: importlib.metadata.version(package) for package in _PACKAGES},
        },
    )


def source_hash() -> str:
    """Twelve digits of the SHA-256 over the code that is measured."""
    digest = hashlib.sha256()
    for package in ("kernels", "genome", "evaluator", "node"):
        for path in sorted((ROOT / package).rglob("*.py")):
            digest.update(f"{path.relative_to(ROOT)}\n".encode())
            digest.update(path.read_bytes())
    return digest.hexdigest()[:12]


def _commit() -> str:
    try:
        head = subprocess.run(
            ["git", "describe", "--always", "--dirty", "--abbrev=12", "--exclude=*"],
            cwd=ROOT, capture_output=True, text=True, check=False, timeout=10,
        )  # fmt: skip
    except OSError:
        return "none"
    return head.stdout.strip() or "none"


def percentile(values: Iterable[float], share: float) -> float:
    """The value below which `share` of the values lie, linear between neighbours."""
    ordered = sorted(values)
    if len(ordered) == 1:
        return ordered[0]
    return statistics.quantiles(ordered, n=1000, method="inclusive")[round(share * 1000) - 1]


def show(cell: Cell, column: Column) -> str:
    """A cell as text."""
    if cell is None:
        return "-"
    return cell if isinstance(cell, str) else format(cell, column.format)


def finish(report: Report, output: Path | None) -> None:
    """Print the report's figures and tables; write it where `output` names a file."""
    for one in report.tables:
        rows = [
            [show(cell, column) for cell, column in zip(row, one.columns, strict=True)] for row in one.rows
        ]
        print(f"\n{one.title}\n{table([column.title for column in one.columns], rows)}")
    if report.figures:
        print()
        marks = {True: "reached", False: "MISSED", None: ""}
        rows = [[f.what, f.target, f.measured, marks[f.reached]] for f in report.figures]
        print(table(["figure", "target", "measured", ""], rows))
    for note in report.notes:
        print(f"\n{note}")
    if output is not None:
        output.parent.mkdir(parents=True, exist_ok=True)
        output.write_bytes(msgspec.json.format(msgspec.json.encode(report)) + b"\n")
