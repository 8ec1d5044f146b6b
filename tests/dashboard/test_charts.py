"""The charts' own modules, run in a real browser: fronts, ticks, tables, pictures, marks that need no colour."""

import hashlib
import random
import re
import xml.etree.ElementTree as ElementTree

import pytest

from genome import pareto
from tests.dashboard.conftest import ROOT, OpenPage

pytestmark = pytest.mark.browser

VENDOR = ROOT / "dashboard" / "static" / "vendor"


@pytest.fixture(scope="module")
def ask(browser, served):  # type: ignore[no-untyped-def]
    """Run JavaScript with the modules of the charts on a page of the dashboard; gives its JSON."""
    from dashboard.guard import Guard

    context = browser.new_context()
    name, value = Guard.of("127.0.0.1", int(served.base.rpartition(":")[2]), served.token).cookie
    context.add_cookies([{"name": name, "value": value, "url": served.base}])
    page = context.new_page()
    page.goto(served.url("/compare"), wait_until="load")

    def run(module: str, body: str, argument: object = None) -> object:
        return page.evaluate(
            f"async (given) => {{ const m = await import('/static/js/{module}'); {body} }}", argument
        )

    yield run
    context.close()


def test_leavings_give_the_front_at_every_time(ask) -> None:  # type: ignore[no-untyped-def]
    rng = random.Random(4)
    rows = [[round(rng.random(), 1), rng.random(), round(rng.random(), 1)] for _ in range(90)]
    columns = [list(column) for column in zip(*rows, strict=True)]
    objectives = [{"direction": "max"}, {"direction": "min"}, {"direction": "max"}]
    left = ask(
        "charts/front.js",
        "const costs = m.asCosts(given.columns, given.objectives);"
        " return [...m.leavings(costs, [...given.columns[0].keys()])];",
        {"columns": columns, "objectives": objectives},
    )
    ways: dict[str, pareto.Direction] = {"0": "max", "1": "min", "2": "max"}
    for end in (1, 2, 17, 60, 90):
        seen = [{str(k): value for k, value in enumerate(row)} for row in rows[:end]]
        assert [i for i in range(end) if left[i] >= end] == pareto.nondominated(seen, ways)


def test_stairs_are_the_front_of_two_columns(ask) -> None:  # type: ignore[no-untyped-def]
    rng = random.Random(5)
    first, second = ([rng.random() for _ in range(50)] for _ in range(2))
    found = ask(
        "charts/front.js",
        "return m.stairs(given[0], given[1], [...given[0].keys()]);",
        [first, second],
    )
    rows = [{"a": a, "b": b} for a, b in zip(first, second, strict=True)]
    assert sorted(found) == pareto.nondominated(rows, {"a": "min", "b": "min"})
    assert found == sorted(found, key=lambda row: first[row])


@pytest.mark.parametrize(
    ("value", "unit", "text"),
    [
        (0.9761, "share of validation examples", "97.61 %"),
        (4096, "bytes", "4 KiB"),
        (1_500_000, "bytes", "1.43 MiB"),
        (12, "bytes", "12 B"),
        (290_683, "training samples/s", "291k"),
        (-1.86, "", "−1.86"),
        (0.00012, "", "1.2e−4"),
        (0, "", "0"),
        (None, "", "–"),
    ],
)
def test_numbers_in_words(ask, value: float | None, unit: str, text: str) -> None:  # type: ignore[no-untyped-def]
    assert ask("charts/scale.js", "return m.format(given[0], given[1]);", [value, unit]) == text


@pytest.mark.parametrize(
    ("low", "high", "log", "unit"),
    [
        (0.0, 1.0, False, "share"),
        (0.931, 0.934, False, "share"),
        (3e3, 4e6, True, ""),
        (2e4, 3e7, True, "bytes"),
        (0, 2.6e8, False, "bytes"),
    ],
)
def test_ticks_lie_inside_and_have_labels_of_their_own(
    ask, low: float, high: float, log: bool, unit: str
) -> None:  # type: ignore[no-untyped-def]
    ticks, labels = ask(
        "charts/scale.js",
        "const t = m.scale([given[0], given[1]], [0, 1], given[2], given[3]).ticks(5);"
        " return [t, m.tickLabels(t, given[3])];",
        [low, high, log, unit],
    )
    assert 2 <= len(ticks) <= 16
    assert all(low * 0.999 <= tick <= high * 1.001 for tick in ticks)
    assert ticks == sorted(ticks)
    assert len(set(labels)) == len(labels)
    if unit == "bytes":
        assert all(re.fullmatch(r"\d{1,4} ([KM]iB|B)", label) for label in labels)


