"""`eqmesh lineage`: who descends from whom."""

from pathlib import Path
from typing import Annotated

from cyclopts import Parameter

from genome import FORMATS, Entry, Lineage, diff
from genome import export as to_format
from node import output
from node.commands.front import spec_of
from node.commands.options import Json, StorePath, store_path
from node.errors import SettingsError
from node.front import front_of, standings
from node.store.records import Reader
from node.text import number, short, summary

__all__ = ["ancestors", "export", "show"]


def _lineage(reader: Reader) -> Lineage:
    """The ancestry, with what each genome reached in the task, tier and class of the run worked on last."""
    objectives: dict[str, dict[str, float]] = {}
    if reader.runs():
        run = reader.run()
        for row in reader.evaluations(task_id=run.task_id, arithmetic=run.arithmetic):
            if row.failure is None and row.purpose != "report":
                objectives.setdefault(row.genome, row.objectives)
    return Lineage(
        Entry(
            id=row.genome,
            parents=row.birth.parents,
            operator=row.birth.operator,
            order=row.born,
            objectives=objectives.get(row.genome),
        )
        for row in reader.births()
    )


def _front(reader: Reader) -> list[str]:
    """Genomes on the front of the run that was worked on last; none in a store of imports alone."""
    if not reader.runs():
        return []
    run = reader.run()
    found = standings(reader.evaluations(run=run.id))
    return [standing.genome for standing in front_of(found, spec_of(run).objectives)]


def show(*, store: StorePath = None, json: Json = False) -> None:
    """Show the ancestry in numbers: operators, generations, and which founders the front descends from.

    Example: eqmesh lineage show
    """
    with Reader(store_path(store)) as reader:
        lineage = _lineage(reader)
        living = _front(reader)
        genomes = reader.genomes()
    found = lineage.statistics(living)
    if json:
        output.write_json(
            {
                "count": found.count,
                "roots": found.roots,
                "leaves": found.leaves,
                "unknown_parents": found.unknown_parents,
                "generations": found.generations,
                "mean_children": found.mean_children,
                "operators": dict(found.operators),
                "shares": dict(found.shares),
                "common_ancestor": found.common_ancestor,
                "front": living,
            }
        )
        return
    ancestor = short(found.common_ancestor) if found.common_ancestor else "none"
    output.write_table(
        ["figure", "value"],
        [
            ["genomes", str(found.count)],
            ["founders", str(found.roots)],
            ["generations", str(found.generations)],
            ["mean children", f"{found.mean_children:.2f}"],
            ["births by operator", ", ".join(f"{name} {count}" for name, count in found.operators.items())],
            ["common ancestor of the front", ancestor],
        ],
    )
    shares = sorted(found.shares.items(), key=lambda item: (-item[1], item[0]))
    output.write_table(
        ["founder", "share of the front", "what it is"],
        [
            [short(founder), f"{share:.1%}", summary(genomes[founder]) if founder in genomes else "not here"]
            for founder, share in shares
            if share > 0
        ],
    )


def ancestors(
    genome: Annotated[str, Parameter(help="Digits of an id in the store.")],
    /,
    *,
    store: StorePath = None,
    json: Json = False,
) -> None:
    """Show a genome's ancestors, youngest first, with the genes that each birth changed.

    Example: eqmesh lineage ancestors 3f9a12c4
    """
    with Reader(store_path(store)) as reader:
        lineage = _lineage(reader)
        chosen = reader.resolve(genome)
        line = [chosen, *sorted(lineage.ancestors(chosen), key=lambda i: -lineage.entry(i).order)]
        genomes = {name: reader.genome(name) for name in line}
    entries = [lineage.entry(name) for name in line]
    changes = {
        entry.id: [
            change
            for change in (diff(genomes[entry.parents[0]], genomes[entry.id]) if entry.parents else ())
            if entry.parents[0] in genomes
        ]
        for entry in entries
    }
    if json:
        output.write_json(
            [
                {
                    "genome": entry.id,
                    "parents": list(entry.parents),
                    "operator": entry.operator,
                    "born": entry.order,
                    "objectives": entry.objectives,
                    "changes": [
                        {"gene": c.gene, "before": c.before, "after": c.after} for c in changes[entry.id]
                    ],
                }
                for entry in entries
            ]
        )
        return
    output.write_table(
        ["genome", "operator", "parents", "objectives", "changed against the first parent"],
        [
            [
                short(entry.id),
                entry.operator,
                " ".join(map(short, entry.parents)),
                " ".join(f"{name} {number(value)}" for name, value in (entry.objectives or {}).items()),
                ", ".join(f"{c.gene} {c.before}->{c.after}" for c in changes[entry.id]),
            ]
            for entry in entries
        ],
    )


def export(
    *,
    format_: Annotated[str, Parameter(name="--format", help=f"One of {', '.join(FORMATS)}.")] = "csv",
    file: Annotated[
        Path | None, Parameter(name=("--output", "-o"), help="File. [default: standard output]")
    ] = None,
    store: StorePath = None,
) -> None:
    """Write the whole ancestry: ALife-standard phylogeny CSV, GraphML, Newick, DOT or JSON.

    Example: eqmesh lineage export --format graphml --output lineage.graphml
    """
    if format_ not in FORMATS:
        raise SettingsError(f"--format must be one of {', '.join(FORMATS)}, got {format_!r}.")
    with Reader(store_path(store)) as reader:
        text = to_format(_lineage(reader), format_)
    if file is None:
        output.write(text)
        return
    file.write_text(text, encoding="utf-8")
    output.say(f"wrote {file}")
