"""`eqmesh bench`: measure this machine, and how far predictions are off."""

import os
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated

import msgspec
import trio
from cyclopts import Parameter

from evaluator.calibration import machine
from evaluator.jobs import Calibration, Failure, Outcome, Result
from evaluator.pool import PoolSettings, open_pool
from evaluator.spaces import class_admits
from evaluator.tasks import resolve as resolve_task
from genome import preset
from genome.spaces import MLP
from node import output
from node.batch import Request, run_batch
from node.commands.options import Json
from node.errors import SettingsError
from node.service import stored_calibration
from node.settings import Settings, resolve
from node.text import number, summary

__all__ = ["bench"]

# Shapes from the small to the large end of the default space.
_SHAPES: tuple[tuple[str, dict[str, int]], ...] = (
    ("shallow", {"width1": 16, "batch": 16}),
    ("shallow", {"width1": 128, "batch": 64}),
    ("shallow", {}),
    ("ep", {}),
    ("deep", {"width1": 128, "width2": 128, "batch": 128}),
    ("smep", {}),
    ("backprop", {}),
)


def bench(
    *,
    calibrate: Annotated[
        bool, Parameter(negative="", help="Measure this machine again, and store that for later searches.")
    ] = False,
    arithmetic: Annotated[
        str | None, Parameter(help="Arithmetic class: fp32, bf16 or exact-1. [default: fp32]")
    ] = None,
    seeds: Annotated[int, Parameter(help="Trainings of each shape; the median is shown.")] = 3,
    json: Json = False,
) -> int:
    """Train some shapes on digits; show predicted and measured speed and memory side by side.

    Search ranks by predictions from the stored calibration; this shows how far they are off here.

    Example: eqmesh bench
    """
    if seeds < 1:
        raise SettingsError(f"--seeds must be at least 1, got {seeds}.")
    flags = {"arithmetic": arithmetic, "task": "digits", "workers": 1}
    settings = resolve(flags, folder=Path.cwd(), environ=os.environ).settings
    calibration = trio.run(_calibrate, settings, calibrate)
    genomes = [MLP.genome({**dict(preset(name).values), **changes}) for name, changes in _SHAPES]
    genomes = [genome for genome in genomes if class_admits(settings.arithmetic, genome)]
    requests = [Request(genome=genome, seed=seed) for seed in range(seeds) for genome in genomes]
    results = trio.run(run_batch, settings, resolve_task("digits"), requests)
    rows = []
    for i, genome in enumerate(genomes):
        found = [r for r in results[i :: len(genomes)] if isinstance(r, Outcome)]
        if found:
            rows.append(
                (summary(genome), sorted(found, key=lambda o: o.measured.samples_per_s)[len(found) // 2])
            )
    document = [_row(what, outcome) for what, outcome in rows]
    if json:
        plain = msgspec.to_builtins(calibration)
        output.write_json({"machine": machine(), "calibration": plain, "shapes": document})
        return _told_failures(results)
    output.write(f"{machine()}, {settings.arithmetic}")
    output.write(
        f"a call {calibration.seconds_per_call * 1e6:.2f} us, "
        f"{2e-9 / max(calibration.seconds_per_mac, 1e-15):.1f} GFLOP/s, "
        f"{1e-9 / max(calibration.seconds_per_byte, 1e-15):.1f} GB/s; the fit is {calibration.error:.0%} off (median)"
    )
    output.write_table(
        [
            "what it is",
            "predicted/s",
            "measured/s",
            "ratio",
            "predicted peak",
            "measured peak",
            "CPU s",
            "an hour",
        ],
        [
            [
                what,
                number(outcome.objectives["speed"]),
                number(outcome.measured.samples_per_s),
                f"{outcome.objectives['speed'] / outcome.measured.samples_per_s:.2f}",
                number(outcome.objectives["memory"]),
                number(outcome.measured.peak_bytes),
                f"{outcome.measured.train_cpu_s:.2f}",
                f"{_hourly(outcome):.0f}",
            ]
            for what, outcome in rows
        ],
    )
    output.say("an hour: evaluations at the digits task's default tier on one core, as measured")
    return _told_failures(results)


def _told_failures(results: Sequence[Result]) -> int:
    """Name what failed; gives the exit code."""
    failed = [result for result in results if isinstance(result, Failure)]
    for failure in failed:
        output.say(f"failed: {failure.genome[:12]}, seed {failure.seed}: {failure.kind}: {failure.detail}")
    return 3 if failed else 0


def _hourly(outcome: Outcome) -> float:
    return 3600 / (outcome.measured.train_cpu_s + outcome.measured.evaluate_cpu_s)


def _row(what: str, outcome: Outcome) -> dict[str, object]:
    return {
        "what": what,
        "genome": outcome.genome,
        "predicted_speed": outcome.objectives["speed"],
        "measured_speed": outcome.measured.samples_per_s,
        "predicted_peak": outcome.objectives["memory"],
        "measured_peak": outcome.measured.peak_bytes,
        "train_cpu_s": outcome.measured.train_cpu_s,
        "evaluations_an_hour": _hourly(outcome),
    }


async def _calibrate(settings: Settings, again: bool) -> Calibration:
    pool_settings = PoolSettings(workers=1, memory_bytes=settings.worker_memory * 2**20, nice=0)
    async with open_pool(pool_settings) as pool:
        return await stored_calibration(pool, settings, again=again)
