"""Every test here has an empty data folder of its own, no network, and a registry that forgets."""

import gzip
import hashlib
import io
import stat
import sys
import tarfile
import threading
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from evaluator.tasks import registry
from evaluator.tasks.base import load_checked
from evaluator.tasks.data import catalogue
from evaluator.tasks.data.catalogue import DataFile, DebianPackage, Entry, NpmPackage

ALPHA = b"alpha " * 500
BETA = b"beta"


@pytest.fixture(autouse=True)
def own_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    folder = tmp_path / "data"
    monkeypatch.setenv("EQMESH_DATA_DIR", str(folder))
    monkeypatch.delenv("EQMESH_DATA_OFFLINE", raising=False)
    # A proxy of the machine must not come between a test and its server on the loopback.
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    monkeypatch.setenv("no_proxy", "127.0.0.1")
    return folder


@pytest.fixture(autouse=True)
def forgetful(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.setattr(sys, "path", list(sys.path))
    before = set(sys.modules)
    yield
    registry.resolve.cache_clear()
    load_checked.cache_clear()
    for name in set(sys.modules) - before:
        if name.startswith("my_"):
            del sys.modules[name]


class Server(ThreadingHTTPServer):
    """Answers a path by calling its function with the request's handler; counts the requests."""

    daemon_threads = True

    def __init__(self) -> None:
        self.answers: dict[str, Callable[[BaseHTTPRequestHandler], None]] = {}
        self.asked: list[str] = []
        self.closing = threading.Event()
        super().__init__(("127.0.0.1", 0), Handler)

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_port}"

    def give(self, path: str, body: bytes, status: int = 200) -> None:
        def answer(handler: BaseHTTPRequestHandler) -> None:
            handler.send_response(status)
            handler.send_header("Content-Length", str(len(body)))
            handler.end_headers()
            handler.wfile.write(body)

        self.answers[path] = answer

    def handle_error(self, request: object, client_address: object) -> None:
        """Clients that hang up are part of the tests."""


class Handler(BaseHTTPRequestHandler):
    server: Server

    def do_GET(self) -> None:
        self.server.asked.append(self.path)
        if answer := self.server.answers.get(self.path):
            answer(self)
        else:
            self.send_error(404)

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002
        """Keep quiet."""


@pytest.fixture
def server() -> Iterator[Server]:
    with Server() as running:
        thread = threading.Thread(target=running.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        yield running
        running.closing.set()
        running.shutdown()
        thread.join()


@pytest.fixture
def dead_mirror() -> str:
    """A port on which nobody listens."""
    with ThreadingHTTPServer(("127.0.0.1", 0), BaseHTTPRequestHandler) as closed:
        port = closed.server_port
    return f"http://127.0.0.1:{port}/"


def data_file(name: str, content: bytes) -> DataFile:
    return DataFile(name=name, size_bytes=len(content), sha256=hashlib.sha256(content).hexdigest())


@pytest.fixture
def tiny(monkeypatch: pytest.MonkeyPatch) -> Callable[..., Entry]:
    """Put a data set "tiny" of two files into the catalogue, with the sources that the test names."""

    def make(**sources: object) -> Entry:
        files = (data_file("alpha", ALPHA), data_file("beta", BETA))
        made = Entry(name="tiny", about="two files", licence="CC0", files=files, **sources)
        monkeypatch.setitem(catalogue.CATALOGUE, "tiny", made)
        return made

    return make


@pytest.fixture
def clients(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[[str, str], None]:
    """Make the PATH an empty folder, and give a function that puts a client, written in Python, there."""
    folder = tmp_path / "bin"
    folder.mkdir()
    monkeypatch.setenv("PATH", str(folder))

    def install(name: str, code: str) -> None:
        script = folder / name
        script.write_text(f"#!{sys.executable} -S\nimport sys\n{code}\n")
        script.chmod(script.stat().st_mode | stat.S_IXUSR)

    return install


NPM = NpmPackage(name="tiny-loader", version="1.2.3", folder="package/data")
DEBIAN = DebianPackage(name="dataset-tiny", folder="./usr/share/tiny")


def tar(path: Path, members: dict[str, bytes], mode: str = "w") -> Path:
    with tarfile.open(path, mode) as archive:
        for name, content in members.items():
            info = tarfile.TarInfo(name)
            info.size = len(content)
            archive.addfile(info, io.BytesIO(content))
    return path


def npm_archive(folder: Path, alpha: bytes = ALPHA, beta: bytes = BETA) -> Path:
    return tar(
        folder / "tiny-loader-1.2.3.tgz", {"package/data/alpha": alpha, "package/data/beta": beta}, "w:gz"
    )


def debian_tar(folder: Path) -> Path:
    return tar(
        folder / "contents.tar",
        {"./usr/share/tiny/alpha.gz": gzip.compress(ALPHA), "./usr/share/tiny/beta.gz": gzip.compress(BETA)},
    )
