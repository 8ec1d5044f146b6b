"""Ancestry: who descends from whom, by which operator, and what that says about a search. Pure.

The only file that imports networkx, and only once a lineage is built.
"""

from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any

from genome.conditions import Value
from genome.errors import GenomeError
from genome.genome import Genome
from genome.quoting import show

__all__ = ["Change", "Entry", "Lineage", "Statistics", "diff"]


@dataclass(frozen=True)
class Entry:
    """One genome of a lineage: its id, its parents' ids, its birth's operator, its place in the record, its objectives.

    `objectives` is None where the evaluation failed or is not known.
    """

    id: str
    parents: tuple[str, ...]
    operator: str
    order: int
    objectives: Mapping[str, float] | None = None


@dataclass(frozen=True)
class Change:
    """One gene that differs between two genomes; None where it is not expressed."""

    gene: str
    before: Value | None
    after: Value | None


@dataclass(frozen=True)
class Statistics:
    """A lineage in numbers.

    `roots` have no parent in the lineage, `leaves` no child; `unknown_parents` are ids that are parents but no
    entries. `generations` is the largest distance from a root. `mean_children` is over all entries. `shares`
    gives each founder (a root or an unknown parent) its part in the ancestry of the living, where each of two
    parents counts half: they sum to 1 if anything lives. `common_ancestor` is that of all the living.
    """

    count: int
    roots: int
    leaves: int
    unknown_parents: int
    generations: int
    mean_children: float
    operators: Mapping[str, int]
    shares: Mapping[str, float]
    common_ancestor: str | None


