"""How long it takes until something is seen: `--help`, the first worker at work, the first row of the front.

    python -m tests.bench.startup [--whole] --output tests/bench/results/startup.json

Wall time of whole commands in new processes and fresh folders, once with this machine's calibration still to be
measured (the very first search) and then with it stored.
"""

import argparse
import os
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import cast

import msgspec

from evaluator.jobs import Outcome, Progress
from genome import Genome
from node.search import SearchState
from node.store.records import Reader
from node.store.rows import EvaluationRow
from tests.bench.report import ROOT, Cell, Column, Figure, Origin, Report, Table, arguments, finish, origin

_STAMP = "stamp "
_HELP_S, _TRAINS_S, _ROW_S, _WHOLE_S = 0.35, 4.0, 20.0, 240.0


class Seen(msgspec.Struct, frozen=True, kw_only=True):
    """Seconds from the start of a search's process to what was seen of it."""

    calibrated: bool
    opened: float
    trains: float
    row: float
    ended: float | None


def observe(options: list[str]) -> None:
    """The command line, with a watcher that says what it sees at once."""
    from node import cli, output, watch

    class Stamping(watch.LineWatcher):
        """Writes one stamp an event."""

        def started(self, state: SearchState) -> None:
            """The run is open."""
            output.say(f"{_STAMP}started")

        def progressed(self, state: SearchState, genome: Genome, progress: Progress) -> None:
            """A worker has trained a part of a genome."""
            output.say(f"{_STAMP}progressed {genome.id} {progress.done}")

        def recorded(self, state: SearchState, row: EvaluationRow) -> None:
            """One evaluation is on record; only candidates that succeeded come to the front."""
            member = row.purpose == "search" and row.failure is None
            output.say(f"{_STAMP}{'front' if member else 'recorded'} {row.genome}")

    setattr(watch, "LineWatcher", Stamping)  # noqa: B010 - the command imports the name later
    cli.main(options)


def environment(state: Path) -> dict[str, str]:
    """The environment with another place for calibrations, without settings of the user's own."""
    kept = {
        name: value
        for name, value in os.environ.items()
        if not name.startswith("EQMESH_") or name == "EQMESH_DATA_DIR"
    }
    return {**kept, "EQMESH_STATE_DIR": str(state), "PYTHONPATH": str(ROOT)}


def command() -> list[str]:
    """The installed program, or the same without its script."""
    script = Path(sys.executable).with_name("eqmesh")
    return [str(script)] if script.exists() else [sys.executable, "-c", "from node.cli import main; main()"]


def help_s(folder: Path, repeats: int) -> list[float]:
    """Wall seconds of `eqmesh --help`, the first one left out: it compiles what was never run."""
    taken = []
    for _ in range(repeats + 1):
        began = time.perf_counter()
        subprocess.run(
            [*command(), "--help"], cwd=folder, env=environment(folder), capture_output=True, check=True
        )
        taken.append(time.perf_counter() - began)
    return taken[1:]


def watched(folder: Path, state: Path, options: list[str], *, whole: bool) -> Seen:
    """Start a search and read its stamps; end it at the first row of the front unless the whole of it is wanted."""
    calibrated = (state / "calibration.json").exists()
    program = [sys.executable, "-m", "tests.bench.startup", "--observe", *options]
    began = time.perf_counter()
    process = subprocess.Popen(
        program,
        cwd=folder,
        env=environment(state),
        stderr=subprocess.PIPE,
        stdout=subprocess.DEVNULL,
        text=True,
    )
    assert process.stderr is not None
    at: dict[str, float] = {}
    first = ""
    for line in process.stderr:
        now = time.perf_counter() - began
        if not line.startswith(_STAMP):
            continue
        kind, *rest = line.removeprefix(_STAMP).split()
        if kind == "progressed" and kind not in at:
            first = rest[0]
        at.setdefault(kind, now)
        if kind == "front" and not whole:
            process.terminate()
    process.stderr.close()
    process.wait(timeout=60)
    ended = time.perf_counter() - began
    return Seen(
        calibrated=calibrated,
        opened=at["started"],
        trains=at["progressed"] - first_part_s(folder / "eqmesh.db", first),
        row=at["front"],
        ended=ended if whole else None,
    )


