"""What happens to a record that arrives: opened, held against what is known, judged, believed or not."""

import random
from collections.abc import Iterable, Sequence

from genome import Birth, Genome, GenomeError
from node.mesh.books import Books
from node.mesh.desk import Desk
from node.mesh.front import Front
from node.mesh.judge import Judge
from node.protocol import merkle, trust
from node.protocol.claims import (
    Accusation,
    Attestation,
    Body,
    Claim,
    Head,
    Setback,
    Signed,
    open_signed,
    receipted,
)
from node.protocol.errors import ProtocolError
from node.protocol.identity import peer_id
from node.protocol.trust import Stage

__all__ = ["Intake", "commitment_of", "valid_leaves"]

MOST_TOLD = 16
"""Marks against one peer up to which its refused claims go into the record of events."""
_MOST_PEERS = 4096
MOST_SETBACKS = 64
"""Peers whose word on one failed genome is remembered."""


def commitment_of(claim: str, checker: str, segment: int, end: bytes) -> bytes:
    """What a checker commits to before the leaf is revealed: its own end state, bound to claim, checker and segment.

    The end is a hash that nobody knows who has not done the work, so nothing else has to hide it.
    """
    return trust.commitment(claim, checker, end, segment.to_bytes(8, "big"))


def valid_leaves(claim_id: str, claim: Claim, attestation: Attestation) -> bool:
    """Whether an attestation shows that its author replayed what it names: leaves under the root, with receipts."""
    if not attestation.leaves:
        return False
    checker = peer_id(attestation.peer)
    for leaf in attestation.leaves:
        if not merkle.proves(
            claim.checkpoints, leaf.end, leaf.segment, claim.checkpoint_count, list(leaf.path)
        ):
            return False
        if claim.weights is None:
            continue
        committed = commitment_of(claim_id, checker, leaf.segment, leaf.end)
        if leaf.receipt is None or not receipted(
            claim.peer, bytes.fromhex(claim_id), leaf.segment, committed, leaf.receipt
        ):
            return False
    return True


