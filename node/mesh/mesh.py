"""The trio loops of a node among others: transport to books, books to workers, results to everybody.

The search knows nothing of this: it is told of guests that may be parents, and tells what it measured. Without a
transport there is no mesh, and the search is the same.
"""

import random
from collections import deque
from collections.abc import Awaitable, Callable, Sequence
from pathlib import Path

import msgspec
import trio

from evaluator.jobs import Failure
from genome import Birth, Genome
from node.logs import Log
from node.mesh.books import Books
from node.mesh.candidates import Candidate, Candidates
from node.mesh.checks import Checker, Finding
from node.mesh.claimant import Claimant, Signer
from node.mesh.desk import Desk
from node.mesh.evidence import EvidenceRoom
from node.mesh.front import Front
from node.mesh.intake import Intake
from node.mesh.judge import Judge, Values
from node.mesh.publisher import Publisher
from node.mesh.trainings import Trainings
from node.mesh.vault import Vault
from node.mesh.workbench import Workbench
from node.protocol import trust
from node.protocol.announcements import announcements, read_announcement, topic_of
from node.protocol.claims import Accusation, Attestation, Claim, Setback, Signed
from node.protocol.errors import ProtocolError
from node.protocol.identity import Identity, peer_id
from node.protocol.questions import No
from node.protocol.trust import Check, Ledger, Stage, TrustSettings
from node.protocol.wire import encode
from node.schedule import Guest
from node.search import Disk
from node.store.beliefs import BeliefWriter
from node.store.records import Reader
from node.transports.base import Transport, TransportError

__all__ = ["Mesh", "MeshSettings"]


