"""Honest nodes among themselves, all their loops running: claims are made, told, checked, confirmed and hosted."""

from collections.abc import AsyncIterator, Callable
from contextlib import ExitStack, asynccontextmanager
from pathlib import Path

import msgspec
import pytest
import trio
import trio.testing
from trio.testing import MockClock

from node.errors import NodeError
from node.mesh import MeshSettings
from node.mesh.books import Books
from node.protocol.claims import Attestation, Claim, Head, Setback
from node.protocol.dht import genome_key, head_key, read_head, task_key
from node.protocol.digests import Catalogue
from node.protocol.exchange import MOST_MISSING, CatchUp
from node.protocol.questions import AskBucket, AskDigest, AskRecords, BucketIds, Found, Records
from node.protocol.trust import PeerRecord, TrustSettings
from node.protocol.wire import MOST_IDS, decode, encode
from node.store.beliefs import BeliefWriter
from node.transports.memory import Weather
from tests.support import mesh as support
from tests.support.mesh import JUDGE, Node, born, clock, earn, rounds, serving, settle

HOUR = 3600.0
QUICK = MeshSettings(catch_up_s=20.0)


async def _live(node: Node, task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED) -> None:
    async def ready() -> None:
        task_status.started()

    await node.mesh.run(ready)


async def _search(node: Node, numbers: range, pause_s: float = 10.0) -> None:
    """Measure some genomes, and go on spending units on nothing."""
    for number in numbers:
        await trio.sleep(pause_s)
        await node.search(number)
    while True:
        await trio.sleep(pause_s)
        await earn(node.mesh, 1)


@asynccontextmanager
async def living(**parties: tuple[Node, range]) -> AsyncIterator[None]:
    """These nodes run, each searching genomes of its own numbers."""
    async with trio.open_nursery() as nursery:
        for node, numbers in parties.values():
            await nursery.start(_live, node)
            nursery.start_soon(_search, node, numbers)
        yield
        nursery.cancel_scope.cancel()


def hosted(node: Node) -> set[str]:
    """Genomes of others that stand on a node's confirmed front."""
    return {guest.genome.id for guest in node.guests[0]}


def own(node: Node) -> dict[str, Claim]:
    return node.mesh.books.own_claims()


async def test_a_claim_is_made_told_checked_confirmed_and_hosted(
    tmp_path: Path, autojump_clock: MockClock
) -> None:
    net = support.network()
    with ExitStack() as stack:
        ann = support.node(tmp_path, net, 1, stack, settings=QUICK)
        bob = support.node(tmp_path, net, 2, stack, settings=QUICK)
        carl = support.node(tmp_path, net, 3, stack, settings=QUICK)
        async with living(ann=(ann, range(1, 9)), bob=(bob, range(0)), carl=(carl, range(0))):
            await trio.sleep(HOUR)
            assert own(ann)
            standing = {claim for claim in own(ann) if ann.mesh.front.stands(own(ann)[claim].genome.hex())}
            assert standing
            for node in (bob, carl):
                told = {event for event, _ in node.told}
                assert {"claim.heard", "claim.checked", "claim.confirmed"} <= told
                confirmed = {
                    claim for claim in node.mesh.ledger.claims if node.standing(claim) == "confirmed"
                }
                assert confirmed
                assert confirmed <= set(own(ann))
                assert hosted(node) == {own(ann)[claim].genome.hex() for claim in confirmed}
                for claim in confirmed:
                    stages = [row.stage for row in node.reader.findings(bytes.fromhex(claim)) if row.passed]
                    assert "1" in stages
                    assert node.mesh.ledger.claims[claim].checked or stages.count("2a") == 0
            assert hosted(ann) == set()
            # The word of each reached the other with receipts that hold.
            seen = [
                attester.peer for record in bob.mesh.ledger.claims.values() for attester in record.attesters
            ]
            assert set(seen) == {carl.peer}
            assert not any(node.mesh.ledger.bans for node in (ann, bob, carl))


