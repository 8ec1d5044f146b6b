"""The application's own answers: errors as pages and as JSON, the search field, orders to a node, text of strangers."""

import json
import os
import shutil
import socket
import socketserver
import sqlite3
import struct
import threading
from array import array
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from html.parser import HTMLParser
from pathlib import Path

import pytest
from starlette.testclient import TestClient

from dashboard.app import make_app
from dashboard.columns import column, pack
from dashboard.guard import Guard
from dashboard.text import clean
from genome import Genome
from node.orders import Answer, Done, NodeState, Order, Pause, Queue, Refused, Status, Verify, decode_order
from node.store.board import Board, BoardError
from node.store.board.runs import choose, counts, runs
from node.store.connection import newest_schema
from node.store.records import Reader
from node.store.writer import Writer
from tests.dashboard.conftest import TOKEN, make_client

HOSTILE = "<img src=x onerror=alert(1)>\u202egnp.exe\u0000\x1b[31m"


class Found(HTMLParser):
    """Tags of a page, and attributes that must not be there."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.tags: list[str] = []
        self.inline: list[str] = []
        self.feed(text)

    def handle_starttag(self, tag: str, attributes: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)
        self.inline += [name for name, _ in attributes if name == "style" or name.startswith("on")]


# Errors


def test_a_missing_store_is_told_with_its_path_and_what_to_do(tmp_path: Path) -> None:
    with make_client(tmp_path / "none.db") as client:
        answer = client.get("/pareto")
        assert answer.status_code == 503
        assert "No store yet" in answer.text and str(tmp_path / "none.db") in answer.text
        assert "data-retry" in answer.text
        found = client.get("/api/events").json()
        assert found["title"] == "No store yet" and "eqmesh search" in found["error"]
        assert client.get("/api/node").json() == {"running": False, "commands": True, "state": None}


@pytest.mark.parametrize(
    ("version", "trouble", "title"),
    [(newest_schema() + 1, "newer", "A newer eqmesh"), (newest_schema() - 1, "older", "An older eqmesh")],
)
def test_a_store_of_another_schema_is_told(store: Path, version: int, trouble: str, title: str) -> None:
    with sqlite3.connect(store) as connection:
        connection.execute(f"PRAGMA user_version = {version}")
    connection.close()
    with pytest.raises(BoardError) as found:
        Board(store)
    assert found.value.trouble == trouble
    with make_client(store) as client:
        answer = client.get("/pareto")
        assert (answer.status_code, title in answer.text) == (503, True)


def test_a_file_that_is_no_store_is_told(tmp_path: Path) -> None:
    (tmp_path / "text.db").write_text("this is no database at all, but long enough to be taken for one" * 50)
    other = sqlite3.connect(tmp_path / "other.db")
    other.execute("CREATE TABLE t (a)")
    other.commit()
    other.close()
    for name in ("text.db", "other.db"):
        with make_client(tmp_path / name) as client:
            answer = client.get("/api/search?q=a")
            assert (answer.status_code, answer.json()["title"]) == (503, "This file is no store")


def test_a_question_that_takes_too_long_is_given_up(store: Path) -> None:
    endless = "WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n) SELECT max(i) FROM n"
    with pytest.raises(BoardError, match="could not be read") as found, Board(store, most_s=0.0) as board:
        board.connection.execute(endless).fetchone()
    assert found.value.trouble == "busy"


def test_a_board_writes_nothing(store: Path) -> None:
    with pytest.raises(BoardError, match="readonly"), Board(store) as board:
        board.connection.execute("DELETE FROM objective")


def test_a_page_that_is_not_there_and_a_run_that_is_not_there(client: TestClient) -> None:
    answer = client.get("/nothing/<b>")
    assert answer.status_code == 404 and "<b>" not in answer.text and "&lt;b&gt;" in answer.text
    assert client.get("/pareto?run=77").status_code == 404
    assert "Its newest runs: 1" in client.get("/pareto?run=77").text
    assert client.get("/pareto?run=x").status_code == 400
    assert client.get("/api/events?limit=x").status_code == 400


def test_an_empty_store_has_no_run_and_its_pages_say_so(tmp_path: Path) -> None:
    Writer(tmp_path / "empty.db", now=lambda: 0.0).close()
    with Board(tmp_path / "empty.db") as board:
        assert (choose(board, None).run, runs(board), counts(board).evaluations) == (None, [], 0)
    with make_client(tmp_path / "empty.db") as client:
        assert client.get("/api/events").json() == {"events": []}
        assert client.get("/api/search?q=a").json() == {"found": []}


# Runs and events


def test_the_run_shown_is_the_one_worked_on_last(store: Path) -> None:
    with Board(store) as board:
        (head,) = runs(board)
        assert choose(board, None).run == choose(board, head.id).run == head
        assert counts(board).evaluations == head.evaluations > 14
        assert [each.name for each in head.objectives] == ["accuracy", "speed", "memory"]
    with sqlite3.connect(store) as connection:
        columns = "seed, task, task_id, tier, space, strategy, arithmetic, settings"
        connection.execute(
            f"INSERT INTO run (key, {columns}, created_at) SELECT 'other', {columns}, created_at - 9 FROM run"  # noqa: S608
        )
    with Board(store) as board:
        found = choose(board, None)
        assert found.run is not None and found.run.id == 1, "the other is older and has no results"
        assert [run.id for run in found.runs] == [2, 1]
    with sqlite3.connect(store) as connection:
        connection.execute("UPDATE run SET created_at = created_at + 1e6 WHERE id = 2")
    with Board(store) as board:
        found = choose(board, None)
        assert found.run is not None and (found.run.id, found.run.evaluations) == (2, 0)


def test_events_come_newest_first_or_since_a_number(client: TestClient, searched: Path) -> None:
    with Reader(searched) as reader:
        every = [row.seq for row in reader.events()]
    newest = client.get("/api/events?limit=3").json()["events"]
    assert [each["seq"] for each in newest] == every[:-4:-1]
    assert newest[0]["kind"] == "run.finished" and newest[0]["body"]["run"] == 1
    since = client.get("/api/events?after=2&limit=2").json()["events"]
    assert [each["seq"] for each in since] == every[2:4]
    kinds = client.get("/api/events?kinds=run.started,run.finished").json()["events"]
    assert [each["kind"] for each in kinds] == ["run.finished", "run.started"]


def test_the_search_field_finds_genomes_by_their_first_digits_and_tasks(
    client: TestClient, searched: Path
) -> None:
    with Reader(searched) as reader:
        genome = reader.evaluations()[0].genome
    found = client.get(f"/api/search?q={genome[:5].upper()}&run=1").json()["found"]
    assert {"kind": "genome", "label": genome, "href": f"/genome/{genome}?run=1"} in found
    assert [each["kind"] for each in client.get("/api/search?q=digi").json()["found"]] == ["task"]
    assert client.get("/api/search?q=%25").json()["found"] == []
    assert client.get("/api/search").json()["found"] == []


# Text of strangers


def test_hostile_text_is_shown_as_text_and_without_what_hides(store: Path) -> None:
    with sqlite3.connect(store) as connection:
        connection.execute("UPDATE run SET task = ?, tier = ?", (HOSTILE, HOSTILE))
    with Writer(store, now=lambda: 1.0) as writer:
        writer.event("genome.imported", {"genome": HOSTILE, HOSTILE: [HOSTILE]})
    with make_client(store) as client:
        page = client.get("/nothing").text + client.get("/pareto").text
        assert "<img" not in page and "onerror=alert" in page.replace("&#39;", "'")
        assert not set("\u202e\x00\x1b") & set(page)
        assert not Found(page).inline
        event = client.get("/api/events?limit=1").text
        assert not [part for part in ("\u202e", "\\u202e", "\\u0000", "\\u001b") if part in event]
        found = client.get("/api/search", params={"q": "<img"}).json()["found"]
        assert found[0]["href"].startswith("/tasks#%3Cimg") and "\u202e" not in found[0]["label"]


@pytest.mark.parametrize(
    ("text", "limit", "shown"),
    [
        ("plain", 200, "plain"),
        ("a\u202eb\u200bc\u2066d", 200, "abcd"),
        ("a\x00\x1b[31mb\x9f", 200, "a[31mb"),
        ("two\nlines\u2028and\tmore", 200, "two linesand more"),
        ("Z" + "\u0301" * 50, 200, "Z" + "\u0301" * 3),
        ("x" * 500, 10, "x" * 9 + "…"),
        ("\ud800", 200, ""),
        (17, 200, "17"),
        ("", 200, ""),
    ],
)
def test_clean(text: object, limit: int, shown: str) -> None:
    assert clean(text, limit) == shown


# Columns


def test_columns_are_packed_as_a_browser_reads_them() -> None:
    body = pack(
        {
            "id": column("i32", [1, -2, 3]),
            "value": column("f32", [0.5, 1.5, float("nan")]),
            "kind": column("u8", [0, 255, 7]),
            "at": column("f64", [1e300, 0.0, -1.0]),
        },
        run=4,
    )
    (length,) = struct.unpack_from("<I", body)
    header = json.loads(body[4 : 4 + length])
    assert (header["rows"], header["run"], (4 + length) % 8) == (3, 4, 0)
    types = {"i32": "i", "f32": "f", "u8": "B", "f64": "d"}
    found = {}
    for each in header["columns"]:
        assert each["offset"] % 8 == 0
        values = array(types[each["type"]])
        start = 4 + length + each["offset"]
        values.frombytes(body[start : start + 3 * values.itemsize])
        found[each["name"]] = list(values)
    assert found["id"] == [1, -2, 3] and found["kind"] == [0, 255, 7] and found["at"] == [1e300, 0.0, -1.0]
    assert found["value"][:2] == [0.5, 1.5]


def test_columns_of_unequal_length_are_refused_and_none_is_no_rows() -> None:
    with pytest.raises(ValueError, match="equally long"):
        pack({"a": column("u8", [1]), "b": column("u8", [])})
    assert b'"rows":0' in pack({})


# Orders


@contextmanager
def node_at(path: Path, answers: list[Answer | bytes]) -> Iterator[list[Order]]:
    """A node's socket that gives these answers, and what it was ordered."""
    import msgspec

    taken: list[Order] = []

    class Handler(socketserver.StreamRequestHandler):
        def handle(self) -> None:
            taken.append(decode_order(self.rfile.readline()))
            answer = answers.pop(0)
            self.wfile.write(answer if isinstance(answer, bytes) else msgspec.json.encode(answer) + b"\n")

    with socketserver.ThreadingUnixStreamServer(os.fspath(path), Handler) as server:
        thread = threading.Thread(target=server.serve_forever, args=(0.01,))
        thread.start()
        try:
            yield taken
        finally:
            server.shutdown()
            thread.join()


