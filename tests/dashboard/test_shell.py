"""The frame of every page in a real browser: keys, themes, search, what is remembered, live updates, lost streams."""

import json
import re
import shutil
from pathlib import Path

import pytest

from node.store.records import Reader
from node.store.writer import Writer
from tests.dashboard.conftest import TOKEN, OpenPage, Served, axe, serving

pytestmark = pytest.mark.browser

THEMES = ("dark", "light", "nord", "neon", "contrast")
# A page that no other task changes: the frame around an error.
PAGE = "/nothing"


def opened(open_page: OpenPage, path: str = PAGE, **options):  # type: ignore[no-untyped-def]
    page = open_page(path, **options)
    page.wait_for_selector("#live[data-stream=live]")
    # That a page is not there is an error to the browser's console.
    page.errors.clear()
    return page


def theme(page) -> str:  # type: ignore[no-untyped-def]
    return str(page.evaluate("document.documentElement.dataset.theme"))


@pytest.mark.parametrize("name", THEMES)
def test_no_theme_has_an_accessibility_fault(open_page: OpenPage, name: str) -> None:
    page = opened(open_page, theme=name)
    assert theme(page) == name
    assert axe(page) == []
    page.keyboard.press("?")
    page.wait_for_selector("dialog.keys")
    assert axe(page) == []


def test_every_key_of_the_frame_does_what_it_says(open_page: OpenPage) -> None:
    page = opened(open_page, theme="dark")
    page.keyboard.press("t")
    assert theme(page) == "light"
    page.keyboard.press("/")
    assert page.evaluate("document.activeElement.getAttribute('role')") == "combobox"
    page.keyboard.press("Escape")
    page.wait_for_selector("dialog.palette", state="hidden")
    page.keyboard.press("?")
    page.wait_for_selector("dialog.keys")
    rows = page.locator("dialog.keys tbody tr")
    assert rows.count() >= 6
    page.keyboard.press("t")
    assert theme(page) == "light", "keys belong to an open dialog"
    page.keyboard.press("Escape")
    page.wait_for_selector("dialog.keys", state="detached")
    page.keyboard.press(" ")
    page.wait_for_selector("#live[data-stream=paused]")
    page.keyboard.press(" ")
    page.wait_for_selector("#live[data-stream=live]")
    page.keyboard.press("Control+t")
    assert theme(page) == "light", "what belongs to the browser is left to it"


def test_a_field_that_has_just_closed_takes_no_key(open_page: OpenPage) -> None:
    page = opened(open_page)
    page.keyboard.press("/")
    # A browser takes the focus from what is hidden only some time after.
    focus = page.evaluate(
        """() => {
          document.querySelector("dialog.palette").close();
          const had = document.activeElement;
          had.dispatchEvent(new KeyboardEvent("keydown", { key: "?", bubbles: true, cancelable: true }));
          return had.tagName;
        }"""
    )
    assert focus == "INPUT"
    assert page.is_visible("dialog.keys")


@pytest.mark.parametrize(
    ("letter", "path"),
    [
        ("o", "/"),
        ("p", "/pareto"),
        ("l", "/lineage"),
        ("g", "/genomes"),
        ("c", "/compare"),
        ("n", "/peers"),
        ("t", "/tasks"),
        ("r", "/resources"),
        ("b", "/builder"),
    ],
)
def test_g_and_a_letter_go_to_a_view(client, open_page: OpenPage, letter: str, path: str) -> None:  # type: ignore[no-untyped-def]
    """The rail knows the letter; only one page is opened, for all of them are pages of others' tests."""
    rail = client.get(PAGE).text
    assert re.search(rf'href="{path}"[^>]*data-key="{letter}"', rail)
    if letter == "t":
        page = opened(open_page)
        page.keyboard.press("g")
        page.keyboard.press("t")
        page.wait_for_url(f"**{path}")


