"""The lineage page: columns that agree with the record, growth, lines, searches, and the page in a browser."""

import math
import sqlite3
from array import array
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import msgspec
import pytest
from starlette.testclient import TestClient

from dashboard.columns import ColumnType
from dashboard.kinship import LIVING, Kinship
from dashboard.lineage_layout import arrange
from genome import MLP, Birth
from genome.lineage import diff
from genome.variation import cross, mutate
from node.front import front_of, standings
from node.store.board import Board
from node.store.board.filters import parse
from node.store.board.kin import STANDINGS, Grown, grow, load, ordinal_of, steps
from node.store.board.kin_filter import find
from node.store.board.runs import choose
from node.store.records import Reader
from node.store.writer import Writer
from tests.dashboard.conftest import OpenPage, Served, axe, make_client, serving
from tests.support.bigstore import TASK_ID, make_big_store, spec
from tests.support.outcomes import outcome

COUNT = 300
CODES: dict[ColumnType, str] = {"i32": "i", "f32": "f", "f64": "d", "u8": "B"}
LOOKS = [("dark", 1280), ("light", 360), ("nord", 1280), ("neon", 640), ("contrast", 1280)]


@pytest.fixture(scope="module")
def big(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("big") / "big.db"
    make_big_store(path, COUNT)
    return path


@pytest.fixture(scope="module")
def asked(big: Path) -> Iterator[TestClient]:
    with make_client(big) as made:
        yield made


def unpacked(body: bytes) -> tuple[dict[str, Any], dict[str, list[float]]]:
    length = int.from_bytes(body[:4], "little")
    header = msgspec.json.decode(body[4 : 4 + length])
    found = {}
    for each in header["columns"]:
        code = CODES[each["type"]]
        begin = 4 + length + each["offset"]
        end = begin + header["rows"] * array(code).itemsize
        found[each["name"]] = memoryview(body[begin:end]).cast(code).tolist()
    return header, found


def test_columns_are_what_is_on_record(asked: TestClient, big: Path) -> None:
    header, columns = unpacked(asked.get("/api/lineage").content)
    with Reader(big) as reader:
        births = list(reader.births())
        rows = reader.evaluations()
        run = reader.run()
        found = standings(rows)
        front = {each.genome for each in front_of(found, spec().objectives)}
    place = {row.genome: at for at, row in enumerate(births)}
    assert header["rows"] == COUNT == len(births)
    assert header["run"] == run.id
    for at, row in enumerate(births):
        known = [place[parent] for parent in row.birth.parents]
        assert [columns["p1"][at], columns["p2"][at]] == [*known, -1, -1][:2]
        assert columns["birth"][at] == row.born
        assert header["operators"][int(columns["operator"][at])] == row.birth.operator
    assert {births[at].genome for at in header["living"]} == front
    assert {at for at, one in enumerate(columns["standing"]) if int(one) & LIVING} == set(header["living"])
    accuracy = {each.genome: each.objectives["accuracy"] for each in found}
    for at, row in enumerate(births):
        if row.genome in accuracy:
            assert columns["fitness"][at] == pytest.approx(accuracy[row.genome], rel=1e-6)
        else:
            assert math.isnan(columns["fitness"][at])
            assert header["standings"][int(columns["standing"][at])] == "failed"
    layout = arrange([int(p) for p in columns["p1"]], header["living"])
    assert columns["y"] == pytest.approx(list(layout.y))
    assert header["height"] == layout.height


def test_later_questions_get_only_what_is_new(asked: TestClient) -> None:
    header, _ = unpacked(asked.get("/api/lineage").content)
    again, columns = unpacked(asked.get(f"/api/lineage?begin={COUNT}&version={header['version']}").content)
    assert (again["rows"], again["begin"], columns["p1"]) == (0, COUNT, [])
    # Another layout than the one that was asked about: everything comes again.
    other, _ = unpacked(asked.get(f"/api/lineage?begin={COUNT}&version={header['version'] + 7}").content)
    assert (other["rows"], other["begin"]) == (COUNT, 0)


@pytest.mark.parametrize("extinct", ["hidden", "wedges", "full"])
def test_three_ways_of_the_extinct(asked: TestClient, extinct: str) -> None:
    header, columns = unpacked(asked.get(f"/api/lineage?extinct={extinct}").content)
    assert header["extinct"] == extinct
    layout = arrange([int(p) for p in columns["p1"]], header["living"], extinct=header["extinct"])
    assert columns["y"] == pytest.approx(list(layout.y))


@pytest.mark.parametrize(
    ("question", "status"),
    [
        ("/api/lineage?extinct=perhaps", 400),
        ("/api/lineage?begin=-1", 400),
        ("/api/lineage/genome/99999", 404),
        ("/api/lineage/place?id=ffffffffff", 404),
        ("/api/lineage/place?id=", 404),
        ("/api/lineage/names?of=1,x", 400),
        ("/api/lineage/find?q=", 400),
        ("/api/lineage/find?q=%3C%3C", 400),
        ("/api/lineage?run=77", 404),
    ],
)
def test_what_cannot_be_answered_is_told(asked: TestClient, question: str, status: int) -> None:
    answer = asked.get(question)
    assert answer.status_code == status
    assert answer.json()["error"]


def test_a_genome_has_its_line_and_what_each_birth_changed(asked: TestClient, big: Path) -> None:
    header, columns = unpacked(asked.get("/api/lineage").content)
    at = header["living"][0]
    found = asked.get(f"/api/lineage/genome/{at}").json()
    line = [at]
    while columns["p1"][line[-1]] >= 0:
        line.append(int(columns["p1"][line[-1]]))
    assert [step["at"] for step in found["line"]] == line
    with Reader(big) as reader:
        for child, parent in zip(found["line"], found["line"][1:], strict=False):
            wanted = diff(reader.genome(parent["id"]), reader.genome(child["id"]))
            assert child["changes"] == [[change.gene, change.before, change.after] for change in wanted]
    children = [i for i in range(COUNT) if at in (columns["p1"][i], columns["p2"][i])]
    assert [place for place, _ in found["children"]] == children
    name = found["line"][0]["id"]
    assert asked.get(f"/api/lineage/place?id={name[:10]}").json() == {"place": at, "id": name}
    assert asked.get(f"/api/lineage/names?of={at},{line[-1]}").json()[str(at)] == name


def test_searches_agree_with_the_genomes(big: Path) -> None:
    with Board(big) as board, Reader(big) as reader:
        kin = load(board, choose(board, None).run)
        order = [row.genome for row in reader.births()]
        genomes = reader.genomes()

        def places(text: str) -> set[str]:
            return {order[at] for at in find(board, kin, parse(text))}

        assert places("depth >= 2") == {i for i in order if (genomes[i].get("depth") or 0) >= 2}
        rates = {
            i
            for i in order
            if any(name.startswith("lr_") and value > 0.01 for name, value in genomes[i].values)  # type: ignore[operator]
        }
        assert places("lr > 0.01") == rates and rates
        assert places("optimizer = adam and depth = 1") == {
            i for i in order if genomes[i].get("optimizer") == "adam" and genomes[i].get("depth") == 1
        }
        assert places("operator = cross") == {
            row.genome for row in reader.births() if row.birth.operator == "cross/1"
        }
        assert places("standing = failed") == {row.genome for row in reader.evaluations() if row.failure}
        accurate = {row.genome for row in reader.evaluations() if row.objectives.get("accuracy", 0) > 0.7}
        assert places("accuracy > 0.7") == accurate and accurate
        assert places("nothing = 1") == set()


def test_a_growing_store_gives_what_a_fresh_reading_gives(tmp_path: Path) -> None:
    path = tmp_path / "s.db"
    make_big_store(path, 60)
    kinship = Kinship()
    with Reader(path) as reader:
        genomes = reader.genomes()
        parents = [reader.genome(row.genome) for row in list(reader.births())[-4:]]
    first = mutate(MLP, parents[0], seed=11)
    second = cross(MLP, first, parents[1], seed=12)
    assert not {first.id, second.id} & set(genomes)
    with Board(path) as board:
        run = choose(board, None).run
        grown = load(board, run)
        living = kinship.ask(board, None, lambda held: held.living)
    with Writer(path, now=lambda: 1.8e9, durable=False) as writer:
        births = [Birth((parents[0].id,), "mutate/1", 11), Birth((first.id, parents[1].id), "cross/1", 12)]
        for ask, (genome, birth) in enumerate(zip((first, second), births, strict=True), 900):
            # Nothing dominates it: it must be on the front.
            best = {"accuracy": 0.999, "speed": 1e7 - ask, "memory": 2e4 - ask}
            writer.record(1, ask, "search", genome, birth, outcome(genome, objectives=best, task_id=TASK_ID))
    with Board(path) as board:
        told = grow(board, grown)
        assert (told.begin, len(grown)) == (60, 62)
        assert [grown.first[61], grown.second[61]] == [60, ordinal_of(board, grown, parents[1].id)]
        fresh = load(board, run)
        assert_equal(grown, fresh)
        now = kinship.ask(board, None, lambda held: sorted(held.living))
        assert now == sorted(fresh.front())
        assert {60, 61} <= set(now) != set(living)
    with Writer(path, now=lambda: 1.8e9, durable=False) as writer:
        again = {"accuracy": 0.5, "speed": 2.0, "memory": 1e6}
        writer.record(1, 1, "rescore", first, None, outcome(first, objectives=again, task_id=TASK_ID))
    with Board(path) as board:
        told = grow(board, grown)
        assert told == Grown(begin=62, changed=(60,), scored=True)
        assert grow(board, grown) == Grown(begin=62, changed=(), scored=False)
        assert STANDINGS[grown.standing[60]] == "fresh"
        assert grown.values_at(60) == again
        assert_equal(grown, load(board, run))
        assert kinship.ask(board, None, lambda held: sorted(held.living)) == sorted(grown.front())


def assert_equal(one: Any, other: Any) -> None:
    for name in ("first", "second", "born", "operator", "standing", "fresh", "last_evaluation"):
        assert getattr(one, name) == getattr(other, name), name
    for name, values in one.selected.items():
        assert values.tolist() == pytest.approx(other.selected[name].tolist(), nan_ok=True)


def test_a_parent_that_came_later_makes_no_ring(tmp_path: Path) -> None:
    path = tmp_path / "s.db"
    make_big_store(path, 60)
    with sqlite3.connect(path) as connection:
        order = [row[0] for row in connection.execute("SELECT genome FROM birth ORDER BY born")]
        connection.execute("UPDATE birth SET parent1 = ? WHERE genome = ?", (order[50], order[10]))
        connection.execute("UPDATE birth SET parent1 = ? WHERE genome = ?", ("f" * 64, order[20]))
    with Board(path) as board:
        kin = load(board, choose(board, None).run)
        assert kin.first[10] == -1
        assert all(parent < at for at, parent in enumerate(kin.first))
        arrange(kin.first, kin.front())


def test_a_step_says_what_came_from_the_second_parent(big: Path) -> None:
    with Board(big) as board:
        kin = load(board, choose(board, None).run)
        at = next(at for at in range(COUNT) if kin.second[at] >= 0)
        (step,) = steps(board, kin, [at])
        assert step.parents == (kin.first[at], kin.second[at])
        assert step.changes or step.against_second


def test_hostile_operators_and_genes_stay_text(tmp_path: Path) -> None:
    path = tmp_path / "s.db"
    make_big_store(path, 60)
    hostile = "<img src=x onerror=alert(1)>\u202e" + "x" * 500
    with sqlite3.connect(path) as connection:
        connection.execute("UPDATE birth SET operator = ? WHERE born = 5", (hostile,))
    with make_client(path) as client:
        header, _ = unpacked(client.get("/api/lineage").content)
        said = client.get("/api/lineage/genome/4").json()["line"][0]["operator"]
    for text in (*header["operators"], said):
        assert "\u202e" not in text and len(text) <= 48


# In a browser


@pytest.fixture(scope="module")
def big_served(big: Path) -> Iterator[Served]:
    with serving(big) as made:
        yield made


def painted(page: Any) -> None:
    page.wait_for_selector(".cv[data-painted]", state="attached")


@pytest.mark.browser
def test_a_person_walks_the_line_by_keys(open_page: OpenPage, big_served: Served, asked: TestClient) -> None:
    page: Any = open_page("/lineage", dashboard=big_served)
    painted(page)
    header, columns = unpacked(asked.get("/api/lineage").content)
    best = max(header["living"], key=lambda at: columns["fitness"][at])
    page.keyboard.press("]")
    page.wait_for_selector(".lin .gid")
    name = asked.get(f"/api/lineage/names?of={best}").json()[str(best)]
    assert page.text_content(".lin .gid") == name[:8]
    assert f"id={name[:16]}" in page.url
    page.keyboard.press("[")
    parent = asked.get(f"/api/lineage/names?of={int(columns['p1'][best])}").json()
    page.wait_for_selector(f".lin .gid:text-is('{next(iter(parent.values()))[:8]}')")
    assert "birth" in page.text_content(".lin .readout")
    page.keyboard.press("x")
    page.wait_for_url("**extinct=full**")
    page.keyboard.press("Escape")
    page.wait_for_selector(".lin .gid", state="detached")
    page.fill("#lin-q", "depth >= 2")
    page.press("#lin-q", "Enter")
    page.wait_for_selector("#lin-answer:text-matches('births pass')")
    page.fill("#lin-q", "depth >= 2000")
    page.press("#lin-q", "Enter")
    page.wait_for_selector("#lin-answer:text-matches('None of')")


@pytest.mark.browser
@pytest.mark.parametrize(("theme", "width"), LOOKS)
def test_every_theme_and_width_passes_axe(
    open_page: OpenPage, big_served: Served, theme: str, width: int
) -> None:
    page: Any = open_page("/lineage", dashboard=big_served, theme=theme, width=width)
    painted(page)
    page.keyboard.press("]")
    page.wait_for_selector(".lin .gid")
    assert axe(page) == []
    assert page.evaluate("document.documentElement.scrollWidth <= innerWidth + 1")


@pytest.mark.browser
def test_the_table_has_the_same_births(open_page: OpenPage, big_served: Served) -> None:
    page: Any = open_page("/lineage?view=table", dashboard=big_served)
    page.wait_for_selector(".twin tbody tr")
    assert page.locator(".twin tbody tr").count() == 50
    assert f"{COUNT} of {COUNT} births" in page.text_content(".twin")
    page.click(".twin tbody tr:first-child button")
    page.wait_for_selector(".lin .gid")
    page.wait_for_selector(".twin tr[aria-selected=true] .mono:text-matches('^[0-9a-f]{12}$')")
    assert page.evaluate("document.activeElement.textContent") == str(COUNT)
    assert axe(page) == []


@pytest.mark.browser
def test_filters_dim_and_stay_under_the_hand(open_page: OpenPage, big_served: Served) -> None:
    page: Any = open_page("/lineage", dashboard=big_served)
    painted(page)
    box = page.locator(".lin .ck input").first
    box.focus()
    page.keyboard.press("Space")
    page.wait_for_url("**off=**")
    page.wait_for_selector(".readout:text-matches('pass the filters')")
    assert page.evaluate("document.activeElement.type") == "checkbox"
    page.select_option("select[aria-label='Colour by']", "operator")
    page.wait_for_selector(".legend li:text-is('cross')")
    page.click(".lin .seg button:text-is('Streams')")
    page.wait_for_url("**view=streams**")
    page.focus("input[aria-label='Window to birth']")
    page.keyboard.press("Home")
    page.wait_for_url("**to=1**")
    page.go_back()


@pytest.mark.browser
def test_births_appear_while_one_looks(open_page: OpenPage, tmp_path: Path) -> None:
    path = tmp_path / "s.db"
    make_big_store(path, 60)
    with Reader(path) as reader:
        parent = reader.genome(list(reader.births())[-1].genome)
    child = mutate(MLP, parent, seed=5)
    with serving(path) as dashboard:
        page: Any = open_page("/lineage", dashboard=dashboard)
        page.wait_for_selector(".readout:text-matches('^60 births')")
        with Writer(path, now=lambda: 1.8e9, durable=False) as writer:
            writer.record(
                1, 900, "search", child, Birth((parent.id,), "mutate/1", 5), outcome(child, task_id=TASK_ID)
            )
        page.wait_for_selector(".readout:text-matches('^61 births')")


@pytest.mark.browser
def test_an_empty_store_says_what_to_do(open_page: OpenPage, tmp_path: Path) -> None:
    path = tmp_path / "s.db"
    Writer(path, now=lambda: 1.8e9, durable=False).close()
    with serving(path) as dashboard:
        page: Any = open_page("/lineage", dashboard=dashboard)
        page.wait_for_selector(".readout:text-matches('No births')")
