"""Running statistics: the spread between seeds, and how far a peer's claims lie above what I measure. Pure.

All accuracies here are in points (per cent).
"""

import math
import statistics
from collections.abc import Collection

import msgspec

from node.protocol.trust.parameters import SUSPICION, SUSPICION_CHECKS

PRIOR_SIGMA = 0.4
"""Points; the spread between seeds that is assumed before a task has shown its own (TRUST's example)."""
PRIOR_PAIRS = 4.0
"""How many pairs of runs that assumption is worth."""
CENTRE_PEERS = 5
"""Peers needed before their median says what is usual; with fewer, zero is."""


class Running(msgspec.Struct, frozen=True):
    """Count, mean and sum of squared deviations of a series (Welford 1962)."""

    n: int = 0
    mean: float = 0.0
    m2: float = 0.0

    def add(self, value: float) -> "Running":
        """The statistics with one more finite value."""
        n = self.n + 1
        delta = value - self.mean
        mean = self.mean + delta / n
        return Running(n, mean, self.m2 + delta * (value - mean))

    @property
    def variance(self) -> float:
        """Unbiased variance; 0 for fewer than two values."""
        return self.m2 / (self.n - 1) if self.n > 1 else 0.0


class Spread(msgspec.Struct, frozen=True):
    """Running spread between seeds of one task, from pairs of my own runs of one genome; peers cannot widen it."""

    pairs: float = 0.0
    squares: float = 0.0

    def add(self, first: float, second: float) -> "Spread":
        """The spread with one more pair of accuracies (points) of one genome under two seeds."""
        return Spread(self.pairs + 1.0, self.squares + (first - second) ** 2)

    @property
    def sigma(self) -> float:
        """Standard deviation (points) of one run: half the mean squared difference, under the root."""
        squares = self.squares + PRIOR_PAIRS * 2.0 * PRIOR_SIGMA**2
        return math.sqrt(squares / (2.0 * (self.pairs + PRIOR_PAIRS)))


def inflated(claimed: float, mine: float, sigma: float) -> bool:
    """Stage 2b's rule: whether to refuse, claimed - mine > 3 sqrt(2) sigma; all in points. NaN is refused."""
    return not claimed - mine <= 3.0 * math.sqrt(2.0) * sigma


def suspicion(own: Running, others: Collection[Running], sigma: float) -> float:
    """How many standard errors a peer's residuals lie above what is usual; -inf with fewer than 5 of them.

    Usual is the median of the other peers' means, since selection lifts every honest claim a little. The error
    comes from the deviations inside each peer, so liars who inflate by a constant do not hide in it; `sigma`
    (points, between seeds) stands in for it with the weight of ten residuals.
    """
    if own.n < SUSPICION_CHECKS:
        return -math.inf
    means = [other.mean for other in others if other.n >= 2]
    centre = statistics.median(means) if len(means) >= CENTRE_PEERS else 0.0
    inside = [own, *others]
    freedom = sum(max(0, running.n - 1) for running in inside)
    variance = (sum(running.m2 for running in inside) + 10.0 * 2.0 * sigma**2) / (freedom + 10.0)
    return (own.mean - centre) / math.sqrt(variance / own.n) if variance > 0 else math.inf


def suspect(own: Running, others: Collection[Running], sigma: float) -> bool:
    """Whether these residuals call for quarantine: at least 4 standard errors above what is usual."""
    return suspicion(own, others, sigma) >= SUSPICION
