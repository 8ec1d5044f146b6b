"""One HTML file with a run's front, lineage and genomes, for people without eqmesh: it opens from disk.

The file holds its numbers as deflated planes of bytes and its modules as deflated text; a start-up script unpacks both.
Nothing is loaded from elsewhere: the policy in its head forbids it.
"""

import base64
import hashlib
import math
import posixpath
import re
import sys
import zlib
from array import array
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import jinja2
import msgspec

from dashboard.kinship import Held, Kinship, told_objective
from dashboard.plain import now_s
from dashboard.redaction import redacted
from dashboard.text import clean
from eqmesh import __version__
from node.store.board import Board
from node.store.board.kin import STANDINGS, Kin, all_ids, genomes_at, steps

__all__ = ["Report", "bundle", "make_report", "report_of"]

_FOLDER = Path(__file__).parent
_STATIC = _FOLDER / "static"
_ENTRY = "js/report/main.js"
_STYLES = ("css/app.css", "css/lineage.css", "css/charts.css", "css/report.css")
_NONE = 0xFFFF
_ID_BYTES = 3
_IMPORT = re.compile(r'^(\s*(?:import|export)\b[^"\';]*?\bfrom\s*|import\s*)"(\.{1,2}/[^"]+)";', re.MULTILINE)
_COMMENT = re.compile(r"^\s*(?://[^\n]*|/\*\*(?:[^*]|\*(?!/))*\*/)\s*\n", re.MULTILINE)
# Lines of descent may be long and many: what a file tells of the births on them stays within bounds.
_MOST_DETAILS = 20_000
_MOST_S = 300.0

# Unpacks the rest of the file. Each module gets an address of its own, which stands in the text of those that need it.
_START = """
const packed = atob(document.getElementById("data").textContent.trim());
const raw = Uint8Array.from(packed, (letter) => letter.charCodeAt(0));
const stream = new Blob([raw]).stream().pipeThrough(new DecompressionStream("deflate"));
const bytes = new Uint8Array(await new Response(stream).arrayBuffer());
const length = new DataView(bytes.buffer).getUint32(0, true);
const header = JSON.parse(new TextDecoder().decode(bytes.subarray(4, 4 + length)));
const sheet = new CSSStyleSheet();
sheet.replaceSync(header.style);
document.adoptedStyleSheets = [sheet];
const places = {};
for (const [name, text] of header.modules) {
  const linked = text.replace(/"module:([^"]+)"/g, (_, other) => JSON.stringify(places[other]));
  places[name] = URL.createObjectURL(new Blob([linked], { type: "text/javascript" }));
}
const { show } = await import(places[header.modules.at(-1)[0]]);
await show(header.content, bytes.subarray(4 + length));
"""


@dataclass(frozen=True)
class Report:
    """A file's text, and how many genomes it holds."""

    html: str
    count: int

    @property
    def size_bytes(self) -> int:
        """Its size as UTF-8."""
        return len(self.html.encode())


def make_report(board: Board, held: Held, *, now: float, redact: bool = True) -> Report:
    """The file of one run's lineage. `now` is seconds since the epoch.

    With `redact`, text loses peer ids, paths, addresses and host names, and the store's name and the machine stay out.
    """
    word = redacted if redact else clean
    content, body = _content(board, held, word, now, named=not redact)
    header = msgspec.json.encode(
        {"content": content, "modules": list(bundle(_ENTRY).items()), "style": _style()}
    )
    packed = zlib.compress(len(header).to_bytes(4, "little") + header + body, 9)
    environment = jinja2.Environment(
        loader=jinja2.FileSystemLoader(_FOLDER / "templates"),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
    )
    html = environment.get_template("report.html").render(
        title=str(dict(content["facts"])["run"]),
        policy=_policy(),
        start=_START,
        data=base64.b64encode(packed).decode(),
    )
    return Report(html=html, count=len(held.kin))


def report_of(store: Path, run: int | None, *, redact: bool, kinship: Kinship | None = None) -> Report:
    """The file of one run of a store (None: the one worked on last), dated now; `kinship` may hold its lineage already.

    Raises BoardError, also where it takes more than five minutes, and NotFoundError for a run that is not there.
    """
    with Board(store, most_s=_MOST_S) as board:
        return (kinship or Kinship()).ask(
            board, run, lambda held: make_report(board, held, now=now_s(), redact=redact)
        )


