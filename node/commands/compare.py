"""`eqmesh compare`: several genomes on several seeds."""

import os
from pathlib import Path
from typing import Annotated, Literal

import msgspec
import trio
from cyclopts import Parameter

from evaluator.objectives import Objective
from evaluator.spaces import resolve_space
from evaluator.tasks import DatasetTask
from evaluator.tasks import resolve as resolve_task
from genome import Genome
from genome import preset as preset_genome
from node import output
from node.batch import Request, run_batch
from node.commands.named import named_genome
from node.commands.options import Json
from node.comparison import Compared, Interval
from node.comparison import compare as summarise
from node.errors import SettingsError
from node.plots import draw
from node.settings import Settings, resolve
from node.text import number, short

__all__ = ["compare"]

_MEASURED = {"train_cpu_s": "CPU s", "measured_speed": "measured samples/s", "measured_peak": "measured peak"}


def compare(
    *genomes: Annotated[str, Parameter(help="Digits of ids in the store, or JSON files.")],
    presets: Annotated[str, Parameter(help="Presets, with commas between them.")] = "",
    task: Annotated[str | None, Parameter(help="Task. [default: digits]")] = None,
    tier: Annotated[
        str | None, Parameter(name=("--tier", "--fidelity"), help="Fidelity tier of the task.")
    ] = None,
    seeds: Annotated[int, Parameter(help="Seeds a genome: 0 to N - 1.")] = 3,
    arithmetic: Annotated[
        str | None, Parameter(help="Arithmetic class: fp32, bf16 or exact-1. [default: fp32]")
    ] = None,
    split: Annotated[
        Literal["validation", "test"],
        Parameter(help="Split to measure on. test also trains on the validation split: for final reports."),
    ] = "validation",
    plots: Annotated[Path | None, Parameter(help="Folder for plots: curves, cost, relaxation.")] = None,
    plot_format: Annotated[Literal["png", "svg"], Parameter(help="Format of the plots.")] = "png",
    workers: Annotated[
        int | None, Parameter(name=("--workers", "-w"), help="Worker processes; 0 for one a core.")
    ] = None,
    store: Annotated[
        str | None, Parameter(help="Store in which ids are looked up. [default: eqmesh.db]")
    ] = None,
    json: Json = False,
) -> int:
    """Train every genome and preset on the same seeds; show means with 95 % intervals, and plots.

    Exit code 3 where an evaluation failed.

    Example: eqmesh compare --presets shallow,backprop --seeds 3 --plots plots
    """
    flags = {"task": task, "tier": tier, "arithmetic": arithmetic, "store": store, "workers": workers}
    settings = resolve(flags, folder=Path.cwd(), environ=os.environ).settings
    found_task = resolve_task(settings.task)
    chosen = _chosen(genomes, presets, settings)
    space = resolve_space(settings.space, found_task)
    for genome in chosen.values():
        space.check(genome)
    if seeds < 1:
        raise SettingsError(f"--seeds must be at least 1, got {seeds}.")
    if plots is not None and not isinstance(found_task, DatasetTask):
        raise SettingsError("--plots shows training, which only tasks with networks have. Leave it out.")
    if plots is not None:
        plots.mkdir(parents=True, exist_ok=True)  # what cannot be written must show before the training
    # Seeds in the outer loop: a machine that slows down meanwhile slows every genome alike.
    purpose: Literal["report", "rescore"] = "report" if split == "test" else "rescore"
    requests = [
        Request(genome=genome, seed=seed, split=split, purpose=purpose)
        for seed in range(seeds)
        for genome in chosen.values()
    ]
    results = trio.run(run_batch, settings, found_task, requests)
    compared = [
        summarise(name, genome.id, results[i :: len(chosen)])
        for i, (name, genome) in enumerate(chosen.items())
    ]
    if json:
        output.write_json([_document(one) for one in compared])
    else:
        _show(compared, found_task.objectives, network=isinstance(found_task, DatasetTask))
    if plots is not None:
        for path in draw(plots, compared, plot_format):
            output.say(f"wrote {path}")
    return 3 if any(one.failures for one in compared) else 0


def _chosen(genomes: tuple[str, ...], presets: str, settings: Settings) -> dict[str, Genome]:
    chosen = {
        name.strip(): preset_genome(name.strip(), settings.task)
        for name in presets.split(",")
        if name.strip()
    }
    for text in genomes:
        genome = named_genome(text, Path(settings.store))
        chosen[short(genome.id)] = genome
    if not chosen:
        raise SettingsError("expected genomes or --presets NAME,NAME to compare, got none.")
    return chosen


def _show(compared: list[Compared], objectives: tuple[Objective, ...], *, network: bool) -> None:
    names = [objective.name for objective in objectives]
    measured = _MEASURED if network else {}

    def cell(one: Compared, name: str) -> str:
        found = one.intervals.get(name)
        return (
            "-" if found is None else _interval(found, next((o for o in objectives if o.name == name), None))
        )

    output.write_table(
        ["genome", "n", *names, *measured.values(), "failed"],
        [
            [
                one.name,
                str(len(one.outcomes)),
                *(cell(one, name) for name in (*names, *measured)),
                "; ".join(sorted({failure.kind for failure in one.failures})) or "0",
            ]
            for one in compared
        ],
    )
    output.say("mean ± half-width of the 95 % interval of the mean over seeds")
    for one in compared:
        for failure in one.failures:
            output.say(f"{one.name}, seed {failure.seed}: {failure.kind}: {failure.detail}")


def _interval(found: Interval, objective: Objective | None) -> str:
    mean = number(found.mean, objective)
    return (
        mean if not 0 < found.half_width < float("inf") else f"{mean} ±{number(found.half_width, objective)}"
    )


def _document(one: Compared) -> dict[str, object]:
    return {
        "name": one.name,
        "genome": one.genome,
        "n": len(one.outcomes),
        "intervals": {
            name: {
                "mean": found.mean,
                "deviation": found.deviation,
                "half_width_95": None if len(one.outcomes) < 2 else found.half_width,
            }
            for name, found in one.intervals.items()
        },
        "outcomes": [msgspec.to_builtins(outcome) for outcome in one.outcomes],
        "failures": [msgspec.to_builtins(failure) for failure in one.failures],
    }
