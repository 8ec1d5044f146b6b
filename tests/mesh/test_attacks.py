"""What a peer may lie about, one attack a test: none gets a false claim believed, or an honest peer banned."""

import hashlib
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path

import msgspec
import pytest
import trio
from trio.testing import MockClock

from evaluator.jobs import Replay, Replayed
from genome import Birth as GenomeBirth
from genome import Genome, GenomeError, replay
from node.mesh import Judge
from node.mesh.books import MOST_OF_PEER
from node.protocol import merkle
from node.protocol.announcements import announcements, topic_of
from node.protocol.blobs import Manifest
from node.protocol.claims import Accusation, Birth, Leaf, Setback, Signed
from node.protocol.exchange import answer
from node.protocol.questions import (
    Answer,
    AskChunk,
    AskDigest,
    AskManifest,
    AskSegment,
    Chunk,
    HaveManifest,
    No,
    Question,
    Segment,
)
from node.protocol.trust import Banned, commitment
from node.protocol.wire import CHUNK_BYTES, decode, encode
from node.transports.memory import MemoryNetwork, Weather
from tests.support import mesh as support
from tests.support.mesh import (
    CHAIN,
    EXAMPLES,
    JUDGE,
    TASK,
    Bench,
    Node,
    Rogue,
    Training,
    born,
    check_all,
    clock,
    earn,
    serving,
    settle,
    train,
    worked,
)

replace = msgspec.structs.replace


class Scene:
    """One honest node, and peers that do what a test says."""

    def __init__(self, folder: Path, stack: ExitStack) -> None:
        self._folder = folder
        self._stack = stack
        self.net: MemoryNetwork = support.network()
        self.node = self.join(1)

    def join(self, number: int, make_bench: Callable[..., Bench] = Bench) -> Node:
        return support.node(self._folder, self.net, number, self._stack, make_bench=make_bench)

    def rogue(self, number: int = 66) -> Rogue:
        return Rogue(self.net, number)


@pytest.fixture
def scene(tmp_path: Path) -> Iterator[Scene]:
    with ExitStack() as stack:
        yield Scene(tmp_path, stack)


def banned(node: Node, peer: str) -> bool:
    return node.mesh.ledger.ban(peer, clock()) is not None


def swapped(found: Training, **changes: object) -> Training:
    return replace(found, **changes)


async def judged(scene: Scene, rogue: Rogue, claim: Signed, count: int = 8) -> str:
    """What the honest node makes of a claim once it has had all the budget and rounds it wants."""
    await scene.node.mesh.take(rogue.peer, [claim])
    await settle(scene.node.mesh, count)
    return scene.node.standing(claim) if scene.node.knows(claim) else "unknown"


async def test_an_honest_claim_is_confirmed_and_hosted(scene: Scene, autojump_clock: MockClock) -> None:
    ann = scene.rogue()
    async with serving(scene.node, ann):
        claim = ann.say(ann.honest(1))
        assert await judged(scene, ann, claim) == "confirmed"
        confirmed, provisional = scene.node.guests
        assert [guest.genome.id for guest in confirmed] == [born(1)[0].id]
        assert not provisional


# Lies about results


@pytest.mark.parametrize("points", [1, 6, 24])
@pytest.mark.parametrize("weights", ["true", "made to fit", "trained on validation data"])
async def test_lying_about_accuracy(
    scene: Scene, points: int, weights: str, autojump_clock: MockClock
) -> None:
    mal = scene.rogue()
    async with serving(scene.node, mal):
        genome, birth = born(1)
        found = mal.training(genome)
        correct = min(EXAMPLES, found.correct + points)
        lie = swapped(found, correct=correct, predictions=support.predictions_with(correct))
        if weights == "made to fit":
            state = hashlib.sha256(b"elsewhere").digest() * 4
            states = (*found.states[:-1], state)
            lie = swapped(lie, states=states, weights=support.weights_with(correct, state))
        elif weights == "trained on validation data":
            # Every checkpoint is true. Only the weights are others than the training leaves behind.
            lie = swapped(lie, weights=support.weights_with(correct, found.states[-1]))
        claim = mal.say(mal.claim(genome, birth, lie), lie)
        assert await judged(scene, mal, claim) == "refused"
        assert banned(scene.node, mal.peer)
        assert scene.node.guests == ([], [])


async def test_a_training_that_stops_early_and_takes_its_weights_from_elsewhere(
    scene: Scene, autojump_clock: MockClock
) -> None:
    mal = scene.rogue()
    async with serving(scene.node, mal):
        genome, birth = born(1)
        found = mal.training(genome)
        lie = swapped(
            found,
            states=found.states[:1],
            correct=EXAMPLES,
            predictions=support.predictions_with(EXAMPLES),
            weights=support.weights_with(EXAMPLES, found.states[-1]),
        )
        claim = mal.say(mal.claim(genome, birth, lie), lie)
        assert await judged(scene, mal, claim) == "refused"
        assert banned(scene.node, mal.peer)


