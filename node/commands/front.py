"""`eqmesh front`: the Pareto front of a store."""

from typing import Annotated

import msgspec
from cyclopts import Parameter

from node import output
from node.commands.options import Json, StorePath, store_path
from node.front import standings
from node.report import document, front_header, front_rows
from node.store.records import Reader
from node.store.rows import RunRow, RunSpec

__all__ = ["front", "spec_of"]


def front(
    *,
    store: StorePath = None,
    run: Annotated[
        int | None, Parameter(help="Number of a run of the store. [default: the one worked on last]")
    ] = None,
    json: Json = False,
) -> None:
    """Show the Pareto front of a run, with mean, spread and n of its fresh scores, baselines below.

    Example: eqmesh front --store eqmesh.db --json
    """
    with Reader(store_path(store)) as reader:
        chosen = reader.run(run)
        rows = reader.evaluations(run=chosen.id)
        genomes = {row.genome: reader.genome(row.genome) for row in rows}
        path = reader.path
    spec = spec_of(chosen)
    objectives = spec.objectives
    found = standings(rows)
    if json:
        result = document(spec, rows, found, objectives, genomes)
        output.write_json(result | {"store": str(path), "run": chosen.id})
        return
    output.write_table(
        front_header(objectives),
        front_rows(found, objectives, genomes),
        title=f"front of run {chosen.id}, {spec.task} ({spec.tier}, {spec.arithmetic}, seed {spec.seed})",
    )


def spec_of(run: RunRow) -> RunSpec:
    """The specification that a run began with."""
    return msgspec.json.decode(run.settings, type=RunSpec)