async def test_one_that_comes_late_catches_up(tmp_path: Path, autojump_clock: MockClock) -> None:
    net = support.network()
    with ExitStack() as stack:
        ann = support.node(tmp_path, net, 1, stack, settings=QUICK)
        late = support.node(tmp_path, net, 3, stack, settings=QUICK)
        async with living(ann=(ann, range(1, 9))):
            await trio.sleep(600)
            claims = set(own(ann))
            assert claims
            async with living(late=(late, range(0))):
                await trio.sleep(60)
                assert claims <= {id_.hex() for id_ in late.mesh.books.catalogue}
                await trio.sleep(HOUR)
                assert hosted(late)


async def test_announcements_that_all_get_lost_are_made_up_for(
    tmp_path: Path, autojump_clock: MockClock
) -> None:
    net = support.network()
    with ExitStack() as stack:
        ann = support.node(tmp_path, net, 1, stack, settings=QUICK)
        bob = support.node(tmp_path, net, 2, stack, settings=QUICK)
        dropped = 0

        async def deaf(_peer: str, _topic: str, _body: bytes) -> None:
            nonlocal dropped
            dropped += 1

        bob.mesh.announced = deaf  # type: ignore[method-assign]
        async with living(ann=(ann, range(1, 5)), bob=(bob, range(0))):
            await trio.sleep(600)
            assert dropped
            assert own(ann)
            assert set(own(ann)) <= {id_.hex() for id_ in bob.mesh.books.catalogue}


async def test_messages_that_get_lost_double_and_overtake_each_other(
    tmp_path: Path, autojump_clock: MockClock
) -> None:
    weather = Weather(loss=0.05, doubling=0.3, delay_s=0.5)
    net = support.network(weather=weather)
    with ExitStack() as stack:
        ann = support.node(tmp_path, net, 1, stack, settings=QUICK)
        bob = support.node(tmp_path, net, 2, stack, settings=QUICK)
        async with living(ann=(ann, range(1, 5)), bob=(bob, range(11, 15))):
            await trio.sleep(HOUR)
            for one, other in ((ann, bob), (bob, ann)):
                assert set(own(one)) <= {id_.hex() for id_ in other.mesh.books.catalogue}
                assert not one.mesh.ledger.bans
            assert hosted(ann) | hosted(bob)


async def test_an_attestation_comes_before_its_claim_and_is_not_lost(
    tmp_path: Path, autojump_clock: MockClock
) -> None:
    net = support.network()
    with ExitStack() as stack:
        bob = support.node(tmp_path, net, 2, stack)
        ann, eve = support.Rogue(net, 66), support.Rogue(net, 67)
        async with serving(bob, ann):
            claim = ann.say(ann.honest(1))
            found = ann.training(born(1)[0])
            said = eve.attest(claim, support.worked(ann, claim, eve.peer, found, (1, 5, 19)))
            ann.records[said.id] = said
            await bob.mesh.take(eve.peer, [said])
            assert said.id not in bob.mesh.books
            assert await bob.mesh.catch_up(ann.peer) == 2
            assert [v.peer for v in bob.mesh.ledger.claims[claim.id.hex()].attesters] == [eve.peer]


# Catching up


async def test_what_a_node_refused_does_not_hide_what_it_holds(
    tmp_path: Path, autojump_clock: MockClock
) -> None:
    """Ids that it only remembers cannot be given to anybody: they must not take the place of those that can."""
    net = support.network()
    with ExitStack() as stack:
        bob = support.node(tmp_path, net, 2, stack)
        carl = support.node(tmp_path, net, 3, stack)
        ann = support.Rogue(net, 66)
        async with serving(bob, carl, ann):
            claim = next(
                record for number in range(1, 40) if (record := ann.say(ann.honest(number))).id[0] >> 2 >= 48
            )
            await bob.mesh.take(ann.peer, [claim])
            for number in range(8000):
                bob.mesh.books.see(bytes([number % 128]) + number.to_bytes(31, "big"))
            await carl.mesh.catch_up(bob.peer)
            assert carl.mesh.books.record(claim.id) is not None


