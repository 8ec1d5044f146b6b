"""The lab in the dashboard: who may use it, what it takes, and that its process is gone when nobody watches."""

import http.client
import os
import signal
from collections.abc import AsyncIterator, Callable
from pathlib import Path

import pytest
from starlette.testclient import TestClient

from dashboard.app import make_app
from dashboard.guard import Guard
from evaluator.lab import Ended, Frame, Point, Settings
from node.lab import MOST_VIEWERS, Lab, LabError, merged, settings_of, thinned
from tests.dashboard.conftest import TOKEN, OpenPage, axe, make_client, serving
from tests.support.asyncio_run import run_asyncio

SMALL = {"depth": 2, "width": 8, "batch": 8, "free_steps": 3, "nudged_steps": 2}


def alive(pid: int | None) -> bool:
    """Whether a process is there and has not ended."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False


def labs() -> set[int]:
    """The labs that this process has started and that are alive."""
    found = set()
    for folder in Path("/proc").glob("[0-9]*"):
        try:
            parent = int((folder / "stat").read_text().rpartition(")")[2].split()[1])
            words = (folder / "cmdline").read_bytes().split(b"\0")
        except OSError:
            continue
        if parent == os.getpid() and b"evaluator.lab" in words and alive(int(folder.name)):
            found.add(int(folder.name))
    return found


def frame(*steps: int, restarted: bool = False) -> Frame:
    points = tuple(Point(step=step, loss=1.0, accuracy=None, norms=()) for step in steps)
    return Frame(
        run=1,
        step=steps[-1],
        settings=Settings(),
        steps_per_s=20,
        restarted=restarted,
        weights=(),
        points=points,
        trace=None,
        landscape=None,
        diverged=None,
    )


# What a slow page gets


def test_frames_that_wait_are_merged_and_bounded() -> None:
    both = merged(frame(1, 2, restarted=True), frame(3))
    assert ([point.step for point in both.points], both.restarted, both.step) == ([1, 2, 3], True, 3)
    anew = frame(1, restarted=True)
    assert merged(both, anew) is anew
    many = thinned(frame(*range(1, 5001)).points, most=100)
    assert 50 <= len(many) <= 100
    steps = [point.step for point in many]
    assert steps == sorted(set(steps)) and steps[-1] == 5000


@pytest.mark.parametrize(
    "wrong", [{"rate": -1}, {"rule": "x"}, {"colour": 1}, {"width": 10**6}, {"spectral": None}]
)
def test_settings_out_of_bounds_name_what_is_wrong(wrong: dict[str, object]) -> None:
    with pytest.raises(LabError, match=next(iter(wrong))):
        settings_of(wrong)
    assert settings_of({"rate": 1}) == Settings(rate=1.0)


# Life and death of the process


async def told(stream: AsyncIterator[Frame | Ended | None]) -> Frame | Ended | None:
    """What a stream tells next; on a busy machine it says for a while that there is nothing new."""
    async for found in stream:
        if found is not None:
            return found
    return None


async def first(lab: Lab, wanted: Callable[[Frame], bool] = lambda _: True) -> Frame | Ended:
    """The first frame that is wanted, or the end."""
    stream = lab.watch()
    try:
        async for found in stream:
            if isinstance(found, Ended) or (found is not None and wanted(found)):
                return found
    finally:
        await stream.aclose()
    raise AssertionError


def test_one_process_serves_all_who_watch_and_ends_after_the_last() -> None:
    async def act() -> None:
        lab = Lab(linger_s=0)
        with pytest.raises(LabError, match="nobody watches"):
            await lab.restart(Settings())
        kept = lab.watch()
        assert isinstance(await told(kept), Frame)
        pid = lab.pid
        await lab.pace(1000)
        small = settings_of(SMALL)
        await lab.restart(small)
        with pytest.raises(LabError, match=r"below 0\.5"):
            await lab.set(settings_of({**SMALL, "beta": 0.9}))
        with pytest.raises(LabError, match="0 to 1000"):
            await lab.pace(1e6)
        found = await first(lab, lambda frame: frame.settings == small and frame.step > 20)
        assert isinstance(found, Frame)
        # Whoever comes later sees all of it, and the same process trains on.
        await lab.pace(0)
        late = await first(lab)
        assert isinstance(late, Frame) and late.restarted
        assert late.points[0].step == 1 and late.points[-1].step == late.step >= found.step
        assert (lab.pid, alive(pid)) == (pid, True)
        reading = lab._reading
        await kept.aclose()
        assert reading is not None
        await reading
        assert (lab.pid, alive(pid)) == (None, False)
        await lab.close()

    run_asyncio(act)


def test_a_process_that_dies_is_told_and_another_one_started() -> None:
    async def act() -> None:
        lab = Lab(linger_s=60)
        stream = lab.watch()
        await told(stream)
        assert lab.pid is not None
        os.kill(lab.pid, signal.SIGKILL)
        ends = [found async for found in stream if isinstance(found, Ended)]
        assert ends == [Ended(why="The lab's process ended (signal 9). Start it again.")]
        again = lab.watch()
        assert isinstance(await told(again), Frame)
        pid = lab.pid
        # The server ends: so do process and stream, though somebody watches.
        await lab.close()
        assert not alive(pid)
        assert any(isinstance(found, Ended) for found in [found async for found in again])
        with pytest.raises(LabError, match="closes"):
            await anext(lab.watch())

    run_asyncio(act)


def test_it_ends_at_its_limits() -> None:
    async def act() -> None:
        lab = Lab(most_s=0)
        found = await first(lab, lambda _: False)
        assert isinstance(found, Ended) and "ends after 0 minutes" in found.why
        # So small a limit leaves no room for torch.
        poor = Lab(memory_bytes=2**20)
        ended = await first(poor, lambda _: False)
        assert isinstance(ended, Ended) and ("ended (" in ended.why or "more memory" in ended.why)
        await lab.close()
        await poor.close()

    run_asyncio(act)


def test_no_more_watch_than_may() -> None:
    async def act() -> None:
        lab = Lab()
        lab._viewers = {object() for _ in range(MOST_VIEWERS)}  # type: ignore[misc]
        assert lab.full
        with pytest.raises(LabError, match=str(MOST_VIEWERS)):
            await anext(lab.watch())
        assert lab.pid is None

    run_asyncio(act)


def test_the_process_is_gone_when_the_server_is(searched: Path) -> None:
    # Another server of these tests may have one.
    before = labs()
    with serving(searched) as served:
        port = int(served.base.rpartition(":")[2])
        connection = http.client.HTTPConnection("127.0.0.1", port, timeout=240)
        connection.request("GET", "/api/lab/stream", headers={"Authorization": f"Bearer {TOKEN}"})
        answer = connection.getresponse()
        assert (answer.status, answer.getheader("content-type", "").split(";")[0]) == (
            200,
            "text/event-stream",
        )
        assert answer.readline() == b"event: frame\n"
        assert len(labs() - before) == 1
    assert not labs() - before
    connection.close()


# Over HTTP


def test_the_page_and_its_form_answer(client: TestClient) -> None:
    assert "The path into the well" in client.get("/lab").text
    told = client.get("/api/lab").json()
    assert told["allowed"]
    assert set(told["settings"]) == set(Settings.__struct_fields__)
    assert told["settings"]["gamma"] == {"type": "number", "minimum": 0.1, "maximum": 8.0, "default": 1.0}


@pytest.mark.parametrize(
    ("name", "body", "status", "words"),
    [
        ("set", b"nonsense", 400, "something else"),
        ("set", b'{"settings": {"rate": 99}}', 409, "rate"),
        ("set", b'{"settings": {}}', 409, "nobody watches"),
        ("restart", b'{"sett": 1}', 400, "something else"),
        ("pace", b'{"steps_per_s": -1}', 409, "0 to 1000"),
        ("dance", b"{}", 404, "does not know"),
    ],
)
def test_orders_that_cannot_be_are_refused(
    client: TestClient, name: str, body: bytes, status: int, words: str
) -> None:
    answer = client.post(f"/api/lab/{name}", content=body)
    assert (answer.status_code, words in answer.json()["error"]) == (status, True), answer.text


@pytest.mark.parametrize(("allowed", "status"), [(False, 403), (True, 409)])
def test_others_train_nothing_here_unless_commands_are_allowed(
    searched: Path, allowed: bool, status: int
) -> None:
    before = labs()
    guard = Guard.of("0.0.0.0", 8765, TOKEN, allowed=("box",), allow_commands=allowed)  # noqa: S104
    with TestClient(
        make_app(searched, guard), base_url="http://box:8765", client=("10.0.0.9", 50000)
    ) as client:
        client.headers["Authorization"] = f"Bearer {TOKEN}"
        assert client.get("/lab").status_code == 200
        assert client.get("/api/lab").json()["allowed"] == allowed
        answer = client.post("/api/lab/set", json={"settings": {}})
        assert answer.status_code == status
        if not allowed:
            assert client.get("/api/lab/stream").status_code == 403
    assert not labs() - before


def test_who_has_no_token_starts_nothing(searched: Path) -> None:
    before = labs()
    with make_client(searched) as client:
        del client.headers["Authorization"]
        assert client.get("/api/lab/stream").status_code == 401
        client.headers["Authorization"] = f"Bearer {TOKEN}"
        crossed = client.get("/api/lab/stream", headers={"Sec-Fetch-Site": "cross-site"})
        assert crossed.status_code == 403
    assert not labs() - before


# In a browser


@pytest.mark.browser
def test_one_can_watch_it_run_away_and_settle(open_page: OpenPage) -> None:
    from playwright.sync_api import expect

    shown = open_page("/lab?spectral=false&rate=1&width=32&pace=500", theme="light")
    shown.set_default_timeout(60_000)
    expect(shown.locator("#diverged")).to_contain_text("Not finite at step", timeout=60_000)
    expect(shown.locator("#run-words")).to_have_text("It has run away.")
    lines, heights = shown.evaluate(
        "async () => { const m = await import('/static/js/lab/contour.js');"
        " return [m.contour([[0, 0], [1, 1]], 0.5), m.levels([[0, 4]], 2)]; }"
    )
    assert (lines, heights) == ([[1, 0.5, 0, 0.5]], [0.25, 2.25])
    expect(shown.locator("#well .empty")).to_have_text("There is no energy left to draw.")
    assert axe(shown) == []
    shown.check("#knob-spectral")
    shown.fill("#knob-rate", "0.05")
    shown.press("#knob-rate", "Enter")
    shown.click("text=Start again")
    expect(shown.locator("#diverged")).to_be_hidden(timeout=60_000)
    expect(shown.locator("#well canvas")).to_be_visible()
    shown.locator("h1").click()
    shown.keyboard.press(" ")
    expect(shown.locator("#run-words")).to_have_text("Paused.")
    shown.focus("#well canvas")
    shown.keyboard.press("ArrowLeft")
    expect(shown.locator("#well .readout")).to_contain_text("Nudged phase after sweep")
    assert "rate" not in shown.url and "spectral" not in shown.url and "width=32" in shown.url
    assert axe(shown) == []
