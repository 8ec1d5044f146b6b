"""How changes reach a browser: what is told, also to a stream that comes back, and what becomes of slow readers."""

import asyncio
import json
import sqlite3
from collections.abc import AsyncIterator
from pathlib import Path

from starlette.testclient import TestClient

from dashboard.live import MOST_CLIENTS, Client, Live, Notice, frame, mark
from node.store.board import Board
from node.store.board.runs import Counts, counts
from node.store.writer import Writer
from tests.support.asyncio_run import run_asyncio


def counted(**changes: int) -> Counts:
    return Counts(**(dict.fromkeys(Counts.__struct_fields__, 1) | changes))


def now(store: Path) -> Counts:
    with Board(store) as board:
        return counts(board)


def event_of(body: bytes) -> tuple[str, dict[str, object]]:
    lines = dict(line.split(": ", 1) for line in body.decode().strip().splitlines())
    return lines["event"], json.loads(lines["data"])


def note(store: Path) -> None:
    with Writer(store, now=lambda: 1.0) as writer:
        writer.event("run.stopped", {"run": 1, "why": "a test"})


def test_a_look_finds_every_commit_once(store: Path) -> None:
    live = Live(store)
    first = live.look()
    assert first is not None and first.counts == now(store)
    assert live.look() is None
    note(store)
    second = live.look()
    assert second is not None and second.seq == first.seq + 1
    assert live.look() is None
    live.close()


def test_what_is_written_without_an_event_is_told_too(store: Path) -> None:
    live = Live(store)
    first = live.look()
    assert first is not None and first.counts is not None
    connection = sqlite3.connect(store)
    with connection:
        connection.execute("INSERT INTO belief (body) VALUES (x'00')")
    connection.close()
    second = live.look()
    assert second is not None and second.counts is not None
    assert second.seq == first.seq and mark(second.counts) != mark(first.counts)
    live.close()


def test_a_store_that_goes_and_comes_back_is_told_of(store: Path) -> None:
    live = Live(store)
    assert live.look() is not None
    away = store.rename(store.with_name("away.db"))
    found = None
    while found is None:  # the path is looked at every twentieth time
        found = live.look()
    assert found.event == "gone" and "no store" in (found.why or "")
    assert live.look() == found
    away.rename(store)
    back = live.look()
    assert back is not None and back.event == "change" and back.counts == now(store)
    live.close()


def test_a_file_that_takes_the_stores_place_is_read_anew(store: Path) -> None:
    live = Live(store)
    assert live.look() is not None
    with Writer(store.with_name("new.db"), now=lambda: 1.0):
        pass
    store.with_name("new.db").replace(store)
    found = None
    while found is None:
        found = live.look()
    assert found.counts is not None and found.counts.evaluations == 0
    live.close()


async def first(stream: AsyncIterator[bytes], number: int) -> list[bytes]:
    return [await anext(stream) for _ in range(number)]


def test_a_stream_begins_with_the_state_and_tells_changes(store: Path) -> None:
    async def act() -> list[bytes]:
        stream = Live(store).stream(None)
        found = await first(stream, 2)
        note(store)
        return found + await first(stream, 1)

    before = now(store)
    hello, state, change = run_asyncio(act)
    assert hello == b"retry: 1000\n\n"
    assert event_of(state)[1]["seq"] == before.events
    name, told = event_of(change)
    assert (name, told["seq"]) == ("change", before.events + 1)
    assert change.startswith(f"id: {mark(now(store))}\n".encode())


def test_who_comes_back_is_told_of_what_was_missed_and_of_nothing_else(store: Path) -> None:
    async def act(last: str) -> bytes:
        return (await first(Live(store).stream(last), 2))[1]

    known = mark(now(store))
    assert run_asyncio(lambda: act(known)) == b": nothing missed\n\n"
    note(store)
    assert event_of(run_asyncio(lambda: act(known)))[0] == "change"
    assert event_of(run_asyncio(lambda: act("nonsense")))[0] == "change"


def test_the_second_page_of_a_server_hears_the_state_at_once(store: Path) -> None:
    async def act() -> tuple[bytes, bytes]:
        live = Live(store)
        one = live.stream(None)
        mine = (await first(one, 2))[1]
        other = (await first(live.stream(None), 2))[1]
        return mine, other

    mine, other = run_asyncio(act)
    assert mine == other


def test_a_slow_reader_loses_the_oldest_and_is_told_to_fetch_again() -> None:
    async def act() -> list[Notice]:
        client = Client()
        for seq in range(100):
            client.put(Notice(event="change", seq=seq, counts=counted(events=seq)))
        found = []
        while (notice := await client.next(0.0)) is not None:
            found.append(notice)
        return found

    found = run_asyncio(act)
    assert [notice.seq for notice in found] == list(range(92, 100))
    assert [notice.refetch for notice in found] == [True, *[False] * 7]
    assert event_of(frame(found[0]))[1]["refetch"] is True


def test_silence_is_no_event() -> None:
    async def act() -> Notice | None:
        return await Client().next(0.001)

    assert run_asyncio(act) is None


def test_a_server_that_ends_ends_its_streams(store: Path) -> None:
    async def act() -> list[bytes]:
        live = Live(store)
        stream = live.stream(None)
        found = await first(stream, 2)
        live.close()
        return found + [part async for part in stream]

    assert len(run_asyncio(act)) <= 3


def test_nobody_looks_when_nobody_listens(store: Path) -> None:
    opened = 0

    def open_board(path: Path) -> Board:
        nonlocal opened
        opened += 1
        return Board(path)

    async def act() -> int:
        live = Live(store, open_board)
        assert opened == 0
        stream = live.stream(None)
        await first(stream, 2)
        await stream.aclose()  # type: ignore[attr-defined]
        await asyncio.sleep(0)  # what was cancelled ends at its next turn
        return len(asyncio.all_tasks())

    assert run_asyncio(act) == 1
    assert opened == 1


def test_too_many_listeners_are_refused(client: TestClient) -> None:
    live = client.app.state.context.live  # type: ignore[attr-defined]
    live._clients = {object() for _ in range(MOST_CLIENTS)}
    answer = client.get("/events")
    assert answer.status_code == 503 and "Close some" in answer.json()["error"]
    live._clients = set()
