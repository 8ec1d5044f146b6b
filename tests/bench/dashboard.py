"""The dashboard on a store of 100,000 genomes: how soon it answers, what it costs, how soon a commit is on the screen.

    python -m tests.bench.dashboard --output tests/bench/results/dashboard.json

The server is a process of its own, started as a person starts it; the browser is Chromium, headless, on the same
machine and cores. The store is `tests.support.bigstore`'s. Times from commit to browser are from the return of the
writer's COMMIT to the call of the page's listener, on one clock.
"""

import argparse
import gzip
import http.client
import json
import os
import secrets
import shutil
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

import msgspec
from playwright.sync_api import Browser, BrowserContext, sync_playwright

from dashboard.guard import Guard
from node.store.writer import Writer
from tests.bench.dashboard_looks import looks
from tests.bench.dashboard_pings import malformed, malformed_figure, pings
from tests.bench.report import (
    ROOT,
    Cell,
    Column,
    Figure,
    Report,
    Table,
    arguments,
    finish,
    origin,
    percentile,
)
from tests.dashboard.conftest import CHROMIUM, QUIET
from tests.support.bigstore import make_big_store

VIEWS = ("/", "/pareto", "/lineage", "/genomes", "/peers", "/tasks", "/resources", "/builder", "/lab")
_TICKS = os.sysconf("SC_CLK_TCK")
_CLIENTS = 10
_GAP_S = 0.4  # longer than the quarter of a second in which a page gathers changes
_FIRST_MS, _FIRST_PAINT_MS, _RSS_MB, _IDLE, _P50_MS, _P99_MS, _KB = 500.0, 500.0, 60.0, 1.0, 50.0, 150.0, 80.0

FOLLOW = """async () => {
  const live = await import('/static/js/live.js');
  window.heard = [];
  live.subscribe((told) => window.heard.push([told.seq, performance.timeOrigin + performance.now()]));
}"""


class Server(msgspec.Struct, frozen=True, kw_only=True):
    """A server that runs: its port and token, and its process."""

    port: int
    token: str
    pid: int
    started: float

    def get(self, path: str) -> bytes:
        """The body of one question. Raises RuntimeError for an error."""
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=60)
        connection.request(
            "GET", path, headers={"Authorization": f"Bearer {self.token}", "Connection": "close"}
        )
        answer = connection.getresponse()
        body = answer.read()
        connection.close()
        if answer.status != 200:
            raise RuntimeError(f"{path} expected 200, got {answer.status}: {body[:200]!r}")
        return body

    def cpu_s(self) -> float:
        """Seconds of processor time so far."""
        fields = Path(f"/proc/{self.pid}/stat").read_text().rpartition(") ")[2].split()
        return (int(fields[11]) + int(fields[12])) / _TICKS

    def rss_mb(self) -> float:
        """Resident memory."""
        lines = Path(f"/proc/{self.pid}/status").read_text().splitlines()
        (line,) = [line for line in lines if line.startswith("VmRSS:")]
        return int(line.split()[1]) / 1000


@contextmanager
def server(store: Path) -> Iterator[Server]:
    """`eqmesh dashboard serve` on a free port."""
    token = secrets.token_hex(24)
    command = [sys.executable, "-c", "from node.cli import main; main()", "dashboard", "serve"]
    started = time.perf_counter()
    process = subprocess.Popen(
        [*command, "--port", "0", "--token", token, "--store", str(store)],
        cwd=ROOT, stdout=subprocess.PIPE, text=True,
        env={**os.environ, "EQMESH_STATE_DIR": str(store.parent / "state")},
    )  # fmt: skip
    try:
        assert process.stdout is not None
        address = process.stdout.readline()
        port = int(address.partition("//")[2].partition("/")[0].rpartition(":")[2])
        yield Server(port=port, token=token, pid=process.pid, started=started)
    finally:
        process.terminate()
        process.wait(30)


@contextmanager
def tab(browser: Browser, at: Server) -> Iterator[BrowserContext]:
    """A browser's context that the server knows."""
    context = browser.new_context(viewport={"width": 1280, "height": 800})
    name, value = Guard.of("127.0.0.1", at.port, at.token).cookie
    context.add_cookies([{"name": name, "value": value, "url": f"http://127.0.0.1:{at.port}"}])
    try:
        yield context
    finally:
        context.close()


def _pause(seconds: float) -> None:
    """Let time pass."""
    threading.Event().wait(seconds)


def first_answers(store: Path, times: int) -> dict[str, list[float]]:
    """Seconds from starting the process to the first answer with data of the store, and to the whole first page.

    And the processor time until the former, which other programs do not lengthen.
    """
    found: dict[str, list[float]] = {"data": [], "page": [], "cpu": []}
    for _ in range(times):
        for name, path in (("data", "/api/events?limit=1"), ("page", "/")):
            with server(store) as at:
                at.get(path)
                found[name].append(time.perf_counter() - at.started)
                if name == "data":
                    found["cpu"].append(at.cpu_s())
    return found


