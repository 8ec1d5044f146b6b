"""Which genome is asked for next, as a fold over the record: the same record, the same asks. Pure."""

import hashlib
import random
from collections import deque
from collections.abc import Collection, Iterable, Sequence

import msgspec

from genome import Birth, Genome, GenomeError, Proposal, Record, Strategy
from genome.strategies import Company
from node.protocol.trust import Matings, choose_mate

__all__ = ["Ask", "Done", "Guest", "Schedule", "ask_rng", "evaluation_seed"]


class Ask(msgspec.Struct, frozen=True, kw_only=True):
    """One evaluation to be run: its number in the run, and who is to be evaluated.

    `guests` are the parents that no record of this run holds: without them, its birth cannot be replayed later.
    """

    number: int
    proposal: Proposal
    baseline: bool
    guests: tuple[Genome, ...] = ()


class Done(msgspec.Struct, frozen=True, kw_only=True):
    """One evaluation that is on record. `objectives` is None for a failure."""

    number: int
    genome: Genome
    birth: Birth
    objectives: dict[str, float] | None
    baseline: bool


class Guest(msgspec.Struct, frozen=True, kw_only=True):
    """A genome that another node found, and the objectives that it is said to have."""

    genome: Genome
    objectives: dict[str, float]


def ask_rng(run_seed: int, number: int) -> random.Random:
    """The generator of one ask: depends on the run's seed and the ask's number alone."""
    digest = hashlib.sha256(f"eqmesh/ask/1\n{run_seed}\n{number}\n".encode()).digest()
    return random.Random(int.from_bytes(digest, "big"))


def evaluation_seed(run_seed: int, genome: str, replicate: int) -> int:
    """Seed (63 bits) of the evaluation of a genome; replicate 0 is the search's own, others are fresh."""
    digest = hashlib.sha256(f"eqmesh/evaluation/1\n{run_seed}\n{genome}\n{replicate}\n".encode()).digest()
    return int.from_bytes(digest[:8], "big") >> 1


