"""The exported file: what it holds, what it leaves out, and that it opens from disk without asking anybody."""

import base64
import math
import re
import shutil
import sqlite3
import zlib
from pathlib import Path
from typing import Any

import msgspec
import pytest

from dashboard.kinship import Held, Kinship
from dashboard.redaction import REDACTED, redacted
from dashboard.report import bundle, make_report, report_of
from genome import Genome
from node.store.board import Board
from node.store.records import Reader
from node.store.writer import Writer
from tests.dashboard.conftest import OpenPage, axe, make_client, serving
from tests.node.conftest import Eqmesh, eqmesh
from tests.support.bigstore import make_big_store, spec

__all__ = ["eqmesh"]

COUNT = 300
PEER = "12D3KooWGzBkVJ1M9tT4Zr6f5s3GfU9o1mQnLxPy7wVb2cXdEhKa"


@pytest.fixture(scope="module")
def big(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("big") / "private-name.db"
    make_big_store(path, COUNT)
    return path


def opened(html: str) -> tuple[dict[str, Any], bytes]:
    """Header and planes of a file."""
    packed = re.search(r'id="data">([^<]+)<', html)
    assert packed
    data = zlib.decompress(base64.b64decode(packed[1]))
    length = int.from_bytes(data[:4], "little")
    return msgspec.json.decode(data[4 : 4 + length]), data[4 + length :]


def planes(body: bytes, begin: int, width: int) -> list[int]:
    parts = [body[begin + k * COUNT : begin + (k + 1) * COUNT] for k in range(width)]
    return [sum(part[at] << (8 * k) for k, part in enumerate(parts)) for at in range(COUNT)]


def test_the_file_holds_every_birth_and_score(big: Path) -> None:
    header, body = opened(report_of(big, None, redact=True).html)
    content = header["content"]
    sections = content["sections"]
    with Reader(big) as reader:
        births = list(reader.births())
        scores = {row.genome: row.objectives for row in reader.evaluations() if not row.failure}
        place = {row.genome: at for at, row in enumerate(births)}
        genomes: dict[str, Genome] = reader.genomes()
    gaps = [planes(body, sections[name], 3) for name in ("p1", "p2")]
    operators = planes(body, sections["operator"], 1)
    standings = planes(body, sections["standing"], 1)
    for at, row in enumerate(births):
        assert content["head"]["operators"][operators[at]] == row.birth.operator
        assert (standings[at] & 7 == content["head"]["standings"].index("failed")) is (
            row.genome not in scores
        )
        assert (standings[at] & 8 != 0) is (at in content["front"])
        known = [place[parent] for parent in row.birth.parents]
        assert [at - gap[at] for gap in gaps if gap[at]] == known
    ids = body[sections["ids"] : sections["ids"] + 3 * COUNT]
    assert [ids[3 * at : 3 * at + 3].hex() for at in range(COUNT)] == [row.genome[:6] for row in births]
    for name, scale in content["scales"].items():
        codes = planes(body, sections[f"value:{name}"], 2)
        span = scale["most"] - scale["least"]
        for at, row in enumerate(births):
            if row.genome not in scores:
                assert codes[at] == 0xFFFF
                continue
            value = scale["least"] + span * codes[at] / 0xFFFE
            wanted = scores[row.genome][name]
            assert value == pytest.approx(math.log(wanted) if scale["log"] else wanted, abs=span / 60_000)
    for at, exact in content["exact"].items():
        assert exact == scores[births[int(at)].genome]
        assert content["genes"][at] == dict(genomes[births[int(at)].genome].values)


def test_the_policy_allows_the_file_itself_alone(big: Path) -> None:
    html = report_of(big, None, redact=True).html
    policy = re.search(r'Content-Security-Policy" content="([^"]+)"', html)
    assert policy
    assert policy[1].startswith("default-src &#39;none&#39;") or policy[1].startswith("default-src 'none'")
    assert "http" not in re.sub(r'id="data">[^<]+<', "", html).replace("http-equiv", "")


def test_every_module_comes_after_what_it_needs(tmp_path: Path) -> None:
    modules = bundle("js/report/main.js")
    seen: set[str] = set()
    for name, text in modules.items():
        needed = set(re.findall(r'"module:([^"]+)"', text))
        assert needed <= seen, name
        assert not re.search(r'from "\.', text), name
        seen.add(name)
    assert list(modules)[-1] == "js/report/main.js"
    (tmp_path / "a.js").write_text('import { b } from "./b.js";\n')
    (tmp_path / "b.js").write_text('import { a } from "./a.js";\n')
    with pytest.raises(ValueError, match="ring"):
        bundle("a.js", tmp_path)


@pytest.mark.parametrize(
    "secret",
    [
        PEER,
        f"/ip4/10.1.2.3/tcp/4001/p2p/{PEER}",
        "/home/ada/nets/eqmesh.db",
        "~/nets/task.py:Mine",
        "../private/task.py",
        "C:\\Users\\ada\\x.db",
        "http://box.example.org:80/x",
        "10.1.2.3:4001",
        "fe80:0:0:0:1ff:fe23:4567:890a",
        "gpu7.lab.example.edu",
        "ada@example.org",
    ],
)
def test_what_names_a_person_or_a_machine_is_taken_out(secret: str) -> None:
    said = redacted(f"see {secret} there")
    assert said == f"see {REDACTED} there"


@pytest.mark.parametrize(
    "plain",
    ["mlp/1", "mutate/1", "random-sign 12-192 ce muon 0.0501 b8", "preset/ep@digits", "0.5 to 1e-3", "fp32"],
)
def test_plain_words_stay(plain: str) -> None:
    assert redacted(plain) == plain


def test_a_redacted_file_says_nothing_of_where_it_was_made(tmp_path: Path, big: Path) -> None:
    store = Path(shutil.copy(big, tmp_path / "private-name.db"))
    with sqlite3.connect(store) as connection:
        connection.execute(
            "UPDATE run SET task = '/home/hildegard/task.py', calibration = ?",
            ('{"machine":"secret box of hildegard"}',),
        )
        connection.execute("UPDATE birth SET operator = ? WHERE born = 3", (f"import/{PEER}",))
    for redact in (True, False):
        html = report_of(store, None, redact=redact).html
        everything = re.sub(r'id="data">[^<]+<', "", html) + str(opened(html)[0]["content"])
        for secret in ("private-name", "hildegard", "secret box", PEER):
            assert (secret in everything) is not redact, (secret, redact)


def test_text_of_strangers_cannot_leave_its_place(tmp_path: Path, big: Path) -> None:
    store = Path(shutil.copy(big, tmp_path / "s.db"))
    with sqlite3.connect(store) as connection:
        connection.execute("UPDATE run SET task = '</title></script><script>alert(1)</script>\u202e'")
    html = report_of(store, None, redact=True).html
    assert html.count("<script") == 2
    assert "\u202e" not in html + str(opened(html)[0])


def test_the_page_gives_the_file(big: Path) -> None:
    with make_client(big) as client:
        assert "One file of this run" in client.get("/export").text
        answer = client.get("/export/file?redact=on&run=1")
        assert answer.headers["content-disposition"] == 'attachment; filename="eqmesh-digits-run1.html"'
        assert opened(answer.text)[0]["content"]["count"] == COUNT
        assert client.get("/export/file?redact=perhaps").status_code == 400


@pytest.mark.parametrize("with_run", [False, True])
def test_a_store_without_births_has_a_file_too(tmp_path: Path, with_run: bool) -> None:
    with Writer(tmp_path / "s.db", now=lambda: 1.0) as writer:
        if with_run:
            writer.begin_run(spec())
    with make_client(tmp_path / "s.db") as client:
        assert client.get("/export").status_code == 200
        answer = client.get("/export/file")
    assert answer.status_code == 200
    assert opened(answer.text)[0]["content"]["count"] == 0


def test_the_command_writes_the_file(eqmesh: Eqmesh, big: Path, tmp_path: Path) -> None:
    code, _, err = eqmesh("dashboard", "export", "--store", str(big), "--output", "run.html")
    assert (code, err.split(":")[0]) == (0, "wrote run.html")
    assert opened((tmp_path / "run.html").read_text(encoding="utf-8"))[0]["content"]["count"] == COUNT
    assert eqmesh("dashboard", "export", "--store", "none.db", "--output", "x.html")[0] == 1
    assert not (tmp_path / "x.html").exists()


@pytest.mark.browser
@pytest.mark.parametrize(("theme", "width"), [("contrast", 1280), ("light", 360)])
def test_the_export_page_gives_a_download(open_page: OpenPage, big: Path, theme: str, width: int) -> None:
    with serving(big) as dashboard:
        page: Any = open_page("/export", dashboard=dashboard, theme=theme, width=width)
        assert axe(page) == []
        assert page.evaluate("document.documentElement.scrollWidth <= innerWidth + 1")
        with page.expect_download() as got:
            page.click("button:text-is('Make the file')")
        assert got.value.suggested_filename == "eqmesh-digits-run1.html"


@pytest.mark.browser
@pytest.mark.parametrize("theme", ["dark", "light"])
def test_the_file_opens_from_disk_and_asks_nobody(
    browser: Any, big: Path, tmp_path: Path, theme: str
) -> None:
    path = tmp_path / "run.html"

    def question(held: Held) -> tuple[str, list[float], list[int]]:
        return make_report(board, held, now=1.8e9).html, list(held.layout("wedges").y), held.living

    with Board(big) as board:
        html, places, living = Kinship().ask(board, None, question)
    path.write_text(html, encoding="utf-8")
    context = browser.new_context(color_scheme=theme, viewport={"width": 1280, "height": 800})
    page = context.new_page()
    errors: list[str] = []
    asked: list[str] = []
    page.on("console", lambda said: errors.append(said.text) if said.type == "error" else None)
    page.on("pageerror", lambda error: errors.append(str(error)))
    page.on("request", lambda request: asked.append(request.url))
    page.goto(path.as_uri())
    page.wait_for_selector("body[data-ready=true]", state="attached")
    page.wait_for_selector(".cv[data-painted]", state="attached")
    assert [url for url in asked if not url.startswith("blob:")] == [path.as_uri()]
    page.keyboard.press("]")
    page.wait_for_selector(".lin .gid")
    assert page.locator("#genomes tbody tr").count() == 50
    # The file lays the tree out itself: it must stand as the server's does.
    found = page.evaluate("document.querySelector('#lineage').placesOfBirths()")
    assert found == pytest.approx(places, abs=1e-3)
    assert len(living) == int(page.text_content("#front summary:text-matches('genomes$')").split()[2])
    assert axe(page) == []
    assert errors == []
    context.close()
