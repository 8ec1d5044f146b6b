"""The pictures of docs/dashboard.md, from a real search on the digits and, for the peers, from an invented mesh.

    python -m tests.bench.screenshots

Each is a PNG of at most 200 kB in docs/images, its colours reduced to 256. The store is called eqmesh.db wherever it
lies; what would name this machine is replaced in the page before the picture is taken, and named here.
"""

import argparse
import io
import os
import sqlite3
import subprocess
import sys
import tempfile
from collections.abc import Callable
from contextlib import ExitStack
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from PIL import Image
from playwright.sync_api import sync_playwright

from dashboard.guard import Guard
from tests.bench.report import ROOT
from tests.dashboard.conftest import CHROMIUM, QUIET, Served, serving
from tests.support.meshstore import make_mesh_store

if TYPE_CHECKING:
    from playwright.sync_api import Browser, Page, ViewportSize

_IMAGES = ROOT / "docs" / "images"
_MOST_BYTES = 200_000
_COLOURS = 256
_WIDTH = 1280


def _nothing(_: "Page") -> None:
    """The page as it comes."""


def _choose_best(page: "Page") -> None:
    """Walk to the best of the front, so that its line is shown."""
    page.keyboard.press("]")
    page.wait_for_selector(".lin .gid")


def _train_a_while(page: "Page") -> None:
    """Let the lab draw a path into the well."""
    page.wait_for_selector("#well canvas")
    page.wait_for_timeout(8000)


class Picture(NamedTuple):
    """A page, what is on it once it is whole, what is done before the picture, its theme, height and store."""

    name: str
    path: str
    whole: str
    prepare: Callable[["Page"], None] = _nothing
    theme: str = "dark"
    height: int = 860
    mesh: bool = False


PICTURES = (
    Picture("overview", "/", "#memory .uplot", height=1120),
    Picture("pareto", "/pareto", "#members tbody tr"),
    Picture("lineage", "/lineage", ".cv[data-painted]", _choose_best),
    Picture("genome", "/genome/{best}", ".plot canvas", theme="light", height=1500),
    Picture("builder", "/builder?genome={best}", "#net *", theme="nord", height=1000),
    Picture("peers", "/peers", "#rows tbody tr", height=420, mesh=True),
    Picture("lab", "/lab?rate=0.1&pace=50&around=near&surface=F", "#well", _train_a_while, height=1200),
)

# Text that says where this machine keeps things, or what it is called.
_ANONYMOUS = """(named) => {
  const walker = document.createTreeWalker(document.body, NodeFilter.SHOW_TEXT);
  for (let node = walker.nextNode(); node; node = walker.nextNode())
    for (const name of named) if (node.data.includes(name)) node.data = node.data.replaceAll(name, '');
}"""


def search(store: Path, evaluations: int) -> None:
    """A real search on the digits."""
    arguments = [
        "search",
        "--task",
        "digits",
        "--tier",
        "smoke",
        "--evaluations",
        str(evaluations),
        "--seed",
        "5",
    ]
    subprocess.run(
        [sys.executable, "-c", "from node.cli import main; main()", *arguments, "--store", store.name],
        cwd=store.parent,
        env={**os.environ, "PYTHONPATH": str(ROOT), "EQMESH_STATE_DIR": str(store.parent / "state")},
        check=True,
        stdout=subprocess.DEVNULL,
    )


def best(store: Path) -> dict[str, str]:
    """The id of the genome with the best mean accuracy on fresh seeds, for the paths of the pages."""
    with sqlite3.connect(store) as connection:
        (genome,) = connection.execute(
            "SELECT genome FROM evaluation JOIN objective ON objective.evaluation = evaluation.id"
            " WHERE purpose = 'rescore' AND name = 'accuracy' GROUP BY genome ORDER BY avg(value) DESC LIMIT 1"
        ).fetchone()
    return {"best": genome}


def take(browser: "Browser", at: Served, picture: Picture, ids: dict[str, str]) -> bytes:
    """The picture of a page, as a small PNG. Raises ValueError for one that is too large or names this machine."""
    size: ViewportSize = {"width": _WIDTH, "height": picture.height}
    context = browser.new_context(viewport=size, reduced_motion="reduce")
    name, value = Guard.of("127.0.0.1", int(at.base.rpartition(":")[2]), at.token).cookie
    context.add_cookies([{"name": name, "value": value, "url": at.base}])
    context.add_init_script(f"localStorage.setItem('eqmesh.theme', '{picture.theme}')")
    page = context.new_page()
    page.goto(at.url(picture.path.format_map(ids)), wait_until="load")
    page.wait_for_selector("#live[data-stream=live]")
    page.wait_for_selector(picture.whole, state="attached")
    picture.prepare(page)
    page.wait_for_timeout(1500)  # for what draws itself when it has been answered
    private = [f"{at.store.parent}/", os.uname().nodename]
    page.evaluate(_ANONYMOUS, private)
    said = page.inner_text("body")
    for each in private:
        if each in said:
            raise ValueError(
                f"{picture.name} still shows {each!r}. Leave it out of the page before the picture."
            )
    shot = page.screenshot()
    context.close()
    return small(shot, picture.name)


def small(shot: bytes, name: str) -> bytes:
    """A PNG with few colours. Raises ValueError for one above the limit."""
    reduced = Image.open(io.BytesIO(shot)).convert("RGB").quantize(_COLOURS, dither=Image.Dither.NONE)
    made = io.BytesIO()
    reduced.save(made, "PNG", optimize=True)
    if len(made.getvalue()) > _MOST_BYTES:
        raise ValueError(
            f"{name} expected at most {_MOST_BYTES} bytes, got {len(made.getvalue())}. Use fewer colours."
        )
    return made.getvalue()


def main() -> None:
    """Take them all, or those that are named."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("names", nargs="*", help="pictures to take; default: all")
    parser.add_argument("--store", type=Path, help="a store of a search on the digits; left out, one is made")
    parser.add_argument("--evaluations", type=int, default=300)
    options = parser.parse_args()
    if unknown := set(options.names) - {picture.name for picture in PICTURES}:
        parser.error(
            f"there is no picture {', '.join(sorted(unknown))}: {[picture.name for picture in PICTURES]}"
        )
    _IMAGES.mkdir(exist_ok=True)
    with tempfile.TemporaryDirectory() as folder, ExitStack() as stack:
        own = options.store or Path(folder) / "eqmesh.db"
        if options.store is None:
            search(own, options.evaluations)
        mesh = Path(folder) / "mesh" / "eqmesh.db"
        mesh.parent.mkdir()
        make_mesh_store(mesh)
        served = {False: stack.enter_context(serving(own)), True: stack.enter_context(serving(mesh))}
        browser = stack.enter_context(sync_playwright()).chromium.launch(executable_path=CHROMIUM, args=QUIET)
        for picture in PICTURES:
            if options.names and picture.name not in options.names:
                continue
            made = take(browser, served[picture.mesh], picture, best(own))
            file = _IMAGES / f"dashboard-{picture.name}.png"
            file.write_bytes(made)
            print(f"{file.relative_to(ROOT)}  {len(made):,} bytes")
        browser.close()


if __name__ == "__main__":
    main()