async def test_another_peers_training_passed_off_as_ones_own(scene: Scene, autojump_clock: MockClock) -> None:
    ann, mal = scene.rogue(2), scene.rogue()
    async with serving(scene.node, ann, mal):
        genome, birth = born(1)
        stolen = ann.training(genome)
        claim = mal.say(mal.claim(genome, birth, stolen), stolen)
        assert await judged(scene, mal, claim) == "refused"
        assert banned(scene.node, mal.peer)
        assert not banned(scene.node, ann.peer)


async def test_a_claim_signed_by_another_than_it_names(scene: Scene, autojump_clock: MockClock) -> None:
    ann, mal = scene.rogue(2), scene.rogue()
    claim = ann.say(ann.honest(1))
    forged = replace(claim, signature=mal.identity.sign("claim/1", claim.body))
    await scene.node.mesh.take(mal.peer, [forged])
    assert claim.id not in scene.node.mesh.books
    assert mal.peer in scene.node.mesh.intake.marks
    assert ann.peer not in scene.node.mesh.intake.marks


# Records that are stale, foreign, doubled or forged


async def test_an_expired_record(scene: Scene, autojump_clock: MockClock) -> None:
    mal = scene.rogue()
    async with serving(scene.node, mal):
        claim = mal.say(replace(mal.honest(1), expiry=int(clock()) + 60))
        await trio.sleep(3600)
        await scene.node.mesh.take(mal.peer, [claim])
        assert claim.id not in scene.node.mesh.books
        assert "held until" in scene.node.mesh.intake.marks[mal.peer][1]


@pytest.mark.parametrize(
    "change",
    [
        {"task": b"?" * 32},
        {"tier": "full"},
        {"space": "mlp/2"},
        {"arithmetic": "fp8"},
        {"checkpoint_count": 21},
    ],
)
async def test_a_claim_of_another_task(
    scene: Scene, change: dict[str, object], autojump_clock: MockClock
) -> None:
    mal = scene.rogue()
    async with serving(scene.node, mal):
        claim = mal.sign_body(replace(mal.honest(1), **change))
        await scene.node.mesh.take(mal.peer, [claim])
        assert not scene.node.knows(claim)
        assert scene.node.mesh.books.record(claim.id) is None
        assert mal.asked == [], "nothing is fetched for it"


@pytest.mark.parametrize("together", [True, False])
async def test_two_records_under_one_number(scene: Scene, together: bool, autojump_clock: MockClock) -> None:
    mal = scene.rogue()
    async with serving(scene.node, mal):
        one = mal.honest(1)
        first, second = mal.say(one), mal.say(replace(mal.honest(2), sequence=one.sequence))
        batches = [[first, second]] if together else [[first], [second]]
        for batch in batches:
            await scene.node.mesh.take(mal.peer, batch)
        books = scene.node.mesh.books
        assert [books.record(claim.id) is not None for claim in (first, second)] == [True, False]
        assert [scene.node.knows(claim) for claim in (first, second)] == [True, False]
        assert "two records" in scene.node.mesh.intake.marks[mal.peer][1]


async def test_two_records_under_one_number_from_two_sides_at_once(
    scene: Scene, autojump_clock: MockClock
) -> None:
    mal, eve = scene.rogue(), scene.rogue(67)
    async with serving(scene.node, mal, eve):
        one, other = mal.honest(1), mal.honest(2)
        eve.genomes |= mal.genomes
        first, second = mal.say(one), mal.say(replace(other, sequence=one.sequence))
        async with trio.open_nursery() as nursery:
            nursery.start_soon(scene.node.mesh.take, mal.peer, [first])
            nursery.start_soon(scene.node.mesh.take, eve.peer, [second])
        assert sum(scene.node.mesh.books.record(claim.id) is not None for claim in (first, second)) == 1


async def test_a_record_that_comes_sixteen_times_in_one_message_counts_once(
    scene: Scene, autojump_clock: MockClock
) -> None:
    """Else whoever repeats an honest peer's records uses up the number of them that is held."""
    ann, mal, eve = scene.rogue(2), scene.rogue(), scene.rogue(67)
    async with serving(scene.node, ann, mal):
        claim = ann.say(ann.honest(1))
        await scene.node.mesh.take(ann.peer, [claim])
        found = ann.training(born(1)[0])
        said = eve.attest(claim, worked(ann, claim, eve.peer, found, (3, 4, 5)))
        failed = eve.sign(
            Setback, task=JUDGE.task_id, tier="smoke", genome=b"g" * 32, arithmetic="fp32", kind="diverged"
        )
        blamed = eve.sign(
            Accusation,
            claim=claim.id,
            stage="1",
            segment=0,
            claimed=bytes(32),
            found=bytes(32),
            path=(),
        )
        for record in (said, failed, blamed, claim):
            await scene.node.mesh.take(mal.peer, [record] * 16)
        books = scene.node.mesh.books
        assert books._count == {ann.peer: 1, eve.peer: 3}
        assert len(books.catalogue) == 4