def test_what_is_known_already_does_not_hide_what_is_new() -> None:
    known = [bytes([number % 128]) + number.to_bytes(31, "big") for number in range(2 * MOST_MISSING)]
    new = b"\xff" * 32
    theirs = Catalogue([*known, new])
    talk = CatchUp(JUDGE.task_id, Catalogue(), known=set(known))
    asked: list[bytes] = []
    while (question := talk.next()) is not None:
        match question:
            case AskDigest():
                talk.hear(Found(digest=theirs.digest()))
            case AskBucket():
                after = question.after or b""
                ids = [id_ for id_ in theirs.bucket(question.bucket) if id_ > after]
                talk.hear(BucketIds(ids=tuple(ids[:MOST_IDS]), more=len(ids) > MOST_IDS))
            case AskRecords():
                asked += question.ids
                talk.hear(Records(records=()))
    assert asked == [new]


async def test_what_a_node_refused_is_not_asked_for_again(tmp_path: Path, autojump_clock: MockClock) -> None:
    net = support.network()
    with ExitStack() as stack:
        bob = support.node(tmp_path, net, 2, stack)
        ann = support.Rogue(net, 66)
        async with serving(bob, ann):
            ann.say(msgspec.structs.replace(ann.honest(1), macs=1.0))
            assert await bob.mesh.catch_up(ann.peer) == 1
            assert await bob.mesh.catch_up(ann.peer) == 0


# Crashes


class _KilledError(Exception):
    """The machine stopped here."""


async def _kill(node: Node) -> None:
    """The end of a process: nothing is written any more."""

    async def gone(_act: Callable[[], None]) -> None:
        await trio.lowlevel.checkpoint()

    node.mesh.books._disk = gone


def ids(node: Node) -> set[bytes]:
    books = node.mesh.books
    return {id_ for id_ in books.catalogue if books.record(id_) is not None}


async def test_a_node_that_is_killed_comes_back_as_it_was(tmp_path: Path, autojump_clock: MockClock) -> None:
    net = support.network()
    with ExitStack() as stack:
        ann = support.node(tmp_path, net, 1, stack, settings=QUICK)
        with ExitStack() as life:
            bob = support.node(tmp_path, net, 2, life, settings=QUICK)
            async with living(ann=(ann, range(1, 9))), living(bob=(bob, range(21, 27))):
                await trio.sleep(HOUR)
                while bob.mesh.books.pending:
                    await bob.mesh.books.flush()
                state = msgspec.msgpack.encode(bob.mesh.ledger)
                held, claims = ids(bob), own(bob)
                confirmed = hosted(bob)
                values = dict(bob.mesh.books.values)
                evidence = {claim: bytes.fromhex(claim) in bob.mesh.evidence for claim in claims}
                assert claims
                assert confirmed
                await _kill(bob)
            vault = bob.vault
        again = support.node(tmp_path, net, 2, stack, settings=QUICK, vault=vault)
        assert msgspec.msgpack.encode(again.mesh.ledger) == state
        assert ids(again) == held
        assert own(again) == claims
        assert again.mesh.books.values == values
        assert all(evidence.values())
        assert {claim: bytes.fromhex(claim) in again.mesh.evidence for claim in claims} == evidence
        again.mesh.end_round()
        assert hosted(again) == confirmed
        assert again.mesh.signer.sign(Attestation, claim=b"c" * 32, stage="1", leaves=(), objectives={})[
            1
        ].sequence > max(claim.sequence for claim in claims.values())


