"""Evaluations an hour of a real search on digits, beside the same evaluations in a plain loop over torch.

    python -m tests.bench.throughput --output tests/bench/results/throughput.json

The search runs with the default space and settings and two workers, each on one thread. Then every genome that
it evaluated is trained again, one by one on one thread, by `tests.bench.plain`: same genomes, seeds and epochs.
The plain loop scores the validation split once; the search also draws a curve of ten points, hashes twenty
checkpoints, diagnoses the trained network and records it all.
"""

import statistics
import tempfile
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from unittest.mock import patch

import msgspec
import torch
import trio

from evaluator.jobs import Outcome
from evaluator.pool import Pool, PoolSettings, open_pool
from evaluator.tasks import DatasetTask, resolve
from genome import Value, preset
from node.service import run_search, stored_calibration
from node.settings import Settings
from node.store.records import Reader
from node.store.writer import Writer
from tests.bench.plain import PlainResult, train_plain
from tests.bench.report import Column, Figure, Origin, Report, Table, arguments, finish, origin, percentile
from tests.bench.search import Silent


class Clocked(msgspec.Struct, kw_only=True):
    """Wall seconds that the parts of a search took."""

    search_s: float = 0.0
    start_up_s: float = 0.0
    jobs_s: float = 0.0
    store_s: float = 0.0


class Pair(msgspec.Struct, frozen=True, kw_only=True):
    """One genome, evaluated by the search and by the plain loop."""

    genome: str
    depth: int
    batch: int
    widest: int
    iterative: bool
    accuracy: float
    cpu_s: float
    plain: PlainResult


async def start_up(settings: Settings) -> float:
    """Seconds until every worker of a new pool is ready; this machine's calibration is stored by then."""
    began = time.perf_counter()
    async with open_pool(PoolSettings(workers=settings.workers, nice=settings.nice)) as pool:
        for _ in range(settings.workers):
            await pool.backends()
        ready = time.perf_counter() - began
        await stored_calibration(pool, settings)
    return ready


def clocked_search(settings: Settings) -> Clocked:
    """Run the search; the clock is read around each job and each record."""
    clock = Clocked(start_up_s=trio.run(start_up, settings))
    run, record = Pool.run, Writer.record

    async def timed_run(pool: Pool, *arguments: object, **options: object) -> object:
        began = time.perf_counter()
        try:
            return await run(pool, *arguments, **options)  # type: ignore[arg-type]
        finally:
            clock.jobs_s += time.perf_counter() - began

    def timed_record(writer: Writer, *arguments: object) -> object:
        began = time.perf_counter()
        try:
            return record(writer, *arguments)  # type: ignore[arg-type]
        finally:
            clock.store_s += time.perf_counter() - began

    with patch.object(Pool, "run", timed_run), patch.object(Writer, "record", timed_record):
        began = time.perf_counter()
        trio.run(run_search, settings, Silent())
        clock.search_s = time.perf_counter() - began
    return clock


def recorded(store: Path) -> tuple[list[Outcome], dict[str, Mapping[str, Value]], int]:
    """Outcomes, genes by genome, and the number of failures of the only run of a store."""
    with Reader(store) as reader:
        rows = reader.evaluations()
        results = [reader.result(row.id) for row in rows]
        genes = {row.genome: dict(reader.genome(row.genome).values) for row in rows}
    outcomes = [result for result in results if isinstance(result, Outcome)]
    return outcomes, genes, len(results) - len(outcomes)


def paired(
    outcomes: Sequence[Outcome], genes: Mapping[str, Mapping[str, Value]], settings: Settings
) -> list[Pair]:
    """Train every genome again in the plain loop."""
    task = resolve(settings.task)
    assert isinstance(task, DatasetTask)
    data, tier = task.load(), task.tier(settings.tier or None)
    # What the first use of an optimizer loads is not charged to the plain loop.
    train_plain(dict(preset("shallow").values), task, data, task.tier("smoke"), seed=0)
    pairs: list[Pair] = []
    for outcome in outcomes:
        values = genes[outcome.genome]
        depth = int(values["depth"])
        measured = outcome.measured
        pairs.append(
            Pair(
                genome=outcome.genome,
                depth=depth,
                batch=int(values["batch"]),
                widest=max(int(values[f"width{i}"]) for i in range(1, depth + 1)),
                iterative=depth > 1 or values["output"] == "mse",
                accuracy=outcome.objectives["accuracy"],
                cpu_s=measured.train_cpu_s + measured.evaluate_cpu_s,
                plain=train_plain(values, task, data, tier, seed=outcome.seed),
            )
        )
        print(
            f"[{len(pairs)}/{len(outcomes)}] {pairs[-1].cpu_s:.2f} s, plain {pairs[-1].plain.cpu_s:.2f} s",
            flush=True,
        )
    return pairs


def share_table(clock: Clocked, outcomes: Sequence[Outcome], workers: int) -> Table:
    """Where the workers' time went."""
    whole = workers * clock.search_s
    training = sum(outcome.measured.train_wall_s for outcome in outcomes)
    evaluation = sum(outcome.measured.evaluate_cpu_s for outcome in outcomes)
    start = workers * clock.start_up_s
    around = max(0.0, clock.jobs_s - training - evaluation - start)
    parts = {
        "training steps": training,
        "scoring the validation split at the end": evaluation,
        "around them: data, building, curve, hashes, diagnosis, weights, pipes, failed jobs": around,
        "start of the workers": start,
        "store": clock.store_s,
    }
    parts["asking, waiting for the other worker"] = max(0.0, whole - sum(parts.values()))
    return Table(
        title="Where the workers' time went",
        columns=(Column("part"), Column("seconds", ".2f"), Column("share", ".1%")),
        rows=[[name, value, value / whole] for name, value in parts.items()],
        note=f"{workers} workers for {clock.search_s:.1f} s of wall time. Start: until every worker of a new pool is "
        "ready, measured beside the search.",
    )


