"""`eqmesh lineage`: one genome's place, two genomes' relation, and exports that other programs can read."""

import csv
import io
import json
import re
from pathlib import Path
from typing import Any

import networkx as nx
import pytest
from rich.console import Console

from genome import FORMATS, Change, Entry, Genome, GenomeError, Lineage
from genome import export as to_format
from node.commands.lineage import ancestry_tree, between
from node.store.records import Reader
from tests.node.conftest import Eqmesh
from tests.support.bigstore import make_big_store

COUNT = 120


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("lineage") / "s.db"
    make_big_store(path, COUNT)
    return path


@pytest.fixture(scope="module")
def births(store: Path) -> dict[str, tuple[str, ...]]:
    """Parents by genome, straight from the record."""
    with Reader(store) as reader:
        return {row.genome: row.birth.parents for row in reader.births()}


def above(births: dict[str, tuple[str, ...]], id_: str) -> set[str]:
    found: set[str] = set()
    waiting = [id_]
    while waiting:
        for parent in births[waiting.pop()]:
            if parent not in found:
                found.add(parent)
                waiting.append(parent)
    return found


def called(eqmesh: Eqmesh, *arguments: str) -> Any:
    code, out, err = eqmesh("lineage", *arguments, "--json")
    assert (code, err) == (0, "")
    return json.loads(out)


def test_show_gives_the_place_of_one_genome(
    eqmesh: Eqmesh, store: Path, births: dict[str, tuple[str, ...]]
) -> None:
    chosen = next(id_ for id_, parents in reversed(births.items()) if len(parents) == 2)
    shown = called(eqmesh, "show", chosen[:12], "--store", str(store))
    assert shown["genome"] == chosen
    assert [parent["genome"] for parent in shown["parents"]] == list(births[chosen])
    assert shown["ancestors"] == len(above(births, chosen))
    assert sum(shown["founders"].values()) == pytest.approx(1)
    with Reader(store) as reader:
        child = reader.genome(chosen)
        for parent in shown["parents"]:
            known = reader.genome(parent["genome"])
            for change in parent["changes"]:
                assert (known.get(change["gene"]), child.get(change["gene"])) == (
                    change["before"],
                    change["after"],
                )
            same = {name for name, value in known.values if child.get(name) == value}
            assert not same & {change["gene"] for change in parent["changes"]}
    parent = called(eqmesh, "show", births[chosen][0], "--store", str(store))
    assert chosen in parent["children"]
    assert parent["descendants"] == sum(1 for id_ in births if births[chosen][0] in above(births, id_))


def test_show_is_read_by_people_too(eqmesh: Eqmesh, store: Path, births: dict[str, tuple[str, ...]]) -> None:
    chosen = next(id_ for id_, parents in reversed(births.items()) if parents)
    code, out, _ = eqmesh("lineage", "show", chosen[:12], "--store", str(store))
    assert code == 0
    assert chosen in out
    assert "changed from it" in out
    assert eqmesh("lineage", "show", "ffffff", "--store", str(store))[0] == 1


def test_diff_follows_the_way_between_kin(
    eqmesh: Eqmesh, store: Path, births: dict[str, tuple[str, ...]]
) -> None:
    order = {id_: place for place, id_ in enumerate(births)}
    bred = [id_ for id_, parents in births.items() if parents]
    first, shared, second = next(
        (first, common, other)
        for first in reversed(bred)
        for other in reversed(bred)
        if other != first and other not in above(births, first)
        for common in [({first} | above(births, first)) & ({other} | above(births, other))]
        if common
    )
    found = called(eqmesh, "diff", first, second, "--store", str(store))
    assert found["common_ancestor"] == max(shared, key=order.__getitem__)
    assert len(found["steps"]) == found["up"] + found["down"]
    at = first
    for number, step in enumerate(found["steps"]):
        assert step["from"] == at
        at = step["to"]
        up = number < found["up"]
        child, parent = (step["from"], at) if up else (at, step["from"])
        assert parent in births[child]
    assert at == second
    # The changes of all steps, one after the other, come to the difference of the ends.
    with Reader(store) as reader:
        values = dict(reader.genome(first).values)
        for step in found["steps"]:
            for change in step["changes"]:
                assert values.get(change["gene"]) == change["before"]
                values[change["gene"]] = change["after"]
        expressed = {name: value for name, value in values.items() if value is not None}
        assert expressed == dict(reader.genome(second).values)
    assert eqmesh("lineage", "diff", first, second, "--store", str(store))[0] == 0


def test_diff_of_strangers_says_so(eqmesh: Eqmesh, store: Path, births: dict[str, tuple[str, ...]]) -> None:
    one, two = [id_ for id_, parents in births.items() if not parents][:2]
    found = called(eqmesh, "diff", one, two, "--store", str(store))
    assert found["common_ancestor"] is None
    assert found["steps"] == []
    assert found["changes"]
    assert "no common ancestor" in eqmesh("lineage", "diff", one, two, "--store", str(store))[1]


def chain(*parents: tuple[int, ...]) -> Lineage:
    """A lineage whose n-th genome has these earlier ones as parents."""
    return Lineage(
        Entry(
            id=f"{number:064x}", parents=tuple(f"{p:064x}" for p in known), operator="mutate/1", order=number
        )
        for number, known in enumerate(parents)
    )