def test_the_keys_can_be_switched_off_and_stay_off(open_page: OpenPage) -> None:
    page = opened(open_page, theme="dark")
    page.click("#keys")
    page.uncheck("dialog.keys input")
    page.keyboard.press("Escape")
    page.wait_for_selector("dialog.keys", state="detached")
    page.keyboard.press("t")
    assert theme(page) == "dark"
    page.reload()
    page.wait_for_selector("#live[data-stream=live]")
    page.errors.clear()
    page.keyboard.press("t")
    assert theme(page) == "dark"
    page.click("#theme")
    assert theme(page) == "light", "buttons go on"


def test_the_theme_is_remembered_before_the_first_paint(open_page: OpenPage) -> None:
    page = opened(open_page, "/nothing?theme=nord")
    assert theme(page) == "nord"
    page.click("#theme")
    page.goto(page.url.partition("?")[0])
    assert theme(page) == "neon"
    assert page.inner_text("#theme-name") == "neon"
    page.errors.clear()


def test_the_search_field_finds_and_opens_by_keyboard_alone(open_page: OpenPage, searched: Path) -> None:
    with Reader(searched) as reader:
        genome = reader.evaluations()[0].genome
    page = opened(open_page)
    page.keyboard.press("/")
    assert page.locator("#found [role=option]").count() >= 9, "every view, before anything is typed"
    page.keyboard.type(genome[:7])
    page.wait_for_selector(f"#found [data-href='/genome/{genome}']")
    assert page.get_attribute("dialog input", "aria-activedescendant") == "found-0"
    assert axe(page) == []
    page.keyboard.press("Control+A")
    page.keyboard.type("zzzz")
    page.wait_for_selector("#found .none")
    page.keyboard.press("Control+A")
    page.keyboard.type("task")
    page.wait_for_selector("#found [data-href='/tasks']")
    page.keyboard.press("Enter")
    page.wait_for_url("**/tasks")


def test_saved_views_stay_and_what_was_spoiled_is_passed_over(open_page: OpenPage) -> None:
    page = opened(open_page, "/nothing?run=&sort=accuracy")
    page.click("#keep")
    assert page.get_attribute("#keep", "aria-pressed") == "true"
    assert page.get_attribute("#kept a", "href") == "/nothing?run=&sort=accuracy"
    spoiled = [
        "not json",
        json.dumps({"a": 1}),
        json.dumps(
            [{"href": "javascript:alert(1)", "label": "x"}, {"href": "//evil", "label": "x"}, 7, None]
        ),
        json.dumps([{"href": "/a", "label": "x" * 9}] * 500),
    ]
    for value in spoiled:
        page.evaluate(
            "value => ['recent', 'pinned', 'compare', 'keys'].forEach(k => localStorage.setItem('eqmesh.' + k, value))",
            value,
        )
        page.reload()
        page.wait_for_selector("#live[data-stream=live]")
        links = [a.get_attribute("href") for a in page.query_selector_all("#kept a")]
        assert set(links) <= {"/a"} and len(links) <= 29
    page.errors.clear()


# The page's policy lets nothing be polled by a text that is run; a promise is waited for.
FOLLOW = """async () => {
  const live = await import('/static/js/live.js');
  window.told = [];
  let wake = () => {};
  live.subscribe((told) => { window.told.push(told.seq); wake(); });
  window.until = async (seq) => {
    while (!window.told.length || window.told.at(-1) < seq) await new Promise((done) => { wake = done; });
    return window.told.at(-1);
  };
}"""


def newest(store: Path) -> int:
    """The number of a store's last event, which the page need not have been told yet."""
    with Reader(store) as reader:
        return reader.events()[-1].seq


def test_a_commit_reaches_the_page_and_a_held_page_gets_it_later(
    open_page: OpenPage, searched: Path, tmp_path: Path
) -> None:
    store = Path(shutil.copy(searched, tmp_path / "eqmesh.db"))
    with serving(store) as dashboard, Writer(store, now=lambda: 1.0) as writer:
        page = opened(open_page, dashboard=dashboard)
        page.evaluate(FOLLOW)
        writer.event("run.stopped", {"run": 1, "why": "a test"})
        first = newest(store)
        assert page.evaluate(f"window.until({first})") == first
        page.keyboard.press(" ")
        page.evaluate("window.told.length = 0")
        for _ in range(5):
            writer.event("run.stopped", {"run": 1, "why": "a test"})
        page.keyboard.press(" ")
        assert newest(store) == first + 5
        assert page.evaluate(f"window.until({first + 5})") == first + 5
        assert page.evaluate("window.told.length") < 5, "many commits are one update"