def kinds_table(pairs: Sequence[Pair]) -> Table:
    """The plain loop's CPU time over ours, by kind of genome."""
    kinds = {
        "all": pairs,
        "one layer of states": [pair for pair in pairs if not pair.iterative],
        "several layers of states": [pair for pair in pairs if pair.iterative],
        "batch up to 32": [pair for pair in pairs if pair.batch <= 32],
        "batch of 64 and more": [pair for pair in pairs if pair.batch >= 64],
        "no layer above 128": [pair for pair in pairs if pair.widest <= 128],
        "a layer above 128": [pair for pair in pairs if pair.widest > 128],
    }
    rows = []
    for kind, own in kinds.items():
        if not own:
            continue
        quotients = [pair.plain.cpu_s / pair.cpu_s for pair in own]
        rows.append(
            [
                kind,
                len(own),
                sum(pair.cpu_s for pair in own),
                sum(pair.plain.cpu_s for pair in own),
                sum(pair.plain.cpu_s for pair in own) / sum(pair.cpu_s for pair in own),
                percentile(quotients, 0.1),
                statistics.median(quotients),
                percentile(quotients, 0.9),
            ]
        )
    return Table(
        title="CPU time of training and scoring, plain loop over eqmesh",
        columns=(
            Column("genomes"),
            Column("n"),
            Column("eqmesh, CPU s", ".1f"),
            Column("plain, CPU s", ".1f"),
            Column("ratio of sums", ".2f"),
            Column("10th percentile", ".2f"),
            Column("median", ".2f"),
            Column("90th percentile", ".2f"),
        ),
        rows=rows,
    )


def main() -> None:
    """Search, train again, report."""
    parser = arguments(__doc__ or "")
    parser.add_argument("--evaluations", type=int, default=60)
    options = parser.parse_args()
    began = origin("throughput")
    smoke = bool(options.smoke)
    torch.set_num_threads(1)
    torch.set_flush_denormal(True)
    with tempfile.TemporaryDirectory() as folder:
        settings = Settings(
            store=str(Path(folder) / "eqmesh.db"),
            tier="smoke" if smoke else "",
            evaluations=4 if smoke else options.evaluations,
            workers=1 if smoke else 2,
            rescore=0,
            seed=1,
            nice=0,
        )
        clock = clocked_search(settings)
        outcomes, genes, failures = recorded(Path(settings.store))
    pairs = paired(outcomes, genes, settings)
    finish(
        report(settings, clock, outcomes, pairs, failures=failures, began=began, smoke=smoke), options.output
    )


def report(
    settings: Settings,
    clock: Clocked,
    outcomes: Sequence[Outcome],
    pairs: Sequence[Pair],
    *,
    failures: int,
    began: Origin,
    smoke: bool,
) -> Report:
    """All of it in figures and tables."""
    workers, tier = settings.workers, resolve(settings.task).tier(settings.tier or None).name
    cpu, wall = sum(o.measured.train_cpu_s for o in outcomes), sum(o.measured.train_wall_s for o in outcomes)
    shares = share_table(clock, outcomes, workers)
    hourly = 3600 * settings.evaluations / clock.search_s
    plain = 3600 * len(pairs) / sum(pair.plain.wall_s for pair in pairs)
    ratio = sum(pair.plain.cpu_s for pair in pairs) / sum(pair.cpu_s for pair in pairs)
    first, second = sorted(shares.rows, key=lambda row: -float(str(row[1])))[:2]
    gaps = [100 * (pair.accuracy - pair.plain.accuracy) for pair in pairs]
    gap, typical = statistics.fmean(gaps), statistics.median(abs(gap) for gap in gaps)
    same = (
        f"Both sides train the same networks: their validation accuracies differ by {gap:+.2f} points in the mean "
        f"and {typical:.2f} in the median of the absolute difference (other first weights, another order of samples)."
    )
    shared = (
        f"While the search ran, training got {cpu / wall:.0%} of the processor that it asked for; below 100 % "
        "something else ran on the machine, and what a wall clock gives is too low."
    )
    bound = f"{first[0]} ({float(str(first[2])):.0%} of the workers' time), then {second[0]}"
    return Report(
        name="throughput",
        title="Evaluations an hour",
        about=f"digits, tier {tier}, default space, {settings.evaluations} evaluations ({failures} failed), {workers} "
        "workers of one thread each, at ordinary priority; their start is included, scoring on fresh seeds left out. "
        "The plain loop (`tests/bench/plain.py`) is one process on one thread; subnormal numbers are flushed to zero "
        "there too, and no start is charged to it.",
        smoke=smoke,
        seeds=(settings.seed,),
        figures=(
            Figure(
                what=f"evaluations an hour on digits, default space, {workers} workers, against a plain loop",
                target="stated",
                measured=f"{hourly:.0f} against {plain:.0f} ({hourly / plain:.1f} x); the same trainings take the "
                f"plain loop {ratio:.2f} x the CPU time",
            ),
            Figure(
                what="what bounds it",
                target="stated",
                measured=f"{bound} ({float(str(second[2])):.0%})",
            ),
        ),
        tables=(shares, kinds_table(pairs)),
        notes=(same, shared),
        origin=began,
        data={"clock": clock, "pairs": pairs, "failures": failures},
    )


if __name__ == "__main__":
    main()
