"""Questions to other peers, and the answers to theirs: everything that goes over streams."""

from collections.abc import Sequence

import trio

from genome import Genome, GenomeError
from node.mesh.books import Books
from node.mesh.evidence import EvidenceRoom
from node.mesh.vault import Vault
from node.protocol.blobs import Assembly, Manifest
from node.protocol.claims import Signed
from node.protocol.dht import genome_key
from node.protocol.digests import Catalogue
from node.protocol.errors import ProtocolError
from node.protocol.exchange import CatchUp, answer, check_genomes
from node.protocol.identity import peer_id
from node.protocol.questions import (
    MOST_GENOMES,
    Answer,
    AskChunk,
    AskGenomes,
    AskManifest,
    AskSegment,
    Chunk,
    Genomes,
    HaveManifest,
    No,
    Question,
    Segment,
)
from node.protocol.wire import decode, encode
from node.transports.base import Limits, Transport, TransportError

__all__ = ["Desk", "NotHereError"]

_AT_ONCE = 4
_GENOMES_S = 30.0
"""How long one batch of records may wait for its genomes: those who sent it chose whom to ask."""
_BLOB_S = 30.0
_BLOB_BYTES_PER_S = 128 * 1024
_MOST_BLOB_S = 300.0
"""A blob has so long, and its size at this rate on top, up to five minutes in all.

One check is run at a time: else a claimant could hold up all others by dawdling.
"""
_LIMITS = Limits()


class NotHereError(ProtocolError):
    """A peer does not have, or does not show, what it was asked for."""


