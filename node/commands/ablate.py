"""`eqmesh ablate`: which genes a genome lives by."""

import math
import os
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated

import msgspec
import trio
from cyclopts import Parameter

from evaluator.jobs import Failure, Result
from evaluator.objectives import Objective
from evaluator.spaces import resolve_space
from evaluator.tasks import DatasetTask
from evaluator.tasks import resolve as resolve_task
from genome import Genome, Value
from genome import preset as preset_genome
from node import output
from node.ablation import Ablated, Knockout, Measured, judge, knockouts, plain_of
from node.batch import Request, run_batch
from node.commands.named import named_genome, space_source
from node.commands.options import Json
from node.comparison import Compared, Interval
from node.comparison import compare as summarise
from node.errors import SettingsError
from node.settings import Settings, resolve
from node.text import number, short, summary

__all__ = ["ablate"]


def ablate(
    genome: Annotated[str | None, Parameter(help="Digits of an id in the store, or a JSON file.")] = None,
    /,
    *,
    preset: Annotated[str | None, Parameter(help="A preset instead, such as shallow or deep.")] = None,
    task: Annotated[str | None, Parameter(help="Task. [default: digits]")] = None,
    tier: Annotated[
        str | None, Parameter(name=("--tier", "--fidelity"), help="Fidelity tier of the task.")
    ] = None,
    space: Annotated[
        str | None, Parameter(help="my.module:SPACE of the genome; built-in spaces need none.")
    ] = None,
    genes: Annotated[str, Parameter(help="Genes, with commas between them. [default: all]")] = "",
    seeds: Annotated[int, Parameter(help="Seeds a genome: 0 to N - 1.")] = 3,
    arithmetic: Annotated[
        str | None, Parameter(help="Arithmetic class: fp32, bf16 or exact-1. [default: fp32]")
    ] = None,
    workers: Annotated[
        int | None, Parameter(name=("--workers", "-w"), help="Worker processes; 0 for one a core.")
    ] = None,
    store: Annotated[
        str | None, Parameter(help="Store in which the id is looked up. [default: eqmesh.db]")
    ] = None,
    json: Json = False,
) -> int:
    """Train a genome, and train it again with one gene at a time at its plainest value, on the same seeds.

    Exit code 3 where an evaluation failed.

    Example: eqmesh ablate --preset deep --genes depth,optimizer,schedule --tier smoke --seeds 3
    """
    flags = {
        "task": task,
        "tier": tier,
        "space": space,
        "arithmetic": arithmetic,
        "store": store,
        "workers": workers,
    }
    settings = resolve(flags, folder=Path.cwd(), environ=os.environ).settings
    if (genome is None) == (preset is None):
        raise SettingsError("expected either a genome or --preset NAME. Give one of them.")
    if seeds < 1:
        raise SettingsError(f"--seeds must be at least 1, got {seeds}.")
    found_task = resolve_task(settings.task)
    whole = (
        preset_genome(preset, settings.task) if preset else named_genome(str(genome), Path(settings.store))
    )
    source = space_source(whole, settings.space, found_task)
    settings = msgspec.structs.replace(settings, space=source)
    found_space = resolve_space(source, found_task)
    found_space.check(whole)
    network = isinstance(found_task, DatasetTask)
    names = [name.strip() for name in genes.split(",") if name.strip()]
    chosen = knockouts(found_space, whole, plain_of(found_space), names)
    genomes = [whole, *(one.genome for one in chosen if one.genome is not None)]
    # Seeds in the outer loop: a machine that slows down meanwhile slows every genome alike.
    requests = [Request(genome=one, seed=seed) for seed in range(seeds) for one in genomes]
    results = trio.run(run_batch, settings, found_task, requests)
    by_genome = {one.id: results[i :: len(genomes)] for i, one in enumerate(genomes)}
    objective = found_task.objectives[0]
    base = summarise("whole", whole.id, by_genome[whole.id])
    found = [
        judge(one, by_genome[whole.id], _results(one, by_genome), objective, network=network)
        for one in chosen
    ]
    if json:
        output.write_json(_document(base, found, settings, objective, seeds))
    else:
        _show(whole, base, found, objective, seeds)
    return 3 if any(isinstance(result, Failure) for result in results) else 0


