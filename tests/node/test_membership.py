"""What makes a search a node: its mesh is put together from the settings, and its state is told as it changes."""

import hashlib
from collections.abc import Iterator, Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest
import trio
from trio.testing import MockClock

from evaluator.spaces import resolve_space
from genome import make_strategy
from node.membership import Membership, vault_of
from node.mesh import MemoryVault, Mesh
from node.mesh.evidence import Evidence
from node.protocol.identity import Identity
from node.schedule import Guest, Schedule
from node.settings import Settings
from node.store.beliefs import BeliefWriter
from node.store.records import Reader
from node.store.rows import SignedRow
from node.store.writer import Writer
from node.transports.base import Status, Transport, TransportError
from node.transports.memory import MemoryNetwork, MemoryTransport
from tests.support.mesh import JUDGE, TASK, Bench, clock, instant

ME = Identity(b"m" * 32)


class Home:
    """A store in a folder, and a membership of a network in memory that notes what it is told."""

    def __init__(self, folder: Path, stack: ExitStack) -> None:
        self.net = MemoryNetwork(1)
        self.told: list[Status] = []
        self.rules: tuple[Any, Any] | None = None
        self.store = folder / "store.sqlite"
        self.writer = stack.enter_context(Writer(self.store, now=clock, durable=False))
        self.reader = stack.enter_context(Reader(self.store))
        self.spool = folder / "spool"
        self.spool.mkdir()
        space = resolve_space("", TASK)
        self.schedule = Schedule(
            make_strategy("nsga2", space, JUDGE.ways, population=8),
            run_seed=1,
            baselines=[],
            look_behind=None,
            recorded=[],
        )
        self.membership = Membership(
            identity=ME,
            make_transport=self._make,
            now=clock,
            told=lambda status, _transport: self.told.append(status),
            log=lambda _event, **_fields: None,
        )

    def _make(self, validator: Any, selector: Any) -> Transport:
        self.rules = (validator, selector)
        return self.net.join(ME.peer)

    def mesh(self, **changes: Any) -> Mesh:
        return self.membership.mesh(
            Settings(store=str(self.store), task="digits", **changes),
            JUDGE,
            Bench(MemoryVault()),
            writer=self.writer,
            reader=self.reader,
            disk=instant,
            spool=self.spool,
            schedule=self.schedule,
        )


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Home]:
    monkeypatch.setenv("EQMESH_STATE_DIR", str(tmp_path))
    with ExitStack() as stack:
        yield Home(tmp_path, stack)


async def test_the_settings_reach_the_mesh(home: Home, autojump_clock: MockClock) -> None:
    mesh = home.mesh(check_share=0.07, claim_share=0.1, evidence_disk=3)
    assert mesh.ledger.settings.check_share == 0.07
    assert mesh._settings.claim_share == 0.1
    assert mesh._settings.evidence_bytes == 3 * 2**20
    assert mesh.transport.me == ME.peer


async def test_the_dht_has_the_rules_of_the_protocol(home: Home, autojump_clock: MockClock) -> None:
    home.mesh()
    assert home.rules is not None
    accepts, best = home.rules
    assert not accepts(b"anything", b"at all")
    assert best(b"genome/x", [b"one", b"other"]) == 0


async def test_evidence_lies_beside_the_store_and_strays_are_swept(
    home: Home, autojump_clock: MockClock
) -> None:
    vault = vault_of(home.store)
    assert vault.folder == home.store.with_name("store.sqlite.evidence")
    kept, stray = vault.put(b"weights"), vault.put(b"of an interrupted check")
    (vault.folder / ".half.1.partial").write_bytes(b"h")
    first = home.mesh()
    assert vault.names() == set(), "nobody's evidence: all of it goes"
    kept = vault.put(b"weights")
    first.evidence.add(Evidence(claim=b"c" * 32, checkpoints=(b"k" * 32,), weights=kept))
    vault.put(b"of an interrupted check")
    second = home.mesh()
    assert vault.names() == {kept}
    assert stray not in vault.names()
    assert b"c" * 32 in second.evidence


