"""Own results that are worth a claim, and how many trainings may be spent on claims. Pure."""

from collections.abc import Iterable
from typing import NamedTuple

from genome import Birth, Genome
from node.mesh.front import Front
from node.mesh.judge import EXACT, Judge, Values
from node.protocol.trust import COST, Stage

__all__ = ["Candidate", "Candidates"]

_MOST_WAITING = 512
_WEIGHED = 16
_MOST_SAVED = 4.0


class Candidate(NamedTuple):
    """A result of this node: the genome, how it came to be, and its objectives."""

    genome: Genome
    birth: Birth
    values: Values


class Candidates:
    """Waiting results by genome, the oldest first; `claimed` are genomes that need no other claim.

    A claim costs a training, which is paid for from what own trainings earn: each one `share` of what it cost, the
    first one the whole besides. What is best for its cost is saved up for; else no more than a few usual trainings
    are. A preset is never claimed: every node trains it itself, and that one's seed was luckier is no news.
    """

    def __init__(self, judge: Judge, front: Front, *, share: float, claimed: Iterable[str]) -> None:
        self.claimed = set(claimed)
        self.saved = 0.0
        self._judge = judge
        self._front = front
        self._share = share
        self._goal = 0.0
        self._trained = 0
        self._spent = 0.0
        self._waiting: dict[str, Candidate] = {}
        self._claiming = ""

    def __len__(self) -> int:
        return len(self._waiting)

    def earn(self, values: Values | None) -> None:
        """One own training has ended; without values it failed, and counts like the usual one, if there was one."""
        if values is None and not self._trained:
            return
        cost = self._spent / self._trained if values is None else self._judge.training(values)
        self.saved += self._share * cost if self._trained else (1.0 + self._share) * cost
        self._spent += cost
        self._trained += 1
        self.saved = min(self.saved, max(self._goal, _MOST_SAVED * self._spent / self._trained))

    def consider(self, candidate: Candidate) -> None:
        """Let a result wait, unless its genome was claimed or is a preset."""
        if candidate.genome.id in self.claimed or candidate.birth.of_preset:
            return
        self._waiting[candidate.genome.id] = candidate
        if len(self._waiting) > _MOST_WAITING:
            del self._waiting[next(iter(self._waiting))]

    def choose(self) -> Candidate | None:
        """The candidate that adds most to the front for its cost, of the latest few on the front; None: not paid yet.

        Its cost is its training here, times what others pay to check it: anybody replays a claim in the exact class;
        another takes a training anew from all who cannot run its class. What a confirmed claim of another peer says
        already is not said again.
        """
        self._goal = min((self._judge.training(one.values) for one in self._waiting.values()), default=0.0)
        if self.saved < self._goal:
            return None
        said = {genome for genome, _ in self._front.guests("confirmed")}
        standing = [
            one for genome, one in self._waiting.items() if genome not in said and self._front.stands(genome)
        ]
        if not standing:
            return None
        rows = self._front.confirmed_rows()

        def worth(one: Candidate) -> float:
            exact = self._judge.claim_class(one.genome) in EXACT
            gain = self._judge.gain(one.values, [row for row in rows if row != one.values])
            return gain / (self._judge.training(one.values) * COST[Stage.REPLAY if exact else Stage.RETRAIN])

        best = max(standing[-_WEIGHED:], key=worth)
        self._goal = self._judge.training(best.values)
        return best if self.saved >= self._goal else None

    def begin(self, chosen: Candidate) -> None:
        """A genome is being trained for its claim: it is paid for, and waits no longer."""
        self.saved -= self._judge.training(chosen.values)
        self._goal = 0.0
        self._waiting.pop(chosen.genome.id, None)
        self.claimed.add(chosen.genome.id)
        self._claiming = chosen.genome.id

    def end(self) -> None:
        """That training has ended."""
        self._claiming = ""

    def tidy(self, held: Iterable[str]) -> None:
        """Forget what left the front, and genomes of claims that are held no more: these may be claimed again."""
        self.claimed = {*held, self._claiming}
        self._waiting = {genome: one for genome, one in self._waiting.items() if self._front.stands(genome)}
