"""The examples of each page run, in order, in a folder of their own, as a reader would run them."""

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from evaluator.tasks.data import list_datasets
from tests.docs.pages import PAGES, Block, blocks

RUN = ("console", "python")
DEADLINE_S = 500
MARK = "@@ command "
# A page that takes minutes is run in two parts: the second begins here, after the page's first example, which makes the
# store that all others read.
SECOND_PART = {"docs/commands.md": "\n## `eqmesh experiment neurogenesis`\n"}
HERE = {row.name for row in list_datasets() if row.verified}


def commands(block: Block) -> list[str]:
    """The command lines of a console block."""
    return [line.removeprefix("$ ") for line in block.text.splitlines() if line.startswith("$ ")]


def shown(block: Block) -> list[list[str]]:
    """What the block shows under each of its commands."""
    found: list[list[str]] = []
    for line in block.text.splitlines():
        if line.startswith("$ "):
            found.append([])
        else:
            found[-1].append(line)
    return found


def parts(page: str) -> list[list[Block]]:
    """The blocks of a page, together as they are run."""
    text = PAGES[page]
    cut = SECOND_PART.get(page)
    if cut is None:
        return [blocks(text)]
    assert cut in text, f"{page} has no heading {cut.strip()!r}"
    before, _, after = text.partition(cut)
    first = blocks(before)
    return [first, [next(block for block in first if block.language == "console"), *blocks(after)]]


def script(page: str, part: list[Block]) -> str:
    """A part of a page as one bash script; a python block is a program of its own between the commands."""
    lines, number = ["set -euo pipefail"], 0
    for block in part:
        if block.language == "console":
            for command in commands(block):
                lines += [f"echo '{MARK}{number}'", command]
                number += 1
        elif block.language == "python" and page != "docs/tasks.md":
            lines += [f"echo '{MARK}python'", f"python - <<'END_OF_PROGRAM'\n{block.text}END_OF_PROGRAM"]
    return "\n".join(lines) + "\n"


@pytest.fixture(scope="session")
def state(tmp_path_factory):
    """One state folder for all pages: a machine is calibrated once, not once a page."""
    return tmp_path_factory.mktemp("state")


def run(page: str, part: list[Block], folder: Path, state: Path) -> str:
    """Run a part of a page; gives what it wrote, results and talk together."""
    if page == "docs/tasks.md":
        programs = [block.text for block in blocks(PAGES[page]) if block.language == "python"]
        (folder / "my_tasks.py").write_text("".join(programs))
    environment = {name: value for name, value in os.environ.items() if not name.startswith("EQMESH_")}
    for name in ("EQMESH_DATA_DIR", "EQMESH_DATA_OFFLINE"):
        if name in os.environ:
            environment[name] = os.environ[name]
    environment |= {
        "PATH": f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}",
        "EQMESH_STATE_DIR": str(state),
        # Where an example does not say otherwise: what takes least time, and can be repeated.
        "EQMESH_WORKERS": "1",
        "EQMESH_RESCORE": "1",
        "OMP_NUM_THREADS": "1",
        "COLUMNS": "120",
    }
    done = subprocess.run(
        ["bash", "-c", script(page, part)],
        check=False,
        cwd=folder,
        env=environment,
        text=True,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        timeout=DEADLINE_S,
    )
    assert done.returncode == 0, f"{page} ended with {done.returncode}:\n{done.stdout[-4000:]}"
    return done.stdout


def shape(line: str) -> str:
    """A line of output without what differs between machines: ids, numbers and the width of columns."""
    line = re.sub(r"\b[0-9a-f]{12,64}\b", "ID", line)
    line = re.sub(r"[-+±]?\d+(\.\d+)?(e[-+]?\d+)?[kMG]?%?", "N", line)
    return " ".join(line.split())


def told(line: str) -> bool:
    """Whether a line of shown output is compared: not an ellipsis, a genome's row or its progress."""
    return bool(line.strip()) and line.strip() != "..." and not shape(line).startswith(("ID", "["))


@pytest.mark.parametrize(
    ("page", "part"),
    [
        pytest.param(page, part, id=page if number == 0 else f"{page} {number + 1}")
        for page in PAGES
        for number, part in enumerate(parts(page))
        if any(block.language in RUN for block in part)
    ],
)
def test_examples_run_and_show_what_the_page_shows(page, part, tmp_path, state):
    fetched = set(re.findall(r"\$ eqmesh data (?:fetch|verify) (\S+)", PAGES[page])) - HERE
    if fetched:
        pytest.skip(f"{page} uses {', '.join(sorted(fetched))}, which this machine does not have")
    if re.search(r"^\$ .*eqmesh (?:node run|join|bootstrap) ", PAGES[page], flags=re.MULTILINE):
        pytest.importorskip("libp2p", reason=f"{page} starts a node, which needs the extra `mesh`")
    written = {}
    for told_of in run(page, part, tmp_path, state).split(MARK)[1:]:
        number, _, output = told_of.partition("\n")
        written[number] = {shape(line) for line in output.splitlines()}
    number = 0
    for block in part:
        for lines in shown(block) if block.language == "console" else []:
            missing = [line for line in lines if told(line) and shape(line) not in written[str(number)]]
            assert not missing, f"{page}: command {number} writes no such lines"
            number += 1


def test_blocks_that_are_not_run_are_few_and_marked():
    for page, text in PAGES.items():
        languages = [block.language for block in blocks(text)]
        assert set(languages) <= {"console", "shell", "python", "toml", "json", "text", "sql"}, page
        # Nodes run until they are stopped, claims have ids that nobody knows before, and some data are not here. Orders
        # to a running program are beside the limit: their section is nothing but that.
        unrun = [block.text for block in blocks(text) if block.language == "shell"]
        assert sum(not re.match(r"eqmesh (control \w+|dashboard serve) ", one) for one in unrun) <= 7, page
