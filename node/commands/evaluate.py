"""`eqmesh evaluate`: train and measure one genome."""

import os
from pathlib import Path
from typing import Annotated, Literal

import msgspec
import trio
from cyclopts import Parameter

from evaluator.jobs import Failure, Outcome
from evaluator.spaces import resolve_space
from evaluator.tasks import resolve as resolve_task
from genome import preset as preset_genome
from node import output
from node.batch import Request, run_batch
from node.commands.named import named_genome
from node.commands.options import Json
from node.errors import SettingsError
from node.settings import Settings, resolve
from node.text import number, summary

__all__ = ["evaluate"]


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
    seed: Annotated[int, Parameter(help="Seed of the training.")] = 0,
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
    if not 0 <= seed < 2**63:
        raise SettingsError(f"--seed must lie between 0 and 2^63 - 1, got {seed}.")
    request = Request(
        genome=found, seed=seed, split=split, purpose="report" if split == "test" else "rescore"
    )
    (result,) = trio.run(
        lambda: run_batch(settings, found_task, [request], backend=backend, weights_folder=weights)
    )
    if isinstance(result, Failure):
        _show_failure(result, json=json)
        return 3
    if json:
        output.write_json(_document(result))
    else:
        output.write(summary(found))
        output.write_table(["figure", "value"], _lines(result, settings))
    return 0


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
