"""`eqmesh evaluate`: train and measure one genome."""

import math
import os
from pathlib import Path
from typing import Annotated, Literal

import msgspec
import trio
from cyclopts import Parameter

from evaluator.jobs import Failure, Outcome, Purpose, Result
from evaluator.spaces import resolve_space
from evaluator.tasks import DatasetTask, Task
from evaluator.tasks import resolve as resolve_task
from genome import Genome
from genome import preset as preset_genome
from node import output
from node.batch import Request, run_batch
from node.commands.named import named_genome
from node.commands.options import Json
from node.comparison import Compared, Interval, compare
from node.errors import SettingsError
from node.settings import Settings, resolve
from node.text import number, summary

__all__ = ["evaluate"]

# What is measured of a network beside its objectives.
_FIGURES = {
    "train_cpu_s": "CPU s",
    "measured_speed": "measured samples/s",
    "measured_peak": "measured peak bytes",
    "free_steps": "free sweeps",
    "nudged_steps": "nudged sweeps",
}


def evaluate(
    genome: Annotated[str | None, Parameter(help="Digits of an id in the store, or a JSON file.")] = None,
    /,
    *,
    preset: Annotated[str | None, Parameter(help="A preset instead, such as shallow or backprop.")] = None,
    task: Annotated[str | None, Parameter(help="Task. [default: digits]")] = None,
    tier: Annotated[
        str | None, Parameter(name=("--tier", "--fidelity"), help="Fidelity tier of the task.")
    ] = None,
    space: Annotated[str | None, Parameter(help="my.module:SPACE of the genome, if not the task's.")] = None,
    seed: Annotated[int, Parameter(help="Seed of the training, the first one of several.")] = 0,
    seeds: Annotated[
        int, Parameter(help="Trainings, on consecutive seeds; their means and 95 % intervals are shown.")
    ] = 1,
    arithmetic: Annotated[
        str | None, Parameter(help="Arithmetic class: fp32, bf16 or exact-1. [default: fp32]")
    ] = None,
    backend: Annotated[str, Parameter(help="Backend that must be used, or auto.")] = "auto",
    split: Annotated[
        Literal["validation", "test"],
        Parameter(help="Split to measure on. test also trains on the validation split: for final reports."),
    ] = "validation",
    weights: Annotated[
        Path | None, Parameter(help="Folder for the trained weights (safetensors, named by SHA-256).")
    ] = None,
    store: Annotated[
        str | None, Parameter(help="Store in which the id is looked up. [default: eqmesh.db]")
    ] = None,
    deadline: Annotated[
        float | None, Parameter(help="Seconds after which it is ended. [default: 600]")
    ] = None,
    json: Json = False,
) -> int:
    """Train one genome or preset in a worker and show what came of it. Exit code 3 where it failed.

    With --seeds above 1 it is trained as often, and means with 95 % intervals are shown.

    Example: eqmesh evaluate --preset shallow --task digits --seed 1 --json
    """
    flags = {
        "task": task,
        "tier": tier,
        "space": space,
        "arithmetic": arithmetic,
        "store": store,
        "deadline": deadline,
    }
    settings = resolve(flags, folder=Path.cwd(), environ=os.environ).settings
    if (genome is None) == (preset is None):
        raise SettingsError("expected either a genome or --preset NAME. Give one of them.")
    found_task = resolve_task(settings.task)
    found = (
        preset_genome(preset, settings.task) if preset else named_genome(str(genome), Path(settings.store))
    )
    resolve_space(settings.space, found_task).check(found)
    if seeds < 1:
        raise SettingsError(f"--seeds must be at least 1, got {seeds}.")
    if not 0 <= seed <= 2**63 - seeds:
        raise SettingsError(f"--seed must lie between 0 and 2^63 - {seeds}, got {seed}.")
    purpose: Purpose = "report" if split == "test" else "rescore"
    requests = [
        Request(genome=found, seed=number, split=split, purpose=purpose)
        for number in range(seed, seed + seeds)
    ]
    results = trio.run(
        lambda: run_batch(settings, found_task, requests, backend=backend, weights_folder=weights)
    )
    if seeds > 1:
        return _show_seeds(found, compare("", found.id, results), found_task, json=json)
    return _show_one(found, results[0], settings, json=json)


