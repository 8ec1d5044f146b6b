"""Where results and talk go: results to standard output, talk to standard error."""

import sys
from collections.abc import Iterable, Sequence

import msgspec
from rich.box import SIMPLE
from rich.console import Console
from rich.table import Table

from node.text import table

__all__ = ["interactive", "json_text", "say", "write", "write_json", "write_table"]


def write(text: str) -> None:
    """One result in text, to standard output, at once: a command that goes on may be read through a pipe."""
    sys.stdout.write(text if text.endswith("\n") else f"{text}\n")
    sys.stdout.flush()


def write_json(document: object) -> None:
    """One result as indented JSON, to standard output."""
    write(json_text(document))


def json_text(document: object) -> str:
    """A document as indented JSON with a last line end."""
    return msgspec.json.format(msgspec.json.encode(document)).decode() + "\n"


def write_table(header: Sequence[str], rows: Iterable[Sequence[str]], *, title: str = "") -> None:
    """A table to standard output: drawn on a terminal, plain columns in a pipe."""
    if not sys.stdout.isatty():
        write(f"{title}\n{table(header, rows)}" if title else table(header, rows))
        return
    drawn = Table(*header, title=title or None, box=SIMPLE, title_justify="left")
    for row in rows:
        drawn.add_row(*row)
    Console(markup=False).print(drawn)


def say(text: str) -> None:
    """One line of talk, to standard error."""
    sys.stderr.write(f"{text}\n")
    sys.stderr.flush()


def interactive() -> bool:
    """Whether talk goes to a terminal."""
    return sys.stderr.isatty()
