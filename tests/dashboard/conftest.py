"""What tests of the dashboard share: a store of a real search, a server on it, and a browser where there is one."""

import asyncio
import fcntl
import os
import shutil
import socket
import subprocess
import sys
import threading
import traceback
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import pytest
from starlette.testclient import TestClient

from dashboard.app import make_app
from dashboard.guard import Guard
from dashboard.serving import Server, settings
from tests.support.meshstore import make_mesh_store

ROOT = Path(__file__).parents[2]
TOKEN = "a-token-of-the-tests-0123"  # noqa: S105 - of the servers of these tests
CHROMIUM = "/usr/bin/chromium"
# A test waits for what must come; on a busy machine that takes its time.
_PATIENCE_MS = 60_000
QUIET = [
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
]


@dataclass(frozen=True)
class Served:
    """A dashboard that runs: where it is, and what it shows. `url` takes the path of a page."""

    base: str
    store: Path
    token: str = TOKEN

    def url(self, path: str = "/") -> str:
        return f"{self.base}{path}"


def make_client(store: Path, **changes: object) -> TestClient:
    """A client that the guard knows, without a socket; errors of the server are raised in the test."""
    guard = Guard.of("127.0.0.1", 8765, TOKEN)
    client = TestClient(
        make_app(store, guard, **changes),  # type: ignore[arg-type]
        base_url="http://127.0.0.1:8765",
        client=("127.0.0.1", 50000),
        follow_redirects=False,
    )
    client.headers["Authorization"] = f"Bearer {TOKEN}"
    return client


def stacks() -> str:
    """Where every thread of this process stands."""
    return "".join(
        f"\nthread {name}:\n{''.join(traceback.format_stack(frame))}"
        for name, frame in sys._current_frames().items()
    )


@contextmanager
def serving(store: Path, token: str = TOKEN, port: int = 0) -> Iterator[Served]:
    """A real server on loopback, on a free port unless one is named."""
    bound = socket.create_server(("127.0.0.1", port))
    port = int(bound.getsockname()[1])
    server = Server(settings(store, Guard.of("127.0.0.1", port, token)))
    thread = threading.Thread(target=server.run, args=([bound],), daemon=True)
    thread.start()
    try:
        yield Served(base=f"http://127.0.0.1:{port}", store=store, token=token)
    finally:
        server.should_exit = True
        thread.join(60)
        bound.close()
        assert not thread.is_alive(), stacks()


@pytest.fixture(autouse=True)
def no_loop_but_of_pages(request: pytest.FixtureRequest) -> Iterator[None]:
    """Playwright leaves its loop running in this thread; a test without a page must not see it."""
    if request.node.get_closest_marker("browser") is not None:
        yield
        return
    loop = asyncio._get_running_loop()
    asyncio._set_running_loop(None)
    yield
    asyncio._set_running_loop(loop)


