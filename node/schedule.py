"""Which genome is asked for next, as a fold over the record: the same record, the same asks. Pure."""

import hashlib
import random
from collections.abc import Iterable, Sequence

import msgspec

from genome import Birth, Genome, Proposal, Record, Strategy

__all__ = ["Ask", "Done", "Schedule", "ask_rng", "evaluation_seed"]


class Ask(msgspec.Struct, frozen=True, kw_only=True):
    """One evaluation to be run: its number in the run, and who is to be evaluated."""

    number: int
    proposal: Proposal
    baseline: bool


class Done(msgspec.Struct, frozen=True, kw_only=True):
    """One evaluation that is on record. `objectives` is None for a failure."""

    number: int
    genome: Genome
    birth: Birth
    objectives: dict[str, float] | None
    baseline: bool


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
        self.exhausted = False
        for done in recorded:
            self._done[done.number] = done
            if look_behind is None:
                self._expect(done)
                self._tell(done)

    @property
    def finished(self) -> int:
        """Evaluations on record."""
        return len(self._done)

    def record(self, done: Done) -> None:
        """Take in one finished evaluation."""
        self._done[done.number] = done
        if self._look_behind is None:
            self._tell(done)

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
            proposals = self._strategy.ask(ask_rng(self._run_seed, number), 1)
            if proposals:
                return Ask(number=number, proposal=proposals[0], baseline=False)
            self._cursor -= 1
            self.exhausted = True
        return None

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
