"""The Pareto page: fronts without numpy against those with it, what its question answers, what a browser shows."""

import json
import math
import random
import struct
from pathlib import Path
from typing import Any

import pytest

from genome import pareto
from node.commands.front import foreign_of, spec_of
from node.front import front_of, hypervolume_of, standings
from node.mesh.books import read_ledger
from node.protocol.trust import TrustSettings
from node.report import tiers as reported
from node.store.board import Board
from node.store.board.claims import claims_of, tiers
from node.store.board.dominance import hypervolume, knee, nondominated
from node.store.board.fronts import cloud, front_rows, named, progress, values_of
from node.store.board.runs import choose
from node.store.records import Reader
from node.store.writer import Writer
from tests.dashboard.conftest import OpenPage, axe, make_client, serving
from tests.support.meshstore import make_mesh_store

NOW = 1.9e9


@pytest.fixture(scope="module")
def meshed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_mesh_store(tmp_path_factory.mktemp("mesh") / "mesh.db")


def points(axes: int, count: int, rng: random.Random) -> list[tuple[float, ...]]:
    """Points with ties, equal ones and infinities among them."""
    draw = [rng.random, lambda: round(rng.random(), 1), lambda: math.inf, lambda: 0.0]
    return [tuple(rng.choices(draw, (6, 6, 1, 1))[0]() for _ in range(axes)) for _ in range(count)]


@pytest.mark.parametrize("axes", [1, 2, 3, 4])
@pytest.mark.parametrize("seed", range(6))
def test_fronts_and_hypervolumes_are_those_of_pymoo(axes: int, seed: int) -> None:
    rng = random.Random(seed)
    for count in (0, 1, 2, 7, 60, 300 if axes < 4 else 80):
        found = points(axes, count, rng)
        rows = [{str(k): value for k, value in enumerate(point)} for point in found]
        ways: dict[str, pareto.Direction] = {str(k): "min" for k in range(axes)}
        assert nondominated(found) == pareto.nondominated(rows, ways)
        assert hypervolume(found) == pytest.approx(pareto.hypervolume(found), abs=1e-12)


def test_a_knee_is_the_point_nearest_to_the_best_of_all_axes() -> None:
    assert knee([(0.0, 1.0), (0.2, 0.2), (1.0, 0.0)]) == 1
    # An axis on which all are equal says nothing, and two points have no middle.
    assert knee([(0.0, 1.0, 5.0), (0.6, 0.6, 5.0), (0.1, 0.3, 5.0)]) == 2
    assert knee([(0.0, 1.0), (1.0, 0.0)]) is None


def test_the_front_of_a_search_is_the_one_that_the_command_shows(searched: Path) -> None:
    with Board(searched) as board, Reader(searched) as reader:
        run = choose(board, None).run
        assert run is not None
        rows = reader.evaluations(run=run.id)
        known = standings(rows)
        expected = front_of(known, run.objectives)
        found = cloud(board, run)
        front = front_rows(found)
        names = [one.genome for one in named(board, [found.evaluations[row] for row in front])]
        assert {one.genome for one in expected} == set(names)
        assert front_rows(found, progress(found, 5)[1]) == front
        by_name = {one.genome: one for one in expected}
        for name, row in zip(names, front, strict=True):
            assert values_of(found, row) == pytest.approx(
                tuple(by_name[name].objectives[objective.name] for objective in run.objectives)
            )
        assert len(found) == len(known)
        assert found.tried == sum(row.purpose in ("baseline", "search") for row in rows)
        assert found.failed == sum(
            row.failure is not None for row in rows if row.purpose in ("baseline", "search")
        )


def test_progress_ends_at_the_hypervolume_of_all_that_was_selected(searched: Path) -> None:
    with Board(searched) as board, Reader(searched) as reader:
        run = choose(board, None).run
        assert run is not None
        known = [
            one
            for one in standings(r for r in reader.evaluations(run=run.id) if r.purpose != "rescore")
            if not one.baseline
        ]
        course, _ = progress(cloud(board, run), 8)
    assert course[-1].hypervolume == pytest.approx(hypervolume_of(known, run.objectives))
    volumes = [one.hypervolume for one in course]
    assert volumes == sorted(volumes)
    assert [one.evaluations for one in course] == sorted({one.evaluations for one in course})