def first_part_s(store: Path, genome: str) -> float:
    """CPU seconds that a worker had trained when it first said how far it was; 0 where that is not on record."""
    with Reader(store) as reader:
        rows = [row for row in reader.evaluations() if row.genome == genome and row.failure is None]
        found = [reader.result(row.id) for row in rows]
    outcomes = [one for one in found if isinstance(one, Outcome)]
    return outcomes[0].curve[0].train_cpu_s if outcomes else 0.0


def searches(folder: Path, options: list[str], *, repeats: int, whole: bool) -> list[Seen]:
    """The very first search of a machine, later ones, and a whole one last."""
    seen = []
    state = folder / "state"
    for number in range(repeats + 1 + whole):
        place = folder / f"search-{number}"
        place.mkdir()
        last = whole and number == repeats + 1
        seen.append(watched(place, folder / "whole" if last else state, options, whole=last))
        print(msgspec.to_builtins(seen[-1]), flush=True)
    return seen


def report(helps: list[float], seen: list[Seen], options: argparse.Namespace, *, began: Origin) -> Report:
    """All of it in figures and a table."""
    ordinary = [one for one in seen if one.calibrated and one.ended is None]
    whole = [one for one in seen if one.ended is not None]
    very_first = next(one for one in seen if not one.calibrated and one.ended is None)
    trains, row = (statistics.median(getattr(one, name) for one in ordinary) for name in ("trains", "row"))
    shown = statistics.median(helps)
    figures = [
        Figure(
            what="`eqmesh --help`",
            target=f"<= {_HELP_S} s",
            measured=f"{shown:.2f} s",
            reached=shown <= _HELP_S,
        ),
        Figure(
            what="`eqmesh search` until the first worker trains",
            target=f"<= {_TRAINS_S:g} s",
            measured=f"{trains:.1f} s; {very_first.trains:.1f} s where this machine must be measured first",
            reached=trains <= _TRAINS_S,
        ),
        Figure(
            what="`eqmesh search` until the first row of the front, in the very first search",
            target=f"<= {_ROW_S:g} s",
            measured=f"{very_first.row:.1f} s; {row:.1f} s in later ones",
            reached=very_first.row <= _ROW_S,
        ),
    ]
    for one in whole:
        ended = cast("float", one.ended)
        figures.append(
            Figure(
                what="the whole default search, this machine's measurement included",
                target=f"<= {_WHOLE_S:g} s",
                measured=f"{ended:.0f} s",
                reached=ended <= _WHOLE_S,
            )
        )
    rows: list[list[Cell]] = [["eqmesh --help", len(helps), None, None, None, shown]]
    kinds = (("very first search", [very_first]), ("later search", ordinary), ("whole search", whole))
    for kind, own in kinds:
        if own:
            middle = [
                statistics.median(getattr(one, name) for one in own) for name in ("opened", "trains", "row")
            ]
            rows.append([kind, len(own), *middle, own[0].ended])
    columns = ("run is open", "first worker trains", "first row of the front", "ended")
    return Report(
        name="startup",
        title="Start-up",
        about="Wall time of new processes in fresh folders, library files in the system's cache. A worker trains from "
        "the moment of its first report of progress less the seconds that it had trained by then. Fetching and "
        "installing packages is not in here.",
        smoke=bool(options.smoke),
        seeds=(0,),
        figures=tuple(figures),
        tables=(
            Table(
                title="Seconds from the start of the command, medians",
                columns=(Column("what"), Column("n"), *(Column(title, ".2f") for title in columns)),
                rows=rows,
            ),
        ),
        origin=began,
        data={"help_s": helps, "searches": seen},
    )


def main() -> None:
    """Measure and report, or be the observed command."""
    if sys.argv[1:2] == ["--observe"]:
        observe(sys.argv[2:])
        return
    parser = arguments(__doc__ or "")
    parser.add_argument("--whole", action="store_true", help="also run a whole default search")
    parser.add_argument("--repeats", type=int, default=5)
    options = parser.parse_args()
    began = origin("startup")
    smoke = bool(options.smoke)
    repeats = 1 if smoke else options.repeats
    flags = ["search", *(["--tier", "smoke", "-n", "3", "-w", "1", "--rescore", "0"] if smoke else [])]
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        helps = help_s(folder, repeats if smoke else 2 * repeats + 1)
        seen = searches(folder, flags, repeats=repeats, whole=options.whole)
    finish(report(helps, seen, options, began=began), options.output)


if __name__ == "__main__":
    main()
