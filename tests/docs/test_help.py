"""`--help` of every command works and shows an example that the command line understands."""

import io
import re
import shlex

import pytest
from rich.console import Console

from node.cli import app, make_app
from tests.docs.pages import COMMANDS, PAGES, blocks

EXAMPLE = re.compile(r"^ *Example: ((?:EQMESH_\w+=\S+ )*)eqmesh (.+)$", flags=re.MULTILINE)


def parse(line: str) -> str:
    """Name of the command that a line calls; raises where its arguments are not understood."""
    words = shlex.split(line, comments=True)
    command, _, _ = app.parse_args(words, exit_on_error=False, print_error=False)
    found = [name for name, sub in COMMANDS.items() if sub.default_command is command]
    assert found, f"{line!r} calls no command"
    return found[0]


@pytest.mark.parametrize("name", COMMANDS)
def test_help_names_the_command_and_an_example(name):
    written = io.StringIO()
    make_app(name.split()).help_print(name.split(), console=Console(width=110, file=written))
    text = written.getvalue()
    assert f"Usage: eqmesh {name}" in text
    assert re.search(rf"Example: (EQMESH_\w+=\S+ )*eqmesh {name}\b", text)


@pytest.mark.parametrize("name", COMMANDS)
def test_the_example_of_a_docstring_calls_its_command(name):
    examples = EXAMPLE.findall(COMMANDS[name].default_command.__doc__)
    assert examples
    for _, line in examples:
        assert parse(line) == name


def test_examples_of_shell_blocks_are_understood():
    """These are not run, so they are parsed at least."""
    lines = [
        line
        for text in PAGES.values()
        for block in blocks(text)
        if block.language == "shell"
        for line in block.text.splitlines()
        if line.startswith("eqmesh ")
    ]
    for line in lines:
        if "--install-completion" not in line:
            assert parse(re.split(r" [|>] ", line.removeprefix("eqmesh "))[0])