def name(number: int) -> str:
    return f"{number:064x}"


def test_a_path_goes_by_first_parents_where_they_lead_there() -> None:
    lineage = chain((), (), (0,), (1, 2), (3, 2))
    assert lineage.path(name(0), name(4)) == tuple(map(name, (0, 2, 3, 4)))
    assert lineage.path(name(4), name(4)) == (name(4),)
    assert lineage.children(name(2)) == (name(3), name(4))
    with pytest.raises(GenomeError, match="expects an ancestor"):
        lineage.path(name(4), name(0))


def test_kin_of_which_one_descends_from_the_other() -> None:
    lineage = chain((), (0,), (1,))
    found = between(lineage, name(2), name(0))
    assert (found.ancestor, found.first, found.second) == (name(0), (name(0), name(1), name(2)), (name(0),))


def test_a_tree_names_each_ancestor_once_and_counts_the_rest() -> None:
    lineage = chain((), (0,), (0,), (1, 2), *((number,) for number in range(3, 500)))
    last = name(500)
    change = {name(3): [Change("width1", 8, 16)]}
    tall = Console(width=200, file=io.StringIO())
    tall.print(ancestry_tree(lineage, name(3), change))
    said = tall.file.getvalue()  # type: ignore[attr-defined]
    assert said.count("0" * 12) == 5
    assert said.count("see above") == 1
    assert "width1 8->16" in said
    cut = Console(width=200, file=io.StringIO())
    cut.print(ancestry_tree(lineage, last, {}))
    assert "and 101 more ancestors" in cut.file.getvalue()  # type: ignore[attr-defined]


# Independent readers: what each format's own users load it with, or the grammar written anew.


def parsed_newick(text: str) -> dict[str, str | None]:
    """Parent by label: a recursive descent without recursion."""
    parents: dict[str, str | None] = {}
    for line in text.splitlines():
        stack: list[list[str]] = [[]]
        closed: list[str] = []
        for part in re.findall(r"\(|\)|,|;|'(?:[^']|'')*'|:[^,();]+", line):
            if part == "(":
                stack.append([])
            elif part == ")":
                closed = stack.pop()
            elif part.startswith("'"):
                label = part[1:-1].replace("''", "'")
                parents[label] = None
                for child in closed:
                    parents[child] = label
                closed = []
                stack[-1].append(label)
        assert len(stack) == 1
    return parents


@pytest.mark.parametrize("format_", sorted(FORMATS))
def test_an_independent_reader_finds_the_same_births(
    eqmesh: Eqmesh, store: Path, births: dict[str, tuple[str, ...]], tmp_path: Path, format_: str
) -> None:
    code, _, _ = eqmesh("lineage", "export", "--format", format_, "-o", "out", "--store", str(store))
    assert code == 0
    text = (tmp_path / "out").read_text(encoding="utf-8")
    assert READERS[format_](text) == {
        id_: set(parents[:1] if format_ == "newick" else parents) for id_, parents in births.items()
    }


def from_csv(text: str) -> dict[str, set[str]]:
    rows = list(csv.DictReader(io.StringIO(text)))
    ids = {row["id"]: row["genome"] for row in rows}
    return {
        row["genome"]: {ids[each] for each in row["ancestor_list"].strip("[]").split(",") if each != "none"}
        for row in rows
    }


def from_graphml(text: str) -> dict[str, set[str]]:
    graph = nx.parse_graphml(text)
    return {id_: set(graph.predecessors(id_)) for id_ in graph}


def from_json(text: str) -> dict[str, set[str]]:
    return {entry["id"]: set(entry["parents"]) for entry in json.loads(text)["entries"]}


def from_newick(text: str) -> dict[str, set[str]]:
    return {id_: set() if parent is None else {parent} for id_, parent in parsed_newick(text).items()}


def from_dot(text: str) -> dict[str, set[str]]:
    found: dict[str, set[str]] = {
        id_: set() for id_ in re.findall(r'^ *"([0-9a-f]{64})" \[', text, flags=re.MULTILINE)
    }
    for parent, child in re.findall(r'^ *"([0-9a-f]{64})" -> "([0-9a-f]{64})";', text, flags=re.MULTILINE):
        found[child].add(parent)
    return found


READERS = {
    "csv": from_csv,
    "graphml": from_graphml,
    "json": from_json,
    "newick": from_newick,
    "dot": from_dot,
}


def test_every_format_has_a_reader_here() -> None:
    assert READERS.keys() == FORMATS.keys()


def test_newick_with_labels_that_need_quotes() -> None:
    lineage = Lineage(
        [
            Entry(id="it's, (odd)", parents=(), operator="random/1", order=0),
            Entry(id="b", parents=("it's, (odd)",), operator="mutate/1", order=1),
        ]
    )
    assert parsed_newick(to_format(lineage, "newick")) == {"it's, (odd)": None, "b": "it's, (odd)"}


def test_births_of_the_generated_store_replay(store: Path) -> None:
    from genome import MLP, replay

    with Reader(store) as reader:
        genomes: dict[str, Genome] = reader.genomes()
        rows = list(reader.births())
    assert len(rows) == COUNT
    for row in rows[-40:]:
        assert replay(row.birth, MLP, genomes).id == row.genome