async def test_what_was_told_to_others_is_never_forgotten(tmp_path: Path, autojump_clock: MockClock) -> None:
    """Others may ask at any time: what is not written yet they are not told of."""
    net = support.network()
    with ExitStack() as stack:
        ann = support.Rogue(net, 66)
        slow = MeshSettings(announce_s=1e6, flush_s=1e6, publish_s=1e6)
        with ExitStack() as life:
            bob = support.node(tmp_path, net, 2, life, settings=slow)
            async with serving(ann), living(bob=(bob, range(1, 5))):
                told: set[bytes] = set()
                while len(own(bob)) < 2:
                    await trio.sleep(5)
                assert bob.mesh.books.pending
                for claim in own(bob):
                    question = AskRecords(ids=(bytes.fromhex(claim),))
                    reply = await ann.transport.request(bob.peer, encode(question))
                    told |= {record.id for record in decode(reply, Records, limit_bytes=2**20).records}
                digest = await ann.transport.request(bob.peer, encode(AskDigest(task=JUDGE.task_id)))
                await _kill(bob)
        again = support.node(tmp_path, net, 2, stack, settings=slow, vault=bob.vault)
        assert told <= ids(again)
        assert decode(digest, Found, limit_bytes=2**20).digest == again.mesh.books.catalogue.digest()


async def test_a_flush_that_is_cancelled_while_it_waits_for_the_disk_loses_nothing(
    tmp_path: Path, autojump_clock: MockClock
) -> None:
    net = support.network()
    busy = trio.CapacityLimiter(1)

    async def disk(act: Callable[[], None]) -> None:
        async with busy:
            act()

    with ExitStack() as stack:
        with ExitStack() as life:
            bob = support.node(tmp_path, net, 2, life, disk=disk)
            ann = support.Rogue(net, 66)
            async with serving(bob, ann):
                claim = ann.say(ann.honest(1))
                await bob.mesh.take(ann.peer, [claim])
                await settle(bob.mesh)
                assert hosted(bob)
                books = bob.mesh.books
                async with busy, trio.open_nursery() as nursery:
                    nursery.start_soon(books.flush)
                    await trio.testing.wait_all_tasks_blocked()
                    nursery.cancel_scope.cancel()
                assert books.pending
                await books.flush(fold=True)
                findings = bob.reader.findings(claim.id)
                assert [row.stage for row in findings][:2] == ["1", "2a"]
                events = {event.kind for event in bob.reader.events()}
                assert "claim.confirmed" in events
        again = support.node(tmp_path, net, 2, stack)
        again.mesh.end_round()
        assert hosted(again) == {born(1)[0].id}


@pytest.mark.parametrize("body", [b"", b"\x91", b"\x91\x80", b"nonsense"])
async def test_an_index_of_evidence_that_cannot_be_read_says_what_to_do(tmp_path: Path, body: bytes) -> None:
    (tmp_path / "node2").mkdir()
    (tmp_path / "node2" / "evidence.index").write_bytes(body)
    with ExitStack() as stack, pytest.raises(NodeError, match="Move it away"):
        support.node(tmp_path, support.network(), 2, stack)


class Crashing:
    """A disk that stops after so many acts, each of which may be cut off in the middle of a flush."""

    def __init__(self, after: int) -> None:
        self.left = after

    async def __call__(self, act: Callable[[], None]) -> None:
        await trio.lowlevel.checkpoint()
        if self.left == 0:
            raise _KilledError
        self.left -= 1
        act()


@pytest.mark.parametrize("after", range(6))
async def test_a_crash_between_any_two_writes_leaves_a_store_that_opens(
    tmp_path: Path, autojump_clock: MockClock, after: int
) -> None:
    net = support.network()
    with ExitStack() as stack:
        with ExitStack() as life:
            bob = support.node(tmp_path, net, 2, life, disk=Crashing(after))
            ann = support.Rogue(net, 66)
            async with serving(bob, ann):
                state = msgspec.msgpack.encode(bob.mesh.ledger)
                try:
                    for number in range(1, 5):
                        await bob.mesh.take(ann.peer, [ann.say(ann.honest(number))])
                        await rounds(bob.mesh)
                        await bob.mesh.books.flush(fold=number % 2 == 0)
                        state = msgspec.msgpack.encode(bob.mesh.ledger)
                except _KilledError:
                    pass
        again = support.node(tmp_path, net, 2, stack)
        assert msgspec.msgpack.encode(again.mesh.ledger) == state
        again.mesh.end_round()


