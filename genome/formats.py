"""Lineages as text for other programs: ALife phylogeny CSV, GraphML, Newick, DOT, JSON. Pure."""

import csv
import html
import io
import json
import math
from collections.abc import Callable, Mapping
from types import MappingProxyType

from genome.errors import GenomeError
from genome.lineage import Entry, Lineage
from genome.quoting import hint, show

__all__ = ["FORMATS", "export", "to_csv", "to_dot", "to_graphml", "to_json", "to_newick"]


def to_csv(lineage: Lineage) -> str:
    """ALife data standard phylogeny (alife-data-standards.github.io, phylogeny): one line a genome.

    The standard wants whole numbers as ids, so `id` is the place in the export and the column `genome` has
    the real one. `ancestor_list` names ancestors in the file, '[none]' where there are none; `parents` has all
    of them, known or not; `origin_time` is the order of the record. Objectives that failed stay empty.
    """
    numbers = {entry.id: number for number, entry in enumerate(lineage.entries)}
    objectives = _objective_names(lineage)
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    fixed = ("id", "ancestor_list", "origin_time", "genome", "parents", "operator", "generation")
    # An objective may be named like a column; the standard forbids that.
    writer.writerow((*fixed, *(f"objective_{name}" if name in fixed else name for name in objectives)))
    for entry in lineage.entries:
        known = ",".join(str(numbers[parent]) for parent in entry.parents if parent in numbers)
        measured = entry.objectives or {}
        writer.writerow(
            (
                numbers[entry.id],
                f"[{known or 'none'}]",
                entry.order,
                entry.id,
                " ".join(entry.parents),
                entry.operator,
                lineage.generations[entry.id],
                *(repr(measured[name]) if name in measured else "" for name in objectives),
            )
        )
    return text.getvalue()


def to_graphml(lineage: Lineage) -> str:
    """GraphML, edges from parent to child; parents that are no entries are nodes with `known` false."""
    objectives = _objective_names(lineage)
    fields = {
        "known": "boolean",
        "operator": "string",
        "order": "long",
        "generation": "long",
        **{f"objective_{name}": "double" for name in objectives},
    }
    # Keys are numbered: XML allows fewer characters in an id than an objective's name may have.
    keys = {name: f"d{number}" for number, name in enumerate((*fields, "position"))}
    lines = [
        '<?xml version="1.0" encoding="UTF-8"?>',
        '<graphml xmlns="http://graphml.graphdrawing.org/xmlns">',
        *(_key(keys[name], "node", name, kind) for name, kind in fields.items()),
        _key(keys["position"], "edge", "position", "long"),
        '  <graph id="lineage" edgedefault="directed">',
    ]
    for id_ in _unknown(lineage):
        lines += _element("node", f'id="{_escaped(id_)}"', {keys["known"]: "false"})
    for entry in lineage.entries:
        data = {
            keys["known"]: "true",
            keys["operator"]: entry.operator,
            keys["order"]: str(entry.order),
            keys["generation"]: str(lineage.generations[entry.id]),
        }
        measured = sorted((entry.objectives or {}).items())
        data |= {keys[f"objective_{name}"]: _double(value) for name, value in measured}
        lines += _element("node", f'id="{_escaped(entry.id)}"', data)
    for entry in lineage.entries:
        for position, parent in enumerate(entry.parents):
            ends = f'source="{_escaped(parent)}" target="{_escaped(entry.id)}"'
            lines += _element("edge", ends, {keys["position"]: str(position)})
    return "\n".join([*lines, "  </graph>", "</graphml>", ""])


def to_newick(lineage: Lineage) -> str:
    """Newick: the tree in which each genome hangs below its first known parent, one line for each root.

    A tree has no place for second parents: take another format for those. Labels are quoted ids; the length of
    a branch is the number of records between parent and child.
    """
    children: dict[str, list[Entry]] = {entry.id: [] for entry in lineage.entries}
    roots: list[Entry] = []
    for entry in lineage.entries:
        parent = _first_parent(entry, lineage)
        (roots if parent is None else children[parent]).append(entry)
    return "".join(f"{_subtree(root, children, lineage)};\n" for root in roots)


