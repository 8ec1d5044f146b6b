"""The documentation as data: pages, fenced blocks, sections, and the command line that it describes."""

import re
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

from cyclopts import App

from node.cli import app

ROOT = Path(__file__).parents[2]
PAGES = {
    str(path.relative_to(ROOT)): path.read_text(encoding="utf-8")
    for path in [ROOT / "README.md", ROOT / "CONTRIBUTING.md", *sorted((ROOT / "docs").glob("*.md"))]
}
_FENCE = re.compile(r"^```(\w*)\n(.*?)^```$", flags=re.DOTALL | re.MULTILINE)


class Block(NamedTuple):
    """One fenced block: its language and its text."""

    language: str
    text: str


def blocks(text: str) -> list[Block]:
    """Every fenced block of a page, in order."""
    return [Block(*found) for found in _FENCE.findall(text)]


def prose(text: str) -> str:
    """A page without its fenced blocks."""
    return _FENCE.sub("", text)


def section(text: str, heading: str) -> str:
    """What stands under the heading, up to the next heading of its level or above."""
    level = len(heading) - len(heading.lstrip("#"))
    _, found, rest = text.partition(f"\n{heading}\n")
    assert found, f"no heading {heading!r}"
    return re.split(rf"^#{{1,{level}}} ", prose_headings(rest), maxsplit=1, flags=re.MULTILINE)[0]


def prose_headings(text: str) -> str:
    """The text with comments in fenced blocks, which look like headings, put out of the way."""
    return _FENCE.sub(lambda found: found[0].replace("\n#", "\n #"), text)


def row(text: str, first: str) -> str:
    """The one line of a table whose first cell is `first` in backticks."""
    (found,) = [line for line in text.splitlines() if line.startswith(f"| `{first}` |")]
    return found


def _walk(parent: App, path: tuple[str, ...]) -> Iterator[tuple[str, App]]:
    for name in parent:
        if name.startswith("-"):
            continue
        child = parent[name]
        if child.default_command is not None:
            yield " ".join((*path, name)), child
        yield from _walk(child, (*path, name))


COMMANDS = dict(_walk(app, ()))
"""Every command by its words, loaded."""


def options(command: App) -> set[str]:
    """Every spelling of every option of a command, negative ones included."""
    found = set()
    for argument in command.assemble_argument_collection():
        found |= {name for name in (*argument.names, *argument.negatives) if name.startswith("-")}
    return found


def arguments(command: App) -> set[str]:
    """Names of the positional arguments of a command, in capitals."""
    found = set()
    for argument in command.assemble_argument_collection():
        if not any(name.startswith(("-", "*")) for name in argument.names):
            found |= set(argument.names)
    return found