STATE = NodeState(
    doing="paused", run=1, task="digits", evaluations=3, limit=9, training=0, queued=0, mesh=False
)


def test_orders_reach_the_node_and_its_answers_come_back(searched: Path, tmp_path: Path) -> None:
    path = tmp_path / "s"
    given: list[Answer | bytes] = [
        Done(said="paused"),
        STATE,
        Done(),
        Refused(why="not now"),
        b"nonsense\n",
        b"",
    ]
    with node_at(path, given) as taken, make_client(searched, socket=path) as client:
        assert client.post("/command/pause").json() == {"answer": "done", "said": "paused"}
        assert client.get("/api/node").json()["state"]["doing"] == "paused"
        genome = {"space": "s", "genes": {}}
        assert client.post("/command/queue", json={"genome": genome}).status_code == 200
        refused = client.post("/command/verify", json={"target": "abcdef01"})
        assert (refused.status_code, refused.json()["error"]) == (409, "not now")
        assert client.post("/command/stop").status_code == 502
        assert client.post("/command/stop").status_code == 502
        assert taken[:4] == [Pause(), Status(), Queue(genome=genome), Verify(target="abcdef01")]


def test_without_a_node_an_order_says_how_to_start_one(searched: Path, tmp_path: Path) -> None:
    with make_client(searched, socket=tmp_path / "none") as client:
        answer = client.post("/command/pause")
        assert answer.status_code == 409 and "eqmesh search" in answer.json()["error"]


