"""Readers on a store while the real writer writes: how long a read takes, and whether anyone finds it locked.

    python -m tests.bench.readers --output tests/bench/results/readers.json

Eight processes open the store read-only and ask without a pause what a dashboard asks; the writer records finished
evaluations at a steady rate, which is far above what a search on this machine reaches.
"""

import argparse
import json
import sqlite3
import statistics
import sys
import tempfile
import time
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path

import msgspec
import trio

from eqmesh import EqmeshError
from evaluator.jobs import CostLimits, Outcome
from evaluator.tasks import resolve, task_id
from genome import Birth, preset
from genome.spaces import MLP
from genome.variation import draw
from node.front import front_of, hypervolume_of, standings
from node.store.records import Reader
from node.store.rows import EvaluationRow, RunSpec
from node.store.writer import Writer
from tests.bench.report import (
    ROOT,
    Cell,
    Column,
    Figure,
    Report,
    Table,
    arguments,
    finish,
    origin,
    percentile,
)
from tests.support.jobs import job

_READERS = 8
_QUERIES = ("open", "run", "evaluations", "front", "events", "result", "genome")


def spec() -> RunSpec:
    """A run on digits."""
    task = resolve("digits")
    return RunSpec(
        seed=1, task="digits", task_id=task_id(task, task.tier()), tier=task.default_tier, space=MLP.id,
        space_source="", strategy="random", arithmetic="fp32",
        objectives=task.objectives, limits=CostLimits(), look_behind=None, baselines=(), seeds=(), population=32,
    )  # fmt: skip


def template() -> Outcome:
    """A real outcome, of the size that a search records."""
    # Loads torch, which the readers need not.
    from evaluator.service import run

    found = run(job(preset("shallow")), lambda _: None)
    assert isinstance(found, Outcome)
    return found


def result(number: int, base: Outcome, genome: str) -> Outcome:
    """The outcome of another evaluation."""
    share = (number % 997) / 997
    return msgspec.structs.replace(
        base,
        number=number,
        genome=genome,
        seed=number,
        weights=f"{number:064x}",
        objectives={"accuracy": share, "speed": 1e5 * (1 - share) + number % 13, "memory": 1e5 + 1e6 * share},
    )


class Written(msgspec.Struct, kw_only=True):
    """What the writer did: seconds of each record, in order."""

    latencies: list[float] = []


async def write(store: Path, *, seconds: float, rate_hz: float, ready: trio.Event) -> Written:
    """Record evaluations at a steady rate for so long, in a thread as the search loop does."""
    written = Written()
    disk = trio.CapacityLimiter(1)
    run, base = spec(), template()
    with Writer(store, now=lambda: datetime.now(UTC).timestamp()) as writer:
        key, _ = writer.begin_run(run)

        def record(number: int) -> None:
            genome = draw(MLP, seed=number)
            birth = Birth((), "random/1", number)
            outcome = result(number, base, genome.id)
            began = time.perf_counter()
            writer.record(key, number, "search", genome, birth, outcome)
            written.latencies.append(time.perf_counter() - began)

        await trio.to_thread.run_sync(record, 0, limiter=disk)
        ready.set()
        start, number = trio.current_time(), 0
        while trio.current_time() < start + seconds:
            number += 1
            await trio.to_thread.run_sync(record, number, limiter=disk)
            await trio.sleep_until(start + number / rate_hz)
    return written


def read(store: Path, seconds: float) -> dict[str, object]:
    """Ask in turn, without a pause, for so long: seconds of each answer, and what went wrong."""
    latencies: dict[str, list[float]] = {name: [] for name in _QUERIES}
    errors: list[str] = []
    until = time.perf_counter() + seconds
    objectives = resolve("digits").objectives
    rounds = 0
    while time.perf_counter() < until:
        rounds += 1
        try:
            began = time.perf_counter()
            with Reader(store) as reader:
                latencies["open"].append(time.perf_counter() - began)
                rows: list[EvaluationRow] = []

                def front(rows: list[EvaluationRow] = rows) -> None:
                    hypervolume_of(front_of(standings(rows), objectives), objectives)

                asked: dict[str, Callable[[], object]] = {
                    "run": reader.run,
                    "evaluations": lambda rows=rows, reader=reader: rows.extend(reader.evaluations()),  # type: ignore[misc]
                    "front": front,
                    "events": lambda reader=reader: reader.events(after=0),  # type: ignore[misc]
                    "result": lambda rows=rows, reader=reader: reader.result(rows[-1].id),  # type: ignore[misc]
                    "genome": lambda rows=rows, reader=reader: reader.genome(rows[-1].genome),  # type: ignore[misc]
                }
                for name, ask in asked.items():
                    began = time.perf_counter()
                    ask()
                    latencies[name].append(time.perf_counter() - began)
        except (sqlite3.Error, EqmeshError) as error:
            errors.append(str(error))
    return {"latencies": latencies, "errors": errors, "rounds": rounds}