class Desk:
    """Asks and answers in the name of one node. Calls raise TransportError, or ProtocolError for a wrong answer."""

    def __init__(
        self, transport: Transport, books: Books, vault: Vault, evidence: EvidenceRoom, task: bytes
    ) -> None:
        self._transport = transport
        self._books = books
        self._vault = vault
        self._evidence = evidence
        self._task = task

    # What others ask (exchange.Library)

    def catalogue(self, task: bytes) -> Catalogue:
        """Ids of the records of this node's task; of another task there are none."""
        return self._books.catalogue if task == self._task else Catalogue()

    def record(self, id_: bytes) -> Signed | None:
        """A record that is held."""
        return self._books.record(id_)

    def genome(self, id_: bytes) -> bytes | None:
        """A genome that is known here."""
        return self._books.genome(id_.hex())

    def manifest(self, id_: bytes) -> Manifest | None:
        """How a blob is cut."""
        return self._vault.manifest(id_)

    def chunk(self, id_: bytes, index: int) -> bytes | None:
        """A chunk of a blob."""
        return self._vault.chunk(id_, index)

    def segment(self, peer: str, question: AskSegment) -> Segment | No:
        """A leaf of an own claim."""
        return self._evidence.segment(peer, question)

    def reply(self, peer: str, body: bytes) -> bytes:
        """The answer to a question as it came. Raises ProtocolError for one that cannot be read."""
        question: Question = decode(body, Question, limit_bytes=_LIMITS.request_bytes)  # type: ignore[arg-type] # a union
        return encode(answer(self, question, peer))

    # What this node asks

    async def ask(self, peer: str, question: Question) -> Answer:
        """One question to one peer."""
        body = await self._transport.request(peer, encode(question))
        found: Answer = decode(body, Answer, limit_bytes=_LIMITS.reply_bytes)  # type: ignore[arg-type] # a union
        return found

    async def catch_up(self, peer: str) -> list[Signed]:
        """All records that a peer has and this node has not, as far as one conversation goes."""
        talk = CatchUp(self._task, self._books.catalogue, known=self._books)
        found: list[Signed] = []
        while (question := talk.next()) is not None:
            found += talk.hear(await self.ask(peer, question))
        return found

    async def genomes(self, peers: Sequence[str], ids: Sequence[str]) -> dict[str, Genome]:
        """Those of the genomes that one of the peers has, by id; what is known here is not asked for.

        Gives what came within half a minute: nobody can have everything else wait for what cannot be had.
        """
        found: dict[str, Genome] = {}
        for id_ in dict.fromkeys(ids):
            body = self._books.genome(id_)
            if body is not None:
                found[id_] = Genome.decode(body)
        with trio.move_on_after(_GENOMES_S):
            await self._fetch_genomes(peers, ids, found)
        return found

    async def _fetch_genomes(
        self, peers: Sequence[str], ids: Sequence[str], found: dict[str, Genome]
    ) -> None:
        for peer in peers:
            missing = [id_ for id_ in dict.fromkeys(ids) if id_ not in found]
            for first in range(0, len(missing), MOST_GENOMES):
                asked = AskGenomes(
                    ids=tuple(bytes.fromhex(id_) for id_ in missing[first : first + MOST_GENOMES])
                )
                try:
                    reply = await self.ask(peer, asked)
                    if isinstance(reply, Genomes):
                        found |= {genome.id: genome for genome in check_genomes(asked, reply)}
                except (TransportError, ProtocolError):
                    break
            if len(found) == len(set(ids)):
                break
        for id_ in dict.fromkeys(ids):
            if id_ not in found:
                genome = await self._from_dht(id_)
                if genome is not None:
                    found[id_] = genome

    async def _from_dht(self, id_: str) -> Genome | None:
        try:
            body = await self._transport.get(genome_key(id_))
            genome = None if body is None else Genome.decode(body)
        except (TransportError, GenomeError):
            return None
        return genome if genome is not None and genome.id == id_ else None

    async def holders(self, name: bytes, *, besides: bytes) -> list[str]:
        """Other peers that say in the DHT that they have a blob; the peer with the key `besides` left out."""
        try:
            found = await self._transport.providers(name)
        except TransportError:
            return []
        return [peer for peer in found if peer not in (peer_id(besides), self._transport.me)][:8]

    def shows(self, name: bytes) -> bool:
        """Whether a blob belongs to the evidence of an own claim."""
        return name in self._evidence.blobs()

    async def segment_of(self, peer: str, question: AskSegment) -> Segment:
        """A leaf of a claim of that peer. Raises NotHereError where it does not show it."""
        found = await self.ask(peer, question)
        if isinstance(found, Segment):
            return found
        why = found.why if isinstance(found, No) else f"it answered with {type(found).__name__}"
        raise NotHereError(f"segment {question.segment} of a claim is not shown: {why}.")

    async def blob(self, peers: Sequence[str], name: bytes, size: int) -> bytes:
        """A blob of known name and size, from whichever of the peers has it; what one began another goes on with."""
        patience_s = min(_MOST_BLOB_S, _BLOB_S + size / _BLOB_BYTES_PER_S)
        with trio.move_on_after(patience_s):
            return await self._blob(peers, name, size)
        raise NotHereError(f"blob {name.hex()[:12]} of {size} bytes did not come within {patience_s:.0f} s")

    async def _blob(self, peers: Sequence[str], name: bytes, size: int) -> bytes:
        trouble = "nobody was asked"
        parts: Assembly | None = None
        for peer in peers:
            try:
                if parts is None:
                    parts = Assembly(name, size, await self._manifest(peer, name))
                await self._fill(peer, parts)
                return parts.whole()
            except (TransportError, ProtocolError) as error:
                trouble = str(error)
                if parts is not None and next(parts.missing(), None) is None:
                    parts = None  # its manifest was made for another blob
        raise NotHereError(f"blob {name.hex()[:12]} of {size} bytes cannot be had: {trouble}")

    async def _manifest(self, peer: str, name: bytes) -> Manifest:
        found = await self.ask(peer, AskManifest(blob=name))
        if not isinstance(found, HaveManifest):
            raise NotHereError("that peer does not have the blob.")
        return found.manifest

    async def _fill(self, peer: str, parts: Assembly) -> None:
        waiting = iter(list(parts.missing()))
        failures: list[TransportError | ProtocolError] = []

        async def take_turns() -> None:
            for index in waiting:
                try:
                    found = await self.ask(peer, AskChunk(blob=parts.name, index=index))
                    if not isinstance(found, Chunk):
                        raise NotHereError("that peer has only a part of the blob.")
                    parts.accept(index, found.body)
                except (TransportError, ProtocolError) as error:
                    failures.append(error)
                    return

        async with trio.open_nursery() as nursery:
            for _ in range(min(_AT_ONCE, len(parts.manifest.chunks))):
                nursery.start_soon(take_turns)
        if failures:
            raise failures[0]
