"""What a node makes of bytes that no honest peer sends: nothing, and how fast.

    python -m tests.bench.fuzz --output tests/bench/results/fuzz.json

Random bytes, valid messages with bytes changed, cut or spliced, valid messages with one value replaced and signed
anew, nests of thousands of levels, and headers that promise gigabytes go into a node's announcements, its records,
its answers to questions, what it makes of the answers to its own, and the rules of the DHT. The network is in memory,
so what is timed is the node alone. An error of the protocol is a refusal; anything else that is raised is a find.
"""

import argparse
import gc
import random
import resource
import statistics
import tempfile
import time
from collections.abc import Awaitable, Callable, Iterator
from contextlib import ExitStack
from pathlib import Path

import msgspec
import trio
from trio.testing import MockClock

from node.protocol import dht, merkle
from node.protocol.announcements import Announcement, topic_of
from node.protocol.claims import Accusation, Head, Setback, Signed
from node.protocol.errors import ProtocolError
from node.protocol.questions import (
    AskBucket,
    AskChunk,
    AskDigest,
    AskGenomes,
    AskManifest,
    AskRecords,
    AskSegment,
    BucketIds,
    Chunk,
    Found,
    Genomes,
    HaveManifest,
    No,
    Question,
    Records,
    Segment,
)
from node.protocol.wire import decode, encode
from node.transports.base import TransportError
from node.transports.memory import Weather
from tests.bench.report import (
    Cell,
    Column,
    Figure,
    Origin,
    Report,
    Table,
    arguments,
    finish,
    origin,
    percentile,
)
from tests.support import mesh as support
from tests.support.mesh import JUDGE, Node, Rogue, born, clock

_COUNT = 10_000
_GROWTH_BYTES = 50 * 2**20
_MEDIAN_S = 1e-3
DOORS = ("announcements", "records", "questions", "answers", "values of the DHT")
"""Where bytes come in."""
_TEXTS = (
    *(
        "",
        "x",
        "x" * 128,
        "x" * 200,
        "\u00e9\u0000",
        "import/1",
        "random/1",
        "mutate/1",
        "cross/1",
        "preset/ep",
    ),
    *("exact-1", "fp32", "task", "1", "2", "2a", "2b", "0", "full", "smoke", "mlp/1", "claim", "head", "no"),
)
"""Texts that mean something somewhere, or nothing anywhere."""

Plain = object


class Try(msgspec.Struct, frozen=True):
    """One input: by which door, how it was made, and what came of it (empty: refused or of no effect)."""

    door: str
    kind: str
    seconds: float
    found: str


