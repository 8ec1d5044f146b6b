"""What a node holds of its task: signed records, its ledger of trust, and what is still to be written down."""

from collections import OrderedDict
from collections.abc import Iterable

import msgspec
import trio

from genome import Birth, Genome
from node.mesh.judge import Values
from node.protocol import trust
from node.protocol.claims import Accusation, Attestation, Body, Claim, Setback, Signed
from node.protocol.digests import Catalogue
from node.protocol.identity import key_of, peer_id
from node.protocol.trust import Ledger, TrustSettings
from node.protocol.wire import decode
from node.search import Disk
from node.store.beliefs import BeliefWriter
from node.store.records import Reader
from node.store.rows import FindingRow, SignedRow

__all__ = ["Books", "read_ledger"]

MOST_RECORDS = 50_000
"""Records held for one task; the oldest of others give way."""
MOST_OF_PEER = 2_000
"""Records held of one peer: what a flood of one identity can take."""
_MOST_SEEN = 200_000
_FOLD_AFTER = 2_000
_CACHED = 512


def read_ledger(reader: Reader, settings: TrustSettings) -> Ledger:
    """What a store's node believes, for whoever reads it; the settings are those of the last state, if there is one."""
    state, events = reader.beliefs()
    ledger = msgspec.msgpack.decode(state, type=Ledger) if state else Ledger(settings=settings)
    for event in events:
        ledger.apply(msgspec.msgpack.decode(event, type=trust.Event))
    return ledger


