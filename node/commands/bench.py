"""`eqmesh bench`: measure this machine by shape, and how far predictions are off."""

import os
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Literal

import msgspec
import trio
from cyclopts import Parameter

from evaluator import oneshot
from evaluator.calibration import machine
from evaluator.errors import EvaluatorError
from evaluator.jobs import Arithmetic, Calibration, Failure, Outcome, Result
from evaluator.pool import PoolSettings, open_pool
from evaluator.rates import EXAMPLES, Speed, Timed, Timing, fastest, probes, speeds
from evaluator.spaces import class_admits
from evaluator.tasks import DatasetTask
from evaluator.tasks import resolve as resolve_task
from genome import Genome, preset
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
_LONGEST_BUDGET_S = 10.0
# Building networks, and the least number of steps of the slowest ones, whatever the budget.
_TIMER_DEADLINE_S = 300.0

# Tiers that every bundled task has.
_TIERS = ("smoke", "quick", "standard", "full")

_Row = dict[str, object]


def bench(
    *,
    calibrate: Annotated[
        bool, Parameter(negative="", help="Measure this machine again, and store that for later searches.")
    ] = False,
    arithmetic: Annotated[
        str | None, Parameter(help="Arithmetic class: fp32, bf16 or exact-1. [default: fp32]")
    ] = None,
    seeds: Annotated[int, Parameter(help="Trainings of each shape on digits; the median is shown.")] = 3,
    seconds: Annotated[
        float, Parameter(help="Seconds of steps, at least, for each shape and backend; at most 10.")
    ] = 0.3,
    only: Annotated[
        Literal["speed", "predictions"] | None, Parameter(help="One part alone: speed or predictions.")
    ] = None,
    json: Json = False,
) -> int:
    """Show how fast networks train here, shape by shape, what bounds them, and how far predictions are off.

    Speed: training steps of typical shapes, timed on each backend that runs here. Predictions: whole trainings on
    digits; search ranks by predictions from the stored calibration.

    Example: eqmesh bench
    """
    if seeds < 1:
        raise SettingsError(f"--seeds must be at least 1, got {seeds}.")
    if not 0 < seconds <= _LONGEST_BUDGET_S:
        raise SettingsError(f"--seconds must lie in (0, {_LONGEST_BUDGET_S:g}], got {seconds:g}.")
    flags = {"arithmetic": arithmetic, "task": "digits", "workers": 1}
    settings = resolve(flags, folder=Path.cwd(), environ=os.environ).settings
    calibration = trio.run(_calibrate, settings, calibrate)
    document: _Row = {"machine": machine(), "calibration": msgspec.to_builtins(calibration)}
    if not json:
        _write_machine(settings.arithmetic, calibration)
    if only != "predictions":
        timed = trio.run(_timed, settings, seconds)
        document |= {
            "sgemm_flops": timed.product_rate,
            "backends": timed.backends,
            "steps": msgspec.to_builtins(_speeds(timed, calibration)),
            "not_timed": _not_timed(timed, calibration),
        }
        if not json:
            _write_speed(timed, calibration)
    results: Sequence[Result] = []
    if only != "speed":
        results, rows = _trainings(settings, seeds)
        document["shapes"] = [_row(what, outcome) for what, outcome in rows]
        if not json:
            _write_predictions(rows)
    if json:
        output.write_json(document)
    return _told_failures(results)


def _write_machine(arithmetic: str, calibration: Calibration) -> None:
    output.write(f"{machine()}, {arithmetic}")
    output.write(
        f"a call {calibration.seconds_per_call * 1e6:.2f} us, "
        f"{2e-9 / max(calibration.seconds_per_mac, 1e-15):.1f} GFLOP/s, "
        f"{1e-9 / max(calibration.seconds_per_byte, 1e-15):.1f} GB/s; the fit is {calibration.error:.0%} off (median)"
    )


