import base64
import re
from html.parser import HTMLParser
from pathlib import Path

import pytest

from evaluator.incremental.plots import draw
from evaluator.incremental.records import Run
from evaluator.incremental.report import (
    Heading,
    Image,
    Items,
    Table,
    Text,
    to_html,
    to_markdown,
    write_report,
)
from evaluator.incremental.summary import summarise


class Tags(HTMLParser):
    """Collects tags with their attributes, and complains where they do not close in order."""

    def __init__(self) -> None:
        super().__init__()
        self.found: list[tuple[str, dict[str, str | None]]] = []
        self.open: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.found.append((tag, dict(attrs)))
        if tag not in ("meta", "img"):
            self.open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag


@pytest.fixture(scope="module")
def written(runs: tuple[Run, ...], tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("report")
    paths = write_report(folder, summarise(runs, ()), runs, draw(folder, runs))
    assert [path.name for path in paths] == ["report.md", "report.html"]
    return folder


def test_html_is_one_file_that_asks_for_nothing(written: Path) -> None:
    text = (written / "report.html").read_text()
    tags = Tags()
    tags.feed(text)
    assert not tags.open
    names = [name for name, _ in tags.found]
    assert not {"script", "link", "iframe", "object", "a"} & set(names)
    sources = [value for _, attributes in tags.found for key, value in attributes.items() if key == "src"]
    assert len(sources) == 4
    for name, source in zip(("regimes", "errors", "growth", "reconstructions"), sources, strict=True):
        kind, _, data = str(source).partition(",")
        assert kind == "data:image/png;base64"
        assert base64.b64decode(data) == (written / f"{name}.png").read_bytes()
    without = re.sub(r'src="data:[^"]*"', "", text)
    assert "http:" not in without and "https:" not in without and "url(" not in without
    assert "default-src 'none'" in without


def test_both_forms_have_the_numbers_of_every_run(written: Path, runs: tuple[Run, ...]) -> None:
    markdown, page = ((written / name).read_text() for name in ("report.md", "report.html"))
    for run in runs:
        result = run.manifest.result
        row = f"| `{result.variant}` | {result.seed} | {result.macro_mse:.4f} | {result.forgetting:.4f} |"
        assert row in markdown
        cells = f"<td>{result.seed}</td><td>{result.macro_mse:.4f}</td><td>{result.forgetting:.4f}</td>"
        assert f"<td><code>{result.variant}</code></td>{cells}" in page
        assert run.manifest.run[:16] in markdown
    for one in summarise(runs, ()).comparisons:
        assert f"- {one.words}\n" in markdown
    assert "(errors.png)" in markdown
    assert "were read 0 times" in markdown


def test_sizes_that_differ_between_seeds_are_spans(written: Path, runs: tuple[Run, ...]) -> None:
    a, b = (run.manifest.result.sizes for run in runs[:2])
    spans = [str(x) if x == y else f"{min(x, y)}..{max(x, y)}" for x, y in zip(a, b, strict=True)]
    assert f"| {' - '.join(spans)} |" in (written / "report.md").read_text()


def test_text_is_escaped_and_code_marked() -> None:
    blocks = [Heading(1, "a < b"), Text("x & `y<z`"), Items(("`q`",)), Table(("h",), (("<c>",),))]
    page = to_html(blocks)
    assert "<h1>a &lt; b</h1>" in page and "<title>a &lt; b</title>" in page
    assert "<p>x &amp; <code>y&lt;z</code></p>" in page
    assert "<li><code>q</code></li>" in page
    assert "<td>&lt;c&gt;</td>" in page
    expected = "# a < b\n\nx & `y<z`\n\n- `q`\n\n| h |\n| --- |\n| <c> |\n\n![what](p.png)\n"
    assert to_markdown([*blocks, Image(Path("somewhere/p.png"), "what")]) == expected


def test_unfinished_runs_and_missing_pairs_are_told(runs: tuple[Run, ...], tmp_path: Path) -> None:
    alone = [run for run in runs if run.manifest.result.variant == "ndl"]
    write_report(tmp_path, summarise(alone, ("cl, seed 0",)), alone, [])
    text = (tmp_path / "report.md").read_text()
    assert "not counted: cl, seed 0." in text
    assert "no two of a pair share one" in text