async def test_forged_births(scene: Scene, autojump_clock: MockClock) -> None:
    mal = scene.rogue()
    async with serving(scene.node, mal):
        honest = mal.honest(1)
        for wrong in (
            Birth(parents=(), operator="random/1", seed=honest.birth.seed + 1),
            Birth(parents=(), operator="no-such/1", seed=0),
            Birth(parents=(), operator="mutate/1", seed=0),
            Birth(parents=(honest.genome, honest.genome), operator="cross/1", seed=0),
            Birth(parents=(honest.genome,), operator="mutate/1", seed=7),  # its own parent
        ):
            _, claim = mal.signer.sign(
                Setback, task=b"t" * 32, tier="x", genome=b"g" * 32, arithmetic="x", kind="diverged"
            )
            record = mal.say(replace(honest, birth=wrong, sequence=claim.sequence))
            await scene.node.mesh.take(mal.peer, [record])
            assert not scene.node.knows(record), wrong
            assert scene.node.mesh.books.record(record.id) is None


async def test_a_birth_whose_parents_cannot_be_had_is_not_filed(
    scene: Scene, autojump_clock: MockClock
) -> None:
    mal = scene.rogue()
    async with serving(scene.node, mal):
        unknown = Birth(parents=(b"u" * 32, b"v" * 32), operator="cross/1", seed=5)
        claim = mal.say(replace(mal.honest(1), birth=unknown))
        await scene.node.mesh.take(mal.peer, [claim])
        assert scene.node.knows(claim)
        await scene.node.mesh.books.flush()
        assert list(scene.node.reader.births()) == []
        assert scene.node.reader.genome_bytes(born(1)[0].id) is not None


async def test_a_genome_that_a_peer_says_was_imported_is_no_seed_of_the_next_run(
    scene: Scene, autojump_clock: MockClock
) -> None:
    mal = scene.rogue()
    async with serving(scene.node, mal):
        claim = mal.say(replace(mal.honest(1), birth=Birth(parents=(), operator="import/1", seed=0)))
        await scene.node.mesh.take(mal.peer, [claim])
        assert scene.node.knows(claim)
        await scene.node.mesh.books.flush()
        assert scene.node.reader.imported(TASK.space.id) == []


async def test_a_birth_is_kept_when_a_child_of_that_genome_comes_with_it(
    scene: Scene, autojump_clock: MockClock
) -> None:
    ann = scene.rogue(2)
    async with serving(scene.node, ann):
        parent, birth = born(1)
        for seed in range(100):
            made = GenomeBirth((parent.id,), "mutate/1", seed)
            child = replay(made, TASK.space, {parent.id: parent})
            cost = JUDGE.cost(child, "exact-1")
            if JUDGE.claim_class(child) == "exact-1" and cost is not None and cost.peak_bytes < 2**26:
                break
        first = ann.say(ann.claim(parent, birth, ann.training(parent)))
        better = swapped(
            ann.training(child), correct=EXAMPLES, predictions=support.predictions_with(EXAMPLES)
        )
        second = ann.say(ann.claim(child, made, better))
        await scene.node.mesh.take(ann.peer, [first, second])
        assert scene.node.knows(second)
        await scene.node.mesh.books.flush()
        births = {row.genome: row.birth for row in scene.node.reader.births()}
        assert births[parent.id] == birth


async def test_resource_bombs_are_refused_before_anything_is_built(
    scene: Scene, autojump_clock: MockClock
) -> None:
    mal = scene.rogue()
    async with serving(scene.node, mal):
        good, _ = born(1)
        claim = mal.honest(1)
        bombs = (
            {"width1": 2**60},
            {"width1": -1},
            {"layers": 10**6},
            {"depth": 10**6},
            {"free_steps": 2**62},
            {"batch": 0},
            {"lr": float("1e300")},
        )
        for change in bombs:
            bomb = Genome("mlp/1", dict(good.values) | change)
            mal.file(bomb)
            record = mal.say(
                replace(claim, genome=bytes.fromhex(bomb.id), sequence=claim.sequence + hash(bomb.id) % 2**40)
            )
            await scene.node.mesh.take(mal.peer, [record])
            assert not scene.node.knows(record), change
            assert await check_all(scene.node.mesh) == 0
        assert scene.node.bench.units == 0


def test_a_genome_with_a_nan_in_it_has_no_bytes() -> None:
    good, _ = born(1)
    with pytest.raises(GenomeError):
        Genome("mlp/1", dict(good.values) | {"lr": float("nan")})
    name = b"\xa1x\xcb" + msgspec.msgpack.encode(float("nan"))[1:]
    with pytest.raises(GenomeError):
        Genome.decode(b"\x94\xaceqmesh.genome\x01\xa5mlp/1\x81" + name)


@pytest.mark.parametrize(
    "change",
    [{"macs": 1.0}, {"peak_bytes": 1}, {"weights_bytes": 2**40}, {"examples": 2**40, "correct": 2**40}],
)
async def test_a_claim_whose_cost_is_not_what_its_genes_say(
    scene: Scene, change: dict[str, int], autojump_clock: MockClock
) -> None:
    mal = scene.rogue()
    async with serving(scene.node, mal):
        claim = mal.honest(1)
        if "examples" in change:
            claim = replace(claim, objectives={"accuracy": 1.0})
        record = mal.say(replace(claim, **change))
        await scene.node.mesh.take(mal.peer, [record])
        assert not scene.node.knows(record)
        assert not any(isinstance(question, AskManifest) for question in mal.asked)