def memory_and_idle(store: Path, seconds: float) -> dict[str, float]:
    """Memory of the server after ten clients that listen and ask, and its share of a core with one that listens."""
    with server(store) as at, ExitStack() as stack:
        fresh = at.rss_mb()
        for _ in range(_CLIENTS):
            listen(at, stack)
            at.get("/")
            at.get("/api/events?limit=100")
            at.get("/api/overview")
        full = at.rss_mb()
    with server(store) as at, ExitStack() as stack:
        listen(at, stack)
        at.get("/")
        _pause(1.0)
        before, began = at.cpu_s(), time.perf_counter()
        _pause(seconds)
        share = (at.cpu_s() - before) / (time.perf_counter() - began)
    return {"fresh_mb": fresh, "clients_mb": full, "idle_share": share}


def listen(at: Server, stack: ExitStack) -> None:
    """Hold a stream of changes open."""
    connection = http.client.HTTPConnection("127.0.0.1", at.port, timeout=60)
    stack.callback(connection.close)
    connection.request("GET", "/events", headers={"Authorization": f"Bearer {at.token}"})
    connection.getresponse().readline()


def commits(store: Path, browser: Browser, number: int) -> list[float]:
    """Milliseconds from a commit to the call of the page's listener."""
    found = []
    with server(store) as at, tab(browser, at) as context, Writer(store, now=time.time) as writer:  # noqa: TID251
        page = context.new_page()
        page.goto(f"http://127.0.0.1:{at.port}/tasks")
        page.evaluate(FOLLOW)
        committed: dict[int, float] = {}
        for turn in range(number):
            # No fixed phase to the server's looks.
            _pause(_GAP_S + (turn * 37 % 50) / 1000)
            writer.event("run.stopped", {"run": 1, "why": "a benchmark"})
            at_ms = 1000 * time.time()  # noqa: TID251 - the browser's clock
            (seq,) = writer.connection.execute("SELECT max(seq) FROM event").fetchone()
            committed[seq] = at_ms
        _pause(1.0)
        heard = page.evaluate("window.heard")
        for seq, at_ms in heard:
            if seq in committed:
                found.append(at_ms - committed[seq])
    return found


def paints(store: Path, browser: Browser, times: int) -> dict[str, list[float]]:
    """Milliseconds to the first contentful paint of each view, in a fresh context each time."""
    found: dict[str, list[float]] = {view: [] for view in VIEWS}
    with server(store) as at:
        at.get("/")
        for view in VIEWS:
            for _ in range(times):
                with tab(browser, at) as context:
                    page = context.new_page()
                    page.goto(f"http://127.0.0.1:{at.port}{view}", wait_until="load")
                    found[view].append(page.evaluate(PAINTED))
    return found


PAINTED = """() => new Promise((done) => new PerformanceObserver((list) => {
  const found = list.getEntriesByName('first-contentful-paint');
  if (found.length) done(found[0].startTime);
}).observe({type: 'paint', buffered: true}))"""


def weights(store: Path, browser: Browser) -> dict[str, tuple[int, float]]:
    """Scripts and styles of each view: how many files, and kilobytes of them after gzip."""
    found = {}
    with server(store) as at:
        for view in VIEWS:
            with tab(browser, at) as context:
                page, bodies = context.new_page(), dict[str, bytes]()
                page.on(
                    "response",
                    lambda answer, bodies=bodies: (
                        bodies.update({answer.url: b""})
                        if answer.request.resource_type in ("script", "stylesheet")
                        else None
                    ),
                )
                page.goto(f"http://127.0.0.1:{at.port}{view}", wait_until="load")
                page.wait_for_timeout(500)
                paths = [url.partition(f":{at.port}")[2] for url in bodies]
            packed = sum(len(gzip.compress(at.get(path), 6)) for path in paths)
            found[view] = (len(paths), packed / 1000)
    return found


def requests_per_s(store: Path, seconds: float) -> float:
    """Answers a second to one client that asks for a script again and again, on one connection."""
    with server(store) as at:
        connection = http.client.HTTPConnection("127.0.0.1", at.port, timeout=60)
        until, count = time.perf_counter() + seconds, 0
        while time.perf_counter() < until:
            connection.request("GET", "/api/events?limit=1", headers={"Authorization": f"Bearer {at.token}"})
            connection.getresponse().read()
            count += 1
        connection.close()
    return count / seconds