def _policy() -> str:
    digest = base64.b64encode(hashlib.sha256(_START.encode()).digest()).decode()
    # Modules come from addresses that the start-up script makes, styles from sheets that it makes.
    return f"default-src 'none'; script-src 'sha256-{digest}' blob:; img-src data:; base-uri 'none'; form-action 'none'"


# What the file says


def _content(
    board: Board, held: Held, word: Callable[[object], str], now: float, *, named: bool
) -> tuple[dict[str, Any], bytes]:
    """The header's content and the planes behind it. Any: a document, whose parts the page knows by name."""
    kin = held.kin
    objectives = () if kin.run is None else kin.run.objectives
    columns = _integers(kin, held)
    scales: dict[str, dict[str, object]] = {}
    for objective in objectives:
        scale, codes = _steps(kin.values(objective.name), log=objective.scale == "log")
        scales[objective.name] = scale
        columns[f"value:{objective.name}"] = (codes, 2)
    sections, body = _planes(columns)
    sections["ids"] = len(body)
    told = _told(board, kin, held.living)
    content = {
        "count": len(kin),
        "sections": sections,
        "scales": scales,
        "front": held.living,
        "facts": _facts(board, held, word, now, named=named),
        "details": {
            str(at): {
                # The front's genomes are named in full; who led there, by what changed.
                **({"id": step["id"], "summary": word(step["summary"])} if at in told.front else {}),
                "changes": _worded(step["changes"], word),
                **({"second": _worded(step["second"], word)} if at in told.front else {}),
            }
            for at, step in told.steps.items()
        },
        "genes": {
            str(at): {name: word(value) if isinstance(value, str) else value for name, value in genes.items()}
            for at, genes in told.front.items()
        },
        "exact": {str(at): kin.values_at(at) for at in told.front},
        "head": {
            "operators": [word(name) for name in kin.operators],
            "standings": STANDINGS,
            "living": held.living,
            "fresh": [],
            "objectives": [
                {name: word(value) for name, value in told_objective(objective).items()}
                for objective in objectives
            ],
            "run": None if kin.run is None else kin.run.id,
        },
    }
    return content, body + _identifiers(board, kin)


@dataclass(frozen=True)
class _Told:
    """Steps of the births on lines to the living, by place, and the genes of the living themselves."""

    steps: dict[int, dict[str, Any]]
    front: dict[int, dict[str, object]]


def _told(board: Board, kin: Kin, living: Sequence[int]) -> _Told:
    wanted: dict[int, None] = {}
    for one in living:
        at = one
        while at >= 0 and at not in wanted and len(wanted) < _MOST_DETAILS:
            wanted[at] = None
            at = kin.first[at]
    found = {
        step.at: {
            "id": step.id,
            "summary": step.summary,
            "changes": [(change.gene, change.before, change.after) for change in step.changes],
            "second": [(change.gene, change.before, change.after) for change in step.against_second],
        }
        for part in _parts(sorted(wanted), 500)
        for step in steps(board, kin, part)
    }
    genomes = genomes_at(board, kin, living)
    return _Told(steps=found, front={at: dict(genome.values) for at, genome in genomes.items()})


def _parts(places: Sequence[int], size: int) -> Iterable[Sequence[int]]:
    return (places[begin : begin + size] for begin in range(0, len(places), size))


def _worded(
    changes: Iterable[tuple[str, object, object]], word: Callable[[object], str]
) -> list[list[object]]:
    return [
        [word(gene), *(word(value) if isinstance(value, str) else value for value in values)]
        for gene, *values in changes
    ]


def _facts(
    board: Board, held: Held, word: Callable[[object], str], now: float, *, named: bool
) -> list[tuple[str, object]]:
    run, kin = held.kin.run, held.kin
    failed = sum(1 for standing in kin.standing if standing == STANDINGS.index("failed"))
    facts: list[tuple[str, object]] = [
        (
            "run",
            "imports alone" if run is None else f"{word(run.task)}, {word(run.tier)}, {word(run.arithmetic)}",
        ),
        ("genomes", len(kin)),
        ("on the front", len(held.living)),
        ("failed", failed),
    ]
    if run is not None:
        facts += [("space", word(run.space)), ("strategy", word(run.strategy)), ("seed", run.seed)]
    facts += [
        ("written", datetime.fromtimestamp(now, UTC).strftime("%Y-%m-%d %H:%M UTC")),
        ("by", f"eqmesh {__version__}"),
    ]
    if named:
        facts += [("store", word(board.path.resolve())), *_machine(board, held, word)]
    return facts