class Schedule:
    """Hands out asks and takes in what was recorded.

    `look_behind` None: an ask sees whatever is on record by then and never waits. `look_behind` W: ask
    k sees the records of asks 0 .. k - W, in that order, whatever the workers' timing; it waits for
    them, and a resumed run equals an unbroken one. Baselines are asked first and never become parents.

    What others found enters by `host` and `shun`. It is no part of the record, so a resumed run knows nothing of
    it until they are called again; a run in which they never are is the same as if they did not exist.
    """

    def __init__(
        self,
        strategy: Strategy,
        *,
        run_seed: int,
        baselines: Sequence[Proposal],
        look_behind: int | None,
        recorded: Iterable[Done] = (),
    ) -> None:
        self._strategy = strategy
        self._run_seed = run_seed
        self._baselines = tuple(baselines)
        self._look_behind = look_behind
        self._done: dict[int, Done] = {}
        self._cursor = 0
        self._told = 0
        self._own = {proposal.genome.id for proposal in self._baselines}
        self._confirmed: tuple[Record, ...] = ()
        self._provisional: tuple[Record, ...] = ()
        self._shunned: frozenset[str] = frozenset()
        self._barred: frozenset[str] = frozenset()
        # From zero in a resumed run too: if each part of a run keeps to a share, so does the whole.
        self._matings = Matings()
        self._queue: deque[Proposal] = deque()
        self.exhausted = False
        for done in recorded:
            self._done[done.number] = done
            self._own.add(done.genome.id)
            if look_behind is None:
                self._expect(done)
                self._tell(done)

    @property
    def finished(self) -> int:
        """Evaluations on record."""
        return len(self._done)

    @property
    def asked(self) -> int:
        """Numbers that were given out, or are on record."""
        return self._cursor

    @property
    def queued(self) -> int:
        """Proposals that wait to be asked for by order."""
        return len(self._queue)

    def queue(self, proposal: Proposal) -> None:
        """Ask for this one before any that the strategy proposes. Raises GenomeError for one that was asked for."""
        if proposal.genome.id in self._own or any(proposal.genome == other.genome for other in self._queue):
            raise GenomeError(
                f"a queued genome must be new to the run, {proposal.genome.id[:12]} was asked for already. Have it "
                "scored on a fresh seed instead."
            )
        self._queue.append(proposal)
        # A space that the strategy has used up may still hold what an owner asks for.
        self.exhausted = False

    def record(self, done: Done) -> None:
        """Take in one finished evaluation."""
        self._done[done.number] = done
        if self._look_behind is None:
            self._tell(done)

    def host(self, confirmed: Sequence[Guest], provisional: Sequence[Guest]) -> None:
        """Replace the guests, who stay until the next call and are not asked for while they do.

        Confirmed ones compete with own records for parenthood. Provisional ones compete with nobody: once there is
        an own parent, they are the second parent of at most 35 % of the matings, which are the births of two
        parents. A genome in both counts as confirmed; one that was asked here or is a baseline counts by its own
        record, not as a guest. The order of the guests changes nothing.

        Raises GenomeError, and keeps the former guests, where one belongs to another space, lacks an objective, has
        one that is not finite, or comes twice in its tier.
        """
        admitted, waiting = self._vetted(confirmed), self._vetted(provisional)
        sure = {record.genome.id for record in admitted}
        self._confirmed = admitted
        self._provisional = tuple(record for record in waiting if record.genome.id not in sure)
        self._bar()

    def shun(self, genomes: Collection[str]) -> None:
        """Replace the ids of genomes that are not to be asked for: others have told that they failed."""
        self._shunned = frozenset(genomes)
        self._bar()

    def next(self, limit: int) -> Ask | None:
        """The next ask below number `limit`; None where there is none, or none before a record comes."""
        while self._cursor < limit and not self.exhausted:
            number = self._cursor
            if not self._catch_up(number):
                return None
            self._cursor += 1
            if number in self._done:
                if self._look_behind is not None:
                    self._expect(self._done[number])
                continue
            if number < len(self._baselines):
                return Ask(number=number, proposal=self._baselines[number], baseline=True)
            ask = self._ordered(number) or self._ask(number)
            if ask is not None:
                return ask
            self._cursor -= 1
            self.exhausted = True
        return None

    def _ordered(self, number: int) -> Ask | None:
        if not self._queue:
            return None
        proposal = self._queue.popleft()
        self._own.add(proposal.genome.id)
        self._strategy.expect([proposal])
        return Ask(number=number, proposal=proposal, baseline=False)

    def _ask(self, number: int) -> Ask | None:
        rng = ask_rng(self._run_seed, number)
        company = self._company(rng)
        proposals = self._strategy.ask(rng, 1, company)
        if not proposals:
            return None
        (proposal,) = proposals
        self._own.add(proposal.genome.id)
        self._count(proposal.birth, company.mate)
        hosted = [record.genome for record in company.guests] + ([company.mate] if company.mate else [])
        guests = tuple(genome for genome in hosted if genome.id in proposal.birth.parents)
        return Ask(number=number, proposal=proposal, baseline=False, guests=guests)

    def _company(self, rng: random.Random) -> Company:
        guests = tuple(record for record in self._confirmed if record.genome.id not in self._own)
        return Company(guests=guests, mate=self._mate(rng, guests), barred=self._barred)

    def _mate(self, rng: random.Random, guests: Sequence[Record]) -> Genome | None:
        """The provisional guest that is to be the second parent if this ask makes a mating; mostly None."""
        waiting = {
            record.genome.id: record.genome
            for record in self._provisional
            if record.genome.id not in self._own
        }
        if not waiting or not self._matings.open or not self._strategy.parents():
            return None
        parents = [record.genome.id for record in self._strategy.parents(guests)]
        mate, _ = choose_mate(rng, self._matings, parents, list(waiting))
        return waiting[mate.genome] if mate.tier == "provisional" else None

    def _count(self, birth: Birth, mate: Genome | None) -> None:
        # Only now: whether an ask makes a mating, the strategy decides.
        if len(birth.parents) == 2:
            some = mate is not None and mate.id in birth.parents
            self._matings = Matings(self._matings.total + 1, self._matings.provisional + some)

    def _vetted(self, guests: Sequence[Guest]) -> tuple[Record, ...]:
        records = {
            guest.genome.id: Record(genome=guest.genome, objectives=guest.objectives, ask=None)
            for guest in guests
        }
        if len(records) < len(guests):
            raise GenomeError(
                f"a tier expects each guest once, got {len(guests)} guests of {len(records)} different genomes. "
                "Decide which one of several claims counts."
            )
        for name, record in records.items():
            self._strategy.check(record)
            if not record.usable:
                raise GenomeError(
                    f"a guest expects finite objectives, got {record.objectives} of {name}. Leave it out."
                )
        # Sorted: in what order peers were heard must not matter.
        return tuple(record for _, record in sorted(records.items()))

    def _bar(self) -> None:
        hosted = {record.genome.id for record in (*self._confirmed, *self._provisional)}
        barred = self._shunned | hosted
        if barred != self._barred:
            # What was used up with the former ones barred need not be so now.
            self.exhausted = False
        self._barred = barred

    def _catch_up(self, number: int) -> bool:
        """Tell the strategy what ask `number` may see; False while some of that is not on record."""
        if self._look_behind is None:
            return True
        while self._told <= number - self._look_behind:
            if self._told not in self._done:
                return False
            self._tell(self._done[self._told])
            self._told += 1
        return True

    def _expect(self, done: Done) -> None:
        if not done.baseline:
            self._strategy.expect([Proposal(genome=done.genome, birth=done.birth)])

    def _tell(self, done: Done) -> None:
        if not done.baseline:
            self._strategy.tell([Record(genome=done.genome, objectives=done.objectives, ask=done.number)])