# Those who check


async def claim_at(scene: Scene, author: Rogue) -> tuple[Signed, Training]:
    """A claim that the node has heard of, weights checked, its committee open to all."""
    claim = author.say(author.honest(1))
    await scene.node.mesh.take(author.peer, [claim])
    return claim, author.training(born(1)[0])


def attesters(scene: Scene, claim: Signed) -> list[str]:
    return [attester.peer for attester in scene.node.mesh.ledger.claims[claim.id.hex()].attesters]


async def test_an_attestation_with_receipts_counts(scene: Scene, autojump_clock: MockClock) -> None:
    ann, eve = scene.rogue(2), scene.rogue(3)
    async with serving(scene.node, ann):
        claim, found = await claim_at(scene, ann)
        said = eve.attest(claim, worked(ann, claim, eve.peer, found, (3, 9, 19)))
        await scene.node.mesh.take(eve.peer, [said])
        assert attesters(scene, claim) == [eve.peer]


@pytest.mark.parametrize(
    "fault",
    [
        "no leaves",
        "no receipt",
        "garbage receipt",
        "another's leaves",
        "own receipt",
        "another leaf",
        "swapped",
    ],
)
async def test_a_lazy_attester(scene: Scene, fault: str, autojump_clock: MockClock) -> None:
    ann, eve, lazy = scene.rogue(2), scene.rogue(3), scene.rogue(4)
    async with serving(scene.node, ann):
        claim, found = await claim_at(scene, ann)
        mine = list(worked(ann, claim, lazy.peer, found, (3, 9, 19)))
        leaves: list[Leaf] = {
            "no leaves": [],
            "no receipt": [replace(leaf, receipt=None) for leaf in mine],
            "garbage receipt": [replace(leaf, receipt=bytes(64)) for leaf in mine],
            "another's leaves": list(worked(ann, claim, eve.peer, found, (3, 9, 19))),
            "own receipt": list(worked(lazy, claim, lazy.peer, found, (3, 9, 19))),
            "another leaf": [replace(leaf, end=b"?" * 32) for leaf in mine],
            "swapped": [replace(mine[0], segment=4), *mine[1:]],
        }[fault]
        said = lazy.attest(claim, leaves)
        await scene.node.mesh.take(lazy.peer, [said])
        assert attesters(scene, claim) == []
        assert lazy.peer in scene.node.mesh.intake.marks


async def test_whoever_saw_a_leaf_before_it_committed_gets_no_receipt(
    scene: Scene, autojump_clock: MockClock
) -> None:
    ann, lazy = scene.rogue(2), scene.rogue(4)
    async with serving(scene.node, ann):
        claim, found = await claim_at(scene, ann)
        start = ann.room.segment(lazy.peer, AskSegment(claim=claim.id, segment=8))
        assert isinstance(start, Segment)
        assert start.leaf == found.leaves[7]
        committed = commitment(claim.id.hex(), lazy.peer, start.leaf, (7).to_bytes(8, "big"))
        again = ann.room.segment(lazy.peer, AskSegment(claim=claim.id, segment=7, commitment=committed))
        assert isinstance(again, No)
        guess = ann.room.segment(lazy.peer, AskSegment(claim=claim.id, segment=3, commitment=b"?" * 32))
        assert isinstance(guess, Segment)
        second = commitment(claim.id.hex(), lazy.peer, guess.leaf, (3).to_bytes(8, "big"))
        assert isinstance(
            ann.room.segment(lazy.peer, AskSegment(claim=claim.id, segment=3, commitment=second)), No
        )


def accusation(rogue: Rogue, claim: Signed, found: Training, segment: int, /, **changes: object) -> Signed:
    fields: dict[str, object] = {
        "claim": claim.id,
        "stage": "2a",
        "segment": segment,
        "claimed": found.leaves[segment],
        "found": b"f" * 32,
        "path": merkle.proof(found.leaves, segment),
    }
    return rogue.sign(Accusation, **(fields | changes))


@pytest.mark.parametrize("fault", ["leaf", "segment", "path"])
async def test_an_accusation_of_what_is_not_under_the_root(
    scene: Scene, fault: str, autojump_clock: MockClock
) -> None:
    ann, mal = scene.rogue(2), scene.rogue()
    async with serving(scene.node, ann):
        claim, found = await claim_at(scene, ann)
        before = msgspec.msgpack.encode(scene.node.mesh.ledger)
        change = {"leaf": {"claimed": b"?" * 32}, "segment": {"segment": 4}, "path": {"path": ()}}[fault]
        blame = accusation(mal, claim, found, 3, **change)
        await scene.node.mesh.take(mal.peer, [blame])
        assert msgspec.msgpack.encode(scene.node.mesh.ledger) == before
        assert mal.peer in scene.node.mesh.intake.marks


