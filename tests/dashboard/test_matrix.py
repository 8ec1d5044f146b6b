"""Every view in a real browser: silence, five themes, keyboard alone, less motion, zoom, phone.

A view is opened once and looked at by several tests, for a page costs more than a look at it. Each leaves the page as
it found it: theme, size of the window, focus.
"""

import sqlite3
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import axe_core_python
import pytest

from dashboard.guard import Guard
from tests.dashboard.conftest import Served
from tests.support.meshstore import PEERS

pytestmark = pytest.mark.browser

THEMES = ("dark", "light", "nord", "neon", "contrast")
TAGS = ("wcag2a", "wcag2aa", "wcag21a", "wcag21aa", "wcag22aa")
# What a theme can change; all other rules see the same page in each theme.
COLOURS = ("color-contrast", "link-in-text-block")
WIDE, ZOOMED, PHONE = (1280, 800), (640, 400), (360, 640)
AXE = (Path(axe_core_python.__file__).parent / "axe.min.js").read_text()


@dataclass(frozen=True)
class View:
    """A page, what is on it once it is whole, and which of the two stores it shows."""

    name: str
    path: str
    whole: str
    mesh: bool = False


VIEWS = (
    View("overview", "/", "#memory .uplot"),
    View("front", "/pareto", "#members tbody tr"),
    View("front-3d", "/pareto?shape=3d", "#members tbody tr"),
    View("front-parallel", "/pareto?shape=parallel", "#members tbody tr"),
    View("lineage", "/lineage", ".cv[data-painted]"),
    View("lineage-table", "/lineage?view=table", ".twin tbody tr"),
    View("genomes", "/genomes", "#rows tbody tr"),
    View("genome", "/genome/{best}", ".plot canvas"),
    View("compare", "/compare?ids={best},{other}", "#curves .uplot"),
    View("tasks", "/tasks", "#tasks table"),
    View("resources", "/resources", "#machine .meter"),
    View("builder", "/builder", "#genes .fld, #genes label"),
    View("lab", "/lab", "#well canvas"),
    View("export", "/export", "main form"),
    View("mesh-overview", "/", "#memory .uplot", mesh=True),
    View("peers", "/peers", "#rows tbody tr", mesh=True),
    View("peer", "/peer/{hostile}", ".claim", mesh=True),
    View("banned", "/peer/{liar}", ".claim", mesh=True),
)


@dataclass
class Seen:
    """An open page, and what it said and asked for in vain."""

    view: View
    page: Any
    errors: list[str] = field(default_factory=list)
    failed: list[str] = field(default_factory=list)
    dialogs: list[str] = field(default_factory=list)


def ids_of(store: Path) -> dict[str, str]:
    """Ids to be put into the paths of the views: a genome scored on fresh seeds, another one, the invented peers."""
    with sqlite3.connect(store) as connection:
        rows = connection.execute(
            "SELECT genome, max(purpose = 'rescore') AS again FROM evaluation WHERE failure IS NULL GROUP BY genome"
            " ORDER BY again DESC, genome LIMIT 2"
        ).fetchall()
    return {"best": rows[0][0], "other": rows[1][0], **PEERS}


@pytest.fixture(scope="module")
def named(searched: Path) -> dict[str, str]:
    """The ids of the shared store."""
    return ids_of(searched)


@pytest.fixture(scope="module", params=VIEWS, ids=[view.name for view in VIEWS])
def seen(
    request: pytest.FixtureRequest, browser: Any, served: Served, served_mesh: Served, named: dict[str, str]
) -> Iterator[Seen]:
    """A view that is open, in the dark theme, in a wide window."""
    view: View = request.param
    at = served_mesh if view.mesh else served
    context = browser.new_context(viewport={"width": WIDE[0], "height": WIDE[1]})
    name, value = Guard.of("127.0.0.1", int(at.base.rpartition(":")[2]), at.token).cookie
    context.add_cookies([{"name": name, "value": value, "url": at.base}])
    page = context.new_page()
    page.set_default_timeout(60_000)
    made = Seen(view=view, page=page)
    watch(made)
    page.goto(at.url(view.path.format_map(named)), wait_until="load")
    page.wait_for_selector("#live[data-stream=live]")
    page.wait_for_selector(view.whole, state="attached")
    yield made
    context.close()


def watch(seen: Seen) -> None:
    """Write down what the page complains of."""
    page = seen.page
    page.on("console", lambda said: seen.errors.append(said.text) if said.type == "error" else None)
    page.on("pageerror", lambda error: seen.errors.append(str(error)))
    # A page that is left, or a newer question, ends a request; that is no failure.
    page.on(
        "requestfailed",
        lambda asked: seen.failed.append(asked.url) if "ABORTED" not in (asked.failure or "") else None,
    )
    page.on(
        "response",
        lambda told: seen.failed.append(f"{told.status} {told.url}") if told.status >= 400 else None,
    )

    def dismiss(dialog: Any) -> None:
        seen.dialogs.append(dialog.message)
        dialog.dismiss()

    page.on("dialog", dismiss)


def test_it_loads_without_an_error_or_a_request_in_vain(seen: Seen) -> None:
    page = seen.page
    assert page.title().endswith(" · eqmesh")
    assert page.locator("h1").count() == 1
    assert "Reading the store" not in page.inner_text("main")
    assert (seen.errors, seen.failed, seen.dialogs) == ([], [], [])