def test_claims_take_the_places_that_the_command_gives_them(meshed: Path) -> None:
    with Board(meshed) as board, Reader(meshed) as reader:
        run = choose(board, None).run
        assert run is not None
        found = cloud(board, run)
        front = front_rows(found)
        claims = claims_of(board, run, NOW)
        mine = tiers([(row, values_of(found, row)) for row in front], claims, run.objectives)
        head = reader.run(run.id)
        spec, ledger = spec_of(head), read_ledger(reader, TrustSettings())
        others = {one.claim for one in claims}
        foreign = [one for one in foreign_of(reader, spec, ledger, NOW) if one.claim in others]
        best, waiting = reported(standings(reader.evaluations(run=run.id)), foreign, run.objectives)
        assert {one.claim for one in mine.joined} == {row.claim for row in best} - {None}
        assert {one.claim for one in mine.waiting} == {row.claim for row in waiting}
        assert len(mine.own) == sum(row.origin == "self" for row in best)
        assert {one.standing for one in claims} >= {"confirmed", "refused"}


def unpack(body: bytes) -> tuple[dict[str, Any], dict[str, list[float]]]:
    """What data.js reads of an answer in columns."""
    length = int.from_bytes(body[:4], "little")
    header = json.loads(body[4 : 4 + length])
    codes = {"i32": "i", "f32": "f", "f64": "d", "u8": "B"}
    found = {}
    for one in header["columns"]:
        start = 4 + length + one["offset"]
        found[one["name"]] = list(struct.unpack_from(f"<{header['rows']}{codes[one['type']]}", body, start))
    return header, found


def test_the_question_answers_in_columns(searched: Path) -> None:
    with make_client(searched) as client:
        header, found = unpack(client.get("/api/pareto").content)
        assert header["rows"] == len(header["scored"]) + sum(
            str(row) not in header["scored"] for row in range(header["rows"])
        )
        kinds = [header["kinds"][int(kind)] for kind in found["kind"]]
        assert {row for row, kind in enumerate(kinds) if kind == "front"} == set(header["front"])
        assert kinds.count("baseline") == 1
        assert set(found) == {"evaluation", "order", "kind", "v0", "v1", "v2"}
        first = int(found["evaluation"][header["front"][0]])
        assert header["names"][0]["evaluation"] == first
        asked = client.get("/api/pareto/named", params={"evaluations": str(first)}).json()
        assert asked["names"] == header["names"][:1]


def test_claims_come_last_and_without_their_tricks(meshed: Path) -> None:
    with make_client(meshed) as client:
        header, found = unpack(client.get("/api/pareto").content)
    assert header["claims"]
    own = header["rows"] - len(header["claims"])
    assert all(evaluation == 0 for evaluation in found["evaluation"][own:])
    assert all(evaluation > 0 for evaluation in found["evaluation"][:own])
    said = {header["kinds"][int(kind)] for kind in found["kind"][own:]}
    assert "refused" in said
    assert "\u202e" not in json.dumps(header, ensure_ascii=False)


@pytest.mark.parametrize("asked", ["", "1,x", "-1", ",".join(["1"] * 401)])
def test_what_names_nothing_is_refused(searched: Path, asked: str) -> None:
    with make_client(searched) as client:
        answer = client.get("/api/pareto/named", params={"evaluations": asked})
    assert answer.status_code == 400
    assert "evaluations must be" in answer.json()["error"]


def test_an_empty_store_has_no_points(tmp_path: Path) -> None:
    with Writer(tmp_path / "empty.db", now=lambda: 1.0):
        pass
    with make_client(tmp_path / "empty.db") as client:
        header, _ = unpack(client.get("/api/pareto").content)
        assert header["rows"] == 0
        assert header["objectives"] == []
        assert client.get("/pareto").status_code == 200


