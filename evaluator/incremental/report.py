"""The report of an experiment as Markdown, and as one HTML file that needs nothing beside it."""

import base64
import html
import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TypeAlias

from evaluator.incremental.messages import Estimate, RegimeSummary, Summary
from evaluator.incremental.records import Run
from evaluator.weights import spool

__all__ = [
    "Block",
    "Heading",
    "Image",
    "Items",
    "Table",
    "Text",
    "blocks_of",
    "to_html",
    "to_markdown",
    "write_report",
]


@dataclass(frozen=True)
class Heading:
    """A heading of level 1 or below."""

    level: int
    text: str


@dataclass(frozen=True)
class Text:
    """A paragraph; what stands in backticks is code."""

    text: str


@dataclass(frozen=True)
class Items:
    """A list of paragraphs."""

    texts: tuple[str, ...]


@dataclass(frozen=True)
class Table:
    """A table of texts, all rows as long as the header."""

    header: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]


@dataclass(frozen=True)
class Image:
    """A PNG file in the report's folder, and what it shows."""

    path: Path
    caption: str


Block: TypeAlias = Heading | Text | Items | Table | Image

_CAPTIONS = {
    "regimes": "Regimes side by side: mean over seeds with its 95 % interval, and every seed.",
    "errors": "Reconstruction error of each class after each stage. Right of the line a class was not learned yet.",
    "growth": "Units that each class added to each level.",
    "reconstructions": "Originals above what each regime makes of them at the end, and what its replay draws.",
}

# No script, no request: images lie in the file, and a reader's browser is told to load nothing else.
_POLICY = "default-src 'none'; img-src data:; style-src 'unsafe-inline'"
_STYLE = (
    "body{font:16px/1.5 sans-serif;max-width:70rem;margin:2rem auto;padding:0 1rem;color:#111;background:#fff}"
    "table{border-collapse:collapse;margin:1rem 0;font-size:.9rem;display:block;overflow-x:auto}"
    "td,th{border:1px solid #bbb;padding:.25rem .6rem;text-align:left;white-space:nowrap}"
    "th{background:#eee}img{max-width:100%}figure{margin:1.5rem 0}figcaption{color:#444;font-size:.9rem}"
    "code{background:#f1f1f1;padding:0 .2rem}"
)


def write_report(folder: Path, summary: Summary, runs: Sequence[Run], plots: Sequence[Path]) -> list[Path]:
    """Write report.md and report.html into the folder; gives their paths. Raises SurroundingsError."""
    blocks = blocks_of(summary, runs, plots)
    texts = {".md": to_markdown(blocks), ".html": to_html(blocks)}
    return [spool(folder, "report", text.encode(), suffix=suffix) for suffix, text in texts.items()]


def blocks_of(summary: Summary, runs: Sequence[Run], plots: Sequence[Path]) -> list[Block]:
    """What a report says, in order."""
    blocks: list[Block] = [Heading(1, f"Class-incremental learning: {summary.data}"), Text(_what(summary))]
    if summary.unfinished:
        blocks.append(Text(f"Begun and not finished, so not counted: {'; '.join(summary.unfinished)}."))
    blocks += [Heading(2, "Results"), _results(summary.regimes), Text(_READING)]
    blocks += [Heading(2, "Regimes compared")]
    if summary.comparisons:
        blocks += [Items(tuple(one.words for one in summary.comparisons)), Text(_PAIRED)]
    else:
        blocks.append(Text("Regimes are compared on the seeds they share; here no two of a pair share one."))
    blocks += [Image(path, _CAPTIONS[path.stem]) for path in plots]
    blocks += [Heading(2, "Error of each class at the end"), _classes(summary)]
    blocks += [Heading(2, "Every run"), _runs(runs), Heading(2, "Where this comes from"), _origin(summary)]
    blocks.append(Items(tuple(_hashes(run) for run in runs)))
    return blocks


_READING = (
    "Mean over seeds, and where there are two seeds or more the 95 % interval of the mean (Student's t). MSE is per "
    "pixel, of samples never learned from, and a class counts like any other. Forgetting is how much a class's MSE "
    "rose from its best earlier value; backward transfer is how much it fell since its class was learned (below 0: it "
    "rose). Accuracy is that of the replay's Gaussians at naming codes; regimes without replay have none. Samples are "
    "counted as often as they were presented."
)
_PAIRED = "Differences are paired by seed. Each interval is of 95 % by itself, not corrected for there being several."


def _what(summary: Summary) -> str:
    order = ", ".join("+".join(map(str, labels)) for labels in summary.order)
    read = sum(regime.old_readings for regime in summary.regimes if not regime.variant.endswith("data"))
    return (
        "Stacked autoencoders learn classes one after another, trained by backpropagation (Draelos et al. 2017). "
        f"Order of the classes: {order}. `ndl` grows and `cl` has the size that `ndl` ends with; `+ir` replays what "
        f"the network itself remembers. Training data of an old class were read {read} times in these regimes."
    )


def _results(regimes: Sequence[RegimeSummary]) -> Table:
    header = (
        "regime", "seeds", "macro MSE", "forgetting", "backward transfer", "accuracy", "final sizes",
        "samples presented", "seconds",
    )  # fmt: skip
    return Table(header, tuple(_result(regime) for regime in regimes))


