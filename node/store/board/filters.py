"""What a person types to pick genomes: tests of genes, objectives and standing, joined by "and". Pure."""

import re
from typing import Final

import msgspec

from node.errors import NodeError

__all__ = ["MOST_CLAUSES", "Clause", "FilterError", "parse"]

MOST_CLAUSES: Final = 8
_MOST_CHARACTERS = 400
_CLAUSE = re.compile(
    r"""\s*(?P<name>[A-Za-z][\w.-]{0,63})\s*(?P<op><=|>=|!=|==|=|<|>)\s*
    (?P<value>"[^"]{0,64}"|'[^']{0,64}'|[^\s,<>=!"']{1,64})\s*(?P<end>,|\band\b|&&?|$)""",
    re.VERBOSE,
)


class FilterError(NodeError):
    """What was typed to pick genomes is no filter."""


class Clause(msgspec.Struct, frozen=True, kw_only=True):
    """One test: a name, one of = != < <= > >=, and a number or a word; `raw` is that as typed, `text` the whole."""

    name: str
    op: str
    value: float | int | str
    raw: str
    text: str


def parse(text: str) -> tuple[Clause, ...]:
    """The tests in a text like `depth >= 2 and optimizer = adam`; commas join too. Raises FilterError."""
    if len(text) > _MOST_CHARACTERS:
        raise FilterError(f"a filter has at most {_MOST_CHARACTERS} characters, got {len(text)}. Shorten it.")
    clauses: list[Clause] = []
    at, found = 0, None
    while at < len(text.rstrip()):
        found = _CLAUSE.match(text, at)
        if found is None:
            raise FilterError(
                f"a filter is tests like 'depth >= 2 and optimizer = adam', got {text[at : at + 40].strip()!r}. "
                "Write a name, one of = != < <= > >=, and a number or a word; join tests with 'and'."
            )
        clauses.append(_clause(found))
        at = found.end()
    if found is not None and found["end"]:
        raise FilterError(f"a filter ends with a test, got {text.strip()!r}. Drop the last {found['end']!r}.")
    if len(clauses) > MOST_CLAUSES:
        raise FilterError(f"a filter has at most {MOST_CLAUSES} tests, got {len(clauses)}. Drop some.")
    return tuple(clauses)


def _clause(found: re.Match[str]) -> Clause:
    op = "=" if found["op"] == "==" else found["op"]
    value = found["value"]
    text = f"{found['name']} {op} {value}"
    quoted = value[0] in "\"'"
    raw = value[1:-1] if quoted else value
    return Clause(name=found["name"], op=op, value=raw if quoted else _number(raw), raw=raw, text=text)


def _number(text: str) -> float | int | str:
    for kind in (int, float):
        try:
            return kind(text)
        except ValueError:
            continue
    return text