def test_a_node_with_too_many_callers_is_busy_and_not_foreign(searched: Path, tmp_path: Path) -> None:
    waiting = []
    with socket.socket(socket.AF_UNIX) as bound, make_client(searched, socket=tmp_path / "s") as client:
        bound.bind(os.fspath(tmp_path / "s"))
        bound.listen(0)
        with suppress(BlockingIOError):
            while True:
                waiting.append(socket.socket(socket.AF_UNIX))
                waiting[-1].settimeout(0)
                waiting[-1].connect(os.fspath(tmp_path / "s"))
        answer = client.post("/command/pause")
        for each in waiting:
            each.close()
    assert answer.status_code == 503, answer.text
    assert "as many orders" in answer.json()["error"]


@pytest.mark.parametrize(
    ("name", "body", "status"),
    [
        ("explode", b"{}", 404),
        ("ban", b'{"peer":"p","days":1,"reason":"r"}', 404),
        ("verify", b"{}", 400),
        ("verify", b'{"target":"xy"}', 400),
        ("verify", b'{"target":"abcdef","order":"stop"}', 400),
        ("queue", b"[]", 400),
        ("queue", b"\xff", 400),
        ("queue", b'{"genome":' + b'{"a":' * 2000 + b"1" + b"}" * 2001, 400),
        ("pause", b'{"more":1}', 400),
    ],
)
def test_what_is_no_order_never_reaches_the_node(
    searched: Path, tmp_path: Path, name: str, body: bytes, status: int
) -> None:
    path = tmp_path / "s"
    with node_at(path, []) as taken, make_client(searched, socket=path) as client:
        assert client.post(f"/command/{name}", content=body).status_code == status
        assert client.get(f"/command/{name}").status_code == 405
        assert taken == []