async def measured(
    store: Path, *, seconds: float, rate_hz: float, readers: int
) -> tuple[Written, list[dict[str, object]]]:
    """Start the writer, then the readers; all of them end by themselves."""
    found: list[dict[str, object]] = []
    ready = trio.Event()
    written = Written()

    async def writing() -> None:
        # A little longer than the readers, which need a moment to start.
        done = await write(store, seconds=seconds + 3, rate_hz=rate_hz, ready=ready)
        written.latencies = done.latencies

    async def reading() -> None:
        command = [
            sys.executable,
            "-m",
            "tests.bench.readers",
            "--read",
            str(store),
            "--seconds",
            str(seconds),
        ]
        done = await trio.run_process(command, capture_stdout=True, cwd=ROOT)
        found.append(json.loads(done.stdout))

    async with trio.open_nursery() as nursery:
        nursery.start_soon(writing)
        await ready.wait()
        for _ in range(readers):
            nursery.start_soon(reading)
    return written, found


def latency_row(name: str, values: list[float]) -> list[Cell]:
    """Count and percentiles in milliseconds."""
    ms = [1e3 * value for value in values]
    return [name, len(ms), statistics.median(ms), percentile(ms, 0.9), percentile(ms, 0.99), max(ms)]


def main() -> None:
    """Be one of the readers, or run all of it and report."""
    parser = arguments(__doc__ or "")
    parser.add_argument("--seconds", type=float, default=60.0)
    parser.add_argument(
        "--rate", type=float, default=25.0, help="evaluations that the writer records a second"
    )
    parser.add_argument("--read", type=Path, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.read is not None:
        print(json.dumps(read(options.read, options.seconds)))
        return
    began = origin("readers")
    smoke = bool(options.smoke)
    seconds = 1.0 if smoke else options.seconds
    with tempfile.TemporaryDirectory() as folder:
        store = Path(folder) / "eqmesh.db"
        written, found = trio.run(
            lambda: measured(store, seconds=seconds, rate_hz=options.rate, readers=2 if smoke else _READERS)
        )
        with Reader(store) as reader:
            stored = len(reader.evaluations())
        size = store.stat().st_size
    errors = [str(text) for one in found for text in msgspec.convert(one["errors"], list[str])]
    locked = [text for text in errors if "locked" in text]
    latencies = {
        name: [
            value
            for one in found
            for value in msgspec.convert(one["latencies"], dict[str, list[float]])[name]
        ]
        for name in _QUERIES
    }
    every = [value for name in _QUERIES for value in latencies[name]]
    finish(
        Report(
            name="readers",
            title="Readers beside the writer",
            about=f"{len(found)} reader processes without a pause between questions for {seconds:g} s, and one writer "
            f"that records {options.rate:g} evaluations a second in its own transactions. The store ended with "
            f"{stored} evaluations ({size / 2**20:.1f} MiB). More processes than cores: a latency here holds the "
            "wait for a processor too.",
            smoke=smoke,
            seeds=(),
            figures=(
                Figure(
                    what=f'{len(found)} readers while the writer writes for {seconds:g} s: "database is locked"',
                    target="0",
                    measured=f"{len(locked)} in {len(every)} reads and {len(written.latencies)} records",
                    reached=not locked,
                ),
                Figure(
                    what="other errors that a reader met",
                    target="0",
                    measured="; ".join(
                        [str(len(errors) - len(locked)), *sorted(set(errors) - set(locked))[:3]]
                    ),
                    reached=len(errors) == len(locked),
                ),
                Figure(
                    what="evaluations recorded and found in the store afterwards",
                    target="equal",
                    measured=f"{len(written.latencies)} and {stored}",
                    reached=len(written.latencies) == stored,
                ),
            ),
            tables=(
                Table(
                    title="Latency of a read and of a record, milliseconds",
                    columns=(
                        Column("what"),
                        Column("n"),
                        Column("median", ".2f"),
                        Column("90th percentile", ".2f"),
                        Column("99th percentile", ".2f"),
                        Column("largest", ".1f"),
                    ),
                    rows=[
                        *(latency_row(name, latencies[name]) for name in _QUERIES if latencies[name]),
                        latency_row("all reads", every),
                        latency_row("record (the writer)", written.latencies),
                    ],
                    note="Evaluations and events are read whole every time; front is computed from the rows read.",
                ),
            ),
            origin=began,
            data={"errors": errors, "stored": stored, "size_bytes": size},
        ),
        options.output,
    )


if __name__ == "__main__":
    main()
