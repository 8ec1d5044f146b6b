"""A genome as JSON and as a Python snippet, and back: pasted text is parsed as data and never run. Pure."""

import ast
import json
from collections.abc import Mapping

import msgspec

from evaluator.jobs import Arithmetic
from genome import Genome, GenomeError, SearchSpace, Value
from genome.spaces import SPACES
from node.store.board.spaces import Checked, Size, check

__all__ = [
    "MOST_CHARACTERS",
    "Built",
    "Pasted",
    "as_json",
    "as_python",
    "built",
    "genome_of_text",
    "read_text",
]

MOST_CHARACTERS = 32_768
"""Longest text that is read; the largest genome of 8 KiB fits several times."""

_FORM = (
    "expected a genome's JSON ({'space': ..., 'genes': {...}}) or the Python snippet that this page writes "
    '(genome = SPACES["mlp"].genome({...}))'
)


def as_json(genome: Genome) -> str:
    """The document that `eqmesh genome import` takes, indented."""
    return json.dumps({"genome": genome.id, **genome.as_json()}, indent=2) + "\n"


def as_python(genome: Genome, space: SearchSpace) -> str:
    """Python that builds this very genome, and says so by its id."""
    genes = "".join(f"        {json.dumps(name)}: {value!r},\n" for name, value in _in_order(genome, space))
    return (
        "from genome.spaces import SPACES\n\n"
        f'genome = SPACES["{space.name}"].genome(\n    {{\n{genes}    }}\n)\n'
        f'assert genome.id == "{genome.id}"\n'
    )


def _in_order(genome: Genome, space: SearchSpace) -> list[tuple[str, object]]:
    return [(gene.name, genome[gene.name]) for gene in space.genes if gene.name in genome]


def genome_of_text(text: str) -> Genome:
    """The genome that a text holds, checked by its space. Literals are read; no name is looked up, nothing called.

    Raises GenomeError that says what was expected and what came.
    """
    if len(text) > MOST_CHARACTERS:
        raise GenomeError(f"a text has at most {MOST_CHARACTERS} characters, got {len(text)}. {_FORM}.")
    stripped = text.strip()
    name, genes, stated = _from_json(stripped) if stripped.startswith("{") else _from_python(stripped)
    space = next((space for space in SPACES.values() if name in (space.name, space.id)), None)
    if space is None:
        known = ", ".join(space.id for space in SPACES.values())
        raise GenomeError(f"a genome here is of one of the spaces {known}, got {name[:64]!r}.")
    genome = space.genome(genes)
    if stated not in (None, genome.id):
        raise GenomeError(
            f"the text says id {str(stated)[:64]!r}, its genes have {genome.id!r}. Drop the id, or correct the genes."
        )
    return genome


def _from_json(text: str) -> tuple[str, dict[str, object], object]:
    try:
        document = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise GenomeError(f"{_FORM}, got text that is no JSON: {error}.") from None
    match document:
        case {"space": str() as name, "genes": dict() as genes, **others} if not others.keys() - {"genome"}:
            return name, genes, others.get("genome")
    raise GenomeError(f"{_FORM}, got another JSON document.")


def _from_python(text: str) -> tuple[str, dict[str, object], object]:
    try:
        body = ast.parse(text).body
    except (SyntaxError, ValueError, RecursionError, MemoryError) as error:
        raise GenomeError(f"{_FORM}, got text that is neither: {type(error).__name__}.") from None
    calls = [line.value for line in body if isinstance(line, ast.Assign) and isinstance(line.value, ast.Call)]
    stated = [found for line in body if (found := _stated_id(line)) is not None]
    imports = [line for line in body if isinstance(line, ast.ImportFrom) and line.module == "genome.spaces"]
    others = len(body) - len(calls) - len(stated) - len(imports)
    if len(calls) != 1 or len(stated) > 1 or others:
        raise GenomeError(f"{_FORM}, got {len(calls)} calls and {others} other lines. Paste one genome.")
    name, genes = _space_and_genes(calls[0])
    return name, genes, stated[0] if stated else None


def _stated_id(line: ast.stmt) -> str | None:
    """The id that a line `assert genome.id == "..."` states; None for any other line."""
    match line:
        case ast.Assert(
            test=ast.Compare(
                left=ast.Attribute(value=ast.Name(), attr="id"),
                ops=[ast.Eq()],
                comparators=[ast.Constant(value=str() as stated)],
            )
        ):
            return stated
    return None


def _space_and_genes(call: ast.Call) -> tuple[str, dict[str, object]]:
    match call:
        case ast.Call(
            func=ast.Attribute(
                value=ast.Subscript(value=ast.Name(id="SPACES"), slice=ast.Constant(value=str() as name)),
                attr="genome",
            ),
            args=[ast.Dict() as genes],
            keywords=[],
        ):
            try:
                # Constants alone: whatever else a dictionary may hold is refused, and nothing is called.
                found = ast.literal_eval(genes)
            except (ValueError, TypeError, RecursionError, MemoryError) as error:
                raise GenomeError(f"{_FORM} with plain values, got others: {error}.") from None
            if all(isinstance(key, str) for key in found):
                return name, found
    raise GenomeError(f"{_FORM}, got another call.")


class Built(msgspec.Struct, frozen=True, kw_only=True):
    """What came of checking values, and the genome as JSON and as Python; both empty where there is no genome."""

    checked: Checked
    json: str
    python: str


class Pasted(msgspec.Struct, frozen=True, kw_only=True):
    """The space and genes that a text holds; `problem` says why it holds none."""

    space: str
    genes: dict[str, Value]
    problem: str


def built(space: SearchSpace, given: Mapping[str, object], size: Size, arithmetic: Arithmetic) -> Built:
    """Check values, and write the genome that they make in both ways."""
    checked = check(space, given, size, arithmetic)
    if not checked.id:
        return Built(checked=checked, json="", python="")
    genome = space.genome(checked.values)
    return Built(checked=checked, json=as_json(genome), python=as_python(genome, space))


def read_text(text: str) -> Pasted:
    """What a text holds, as data."""
    try:
        genome = genome_of_text(text)
    except GenomeError as error:
        return Pasted(space="", genes={}, problem=str(error))
    return Pasted(space=genome.space, genes=dict(genome.values), problem="")
