"""What axe finds on every view in every theme, and how many keys and themes there are, counted on the pages.

On a store of a short real search and on one with invented peers, as the tests use them: `tests.bench.dashboard` runs
this, and `tests/dashboard/test_matrix.py` the same rules with fewer repetitions.
"""

import tempfile
from contextlib import ExitStack
from pathlib import Path
from typing import TYPE_CHECKING

import msgspec

from dashboard.guard import Guard
from tests.bench.report import Figure
from tests.dashboard.conftest import Served, search, serving
from tests.dashboard.test_matrix import AXE, RUN_AXE, SET_THEME, TAGS, VIEWS, View, ids_of
from tests.support.meshstore import make_mesh_store

if TYPE_CHECKING:
    from playwright.sync_api import Browser, Page

__all__ = ["Looks", "looks", "open_view"]

_MOST_THEMES = 20
_KEYS, _THEMES = 12, 5


class Looks(msgspec.Struct, frozen=True, kw_only=True):
    """Violations by view and theme (rule and element, one line each), keys and themes found on the pages."""

    violations: dict[str, dict[str, list[str]]]
    keys: list[str]
    themes: list[str]

    @property
    def count(self) -> int:
        """Violations in all."""
        return sum(len(lines) for themes in self.violations.values() for lines in themes.values())

    def figures(self) -> tuple[Figure, ...]:
        """What was counted, beside what the design asks for."""
        pages = sum(len(themes) for themes in self.violations.values())

        def figure(what: str, target: str, found: int, *, reached: bool) -> Figure:
            return Figure(what=what, target=target, measured=str(found), reached=reached)

        return (
            figure(
                f"axe violations (WCAG 2.2 A, AA), {pages} views by themes",
                "0",
                self.count,
                reached=not self.count,
            ),
            figure("shortcuts", f">= {_KEYS}", len(self.keys), reached=len(self.keys) >= _KEYS),
            figure("themes", str(_THEMES), len(self.themes), reached=len(self.themes) == _THEMES),
        )


def open_view(browser: "Browser", at: Served, view: View, ids: dict[str, str]) -> "Page":
    """A view that is whole, in a context of its own, without motion."""
    context = browser.new_context(viewport={"width": 1280, "height": 800}, reduced_motion="reduce")
    name, value = Guard.of("127.0.0.1", int(at.base.rpartition(":")[2]), at.token).cookie
    context.add_cookies([{"name": name, "value": value, "url": at.base}])
    page = context.new_page()
    page.goto(at.url(view.path.format_map(ids)), wait_until="load")
    page.wait_for_selector("#live[data-stream=live]")
    page.wait_for_selector(view.whole, state="attached")
    return page


def looks(browser: "Browser", *, smoke: bool) -> Looks:
    """Open every view (two, for a smoke run), and look at it in every theme."""
    violations: dict[str, dict[str, list[str]]] = {}
    keys: dict[str, None] = {}
    themes: list[str] = []
    with tempfile.TemporaryDirectory() as folder, ExitStack() as stack:
        own, mesh = Path(folder) / "eqmesh.db", Path(folder) / "mesh.db"
        search(own)
        make_mesh_store(mesh)
        served = {False: stack.enter_context(serving(own)), True: stack.enter_context(serving(mesh))}
        ids = ids_of(own)
        for view in VIEWS[:2] if smoke else VIEWS:
            page = open_view(browser, served[view.mesh], view, ids)
            themes = themes or names_of_themes(page)
            keys |= dict.fromkeys(keys_of(page))
            page.evaluate(f"() => {{ {AXE} }}")
            violations[view.name] = {}
            for theme in themes:
                page.evaluate(SET_THEME, theme)
                violations[view.name][theme] = page.evaluate(RUN_AXE, {"tags": TAGS, "rules": []})
            page.context.close()
    return Looks(violations=violations, keys=sorted(keys), themes=themes)


def names_of_themes(page: "Page") -> list[str]:
    """Themes that the key `t` goes through, until one comes again."""
    found: list[str] = []
    for _ in range(_MOST_THEMES):
        name = str(page.evaluate("document.documentElement.dataset.theme"))
        if name in found:
            break
        found.append(name)
        page.keyboard.press("t")
    return found


def keys_of(page: "Page") -> list[str]:
    """Keys that the list of a page names; `g` counts with each of its letters."""
    page.keyboard.press("?")
    found: list[str] = page.locator("dialog.keys th kbd").all_inner_texts()
    page.keyboard.press("Escape")
    letters: list[str] = page.locator(".rail nav a[data-key]").evaluate_all(
        "links => links.map(l => l.dataset.key)"
    )
    return [key for key in found if key != "g"] + [f"g {letter}" for letter in letters]
