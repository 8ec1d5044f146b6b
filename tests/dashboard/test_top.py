"""`eqmesh top` and `eqmesh dashboard serve` as they are called."""

import json
import os
import signal
import sqlite3
import subprocess
import sys
import urllib.error
import urllib.request
from pathlib import Path

import pytest
from rich.console import Console

from dashboard.top import Watcher, document, drawn, told
from node.cli import main
from node.orders import NodeState
from node.store.board import BoardError
from node.store.rows import EventRow
from node.store.writer import Writer
from tests.dashboard.conftest import ROOT, TOKEN


def shown(renderable: object, width: int = 140) -> str:
    console = Console(width=width, record=True, markup=False, file=open(os.devnull, "w"))  # noqa: SIM115, PTH123
    console.print(renderable)
    console.file.close()
    return console.export_text()


def call(capfd: pytest.CaptureFixture[str], *arguments: str) -> tuple[object, str, str]:
    capfd.readouterr()
    with pytest.raises(SystemExit) as ended:
        main(arguments)
    said = capfd.readouterr()
    return ended.value.code, said.out, said.err


def test_one_look_says_what_front_says(searched: Path, capfd: pytest.CaptureFixture[str]) -> None:
    code, out, _ = call(capfd, "front", "--json", "--store", str(searched))
    front = json.loads(out)
    code, out, _ = call(capfd, "top", "--json", "--store", str(searched))
    found = json.loads(out)
    assert code == 0
    assert [each["genome"] for each in found["front"]["members"]] == [
        each["genome"] for each in front["front"]
    ][:12]
    assert found["front"]["hypervolume"] == pytest.approx(front["hypervolume"])
    assert (found["node"], found["run"]["task"]) == (None, "digits")
    assert found["events"][0]["body"]["run"] == 1


def test_once_prints_the_run_its_front_and_the_last_events(
    searched: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    code, out, _ = call(capfd, "top", "--once", "--store", str(searched))
    assert code == 0
    for part in ("node not running", "run 1: digits smoke fp32 seed 3", "run.finished", "hypervolume"):
        assert part in " ".join(out.split())
    glance = Watcher(searched).glance()
    assert glance.front is not None
    for member in glance.front.members:
        assert member.genome[:12] in shown(drawn(glance))


def test_a_front_is_made_anew_only_for_new_results(searched: Path) -> None:
    watcher = Watcher(searched)
    first = watcher.glance()
    assert watcher.glance().front is first.front is not None


def test_an_empty_and_a_missing_store(tmp_path: Path) -> None:
    with pytest.raises(BoardError, match="no store"):
        Watcher(tmp_path / "none.db").glance()
    Writer(tmp_path / "empty.db", now=lambda: 0.0).close()
    assert "no runs yet" in shown(drawn(Watcher(tmp_path / "empty.db").glance()))


def test_what_a_node_does_is_shown(searched: Path) -> None:
    import msgspec

    state = NodeState(
        doing="paused", run=1, task="digits", evaluations=3, limit=99, training=0, queued=0, mesh=False
    )
    found = msgspec.structs.replace(Watcher(searched).glance(), node=state)
    assert "node paused" in shown(drawn(found)) and "/99" in shown(drawn(found))
    assert document(found)["node"] == msgspec.to_builtins(state)


def test_an_event_of_a_stranger_moves_no_cursor() -> None:
    row = EventRow(
        seq=1,
        at=0.0,
        kind="k",
        body=json.dumps({"why": "\x1b[2J\u202eoff", "genome": "a" * 64, "n": {"x": 0.5}}),
    )
    assert told(row) == "why [2Joff genome aaaaaaaaaaaa x 0.5"


def serve(store: Path, *options: str) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [
            sys.executable,
            "-c",
            # Whoever runs the tests in the background has Ctrl-C ignored, and so would the server.
            "import signal as s; s.signal(s.SIGINT, s.default_int_handler); from node.cli import main; main()",
            "dashboard",
            "serve",
            "--store",
            str(store),
            *options,
        ],
        cwd=store.parent,
        env={**os.environ, "PYTHONPATH": str(ROOT), "EQMESH_STATE_DIR": str(store.parent / "state")},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_server_prints_its_address_and_ends_while_a_page_listens(
    store: Path, number: signal.Signals
) -> None:
    process = serve(store, "--port", "0", "--token", TOKEN)
    assert process.stdout is not None
    address = process.stdout.readline().strip()
    base = address.partition("/?token=")[0]
    assert address == f"{base}/?token={TOKEN}" and base.startswith("http://127.0.0.1:")
    asked = urllib.request.Request(f"{base}/events", headers={"Authorization": f"Bearer {TOKEN}"})  # noqa: S310
    with urllib.request.urlopen(asked, timeout=120) as stream:  # noqa: S310
        assert stream.readline() == b"retry: 1000\n"
        with pytest.raises(urllib.error.HTTPError, match="401"):
            urllib.request.urlopen(base, timeout=120)  # noqa: S310
        process.send_signal(number)
        _, err = process.communicate(timeout=500)
    assert process.returncode == 130
    assert "Traceback" not in err
    with sqlite3.connect(store) as connection:
        assert connection.execute("PRAGMA integrity_check").fetchone() == ("ok",)
    connection.close()


@pytest.mark.parametrize(
    ("options", "why"),
    [
        (["--listen", "0.0.0.0"], "--allow-host"),  # noqa: S104 - that is what is refused
        (["--token", "short"], "16"),
        (["--listen", "192.0.2.1", "--allow-host", "lab.example"], "cannot listen"),
    ],
)
def test_what_cannot_be_served_says_why(
    searched: Path, capfd: pytest.CaptureFixture[str], options: list[str], why: str
) -> None:
    code, _, err = call(capfd, "dashboard", "serve", "--port", "0", "--store", str(searched), *options)
    assert code == 1 and why in err


@pytest.mark.parametrize("port", ["70000", "-1"])
def test_what_is_no_port_is_refused(searched: Path, capfd: pytest.CaptureFixture[str], port: str) -> None:
    code, _, err = call(capfd, "dashboard", "serve", "--port", port, "--store", str(searched))
    assert (code, "Traceback" in err) == (1, False)
    assert f"--port must lie in 0..65535, got {port}" in err


def test_without_the_extra_the_command_says_what_to_install(
    searched: Path, capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in [name for name in sys.modules if name.startswith(("dashboard.serving", "uvicorn"))]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.setitem(sys.modules, "uvicorn", None)
    code, _, err = call(capfd, "dashboard", "serve", "--port", "0", "--store", str(searched))
    assert code == 1 and "pip install '.[dashboard]'" in err