async def _timed(settings: Settings, seconds: float) -> Timed:
    """What a timer finds, a child process of its own. Raises EvaluatorError where it ends in another way."""
    try:
        found: Timed = await oneshot.ask(
            "evaluator.timer",
            Timing(arithmetic=settings.arithmetic, seconds=seconds),
            Timed,
            memory_bytes=settings.worker_memory * 2**20,
            nice=0,
            deadline_s=_TIMER_DEADLINE_S,
            late="Ask for fewer --seconds.",
            heard=False,
        )
    except EvaluatorError as error:
        raise EvaluatorError(
            f"the timer must end and give its figures: {error}. A process of it may take {settings.worker_memory} MiB "
            "(--worker-memory of a search, `worker_memory` in eqmesh.toml); see `eqmesh doctor`."
        ) from error
    return found


def _speeds(timed: Timed, calibration: Calibration) -> list[Speed]:
    tasks = {name: resolve_task(name) for name in EXAMPLES}
    networks = {name: task for name, task in tasks.items() if isinstance(task, DatasetTask)}
    return speeds(timed, probes(calibration.arithmetic), calibration, networks)


def _not_timed(timed: Timed, calibration: Calibration) -> list[_Row]:
    asked = probes(calibration.arithmetic)
    return [{"network": asked[at].name, "backend": name, "why": why} for at, name, why in timed.refused]


def _write_speed(timed: Timed, calibration: Calibration) -> None:
    found = _speeds(timed, calibration)
    # Eighty columns at most, also where a terminal draws them.
    output.write(f"sgemm (512 x 512 x 512, one thread): {timed.product_rate / 1e9:.1f} GFLOP/s")
    output.write_table(
        ["network", "backend", "batch", "ms", "rate", "bound by", "sgemm"],
        [
            [
                speed.network,
                speed.backend,
                str(speed.batch),
                f"{1e3 * speed.step_s:.3g}",
                number(speed.samples_per_s),
                f"{speed.bound_by} {speed.bound_share:.0%}" if speed.bound_by else "-",
                f"{speed.sgemm_share:.0%}",
            ]
            for speed in found
        ],
        title="One training step: milliseconds, and samples a second (rate)",
    )
    output.write_table(
        ["network", "task", *_TIERS],
        [
            [speed.network, task, *(number(hours[tier]) for tier in _TIERS)]
            for speed in fastest(found)
            for task, hours in speed.predicted_evaluations_an_hour.items()
        ],
        title="Evaluations an hour on the fastest backend, predicted: step x steps",
    )
    for name, why in timed.backends.items():
        if why:
            output.write(f"not timed: {name}: {why}")
    for row in _not_timed(timed, calibration):
        output.write(f"not timed: {row['network']} on {row['backend']}: {row['why']}")
    output.say("bound by: the largest share of what the calibration predicts; sgemm: share of its rate")


def _genomes(arithmetic: Arithmetic) -> list[Genome]:
    """The shapes that are trained, those that the class admits."""
    found = [MLP.genome({**dict(preset(name).values), **changes}) for name, changes in _SHAPES]
    return [genome for genome in found if class_admits(arithmetic, genome)]


def _trainings(settings: Settings, seeds: int) -> tuple[Sequence[Result], list[tuple[str, Outcome]]]:
    """Train the shapes on digits; gives every result, and by what it is the one of median speed."""
    genomes = _genomes(settings.arithmetic)
    requests = [Request(genome=genome, seed=seed) for seed in range(seeds) for genome in genomes]
    results = trio.run(run_batch, settings, resolve_task("digits"), requests)
    rows = []
    for i, genome in enumerate(genomes):
        found = [r for r in results[i :: len(genomes)] if isinstance(r, Outcome)]
        if found:
            rows.append(
                (summary(genome), sorted(found, key=lambda o: o.measured.samples_per_s)[len(found) // 2])
            )
    return results, rows


def _write_predictions(rows: Sequence[tuple[str, Outcome]]) -> None:
    output.write_table(
        # A hundred columns at most, also where a terminal draws them.
        ["what it is", "~rate", "rate", "ratio", "~peak", "peak", "CPU s", "an hour"],
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
        title="Whole trainings on digits: samples a second (rate) and peak bytes, predicted (~) and measured",
    )
    output.say("an hour: evaluations at the digits task's default tier on one core, as measured")


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