async def test_bad_mouthing_costs_the_accuser_and_not_the_accused(
    scene: Scene, autojump_clock: MockClock
) -> None:
    ann, mal = scene.rogue(2), scene.rogue()
    scene.node.mesh.intake.meet([mal.peer])
    async with serving(scene.node, ann):
        claim, found = await claim_at(scene, ann)
        await settle(scene.node.mesh)
        assert scene.node.standing(claim) == "confirmed"
        await scene.node.mesh.take(mal.peer, [accusation(mal, claim, found, 3)])
        assert scene.node.mesh.ledger.claims[claim.id.hex()].accusers
        await settle(scene.node.mesh, 3)
        assert not scene.node.mesh.ledger.claims[claim.id.hex()].accusers
        assert scene.node.standing(claim) == "confirmed"
        assert not banned(scene.node, ann.peer)
        assert not scene.node.mesh.ledger.peer(mal.peer).heeded


class OtherMachine(Bench):
    """A bench whose fp32 sums come out otherwise than those of the claimant."""

    async def replay(self, request: Replay) -> Replayed:
        found = await super().replay(request)
        if request.job.arithmetic == "exact-1" or not found.end:
            return found
        return replace(found, end=hashlib.sha256(found.end.encode()).hexdigest())


async def test_a_replay_in_a_class_of_another_machine_proves_nothing(
    scene: Scene, autojump_clock: MockClock
) -> None:
    ann, mal = scene.rogue(2), scene.rogue()
    node = scene.join(9, OtherMachine)
    node.mesh.intake.meet([mal.peer])
    async with serving(node, ann):
        genome, _ = born(1)
        cost = JUDGE.cost(genome, "fp32")
        assert cost is not None
        honest = replace(
            ann.honest(1), arithmetic="fp32", macs=cost.macs_per_step, peak_bytes=cost.peak_bytes
        )
        claim, found = ann.say(honest), ann.training(genome)
        await node.mesh.take(ann.peer, [claim])
        assert node.knows(claim)
        await node.mesh.take(mal.peer, [accusation(mal, claim, found, 3)])
        await settle(node.mesh, 4)
        assert not banned(node, ann.peer)


async def test_a_sleeper_is_banned_for_its_first_lie(scene: Scene, autojump_clock: MockClock) -> None:
    mal = scene.rogue()
    async with serving(scene.node, mal):
        claims = [mal.say(mal.honest(number)) for number in range(1, 6)]
        await scene.node.mesh.take(mal.peer, claims)
        await settle(scene.node.mesh, 20)
        assert scene.node.mesh.ledger.peer(mal.peer).a > 1
        genome, birth = born(7)
        found = mal.training(genome)
        lie = swapped(
            found,
            correct=EXAMPLES,
            predictions=support.predictions_with(EXAMPLES),
            weights=support.weights_with(EXAMPLES, found.states[-1]),
        )
        claim = mal.say(mal.claim(genome, birth, lie), lie)
        assert await judged(scene, mal, claim, 12) == "refused"
        assert banned(scene.node, mal.peer)
        assert all(scene.node.standing(old) == "refused" for old in claims if scene.node.knows(old))
        assert scene.node.guests == ([], [])


# Floods


async def test_a_flood_of_records_by_one_identity(scene: Scene, autojump_clock: MockClock) -> None:
    mal = scene.rogue()
    books = scene.node.mesh.books
    batch = [
        mal.sign(
            Setback,
            task=JUDGE.task_id,
            tier="smoke",
            genome=number.to_bytes(32, "big"),
            arithmetic="fp32",
            kind="diverged",
        )
        for number in range(MOST_OF_PEER + 40)
    ]
    await scene.node.mesh.take(mal.peer, batch)
    assert len(books.catalogue) == MOST_OF_PEER
    assert books.full(mal.peer)
    scene.node.mesh.end_round()
    assert scene.node.shunned == set(), "and the word of one newcomer keeps nobody from anything"


async def test_claims_of_no_use_do_not_push_out_what_waits_to_be_checked(
    scene: Scene, monkeypatch: pytest.MonkeyPatch, autojump_clock: MockClock
) -> None:
    monkeypatch.setattr("node.protocol.trust.ledger.MAX_CLAIMS", 5)
    ann, mal = scene.rogue(2), scene.rogue()
    genome, birth = born(3)
    async with serving(scene.node, ann, mal):
        claim, _ = await claim_at(scene, ann)
        await scene.node.mesh.recorded(
            genome, birth, {"accuracy": 0.1, "memory": 1.0, "speed": 1e12}, failure=None
        )
        worse = [
            mal.say(replace(mal.honest(number), objectives={"accuracy": 0.0}, correct=0))
            for number in range(10, 20)
        ]
        await scene.node.mesh.take(mal.peer, worse)
        assert scene.node.knows(claim)
        assert claim.id.hex() in scene.node.mesh.ledger.pending