def _results(knockout: Knockout, by_genome: dict[str, list[Result]]) -> Sequence[Result]:
    return () if knockout.genome is None else by_genome[knockout.genome.id]


def _show(whole: Genome, base: Compared, found: list[Ablated], objective: Objective, seeds: int) -> None:
    output.write(f"{short(whole.id)} {summary(whole)}")
    name = objective.name
    output.write_table(
        ["gene", "from", "to", f"{name} with", "without", "change", "CPU s", "verdict", "brings"],
        [_row(one, objective) for one in found],
    )
    output.say(
        f"{seeds} seeds; change: {name} without the gene less {name} with it, ± half-width of the 95 % interval of the "
        f"paired difference; CPU s: likewise, of the training"
    )
    for one in found:
        _tell(one)
    for failure in base.failures:
        output.say(f"whole genome, seed {failure.seed}: {failure.kind}: {failure.detail}")


def _tell(one: Ablated) -> None:
    """Say which genes a knock-out took away, and where it failed."""
    knockout = one.knockout
    if knockout.gone:
        output.say(f"{knockout.gene}={_value(knockout.after)} takes {', '.join(knockout.gone)} away")
    for failure in one.failures:
        output.say(f"without {knockout.gene}, seed {failure.seed}: {failure.kind}: {failure.detail}")


def _row(one: Ablated, objective: Objective) -> list[str]:
    knockout = one.knockout
    cells = [knockout.gene, _value(knockout.before)]
    if knockout.genome is None:
        return [*cells, "-", "-", "-", "-", "-", one.verdict, ""]
    verdict: str = one.verdict
    if one.failures:
        verdict += f" ({len(one.failures)} failed: {', '.join(sorted({f.kind for f in one.failures}))})"
    found = one.objective
    return [
        *cells,
        _value(knockout.after),
        "-" if found is None else number(found.with_gene, objective),
        "-" if found is None else number(found.without_gene, objective),
        "-" if found is None else _change(found.difference, objective),
        "-" if one.cost is None else _change(one.cost.difference, None),
        verdict,
        " ".join(f"{gene}={_value(value)}" for gene, value in knockout.appeared.items()),
    ]


def _value(value: Value) -> str:
    return f"{value:g}" if isinstance(value, float) else str(value)


def _change(found: Interval, objective: Objective | None) -> str:
    mean = number(found.mean, objective)
    signed = mean if found.mean < 0 else f"+{mean}"
    return signed if math.isinf(found.half_width) else f"{signed} ±{number(found.half_width, objective)}"


def _document(
    base: Compared, found: list[Ablated], settings: Settings, objective: Objective, seeds: int
) -> dict[str, object]:
    mean = base.intervals.get(objective.name)
    return {
        "genome": base.genome,
        "task": settings.task,
        "tier": resolve_task(settings.task).tier(settings.tier or None).name,
        "arithmetic": settings.arithmetic,
        "objective": objective.name,
        "seeds": seeds,
        "whole": {
            "n": len(base.outcomes),
            "interval": None if mean is None else _interval(mean),
            "failures": [msgspec.to_builtins(failure) for failure in base.failures],
        },
        "genes": [_entry(one) for one in found],
    }


def _entry(one: Ablated) -> dict[str, object]:
    knockout = one.knockout
    return {
        "gene": knockout.gene,
        "from": knockout.before,
        "to": None if knockout.genome is None else knockout.after,
        "appeared": knockout.appeared,
        "gone": knockout.gone,
        "genome": None if knockout.genome is None else knockout.genome.id,
        "n": one.n,
        "objective": _measured(one.objective),
        "train_cpu_s": _measured(one.cost),
        "verdict": one.verdict,
        "failures": [msgspec.to_builtins(failure) for failure in one.failures],
    }


def _measured(found: Measured | None) -> dict[str, object] | None:
    if found is None:
        return None
    return {
        "with": found.with_gene,
        "without": found.without_gene,
        "difference": _interval(found.difference),
    }


def _interval(found: Interval) -> dict[str, float | None]:
    return {
        "mean": found.mean,
        "deviation": found.deviation,
        "half_width_95": None if math.isinf(found.half_width) else found.half_width,
    }