def test_a_dashboard_that_others_can_reach_gives_no_orders(searched: Path, tmp_path: Path) -> None:
    path = tmp_path / "s"
    with node_at(path, [STATE]) as taken:
        guard = Guard.of("192.0.2.1", 8765, TOKEN, allowed=("127.0.0.1",))
        client = TestClient(
            make_app(searched, guard, socket=path), base_url="http://127.0.0.1:8765", client=("127.0.0.1", 1)
        )
        client.headers["Authorization"] = f"Bearer {TOKEN}"
        answer = client.post("/command/pause")
        assert answer.status_code == 403 and "--allow-commands" in answer.json()["error"]
        assert client.get("/api/node").json()["commands"] is False
        assert taken == [Status()]
    assert "data-commands" not in client.get("/nothing").text


def test_a_genome_of_the_store_is_what_queue_takes(searched: Path) -> None:
    with Reader(searched) as reader:
        genome = reader.genome(reader.evaluations()[0].genome)
    assert Genome.from_json(json.loads(json.dumps(genome.as_json()))) == genome


# What is served


def test_the_files_of_the_front_end_are_in_the_package() -> None:
    import dashboard

    folder = Path(dashboard.__file__).parent
    for name in ("templates/base.html", "static/css/app.css", "static/js/shell.js", "static/icon.svg"):
        assert (folder / name).is_file()


def test_no_template_and_no_script_makes_html_of_text() -> None:
    import dashboard

    folder = Path(dashboard.__file__).parent
    for path in folder.rglob("*.js"):
        if "vendor" in path.parts:
            continue
        text = path.read_text()
        for word in (
            "innerHTML",
            "outerHTML",
            "insertAdjacentHTML",
            "document.write",
            "eval(",
            "new Function",
        ):
            assert word not in text, (path.name, word)
    for path in (folder / "templates").glob("*.html"):
        if path.name == "report.html":
            continue  # the one file that is written, not served, and holds its scripts in itself
        text = path.read_text()
        assert "|safe" not in text and "autoescape false" not in text, path.name


def test_a_copy_of_a_store_without_its_log_is_shown(searched: Path, tmp_path: Path) -> None:
    copy = Path(shutil.copy(searched, tmp_path / "copy.db"))
    with make_client(copy) as client:
        assert client.get("/api/search?q=digits").status_code == 200