async def test_a_flood_of_identities_does_not_push_out_what_is_confirmed(
    scene: Scene, monkeypatch: pytest.MonkeyPatch, autojump_clock: MockClock
) -> None:
    monkeypatch.setattr("node.mesh.books.MOST_RECORDS", 20)
    ann = scene.rogue(2)
    async with serving(scene.node, ann):
        claim = ann.say(ann.honest(1))
        assert await judged(scene, ann, claim) == "confirmed"
        for number in range(70, 80):
            mal = scene.rogue(number)
            flood = [
                mal.sign(
                    Setback,
                    task=JUDGE.task_id,
                    tier="smoke",
                    genome=index.to_bytes(32, "big"),
                    arithmetic="fp32",
                    kind="diverged",
                )
                for index in range(5)
            ]
            await scene.node.mesh.take(mal.peer, flood)
        scene.node.mesh.end_round()
        scene.node.mesh.end_round()
        assert scene.node.mesh.books.record(claim.id) is not None
        assert scene.node.standing(claim) == "confirmed"
        assert [guest.genome.id for guest in scene.node.guests[0]] == [born(1)[0].id]


async def test_refusals_are_told_a_bounded_number_of_times(scene: Scene, autojump_clock: MockClock) -> None:
    """Else a peer that is refused again and again fills the disk with what is said about it."""
    mal = scene.rogue()
    claim = mal.honest(1)
    for number in range(200):
        record = mal.sign_body(replace(claim, sequence=number, tier="full"))
        await scene.node.mesh.take(mal.peer, [record])
    await scene.node.mesh.books.flush()
    assert 1 <= sum(event.kind == "claim.refused" for event in scene.node.reader.events()) <= 32


async def test_a_flood_of_announcements_is_bounded(scene: Scene, autojump_clock: MockClock) -> None:
    mal = scene.rogue()
    record = mal.say(mal.honest(1))
    body = next(announcements([record]))
    for _ in range(1000):
        await scene.node.mesh.announced(mal.peer, topic_of(JUDGE.task_id), body)
    assert len(scene.node.mesh.arrivals) == 256
    assert sum(event == "announcement.dropped" for event, _ in scene.node.told) == 744


async def test_genomes_that_nobody_has_hold_up_an_announcement_for_a_while_only(
    scene: Scene, autojump_clock: MockClock
) -> None:
    ann, mal = scene.rogue(2), scene.rogue()
    mal.change = lambda _peer, _question, found: found
    async with serving(scene.node, ann, mal):
        good = ann.say(ann.honest(1))
        mal.genomes |= ann.genomes
        lost = []
        for number in range(16):
            author = scene.rogue(100 + number)
            honest = author.honest(number + 2)
            parents = (number.to_bytes(32, "big"), (number + 99).to_bytes(32, "big"))
            lost.append(author.say(replace(honest, birth=Birth(parents=parents, operator="cross/1", seed=1))))
        scene.net.weather = Weather(delay_s=4.0, longest_delay_s=9.0)
        began = trio.current_time()
        await scene.node.mesh.take(mal.peer, [*lost[:15], good])
        assert trio.current_time() - began <= 60
        assert scene.node.knows(good)


# Those who show nothing, or something else


@pytest.mark.parametrize("kind", [AskManifest, AskChunk, AskSegment])
async def test_a_claimant_that_withholds_evidence_is_neither_believed_nor_banned(
    scene: Scene, kind: type[Question], autojump_clock: MockClock
) -> None:
    mal = scene.rogue()
    mal.change = lambda _peer, question, found: No(why="no") if isinstance(question, kind) else found
    async with serving(scene.node, mal):
        claim = mal.say(mal.honest(1))
        standing = await judged(scene, mal, claim, 40)
        assert standing in ("unknown", "heard", "provisional")
        assert not banned(scene.node, mal.peer)
        assert scene.node.guests[0] == []
        asked = len(mal.asked)
        await settle(scene.node.mesh, 20)
        assert len(mal.asked) == asked, "it is not asked for ever"


@pytest.mark.parametrize("lie", ["training", "predictions"])
async def test_a_liar_that_falls_silent_once_it_is_found_out_is_banned_all_the_same(
    scene: Scene, lie: str, autojump_clock: MockClock
) -> None:
    mal = scene.rogue()
    async with serving(scene.node, mal):
        genome, birth = born(1)
        found = train(genome, 99) if lie == "training" else mal.training(genome)
        if lie == "predictions":
            found = swapped(found, correct=EXAMPLES, predictions=support.predictions_with(EXAMPLES))
        claim = mal.say(mal.claim(genome, birth, found), found)
        await scene.node.mesh.take(mal.peer, [claim])
        await earn(scene.node.mesh)
        scene.node.mesh.end_round()
        for _ in range(40):
            check = scene.node.mesh.next_check()
            if check is None:
                await earn(scene.node.mesh)
                scene.node.mesh.end_round()
                continue
            if check.item is not None:
                mal.change = lambda _peer, _question, _found: No(why="not any more")
            await scene.node.mesh.do_check(check)
        assert banned(scene.node, mal.peer)
        scene.node.mesh.end_round()
        assert len(scene.node.vault._blobs) <= 4


