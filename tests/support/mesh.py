"""Nodes of a mesh in memory for tests: digits without training, honest peers, and peers that say what a test likes.

A training is a chain of 20 hashes here. Its weights say how many answers are right, so that a liar can make weights
that fit any claim, and only a replay can tell.
"""

import hashlib
import random
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable, Iterator, Sequence
from contextlib import ExitStack, asynccontextmanager
from pathlib import Path
from typing import Any

import msgspec
import trio

from evaluator.jobs import CostLimits, Job, Outcome, Replay, Replayed, Result, Weigh, Weighed, stream_key
from evaluator.objectives import NETWORK_OBJECTIVES
from evaluator.spaces import class_admits
from evaluator.tasks import DatasetTask, resolve
from genome import Birth, Genome, replay
from node.mesh import Judge, MemoryVault, Mesh, MeshSettings, Trainings
from node.mesh.claimant import Signer
from node.mesh.evidence import Evidence, EvidenceRoom
from node.protocol import claims, dht, merkle
from node.protocol.blobs import Manifest
from node.protocol.claims import Attestation, Body, Claim, Leaf, Signed, claim_seed, epoch_of, receipt_of
from node.protocol.digests import Catalogue
from node.protocol.exchange import answer
from node.protocol.identity import Identity
from node.protocol.questions import Answer, AskSegment, No, Question, Segment
from node.protocol.trust import commitment
from node.protocol.wire import decode, encode
from node.schedule import Guest
from node.store.beliefs import BeliefWriter
from node.store.records import Reader
from node.store.writer import Writer
from node.transports.memory import MemoryNetwork, MemoryTransport, Weather
from tests.support.jobs import CALIBRATION

__all__ = [
    "ANY_CLAIM",
    "CHAIN",
    "EXAMPLES",
    "JUDGE",
    "START",
    "TASK",
    "Bench",
    "Node",
    "Rogue",
    "Training",
    "born",
    "check_all",
    "clock",
    "earn",
    "network",
    "node",
    "rounds",
    "serving",
    "settle",
    "train",
    "values_of",
    "worked",
]

START = 1_800_000_000.0
"""Seconds since 1970 at which every test begins."""
CHAIN = 20
EXAMPLES = 120
UNIT_S = 10.0
TASK = resolve("digits")
assert isinstance(TASK, DatasetTask)
TIER = TASK.tier("smoke")
JUDGE = Judge(
    TASK,
    TIER,
    TASK.space,
    arithmetic="fp32",
    limits=CostLimits(),
    calibration=CALIBRATION,
    objectives=NETWORK_OBJECTIVES,
)


def clock() -> float:
    """Seconds since 1970, by trio's clock."""
    return START + trio.current_time()


def born(number: int) -> tuple[Genome, Birth]:
    """The genome of this number, and how it came to be: each one can be trained in the exact class here."""
    seeds = (seed for seed in range(1000 * number, 1000 * (number + 1)))
    for seed in seeds:
        birth = Birth((), "random/1", seed)
        genome = replay(birth, TASK.space, {})
        cost = JUDGE.cost(genome, "exact-1")
        if class_admits("exact-1", genome) and cost is not None and cost.peak_bytes < 2**24:
            return genome, birth
    raise AssertionError("no genome of the space fits")


class Training(msgspec.Struct, frozen=True, kw_only=True):
    """What one emulated training leaves behind."""

    states: tuple[bytes, ...]
    weights: bytes
    predictions: bytes
    correct: int

    @property
    def leaves(self) -> tuple[bytes, ...]:
        """The checkpoints: what stands for each state."""
        return tuple(leaf_of(state) for state in self.states)

    def put(self, vault: MemoryVault) -> None:
        """Lay all of it into a vault."""
        for body in (*self.states, self.weights, self.predictions):
            vault.put(body)


def leaf_of(state: bytes) -> bytes:
    """The fingerprint of a state."""
    return hashlib.sha256(b"leaf" + state).digest()


