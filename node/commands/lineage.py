"""`eqmesh lineage`: who descends from whom."""

import sys
from collections.abc import Iterable, Mapping, Sequence
from itertools import pairwise
from pathlib import Path
from typing import Annotated

import msgspec
from cyclopts import Parameter
from rich.console import Console
from rich.tree import Tree

from genome import FORMATS, Change, Entry, Genome, Lineage, diff
from genome import export as to_format
from node import output
from node.commands.front import spec_of
from node.commands.options import Json, StorePath, store_path
from node.errors import SettingsError
from node.front import front_of, standings
from node.store.records import Reader
from node.text import number, short, summary

__all__ = ["Kinsfolk", "ancestors", "ancestry_tree", "between", "diff_", "export", "show", "stats"]

# Lines of a tree in a terminal; the table, the JSON and the exports have all of them.
_MOST_BRANCHES = 400

GenomeId = Annotated[str, Parameter(help="Digits of an id in the store.")]


class Kinsfolk(msgspec.Struct, frozen=True, kw_only=True):
    """How two genomes are related: the youngest ancestor of both, and the lines from it down to each.

    Without a common ancestor the lines hold only the genomes themselves.
    """

    ancestor: str | None
    first: tuple[str, ...]
    second: tuple[str, ...]


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


def _changes(reader: Reader, pairs: Iterable[tuple[str, str]]) -> list[tuple[Change, ...]]:
    """What changed from the first genome of each pair to the second; nothing where the store lacks the first."""
    known: dict[str, Genome | None] = {}

    def genome(id_: str) -> Genome | None:
        if id_ not in known:
            body = reader.genome_bytes(id_)
            known[id_] = None if body is None else Genome.decode(body)
        return known[id_]

    found = []
    for before, after in pairs:
        old, new = genome(before), genome(after)
        found.append(diff(old, new) if old is not None and new is not None else ())
    return found


def _words(changes: Iterable[Change]) -> str:
    return ", ".join(f"{change.gene} {change.before}->{change.after}" for change in changes)


def _plain(changes: Iterable[Change]) -> list[dict[str, object]]:
    return [{"gene": c.gene, "before": c.before, "after": c.after} for c in changes]


def _values(objectives: Mapping[str, float] | None) -> str:
    return " ".join(f"{name} {number(value)}" for name, value in (objectives or {}).items())


def _named(entry: Entry) -> list[str]:
    return [short(entry.id), entry.operator, _values(entry.objectives)]


def show(genome: GenomeId, /, *, store: StorePath = None, json: Json = False) -> None:
    """Show one genome's place: what it came from, what its birth changed, and what came of it.

    Example: eqmesh lineage show 3f9a12c4
    """
    with Reader(store_path(store)) as reader:
        lineage = _lineage(reader)
        entry = lineage.entry(reader.resolve(genome))
        changes = dict(
            zip(
                entry.parents,
                _changes(reader, [(parent, entry.id) for parent in entry.parents]),
                strict=True,
            )
        )
        living = _front(reader)
        words = summary(reader.genome(entry.id))
    above, below = lineage.ancestors(entry.id), lineage.descendants(entry.id)
    children = [lineage.entry(child) for child in lineage.children(entry.id)]
    shares = lineage.shares([entry.id])
    if json:
        output.write_json(
            {
                "genome": entry.id,
                "summary": words,
                "operator": entry.operator,
                "born": entry.order,
                "generation": lineage.generations[entry.id],
                "objectives": entry.objectives,
                "front": entry.id in living,
                "parents": [
                    {"genome": parent, "known": parent in lineage, "changes": _plain(changes[parent])}
                    for parent in entry.parents
                ],
                "children": [child.id for child in children],
                "ancestors": len(above),
                "descendants": len(below),
                "descendants_on_front": sum(1 for id_ in living if id_ in set(below)),
                "founders": dict(shares),
            }
        )
        return
    output.write_table(
        ["figure", "value"],
        [
            ["genome", entry.id],
            ["what it is", words],
            ["born", f"{entry.order} by {entry.operator}, generation {lineage.generations[entry.id]}"],
            ["objectives", _values(entry.objectives) or "none"],
            ["on the front", "yes" if entry.id in living else "no"],
            ["ancestors", str(len(above))],
            ["descendants", f"{len(below)}, {sum(1 for id_ in living if id_ in set(below))} on the front"],
            ["founders", ", ".join(f"{short(id_)} {share:.0%}" for id_, share in list(shares.items())[:6])],
        ],
    )
    if entry.parents:
        output.write_table(
            ["parent", "operator", "objectives", "changed from it"],
            [
                [
                    *(_named(lineage.entry(p)) if p in lineage else [short(p), "", "not here"]),
                    _words(changes[p]),
                ]
                for p in entry.parents
            ],
        )
    if children:
        output.write_table(["child", "operator", "objectives"], [_named(child) for child in children])


