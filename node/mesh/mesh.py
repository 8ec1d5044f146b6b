"""The trio loops of a node among others: transport to books, books to workers, results to everybody.

The search knows nothing of this: it is told of guests that may be parents, and tells what it measured. Without a
transport there is no mesh, and the search is the same.
"""

import random
from collections.abc import Awaitable, Callable, Sequence
from pathlib import Path

import msgspec
import trio

from evaluator.jobs import Failure
from genome import Birth, Genome
from node.logs import Log
from node.mesh.arrivals import Arrivals
from node.mesh.books import Books
from node.mesh.candidates import Candidate, Candidates
from node.mesh.checking import Checking
from node.mesh.checks import Checker
from node.mesh.claimant import Claimant, Signer
from node.mesh.desk import Desk
from node.mesh.evidence import EvidenceRoom
from node.mesh.front import Front
from node.mesh.intake import Intake
from node.mesh.judge import Judge, Values
from node.mesh.publisher import Publisher
from node.mesh.tiers import Tiers
from node.mesh.trainings import Trainings
from node.mesh.vault import Vault
from node.mesh.workbench import Workbench
from node.protocol import trust
from node.protocol.announcements import announcements, read_announcement, topic_of
from node.protocol.claims import Accusation, Attestation, Claim, Setback, Signed
from node.protocol.errors import ProtocolError
from node.protocol.identity import Identity, peer_id
from node.protocol.questions import No
from node.protocol.trust import Check, Ledger, TrustSettings
from node.protocol.wire import encode
from node.schedule import Guest
from node.search import Disk
from node.store.beliefs import BeliefWriter
from node.store.records import Reader
from node.transports.base import Transport, TransportError

__all__ = ["Mesh", "MeshSettings"]


_FIRST_ROUNDS = 12


class MeshSettings(msgspec.Struct, frozen=True, kw_only=True):
    """How a node behaves among others. Times in seconds; a unit is the cost of training one genome.

    A round of trust ends after `round_units` of own trainings, yet not before `shortest_round_s` nor later than
    `longest_round_s`; the first dozen of a new node after `first_rounds_s` at most, since it has no trust to lose yet
    and nothing to check with until a round has ended. `claim_share` of what the own trainings cost is spent at most
    on training again what is to be claimed.
    """

    trust: TrustSettings = TrustSettings()
    round_units: float = 5.0
    shortest_round_s: float = 2.0
    longest_round_s: float = 30.0
    first_rounds_s: float = 5.0
    announce_s: float = 1.0
    flush_s: float = 0.5
    meet_s: float = 2.0
    catch_up_s: float = 60.0
    publish_s: float = 15.0
    republish_s: float = 6 * 3600.0
    claim_share: float = 0.25
    evidence_bytes: int = 2 * 2**30