async def test_evidence_for_another_task_outlives_a_run_of_this_one(
    home: Home, autojump_clock: MockClock
) -> None:
    held = SignedRow(
        id=b"h" * 32,
        kind="claim",
        task=b"another task".ljust(32),
        peer=ME.peer,
        sequence=1,
        about=None,
        genome="67" * 32,
        expiry=int(clock()) + 100,
        body=b"what it says is of no matter here",
        signature=b"s" * 64,
        received_at=clock(),
    )
    BeliefWriter(home.writer).keep(signed=[held])
    mesh = home.mesh()
    for claim in (held.id, b"unheard of".ljust(32)):
        mesh.evidence.add(Evidence(claim=claim, checkpoints=(b"k" * 32,)))
    mesh.end_round()
    assert (held.id in mesh.evidence, len(mesh.evidence)) == (True, 1)
    await trio.sleep(200)
    mesh.end_round()
    assert len(mesh.evidence) == 0, "it has expired"


async def test_a_file_that_is_no_blob_does_not_keep_a_node_from_starting(
    home: Home, autojump_clock: MockClock
) -> None:
    vault = vault_of(home.store)
    kept = vault.put(b"weights")
    note = vault.folder / "README"
    note.write_text("what lies here is evidence")
    assert vault.names() == {kept}
    home.mesh()
    assert note.exists(), "what is not ours is left alone"


async def test_guests_of_the_mesh_reach_the_schedule(home: Home, autojump_clock: MockClock) -> None:
    hosted: list[tuple[Sequence[Guest], Sequence[Guest]]] = []
    home.schedule.host = lambda confirmed, provisional: hosted.append((confirmed, provisional))  # type: ignore[method-assign]
    mesh = home.mesh()
    mesh.end_round()
    assert hosted == [([], [])]


async def test_its_state_is_told_at_each_change_and_at_the_end(home: Home, autojump_clock: MockClock) -> None:
    mesh = home.mesh()
    async with trio.open_nursery() as nursery:
        await nursery.start(home.membership.serve, mesh)
        await trio.sleep(60)
        assert [status.peers for status in home.told] == [()], "and not while nothing changes"

        class Deaf:
            async def announced(self, peer: str, topic: str, body: bytes) -> None:
                """Nothing."""

            async def requested(self, peer: str, body: bytes) -> bytes:
                return b""

        other = home.net.join(Identity(b"o" * 32).peer)
        with trio.CancelScope() as scope:

            async def ready() -> None:
                nursery.start_soon(_later, scope)

            await other.serve(Deaf(), ready)
        await trio.sleep(10)
        assert [len(status.peers) for status in home.told] == [0, 1, 0]
        nursery.cancel_scope.cancel()
    assert home.told[-1].trouble, "the last word is that it has left"


async def _later(scope: trio.CancelScope) -> None:
    await trio.sleep(10)
    scope.cancel()


class Broken(MemoryTransport):
    """A transport that cannot start."""

    async def serve(self, handlers: Any, ready: Any) -> None:
        raise TransportError("no port is free. Name another one.")


async def test_a_transport_that_cannot_start_says_so(home: Home, autojump_clock: MockClock) -> None:
    mesh = home.mesh()
    mesh.transport = Broken(home.net, ME.peer)
    with pytest.RaisesGroup(pytest.RaisesExc(TransportError, match="no port"), flatten_subgroups=True):
        async with trio.open_nursery() as nursery:
            await nursery.start(home.membership.serve, mesh)
    assert home.told, "the end of it is told too"


async def test_what_is_believed_is_written_when_a_node_is_stopped(
    home: Home, autojump_clock: MockClock
) -> None:
    mesh = home.mesh()
    async with trio.open_nursery() as nursery:
        await nursery.start(home.membership.serve, mesh)
        mesh.end_round()
        assert mesh.books.pending
        nursery.cancel_scope.cancel()
    assert not mesh.books.pending
    assert home.reader.beliefs()[0] is not None
    assert home.mesh().ledger == mesh.ledger


def test_a_blob_is_named_by_its_hash(tmp_path: Path) -> None:
    vault = vault_of(tmp_path / "s")
    assert vault.put(b"x") == hashlib.sha256(b"x").digest()
    assert vault.chunk(vault.put(b"x"), 2**53) is None, "a stranger chooses the number"
    assert vault.chunk(vault.put(b"x"), 0) == b"x"
