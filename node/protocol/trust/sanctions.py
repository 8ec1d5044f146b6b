"""Bans that expire, and the evidence that the accused is shown. Pure."""

import math
from collections.abc import Sequence

import msgspec

from node.protocol.trust.parameters import MAX_BANS, Stage, TrustError


class Evidence(msgspec.Struct, frozen=True, kw_only=True):
    """What anyone can run again: an item of a claim that failed; `accuser` None where I found it myself."""

    claim: str
    stage: Stage
    item: str
    accuser: str | None = None


class Ban(msgspec.Struct, frozen=True, kw_only=True):
    """A peer is not listened to from `since` up to `until` (seconds), for a stated reason.

    `lifted` is when a person ended it early. The evidence stays on record after the ban.
    """

    since: float
    until: float
    reason: str
    evidence: tuple[Evidence, ...] = ()
    manual: bool = False
    lifted: float | None = None

    def active(self, now: float) -> bool:
        """Whether the ban holds at `now` (seconds)."""
        return self.since <= now < self.until and (self.lifted is None or now < self.lifted)


def active_ban(bans: Sequence[Ban], now: float) -> Ban | None:
    """The ban that holds at `now` and ends last; None where none holds."""
    return max((ban for ban in bans if ban.active(now)), key=lambda ban: ban.until, default=None)


def with_ban(bans: tuple[Ban, ...], ban: Ban) -> tuple[Ban, ...]:
    """The history with one more ban, the last eight kept. Raises TrustError where it would never expire."""
    if not (math.isfinite(ban.since) and ban.since < ban.until < math.inf):
        raise TrustError(
            f"a ban expects an end after its start ({ban.since!r}), got {ban.until!r}. Bans expire."
        )
    return (*bans, ban)[-MAX_BANS:]


def lifted(bans: tuple[Ban, ...], now: float) -> tuple[Ban, ...]:
    """The history after a person lifted every ban that holds at `now`."""
    return tuple(msgspec.structs.replace(ban, lifted=now) if ban.active(now) else ban for ban in bans)