class Books:
    """One task's records and the beliefs about them. Changed by the mesh alone; `flush` writes what is new.

    Bodies of records lie in the store; in memory are ids, and those claims that are of use here.
    """

    def __init__(
        self,
        *,
        me: str,
        task: bytes,
        writer: BeliefWriter,
        reader: Reader,
        disk: Disk,
        settings: TrustSettings,
    ) -> None:
        self.me = me
        self.task = task
        self.catalogue = Catalogue()
        self.claims: dict[str, Claim] = {}
        self.values: dict[str, Values] = {}
        self.setbacks: dict[str, set[str]] = {}
        self._writer = writer
        self._reader = reader
        self._disk = disk
        self._places: dict[tuple[str, int], bytes] = {}
        self._count: dict[str, int] = {}
        self._held: OrderedDict[bytes, tuple[str, int, int]] = (
            OrderedDict()
        )  # peer, number, expiry; oldest first
        self._only_seen: OrderedDict[bytes, None] = OrderedDict()
        self._setback_of: dict[bytes, str] = {}  # genomes, by the record that speaks of them
        self._bodies: OrderedDict[bytes, Signed] = OrderedDict()
        self._genomes: OrderedDict[str, bytes] = OrderedDict()
        self._signed: dict[bytes, SignedRow] = {}
        self._events: list[bytes] = []
        self._new_genomes: dict[str, tuple[Genome, Birth | None]] = {}
        self._new_values: dict[bytes, Values] = {}
        self._findings: list[FindingRow] = []
        self._log: list[tuple[str, dict[str, object]]] = []
        self._forget: list[bytes] = []
        self._elsewhere: dict[bytes, int] = {}  # own claims about other tasks, and when each expires
        self._since_fold = 0
        self._flushing = trio.Lock()
        self.ledger = read_ledger(reader, settings)
        self.ledger.settings = settings
        self._load()

    def _load(self) -> None:
        found = self._reader.values()
        for row in self._reader.signed(task=self.task):
            self._place(row)
            self.catalogue.add(row.id)
            if row.kind == "claim" and (row.peer == self.me or row.id.hex() in self.ledger.claims):
                self.claims[row.id.hex()] = decode(row.body, Claim)
            elif row.kind == "setback" and row.genome:
                self._set_back(row.id, row.genome, row.peer)
        self.values = {claim.hex(): row for claim, row in found.items() if claim.hex() in self.claims}
        self._elsewhere = {
            row.id: row.expiry
            for row in self._reader.signed(kind="claim")
            if row.peer == self.me and row.task != self.task
        }

    def _place(self, row: SignedRow) -> None:
        self._places[row.peer, row.sequence] = row.id
        self._held[row.id] = (row.peer, row.sequence, row.expiry)
        self._count[row.peer] = self._count.get(row.peer, 0) + 1

    # Records

    def __contains__(self, id_: object) -> bool:
        """Whether a record is held, or known to be of no use here."""
        return id_ in self._held or id_ in self._only_seen

    def occupied(self, peer: str, sequence: int) -> bool:
        """Whether the peer has signed another record under this number."""
        return (peer, sequence) in self._places

    def full(self, peer: str) -> bool:
        """Whether as many records of this peer are held as any peer may have."""
        return self._count.get(peer, 0) >= MOST_OF_PEER

    def last_sequence(self, peer: str) -> int:
        """Highest number under which the peer has signed anything that is held."""
        return max((sequence for who, sequence in self._places if who == peer), default=0)

    def keep(self, record: Signed, body: Body, *, now: float) -> None:
        """Hold a record, and let others have it."""
        about = body.claim if isinstance(body, Attestation | Accusation) else None
        genome = body.genome.hex() if isinstance(body, Claim | Setback) else None
        row = SignedRow(
            id=record.id,
            kind=type(body).__name__.lower(),
            task=self.task,
            peer=peer_id(body.peer),
            sequence=body.sequence,
            about=about,
            genome=genome,
            expiry=body.expiry,
            body=record.body,
            signature=record.signature,
            received_at=now,
        )
        self._place(row)
        self._signed[row.id] = row
        self._only_seen.pop(row.id, None)
        if row.peer != self.me:
            # What this node says itself is told to nobody before it is written: a crash must not make it unsaid.
            self.catalogue.add(row.id)
        if isinstance(body, Claim):
            self.claims[row.id.hex()] = body
        elif isinstance(body, Setback):
            self._set_back(row.id, body.genome.hex(), row.peer)

    def _set_back(self, id_: bytes, genome: str, peer: str) -> None:
        self._setback_of[id_] = genome
        self.setbacks.setdefault(genome, set()).add(peer)

    def see(self, id_: bytes) -> None:
        """Remember the id alone, so that the record is not asked for again; nobody is told of it."""
        self._only_seen[id_] = None
        while len(self._only_seen) > _MOST_SEEN:
            self._only_seen.popitem(last=False)

    def record(self, id_: bytes) -> Signed | None:
        """A record that others may have."""
        if id_ not in self.catalogue:
            return None
        if id_ in self._signed:
            return Signed(body=self._signed[id_].body, signature=self._signed[id_].signature)
        if id_ not in self._bodies:
            row = self._reader.signed_one(id_)
            if row is None:
                return None
            self._bodies[id_] = Signed(body=row.body, signature=row.signature)
            if len(self._bodies) > _CACHED:
                self._bodies.popitem(last=False)
        return self._bodies[id_]

    def genome(self, genome: str) -> bytes | None:
        """Canonical bytes of a genome that is known here."""
        if genome in self._new_genomes:
            return self._new_genomes[genome][0].canonical()
        if genome not in self._genomes:
            body = self._reader.genome_bytes(genome)
            if body is None:
                return None
            self._genomes[genome] = body
            if len(self._genomes) > _CACHED:
                self._genomes.popitem(last=False)
        return self._genomes[genome]

    def tidy(self) -> None:
        """Keep in memory only claims that may still be of use: own ones, and those that the ledger remembers."""
        for id_ in [id_ for id_ in self.claims if id_ not in self.ledger.claims]:
            if peer_id(self.claims[id_].peer) != self.me:
                del self.claims[id_]
                self.values.pop(id_, None)

    def own_claims(self) -> dict[str, Claim]:
        """Claims of this node that are held, by id."""
        key = key_of(self.me)
        return {id_: claim for id_, claim in self.claims.items() if claim.peer == key}

    def own_elsewhere(self, now: float) -> set[bytes]:
        """Ids of this node's claims about other tasks of its store that still hold: it may go back to them."""
        return {id_ for id_, expiry in self._elsewhere.items() if expiry >= now}

    def expire(self, now: float, *, needed: Iterable[str]) -> list[bytes]:
        """Let go of what has expired and, beyond the bound, of the oldest that is not mine or needed; gives the ids."""
        kept = {bytes.fromhex(claim) for claim in needed}
        old = [id_ for id_, (_, _, expiry) in self._held.items() if expiry < now]
        beyond = len(self._held) - len(old) - MOST_RECORDS
        if beyond > 0:
            gone = set(old)
            spare = (
                id_
                for id_, (peer, _, _) in self._held.items()
                if peer != self.me and id_ not in kept and id_ not in gone
            )
            old += [id_ for _, id_ in zip(range(beyond), spare, strict=False)]
        for id_ in old:
            self._let_go(id_)
        return old

    def _let_go(self, id_: bytes) -> None:
        peer, sequence, _ = self._held.pop(id_)
        self._places.pop((peer, sequence), None)
        self._count[peer] -= 1
        if not self._count[peer]:
            del self._count[peer]
        self.catalogue.discard(id_)
        self._bodies.pop(id_, None)
        self._signed.pop(id_, None)
        genome = self._setback_of.pop(id_, "")
        said = self.setbacks.get(genome, set())
        said.discard(peer)
        if not said:
            self.setbacks.pop(genome, None)
        self.claims.pop(id_.hex(), None)
        self.values.pop(id_.hex(), None)
        self._forget.append(id_)
        self.see(id_)

    # Beliefs

    def believe(self, event: trust.Event) -> None:
        """Take an event into the ledger, and note it down. Raises TrustError where it does not fit."""
        self.ledger.apply(event)
        self._events.append(msgspec.msgpack.encode(event))

    def value(self, claim: str, values: Values) -> None:
        """Note what ranks a claim's genome here."""
        self.values[claim] = values
        self._new_values[bytes.fromhex(claim)] = values

    def file(self, genome: Genome, birth: Birth | None) -> None:
        """Keep a genome that a peer made; a birth that is known stays where this says none."""
        _, known = self._new_genomes.get(genome.id, (genome, None))
        self._new_genomes[genome.id] = (genome, birth or known)

    def found(self, row: FindingRow) -> None:
        """Note what a check found."""
        self._findings.append(row)

    def log(self, kind: str, **body: object) -> None:
        """Note an event for people."""
        self._log.append((kind, body))

    def sizes(self) -> dict[str, int]:
        """How much is in each table."""
        ledger = self.ledger
        return {
            "records": len(self._held),
            "ids": len(self._held) + len(self._only_seen),
            "claims": len(self.claims),
            "values": len(self.values),
            "setbacks": len(self.setbacks),
            "unwritten": len(self._signed) + len(self._events) + len(self._new_genomes),
            "ledger_claims": len(ledger.claims),
            "ledger_pending": len(ledger.pending),
            "ledger_peers": len(ledger.peers),
            "ledger_bans": len(ledger.bans),
        }

    @property
    def pending(self) -> bool:
        """Whether anything is still to be written."""
        return bool(
            self._signed
            or self._events
            or self._new_genomes
            or self._new_values
            or self._findings
            or self._log
            or self._forget
        )

    async def flush(self, *, fold: bool = False) -> None:
        """Write all that is new; with `fold`, or after many events, the state of trust in their place.

        What was not written, since the disk could not or the caller was cancelled, is there for the next time.
        """
        # One after the other: else an event could be written after the state that holds it, and count twice.
        async with self._flushing:
            await self._write_all(fold)

    async def _write_all(self, fold: bool) -> None:
        signed, events, self._events = dict(self._signed), self._events, []
        genomes = dict(self._new_genomes)
        values, self._new_values = self._new_values, {}
        findings, self._findings = self._findings, []
        log, self._log = self._log, []
        forget, self._forget = self._forget, []
        fold = fold or self._since_fold + len(events) >= _FOLD_AFTER
        # What is folded is the state as it is now: events that come meanwhile are written after it.
        state = msgspec.msgpack.encode(self.ledger) if fold else None
        written = False

        def write() -> None:
            nonlocal written
            self._writer.keep(
                signed=list(signed.values()),
                events=events,
                genomes=list(genomes.values()),
                values=values,
                findings=findings,
                log=log,
            )
            written = True
            if state is not None:
                self._writer.fold(state)
            if forget:
                self._writer.forget(forget)

        try:
            await self._disk(write)
        finally:
            if not written:
                self._events = events + self._events
                self._new_values = values | self._new_values
                self._findings = findings + self._findings
                self._log = log + self._log
                self._forget = forget + self._forget
        self._since_fold = 0 if fold else self._since_fold + len(events)
        for id_ in signed:
            self._signed.pop(id_, None)
            if id_ in self._held:
                self.catalogue.add(id_)
        for genome in genomes:
            self._new_genomes.pop(genome, None)
