"""What genomes cost: to import the package, to refuse an absurd one, to ask a strategy, to count a lineage.

    python -m tests.bench.genomes --output tests/bench/results/genomes.json

Wall time, medians of repetitions that alternate between what is measured.
"""

import contextlib
import random
import statistics
import subprocess
import sys
import time
from collections.abc import Callable

from genome import MLP, GenomeError, make_strategy
from genome.lineage import Entry, Lineage
from tests.bench.report import ROOT, Cell, Column, Figure, Report, Table, arguments, finish, origin
from tests.genome.toys import ABSURD, record, some_objectives

_IMPORT_S, _REFUSE_S, _ASK_S, _LINEAGE_S = 0.15, 1e-3, 0.01, 1.0
_STRATEGIES = ("random", "nsga2", "map_elites")
_IMPORT = "import time; start = time.perf_counter(); import genome; print(time.perf_counter() - start)"


def imported() -> float:
    """Seconds that `import genome` takes in a new process."""
    done = subprocess.run(
        [sys.executable, "-c", _IMPORT], cwd=ROOT, capture_output=True, text=True, check=True
    )
    return float(done.stdout)


def seconds(function: Callable[[], object]) -> float:
    """Wall seconds of one call."""
    start = time.perf_counter()
    function()
    return time.perf_counter() - start


def refused() -> float:
    """Seconds of the slowest refusal among absurd values."""

    def refuse(values: object) -> None:
        with contextlib.suppress(GenomeError):
            MLP.genome(values)  # type: ignore[arg-type]
            raise AssertionError(f"an absurd genome was taken: {values!s:.60}")

    return max(seconds(lambda values=values: refuse(values)) for values in ABSURD)  # type: ignore[misc]


def asking(name: str, records: int) -> Callable[[], float]:
    """A strategy that knows so many records; gives the seconds of one ask for one genome."""
    strategy = make_strategy(name, MLP, {"one": "max", "two": "max", "three": "min"}, population=16)
    known = [proposal for ask in range(records // 100) for proposal in strategy.ask(random.Random(ask), 100)]
    strategy.tell([record(proposal, some_objectives) for proposal in known])
    asks = iter(range(10_000, 20_000))
    return lambda: seconds(lambda: strategy.ask(random.Random(next(asks))))


def lineage(genomes: int) -> Callable[[], float]:
    """Gives the seconds of the statistics of a lineage of so many genomes with two parents each, built anew."""
    rng = random.Random(3)
    entries = [Entry("0", (), "random/1", 0)]
    for number in range(1, genomes):
        parents = {str(max(0, number - rng.randrange(1, 40))) for _ in range(2)}
        entries.append(Entry(str(number), tuple(sorted(parents)), "cross/1", number))
    return lambda: seconds(lambda: Lineage(entries).statistics())


def main() -> None:
    """Run the benchmark."""
    options = arguments(__doc__ or "").parse_args()
    made_by = origin("genomes")
    repeats, records, genomes = (1, 100, 100) if options.smoke else (11, 5000, 10_000)
    measured: dict[str, tuple[Callable[[], float], float]] = {
        "`import genome`": (imported, _IMPORT_S),
        f"slowest refusal of {len(ABSURD)} absurd genomes": (refused, _REFUSE_S),
        **{
            f"ask `{name}` for a genome after {records} records": (asking(name, records), _ASK_S)
            for name in _STRATEGIES
        },
        f"statistics of a lineage of {genomes} genomes": (lineage(genomes), _LINEAGE_S),
    }
    times: dict[str, list[float]] = {what: [] for what in measured}
    for _ in range(repeats):
        for what, (measure, _most) in measured.items():
            times[what].append(1000 * measure())
    medians = {what: statistics.median(found) for what, found in times.items()}
    rows: list[list[Cell]] = [[what, medians[what], max(found)] for what, found in times.items()]
    finish(
        Report(
            name="genomes",
            title="Genomes and strategies",
            about="What the package `genome` costs, which no search may wait for.",
            smoke=options.smoke,
            seeds=(),
            figures=tuple(
                Figure(
                    what=what,
                    target=f"<= {1000 * most:g} ms",
                    measured=f"{medians[what]:.2f} ms",
                    reached=medians[what] <= 1000 * most,
                )
                for what, (_measure, most) in measured.items()
            ),
            tables=(
                Table(
                    title="Time of each",
                    columns=(Column("what"), Column("median, ms", ".2f"), Column("slowest, ms", ".2f")),
                    rows=rows,
                    note=f"{repeats} repetitions, in alternation.",
                ),
            ),
            origin=made_by,
            data=times,
        ),
        options.output,
    )


if __name__ == "__main__":
    main()
