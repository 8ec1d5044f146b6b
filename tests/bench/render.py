"""docs/results.md from the reports under tests/bench/results: every figure beside its target, wins and losses alike.

python -m tests.bench.render [--check]
"""

import argparse
import sys
from collections.abc import Iterable, Sequence
from pathlib import Path

import msgspec

from tests.bench.report import ROOT, Report, Table, show

__all__ = ["PAGE", "RESULTS", "read_reports", "render"]

RESULTS = ROOT / "tests" / "bench" / "results"
PAGE = ROOT / "docs" / "results.md"

# The order of the page; whatever is not named here comes after it, by name.
_ORDER = (
    "training",
    "search",
    "throughput",
    "prediction",
    "settle",
    "naive",
    "population",
    "bf16",
    "exact",
    "rules",
    "optimizers",
    "curriculum",
    "cifar",
    "memory_depth",
    "kernels",
    "startup",
    "genomes",
    "readers",
    "pair",
    "mesh",
    "gossip",
    "blob",
    "idle",
    "fuzz",
    "dashboard",
    "lineage",
)
_INTRODUCTION = """\
# Results

What was measured, beside what the design asks for. Every table is rendered from a report under
`tests/bench/results/` by `python -m tests.bench.render`; each report names the command, the seeds, the machine and
the commit that made it. Benchmarks compare within one run, in alternation, on one thread a process; CPU seconds
are those of the process. An interval is the 95 % interval of the mean over seeds (Student's t). A figure that was
not reached says **missed**.
"""
_MARKS = {True: "yes", False: "**missed**", None: ""}


def read_reports(folder: Path = RESULTS) -> list[Report]:
    """The committed reports in the order of the page. Raises ValueError for one of a smoke run."""
    reports = [msgspec.json.decode(path.read_bytes(), type=Report) for path in sorted(folder.glob("*.json"))]
    for report in reports:
        if report.smoke:
            raise ValueError(f"{report.name}.json is of a smoke run, which measures nothing. Run it whole.")
    return sorted(
        reports,
        key=lambda report: (
            _ORDER.index(report.name) if report.name in _ORDER else len(_ORDER),
            report.name,
        ),
    )


def render(reports: Sequence[Report]) -> str:
    """The whole page."""
    parts = [_INTRODUCTION, *_summary(reports)]
    for report in reports:
        parts += _section(report)
    return "\n".join(parts).rstrip() + "\n"


def _summary(reports: Sequence[Report]) -> list[str]:
    figures = [(figure, report) for report in reports for figure in report.figures]
    missed = [figure for figure, _ in figures if figure.reached is False]
    judged = [figure for figure, _ in figures if figure.reached is not None]
    told = f"{len(judged) - len(missed)} of {len(judged)} figures with a target were reached."
    if missed:
        told += " Missed: " + "; ".join(f"{figure.what} ({figure.measured})" for figure in missed) + "."
    rows = [
        [
            one.what,
            one.target,
            one.measured,
            _MARKS[one.reached],
            f"[{report.name}](#{_anchor(report.title)})",
        ]
        for one, report in figures
    ]
    return [
        "## Figures",
        "",
        told,
        "",
        *_grid(("figure", "target", "measured", "reached", "benchmark"), rows),
        "",
    ]


def _section(report: Report) -> list[str]:
    parts = [f"## {report.title}", "", report.about, ""]
    for note in report.notes:
        parts += [note, ""]
    for table in report.tables:
        parts += _table(table)
    return [*parts, *_origin(report)]


def _table(table: Table) -> list[str]:
    rows = [
        [show(cell, column) for cell, column in zip(row, table.columns, strict=True)] for row in table.rows
    ]
    lines = [f"### {table.title}", "", *_grid([column.title for column in table.columns], rows), ""]
    return [*lines, table.note, ""] if table.note else lines


def _origin(report: Report) -> list[str]:
    origin = report.origin
    versions = ", ".join(f"{name} {version}" for name, version in origin.versions.items())
    seeds = f"; seeds {', '.join(map(str, report.seeds))}" if report.seeds else ""
    cores = f"{origin.cores} core{'s' if origin.cores != 1 else ''}"
    line = (
        f"`{origin.command}`{seeds}. {origin.machine}, {cores}, load {origin.load} when it began; commit "
        f"{origin.commit}, source {origin.source}; {versions}; {origin.date}."
    )
    return [line, ""]


def _anchor(title: str) -> str:
    return "".join(c for c in title.lower().replace(" ", "-") if c.isalnum() or c == "-")


def _grid(header: Sequence[str], rows: Iterable[Sequence[str]]) -> list[str]:
    lines = [list(header), ["---"] * len(header), *(list(row) for row in rows)]
    return ["| " + " | ".join(cell.replace("|", "\\|") for cell in line) + " |" for line in lines]


def main() -> None:
    """Write the page, or say whether it is what the reports give."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--check", action="store_true", help="write nothing; exit 1 if the page differs")
    options = parser.parse_args()
    page = render(read_reports())
    if options.check:
        if not PAGE.exists() or PAGE.read_text(encoding="utf-8") != page:
            sys.exit(
                f"{PAGE.relative_to(ROOT)} is not what the reports give. Run python -m tests.bench.render."
            )
        return
    PAGE.write_text(page, encoding="utf-8")


if __name__ == "__main__":
    main()
