"""Own results that are worth a claim, and how many trainings may be spent on claims. Pure."""

from collections.abc import Iterable
from typing import NamedTuple

from genome import Birth, Genome
from node.mesh.front import Front
from node.mesh.judge import Judge, Values

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

    Every own training earns `share` of the training that a claim takes; a few may be saved up.
    """

    def __init__(self, judge: Judge, front: Front, *, share: float, claimed: Iterable[str]) -> None:
        self.claimed = set(claimed)
        self._judge = judge
        self._front = front
        self._share = share
        self._saved = 1.0
        self._waiting: dict[str, Candidate] = {}
        self._claiming = ""

    def __len__(self) -> int:
        return len(self._waiting)

    @property
    def affordable(self) -> bool:
        """Whether a claim's training has been earned."""
        return self._saved >= 1.0

    def earn(self) -> None:
        """One own training has ended."""
        self._saved = min(_MOST_SAVED, self._saved + self._share)

    def consider(self, candidate: Candidate) -> None:
        """Let a result wait, unless its genome was claimed."""
        if candidate.genome.id not in self.claimed:
            self._waiting[candidate.genome.id] = candidate
            if len(self._waiting) > _MOST_WAITING:
                del self._waiting[next(iter(self._waiting))]

    def choose(self) -> Candidate | None:
        """The candidate that adds most to the front, of the latest few that stand on it.

        What a confirmed claim of another peer says already is not said again.
        """
        said = {genome for genome, _ in self._front.guests("confirmed")}
        standing = [
            one for genome, one in self._waiting.items() if genome not in said and self._front.stands(genome)
        ]
        if not standing:
            return None
        rows = self._front.confirmed_rows()

        def gain(one: Candidate) -> float:
            return self._judge.gain(one.values, [row for row in rows if row != one.values])

        return max(standing[-_WEIGHED:], key=gain)

    def begin(self, genome: str) -> None:
        """A genome is being trained for its claim: it is paid for, and waits no longer."""
        self._saved -= 1.0
        self._waiting.pop(genome, None)
        self.claimed.add(genome)
        self._claiming = genome

    def end(self) -> None:
        """That training has ended."""
        self._claiming = ""

    def tidy(self, held: Iterable[str]) -> None:
        """Forget what left the front, and genomes of claims that are held no more: these may be claimed again."""
        self.claimed = {*held, self._claiming}
        self._waiting = {genome: one for genome, one in self._waiting.items() if self._front.stands(genome)}