@pytest.fixture(scope="session")
def searched(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A store that a real search on the digits made, once for all test processes. Nobody writes into it: copy it."""
    folder = tmp_path_factory.getbasetemp()
    if os.environ.get("PYTEST_XDIST_WORKER"):
        folder = folder.parent
    store = folder / "searched" / "eqmesh.db"
    store.parent.mkdir(exist_ok=True)
    with (store.parent / "once").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not (store.parent / "done").exists():
            search(store)
            (store.parent / "done").touch()
    return store


def search(store: Path) -> None:
    """A short real search on the digits, into a new store."""
    arguments = ["search", "--task", "digits", "--tier", "smoke", "--evaluations", "14", "--rescore", "2"]
    arguments += ["--workers", "1", "--seed", "3"]
    subprocess.run(
        [sys.executable, "-c", "from node.cli import main; main()", *arguments, "--store", str(store)],
        cwd=store.parent,
        env={
            **os.environ,
            "PYTHONPATH": str(ROOT),
            "EQMESH_STATE_DIR": str(store.parent / "state"),
            "OMP_NUM_THREADS": "1",
        },
        check=True,
        capture_output=True,
        timeout=500,
    )


@pytest.fixture
def store(searched: Path, tmp_path: Path) -> Path:
    """A copy of that store, to be written into."""
    return Path(shutil.copy(searched, tmp_path / "eqmesh.db"))


@pytest.fixture
def client(searched: Path) -> Iterator[TestClient]:
    """A client of a dashboard on the real store; nothing is served on a socket."""
    with make_client(searched) as made:
        yield made


@pytest.fixture(scope="session")
def served(searched: Path) -> Iterator[Served]:
    """A dashboard on the real store, on loopback."""
    with serving(searched) as made:
        yield made


@pytest.fixture(scope="session")
def browser() -> "Iterator[object]":
    """Chromium through Playwright; skipped, and counted, where either is missing."""
    playwright = pytest.importorskip("playwright.sync_api", reason="playwright is not installed")
    if not Path(CHROMIUM).exists():
        pytest.skip(f"there is no {CHROMIUM}")
    playwright.expect.set_options(timeout=_PATIENCE_MS)
    with playwright.sync_playwright() as started:
        made = started.chromium.launch(executable_path=CHROMIUM, args=QUIET)
        yield made
        made.close()


OpenPage = Callable[..., "object"]


@pytest.fixture
def open_page(browser, served: Served) -> Iterator[OpenPage]:  # type: ignore[no-untyped-def]
    """Open a page of the dashboard: `open_page("/pareto", theme="light", width=360)`. The guard's cookie is there.

    `dashboard` is another Served; other options are those of Playwright's contexts. At the end the test fails if a page
    wrote an error to its console; a test that expects one clears `page.errors`.
    """
    contexts, errors = [], []

    def opened(path="/", *, theme=None, width=1280, height=800, dashboard=None, **options):
        at = dashboard or served
        context = browser.new_context(viewport={"width": width, "height": height}, **options)
        contexts.append(context)
        name, value = Guard.of("127.0.0.1", int(at.base.rpartition(":")[2]), at.token).cookie
        context.add_cookies([{"name": name, "value": value, "url": at.base}])
        if theme:
            context.add_init_script(f"localStorage.setItem('eqmesh.theme', '{theme}')")
        page = context.new_page()
        page.set_default_timeout(_PATIENCE_MS)
        page.on("console", lambda said: errors.append(said.text) if said.type == "error" else None)
        page.on("pageerror", lambda error: errors.append(str(error)))
        page.goto(at.url(path), wait_until="load")
        page.errors = errors
        return page

    yield opened
    for context in contexts:
        context.close()
    assert not errors, errors


def axe(page) -> list[str]:  # type: ignore[no-untyped-def]
    """What axe finds wrong with a page by WCAG 2.2 A and AA: one line a rule and element."""
    import axe_core_python

    source = (Path(axe_core_python.__file__).parent / "axe.min.js").read_text()
    # By the debugger, which the page's policy does not bind: a script element would be refused.
    page.evaluate(f"() => {{ {source} }}")
    tags = ["wcag2a", "wcag2aa", "wcag21a", "wcag21aa", "wcag22aa"]
    found = page.evaluate("tags => axe.run(document, {runOnly: {type: 'tag', values: tags}})", tags)
    return [f"{rule['id']}: {node['html'][:160]}" for rule in found["violations"] for node in rule["nodes"]]


@pytest.fixture(scope="session")
def mesh_store(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A store with peers: claims, checks, a ban with evidence, hostile text. Nobody writes into it."""
    return make_mesh_store(tmp_path_factory.mktemp("mesh") / "mesh.db")


@pytest.fixture(scope="session")
def served_mesh(mesh_store: Path) -> Iterator[Served]:
    """A dashboard on that store, on loopback."""
    with serving(mesh_store) as made:
        yield made