class Mesh:
    """One node's part in the mesh of one task. `run` is its life; `recorded` is called by the search."""

    def __init__(
        self,
        *,
        identity: Identity,
        transport: Transport,
        judge: Judge,
        workbench: Workbench,
        vault: Vault,
        writer: BeliefWriter,
        reader: Reader,
        disk: Disk,
        settings: MeshSettings,
        rng: random.Random,
        now: Callable[[], float],
        trainings: Trainings,
        spool: Path | None,
        evidence_file: Path | None,
        device: str = "",
        welcome: Callable[[Sequence[Guest], Sequence[Guest]], None] = lambda _confirmed, _provisional: None,
        shun: Callable[[set[str]], None] = lambda _genomes: None,
        log: Log = lambda _event, **_fields: None,
    ) -> None:
        """Nothing is opened here."""
        self._me = identity.peer
        self.transport = transport
        self._judge = judge
        self._settings = settings
        self._rng = rng
        self._now = now
        self._log = log
        self.books = Books(
            me=identity.peer,
            task=judge.task_id,
            writer=writer,
            reader=reader,
            disk=disk,
            settings=settings.trust,
        )
        self.evidence = EvidenceRoom(identity, vault, most_bytes=settings.evidence_bytes, file=evidence_file)
        self.front = Front(judge)
        self.desk = Desk(transport, self.books, vault, self.evidence, judge.task_id)
        self.intake = Intake(
            me=self._me, judge=judge, books=self.books, desk=self.desk, front=self.front, rng=rng
        )
        self.signer = Signer(identity, now=now, last=self.books.last_sequence(self._me))
        self.tiers = Tiers(
            books=self.books,
            front=self.front,
            judge=judge,
            intake=self.intake,
            welcome=welcome,
            shun=shun,
            log=log,
        )
        checker = Checker(
            me=self._me,
            judge=judge,
            books=self.books,
            desk=self.desk,
            vault=vault,
            workbench=workbench,
            rng=rng,
            trainings=trainings,
        )
        self.checking = Checking(
            books=self.books,
            checker=checker,
            judge=judge,
            signer=self.signer,
            tiers=self.tiers,
            tell=self._tell,
            now=now,
            log=log,
        )
        self.claimant = Claimant(
            signer=self.signer,
            judge=judge,
            workbench=workbench,
            vault=vault,
            evidence=self.evidence,
            trainings=trainings,
            spool=spool,
            device=device,
            now=now,
        )
        self.arrivals = Arrivals(self.take, log)
        self._outbox: list[Signed] = []
        self.candidates = Candidates(
            judge,
            self.front,
            share=settings.claim_share,
            claimed=(claim.genome.hex() for claim in self.books.own_claims().values()),
        )
        self._units = 0.0
        self._checks_due = trio.Event()
        self._claims_due = trio.Event()
        self._round_due = trio.Event()
        self._met: set[str] = set()
        self._publisher = Publisher(
            transport=transport,
            books=self.books,
            desk=self.desk,
            evidence=self.evidence,
            front=self.front,
            intake=self.intake,
            signer=self.signer,
            judge=judge,
            rng=rng,
            now=now,
            republish_s=settings.republish_s,
            take=self.take,
            log=log,
        )

    @property
    def ledger(self) -> Ledger:
        """What this node believes."""
        return self.books.ledger

    # What the search tells

    async def recorded(
        self, genome: Genome, birth: Birth | None, values: Values | None, *, failure: str | None
    ) -> None:
        """One own training is on record: its objectives, or the kind of its failure."""
        self._units += 1.0
        self.candidates.earn(values)
        if self._units >= self._settings.round_units:
            self._round_due.set()
        if values is None:
            if failure == "diverged":
                self._tell_setback(genome)
        else:
            self.remember(genome, birth, values)
        self._claims_due.set()

    def remember(self, genome: Genome, birth: Birth | None, values: Values) -> None:
        """An own result, also of an earlier life of the program: on the front, and to be claimed, if worth it."""
        if self.front.measured(genome.id, values) and birth is not None:
            self.candidates.consider(Candidate(genome, birth, values))

    def _tell_setback(self, genome: Genome) -> None:
        arithmetic = self._judge.arithmetic
        record, body = self.signer.sign(
            Setback,
            task=self._judge.task_id,
            tier=self._judge.tier.name,
            genome=bytes.fromhex(genome.id),
            arithmetic=arithmetic,
            kind="diverged",
        )
        self._tell(record, body)

    def _tell(self, record: Signed, body: Claim | Attestation | Accusation | Setback) -> None:
        self.books.keep(record, body, now=self._now())
        self._outbox.append(record)

    # What others send (transports.Handlers)

    async def announced(self, peer: str, topic: str, body: bytes) -> None:
        """Take an announcement to the queue; where that is full, catching up will bring it again."""
        if topic != topic_of(self._judge.task_id):
            return
        try:
            records = read_announcement(body)
        except ProtocolError as error:
            self.intake.mark(peer, str(error))
            raise
        self.arrivals.put(peer, records)

    async def requested(self, peer: str, body: bytes) -> bytes:
        """Answer a question. A peer under a ban hears why, and what it can run again itself."""
        ban = self.ledger.ban(peer, self._now())
        if ban is not None:
            shown = "; ".join(
                f"claim {item.claim[:16]} stage {item.stage.value} item {item.item}"
                for item in ban.evidence[-2:]
            )
            return encode(No(why=f"banned until {ban.until:.0f}: {shown or ban.reason}"[:200]))
        try:
            return self.desk.reply(peer, body)
        except ProtocolError as error:
            self.intake.mark(peer, str(error))
            raise

    # Life

    async def run(self, ready: Callable[[], Awaitable[None]] | None = None) -> None:
        """Serve the transport and keep all loops going until cancelled; what is believed is written at the end.

        Raises TransportError where the transport cannot start at all.
        """
        await self.transport.subscribe(topic_of(self._judge.task_id))
        try:
            async with trio.open_nursery() as nursery:

                async def up() -> None:
                    for loop in (
                        self.arrivals.run,
                        self._announce,
                        self._flush,
                        self._meet,
                        self._rounds,
                        self._publish,
                        self._check,
                        self._claim,
                    ):
                        nursery.start_soon(loop)
                    if ready is not None:
                        await ready()

                await self.transport.serve(self, up)
        finally:
            with trio.CancelScope(shield=True):
                await self.books.flush(fold=True)

    async def take(self, source: str, records: Sequence[Signed]) -> None:
        """Take in records that a peer carried."""
        try:
            fresh = await self.intake.take(source, records, self._now())
        except Exception as error:  # noqa: BLE001 - around one peer's input: one bad peer must not fell the node
            self.intake.mark(source, f"{type(error).__name__}: {error}")
            self._log("peer.trouble", peer=source, error=repr(error))
            return
        for claim in fresh:
            self._log("claim.heard", claim=claim[:16], peer=peer_id(self.books.claims[claim].peer))
        # Only these can make a check worth its cost, and to look for one costs more than to take a record in.
        if fresh or self.intake.disputed:
            self.intake.disputed = False
            self._checks_due.set()

    async def _announce(self) -> None:
        while True:
            await trio.sleep(self._settings.announce_s)
            if not self._outbox:
                continue
            records, self._outbox = self._outbox, []
            await self.books.flush()  # record first: what has been said must not be forgotten by a crash
            topic = topic_of(self._judge.task_id)
            for body in announcements(records):
                try:
                    await self.transport.announce(topic, body)
                except TransportError as error:
                    self._log("announcement.failed", error=str(error))

    async def _flush(self) -> None:
        while True:
            await trio.sleep(self._settings.flush_s)
            if self.books.pending:
                await self.books.flush()

    # Meeting others

    async def _publish(self) -> None:
        while True:
            await trio.sleep(self._spread(self._settings.publish_s))
            await self._publisher.turn(sorted(self._met))

    async def _meet(self) -> None:
        """Catch up with every peer once when it comes, and with one at random from time to time."""
        next_round = trio.current_time() + self._spread(self._settings.catch_up_s)
        while True:
            connected = set(self.transport.status().peers)
            new = sorted(connected - self._met)
            self._met = connected
            chosen = new[:2]
            if trio.current_time() >= next_round:
                next_round = trio.current_time() + self._spread(self._settings.catch_up_s)
                if connected:
                    chosen = [*chosen, self._rng.choice(sorted(connected))]
            for peer in dict.fromkeys(chosen):
                await self.catch_up(peer)
            await trio.sleep(self._settings.meet_s)

    def _spread(self, seconds: float) -> float:
        return seconds * (0.5 + self._rng.random())

    async def catch_up(self, peer: str) -> int:
        """Ask a peer for all that is not here; gives how many records came."""
        try:
            found = await self.desk.catch_up(peer)
        except (TransportError, ProtocolError) as error:
            self._log("catch_up.failed", peer=peer, error=str(error))
            return 0
        if found:
            await self.take(peer, found)
        return len(found)

    # Rounds

    async def _rounds(self) -> None:
        while True:
            began = trio.current_time()
            longest = self._settings.longest_round_s
            if self.ledger.round < _FIRST_ROUNDS:
                longest = min(longest, self._settings.first_rounds_s)
            with trio.move_on_after(longest):
                await self._round_due.wait()
                await trio.sleep_until(began + self._settings.shortest_round_s)
            self._round_due = trio.Event()
            self.end_round()
            self._checks_due.set()

    def end_round(self) -> None:
        """Let a round of trust end: earn the budget of checks, admit, evict, tell the search who may be a parent."""
        now = self._now()
        self.books.believe(trust.Ticked(at=now, compute=self._units))
        self._units = 0.0
        self.tiers.admit(now)
        self.tiers.refresh(now)
        self.tiers.drop_useless(now)
        self._tidy(now)

    def _tidy(self, now: float) -> None:
        held = self.books.own_claims()
        admitted = [claim for claim, record in self.ledger.claims.items() if record.admitted]
        self.books.expire(now, needed=[*held, *self.ledger.pending, *admitted])
        self.books.tidy()
        self.candidates.tidy(claim.genome.hex() for claim in held.values())
        self.evidence.retain({bytes.fromhex(claim) for claim in held} | self.books.own_elsewhere(now))
        self.checking.tidy()

    # Checks

    async def _check(self) -> None:
        while True:
            await self._checks_due.wait()
            self._checks_due = trio.Event()
            while (check := self.next_check()) is not None:
                await self.do_check(check)

    def next_check(self) -> Check | None:
        """The check to run now, within the budget; None where none is wanted or paid for."""
        return self.checking.next()

    async def do_check(self, check: Check) -> None:
        """Run one check and believe what came of it."""
        await self.checking.run(check)

    def urge(self, text: str) -> str:
        """Have the claim whose id starts with `text` checked before others, out of the same budget; says which one.

        Raises TrustError where there is no such claim, or nothing of it is left to be checked.
        """
        said = self.checking.urge(text)
        self._checks_due.set()
        return said

    # Claims

    async def _claim(self) -> None:
        while True:
            await self._claims_due.wait()
            self._claims_due = trio.Event()
            while (chosen := self.choose()) is not None:
                await self._claim_one(chosen)

    def choose(self) -> Candidate | None:
        """What is claimed next; None where there is nothing, or it is not paid for yet."""
        return self.candidates.choose()

    async def _claim_one(self, chosen: Candidate) -> None:
        genome = chosen.genome
        self.candidates.begin(chosen)
        found = await self.claimant.claim(genome, chosen.birth)
        self.candidates.end()
        self._units += 1.0
        if isinstance(found, Failure):
            self._log("claim.failed", genome=genome.id[:16], kind=found.kind, detail=found.detail)
            return
        record, claim = found
        self._tell(record, claim)
        self._pair(genome, claim)
        self.books.log("claim.made", claim=record.id.hex(), genome=genome.id)
        self._log("claim.made", claim=record.id.hex()[:16], genome=genome.id[:16])

    def _pair(self, genome: Genome, claim: Claim) -> None:
        """Two trainings of one genome under two seeds: what the spread between seeds is learned from."""
        own = self.front.own(genome.id)
        if own is not None and "accuracy" in own and "accuracy" in claim.objectives:
            self.books.believe(
                trust.Paired(
                    at=self._now(),
                    task=self._judge.task_id.hex(),
                    first=100 * own["accuracy"],
                    second=100 * claim.objectives["accuracy"],
                )
            )

    # What people want, and see

    async def sanction(self, event: trust.Banned | trust.Unbanned) -> None:
        """Take in a person's ban of a peer, or the end of one: believed at once, and written when this returns.

        Raises TrustError where the ledger refuses it, StoreError where it cannot be written.
        """
        if event.peer == self._me:
            raise trust.TrustError("this node cannot ban itself. Stop it with Ctrl-C.")
        self.books.believe(event)
        if isinstance(event, trust.Banned):
            self.books.log("peer.banned", peer=event.peer, until=event.until, reason=event.reason)
        else:
            self.books.log("peer.unbanned", peer=event.peer)
        self.tiers.refresh(event.at)
        await self.books.flush()

    def sizes(self) -> dict[str, int]:
        """How much is in each table and queue: none of them may grow for ever."""
        return {
            "arrivals": len(self.arrivals),
            "outbox": len(self._outbox),
            "candidates": len(self.candidates),
            "claimed": len(self.candidates.claimed),
            "put_off": self.checking.put_off,
            "published": len(self._publisher),
            "marks": len(self.intake.marks),
            "peers": len(self.intake.peers),
            "evidence": len(self.evidence),
            **self.books.sizes(),
        }