class Intake:
    """Takes in records from others. Nothing that they hold raises; what is wrong with them is held against `source`."""

    def __init__(
        self, *, me: str, judge: Judge, books: Books, desk: Desk, front: Front, rng: random.Random
    ) -> None:
        self._me = me
        self._judge = judge
        self._books = books
        self._desk = desk
        self._front = front
        self._rng = rng
        self.marks: dict[str, tuple[int, str]] = {}
        self.peers: dict[str, None] = {}
        self.disputed = False  # whether an accusation has come since somebody last took note of it

    def mark(self, peer: str, why: str) -> None:
        """Hold something against a peer that carried it: how often, and the last of it."""
        count, _ = self.marks.pop(peer, (0, ""))
        self.marks[peer] = (count + 1, why[:200])
        if len(self.marks) > 4096:
            self.marks.pop(next(iter(self.marks)))

    def _met(self, key: bytes) -> str:
        peer = peer_id(key)
        self.meet([peer])
        return peer

    async def take(self, source: str, records: Iterable[Signed], now: float) -> list[str]:
        """Take records in, claims first; gives the claims that would enter this node's front."""
        opened: list[tuple[Signed, Body]] = []
        for record in records:
            body = self._open(source, record, now)
            if body is not None:
                opened.append((record, body))
        fresh = await self._claims(
            source, [(record, body) for record, body in opened if isinstance(body, Claim)], now
        )
        for record, body in opened:
            if not isinstance(body, Claim) and not self._fresh(record, body):
                continue
            match body:
                case Attestation():
                    self._attestation(record, body, now)
                case Accusation():
                    self._accusation(record, body, now)
                case Setback():
                    self._setback(record, body, now)
        return fresh

    def _open(self, source: str, record: Signed, now: float) -> Body | None:
        """The body of a record that is new and in order."""
        id_ = record.id
        if id_ in self._books:
            return None
        try:
            body = open_signed(record, now=now)
        except ProtocolError as error:
            self.mark(source, str(error))
            return None
        peer = peer_id(body.peer)
        if peer == self._me or isinstance(body, Head) or self._books.ledger.ban(peer, now) is not None:
            return None
        return body if self._fresh(record, body) else None

    def _fresh(self, record: Signed, body: Body) -> bool:
        """Whether the record may be held: asked again before it is, for others came while its genome was fetched."""
        peer = peer_id(body.peer)
        if record.id in self._books:
            return False
        if self._books.occupied(peer, body.sequence):
            self.mark(peer, f"it signed two records under number {body.sequence}")
            return False
        if self._books.full(peer):
            self.mark(peer, "it has signed more records than one peer may have here")
            return False
        return True

    # Claims

    async def _claims(self, source: str, claims: Sequence[tuple[Signed, Claim]], now: float) -> list[str]:
        wanted: list[tuple[Signed, Claim]] = []
        for record, claim in claims:
            why = self._judge.misfit(claim)
            if why:
                self._refuse(source, record, claim, why)
            elif self._hopeless(claim):
                self._distant(record, claim, now)
            else:
                wanted.append((record, claim))
        if not wanted:
            return []
        needed = [id_.hex() for _, claim in wanted for id_ in (claim.genome, *claim.birth.parents)]
        authors = dict.fromkeys(peer_id(claim.peer) for _, claim in wanted)
        genomes = await self._desk.genomes([source, *(peer for peer in authors if peer != source)], needed)
        return [
            record.id.hex()
            for record, claim in wanted
            if self._fresh(record, claim) and self._judged(source, record, claim, genomes, now)
        ]

    def _hopeless(self, claim: Claim) -> bool:
        """Whether it is plain without its genome that the claim would not enter: where all of it is claimed."""
        if set(self._judge.ways) != set(claim.objectives):
            return False
        return not self._judge.enters(self._judge.values(claim, None), self._front.confirmed_rows())

    def _judged(
        self, source: str, record: Signed, claim: Claim, genomes: dict[str, Genome], now: float
    ) -> bool:
        genome = genomes.get(claim.genome.hex())
        if genome is None:
            return False  # not to be had now: the next catching up asks again
        why = self._judge.refusal(claim, genome, genomes)
        if why:
            self._refuse(source, record, claim, why)
            return False
        values = self._judge.values(claim, genome)
        rows = self._front.confirmed_rows()
        if not self._judge.enters(values, rows):
            self._distant(record, claim, now)
            return False
        self._books.keep(record, claim, now=now)
        self._file(genome, claim, genomes)
        id_ = record.id.hex()
        self._books.value(id_, values)
        self._hear(id_, claim, self._judge.gain(values, rows), now)
        return True

    def _file(self, genome: Genome, claim: Claim, genomes: dict[str, Genome]) -> None:
        for parent in claim.birth.parents:
            if parent.hex() in genomes:
                self._books.file(genomes[parent.hex()], None)
        try:
            birth = Birth(tuple(p.hex() for p in claim.birth.parents), claim.birth.operator, claim.birth.seed)
        except GenomeError:
            return
        # What was imported here is a seed of the next run; what others say they imported must not become one.
        known = birth.operator != "import/1" and all(parent in genomes for parent in birth.parents)
        self._books.file(genome, birth if known else None)

    def _hear(self, id_: str, claim: Claim, surprise: float, now: float) -> None:
        ledger = self._books.ledger
        peer = self._met(claim.peer)
        size = ledger.committee_size(peer, surprise)
        duty = self._me in self.committee(id_, claim, size)
        audit = self._rng.random() < ledger.rate(peer, surprise, watchers=size)
        self._books.believe(
            trust.Heard(
                at=now,
                claim=id_,
                peer=peer,
                task=claim.task.hex(),
                replayable=self._judge.replayable(claim),
                surprise=surprise,
                duty=duty,
                audit=audit,
                alone=not {*self.peers} - {peer, self._me},
            )
        )

    def committee(self, id_: str, claim: Claim, size: int) -> tuple[str, ...]:
        """Who is to check a claim, as this node sees it: of peers that have shown themselves, if there are enough."""
        ledger = self._books.ledger
        known = {self._me, *self.peers}
        standing = {peer for peer in known if peer == self._me or not ledger.peer(peer).newcomer}
        pool = standing if len(standing) >= 2 * trust.COMMITTEE_MAX else known
        return trust.committee(id_, sorted(pool), size, claimant=peer_id(claim.peer))

    def _distant(self, record: Signed, claim: Claim, now: float) -> None:
        """A claim that would not enter: its id is kept, so that an accusation of it can be understood."""
        self._books.see(record.id)
        self._books.believe(
            trust.Heard(
                at=now,
                claim=record.id.hex(),
                peer=self._met(claim.peer),
                task=claim.task.hex(),
                replayable=self._judge.replayable(claim),
                enters=False,
            )
        )

    def _refuse(self, source: str, record: Signed, claim: Claim, why: str) -> None:
        self._books.see(record.id)
        peer = peer_id(claim.peer)
        self.mark(peer, f"claim {record.id.hex()[:12]}: {why}")
        # The record of events is for people and has no bound of its own: a peer gets so many lines of it.
        if self.marks[peer][0] <= MOST_TOLD:
            self._books.log("claim.refused", claim=record.id.hex(), peer=peer, source=source, why=why)

    # What others say of claims

    def _seated(self, claim_id: str, claim: Claim, peer: str) -> bool:
        ledger = self._books.ledger
        size = ledger.committee_size(peer_id(claim.peer), ledger.claims[claim_id].surprise) + trust.SLACK
        return peer in self.committee(claim_id, claim, size)

    def _attestation(self, record: Signed, attestation: Attestation, now: float) -> None:
        id_ = attestation.claim.hex()
        claim = self._books.claims.get(id_)
        if claim is None or id_ not in self._books.ledger.claims:
            if attestation.claim in self._books:
                self._books.see(record.id)
            return
        peer = self._met(attestation.peer)
        # A training of one's own proves nothing to others, and neither does having looked at the weights.
        worked = attestation.stage == "2a" and valid_leaves(id_, claim, attestation)
        if attestation.stage == "2a" and not worked:
            self._books.see(record.id)
            self.mark(peer, f"its attestation of claim {id_[:12]} proves no work")
            return
        self._books.keep(record, attestation, now=now)
        self._books.believe(
            trust.Attested(
                at=now,
                claim=id_,
                attester=peer,
                stage=Stage(attestation.stage),
                member=self._seated(id_, claim, peer),
                worked=worked,
            )
        )

    def _accusation(self, record: Signed, accusation: Accusation, now: float) -> None:
        id_ = accusation.claim.hex()
        claim = self._books.claims.get(id_)
        mine = claim is not None and peer_id(claim.peer) == self._me
        if claim is None or not (mine or id_ in self._books.ledger.claims):
            if accusation.claim in self._books:
                self._books.see(record.id)
            return
        peer = peer_id(accusation.peer)
        if accusation.stage == "2a" and not self._judge.replayable(claim):
            # Other bits on another machine are no lie in that class: to run it again here would frame the claimant.
            self._books.see(record.id)
            return
        if accusation.stage == "2a" and not merkle.proves(
            claim.checkpoints,
            accusation.claimed,
            accusation.segment,
            claim.checkpoint_count,
            list(accusation.path),
        ):
            self._books.see(record.id)
            self.mark(peer, f"its accusation of claim {id_[:12]} names a leaf that is not the claim's")
            return
        self._books.keep(record, accusation, now=now)
        item = str(accusation.segment) if accusation.stage == "2a" else "weights"
        if mine:  # for the owner to see, and to run again
            self._books.log("claim.accused", claim=id_, peer=peer, stage=accusation.stage, item=item)
            return
        if accusation.stage == "0":
            return  # what stage 0 sees everybody has seen alone
        self.disputed = True
        self._books.believe(
            trust.Accused(
                at=now,
                claim=id_,
                accuser=peer,
                stage=Stage(accusation.stage),
                item=item,
                member=self._seated(id_, claim, peer),
            )
        )

    def _setback(self, record: Signed, setback: Setback, now: float) -> None:
        if setback.task != self._judge.task_id or setback.tier != self._judge.tier.name:
            self._books.see(record.id)
            return
        said = self._books.setbacks.get(setback.genome.hex(), set())
        if len(said) >= MOST_SETBACKS:
            self._books.see(record.id)
            return
        self._books.keep(record, setback, now=now)

    def shunned(self) -> set[str]:
        """Genomes that failed elsewhere, by the word of a peer whose claims have held: no crowd of new ones will do."""
        peer = self._books.ledger.peer
        return {
            genome
            for genome, said in self._books.setbacks.items()
            if any(not peer(name).newcomer for name in said)
        }

    def meet(self, peers: Iterable[str]) -> None:
        """Peers that search this task may sit on committees; others, such as bootstrap nodes, check nothing."""
        for peer in peers:
            if peer != self._me:
                self.peers.setdefault(peer)
        while len(self.peers) > _MOST_PEERS:
            # A flood of new identities pushes out itself, not those whose claims have held.
            new = (peer for peer in self.peers if self._books.ledger.peer(peer).newcomer)
            del self.peers[next(new, next(iter(self.peers)))]