def _machine(board: Board, held: Held, word: Callable[[object], str]) -> list[tuple[str, object]]:
    if held.kin.run is None:
        return []
    row = board.connection.execute(
        "SELECT json_extract(calibration, '$.machine') FROM run WHERE id = ?", (held.kin.run.id,)
    ).fetchone()
    return [("machine", word(row[0]))] if row and row[0] else []


# Numbers as planes of bytes: what is alike lies together, and deflates well


def _integers(kin: Kin, held: Held) -> dict[str, tuple[Sequence[int], int]]:
    """Columns of whole numbers and their bytes: parents as steps back (0 for none), births as steps from the last."""
    born = kin.born
    return {
        "p1": ([at - parent if parent >= 0 else 0 for at, parent in enumerate(kin.first)], 3),
        "p2": ([at - parent if parent >= 0 else 0 for at, parent in enumerate(kin.second)], 3),
        "birth": (
            [min(0xFFFF, one - before) for one, before in zip(born, (0, *born)[: len(born)], strict=True)],
            2,
        ),
        "operator": (kin.operator, 1),
        "standing": (held.standings(), 1),
    }


def _planes(columns: Mapping[str, tuple[Sequence[int], int]]) -> tuple[dict[str, int], bytes]:
    """Where each column begins, and all of them: the lowest bytes of a column first, then the next ones."""
    begins: dict[str, int] = {}
    body = bytearray()
    for name, (values, width) in columns.items():
        begins[name] = len(body)
        # An iterator: of bytes as they are, array would take four for one number.
        packed = array("i", iter(values))
        if sys.byteorder == "big":
            packed.byteswap()
        raw = packed.tobytes()
        for byte in range(width):
            body += raw[byte :: packed.itemsize]
    return begins, bytes(body)


def _steps(values: "array[float]", *, log: bool) -> tuple[dict[str, object], list[int]]:
    """Values in 65,534 steps of their range, on its scale; 65,535 stands for none."""
    scale = math.log if log else float
    known = [scale(value) for value in values if not math.isnan(value) and (value > 0 or not log)]
    least, most = min(known, default=0.0), max(known, default=1.0)
    span = (most - least) or 1.0
    codes = [
        _NONE
        if math.isnan(value) or (log and value <= 0)
        else round((scale(value) - least) / span * (_NONE - 1))
        for value in values
    ]
    return {"least": least, "most": least + span, "log": log}, codes


def _identifiers(board: Board, kin: Kin) -> bytes:
    """The first six digits of every id: enough to name a genome to eqmesh."""
    return b"".join(bytes.fromhex(genome[: 2 * _ID_BYTES]) for genome in all_ids(board, kin))


# Modules and styles


def bundle(entry: str, root: Path = _STATIC) -> dict[str, str]:
    """The text of a module and of all that it imports, each after what it needs; imports become `module:` names.

    Raises ValueError where modules import each other in a ring, which could not be given addresses one by one.
    """
    found: dict[str, str] = {}
    open_: list[str] = []

    def add(name: str) -> None:
        if name in found:
            return
        if name in open_:
            raise ValueError(
                f"modules of a file must not import each other in a ring: {' -> '.join([*open_, name])}"
            )
        open_.append(name)
        text = (root / name).read_text(encoding="utf-8")

        def linked(match: re.Match[str]) -> str:
            other = posixpath.normpath(posixpath.join(posixpath.dirname(name), match[2]))
            add(other)
            return f'{match[1]}"module:{other}";'

        found_text = _IMPORT.sub(linked, _COMMENT.sub("", text))
        open_.pop()
        found[name] = re.sub(r"^ +", "", found_text, flags=re.MULTILINE)

    add(entry)
    return found


def _style() -> str:
    texts = [(_STATIC / name).read_text(encoding="utf-8") for name in _STYLES if (_STATIC / name).exists()]
    joined = re.sub(r"/\*.*?\*/", "", "\n".join(texts), flags=re.DOTALL)
    return re.sub(r"\s*\n\s*", "\n", joined).strip()
