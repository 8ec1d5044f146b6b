"""`eqmesh front`: the Pareto front of a store."""

from typing import Annotated

import msgspec
from cyclopts import Parameter

from node import output
from node.commands.options import Json, StorePath, store_path
from node.front import standings
from node.mesh.books import read_ledger
from node.protocol.claims import Claim
from node.protocol.trust import Ledger, TrustSettings
from node.protocol.wire import decode
from node.report import Foreign, document, front_header, front_rows
from node.service import wall_clock
from node.store.records import Reader
from node.store.rows import RunRow, RunSpec

__all__ = ["foreign_of", "front", "spec_of"]


def front(
    *,
    store: StorePath = None,
    run: Annotated[
        int | None, Parameter(help="Number of a run of the store. [default: the one worked on last]")
    ] = None,
    json: Json = False,
) -> None:
    """Show the Pareto front of a run, with mean, spread and n of its fresh scores, baselines below.

    In a node's store, confirmed claims of its peers stand on the front too; what is provisional is listed below it.

    Example: eqmesh front --store eqmesh.db --json
    """
    with Reader(store_path(store)) as reader:
        chosen = reader.run(run)
        rows = reader.evaluations(run=chosen.id)
        spec = spec_of(chosen)
        foreign = foreign_of(reader, spec, read_ledger(reader, TrustSettings()), wall_clock())
        known = {row.genome for row in rows} | {one.genome for one in foreign}
        genomes = {genome: reader.genome(genome) for genome in known}
        path = reader.path
    objectives = spec.objectives
    found = standings(rows)
    if json:
        result = document(spec, rows, found, objectives, genomes, foreign)
        output.write_json(result | {"store": str(path), "run": chosen.id})
        return
    output.write_table(
        front_header(objectives, foreign=bool(foreign)),
        front_rows(found, objectives, genomes, foreign),
        title=f"front of run {chosen.id}, {spec.task} ({spec.tier}, {spec.arithmetic}, seed {spec.seed})",
    )


def foreign_of(reader: Reader, spec: RunSpec, ledger: Ledger, now: float) -> list[Foreign]:
    """Claims of peers about a run's task that are confirmed or provisional, with what ranks them here."""
    names = {objective.name for objective in spec.objectives}
    values = reader.values()
    found = []
    for row in reader.signed(task=bytes.fromhex(spec.task_id), kind="claim"):
        id_ = row.id.hex()
        standing = ledger.standing(id_, now) if id_ in ledger.claims else "heard"
        # A node without a calibration reckons no speed: such a row cannot be ranked.
        if standing not in ("confirmed", "provisional") or names != values.get(row.id, {}).keys():
            continue
        claim = decode(row.body, Claim)
        found.append(
            Foreign(
                claim=id_,
                peer=row.peer,
                genome=claim.genome.hex(),
                values=values[row.id],
                weights=None if claim.weights is None else claim.weights.hex(),
                standing=standing,
            )
        )
    return found


def spec_of(run: RunRow) -> RunSpec:
    """The specification that a run began with."""
    return msgspec.json.decode(run.settings, type=RunSpec)
