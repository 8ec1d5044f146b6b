"""What a node puts into the DHT, and what it looks for there."""

import math
import random
from collections.abc import Awaitable, Callable, Sequence

from node.logs import Log
from node.mesh.books import Books
from node.mesh.claimant import Signer
from node.mesh.desk import Desk
from node.mesh.evidence import EvidenceRoom
from node.mesh.front import Front
from node.mesh.intake import Intake
from node.mesh.judge import Judge
from node.protocol.claims import Head, Signed
from node.protocol.dht import genome_key, head_key, read_head, task_key
from node.protocol.errors import ProtocolError
from node.protocol.identity import key_of
from node.protocol.questions import AskRecords, Records
from node.protocol.wire import encode
from node.transports.base import Transport, TransportError

__all__ = ["Publisher"]

_HEADS_READ = 8
_ASKED = 3
_REMEMBERED = 4096


class Publisher:
    """Keeps a node's records in the DHT: the table forgets after a day, and a host that was started again has none.

    `take` takes in records that a peer carried.
    """

    def __init__(
        self,
        *,
        transport: Transport,
        books: Books,
        desk: Desk,
        evidence: EvidenceRoom,
        front: Front,
        intake: Intake,
        signer: Signer,
        judge: Judge,
        rng: random.Random,
        now: Callable[[], float],
        republish_s: float,
        take: Callable[[str, Sequence[Signed]], Awaitable[None]],
        log: Log,
    ) -> None:
        self._transport = transport
        self._books = books
        self._desk = desk
        self._evidence = evidence
        self._front = front
        self._intake = intake
        self._signer = signer
        self._judge = judge
        self._rng = rng
        self._now = now
        self._republish_s = republish_s
        self._take = take
        self._log = log
        self._published: dict[bytes, float] = {}
        self._head: tuple[bytes, ...] = ()
        self._lives = 0

    def __len__(self) -> int:
        """How many records are remembered as published."""
        return len(self._published)

    async def turn(self, connected: Sequence[str]) -> None:
        """Put what is new or due again, then look for others. What the network does wrong is logged."""
        status = self._transport.status()
        if not status.peers:
            return
        if status.lives != self._lives:
            self._lives, self._published = status.lives, {}  # a new host has an empty table
        try:
            await self._put_all()
            await self._look_up(connected)
        except (TransportError, ProtocolError) as error:
            self._log("dht.trouble", error=str(error))

    async def _put_all(self) -> None:
        """Genomes of own claims, who has their weights, who searches this task, and the signed head."""
        # As before an announcement: a crash must not make unsaid what others have read.
        await self._books.flush()
        held = {
            id_: claim
            for id_, claim in self._books.own_claims().items()
            if self._front.stands(claim.genome.hex()) and bytes.fromhex(id_) in self._evidence
        }
        await self._provide(task_key(self._judge.task_id))
        for claim in held.values():
            key = genome_key(claim.genome.hex())
            body = self._books.genome(claim.genome.hex())
            if body is not None and self._due(key) and await self._transport.put(key, body):
                self._did(key)  # it was read back from others
            if claim.weights is not None:
                await self._provide(claim.weights)
        await self._put_head(tuple(sorted(bytes.fromhex(id_) for id_ in held))[:64])

    async def _provide(self, key: bytes) -> None:
        if self._due(key):
            await self._transport.provide(key)
            self._did(key)

    async def _put_head(self, claims: tuple[bytes, ...]) -> None:
        key = head_key(self._judge.task_id, self._signer.identity.key)
        if claims and (claims != self._head or self._due(key)):
            record, _ = self._signer.sign(Head, task=self._judge.task_id, claims=claims)
            if await self._transport.put(key, encode(record)):
                self._head = claims
                self._did(key)

    def _due(self, key: bytes) -> bool:
        return self._now() - self._published.get(key, -math.inf) >= self._republish_s

    def _did(self, key: bytes) -> None:
        self._published[key] = self._now()
        if len(self._published) > _REMEMBERED:
            del self._published[next(iter(self._published))]

    async def _look_up(self, connected: Sequence[str]) -> None:
        """Find peers of this task, read a few heads, and ask for the claims that are not here."""
        me = self._transport.me
        self._intake.meet(await self._transport.providers(task_key(self._judge.task_id)))
        known = [peer for peer in self._intake.peers if peer != me]
        for peer in self._rng.sample(known, min(_HEADS_READ, len(known))):
            try:
                missing = await self._missing_of(peer)
            except (TransportError, ProtocolError) as error:
                # Trouble with one peer: the others are still looked at.
                self._log("dht.trouble", peer=peer, error=str(error))
                continue
            if missing:
                await self._ask_for([peer, *connected], missing)

    async def _missing_of(self, peer: str) -> tuple[bytes, ...]:
        """Claims of a peer's head that are not here. Raises ProtocolError for a peer id or a head of another kind."""
        key = head_key(self._judge.task_id, key_of(peer))
        body = await self._transport.get(key)
        if body is None:
            return ()
        head = read_head(key, body, self._now())
        return tuple(id_ for id_ in head.claims if id_ not in self._books)

    async def _ask_for(self, sources: Sequence[str], ids: tuple[bytes, ...]) -> None:
        for source in list(dict.fromkeys(sources))[:_ASKED]:
            try:
                found = await self._desk.ask(source, AskRecords(ids=ids))
            except (TransportError, ProtocolError):
                continue
            if isinstance(found, Records) and found.records:
                await self._take(source, tuple(record for record in found.records if record.id in ids))
                return