_QUEUE = 256
_SOURCES = 64
_OF_SOURCE = 32
_FIRST_ROUNDS = 12
_TRIES = 3
_RETRY_ROUNDS = 5


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
        self._welcome = welcome
        self._shun = shun
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
        self.checker = Checker(
            me=self._me,
            judge=judge,
            books=self.books,
            desk=self.desk,
            vault=vault,
            workbench=workbench,
            rng=rng,
            trainings=trainings,
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
        self._arrivals, self._arrived = trio.open_memory_channel[tuple[str, tuple[Signed, ...]]](_QUEUE)
        self._waiting: dict[str, deque[tuple[Signed, ...]]] = {}
        self._outbox: list[Signed] = []
        self.candidates = Candidates(
            judge,
            self.front,
            share=settings.claim_share,
            claimed=(claim.genome.hex() for claim in self.books.own_claims().values()),
        )
        self._units = 0.0
        self._later: dict[
            str, tuple[int, int]
        ] = {}  # claims whose checks could not be run: tries, and when again
        self._urged: set[str] = set()  # claims that the owner wants checked before others
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
        try:
            self._arrivals.send_nowait((peer, records))
        except trio.WouldBlock:
            self._log("announcement.dropped", peer=peer)

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
                        self._take_in,
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

    async def _take_in(self) -> None:
        """Each source's records one by one, those of several sources side by side: a slow one waits alone."""
        async with trio.open_nursery() as nursery:
            async for source, records in self._arrived:
                waiting = self._waiting.get(source)
                if waiting is None and len(self._waiting) < _SOURCES:
                    self._waiting[source] = deque([records])
                    nursery.start_soon(self._take_from, source)
                elif waiting is not None and len(waiting) < _OF_SOURCE:
                    waiting.append(records)
                else:
                    self._log("announcement.dropped", peer=source)  # catching up will bring it again

    async def _take_from(self, source: str) -> None:
        waiting = self._waiting[source]
        try:
            while waiting:
                await self.take(source, waiting.popleft())
        finally:
            del self._waiting[source]

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
        self._admit(now)
        self._refresh(now)
        for claim in self._useless():
            self.books.believe(trust.Dropped(at=now, claim=claim))
        self._tidy(now)

    def _admit(self, now: float) -> bool:
        """Confirm every claim that is believed by now; whether there was one."""
        ledger, some = self.ledger, False
        for claim in list(ledger.pending):
            if claim in self.books.values and ledger.verdict(claim, now) == "admit":
                self.books.believe(trust.Admitted(at=now, claim=claim))
                self.books.log("claim.confirmed", claim=claim, peer=ledger.claims[claim].peer)
                self._log("claim.confirmed", claim=claim[:16], peer=ledger.claims[claim].peer)
                some = True
        return some

    def _refresh(self, now: float) -> None:
        """Bring the front and the search's guests in line with what is believed."""
        tiers: dict[str, dict[str, tuple[str, Values]]] = {"confirmed": {}, "provisional": {}}
        for claim, values in self.books.values.items():
            if claim in self.ledger.claims:
                standing = self.ledger.standing(claim, now)
                if standing in tiers:
                    tiers[standing][claim] = (self.books.claims[claim].genome.hex(), values)
        for claim in self.front.update(tiers["confirmed"], tiers["provisional"]):
            self.books.believe(trust.Dropped(at=now, claim=claim))
        self._welcome(self._guests("confirmed"), self._guests("provisional"))
        self._shun(self.intake.shunned())

    def _guests(self, kind: str) -> list[Guest]:
        assert kind in ("confirmed", "provisional")
        found: dict[str, Guest] = {}
        for genome, values in self.front.guests("confirmed" if kind == "confirmed" else "provisional"):
            body = self.books.genome(genome)
            if body is not None:
                found.setdefault(genome, Guest(genome=Genome.decode(body), objectives=dict(values)))
        return list(found.values())

    def _useless(self) -> list[str]:
        """Claims of this task in waiting that would not enter any more, and about which nothing is in dispute."""
        task = self._judge.task_id.hex()
        rows = self.front.confirmed_rows()
        return [
            claim
            for claim in self.ledger.pending
            if self.ledger.claims[claim].task == task
            and not self.ledger.claims[claim].accusers
            and not self.ledger.claims[claim].failures
            and not self.ledger.claims[claim].admitted
            and not (claim in self.books.values and self._judge.enters(self.books.values[claim], rows))
        ]

    def _tidy(self, now: float) -> None:
        held = self.books.own_claims()
        admitted = [claim for claim, record in self.ledger.claims.items() if record.admitted]
        self.books.expire(now, needed=[*held, *self.ledger.pending, *admitted])
        self.books.tidy()
        self.candidates.tidy(claim.genome.hex() for claim in held.values())
        self.evidence.retain({bytes.fromhex(claim) for claim in held} | self.books.own_elsewhere(now))
        self.checker.forget(self.checker.remembered() - self.ledger.claims.keys())
        self.checker.clear(self.ledger.pending)
        self._urged &= self.ledger.claims.keys()
        self._later = {claim: later for claim, later in self._later.items() if claim in self.ledger.claims}

    # Checks

    async def _check(self) -> None:
        while True:
            await self._checks_due.wait()
            self._checks_due = trio.Event()
            while (check := self.next_check()) is not None:
                await self.do_check(check)

    def next_check(self) -> Check | None:
        """The check to run now, within the budget; None where none is wanted or paid for."""
        ledger, now = self.ledger, self._now()
        wanted = [
            check
            for check in ledger.wanted(now)
            if check.claim in self.books.claims and self._later.get(check.claim, (0, 0))[1] <= ledger.round
        ]
        urged = [check for check in wanted if check.claim in self._urged]
        # Of what the owner urges, but cannot be paid for yet, the other checks must not wait.
        chosen = trust.plan(ledger.bucket, urged, ledger.settings) or trust.plan(
            ledger.bucket, wanted, ledger.settings
        )
        return chosen[0] if chosen else None

    def urge(self, text: str) -> str:
        """Have the claim whose id starts with `text` checked before others, out of the same budget; says which one.

        Raises TrustError where there is no such claim, or nothing of it is left to be checked.
        """
        found = [claim for claim in self.books.claims if claim.startswith(text)]
        if len(found) != 1:
            few = "several claims start" if found else "no genome of this run and no claim starts"
            raise trust.TrustError(f"{few} with {text!r}. `eqmesh peers show` lists claims.")
        (claim,) = found
        if not any(check.claim == claim for check in self.ledger.wanted(self._now())):
            raise trust.TrustError(
                f"of claim {claim[:12]} nothing is left to be checked here. `eqmesh claim show` tells what was found, "
                "`eqmesh verify` trains it again."
            )
        self._urged.add(claim)
        self._later.pop(claim, None)
        self._checks_due.set()
        return f"Claim {claim[:12]} is checked next, as soon as the budget of checks pays for it."

    async def do_check(self, check: Check) -> None:
        """Run one check and believe what came of it."""
        began = trio.current_time()
        finding = await self.checker.prepare(check)
        if finding is None and self._stands(check.claim):
            if not self.ledger.bucket.affords(check.cost, newcomer=check.newcomer):
                return
            self.books.believe(
                trust.Started(at=self._now(), claim=check.claim, cost=check.cost, newcomer=check.newcomer)
            )
            finding = await self.checker.run(check)
        if finding is None or not self._stands(check.claim):
            return
        seconds = trio.current_time() - began
        self.books.found(self.checker.row(check, finding, at=self._now(), seconds=seconds))
        self._log(
            "claim.checked",
            claim=check.claim[:16],
            stage=check.stage.value,
            passed=finding.passed,
            detail=finding.detail,
        )
        self._urged.discard(check.claim)
        if finding.passed is None:
            self._put_off(check.claim)
            return
        self._later.pop(check.claim, None)
        if check.item is not None:
            self._repeated(check, finding)
        else:
            self._checked(check, finding)

    def _stands(self, claim: str) -> bool:
        """Whether a claim is still there: its claimant chooses when it expires, and how long a check waits for it."""
        return claim in self.ledger.claims and claim in self.books.claims

    def _put_off(self, claim: str) -> None:
        """A check could not be run: again some rounds later, and after a few times never."""
        tries = self._later.get(claim, (0, 0))[0] + 1
        if tries >= _TRIES:
            self.books.believe(trust.Dropped(at=self._now(), claim=claim))
            self._later.pop(claim, None)
        else:
            self._later[claim] = (tries, self.ledger.round + _RETRY_ROUNDS)

    def _checked(self, check: Check, finding: Finding) -> None:
        claim = self.books.claims[check.claim]
        stated = finding.mine is not None
        self.books.believe(
            trust.Checked(
                at=self._now(),
                claim=check.claim,
                stage=check.stage,
                passed=bool(finding.passed),
                complete=finding.complete,
                item=finding.item,
                claimed=100 * claim.objectives["accuracy"] if stated else None,
                mine=100 * finding.mine if finding.mine is not None else None,
            )
        )
        if finding.passed and check.stage is Stage.REPLAY and finding.leaves:
            record, body = self.signer.sign(
                Attestation,
                claim=bytes.fromhex(check.claim),
                stage="2a",
                leaves=finding.leaves[:8],
                objectives={},
            )
            self._tell(record, body)
        if finding.steps is not None:
            genome = self.books.genome(claim.genome.hex())
            if genome is not None:
                self.books.value(check.claim, self._judge.values(claim, Genome.decode(genome), finding.steps))
        now = self._now()
        if self._admit(now):
            self._refresh(now)

    def _repeated(self, check: Check, finding: Finding) -> None:
        claim = self.books.claims[check.claim]
        peer, item = peer_id(claim.peer), check.item or ""
        self.books.believe(
            trust.Repeated(
                at=self._now(),
                claim=check.claim,
                stage=check.stage,
                item=item,
                passed=bool(finding.passed),
            )
        )
        if finding.passed:
            return
        self.books.log("peer.banned", peer=peer, claim=check.claim, stage=check.stage.value, item=item)
        self._log("peer.banned", peer=peer, claim=check.claim[:16], stage=check.stage.value)
        record, body = self.signer.sign(
            Accusation,
            claim=bytes.fromhex(check.claim),
            stage="2a" if check.stage is Stage.REPLAY else "1",
            segment=int(item) if item.isdigit() else 0,
            claimed=finding.claimed,
            found=finding.found,
            path=finding.path,
        )
        self._tell(record, body)
        self._refresh(self._now())

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
        self._refresh(event.at)
        await self.books.flush()

    def sizes(self) -> dict[str, int]:
        """How much is in each table and queue: none of them may grow for ever."""
        return {
            "arrivals": self._arrivals.statistics().current_buffer_used,
            "outbox": len(self._outbox),
            "candidates": len(self.candidates),
            "claimed": len(self.candidates.claimed),
            "put_off": len(self._later),
            "published": len(self._publisher),
            "marks": len(self.intake.marks),
            "peers": len(self.intake.peers),
            "evidence": len(self.evidence),
            **self.books.sizes(),
        }
