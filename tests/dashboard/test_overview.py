"""The first page: what its question answers, what it weighs, and what a browser makes of it."""

import gzip
import json
import re
from pathlib import Path

import pytest

from node.commands.front import foreign_of, spec_of
from node.comparison import interval
from node.front import front_of, standings
from node.mesh.books import read_ledger
from node.protocol.trust import TrustSettings
from node.report import document
from node.store.records import Reader
from node.store.writer import Writer
from tests.bench.render import RESULTS
from tests.dashboard.conftest import ROOT, OpenPage, axe, make_client, serving
from tests.support.meshstore import make_mesh_store

STATIC = ROOT / "dashboard" / "static"
FIRST_VIEW_BYTES = 80_000


def test_the_figures_are_those_of_the_commands(searched: Path) -> None:
    with make_client(searched) as client, Reader(searched) as reader:
        told = client.get("/api/overview").json()
        run = reader.run()
        spec, rows = spec_of(run), reader.evaluations(run=run.id)
        known = standings(rows)
        foreign = foreign_of(reader, spec, read_ledger(reader, TrustSettings()), 1.9e9)
        genomes = {row.genome: reader.genome(row.genome) for row in rows}
        said = document(spec, rows, known, spec.objectives, genomes, foreign)
    best = front_of(known, spec.objectives)[0]
    assert told["best"]["genome"] == best.genome
    found = [r.objectives["accuracy"] for r in rows if r.genome == best.genome and r.purpose == "rescore"]
    expected = interval(found)
    assert told["best"]["interval"]["mean"] == pytest.approx(expected.mean)
    assert told["best"]["interval"]["half_width"] == pytest.approx(expected.half_width, rel=1e-3)
    assert told["front"]["hypervolume"] == pytest.approx(said["hypervolume"])
    assert told["front"]["size"] == len(front_of(known, spec.objectives))
    assert told["progress"][-1]["evaluations"] <= told["tried"] == said["evaluations"]


def test_a_node_that_has_peers_shows_claims_and_checks(tmp_path: Path) -> None:
    store = make_mesh_store(tmp_path / "mesh.db")
    with make_client(store) as client:
        answer = client.get("/api/overview")
    told = answer.json()
    assert told["peers_known"] >= 3
    assert 0 < told["checks"]["failed"] < told["checks"]["checked"]
    assert {row["kind"] for row in told["points"]["rows"]} >= {"provisional", "refused"}
    assert "\u202e" not in answer.text


def test_an_empty_store_says_what_to_do(tmp_path: Path) -> None:
    with Writer(tmp_path / "empty.db", now=lambda: 1.0):
        pass
    with make_client(tmp_path / "empty.db") as client:
        assert client.get("/api/overview").json() == {"run": None}
        text = client.get("/").text
    assert "Nothing has run yet" in text
    assert "eqmesh search" in text


def test_the_measured_memory_is_the_committed_report() -> None:
    shown = (STATIC / "measured" / "memory_depth.json").read_bytes()
    assert shown == (RESULTS / "memory_depth.json").read_bytes()
    report = json.loads(shown)
    assert report["smoke"] is False
    assert [one["depth"] for one in report["data"]] == [1, 2, 4, 8, 16, 32, 64]
    assert not re.search(r"/(tmp|home|work|root)/", shown.decode())


def imported(path: Path, seen: set[Path]) -> set[Path]:
    """A module and all that it loads, by its import statements."""
    if path in seen:
        return seen
    seen.add(path)
    for target in re.findall(r"""(?:import|from)\s+["'](\.[^"']+)["']""", path.read_text(encoding="utf-8")):
        imported((path.parent / target).resolve(), seen)
    return seen


def test_scripts_and_styles_of_the_first_view_are_light(searched: Path) -> None:
    with make_client(searched) as client:
        text = client.get("/").text
    named = {
        STATIC / one.removeprefix("/static/")
        for one in re.findall(r'(?:href|src)="(/static/[^"]+\.(?:js|css))"', text)
    }
    files: set[Path] = set()
    for one in named:
        files |= imported(one, files) if one.suffix == ".js" else {one}
    assert STATIC / "vendor" / "uplot" / "uPlot.esm.min.js" in files
    weight = sum(len(gzip.compress(one.read_bytes(), 9)) for one in files)
    assert weight <= FIRST_VIEW_BYTES, {one.name: len(gzip.compress(one.read_bytes(), 9)) for one in files}
    # Whatever a page preloads, it uses: else the browser fetches for nothing.
    preloaded = {
        STATIC / one.removeprefix("/static/")
        for one in re.findall(r'modulepreload" href="(/static/[^"]+)"', text)
    }
    entry = STATIC / "js" / "views" / "overview.js"
    assert preloaded <= imported(entry, set()) | imported(STATIC / "js" / "shell.js", set())


@pytest.mark.browser
@pytest.mark.parametrize(("theme", "width"), [("dark", 1280), ("light", 360)])
def test_every_panel_fills(open_page: OpenPage, theme: str, width: int) -> None:
    page = open_page("/", theme=theme, width=width)
    page.wait_for_selector("#feed li .tag")
    page.wait_for_selector("#memory .uplot")
    page.wait_for_selector("#progress .uplot")
    page.wait_for_selector("#machine .meter")
    assert "%" in page.locator("#stats .v").first.inner_text()
    assert "commit" in page.locator("#memory-note").inner_text()
    assert "Reference point" in page.locator("#progress-note").inner_text()
    assert page.evaluate("document.documentElement.scrollWidth - innerWidth") <= 0
    assert axe(page) == []


@pytest.mark.browser
def test_a_new_event_is_shown_without_a_reload(open_page: OpenPage, store: Path) -> None:
    with serving(store) as dashboard:
        page = open_page("/", dashboard=dashboard)
        page.wait_for_selector("#live[data-stream=live]")
        page.wait_for_selector("#feed li .tag")
        with Writer(store, now=lambda: 1.8e9) as writer:
            writer.event("peer.banned", {"peer": "12D3KooWhostile", "item": "<img src=x onerror=alert(1)>"})
        page.locator("#feed li", has_text="<img src=x").first.wait_for()
        assert page.locator("#feed img").count() == 0
        page.goto("about:blank")
