"""Which genomes of a lineage pass the tests of a filter, by their genes and by what is on record of them."""

from array import array
from collections.abc import Callable, Mapping, Sequence
from operator import eq, ge, gt, le, lt, ne
from types import MappingProxyType

import msgspec

from genome.conditions import Value
from node.store.board.board import Board
from node.store.board.filters import Clause
from node.store.board.kin import STANDINGS, Kin

__all__ = ["find"]

_TESTS: Mapping[str, Callable[[float, float], bool]] = MappingProxyType(
    {
        "=": eq,
        "!=": ne,
        "<": lt,
        "<=": le,
        ">": gt,
        ">=": ge,
    }
)


def find(board: Board, kin: Kin, clauses: Sequence[Clause]) -> "array[int]":
    """Places of the genomes that pass every test, of genes, objectives, operator and standing.

    A name stands for the gene of that name and for genes whose names begin with it and '_': `lr` for each optimizer's
    rate. A gene that a genome does not express passes no test. Reads every genome: half a second at 100,000.
    """
    names = [clause.name for clause in clauses]
    columns: dict[str, Sequence[object]] = {name: kin.values(name) for name in kin.selected if name in names}
    if "operator" in names:
        columns["operator"] = [kin.operators[number] for number in kin.operator]
    if "standing" in names:
        columns["standing"] = [STANDINGS[number] for number in kin.standing]
    genes = _genes(board) if set(names) - set(columns) else {}
    found = array("i")
    for at, born in enumerate(kin.born):
        known = {name: column[at] for name, column in columns.items()}
        if all(_passes(clause, known, genes.get(born, {})) for clause in clauses):
            found.append(at)
    return found


def _genes(board: Board) -> dict[int, dict[str, Value]]:
    """Genes of every genome by the number of its first birth, without checking what the writer has checked."""
    decoder = msgspec.msgpack.Decoder(tuple[str, int, str, dict[str, Value]])
    return {
        born: decoder.decode(body)[3]
        for born, body in board.connection.execute(
            "SELECT min(born), body FROM birth JOIN genome ON genome.id = genome GROUP BY genome"
        )
    }


def _passes(clause: Clause, known: Mapping[str, object], genes: dict[str, Value]) -> bool:
    if clause.name in known:
        return _compare(known[clause.name], clause)
    if clause.name in genes:
        return _compare(genes[clause.name], clause)
    begin = f"{clause.name}_"
    return any(_compare(value, clause) for name, value in genes.items() if name.startswith(begin))


def _compare(value: object, clause: Clause) -> bool:
    if isinstance(value, str):
        wanted = clause.raw
        # An operator's version need not be said: 'operator = cross' finds cross/1.
        same = value == wanted or (clause.name == "operator" and value.split("/")[0] == wanted)
        return same if clause.op == "=" else not same if clause.op == "!=" else False
    if not isinstance(value, int | float) or not isinstance(clause.value, int | float):
        return clause.op == "!="
    return _TESTS[clause.op](value, clause.value)
