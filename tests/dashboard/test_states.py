"""Pages in a browser where things are not as one would wish: text of others, stores, servers; and what keys do then.

What a page looks like when all is well is `test_matrix.py`.
"""

import json
import sqlite3
from pathlib import Path
from typing import Any

import pytest

from evaluator.jobs import Failure
from genome import MLP, Birth
from genome.variation import draw
from node.store.writer import Writer
from tests.dashboard.conftest import OpenPage, serving
from tests.dashboard.test_matrix import ids_of
from tests.support.meshstore import HOSTILE

pytestmark = pytest.mark.browser


# Text of others


def test_text_of_others_is_inert_wherever_it_stands(open_page: OpenPage, store: Path) -> None:
    """A genome, an event, a task: each is written into a page by another script."""
    genome = draw(MLP, seed=12345)
    with sqlite3.connect(store) as connection:
        run, task_id = connection.execute("SELECT id, task_id FROM run").fetchone()
        connection.execute("UPDATE run SET task = ?", (HOSTILE,))
    failure = Failure(
        number=0, genome=genome.id, task="digits", task_id=task_id, tier="smoke", seed=5, arithmetic="fp32",
        purpose="search", kind="diverged", detail=HOSTILE,
    )  # fmt: skip
    with Writer(store, now=lambda: 1.8e9) as writer:
        writer.record(run, 900, "search", genome, Birth((), "random/1", 12345), failure)
        writer.event("peer.banned", {"peer": HOSTILE, "item": HOSTILE})
    with serving(store) as dashboard:
        page: Any = open_page("/", dashboard=dashboard)
        said: list[str] = []
        page.on("dialog", lambda dialog: (said.append(dialog.message), dialog.dismiss()))
        for path, where in (
            ("/", "#feed li .tag"),
            (f"/genome/{genome.id}", "#genome h2"),
            ("/tasks", "#tasks h2"),
        ):
            page.goto(dashboard.url(path))
            page.wait_for_selector(where)
            text = page.inner_text("body")
            assert "<img src=x onerror" in text, path
            assert not set(text) & set("\u202e\0"), path
            assert page.locator("img").count() == 0, path
        assert said == []
        page.goto("about:blank")


# Stores that are not as one would wish


def empty(path: Path) -> None:
    """A store in which nothing happened."""
    with Writer(path, now=lambda: 1.0):
        pass


def newer(path: Path) -> None:
    """A store of a version of eqmesh that is to come."""
    empty(path)
    with sqlite3.connect(path) as connection:
        connection.execute("PRAGMA user_version = 9999")


PAGES = (
    "/",
    "/pareto",
    "/lineage",
    "/genomes",
    "/compare",
    "/peers",
    "/tasks",
    "/resources",
    "/builder",
    "/lab",
    "/export",
)


def test_every_view_of_an_empty_store_is_quiet_and_says_something(
    open_page: OpenPage, tmp_path: Path
) -> None:
    empty(tmp_path / "empty.db")
    with serving(tmp_path / "empty.db") as dashboard:
        page: Any = open_page("/", dashboard=dashboard)
        for path in PAGES:
            page.goto(dashboard.url(path), wait_until="load")
            page.wait_for_selector("#live[data-stream=live]")
            page.wait_for_selector("main:not(:has-text('Reading the store'))")
            assert len(page.inner_text("main")) > 20, path
            assert page.errors == [], path
        page.goto("about:blank")


@pytest.mark.parametrize(
    ("make", "said"), [(None, "No store yet"), (newer, "newer")], ids=["missing", "newer"]
)
def test_a_store_that_cannot_be_shown_is_named_with_what_to_do(
    open_page: OpenPage, tmp_path: Path, make: Any, said: str
) -> None:
    store = tmp_path / "eqmesh.db"
    if make is not None:
        make(store)
    with serving(store) as dashboard:
        page: Any = open_page("/", dashboard=dashboard)
        for path in ("/", "/lineage", "/genomes"):
            page.goto(dashboard.url(path), wait_until="load")
            text = page.inner_text("main")
            assert said in text, path
            assert str(store) in text, path
            assert page.locator("main a.btn").count() == 2, path
        page.goto("about:blank")
        page.errors.clear()


def test_a_filter_that_nothing_passes_says_so_in_each_view_that_has_one(open_page: OpenPage) -> None:
    page: Any = open_page("/genomes?where=accuracy+%3E+2")
    page.wait_for_selector("text=None of")
    page.goto(page.url.partition("/genomes")[0] + "/lineage")
    page.wait_for_selector(".cv[data-painted]", state="attached")
    page.fill("#lin-q", "depth >= 2000")
    page.press("#lin-q", "Enter")
    page.wait_for_selector("#lin-answer:text-matches('None of')")
    page.goto("about:blank")


