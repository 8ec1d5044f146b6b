import csv
import io
import json
import math
import re
from dataclasses import dataclass, field

import networkx as nx
import pytest
from hypothesis import given

from genome import FORMATS, Entry, GenomeError, Lineage, export
from genome.formats import to_csv, to_dot, to_graphml, to_json, to_newick
from tests.genome.golden import lineage as small_lineage
from tests.genome.test_lineage import lineages


def edges_of(entries: list[Entry], *, unknown: bool) -> set[tuple[str, str]]:
    known = {entry.id for entry in entries}
    return {(parent, entry.id) for entry in entries for parent in entry.parents if unknown or parent in known}


@given(lineages())
def test_csv_reads_back_as_the_alife_standard_says(entries: list[Entry]) -> None:
    rows = list(csv.DictReader(io.StringIO(to_csv(Lineage(entries)))))
    names = {int(row["id"]): row["genome"] for row in rows}
    assert sorted(names) == list(range(len(entries)))
    edges = set()
    for row in rows:
        inner = row["ancestor_list"].strip("[]")
        if inner != "none":
            # The standard: ids of other entries in the file.
            edges |= {(names[int(number)], row["genome"]) for number in inner.split(",")}
    assert edges == edges_of(entries, unknown=False)
    assert {
        row["genome"]: (int(row["origin_time"]), tuple(row["parents"].split()), row["operator"])
        for row in rows
    } == {entry.id: (entry.order, entry.parents, entry.operator) for entry in entries}


def test_csv_has_objectives_and_leaves_failures_empty() -> None:
    rows = {row["genome"]: row for row in csv.DictReader(io.StringIO(to_csv(small_lineage())))}
    assert float(rows["cc"]["size & cost"]) == 1e-9
    assert rows["d'd"]["accuracy"] == ""
    assert rows['<e"e>']["generation"] == "3"


def test_csv_never_has_a_column_twice() -> None:
    text = to_csv(Lineage([Entry("a", (), "random/1", 0, {"id": 1.0, "cost": 2.0})]))
    header = text.splitlines()[0].split(",")
    assert len(header) == len(set(header))
    assert header[-2:] == ["cost", "objective_id"]


@given(lineages())
def test_graphml_reads_back_in_networkx(entries: list[Entry]) -> None:
    lineage = Lineage(entries)
    graph = nx.parse_graphml(to_graphml(lineage))
    assert graph.is_directed()
    assert set(graph.edges) == edges_of(entries, unknown=True)
    for entry in entries:
        node = graph.nodes[entry.id]
        assert node == {
            "known": True,
            "operator": entry.operator,
            "order": entry.order,
            "generation": lineage.generations[entry.id],
        }
        for position, parent in enumerate(entry.parents):
            assert graph.edges[parent, entry.id] == {"position": position}
    assert {id_ for id_, node in graph.nodes.items() if not node["known"]} <= {"u0", "u1"}


def test_graphml_escapes_names_and_keeps_objectives() -> None:
    graph = nx.parse_graphml(to_graphml(small_lineage()))
    assert graph.nodes["cc"]["objective_size & cost"] == 1e-9
    assert math.isnan(graph.nodes['<e"e>']["objective_accuracy"])
    assert graph.nodes['<e"e>']["objective_size & cost"] == math.inf
    assert "objective_accuracy" not in graph.nodes["d'd"]


@dataclass
class Node:
    label: str = ""
    length: float | None = None
    children: list["Node"] = field(default_factory=list)


def read_newick(line: str) -> Node:
    """One tree: subtree ';' with subtree = ['(' subtree {',' subtree} ')'] [quoted label] [':' length]."""
    words = re.findall(r"'(?:[^']|'')*'|[(),:;]|[^'(),:;]+", line)
    assert "".join(words) == line
    top = Node()
    stack = [top]
    current = Node()
    top.children.append(current)
    for before, word in zip(["", *words], words, strict=False):
        if word == "(":
            stack.append(current)
            current = Node()
            stack[-1].children.append(current)
        elif word == ",":
            current = Node()
            stack[-1].children.append(current)
        elif word == ")":
            current = stack.pop()
        elif word.startswith("'"):
            current.label = word[1:-1].replace("''", "'")
        elif before == ":":
            current.length = float(word)
        else:
            assert word in ":;"
    assert words[-1] == ";"
    assert stack == [top]
    return top.children[0]