def to_dot(lineage: Lineage) -> str:
    """Graphviz DOT, edges from parent to child, the first eight characters of each id as label."""
    lines = ["digraph lineage {", "  node [shape=box];"]
    lines += [f"  {_quoted(id_)} [label={_quoted(id_[:8])}, style=dashed];" for id_ in _unknown(lineage)]
    for entry in lineage.entries:
        measured = [f"{name} {value:.4g}" for name, value in sorted((entry.objectives or {}).items())]
        label = "\n".join([entry.id[:8], entry.operator, *measured])
        lines.append(f"  {_quoted(entry.id)} [label={_quoted(label)}];")
    for entry in lineage.entries:
        lines += [f"  {_quoted(parent)} -> {_quoted(entry.id)};" for parent in entry.parents]
    return "\n".join([*lines, "}", ""])


def to_json(lineage: Lineage) -> str:
    """JSON with everything that the lineage has; numbers that are not finite become null."""
    document = {
        "format": "eqmesh.lineage/1",
        "entries": [
            {
                "id": entry.id,
                "parents": list(entry.parents),
                "operator": entry.operator,
                "order": entry.order,
                "generation": lineage.generations[entry.id],
                "objectives": None
                if entry.objectives is None
                else {
                    name: value if math.isfinite(value) else None for name, value in entry.objectives.items()
                },
            }
            for entry in lineage.entries
        ],
    }
    return json.dumps(document, indent=2, sort_keys=True, allow_nan=False) + "\n"


FORMATS: Mapping[str, Callable[[Lineage], str]] = MappingProxyType(
    {"csv": to_csv, "graphml": to_graphml, "newick": to_newick, "dot": to_dot, "json": to_json}
)
"""Exports by name."""


def export(lineage: Lineage, format_: str) -> str:
    """The lineage in the format of that name; GenomeError for an unknown one, with the nearest."""
    if format_ not in FORMATS:
        raise GenomeError(
            f"an export expects one of {', '.join(FORMATS)}; got {show(format_)}.{hint(format_, FORMATS)}"
        )
    return FORMATS[format_](lineage)


def _objective_names(lineage: Lineage) -> list[str]:
    return sorted({name for entry in lineage.entries for name in entry.objectives or {}})


def _unknown(lineage: Lineage) -> list[str]:
    return sorted({parent for entry in lineage.entries for parent in entry.parents if parent not in lineage})


def _first_parent(entry: Entry, lineage: Lineage) -> str | None:
    return next((parent for parent in entry.parents if parent in lineage), None)


def _key(id_: str, owner: str, name: str, kind: str) -> str:
    return f'  <key id="{id_}" for="{owner}" attr.name="{_escaped(name)}" attr.type="{kind}"/>'


def _element(tag: str, attributes: str, data: Mapping[str, str]) -> list[str]:
    lines = [f'      <data key="{key}">{_escaped(value)}</data>' for key, value in data.items()]
    return [f"    <{tag} {attributes}>", *lines, f"    </{tag}>"]


def _escaped(text: str) -> str:
    # html.escape does what XML needs; xml.sax.saxutils would load sockets and TLS with it.
    return html.escape(text)


def _double(value: float) -> str:
    # XML Schema's spelling, which differs from Python's.
    if math.isnan(value):
        return "NaN"
    return repr(float(value)) if math.isfinite(value) else "INF" if value > 0 else "-INF"


def _quoted(text: str) -> str:
    escaped = text.replace("\\", "\\\\").replace('"', '\\"').replace("\n", "\\n")
    return f'"{escaped}"'


def _subtree(root: Entry, children: Mapping[str, list[Entry]], lineage: Lineage) -> str:
    """Without recursion: a lineage may be deeper than Python's stack."""
    text: list[str] = []
    # What is still to be written: an entry to open, or the text that closes or parts what was opened.
    waiting: list[Entry | str] = [root]
    while waiting:
        item = waiting.pop()
        if isinstance(item, str):
            text.append(item)
            continue
        parent = _first_parent(item, lineage)
        length = "" if parent is None else f":{max(0, item.order - lineage.entry(parent).order)}"
        name = item.id.replace("'", "''")
        label = f"'{name}'{length}"
        below = children[item.id]
        if not below:
            text.append(label)
            continue
        text.append("(")
        waiting.append(f"){label}")
        for position, child in enumerate(reversed(below)):
            waiting += [",", child] if position else [child]
    return "".join(text)