@pytest.mark.parametrize("receipt", [None, bytes(64)], ids=["none", "garbage"])
async def test_a_claimant_that_gives_no_receipt_makes_no_checker_look_lazy(
    scene: Scene, receipt: bytes | None, autojump_clock: MockClock
) -> None:
    mal = scene.rogue()

    def bend(_peer: str, question: Question, found: Answer) -> Answer:
        if isinstance(question, AskSegment) and question.commitment and isinstance(found, Segment):
            return replace(found, receipt=receipt)
        return found

    mal.change = bend
    async with serving(scene.node, mal):
        claim = mal.say(mal.honest(1))
        assert await judged(scene, mal, claim, 30) in ("unknown", "heard", "provisional")
        await scene.node.mesh.books.flush()
        assert {row.kind for row in scene.node.reader.signed()} <= {"claim"}
        assert not banned(scene.node, mal.peer)


async def test_a_claimant_that_dawdles_holds_up_the_checks_for_a_while_only(
    scene: Scene, monkeypatch: pytest.MonkeyPatch, autojump_clock: MockClock
) -> None:
    """It names a state as large as may be, and sends each chunk of it just before the deadline."""
    mal, size = scene.rogue(), 2**27
    monkeypatch.setattr(Judge, "state_bytes", lambda *_: size)
    body = bytes(CHUNK_BYTES)
    manifest = Manifest(size=size, chunks=(hashlib.sha256(body).digest(),) * (size // CHUNK_BYTES))

    def bend(_peer: str, question: Question, found: Answer) -> Answer:
        match question:
            case AskSegment() if isinstance(found, Segment) and found.state is not None:
                return replace(found, state=b"z" * 32, state_bytes=size)
            case AskManifest(blob=blob) if blob == b"z" * 32:
                return HaveManifest(manifest=manifest)
            case AskChunk(blob=blob) if blob == b"z" * 32:
                mal.delay_s = 9.5
                return Chunk(body=body)
        return found

    mal.change = bend
    async with serving(scene.node, mal):
        claim = mal.say(mal.honest(1))
        await scene.node.mesh.take(mal.peer, [claim])
        longest = 0.0
        for _ in range(8):
            await earn(scene.node.mesh)
            scene.node.mesh.end_round()
            while (check := scene.node.mesh.next_check()) is not None:
                began = trio.current_time()
                await scene.node.mesh.do_check(check)
                longest = max(longest, trio.current_time() - began)
        assert mal.delay_s, "it came to that"
        assert longest <= 330
        assert not banned(scene.node, mal.peer)


@pytest.mark.parametrize(
    "fault", ["wrong bytes", "larger state", "manifest of another", "endless manifest", "not a chunk"]
)
async def test_a_claimant_that_serves_another_blob(
    scene: Scene, fault: str, autojump_clock: MockClock
) -> None:
    mal = scene.rogue()

    def bend(_peer: str, question: Question, found: Answer) -> Answer:
        match fault, question, found:
            case "wrong bytes", AskChunk(), Chunk():
                return Chunk(body=b"?" * len(found.body))
            case "larger state", AskSegment(), Segment() if found.state is not None:
                return replace(found, state_bytes=2**50)
            case "manifest of another", AskManifest(), HaveManifest():
                return HaveManifest(
                    manifest=replace(found.manifest, chunks=(hashlib.sha256(b"other").digest(),))
                )
            case "manifest of another", AskChunk(), Chunk():
                return Chunk(body=b"other")
            case "endless manifest", AskManifest(), HaveManifest():
                return HaveManifest(manifest=replace(found.manifest, size=2**50))
            case "not a chunk", AskChunk(), Chunk():
                return answer(mal, AskDigest(task=JUDGE.task_id), "")
        return found

    mal.change = bend
    async with serving(scene.node, mal):
        claim = mal.say(mal.honest(1))
        assert await judged(scene, mal, claim, 30) in ("unknown", "heard", "provisional")
        assert not banned(scene.node, mal.peer)
        assert scene.node.guests[0] == []


async def test_what_was_fetched_for_a_check_goes_once_the_claim_is_decided(
    scene: Scene, autojump_clock: MockClock
) -> None:
    ann = scene.rogue(2)
    async with serving(scene.node, ann):
        claims = [ann.say(ann.honest(number)) for number in range(1, 4)]
        await scene.node.mesh.take(ann.peer, claims)
        await settle(scene.node.mesh, 16)
        assert all(scene.node.standing(c) == "confirmed" for c in claims if scene.node.knows(c))
        # Of the claim that was taken up last they stay, for its check might be running still.
        assert len(scene.node.vault._blobs) <= 2


@pytest.mark.parametrize("stage", ["1", "2a"])
async def test_a_claim_that_expires_while_it_is_checked(
    scene: Scene, stage: str, autojump_clock: MockClock
) -> None:
    """Its claimant chose when, and answers slowly enough."""
    mal = scene.rogue()
    async with serving(scene.node, mal):
        claim = mal.say(replace(mal.honest(1), expiry=int(clock()) + 20))
        await scene.node.mesh.take(mal.peer, [claim])
        for _ in range(3):
            await earn(scene.node.mesh)
            scene.node.mesh.end_round()
        check = scene.node.mesh.next_check()
        assert check is not None
        if stage == "2a":
            await scene.node.mesh.do_check(check)
            check = scene.node.mesh.next_check()
            assert check is not None
        assert check.stage == stage
        mal.delay_s = 6.0  # four questions at least: it expires in the middle of them
        async with trio.open_nursery() as nursery:
            nursery.start_soon(scene.node.mesh.do_check, check)
            await trio.sleep(22)
            scene.node.mesh.end_round()
            assert claim.id.hex() not in scene.node.mesh.books.claims
            assert scene.node.knows(claim), "its time in the ledger has a round to go"
        scene.node.mesh.end_round()
        assert not scene.node.knows(claim)


# Bans


async def test_a_banned_peer_is_not_heard_and_hears_why(scene: Scene, autojump_clock: MockClock) -> None:
    mal = scene.rogue()
    async with serving(scene.node, mal):
        genome, birth = born(1)
        stolen = train(genome, 99)
        claim = mal.say(mal.claim(genome, birth, stolen), stolen)
        assert await judged(scene, mal, claim) == "refused"
        other = mal.say(mal.honest(2))
        await scene.node.mesh.take(mal.peer, [other])
        assert other.id not in scene.node.mesh.books
        reply = await mal.transport.request(scene.node.peer, encode(AskDigest(task=JUDGE.task_id)))
        said = decode(reply, No)
        assert said.why.startswith("banned until")
        assert claim.id.hex()[:16] in said.why
        assert "stage 2a" in said.why
        await trio.sleep(31 * 86_400)
        reply = await mal.transport.request(scene.node.peer, encode(AskDigest(task=JUDGE.task_id)))
        assert not reply.startswith(b"\x82\xa4type\xa2no")


async def test_a_ban_by_hand_is_told_with_its_reason(scene: Scene, autojump_clock: MockClock) -> None:
    mal = scene.rogue()
    async with serving(scene.node, mal):
        scene.node.mesh.books.believe(
            Banned(at=clock(), peer=mal.peer, until=clock() + 3600, reason="rude " * 80)
        )
        reply = await mal.transport.request(scene.node.peer, encode(AskDigest(task=JUDGE.task_id)))
        assert "rude" in decode(reply, No).why


async def test_the_accused_can_run_again_what_it_is_accused_of(
    scene: Scene, autojump_clock: MockClock
) -> None:
    """A second node that is told by the first finds the same, and bans too; the accusation names the segment."""
    mal = scene.rogue()
    third = scene.join(9)
    third.mesh.intake.meet([scene.node.peer])
    async with serving(scene.node, third, mal):
        genome, birth = born(1)
        stolen = train(genome, 99)
        claim = mal.say(mal.claim(genome, birth, stolen), stolen)
        await third.mesh.take(mal.peer, [claim])
        assert await judged(scene, mal, claim) == "refused"
        await scene.node.mesh.books.flush()
        said = [
            record
            for id_ in scene.node.mesh.books.catalogue
            if (record := scene.node.mesh.books.record(id_)) is not None
        ]
        await third.mesh.take(scene.node.peer, said)
        assert third.mesh.ledger.claims[claim.id.hex()].accusers
        await earn(third.mesh)
        third.mesh.end_round()
        await check_all(third.mesh)
        assert banned(third, mal.peer)
        assert scene.node.mesh.ledger.peer(third.peer).heeded


async def test_attestations_of_a_banned_peer_do_not_count(scene: Scene, autojump_clock: MockClock) -> None:
    ann, mal = scene.rogue(2), scene.rogue()
    async with serving(scene.node, ann):
        claim, found = await claim_at(scene, ann)
        scene.node.mesh.books.believe(Banned(at=clock(), peer=mal.peer, until=clock() + 60, reason="test"))
        said = mal.attest(claim, worked(ann, claim, mal.peer, found, (3, 9, 19)))
        await scene.node.mesh.take(mal.peer, [said])
        assert attesters(scene, claim) == []
        assert said.id not in scene.node.mesh.books


# Budget


async def test_checks_never_take_more_than_their_share_of_what_the_search_spent(
    scene: Scene, autojump_clock: MockClock
) -> None:
    rogues = [scene.rogue(number) for number in range(70, 74)]
    spent = 0
    async with serving(scene.node, *rogues):
        for turn in range(12):
            for rogue in rogues:
                genome, birth = born(10 * turn + 1 + rogues.index(rogue))
                found = train(genome, 5) if turn % 3 == 0 else rogue.training(genome)
                claim = rogue.say(rogue.claim(genome, birth, found), found)
                await scene.node.mesh.take(rogue.peer, [claim])
            await earn(scene.node.mesh, 7)
            spent += 7
            scene.node.mesh.end_round()
            await check_all(scene.node.mesh)
            assert scene.node.bench.units <= 0.15 * spent + 1e-9
        assert scene.node.bench.units > 0
    for claim, record in scene.node.mesh.ledger.claims.items():
        if scene.node.standing(claim) == "confirmed":
            assert record.weighed
            assert record.checked or record.attesters


def test_every_segment_of_the_chain_has_its_own_leaf() -> None:
    """What the other tests rest on: a segment replayed from the state before gives the leaf, and no other does."""
    found = train(born(1)[0], 1)
    assert len(set(found.leaves)) == CHAIN
    assert [support.step(found.states[i - 1], i) for i in range(1, CHAIN)] == list(found.states[1:])
    assert found != train(born(1)[0], 2)
