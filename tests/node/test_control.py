"""Orders to a running search over its socket: a real search, real workers, and a record that pauses do not change."""

import json
import os
import stat
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path

import msgspec
import pytest
import trio
import trio.testing

from evaluator.jobs import Progress
from genome import Genome
from node import control
from node.commands.control import _lines
from node.orders import (
    MOST_BYTES,
    Answer,
    Done,
    NodeState,
    Order,
    Pause,
    Queue,
    Refused,
    Resume,
    Status,
    Stop,
    Verify,
    control_path,
    decode_answer,
    decode_order,
    line_of_order,
)
from node.search import SearchState
from node.service import run_search
from node.settings import Settings
from node.store.records import Reader
from node.store.rows import EvaluationRow
from tests.node.conftest import Eqmesh
from tests.node.test_search import records
from tests.support.tasks import SPACE


class Watched:
    """Calls `act(state)` after so many evaluations; gives word of every one."""

    def __init__(self) -> None:
        self.state: SearchState | None = None
        self.waiting: dict[int, trio.Event] = {}
        self.count = 0

    def started(self, state: SearchState) -> None:
        self.state = state

    def progressed(self, state: SearchState, genome: Genome, progress: Progress) -> None:
        """Nothing."""

    def recorded(self, state: SearchState, row: EvaluationRow) -> None:
        self.count += 1
        for number, event in self.waiting.items():
            if self.count >= number:
                event.set()

    async def after(self, number: int) -> None:
        await self.waiting.setdefault(number, trio.Event()).wait()


class Running:
    """A search that runs in this process, and its socket."""

    def __init__(self, store: Path, watched: Watched, state: Path) -> None:
        self.path = control_path(store, state)
        self.watched = watched
        self.done = trio.Event()
        self.result: SearchState | None = None

    async def order(self, order: Order) -> Answer:
        answer = await control.ask(self.path, order)
        assert answer is not None
        return answer

    async def state(self) -> NodeState:
        found = await self.order(Status())
        assert isinstance(found, NodeState)
        return found

    async def refused(self, order: Order) -> str:
        answer = await self.order(order)
        assert isinstance(answer, Refused), answer
        return answer.why

    async def said(self, order: Order) -> str:
        answer = await self.order(order)
        assert isinstance(answer, Done), answer
        return answer.said