def _show_one(genome: Genome, result: Result, settings: Settings, *, json: bool) -> int:
    if isinstance(result, Failure):
        _show_failure(result, json=json)
        return 3
    if json:
        output.write_json(_document(result))
    else:
        output.write(summary(genome))
        output.write_table(["figure", "value"], _lines(result, settings))
    return 0


def _show_seeds(genome: Genome, found: Compared, task: Task, *, json: bool) -> int:
    """Means over seeds, as text or JSON; gives the exit code."""
    failed = [{"seed": each.seed, "kind": each.kind, "detail": each.detail} for each in found.failures]
    if json:
        output.write_json(
            {
                "genome": genome.id,
                "n": len(found.outcomes),
                "intervals": {name: _interval(each) for name, each in found.intervals.items()},
                "outcomes": [_document(outcome) for outcome in found.outcomes],
                "failures": failed,
            }
        )
    else:
        output.write(summary(genome))
        output.write_table(["figure", "mean", "± (95 %)", "deviation"], _means(found, task))
        output.say(f"{len(found.outcomes)} seeds; ±: half of the 95 % interval of the mean (Student's t)")
    for each in failed:
        output.say(f"failed: seed {each['seed']}: {each['kind']}: {each['detail']}")
    return 3 if failed else 0


def _interval(found: Interval) -> dict[str, float | None]:
    """Of a single value there is no interval: its half-width is null."""
    half = found.half_width
    return {
        "mean": found.mean,
        "deviation": found.deviation,
        "half_width_95": half if math.isfinite(half) else None,
    }


def _means(found: Compared, task: Task) -> list[list[str]]:
    objectives = {objective.name: objective for objective in task.objectives}
    names = [*objectives, *(_FIGURES if isinstance(task, DatasetTask) else ())]
    lines = []
    for name in names:
        if name not in found.intervals:
            continue
        each, of = found.intervals[name], objectives.get(name)
        half = number(each.half_width, of) if math.isfinite(each.half_width) else "-"
        lines.append([_FIGURES.get(name, name), number(each.mean, of), half, number(each.deviation, of)])
    return lines


def _document(outcome: Outcome) -> dict[str, object]:
    plain = msgspec.to_builtins(outcome)
    fields = {
        name: plain.get(name) for name in Outcome.__struct_fields__ if name not in ("objectives", "number")
    }
    return {"genome": outcome.genome, **outcome.objectives, **fields}


def _show_failure(failure: Failure, *, json: bool) -> None:
    if json:
        output.write_json(
            {"genome": failure.genome, "failure": {"kind": failure.kind, "detail": failure.detail}}
        )
    output.say(f"failed: {failure.kind}: {failure.detail}")


def _lines(outcome: Outcome, settings: Settings) -> list[list[str]]:
    objectives = {o.name: o for o in resolve_task(settings.task).objectives}
    lines = [[name, number(value, objectives.get(name))] for name, value in outcome.objectives.items()]
    lines += [
        ["arithmetic", outcome.arithmetic],
        ["backend", outcome.backend],
        ["task", f"{outcome.task} ({outcome.tier}), seed {outcome.seed}, {outcome.split} split"],
    ]
    if outcome.weights:
        measured, settling = outcome.measured, outcome.settling
        lines += [
            ["examples", str(outcome.examples)],
            ["weights", f"{outcome.weights} ({outcome.weights_bytes} bytes)"],
            ["checkpoints", f"{len(outcome.checkpoints)}, the last {outcome.checkpoints[-1]}"],
            ["multiply-accumulates, at most", number(outcome.macs)],
            [
                "measured speed",
                f"{number(measured.samples_per_s)} samples/s, {measured.train_cpu_s:.2f} CPU s",
            ],
            ["measured peak", f"{number(measured.peak_bytes)} bytes"],
            ["settling", _settling(outcome)],
            ["spectral norms", " ".join(f"{k} {v:.3g}" for k, v in settling.spectral_norm.items())],
            ["gradient norms", " ".join(f"{k} {v:.3g}" for k, v in settling.gradient_norm.items())],
        ]
    return lines


def _settling(outcome: Outcome) -> str:
    settling = outcome.settling
    period = f", period {settling.period}" if settling.period else ""
    return f"{settling.verdict}{period}; {settling.free_steps:g} free and {settling.nudged_steps:g} nudged sweeps"
