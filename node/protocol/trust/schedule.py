"""How often to check whom, and what to check next within the budget. Pure."""

import math
from collections.abc import Iterable
from typing import Literal

import msgspec

from node.protocol.trust.budget import Bucket
from node.protocol.trust.parameters import Stage, TrustSettings

Purpose = Literal["repeat", "duty", "own", "weights", "distant"]
"""Run a disputed item again; my turn on a committee; before own admission; stage 1; one over what I do not hold."""
_RANK: dict[Purpose, int] = {"repeat": 0, "duty": 1, "own": 2, "weights": 3, "distant": 4}
LOSS = 4.0
"""What a peer without any record loses with its identity, in units of the usual prize."""


class Check(msgspec.Struct, frozen=True, kw_only=True):
    """A check that would be worth its cost (units); `item` is None but for a repetition.

    `urgency` orders the checks of one purpose; `round` is when the claim was heard.
    """

    claim: str
    stage: Stage
    cost: float
    purpose: Purpose
    newcomer: bool
    urgency: float
    round: int
    item: str | None = None


def prize(surprise: float, usual: float) -> float:
    """The prize pi of a claim: the hypervolume it would gain over what claims usually gain; 0 to 100."""
    if not surprise > 0.0:
        return 0.0
    return min(100.0, surprise / usual) if usual > 0.0 else 1.0


def check_rate(pi: float, loss: float, d: float, watchers: int = 1) -> float:
    """Probability with which each of `watchers` has to check so that cheating does not pay; at most 1.

    The least rate at which at least one of them detects with probability (1 + pi) / (1 + pi + L), each check
    having power `d`. At rate 1 it may be out of reach: then all that is left is to admit nothing unchecked.
    """
    needed = (1.0 + pi) / (1.0 + pi + loss)
    alone = -math.expm1(math.log1p(-needed) / max(1, watchers)) if needed < 1.0 else 1.0
    return min(1.0, alone / d)


def urgency(surprise: float, units: float) -> float:
    """What a claim would gain for each of the units that its checks take until it is admitted.

    So that what is nearly believed is not left for what has hardly been looked at, and one claim that can only be
    trained anew does not hold up ten that can be replayed. How long it has waited does not count: a flood is old, too.
    """
    return surprise / units


def loss(a: float) -> float:
    """What a peer with decayed passes `a` risks, in units of the usual prize."""
    return LOSS + a


def plan(bucket: Bucket, wanted: Iterable[Check], settings: TrustSettings) -> list[Check]:
    """The checks to start now, most urgent first, all of which the bucket affords together.

    By purpose, then by urgency, then oldest first. What cannot be paid for yet is saved up for: less urgent
    checks wait behind it, those of newcomers only where it is their share that is short. Otherwise a stream of cheap
    checks would keep the bucket too low for a dear one for ever. What no full bucket could pay for holds up nothing.
    """
    chosen: list[Check] = []
    saving = False
    for check in sorted(wanted, key=lambda c: (_RANK[c.purpose], -c.urgency, c.round, c.claim)):
        if (saving and check.newcomer) or not settings.payable(check.cost, newcomer=check.newcomer):
            continue
        if bucket.affords(check.cost, newcomer=check.newcomer):
            bucket = bucket.spend(check.cost, newcomer=check.newcomer)
            chosen.append(check)
        elif bucket.affords(check.cost, newcomer=False):
            saving = True
        else:
            break
    return chosen
