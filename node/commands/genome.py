"""`eqmesh genome`: look at genomes and move them between stores."""

import shutil
from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated

from cyclopts import Parameter

from evaluator import calibration
from evaluator.tasks import resolve as resolve_task
from genome import Birth
from genome import diff as differences
from genome import preset as preset_genome
from genome.spaces import MLP
from node import output
from node.commands.front import spec_of
from node.commands.named import genome_of_file, named_genome
from node.commands.options import Json, StorePath, store_path
from node.errors import NotFoundError, SettingsError
from node.pricing import Price, price
from node.settings import calibration_path
from node.store.connection import weights_folder_of
from node.store.records import Reader
from node.store.rows import EvaluationRow
from node.store.writer import Writer
from node.text import number, short, summary

__all__ = ["diff", "export", "import_", "show"]

Named = Annotated[str, Parameter(help="Digits of an id in the store, or a JSON file.")]


def show(
    genome: Annotated[str | None, Parameter(help="Digits of an id in the store, or a JSON file.")] = None,
    /,
    *,
    preset: Annotated[str | None, Parameter(help="A preset instead, such as conv-small.")] = None,
    task: Annotated[
        str | None, Parameter(help="Also show what training it on this task costs, and takes here.")
    ] = None,
    tier: Annotated[str | None, Parameter(help="Tier of that task. [default: the task's]")] = None,
    store: StorePath = None,
    json: Json = False,
) -> None:
    """Show a genome's genes, its birth, and every evaluation that is on record.

    With --task also its cost, counted from its genes, and the hours that this machine's calibration predicts.

    Example: eqmesh genome show 3f9a12c4
    """
    path = store_path(store)
    if (genome is None) == (preset is None):
        raise SettingsError("expected either a genome or --preset NAME. Give one of them.")
    if tier is not None and task is None:
        raise SettingsError(f"--tier is that of a task, got {tier!r} without one. Give --task too.")
    found = preset_genome(preset, task) if preset is not None else named_genome(str(genome), path)
    priced = None
    if task is not None:
        calibrated = calibration.load(calibration_path(), "fp32")
        priced = price(found, resolve_task(task), tier, calibrated)
    birth, rows = None, []
    if path.is_file():
        with Reader(path) as reader:
            births = (row.birth for row in reader.births() if row.genome == found.id)
            birth, rows = next(births, None), reader.evaluations_of(found.id)
    if json:
        document = {"genome": found.id, **found.as_json(), "evaluations": [_plain(row) for row in rows]}
        if birth is not None:
            document["birth"] = {
                "operator": birth.operator,
                "seed": str(birth.seed),
                "parents": list(birth.parents),
            }
        if priced is not None:
            document["cost"] = priced._asdict()
        output.write_json(document)
        return
    output.write(f"{found.id}\n{summary(found)}")
    output.write_table(["gene", "value"], [[name, str(value)] for name, value in found.values])
    if priced is not None:
        output.write_table(["cost", "value"], _priced(priced))
    if birth is not None:
        output.write(f"born by {birth.operator} from {', '.join(map(short, birth.parents)) or 'nobody'}")
    if rows:
        output.write_table(["run", "purpose", "seed", "result"], [_cells(row) for row in rows])


def _priced(found: Price) -> list[list[str]]:
    hours = "not calibrated: `eqmesh bench --calibrate`" if found.hours is None else number(found.hours)
    return [
        ["multiply-accumulates a sample", number(found.macs_per_sample)],
        ["parameter bytes", number(found.parameter_bytes)],
        ["peak bytes", number(found.peak_bytes)],
        [f"training samples ({found.tier})", number(found.samples)],
        ["multiply-accumulates", number(found.macs)],
        ["predicted hours of a core", hours],
    ]


def _plain(row: EvaluationRow) -> dict[str, object]:
    return {name: getattr(row, name) for name in EvaluationRow.__struct_fields__}


def _cells(row: EvaluationRow) -> list[str]:
    said = " ".join(f"{name} {number(value)}" for name, value in row.objectives.items())
    return [str(row.run), row.purpose, str(row.seed), said or f"{row.failure}: {row.detail}"]


def diff(first: Named, second: Named, /, *, store: StorePath = None, json: Json = False) -> None:
    """Show the genes in which two genomes differ; a gene that is not expressed shows as -.

    Example: eqmesh genome diff 3f9a12c4 77ab01de
    """
    path = store_path(store)
    changes = differences(named_genome(first, path), named_genome(second, path))
    if json:
        output.write_json([{"gene": c.gene, "before": c.before, "after": c.after} for c in changes])
        return
    if not changes:
        output.write("no gene differs")
        return
    output.write_table(
        ["gene", first, second],
        [[c.gene, *("-" if v is None else str(v) for v in (c.before, c.after))] for c in changes],
    )


def export(
    genome: Named,
    /,
    *,
    file: Annotated[
        Path | None, Parameter(name=("--output", "-o"), help="File. [default: standard output]")
    ] = None,
    weights: Annotated[Path | None, Parameter(help="Also copy its kept weights to this file.")] = None,
    store: StorePath = None,
) -> None:
    """Write a genome as JSON, and its weights (safetensors) if the store keeps them.

    Example: eqmesh genome export 3f9a12c4 --output best.json
    """
    path = store_path(store)
    found = named_genome(genome, path)
    if weights is not None:
        shutil.copyfile(_kept_weights(path, found.id), weights)
        output.say(f"wrote {weights}")
    document = {"genome": found.id, **found.as_json()}
    if file is None:
        output.write_json(document)
        return
    file.write_text(output.json_text(document), encoding="utf-8")
    output.say(f"wrote {file}")


def _kept_weights(store: Path, genome: str) -> Path:
    folder = weights_folder_of(store)
    with Reader(store) as reader:
        rows = [row for row in reader.evaluations_of(genome) if row.weights]
        runs = {run.id: run for run in reader.runs()}
    for row in rows:
        if (folder / f"{row.weights}.safetensors").is_file():
            return folder / f"{row.weights}.safetensors"
    again = ""
    if rows:
        row, run = rows[0], runs[rows[0].run]
        again = (
            f" Train them again, to the same bits on a like machine: eqmesh evaluate {short(genome)} --task {run.task} "
            f"--tier {run.tier} --seed {row.seed} --arithmetic {row.arithmetic} --store {store} --weights FOLDER"
            f"{f' --space {source}' if (source := spec_of(run).space_source) else ''}"
        )
    raise NotFoundError(f"no weights of {short(genome)} are kept beside {store}.{again}")


def import_(
    file: Annotated[Path, Parameter(help="JSON file as `eqmesh genome export` writes it.")],
    /,
    *,
    store: StorePath = None,
    json: Json = False,
) -> None:
    """Take the genome of a JSON file into a store; the next new run of its space starts from it too.

    A genome of the default space is checked now; one of a space of your own when a run of that space begins.

    Example: eqmesh genome import best.json
    """
    found = genome_of_file(file)
    if found.space == MLP.id:
        MLP.check(found)
    path = store_path(store)
    with Writer(path, now=lambda: datetime.now(UTC).timestamp()) as writer:
        new = writer.import_genome(found, Birth(parents=(), operator="import/1", seed=0))
    if json:
        output.write_json({"genome": found.id, "space": found.space, "new": new, "store": str(path)})
    else:
        output.write(f"{found.id} {'is in' if new else 'was already in'} {path}")