class Lineage:
    """Entries as an immutable graph from parents to children.

    Parents that are no entries are tolerated. Raises GenomeError for an id given twice and for an entry that
    descends from itself.
    """

    def __init__(self, entries: Iterable[Entry]) -> None:
        # Here, not above: the command line must not pay for this import when it shows no lineage.
        import networkx as nx  # noqa: PLC0415

        self._nx = nx
        self._entries = tuple(sorted(entries, key=lambda entry: (entry.order, entry.id)))
        self._by_id = MappingProxyType({entry.id: entry for entry in self._entries})
        if len(self._by_id) != len(self._entries):
            twice, _ = Counter(entry.id for entry in self._entries).most_common(1)[0]
            raise GenomeError(
                f"a lineage expects each id once, got {show(twice)} again. Keep its first record."
            )
        # networkx has no type hints: every use of the graph below gives its result a type.
        self._graph: Any = nx.DiGraph()
        self._graph.add_nodes_from(self._by_id)
        self._graph.add_edges_from(
            (parent, entry.id) for entry in self._entries for parent in self._known(entry)
        )
        self._generations = MappingProxyType(self._measure())

    @property
    def entries(self) -> tuple[Entry, ...]:
        """All entries by order, then id."""
        return self._entries

    @property
    def generations(self) -> Mapping[str, int]:
        """Longest distance of each entry from a root; 0 for the roots."""
        return self._generations

    def __contains__(self, id_: object) -> bool:
        return id_ in self._by_id

    def entry(self, id_: str) -> Entry:
        """The entry of this id; GenomeError if there is none."""
        entry = self._by_id.get(id_)
        if entry is None:
            raise GenomeError(f"a lineage of {len(self._entries)} genomes has no {show(id_)}. Check the id.")
        return entry

    def ancestors(self, id_: str) -> tuple[str, ...]:
        """Ids of all entries that this one descends from, by order."""
        return self._ordered(self._nx.ancestors(self._graph, self.entry(id_).id))

    def descendants(self, id_: str) -> tuple[str, ...]:
        """Ids of all entries that descend from this one, by order."""
        return self._ordered(self._nx.descendants(self._graph, self.entry(id_).id))

    def children(self, id_: str) -> tuple[str, ...]:
        """Ids of all entries that have this one as a parent, by order."""
        return self._ordered(self._graph.successors(self.entry(id_).id))

    def path(self, ancestor: str, id_: str) -> tuple[str, ...]:
        """One line of descent from an ancestor down to an entry, both included: by first parents where they lead there.

        Raises GenomeError where it is no ancestor.
        """
        below = {self.entry(ancestor).id, *self._nx.descendants(self._graph, ancestor)}
        if self.entry(id_).id not in below:
            raise GenomeError(
                f"a line of descent expects an ancestor of {show(id_)}, got {show(ancestor)}. Name one of those."
            )
        line = [id_]
        while line[-1] != ancestor:
            line.append(next(parent for parent in self._by_id[line[-1]].parents if parent in below))
        return tuple(reversed(line))

    def common_ancestor(self, ids: Iterable[str]) -> str | None:
        """The most recent entry, by order, that each of the ids is or descends from; None if there is none."""
        wanted = dict.fromkeys(self.entry(id_).id for id_ in ids)
        if not wanted:
            return None
        # One bit for each wanted id, handed up from children to parents.
        below = {id_: 1 << bit for bit, id_ in enumerate(wanted)}
        for id_ in self._sorted(backwards=True):
            for child in self._graph.successors(id_):
                below[id_] = below.get(id_, 0) | below.get(child, 0)
        everything = (1 << len(wanted)) - 1
        return next(
            (entry.id for entry in reversed(self._entries) if below.get(entry.id) == everything), None
        )

    def shares(self, living: Iterable[str]) -> dict[str, float]:
        """Founder by founder, its expected part in the ancestry of the living; largest first."""
        weight = {self.entry(id_).id: 1.0 for id_ in living}
        total = len(weight)
        founders: dict[str, float] = {}
        for id_ in self._sorted(backwards=True):
            share = weight.get(id_, 0.0)
            parents = self._by_id[id_].parents
            for parent in parents if share else ():
                held = weight if parent in self._by_id else founders
                held[parent] = held.get(parent, 0.0) + share / len(parents)
            if share and not parents:
                founders[id_] = share
        return {id_: founders[id_] / total for id_ in sorted(founders, key=lambda id_: (-founders[id_], id_))}

    def statistics(self, living: Iterable[str] | None = None) -> Statistics:
        """The lineage in numbers; without `living`, all leaves are taken to live."""
        leaves = [entry.id for entry in self._entries if not self._graph.out_degree(entry.id)]
        alive = tuple(leaves if living is None else living)
        count = len(self._entries)
        return Statistics(
            count=count,
            roots=sum(1 for entry in self._entries if not self._known(entry)),
            leaves=len(leaves),
            unknown_parents=len({id_ for entry in self._entries for id_ in entry.parents} - set(self._by_id)),
            generations=max(self._generations.values(), default=0),
            mean_children=int(self._graph.number_of_edges()) / count if count else 0.0,
            operators=dict(sorted(Counter(entry.operator for entry in self._entries).items())),
            shares=self.shares(alive),
            common_ancestor=self.common_ancestor(alive),
        )

    def _known(self, entry: Entry) -> tuple[str, ...]:
        return tuple(parent for parent in entry.parents if parent in self._by_id)

    def _ordered(self, ids: Iterable[str]) -> tuple[str, ...]:
        return tuple(sorted(ids, key=lambda id_: (self._by_id[id_].order, id_)))

    def _sorted(self, *, backwards: bool = False) -> list[str]:
        """Ids such that parents precede their children, or the reverse."""
        ids = list(self._nx.topological_sort(self._graph))
        return ids[::-1] if backwards else ids

    def _measure(self) -> dict[str, int]:
        if not self._nx.is_directed_acyclic_graph(self._graph):
            loop = " -> ".join(parent for parent, _ in self._nx.find_cycle(self._graph))
            raise GenomeError(f"a lineage expects no genome to descend from itself, got the loop {loop}.")
        generations: dict[str, int] = {}
        for id_ in self._sorted():
            above = (generations[parent] + 1 for parent in self._graph.predecessors(id_))
            generations[id_] = max(above, default=0)
        return generations


def diff(before: Genome, after: Genome) -> tuple[Change, ...]:
    """The genes in which two genomes differ, by name; equal numbers of different types differ too."""
    names = sorted({*dict(before.values), *dict(after.values)})
    pairs = ((name, before.get(name), after.get(name)) for name in names)
    return tuple(Change(name, a, b) for name, a, b in pairs if a != b or type(a) is not type(b))