def test_where_no_node_runs_the_page_says_so_and_offers_no_order(open_page: OpenPage, searched: Path) -> None:
    page: Any = open_page(f"/genome/{ids_of(searched)['best']}")
    page.wait_for_selector("#node[data-doing=none]")
    assert page.inner_text("#node") == "Node not running"
    assert page.locator("#node button").count() == 0
    assert page.is_disabled("#verify")
    page.keyboard.press("v")
    assert page.locator("#toasts .toast").count() == 0
    page.goto("about:blank")


@pytest.mark.parametrize("path", ["/", "/lineage"])
def test_a_server_that_went_and_came_back_is_followed_again(
    open_page: OpenPage, store: Path, path: str
) -> None:
    with serving(store) as first:
        page: Any = open_page(path, dashboard=first)
        page.wait_for_selector("#live[data-stream=live]")
        port = int(first.base.rpartition(":")[2])
    page.wait_for_selector("#live[data-stream=lost]")
    assert page.is_visible("#banner")
    assert len(page.inner_text("main")) > 100, "what was seen last stays"
    with serving(store, port=port):
        page.wait_for_selector("#live[data-stream=live]", timeout=60_000)
        assert page.is_hidden("#banner")
        page.goto("about:blank")
    page.errors.clear()


# Keys


@pytest.mark.parametrize("walk", ["opg", "cntrbl"])
def test_g_and_a_letter_walk_through_the_views(open_page: OpenPage, walk: str) -> None:
    paths = {
        "o": "/", "p": "/pareto", "l": "/lineage", "g": "/genomes", "c": "/compare", "n": "/peers", "t": "/tasks",
        "r": "/resources", "b": "/builder",
    }  # fmt: skip
    page: Any = open_page("/export")
    base = page.url.removesuffix("/export")
    for letter in walk:
        page.wait_for_selector("#live[data-stream=live]")
        page.keyboard.press("g")
        page.keyboard.press(letter)
        page.wait_for_url(f"{base}{paths[letter]}", wait_until="load")
    page.goto("about:blank")


def test_keys_are_letters_where_one_writes_and_nothing_where_they_are_off(open_page: OpenPage) -> None:
    page: Any = open_page("/genomes", theme="dark")
    page.wait_for_selector("#rows tbody tr")
    page.focus("#where")
    page.keyboard.type("t/e?cgo ")
    assert page.input_value("#where") == "t/e?cgo "
    assert page.evaluate("document.documentElement.dataset.theme") == "dark"
    assert page.locator("dialog").count() == 0
    page.fill("#where", "")
    page.evaluate("document.activeElement.blur()")
    page.click("#keys")
    page.uncheck("dialog.keys input")
    page.keyboard.press("Escape")
    at, row = page.url, page.get_attribute("tr[aria-selected=true]", "data-id")
    for key in ("t", "/", "j", "c", "e", "g", "o", "?"):
        page.keyboard.press(key)
    assert page.evaluate("document.documentElement.dataset.theme") == "dark"
    assert page.locator("dialog").count() == 0
    assert page.get_attribute("tr[aria-selected=true]", "data-id") == row
    assert page.url == at
    assert json.loads(page.evaluate("localStorage.getItem('eqmesh.keys')")) is False


# What a view's keys do, by what can be seen of it: the view, keys in order, what is there then.
DEEDS = (
    ("/genomes", "j", "tr[aria-selected=true]"),
    ("/genomes", "jc", "tbody .tag >> text=compared"),
    ("/pareto", "j", "#members tr[aria-selected=true]"),
    ("/pareto", "x", "url:dominated=0"),
    ("/lineage", "]", ".lin .gid"),
    ("/lineage", "]f[", "url:id="),
    ("/lineage", "x", "url:extinct=full"),
    ("/tasks", "?", "dialog.keys"),
    ("/tasks", "/", "dialog input"),
    ("/tasks", " ", "#live[data-stream=paused]"),
    ("/tasks", "e", "url:/export"),
    ("/tasks", "t", "html[data-theme=light]"),
)


def test_the_keys_of_the_views_do_what_they_say(open_page: OpenPage) -> None:
    page: Any = open_page("/export", theme="dark")
    base = page.url.removesuffix("/export")
    whole = {"/genomes": "#rows tbody tr", "/pareto": "#members tbody tr", "/lineage": ".cv[data-painted]"}
    for path, keys, found in DEEDS:
        page.goto(f"{base}{path}", wait_until="load")
        page.wait_for_selector("#live[data-stream=live]")
        page.wait_for_selector(whole.get(path, "#tasks table"), state="attached")
        for key in keys:
            page.keyboard.press(key)
        if found.startswith("url:"):
            page.wait_for_url(f"**{found[4:]}**")
        else:
            page.wait_for_selector(found)