def step(state: bytes, segment: int) -> bytes:
    """The state after one more segment."""
    return hashlib.sha256(b"step" + state + bytes([segment])).digest() * 4


def weights_with(correct: int, state: bytes) -> bytes:
    """Weights that answer so many examples rightly."""
    return correct.to_bytes(2, "big") + hashlib.sha256(b"weights" + state).digest()


def predictions_with(correct: int) -> bytes:
    """Two bytes an example: the first ones right (0), the others wrong (1)."""
    return bytes(2 * correct) + b"\x01\x00" * (EXAMPLES - correct)


def train(genome: Genome, seed: int) -> Training:
    """The emulated training of a genome under a seed. How good it is depends on both, mostly on the genome."""
    state, states = stream_key(genome.id, JUDGE.task_id.hex(), seed), list[bytes]()
    for segment in range(CHAIN):
        state = step(state, segment)
        states.append(state)
    correct = 60 + int(genome.id[:4], 16) % 50 + states[0][0] % 3
    return Training(
        states=tuple(states),
        weights=weights_with(correct, state),
        predictions=predictions_with(correct),
        correct=correct,
    )


def values_of(genome: Genome, accuracy: float) -> dict[str, float]:
    """What an own training of this accuracy would have measured."""
    stated = msgspec.structs.replace(ANY_CLAIM, objectives={"accuracy": accuracy})
    return dict(JUDGE.values(stated, genome))


class Bench:
    """A workbench that computes the emulated trainings; what it reads it reads from one vault."""

    def __init__(self, vault: MemoryVault) -> None:
        self.vault = vault
        self.units = 0.0

    async def run(self, job: Job) -> Result:
        """Train."""
        await trio.sleep(UNIT_S)
        self.units += 1.0
        genome = Genome.decode(job.genome)
        found = train(genome, job.seed)
        found.put(self.vault)
        return Outcome(
            number=job.number,
            genome=genome.id,
            task=job.task,
            task_id=job.task_id,
            tier=job.tier,
            seed=job.seed,
            arithmetic=job.arithmetic,
            backend="none",
            purpose=job.purpose,
            split=job.split,
            objectives=values_of(genome, found.correct / EXAMPLES),
            examples=EXAMPLES,
            correct=found.correct,
            weights=hashlib.sha256(found.weights).hexdigest(),
            weights_bytes=len(found.weights),
            predictions=hashlib.sha256(found.predictions).hexdigest(),
            checkpoints=tuple(leaf.hex() for leaf in found.leaves),
            states=tuple(hashlib.sha256(state).hexdigest() for state in found.states) if job.evidence else (),
        )

    async def weigh(self, request: Weigh) -> Weighed:
        """Stage 1."""
        await trio.sleep(0.01 * UNIT_S)
        self.units += 0.01
        weights, claimed = self.vault.read(request.weights_path), self.vault.read(request.predictions_path)
        assert weights is not None
        assert claimed is not None
        found = predictions_with(int.from_bytes(weights[:2], "big"))
        mismatches = sum(found[2 * i] != claimed[2 * i] for i in range(EXAMPLES))
        correct = EXAMPLES - sum(claimed[::2])
        why = ""
        if mismatches > request.flips_allowed:
            why = f"predictions: {mismatches} differ"
        elif (request.correct, request.examples) != (correct, EXAMPLES):
            why = f"accuracy: {correct} of {EXAMPLES}"
        return Weighed(
            number=0,
            passed=not why,
            why=why,
            mismatches=mismatches,
            correct=correct,
            examples=EXAMPLES,
            free_steps=1.0,
        )

    async def replay(self, request: Replay) -> Replayed:
        """Stage 2a."""
        await trio.sleep(0.05 * UNIT_S)
        self.units += 0.05
        genome = Genome.decode(request.job.genome)
        if request.state_path is None:
            state = stream_key(genome.id, request.job.task_id, request.job.seed)
        else:
            found = self.vault.read(request.state_path)
            assert found is not None
            state = found
            if leaf_of(state).hex() != request.leaf:
                return Replayed(number=0, end="", start_ok=False, why="state: it has another fingerprint")
        end = step(state, request.segment)
        whole = train(genome, request.job.seed)
        last = request.segment == CHAIN - 1
        correct = whole.correct
        return Replayed(
            number=0,
            end=leaf_of(end).hex(),
            free_steps=4.0,
            nudged_steps=2.0,
            segments=CHAIN,
            weights=hashlib.sha256(weights_with(correct, end)).hexdigest() if last else "",
        )