def test_a_table_as_csv_runs_no_formula(ask) -> None:  # type: ignore[no-untyped-def]
    text = ask(
        "charts/copy.js",
        "return m.asCsv(['a', 'b'], given);",
        [["=1+1", 'say "x", y'], ["@cmd", -1.5], ["plain", None]],
    )
    assert text == 'a,b\r\n\'=1+1,"say ""x"", y"\r\n\'@cmd,-1.5\r\nplain,\r\n'


def test_a_picture_as_svg_is_well_formed_and_escapes_text(ask) -> None:  # type: ignore[no-untyped-def]
    text = ask(
        "charts/pen.js",
        "const pen = new m.SvgPen(100, 50, 'a \"font\"', '#fff');"
        " pen.text('<script>&', 1, 2, {fill: '#000'});"
        " for (const kind of Object.keys(m.MARKS)) m.mark(pen, kind, 10, 10, 4, given);"
        " pen.dots([1, 2], [3, 4], 2, {radius: 1, fill: 'grey'}); return pen.document();",
        dict.fromkeys(("accent", "panel", "warn", "bad", "info", "faint"), "grey"),
    )
    root = ElementTree.fromstring(str(text))  # noqa: S314 - made here
    assert [element.text for element in root.iter("{http://www.w3.org/2000/svg}text")] == ["<script>&"]
    assert len(list(root.iter("{http://www.w3.org/2000/svg}circle"))) == 5


def test_every_standing_has_a_shape_of_its_own(ask) -> None:  # type: ignore[no-untyped-def]
    shapes = ask(
        "charts/pen.js",
        "const grey = {accent: 'g', panel: 'w', warn: 'g', bad: 'g', info: 'g', faint: 'g'};"
        " return Object.keys(m.MARKS).map((kind) => { const pen = new m.SvgPen(9, 9, 'f', 'w');"
        " m.mark(pen, kind, 4, 4, 4, grey); return pen.document(); });",
    )
    assert isinstance(shapes, list)
    assert len(set(shapes)) == len(shapes) == 5


def test_a_brush_in_the_address_comes_back_as_it_was(ask) -> None:  # type: ignore[no-untyped-def]
    found = ask(
        "pareto/model.js",
        "const read = m.readBrushes(given, ['accuracy', 'speed']); return [read, m.writeBrushes(read)];",
        "accuracy:0.9:0.95,speed:100:10000,memory:1:2,accuracy:x:y,speed",
    )
    assert found == [{"accuracy": [0.9, 0.95], "speed": [100, 10000]}, "accuracy:0.9:0.95,speed:100:10000"]


def test_settling_is_shown_by_sweep_with_its_phases(ask) -> None:  # type: ignore[no-untyped-def]
    settling = {
        "verdict": "oscillating", "period": 2, "free_steps": 3.0, "nudged_steps": 2.0,
        "free_energy": [1.0, 0.6, 0.5, 0.4], "free_residual": [1.0, 0.1, 0.01],
        "nudged_energy": [0.65, 0.6, 0.55], "nudged_residual": [0.2, 0.05],
    }  # fmt: skip
    said = ask(
        "charts/relaxation.js",
        "const host = document.createElement('div'); document.querySelector('#m').append(host);"
        " const made = m.relaxation(host, given); const slider = host.querySelector('input');"
        " slider.value = '4'; slider.dispatchEvent(new Event('input'));"
        " const text = [...host.querySelectorAll(':scope > p')].map((p) => p.textContent);"
        " made.end(); host.remove(); return text;",
        settling,
    )
    assert said == [
        "Sweep 4, nudged phase: energy 0.6, largest change 0.2",
        "It swings without end. Period 2. Mean sweeps: 3 free, 2 nudged.",
    ]


def test_copies_are_offered_in_three_forms(open_page: OpenPage) -> None:
    page = open_page("/pareto")
    page.wait_for_selector("#members tbody tr[data-row]")
    page.locator("#copying summary").click()
    for name, suffix in (("as CSV", "csv"), ("as SVG", "svg"), ("as PNG", "png")):
        if not page.locator("#copying details").evaluate("one => one.open"):
            page.locator("#copying summary").click()
        # Without the clipboard it becomes a file, which can be looked at.
        page.evaluate(
            "() => { navigator.clipboard.writeText = navigator.clipboard.write = () => Promise.reject(Error('no')) }"
        )
        with page.expect_download() as waiting:
            page.locator("#copying").get_by_text(name).click()
        body = waiting.value.path().read_bytes()
        assert waiting.value.suggested_filename == f"pareto-2d.{suffix}"
        starts = {"csv": b"genome,standing,accuracy", "svg": b"<svg", "png": b"\x89PNG"}
        assert body.startswith(starts[suffix])


def test_the_vendored_library_is_what_its_note_says() -> None:
    note = (VENDOR / "README.md").read_text(encoding="utf-8")
    for path in sorted((VENDOR / "uplot").iterdir()):
        assert hashlib.sha256(path.read_bytes()).hexdigest() in note, path.name
    assert "uPlot 1.6.32" in note