class Fuzz:
    """Inputs from one seed, and the node that they are put to."""

    def __init__(self, node: Node, mal: Rogue, seed: int) -> None:
        self.node = node
        self.mal = mal
        self._rng = random.Random(seed)
        self._reply = b""
        self._made = Signed(body=b"", signature=bytes(64))
        self._sequence = 0
        claim = mal.say(mal.honest(1))
        found = mal.training(born(1)[0])
        leaves = tuple(support.worked(mal, claim, mal.peer, found, (1, 9, 19)))
        self._bodies = [
            claim.body,
            mal.attest(claim, leaves).body,
            mal.sign(
                Accusation,
                claim=claim.id,
                stage="2a",
                segment=3,
                claimed=found.leaves[3],
                found=b"f" * 32,
                path=merkle.proof(found.leaves, 3),
            ).body,
            mal.sign(
                Setback,
                task=JUDGE.task_id,
                tier="smoke",
                genome=b"g" * 32,
                arithmetic="fp32",
                kind="diverged",
            ).body,
            mal.sign(Head, task=JUDGE.task_id, claims=(claim.id,)).body,
        ]
        self._records = [encode(record) for record in mal.records.values()]
        weights = next(iter(mal.vault._blobs))
        manifest = mal.vault.manifest(weights)
        assert manifest is not None
        ids = (claim.id,)
        self._questions = [
            encode(question)
            for question in (
                AskDigest(task=JUDGE.task_id),
                AskBucket(task=JUDGE.task_id, bucket=3, after=bytes(32)),
                AskRecords(ids=ids),
                AskGenomes(ids=(bytes.fromhex(born(1)[0].id),)),
                AskManifest(blob=weights),
                AskChunk(blob=weights, index=0),
                AskSegment(claim=claim.id, segment=3, commitment=b"c" * 32),
            )
        ]
        self._answers = [
            encode(answer)
            for answer in (
                Found(digest=node.mesh.books.catalogue.digest()),
                BucketIds(ids=ids, more=True),
                Records(records=tuple(mal.records.values())),
                Genomes(bodies=(born(1)[0].canonical(),)),
                HaveManifest(manifest=manifest),
                Chunk(body=b"c" * 100),
                Segment(
                    leaf=found.leaves[3],
                    path=merkle.proof(found.leaves, 3),
                    state=weights,
                    state_bytes=128,
                    receipt=bytes(64),
                ),
                No(why="no"),
            )
        ]
        self._values = [*self._records, born(1)[0].canonical()]

    # How inputs are made

    def _random(self, _valid: bytes) -> bytes:
        return self._rng.randbytes(self._rng.choice((0, 1, 2, 17, 300, 5000, 70_000)))

    def _bent(self, valid: bytes) -> bytes:
        body = bytearray(valid)
        for _ in range(self._rng.randint(1, 4)):
            place = self._rng.randrange(len(body) + 1)
            match self._rng.randrange(4):
                case 0 if place < len(body):
                    body[place] = self._rng.randrange(256)
                case 1:
                    body[place:place] = self._rng.randbytes(self._rng.randint(1, 8))
                case 2:
                    del body[place : place + self._rng.randint(1, 8)]
                case _:
                    del body[place:]
        return bytes(body)

    def _spliced(self, valid: bytes) -> bytes:
        other = self._rng.choice([*self._records, *self._questions, *self._answers])
        return valid[: self._rng.randrange(len(valid))] + other[self._rng.randrange(len(other)) :]

    def _nested(self, _valid: bytes) -> bytes:
        level = self._rng.choice(
            (b"\x91", b"\x81\xa1a", b"\x81\xa4type", b"\x81\xa7records\x91", b"\x81\xc0")
        )
        return level * self._rng.choice((20, 500, 8000, 60_000 // len(level)))

    def _long(self, valid: bytes) -> bytes:
        header = self._rng.choice((b"\xdd", b"\xdf", b"\xc6", b"\xdb", b"\xc9")) + b"\xff\xff\xff\xff"
        cut = self._rng.randrange(len(valid))
        return valid[:cut] + header + valid[cut:]

    def _odd(self, valid: bytes) -> bytes:
        """The same message with one value replaced by one at an edge; fields stay in the order that is canonical."""
        return msgspec.msgpack.encode(self._replaced(msgspec.msgpack.decode(valid)))

    def _replaced(self, plain: Plain) -> Plain:
        rng = self._rng
        if isinstance(plain, dict) and plain and rng.random() < 0.95:
            key = rng.choice(list(plain))
            return {**plain, key: self._replaced(plain[key])}
        if isinstance(plain, list) and plain and rng.random() < 0.8:
            place = rng.randrange(len(plain))
            return [*plain[:place], self._replaced(plain[place]), *plain[place + 1 :]]
        if isinstance(plain, list) and plain and rng.random() < 0.5:
            return plain * rng.choice((2, 17, 300))
        if rng.random() < 0.1:  # of any kind at all
            return rng.choice((None, True, b"", "", [], {}, 7, 0.5))
        if isinstance(plain, bytes):
            return rng.choice((rng.randbytes(len(plain)), bytes(len(plain)), self.mal.identity.key))
        if isinstance(plain, int):
            return rng.choice((0, 1, -1, plain + 1, plain - 1, 2**31, 2**53, 2**53 + 1, 2**63, 2**64 - 1))
        if isinstance(plain, float):
            return rng.choice((0.0, -0.0, 1e300, -1e300, 5e-324, float("inf"), float("nan"), plain + 1e-9))
        return rng.choice(_TEXTS)

    def _kinds(self) -> dict[str, Callable[[bytes], bytes]]:
        return {
            "random bytes": self._random,
            "bytes changed": self._bent,
            "spliced": self._spliced,
            "nested": self._nested,
            "huge lengths": self._long,
            "one value odd": self._odd,
        }

    def inputs(self, count: int) -> Iterator[tuple[str, str, bytes]]:
        """Door, kind and bytes of so many inputs."""
        valid = {
            "announcements": [encode(Announcement(records=(r,))) for r in self.mal.records.values()],
            "records": self._bodies,
            "questions": self._questions,
            "answers": self._answers,
            "values of the DHT": self._values,
        }
        kinds = self._kinds()
        for _ in range(count):
            # What can be read gets further in than what cannot: half of all inputs.
            kind = "one value odd" if self._rng.random() < 0.4 else self._rng.choice(list(kinds))
            door = self._rng.choice(DOORS)
            start = self._rng.choice(valid[door])
            yield door, kind, kinds[kind](self._numbered(start) if door == "records" else start)

    def _numbered(self, body: bytes) -> bytes:
        """The same record under a number of its own: else all but the first are refused for that alone."""
        self._sequence += 1
        return msgspec.msgpack.encode({**msgspec.msgpack.decode(body), "sequence": self._sequence})

    # Where they go

    async def put(self, door: str, kind: str, body: bytes) -> Try:
        """Put one input to the node."""
        act = {
            "announcements": self._announce,
            "records": self._record,
            "questions": self._ask,
            "answers": self._answer,
            "values of the DHT": self._value,
        }[door]
        if door == "records":
            self._record_of(body)
        began = time.perf_counter()
        found = ""
        try:
            await act(body)
        except (ProtocolError, TransportError):
            pass  # what callers are told to expect
        except Exception as error:  # noqa: BLE001 - whatever else is raised is what is looked for
            found = f"{type(error).__name__}: {error}"[:200]
        seconds = time.perf_counter() - began
        told = [fields for event, fields in self.node.told if event == "peer.trouble"]
        self.node.told.clear()
        return Try(door, kind, seconds, found or (str(told[0]["error"]) if told else ""))

    def _record_of(self, body: bytes) -> None:
        """A record of this body, with a signature that holds whatever the body is."""
        kinds = ("claim", "attestation", "accusation", "head", "setback")
        kind = next((kind for kind in kinds if b"type" + encode(kind) in body), kinds[0])
        self._made = Signed(body=body, signature=self.mal.identity.sign(f"{kind}/1", body))

    async def _announce(self, body: bytes) -> None:
        await self.node.mesh.announced(self.mal.peer, topic_of(JUDGE.task_id), body)
        await self.node.mesh.take(*self.node.mesh.arrivals.get())

    async def _record(self, _body: bytes) -> None:
        # The door behind the decoder: also what no announcement could carry.
        await self.node.mesh.take(self.mal.peer, [self._made])

    async def _ask(self, body: bytes) -> None:
        await self.node.mesh.requested(self.mal.peer, body)

    async def _answer(self, body: bytes) -> None:
        desk, peer = self.node.mesh.desk, self.mal.peer
        self._reply = body
        asks: list[Callable[[], Awaitable[object]]] = [
            lambda: desk.catch_up(peer),
            lambda: desk.blob([peer], b"n" * 32, 100),
            lambda: desk.genomes([peer], ["ab" * 32]),
            lambda: desk.segment_of(peer, AskSegment(claim=b"c" * 32, segment=1)),
        ]
        await self._rng.choice(asks)()

    async def _value(self, body: bytes) -> None:
        accepts, best = dht.validator(clock), dht.selector(clock)
        key = self._rng.choice(
            (
                dht.head_key(JUDGE.task_id, self.mal.identity.key),
                dht.genome_key(born(1)[0].id),
                b"head/",
                b"genome/" + self._rng.randbytes(3),
                body[:100],
            )
        )
        accepts(key, body)
        best(key, [body, self._values[0], body])

    async def serve(self, task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED) -> None:
        """Answer every question of the node with the input of the moment."""

        async def ready() -> None:
            task_status.started()

        await self.mal.transport.serve(self, ready)

    async def announced(self, peer: str, topic: str, body: bytes) -> None:
        """Nothing is made of it."""

    async def requested(self, peer: str, body: bytes) -> bytes:
        """The input of the moment, but for genomes, without which no claim gets far."""
        question: Question = decode(body, Question, limit_bytes=2**16)  # type: ignore[arg-type] # a union
        if isinstance(question, AskGenomes) and not self._reply:
            bodies = [self.mal.genomes[id_] for id_ in question.ids if id_ in self.mal.genomes]
            return encode(Genomes(bodies=tuple(bodies)))
        reply, self._reply = self._reply, b""
        return reply[: 2**20]


class Result(msgspec.Struct, frozen=True, kw_only=True):
    """All inputs, and by how many bytes the process grew from the first quarter of them to the last."""

    tries: list[Try]
    grown_bytes: int


async def _run(folder: Path, count: int, seed: int) -> Result:
    net = support.network(seed, weather=Weather(delay_s=0.0))
    tries: list[Try] = []
    with ExitStack() as stack:
        node = support.node(folder, net, 1, stack)
        fuzz = Fuzz(node, Rogue(net, 66), seed)
        async with support.serving(node), trio.open_nursery() as nursery:
            await nursery.start(fuzz.serve)
            before = 0
            for number, (door, kind, body) in enumerate(fuzz.inputs(count)):
                if number == count // 10:
                    before = _resident()
                tries.append(await fuzz.put(door, kind, body))
                if number % 100 == 99:
                    node.mesh.end_round()
                    await node.mesh.books.flush()
            grown = _resident() - before
            nursery.cancel_scope.cancel()
    return Result(tries=tries, grown_bytes=grown)


def _resident() -> int:
    gc.collect()
    pages = int(Path("/proc/self/statm").read_text().split()[1])
    return pages * resource.getpagesize()


def run(count: int, seed: int) -> Result:
    """Put so many inputs to a node of its own."""
    with tempfile.TemporaryDirectory() as folder:
        return trio.run(_run, Path(folder), count, seed, clock=MockClock(autojump_threshold=0))


def report(found: Result, options: argparse.Namespace, *, began: Origin) -> Report:
    """All of it in figures and a table."""
    rows: list[list[Cell]] = []
    for door in DOORS:
        times = [one.seconds for one in found.tries if one.door == door]
        bad = sum(bool(one.found) for one in found.tries if one.door == door)
        rows.append([door, len(times), bad, *(1e3 * t for t in _spread(times))])
    times = [one.seconds for one in found.tries]
    bad = [one for one in found.tries if one.found]
    rows.append(["all", len(times), len(bad), *(1e3 * t for t in _spread(times))])
    middle, p99, _ = _spread(times)
    return Report(
        name="fuzz",
        title="Bytes that no honest peer sends",
        about="One node on a network in memory, and one peer that sends it bytes made from one seed; a twentieth of a "
        "round passes between any five inputs. Times are of one input each, signatures included.",
        smoke=bool(options.smoke),
        seeds=(options.seed,),
        figures=(
            Figure(
                what="raised, errors of the protocol apart",
                target="0",
                measured=str(len(bad)),
                reached=not bad,
            ),
            Figure(
                what="one input, median",
                target=f"< {1e3 * _MEDIAN_S:g} ms",
                measured=f"{1e3 * middle:.3f} ms",
                reached=middle < _MEDIAN_S,
            ),
            Figure(what="one input, p99", target="", measured=f"{1e3 * p99:.2f} ms"),
            Figure(
                what="memory, grown by",
                target=f"<= {_GROWTH_BYTES >> 20} MB",
                measured=f"{found.grown_bytes / 2**20:.1f} MB",
                reached=found.grown_bytes <= _GROWTH_BYTES,
            ),
        ),
        tables=(
            Table(
                title="Inputs by the door that they came in",
                columns=(
                    Column("door"),
                    Column("inputs"),
                    Column("raised"),
                    Column("median ms", ".3f"),
                    Column("p99 ms", ".2f"),
                    Column("longest ms", ".1f"),
                ),
                rows=rows,
                note="Memory is that of the whole process, from the first tenth of the inputs on.",
            ),
        ),
        origin=began,
        data={"raised": bad[:20]},
    )


def _spread(times: list[float]) -> tuple[float, float, float]:
    return statistics.median(times), percentile(times, 0.99), max(times)


def main() -> None:
    """Measure and report."""
    parser = arguments(__doc__ or "")
    parser.add_argument("--count", type=int, default=_COUNT)
    parser.add_argument("--seed", type=int, default=1)
    options = parser.parse_args()
    began = origin("fuzz")
    found = run(500 if options.smoke else options.count, options.seed)
    finish(report(found, options, began=began), options.output)


if __name__ == "__main__":
    main()