async def instant(act: Callable[[], None]) -> None:
    """A disk that nobody waits for."""
    await trio.lowlevel.checkpoint()
    act()


class Node:
    """One honest node: its store, vault and mesh. What it tells the search lies in `guests` and `shunned`."""

    def __init__(
        self,
        folder: Path,
        identity: Identity,
        transport: MemoryTransport,
        stack: ExitStack,
        *,
        vault: MemoryVault | None = None,
        settings: MeshSettings | None = None,
        works: bool = True,
        disk: Callable[[Callable[[], None]], Awaitable[None]] = instant,
        make_bench: Callable[[MemoryVault], Bench] = Bench,
    ) -> None:
        folder.mkdir(exist_ok=True)
        self.identity = identity
        self.peer = identity.peer
        self.vault = vault or MemoryVault()
        self.bench = make_bench(self.vault)
        self.guests: tuple[Sequence[Guest], Sequence[Guest]] = ((), ())
        self.shunned: set[str] = set()
        self.told: list[tuple[str, dict[str, object]]] = []
        store = folder / "store.sqlite"
        self.writer = stack.enter_context(Writer(store, now=clock, durable=False))
        self.reader = stack.enter_context(Reader(store))
        self.mesh = Mesh(
            identity=identity,
            transport=transport,
            judge=JUDGE,
            workbench=self.bench if works else None,
            vault=self.vault,
            writer=BeliefWriter(self.writer),
            reader=self.reader,
            disk=disk,
            settings=settings or MeshSettings(),
            rng=random.Random(identity.seed[0]),
            now=clock,
            trainings=Trainings(JUDGE, task="digits", space="", deadline_s=600.0),
            spool=None,
            evidence_file=folder / "evidence.index",
            welcome=self._welcome,
            shun=self._shun,
            log=lambda event, **fields: self.told.append((event, fields)),
        )

    def _welcome(self, confirmed: Sequence[Guest], provisional: Sequence[Guest]) -> None:
        self.guests = (confirmed, provisional)

    def _shun(self, genomes: set[str]) -> None:
        self.shunned = genomes

    async def search(self, number: int) -> Genome:
        """Measure one genome, as the search would."""
        genome, birth = born(number)
        with self.writer.transaction():
            self.writer.insert_genome(genome, birth)
        found = train(genome, number).correct / EXAMPLES
        await self.mesh.recorded(genome, birth, values_of(genome, found), failure=None)
        return genome

    def standing(self, claim: Signed | str) -> str:
        """What this node makes of a claim."""
        id_ = claim if isinstance(claim, str) else claim.id.hex()
        return self.mesh.ledger.standing(id_, clock())

    def knows(self, claim: Signed) -> bool:
        """Whether the claim is on its ledger."""
        return claim.id.hex() in self.mesh.ledger.claims


def network(seed: int = 0, *, weather: Weather | None = None) -> MemoryNetwork:
    """A network whose table of records obeys the rules of `node.protocol.dht`."""
    return MemoryNetwork(
        seed,
        weather=weather or Weather(delay_s=0.01),
        validator=dht.validator(clock),
        selector=dht.selector(clock),
    )


def node(folder: Path, net: MemoryNetwork, number: int, stack: ExitStack, **options: Any) -> Node:
    """The honest node of this number; nothing runs yet."""
    identity = Identity(bytes([number]) * 32)
    return Node(folder / f"node{number}", identity, net.join(identity.peer), stack, **options)