def opened(open_page: OpenPage, path: str, **options: object):  # type: ignore[no-untyped-def]
    page = open_page(path, **options)
    page.wait_for_selector("#members tbody tr[data-row]")
    return page


@pytest.mark.browser
def test_members_are_gone_through_by_key_and_opened(open_page: OpenPage) -> None:
    page = opened(open_page, "/pareto")
    page.keyboard.press("j")
    chosen = page.locator("#members tr[aria-selected=true] a").get_attribute("href")
    assert "at_row=" in page.url
    said = page.locator("#chart .readout").inner_text()
    assert said.startswith(chosen.rpartition("/")[2].partition("?")[0][:12])
    page.keyboard.press("c")
    kept = page.evaluate("JSON.parse(localStorage.getItem('eqmesh.compare'))")
    assert kept == [chosen.rpartition("/")[2]]
    page.keyboard.press("Enter")
    page.wait_for_url(f"**{chosen}")


@pytest.mark.browser
def test_a_dragged_brush_is_in_the_address_and_in_the_table(open_page: OpenPage) -> None:
    page = opened(open_page, "/pareto")
    before = page.locator("#members tbody tr").count()
    box = page.locator("#chart canvas").bounding_box()
    page.mouse.move(box["x"] + box["width"] * 0.5, box["y"] + 20)
    page.mouse.down()
    page.mouse.move(box["x"] + box["width"] - 30, box["y"] + box["height"] * 0.5)
    page.mouse.up()
    page.wait_for_url("**brush=*")
    page.wait_for_selector("#unbrush:not([hidden])")
    assert "inside the brush" in page.locator("#members-sub").inner_text()
    # The same address shows the same brush in another projection.
    page.locator("#shape [data-to=parallel]").click()
    page.locator("#shape [data-to=parallel][aria-pressed=true]").wait_for()
    assert "shape=parallel" in page.url
    assert "brush=" in page.url
    page.locator("#unbrush").click()
    page.locator("#unbrush").wait_for(state="hidden")
    assert "brush=" not in page.url
    assert page.locator("#members tbody tr").count() == before
    assert axe(page) == []


@pytest.mark.browser
def test_a_brush_that_holds_nothing_says_so(open_page: OpenPage) -> None:
    page = open_page("/pareto?brush=accuracy:2:3")
    page.wait_for_selector("#unbrush:not([hidden])")
    assert "lies inside the brush on accuracy" in page.locator("#members").inner_text()


@pytest.mark.browser
def test_the_front_of_an_earlier_time(open_page: OpenPage) -> None:
    page = opened(open_page, "/pareto?at=3&baselines=0")
    assert "as it stood then" in page.locator("#sub").inner_text()
    assert page.locator("#members tbody tr").count() <= 3
    page.locator("#at").fill("14")
    assert "at=3" not in page.url


@pytest.mark.browser
@pytest.mark.parametrize(("theme", "width"), [("light", 1280), ("contrast", 360)])
def test_three_dimensions_turn_by_key_and_keep_the_view(open_page: OpenPage, theme: str, width: int) -> None:
    page = opened(open_page, "/pareto?shape=3d&failed=1", theme=theme, width=width)
    page.locator("#chart canvas").focus()
    page.keyboard.press("ArrowLeft")
    page.wait_for_url("**turn=*")
    assert page.evaluate("document.documentElement.scrollWidth - innerWidth") <= 0
    assert page.locator("#failures").is_visible()
    assert axe(page) == []


@pytest.mark.browser
def test_claims_of_peers_are_shown_and_named_by_shape(open_page: OpenPage, meshed: Path) -> None:
    with serving(meshed) as dashboard:
        page = opened(open_page, "/pareto", dashboard=dashboard)
        legend = page.locator("#legend").inner_text()
        assert "Claimed, not yet verified" in legend
        assert "Refused claim" in legend
        page.locator("[data-flag=claims]").uncheck()
        page.locator("#legend", has_text="Refused claim").wait_for(state="detached")
        assert "claims=0" in page.url
        page.goto("about:blank")