def newick_edges(root: Node) -> dict[str, tuple[str | None, float | None]]:
    found: dict[str, tuple[str | None, float | None]] = {root.label: (None, root.length)}
    waiting = [root]
    while waiting:
        node = waiting.pop()
        for child in node.children:
            assert child.label not in found
            found[child.label] = (node.label, child.length)
            waiting.append(child)
    return found


def in_order(node: Node, known: dict[str, Entry]) -> bool:
    orders = [known[child.label].order for child in node.children]
    return orders == sorted(orders) and all(in_order(child, known) for child in node.children)


@given(lineages())
def test_newick_reads_back_as_the_tree_of_first_known_parents(entries: list[Entry]) -> None:
    known = {entry.id: entry for entry in entries}
    found: dict[str, tuple[str | None, float | None]] = {}
    for line in to_newick(Lineage(entries)).splitlines():
        root = read_newick(line)
        assert in_order(root, known)
        found |= newick_edges(root)
    expected: dict[str, tuple[str | None, float | None]] = {}
    for entry in entries:
        parent = next((parent for parent in entry.parents if parent in known), None)
        expected[entry.id] = (parent, None if parent is None else entry.order - known[parent].order)
    assert found == expected


def test_newick_escapes_quotes_and_needs_no_recursion() -> None:
    found = newick_edges(read_newick(to_newick(small_lineage()).splitlines()[0]))
    assert found["d'd"] == ("cc", 1.0)
    assert found['<e"e>'] == ("d'd", 1.0)
    chain = [Entry(str(k), (str(k - 1),) if k else (), "mutate/1", k) for k in range(5000)]
    text = to_newick(Lineage(chain))
    assert text.count("(") == text.count(")") == 4999
    assert text.endswith("'0';\n")


@given(lineages())
def test_dot_has_every_node_and_edge(entries: list[Entry]) -> None:
    text = to_dot(Lineage(entries))
    assert set(re.findall(r'"(\w+)" -> "(\w+)";', text)) == edges_of(entries, unknown=True)
    nodes = re.findall(r'^  "(\w+)" \[label=.*\];$', text, re.MULTILINE)
    known = {entry.id for entry in entries} | {parent for entry in entries for parent in entry.parents}
    assert sorted(nodes) == sorted(known)
    assert text.startswith("digraph lineage {\n")
    assert text.endswith("}\n")


def test_dot_escapes_quotes_backslashes_and_line_ends() -> None:
    text = to_dot(Lineage([Entry('a"b\\c\nd', (), "random/1", 0)]))
    assert '  "a\\"b\\\\c\\nd" [label="a\\"b\\\\c\\nd\\nrandom/1"];' in text.splitlines()


@given(lineages())
def test_json_reads_back(entries: list[Entry]) -> None:
    lineage = Lineage(entries)
    document = json.loads(to_json(lineage))
    assert document["format"] == "eqmesh.lineage/1"
    again = [
        Entry(item["id"], tuple(item["parents"]), item["operator"], item["order"], item["objectives"])
        for item in document["entries"]
    ]
    assert again == list(lineage.entries)
    assert {item["id"]: item["generation"] for item in document["entries"]} == dict(lineage.generations)


def test_json_has_no_numbers_that_json_lacks() -> None:
    by_id = {entry["id"]: entry for entry in json.loads(to_json(small_lineage()))["entries"]}
    assert by_id['<e"e>']["objectives"] == {"accuracy": None, "size & cost": None}
    assert by_id["d'd"]["objectives"] is None
    assert by_id["cc"]["objectives"] == {"accuracy": 0.75, "size & cost": 1e-9}


@pytest.mark.parametrize("name", FORMATS)
def test_exports_by_name(name: str) -> None:
    assert export(small_lineage(), name) == FORMATS[name](small_lineage())
    assert export(Lineage([]), name) == FORMATS[name](Lineage([]))


def test_an_unknown_format_suggests_the_nearest() -> None:
    with pytest.raises(GenomeError, match=r"one of csv, graphml, .*; got 'graphm'. Did you mean 'graphml'"):
        export(small_lineage(), "graphm")