def test_events_are_applied_once_after_a_fold(tmp_path: Path) -> None:
    trio.run(_fold_and_read, tmp_path, clock=MockClock(autojump_threshold=0))


async def _fold_and_read(folder: Path) -> None:
    net = support.network()
    with ExitStack() as stack:
        bob = support.node(folder, net, 2, stack)
        for turn in range(30):
            await earn(bob.mesh, 5)
            bob.mesh.end_round()
            await bob.mesh.books.flush(fold=turn in (7, 8, 20))
        books = Books(
            me=bob.peer,
            task=JUDGE.task_id,
            writer=BeliefWriter(bob.writer),
            reader=bob.reader,
            disk=support.instant,
            settings=TrustSettings(),
        )
        assert books.ledger == bob.mesh.ledger
        assert books.ledger.round == 30


async def test_setbacks_that_expired_keep_nobody_from_anything(
    tmp_path: Path, autojump_clock: MockClock
) -> None:
    net = support.network()
    with ExitStack() as stack:
        bob = support.node(tmp_path, net, 2, stack)
        genome = b"g" * 32
        for number in (66, 67):
            said = support.Rogue(net, number).sign(
                Setback, task=JUDGE.task_id, tier="smoke", genome=genome, arithmetic="fp32", kind="diverged"
            )
            await bob.mesh.take("x", [said])
        bob.mesh.end_round()
        assert bob.shunned == set()  # whose claims have never held here keeps nobody from anything
        bob.mesh.ledger.peers[support.Rogue(net, 66).peer] = PeerRecord(a=2.0, round=bob.mesh.ledger.round)
        bob.mesh.end_round()
        assert bob.shunned == {genome.hex()}
        await trio.sleep(15 * 86_400)
        bob.mesh.end_round()
        bob.mesh.end_round()
        assert bob.shunned == set()
        assert bob.mesh.books.setbacks == {}


# The DHT


async def test_genomes_weights_and_heads_are_found_by_those_who_look(
    tmp_path: Path, autojump_clock: MockClock
) -> None:
    net = support.network()
    with ExitStack() as stack:
        ann = support.node(tmp_path, net, 1, stack)
        onlooker = support.Rogue(net, 66)
        async with serving(onlooker), living(ann=(ann, range(1, 5))):
            await trio.sleep(600)
            key = head_key(JUDGE.task_id, ann.identity.key)
            body = await onlooker.transport.get(key)
            assert body is not None
            head = read_head(key, body, clock())
            assert head.claims
            for id_ in head.claims:
                claim = own(ann)[id_.hex()]
                assert await onlooker.transport.get(genome_key(claim.genome.hex())) is not None
                assert claim.weights is not None
                assert await onlooker.transport.providers(claim.weights) == (ann.peer,)


@pytest.mark.parametrize("number", range(2, 8))  # in what order they are looked at depends on who looks
async def test_a_stranger_among_the_providers_does_not_stop_the_look_at_others(
    tmp_path: Path, number: int, autojump_clock: MockClock
) -> None:
    """Peers may have keys of other kinds, and any may leave nonsense as its head."""
    net = support.network()
    quiet = MeshSettings(catch_up_s=1e6, publish_s=15.0)
    with ExitStack() as stack:
        bob = support.node(tmp_path, net, number, stack, settings=quiet)
        ann = support.Rogue(net, 66)
        odd = [net.join(f"QmNoKeyOfOurs{index}") for index in range(7)]
        async with serving(ann), trio.open_nursery() as nursery:
            for transport in odd:
                await nursery.start(support._serve, transport, ann)
            for transport in (*odd, ann.transport):
                await transport.provide(task_key(JUDGE.task_id))
            await nursery.start(_live, bob)
            await trio.sleep(10)
            assert not ann.records
            claim = ann.say(ann.honest(1))
            head = ann.sign(Head, task=JUDGE.task_id, claims=(claim.id,))
            await ann.transport.put(head_key(JUDGE.task_id, ann.identity.key), encode(head))
            await trio.sleep(24)
            assert bob.knows(claim)
            nursery.cancel_scope.cancel()