def _result(regime: RegimeSummary) -> tuple[str, ...]:
    return (
        f"`{regime.variant}`",
        str(len(regime.seeds)),
        _cell(regime.macro_mse),
        _cell(regime.forgetting),
        _cell(regime.backward_transfer),
        "none" if regime.accuracy is None else _cell(regime.accuracy, digits=3),
        _sizes(regime.sizes),
        f"{regime.presented.mean:,.0f}",
        f"{regime.seconds.mean:.1f}",
    )


def _cell(found: Estimate, *, digits: int = 4) -> str:
    mean = f"{found.mean:.{digits}f}"
    if found.low is None or found.high is None:
        return mean
    return f"{mean} [{found.low:.{digits}f}, {found.high:.{digits}f}]"


def _sizes(sizes: Sequence[Sequence[int]]) -> str:
    """Units of each layer, from smallest to largest where seeds differ."""
    spans = [(min(column), max(column)) for column in zip(*sizes, strict=True)]
    return " - ".join(str(low) if low == high else f"{low}..{high}" for low, high in spans)


def _classes(summary: Summary) -> Table:
    labels = [str(label) for stage in summary.order for label in stage]
    rows = tuple(
        (f"`{regime.variant}`", *(f"{value:.4f}" for value in regime.class_mse)) for regime in summary.regimes
    )
    return Table(("regime", *labels), rows)


def _runs(runs: Sequence[Run]) -> Table:
    header = (
        "regime", "seed", "macro MSE", "forgetting", "backward transfer", "final sizes", "cap met",
        "samples presented", "seconds",
    )  # fmt: skip
    results = [run.manifest.result for run in runs]
    return Table(
        header,
        tuple(
            (
                f"`{one.variant}`",
                str(one.seed),
                f"{one.macro_mse:.4f}",
                f"{one.forgetting:.4f}",
                f"{one.backward_transfer:.4f}",
                _sizes([one.sizes]),
                "yes" if one.cap_hit else "no",
                f"{one.presented:,}",
                f"{one.seconds:.1f}",
            )
            for one in results
        ),
    )


def _origin(summary: Summary) -> Items:
    versions = ", ".join(f"{name} {version}" for name, version in sorted(summary.versions.items()))
    return Items(
        (
            f"data: SHA-256 `{summary.data_sha256}`",
            f"settings: SHA-256 `{summary.settings_sha256}`",
            f"versions: {versions}",
            "every file below had the SHA-256 of its manifest when this was written, and results followed from them",
        )
    )


def _hashes(run: Run) -> str:
    files = ", ".join(f"{name} `{sha256[:16]}`" for name, sha256 in sorted(run.manifest.files.items()))
    result = run.manifest.result
    return f"`{result.variant}`, seed {result.seed}: run `{run.manifest.run[:16]}`, {files}"


def to_markdown(blocks: Sequence[Block]) -> str:
    """The blocks as Markdown; images are links to files beside it."""
    return "\n\n".join(_markdown(block) for block in blocks) + "\n"


def _markdown(block: Block) -> str:
    if isinstance(block, Heading):
        return f"{'#' * block.level} {block.text}"
    if isinstance(block, Items):
        return "\n".join(f"- {text}" for text in block.texts)
    if isinstance(block, Table):
        lines = (block.header, ("---",) * len(block.header), *block.rows)
        return "\n".join(f"| {' | '.join(line)} |" for line in lines)
    if isinstance(block, Image):
        return f"![{block.caption}]({block.path.name})"
    return block.text


def to_html(blocks: Sequence[Block]) -> str:
    """The blocks as one HTML document: images inlined, no script, nothing that is requested from elsewhere."""
    title = next((block.text for block in blocks if isinstance(block, Heading)), "Report")
    body = "\n".join(_html(block) for block in blocks)
    return (
        '<!doctype html>\n<html lang="en">\n<head>\n<meta charset="utf-8">\n'
        f'<meta http-equiv="Content-Security-Policy" content="{_POLICY}">\n'
        '<meta name="viewport" content="width=device-width">\n'
        f"<title>{html.escape(title)}</title>\n<style>{_STYLE}</style>\n</head>\n<body>\n{body}\n</body>\n</html>\n"
    )


def _html(block: Block) -> str:
    if isinstance(block, Heading):
        return f"<h{block.level}>{_inline(block.text)}</h{block.level}>"
    if isinstance(block, Items):
        return "<ul>\n" + "\n".join(f"<li>{_inline(text)}</li>" for text in block.texts) + "\n</ul>"
    if isinstance(block, Table):
        head = "".join(f"<th>{_inline(cell)}</th>" for cell in block.header)
        rows = ("".join(f"<td>{_inline(cell)}</td>" for cell in row) for row in block.rows)
        return f"<table>\n<tr>{head}</tr>\n" + "\n".join(f"<tr>{row}</tr>" for row in rows) + "\n</table>"
    if isinstance(block, Image):
        data = base64.b64encode(block.path.read_bytes()).decode()
        caption = html.escape(block.caption)
        picture = f'<img alt="{caption}" src="data:image/png;base64,{data}">'
        return f"<figure>{picture}<figcaption>{caption}</figcaption></figure>"
    return f"<p>{_inline(block.text)}</p>"


def _inline(text: str) -> str:
    return re.sub(r"`([^`]*)`", r"<code>\1</code>", html.escape(text))