def main() -> None:
    """Measure all of it and report."""
    parser = arguments(__doc__ or "")
    parser.add_argument("--genomes", type=int, default=100_000)
    parser.add_argument("--store", type=Path, help="a store that tests.support.bigstore made, to be copied")
    options = parser.parse_args()
    at = origin("dashboard")
    if options.store is not None:
        # Where a copy of the same store lay is nobody's business, and changes nothing.
        at = msgspec.structs.replace(at, command=at.command.replace(f" --store {options.store}", ""))
    with tempfile.TemporaryDirectory() as folder:
        store = Path(folder) / "eqmesh.db"
        genomes = prepared(store, options)
        few = options.smoke
        starts = first_answers(store, 1 if few else 7)
        costs = memory_and_idle(store, 2.0 if few else 30.0)
        rate = requests_per_s(store, 1.0 if few else 5.0)
        with sync_playwright() as playwright:
            browser = playwright.chromium.launch(executable_path=CHROMIUM, args=QUIET)
            painted = paints(store, browser, 1 if few else 5)
            heavy = weights(store, browser)
            delays = commits(store, browser, 5 if few else 200)
            looked = looks(browser, smoke=few)
            browser.close()

        def serve(stack: ExitStack) -> tuple[int, str]:
            at = stack.enter_context(server(store))
            return at.port, at.token

        pinged = pings(serve, turns=1 if few else 5, seconds=1.0 if few else 10.0)
        with server(store) as attacked:
            nasty = malformed(attacked.port, attacked.token, attacked.pid, rounds=1 if few else 10)
    data = {
        "genomes": genomes, "starts_s": starts, "costs": costs, "requests_per_s": rate, "paint_ms": painted,
        "weight_kb": heavy, "commit_to_listener_ms": delays,
        "pings": msgspec.to_builtins(pinged), "malformed": nasty, "looks": msgspec.to_builtins(looked),
    }  # fmt: skip
    finish(
        Report(
            name="dashboard",
            title=f"The dashboard on a store of {genomes:,} genomes",
            about=" ".join((__doc__ or "").split("\n\n")[-1].split()),
            smoke=options.smoke,
            seeds=(7,),
            figures=(
                *figures(starts, costs, painted, heavy, delays),
                pinged.figure(),
                malformed_figure(nasty),
                *looked.figures(),
            ),
            tables=tables(starts, costs, rate, painted, heavy, delays, pinged.rows()),
            origin=at,
            data=json.loads(json.dumps(data)),
        ),
        options.output,
    )


def prepared(store: Path, options: argparse.Namespace) -> int:
    """The store to be shown; gives its number of genomes."""
    genomes: int = 500 if options.smoke else options.genomes
    if options.store is not None and not options.smoke:
        shutil.copyfile(options.store, store)
    else:
        make_big_store(store, genomes)
    return genomes


def figures(
    starts: dict[str, list[float]],
    costs: dict[str, float],
    painted: dict[str, list[float]],
    heavy: dict[str, tuple[int, float]],
    delays: list[float],
) -> tuple[Figure, ...]:
    """What the design asks for, beside what was measured."""
    start, paint = 1e3 * statistics.median(starts["data"]), statistics.median(painted["/"])
    p50, p99 = statistics.median(delays), percentile(delays, 0.99)
    full, idle, kb = costs["clients_mb"], costs["idle_share"], heavy["/"][1]

    def figure(what: str, most: float, unit: str, found: float) -> Figure:
        target, measured = f"<= {most:g} {unit}", f"{found:.3g} {unit}"
        return Figure(what=what, target=target, measured=measured, reached=found <= most)

    return (
        figure("start to first answer, median", _FIRST_MS, "ms", start),
        figure("memory of the reader after 10 clients", _RSS_MB, "MB", full),
        figure("idle CPU with one tab", _IDLE, "% of a core", 100 * idle),
        figure("commit to browser, p50", _P50_MS, "ms", p50),
        figure("commit to browser, p99", _P99_MS, "ms", p99),
        figure("JS and CSS of the first view, gzip", _KB, "kB", kb),
        figure("first contentful paint of Overview, median", _FIRST_PAINT_MS, "ms", paint),
    )


def tables(
    starts: dict[str, list[float]],
    costs: dict[str, float],
    rate: float,
    painted: dict[str, list[float]],
    heavy: dict[str, tuple[int, float]],
    delays: list[float],
    pinged: list[list[Cell]],
) -> tuple[Table, ...]:
    """The tables of the report."""
    server_rows: list[list[Cell]] = [
        ["start to first data (ms, median)", 1e3 * statistics.median(starts["data"])],
        ["processor time of that (ms, median)", 1e3 * statistics.median(starts["cpu"])],
        ["start to the whole page of Overview (ms, median)", 1e3 * statistics.median(starts["page"])],
        ["memory when it has answered nothing (MB)", costs["fresh_mb"]],
        [f"memory after {_CLIENTS} clients (MB)", costs["clients_mb"]],
        ["idle with one tab (% of a core)", 100 * costs["idle_share"]],
        ["answers with data of the store, one connection (1/s)", rate],
        ["commit to listener (ms, p50)", statistics.median(delays)],
        ["commit to listener (ms, p99)", percentile(delays, 0.99)],
        ["commits heard", float(len(delays))],
        *pinged,
    ]
    view_rows: list[list[Cell]] = [
        [view, statistics.median(painted[view]), max(painted[view]), heavy[view][0], heavy[view][1]]
        for view in VIEWS
    ]
    return (
        Table(title="The server", columns=(Column("what"), Column("measured", ".1f")), rows=server_rows),
        Table(
            title="The views",
            columns=(
                Column("view"),
                Column("first paint, median (ms)", ".0f"),
                Column("slowest (ms)", ".0f"),
                Column("scripts and styles", "d"),
                Column("kB, gzip", ".1f"),
            ),
            rows=view_rows,
            note="First contentful paint, each in a fresh browser context without a cache.",
        ),
    )


if __name__ == "__main__":
    main()