@asynccontextmanager
async def serving(*parties: "Node | Rogue") -> AsyncIterator[None]:
    """These parties answer questions while the block lasts; their loops do not run."""
    async with trio.open_nursery() as nursery:
        for party in parties:
            transport = party.mesh.transport if isinstance(party, Node) else party.transport
            handlers = party.mesh if isinstance(party, Node) else party
            await nursery.start(_serve, transport, handlers)
        yield
        nursery.cancel_scope.cancel()


async def _serve(
    transport: MemoryTransport, handlers: Any, task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED
) -> None:
    async def ready() -> None:
        task_status.started()

    await transport.serve(handlers, ready)


async def earn(mesh: Mesh, units: int = 100) -> None:
    """Let the search have spent so many units."""
    genome, birth = born(0)
    for _ in range(units):
        await mesh.recorded(genome, birth, None, failure="crashed")


async def check_all(mesh: Mesh) -> int:
    """Run checks for as long as one is wanted and paid for; how many there were."""
    count = 0
    while (check := mesh.next_check()) is not None:
        await mesh.do_check(check)
        count += 1
        assert count < 1000, "the checks have no end"
    return count


async def rounds(mesh: Mesh, count: int = 1) -> None:
    """Let so many rounds pass, with as much budget as there may be."""
    for _ in range(count):
        await earn(mesh)
        mesh.end_round()
        await check_all(mesh)


async def settle(mesh: Mesh, count: int = 8) -> None:
    """Let rounds pass until everything is decided."""
    await rounds(mesh, count)
    mesh.end_round()