@pytest.fixture
def settings(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[..., Settings]:
    monkeypatch.setenv("EQMESH_STATE_DIR", str(tmp_path / "state"))
    monkeypatch.chdir(tmp_path)

    def make(store: str = "a.db", **changes: object) -> Settings:
        plain: dict[str, object] = {
            "task": "tests.support.tasks:Bowl",
            "evaluations": 30,
            "workers": 1,
            "rescore": 0,
        }
        return msgspec.convert(plain | {"store": str(tmp_path / store)} | changes, Settings)

    return make


@asynccontextmanager
async def running(settings: Settings, first: int = 3) -> AsyncIterator[Running]:
    """A search of which `first` evaluations are on record, paused then."""
    watched = Watched()
    found = Running(Path(settings.store), watched, Path(os.environ["EQMESH_STATE_DIR"]))

    async def search() -> None:
        found.result = await run_search(settings, watched)
        found.done.set()

    with trio.fail_after(300):
        async with trio.open_nursery() as nursery:
            nursery.start_soon(search)
            await watched.after(first)
            await found.order(Pause())
            yield found


def genome_json(a: float = 0.31, b: float = 0.69, mood: str = "good") -> dict[str, object]:
    return SPACE.genome({"a": a, "b": b, "mood": mood}).as_json()


async def test_a_search_that_was_paused_and_went_on_has_the_record_of_an_unbroken_one(
    settings: Callable[..., Settings],
) -> None:
    await run_search(settings("unbroken.db", rescore=1), Watched())
    paused = settings("paused.db", rescore=1)
    async with running(paused, first=7) as search:
        state = await search.state()
        assert (state.doing, state.limit, state.mesh) == ("paused", 30, False)
        assert "already" in await search.said(Pause())
        # What is under way ends; nothing begins.
        while (await search.state()).training:
            await search.watched.after(search.watched.count + 1)
        still = search.watched.count
        await trio.testing.wait_all_tasks_blocked(0.01)
        assert (search.watched.count, (await search.state()).training) == (still, 0)
        assert "goes on" in await search.said(Resume())
        assert "not paused" in await search.said(Resume())
        await search.done.wait()
    assert records(Path(paused.store)) == records(Path(paused.store).with_name("unbroken.db"))
    with Reader(Path(paused.store)) as reader:
        kinds = [row.kind for row in reader.events() if row.kind.startswith("run.")]
    assert kinds == ["run.started", "run.paused", "run.unpaused", "run.finished"]


async def test_a_queued_genome_is_trained_next_and_takes_part(settings: Callable[..., Settings]) -> None:
    async with running(settings()) as search:
        document = genome_json()
        wanted = Genome.from_json(document)
        assert wanted.id[:12] in await search.said(Queue(genome={"genome": wanted.id, **document}))
        assert (await search.state()).queued == 1
        assert "asked for already" in await search.refused(Queue(genome=document))
        await search.order(Resume())
        await search.done.wait()
        assert search.result is not None
        rows = search.result.rows
        at = [row.genome for row in rows].index(wanted.id)
        # One may have been under way when the search was paused.
        assert at in (3, 4)
        assert (rows[at].purpose, rows[at].ask) == ("search", at)
    with Reader(Path(settings().store)) as reader:
        births = {row.genome: row.birth for row in reader.births()}
        children = [birth for birth in births.values() if wanted.id in birth.parents]
    assert births[wanted.id].operator == "import/1"
    assert children, "it lies in the middle of the bowl, so it has children"


async def test_what_was_queued_and_not_trained_is_trained_when_the_search_goes_on(
    settings: Callable[..., Settings],
) -> None:
    wanted = Genome.from_json(genome_json())
    async with running(settings()) as search:
        await search.order(Queue(genome=genome_json()))
        await search.order(Stop())
        await search.done.wait()
        assert search.result is not None
        assert search.result.stopped == "stopped by its owner"
        assert wanted.id not in {row.genome for row in search.result.rows}
    again = await run_search(settings(), Watched())
    assert [row.genome for row in again.rows].count(wanted.id) == 1
    assert (again.evaluations, again.stopped) == (30, None)


UNFIT: list[tuple[dict[str, object], str]] = [
    ({"space": "support/1", "genes": {"a": 0.5, "b": 0.5}}, "mood"),
    ({"space": "support/1", "genes": {"a": 7.0, "b": 0.5, "mood": "good"}}, "a"),
    ({"space": "other/1", "genes": {}}, "space"),
    ({"genes": {}}, "keys"),
    ({"space": "support/1", "genes": {"a": 0.5, "b": 0.5, "mood": "good"}, "genome": "f" * 64}, "id"),
]


async def test_what_cannot_be_done_is_refused_with_the_reason(settings: Callable[..., Settings]) -> None:
    async with running(settings(evaluations=6)) as search:
        for document, why in UNFIT:
            assert why in await search.refused(Queue(genome=document))
        assert (await search.state()).queued == 0
        assert "no peers" in await search.refused(control.Ban(peer="p", days=1, reason="r"))
        assert "no genome" in await search.refused(Verify(target="ffffffffffff"))
        assert stat.S_IMODE(search.path.stat().st_mode) == 0o600
        await search.order(Stop())
        await search.done.wait()
    assert not search.path.exists()
    assert await control.ask(search.path, Status()) is None


async def test_nothing_is_queued_in_a_run_that_follows_from_its_seed(
    settings: Callable[..., Settings],
) -> None:
    async with running(settings(reproducible=True)) as search:
        assert "--reproducible" in await search.refused(Queue(genome=genome_json()))
        await search.order(Stop())


async def test_a_genome_is_scored_on_fresh_seeds_by_order(settings: Callable[..., Settings]) -> None:
    async with running(settings(evaluations=8)) as search:
        assert search.watched.state is not None
        genome = search.watched.state.rows[0].genome
        for _ in range(2):
            assert "fresh seed" in await search.said(Verify(target=genome[:10]))
        await search.order(Resume())
        await search.done.wait()
        assert search.result is not None
        again = [row for row in search.result.rows if row.purpose == "rescore"]
        assert [(row.genome, row.ask) for row in again] == [(genome, 1), (genome, 2)]
        assert len({row.seed for row in search.result.rows if row.genome == genome}) == 3


async def test_a_search_whose_socket_cannot_be_made_goes_on_without(
    settings: Callable[..., Settings], tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "a.db.sock").write_text("something else")
    state = await run_search(settings(evaluations=3), Watched())
    assert state.evaluations == 3
    assert "takes no orders" in capfd.readouterr().err
    assert (tmp_path / "a.db.sock").read_text() == "something else"


@pytest.mark.parametrize(
    "order", [Pause(), Resume(), Stop(), Status(), Verify(target="abcdef"), Queue(genome={"space": "s"})]
)
def test_an_order_goes_over_the_wire_and_back(order: Order) -> None:
    assert decode_order(line_of_order(order).rstrip()) == order


@pytest.mark.parametrize(
    "line",
    [
        b'{"order":"verify","target":"abc"}',
        b'{"order":"verify","target":"' + b"f" * 65 + b'"}',
        b'{"order":"verify","target":"zzzzzz"}',
        b'{"order":"queue","genome":[]}',
        b'{"order":"pause","now":true}',
        b'{"order":"explode"}',
    ],
)
def test_a_line_that_is_no_order_is_not_taken_for_one(line: bytes) -> None:
    with pytest.raises(msgspec.ValidationError):
        decode_order(line)


@pytest.mark.parametrize(
    "line", [b"\xff", b'{"order":"\xff"}', b'{"order":"queue","genome":' + b'{"a":' * 2000]
)
def test_bytes_that_are_no_json_are_refused_as_such(line: bytes) -> None:
    with pytest.raises(msgspec.DecodeError):
        decode_order(line)


async def test_no_line_ends_the_search(settings: Callable[..., Settings]) -> None:
    nested = b'{"a":' * 990 + b"1" + b"}" * 990
    lines = [
        b"\xff",
        b'{"order":"queue","genome":' + nested + b"}",
        b'{"order":"queue","genome":' + b"[" * 5000,
    ]
    async with running(settings()) as search:
        for line in lines:
            async with await trio.open_unix_socket(search.path) as stream:
                await stream.send_all(line + b"\n")
                answer = decode_answer(await stream.receive_some(MOST_BYTES))
            assert isinstance(answer, Refused)
        assert isinstance(await search.order(Status()), NodeState)
        await search.order(Resume())
        await search.order(Stop())


def test_what_a_search_does_is_shown() -> None:
    state = NodeState(
        doing="paused", run=2, task="digits", evaluations=7, limit=None, training=1, queued=3, mesh=True
    )
    shown = dict(_lines(state))
    assert (shown["doing"], shown["evaluations"], shown["queued"]) == ("paused", "7", "3")
    assert "mesh" in shown["peers"]
    assert "of 9" in dict(_lines(msgspec.structs.replace(state, limit=9)))["evaluations"]


@pytest.mark.parametrize("verb", [["pause"], ["resume"], ["stop"], ["status"], ["verify", "abcdef"]])
def test_without_a_search_an_order_says_how_to_start_one(eqmesh: Eqmesh, verb: list[str]) -> None:
    code, _, err = eqmesh("control", *verb, "--store", "a.db")
    assert code == 1
    assert "no search and no node runs on a.db" in err


def test_the_commands_check_what_they_are_given(eqmesh: Eqmesh, tmp_path: Path) -> None:
    assert "six digits" in eqmesh("control", "verify", "xyz")[2]
    (tmp_path / "g.json").write_text("[1]")
    assert "genome as JSON" in eqmesh("control", "queue", "g.json")[2]
    (tmp_path / "g.json").write_text('{"a":' * 2000)
    assert "genome as JSON" in eqmesh("control", "queue", "g.json")[2]
    (tmp_path / "g.json").write_text("x" * 70_000)
    assert "bytes" in eqmesh("control", "queue", "g.json")[2]


async def test_the_commands_reach_a_search(
    settings: Callable[..., Settings], capfd: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    from node.cli import main

    def call(*arguments: str) -> tuple[object, str]:
        capfd.readouterr()
        with pytest.raises(SystemExit) as ended:
            main(["control", *arguments])
        return ended.value.code, capfd.readouterr().out

    (tmp_path / "g.json").write_text(json.dumps(genome_json()))
    async with running(settings()) as search:
        store = settings().store
        code, out = await trio.to_thread.run_sync(call, "status", "--json", "--store", store)
        assert (code, json.loads(out)["doing"]) == (0, "paused")
        assert "paused" in (await trio.to_thread.run_sync(call, "status", "--store", store))[1]
        assert (await trio.to_thread.run_sync(call, "queue", "g.json", "--store", store))[0] == 0
        assert "goes on" in (await trio.to_thread.run_sync(call, "resume", "--store", store))[1]
        await search.order(Stop())