# The policy binds scripts of the page; what the debugger evaluates it does not.
RUN_AXE = """async ({tags, rules}) => {
  const asked = rules.length ? {type: 'rule', values: rules} : {type: 'tag', values: tags};
  const found = await axe.run(document, {runOnly: asked, resultTypes: ['violations']});
  return found.violations.flatMap((rule) => rule.nodes.map((node) => `${rule.id}: ${node.html.slice(0, 160)}`));
}"""
SET_THEME = "async (name) => (await import('/static/js/shell.js')).setTheme(name)"


def faults(page: Any, theme: str, rules: tuple[str, ...]) -> list[str]:
    """What axe finds in a theme."""
    page.evaluate(SET_THEME, theme)
    found = page.evaluate(RUN_AXE, {"tags": TAGS, "rules": rules})
    return [f"{theme}: {line}" for line in found]


def test_no_theme_has_an_accessibility_fault(seen: Seen) -> None:
    page = seen.page
    page.emulate_media(reduced_motion="reduce")  # else colours are measured on their way to others
    page.evaluate(f"() => {{ {AXE} }}")
    try:
        found = [line for theme in THEMES for line in faults(page, theme, COLOURS if theme != "dark" else ())]
    finally:
        page.evaluate(SET_THEME, "dark")
        page.emulate_media(reduced_motion="no-preference")
    assert found == []


# Every control that can be used now; of a group of radio buttons the keyboard stops at one.
CONTROLS = """() => {
  const seen = (e) => e.checkVisibility({visibilityProperty: true}) && e.getClientRects().length > 0;
  const asked = 'a[href], button, input, select, textarea, summary, [tabindex]';
  const all = [...document.querySelectorAll(asked)].filter((e) => e.tabIndex >= 0 && !e.disabled && seen(e));
  const kept = all.filter((e) => e.type !== 'radio' || e.checked || !document.querySelector(
    `input[name="${CSS.escape(e.name)}"]:checked`));
  window.controls = kept;
  window.reached = new Map();
  window.noted = (event) => {
    const style = getComputedStyle(event.target);
    const shown = (style.outlineStyle !== 'none' && parseFloat(style.outlineWidth) >= 1) || style.boxShadow !== 'none';
    reached.set(event.target, shown);
  };
  document.addEventListener('focusin', noted);
  document.activeElement?.blur();
  return kept.length;
}"""
REACHED = """() => {
  document.removeEventListener('focusin', noted);
  const told = (e) => e.outerHTML.slice(0, 140);
  return {
    missed: controls.filter((e) => e.isConnected && !reached.has(e)).map(told),
    dim: [...reached].filter(([e, shown]) => !shown && e.isConnected).map(([e]) => told(e)),
  };
}"""


def test_the_keyboard_alone_reaches_every_control_and_shows_where_it_is(seen: Seen) -> None:
    page = seen.page
    count = page.evaluate(CONTROLS)
    assert count > 15
    # Regions that scroll are stops as well.
    for _ in range(count + 25):
        page.keyboard.press("Tab")
    found = page.evaluate(REACHED)
    page.evaluate("document.activeElement?.blur()")
    assert found == {"missed": [], "dim": []}


def test_less_motion_means_none(seen: Seen) -> None:
    page = seen.page
    page.emulate_media(reduced_motion="reduce")
    moving = page.evaluate(
        "document.getAnimations().filter((one) => one.playState === 'running').map((one) => String(one.animationName))"
    )
    page.emulate_media(reduced_motion="no-preference")
    assert moving == []


# Wider than the window, or a control that begins or ends outside of it, unless it can be scrolled to.
OUTSIDE = """() => {
  const scrolls = (e) => {
    for (let at = e.parentElement; at && at !== document.body; at = at.parentElement)
      if (/auto|scroll/.test(getComputedStyle(at).overflowX) && at.scrollWidth > at.clientWidth) return true;
    return false;
  };
  const cut = (e) => {
    const style = getComputedStyle(e);
    return style.overflowX === 'hidden' && style.textOverflow !== 'ellipsis' && e.scrollWidth > e.clientWidth + 1;
  };
  const found = [];
  const width = document.documentElement.clientWidth;
  if (document.documentElement.scrollWidth > width) found.push(`page: ${document.documentElement.scrollWidth} px`);
  for (const e of document.querySelectorAll('.main h1, .main h2, .main button, .main a, .main input, .main select')) {
    if (!e.checkVisibility({visibilityProperty: true}) || e.closest('.sr, .skip')) continue;
    const box = e.getBoundingClientRect();
    if (box.width && (box.left < -1 || box.right > width + 1) && !scrolls(e)) found.push(e.outerHTML.slice(0, 140));
    else if (e.tagName !== 'INPUT' && e.tagName !== 'SELECT' && cut(e)) found.push(`cut: ${e.outerHTML.slice(0, 140)}`);
  }
  return found;
}"""


@pytest.mark.parametrize("size", [ZOOMED, PHONE], ids=["zoom-200", "phone"])
def test_nothing_is_cut_off_in_a_small_window(seen: Seen, size: tuple[int, int]) -> None:
    page = seen.page
    page.set_viewport_size({"width": size[0], "height": size[1]})
    # Two pictures: one for the layout, one for what draws itself after it.
    page.evaluate("() => new Promise((done) => requestAnimationFrame(() => requestAnimationFrame(done)))")
    found = page.evaluate(OUTSIDE)
    page.set_viewport_size({"width": WIDE[0], "height": WIDE[1]})
    assert found == []