class Rogue:
    """A peer under a test's control: it answers what `reply` gives, from whatever lies in its dictionaries."""

    def __init__(self, net: MemoryNetwork, number: int) -> None:
        self.identity = Identity(bytes([number]) * 32)
        self.peer = self.identity.peer
        self.transport = net.join(self.peer)
        self.signer = Signer(self.identity, now=clock)
        self.vault = MemoryVault()
        self.room = EvidenceRoom(self.identity, self.vault, most_bytes=2**30)
        self.records: dict[bytes, Signed] = {}
        self.genomes: dict[bytes, bytes] = {}
        self.asked: list[Question] = []
        self.delay_s = 0.0
        self.change: Callable[[str, Question, Answer], Answer] = lambda _peer, _question, found: found

    # exchange.Library

    def catalogue(self, task: bytes) -> Catalogue:
        return Catalogue(self.records)

    def record(self, id_: bytes) -> Signed | None:
        return self.records.get(id_)

    def genome(self, id_: bytes) -> bytes | None:
        return self.genomes.get(id_)

    def manifest(self, id_: bytes) -> Manifest | None:
        return self.vault.manifest(id_)

    def chunk(self, id_: bytes, index: int) -> bytes | None:
        return self.vault.chunk(id_, index)

    def segment(self, peer: str, question: AskSegment) -> Segment | No:
        return self.room.segment(peer, question)

    # transports.Handlers

    async def announced(self, peer: str, topic: str, body: bytes) -> None:
        """Nothing is made of it."""

    async def requested(self, peer: str, body: bytes) -> bytes:
        question: Question = decode(body, Question, limit_bytes=65_536)  # type: ignore[arg-type] # a union
        self.asked.append(question)
        found = encode(self.change(peer, question, answer(self, question, peer)))
        await trio.sleep(self.delay_s)
        return found

    # What it says

    def file(self, genome: Genome) -> None:
        """Have a genome to give."""
        self.genomes[bytes.fromhex(genome.id)] = genome.canonical()

    def sign(self, make: Callable[..., Any], **fields: object) -> Signed:
        """Sign and offer a statement."""
        record, _ = self.signer.sign(make, **fields)
        self.records[record.id] = record
        return record

    def sign_body(self, body: Body) -> Signed:
        """Sign and offer a body as it stands."""
        record = claims.sign(self.identity, body)
        self.records[record.id] = record
        return record

    def honest(self, number: int) -> Claim:
        """The true claim of a genome, unsigned, with all its evidence at hand."""
        genome, birth = born(number)
        return self.claim(genome, birth, self.training(genome))

    def training(self, genome: Genome) -> Training:
        """The training that a claim of this peer has to show."""
        return train(genome, self.seed(genome))

    def seed(self, genome: Genome) -> int:
        """The seed of this peer's claim of a genome."""
        return claim_seed(bytes.fromhex(genome.id), self.identity.key, JUDGE.task_id, epoch_of(clock()))

    def claim(self, genome: Genome, birth: Birth, found: Training) -> Claim:
        """A claim that says what a training says."""
        self.file(genome)
        found.put(self.vault)
        cost = JUDGE.cost(genome, "exact-1")
        assert cost is not None
        _, claim = self.signer.sign(
            Claim,
            task=JUDGE.task_id,
            tier=TIER.name,
            epoch=epoch_of(clock()),
            space=genome.space,
            genome=bytes.fromhex(genome.id),
            birth=claims.Birth(
                parents=tuple(bytes.fromhex(parent) for parent in birth.parents),
                operator=birth.operator,
                seed=birth.seed,
            ),
            kernels=claims.KERNELS,
            arithmetic="exact-1",
            backend="none",
            objectives={"accuracy": found.correct / EXAMPLES},
            correct=found.correct,
            examples=EXAMPLES,
            weights=hashlib.sha256(found.weights).digest(),
            weights_bytes=len(found.weights),
            predictions=hashlib.sha256(found.predictions).digest(),
            checkpoints=merkle.root(found.leaves),
            checkpoint_count=len(found.leaves),
            macs=cost.macs_per_step,
            peak_bytes=cost.peak_bytes,
            measured=None,
        )
        return claim

    def say(self, claim: Claim, found: Training | None = None) -> Signed:
        """Sign a claim, and keep the evidence of the training that is said to be behind it."""
        record = self.sign_body(claim)
        if found is None:
            found = self.training(Genome.decode(self.genomes[claim.genome]))
        found.put(self.vault)
        self.room.add(
            Evidence(
                claim=record.id,
                checkpoints=found.leaves,
                weights=hashlib.sha256(found.weights).digest(),
                predictions=hashlib.sha256(found.predictions).digest(),
                states=tuple(hashlib.sha256(state).digest() for state in found.states),
            )
        )
        return record

    def attest(self, claim: Signed, leaves: Iterable[Leaf]) -> Signed:
        """An attestation of a replay."""
        return self.sign(Attestation, claim=claim.id, stage="2a", leaves=tuple(leaves), objectives={})


def worked(
    author: Rogue, claim: Signed, checker: str, found: Training, segments: Iterable[int]
) -> Iterator[Leaf]:
    """The leaves that a claimant reveals to a checker that has done its work."""
    for segment in segments:
        end = found.leaves[segment]
        committed = commitment(claim.id.hex(), checker, end, segment.to_bytes(8, "big"))
        yield Leaf(
            segment=segment,
            end=end,
            path=merkle.proof(found.leaves, segment),
            receipt=receipt_of(author.identity, claim.id, segment, committed),
        )


def _any_claim() -> Claim:
    return Claim(
        peer=bytes(32),
        sequence=0,
        not_before=0,
        expiry=1,
        task=JUDGE.task_id,
        tier=TIER.name,
        epoch=0,
        space=TASK.space.id,
        genome=bytes(32),
        birth=claims.Birth(parents=(), operator="random/1", seed=0),
        kernels=claims.KERNELS,
        arithmetic="exact-1",
        backend="none",
        objectives={"accuracy": 0.0},
        correct=0,
        examples=EXAMPLES,
        weights=None,
        weights_bytes=0,
        predictions=None,
        checkpoints=bytes(32),
        checkpoint_count=1,
        macs=0.0,
        peak_bytes=0,
        measured=None,
    )


ANY_CLAIM = _any_claim()