def test_a_lost_stream_is_told_and_the_page_goes_on_when_it_is_back(
    open_page: OpenPage, searched: Path
) -> None:
    with serving(searched) as first:
        page = opened(open_page, dashboard=first)
        port = int(first.base.rpartition(":")[2])
    page.wait_for_selector("#live[data-stream=lost]")
    assert "start it again" in page.inner_text("#banner")
    with serving(searched, port=port):
        page.wait_for_selector("#live[data-stream=live]", timeout=60_000)
        assert page.is_hidden("#banner")
        page.errors.clear()


def test_a_page_without_a_store_shows_itself_once_there_is_one(
    open_page: OpenPage, searched: Path, tmp_path: Path
) -> None:
    store = tmp_path / "later.db"
    with serving(store) as dashboard:
        page = open_page("/tasks", dashboard=dashboard)
        page.wait_for_selector("#live[data-stream=gone]")
        assert "No store yet" in page.inner_text("main")
        assert str(store) in page.inner_text("main")
        assert axe(page) == []
        page.errors.clear()
        shutil.copy(searched, store)
        page.wait_for_selector("[data-retry]", state="detached", timeout=60_000)
        page.errors.clear()
        page.close()  # else it misses the server that ends here, and says so


def test_on_a_phone_the_rail_opens_and_nothing_is_wider_than_the_screen(open_page: OpenPage) -> None:
    page = opened(open_page, width=360, height=640)
    assert page.is_hidden("#rail")
    assert page.evaluate("document.documentElement.scrollWidth") <= 360
    page.click("#menu")
    assert page.is_visible("#rail nav a >> nth=0")
    assert page.get_attribute("#menu", "aria-expanded") == "true"
    assert axe(page) == []
    for button in page.query_selector_all("header button:visible"):
        box = button.bounding_box()
        assert box["width"] >= 24 and box["height"] >= 24


def test_at_twice_the_size_nothing_is_cut_off(open_page: OpenPage) -> None:
    # 200 % of 1280 by 800 is a page of half the width at twice the pixels.
    page = opened(open_page, width=640, height=400, device_scale_factor=2)
    assert page.evaluate("document.documentElement.scrollWidth") <= 640
    assert page.is_visible("h1")


def test_the_first_stop_of_the_keyboard_skips_to_the_content(open_page: OpenPage) -> None:
    page = opened(open_page)
    page.keyboard.press("Tab")
    assert page.evaluate("document.activeElement.textContent") == "Skip to content"
    page.keyboard.press("Enter")
    assert page.evaluate("document.activeElement.id") == "m"


def test_less_motion_means_none(open_page: OpenPage) -> None:
    page = opened(open_page, reduced_motion="reduce")
    assert page.evaluate("getComputedStyle(document.querySelector('.dot')).animationName") == "none"


def test_a_script_cannot_make_html_of_text(open_page: OpenPage) -> None:
    page = opened(open_page)
    refused = page.evaluate(
        "() => { try { document.body.innerHTML = '<b>x</b>'; return 'taken' } catch (e) { return e.name } }"
    )
    assert refused == "TypeError"
    page.errors.clear()


def test_the_address_with_the_token_opens_the_page_and_the_token_is_gone(browser, served: Served) -> None:  # type: ignore[no-untyped-def]
    context = browser.new_context()
    page = context.new_page()
    page.goto(served.url(f"/tasks?run=1&token={TOKEN}"))
    assert page.url == served.url("/tasks?run=1")
    assert page.evaluate("document.cookie") == "", "scripts do not see it"
    context.close()
