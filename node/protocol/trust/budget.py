"""The hard budget of checks: a token bucket in units, with a smaller one inside it for newcomers. Pure."""

import math

import msgspec

from node.protocol.trust.parameters import TrustError, TrustSettings


class Bucket(msgspec.Struct, frozen=True):
    """Units that checks may still take; `newcomers` of them for claims and accusations of newcomers.

    Over any time, checks take at most `check_share` of the compute earned since the start, and newcomers'
    at most `newcomer_share` of that. Neither ever goes below zero.
    """

    tokens: float = 0.0
    newcomers: float = 0.0

    def earn(self, compute: float, settings: TrustSettings) -> "Bucket":
        """The bucket after `compute` units of own search; it holds at most `burst_units`.

        Raises TrustError where compute is negative or not finite.
        """
        if not (compute >= 0.0 and math.isfinite(compute)):
            raise TrustError(f"earned compute must be at least 0 units, got {compute!r}.")
        income = settings.check_share * compute
        share = settings.newcomer_share
        return Bucket(
            min(settings.burst_units, self.tokens + income),
            min(settings.burst_units * share, self.newcomers + income * share),
        )

    def affords(self, cost: float, *, newcomer: bool) -> bool:
        """Whether a check of `cost` units may start."""
        return 0.0 <= cost <= self.tokens and (not newcomer or cost <= self.newcomers)

    def spend(self, cost: float, *, newcomer: bool) -> "Bucket":
        """The bucket after a check has started. Raises TrustError where it does not afford it."""
        if not self.affords(cost, newcomer=newcomer):
            raise TrustError(
                f"a check of {cost!r} units expects as much in the bucket, which holds {self.tokens:.3f} "
                f"({self.newcomers:.3f} for newcomers). Ask `affords` first."
            )
        return Bucket(self.tokens - cost, self.newcomers - cost if newcomer else self.newcomers)