def stats(*, store: StorePath = None, json: Json = False) -> None:
    """Show the ancestry in numbers: operators, generations, and which founders the front descends from.

    Example: eqmesh lineage stats
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


def ancestors(genome: GenomeId, /, *, store: StorePath = None, json: Json = False) -> None:
    """Show a genome's ancestors with the genes that each birth changed: a tree on a terminal, rows in a pipe.

    Example: eqmesh lineage ancestors 3f9a12c4
    """
    with Reader(store_path(store)) as reader:
        lineage = _lineage(reader)
        chosen = reader.resolve(genome)
        line = [chosen, *sorted(lineage.ancestors(chosen), key=lambda i: -lineage.entry(i).order)]
        entries = [lineage.entry(name) for name in line]
        pairs = [(entry.parents[0], entry.id) for entry in entries if entry.parents]
        found = _changes(reader, pairs)
    changes = {after: change for (_, after), change in zip(pairs, found, strict=True)}
    if json:
        output.write_json(
            [
                {
                    "genome": entry.id,
                    "parents": list(entry.parents),
                    "operator": entry.operator,
                    "born": entry.order,
                    "objectives": entry.objectives,
                    "changes": _plain(changes.get(entry.id, ())),
                }
                for entry in entries
            ]
        )
        return
    if sys.stdout.isatty():
        Console(markup=False, highlight=False).print(ancestry_tree(lineage, chosen, changes))
        return
    output.write_table(
        ["genome", "operator", "parents", "objectives", "changed against the first parent"],
        [
            [
                short(entry.id),
                entry.operator,
                " ".join(map(short, entry.parents)),
                _values(entry.objectives),
                _words(changes.get(entry.id, ())),
            ]
            for entry in entries
        ],
    )


def ancestry_tree(lineage: Lineage, chosen: str, changes: Mapping[str, Sequence[Change]]) -> Tree:
    """A genome with its parents below it, and theirs: each ancestor once in full, "see above" where it comes again.

    After 400 ancestors the rest is counted.
    """
    root = Tree(_branch(lineage, chosen, changes))
    seen = {chosen}
    # Breadth first, and no recursion: a line may have thousands of births.
    waiting = [(chosen, root)]
    while waiting:
        id_, at = waiting.pop(0)
        for parent in lineage.entry(id_).parents:
            if parent not in lineage:
                at.add(f"{short(parent)} not here")
            elif parent in seen:
                at.add(f"{short(parent)} see above")
            elif len(seen) < _MOST_BRANCHES:
                seen.add(parent)
                waiting.append((parent, at.add(_branch(lineage, parent, changes))))
    left = len(lineage.ancestors(chosen)) + 1 - len(seen)
    if left:
        root.add(f"and {left} more ancestors: --json has all of them")
    return root


def _branch(lineage: Lineage, id_: str, changes: Mapping[str, Sequence[Change]]) -> str:
    return "  ".join(part for part in (*_named(lineage.entry(id_)), _words(changes.get(id_, ()))) if part)


def between(lineage: Lineage, first: str, second: str) -> Kinsfolk:
    """How two genomes of a lineage are related."""
    ancestor = lineage.common_ancestor([first, second])
    if ancestor is None:
        return Kinsfolk(ancestor=None, first=(first,), second=(second,))
    return Kinsfolk(
        ancestor=ancestor, first=lineage.path(ancestor, first), second=lineage.path(ancestor, second)
    )


def diff_(first: GenomeId, second: GenomeId, /, *, store: StorePath = None, json: Json = False) -> None:
    """Show how two genomes are related, and which genes changed on the way from one to the other.

    The way goes up from the first one to their youngest common ancestor, then down to the second; a change on the way
    up is read backwards.

    Example: eqmesh lineage diff 3f9a12c4 81be02d7
    """
    with Reader(store_path(store)) as reader:
        lineage = _lineage(reader)
        ends = (reader.resolve(first), reader.resolve(second))
        kin = between(lineage, *ends)
        way = [*reversed(kin.first), *kin.second[1:]] if kin.ancestor else []
        pairs = list(pairwise(way))
        steps = _changes(reader, pairs)
        (net,) = _changes(reader, [ends])
    if json:
        output.write_json(
            {
                "first": ends[0],
                "second": ends[1],
                "common_ancestor": kin.ancestor,
                "up": len(kin.first) - 1 if kin.ancestor else None,
                "down": len(kin.second) - 1 if kin.ancestor else None,
                "steps": [
                    {"from": before, "to": after, "changes": _plain(change)}
                    for (before, after), change in zip(pairs, steps, strict=True)
                ],
                "changes": _plain(net),
            }
        )
        return
    output.write(
        f"common ancestor {short(kin.ancestor)}, {len(kin.first) - 1} births above the first and "
        f"{len(kin.second) - 1} above the second"
        if kin.ancestor
        else "no common ancestor in this store"
    )
    if pairs:
        turn = len(kin.first) - 1
        output.write_table(
            ["way", "from", "to", "operator", "changed"],
            [
                [
                    "up" if place < turn else "down",
                    short(before),
                    short(after),
                    lineage.entry(before if place < turn else after).operator,
                    _words(change),
                ]
                for place, ((before, after), change) in enumerate(zip(pairs, steps, strict=True))
            ],
        )
    output.write_table(
        ["gene", short(ends[0]), short(ends[1])],
        [[change.gene, str(change.before), str(change.after)] for change in net],
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
