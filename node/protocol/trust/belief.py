"""Belief in one claim: the log-odds that it is false, from who says what and what I saw myself. Pure."""

import math
from collections.abc import Sequence
from typing import Literal

import msgspec

from node.protocol.trust.parameters import (
    ACCUSATION,
    ACCUSATION_TRUSTED,
    TRUST_FLOOR,
    WELL_TRUSTED,
    Stage,
)
from node.protocol.trust.stages import power

Verdict = Literal["admit", "check", "wait", "refuse"]
"""Admit to the confirmed front; spend a check; wait for others or for tokens; never believe it."""
Standing = Literal["confirmed", "provisional", "heard", "refused"]
"""In the confirmed front; stage 1 passed; no check passed yet; proven false, failed here, or its peer is banned."""


class Pass(msgspec.Struct, frozen=True):
    """An own check of a claim that passed; `complete` if every segment was replayed."""

    stage: Stage
    complete: bool = False


class Attester(msgspec.Struct, frozen=True):
    """A peer that says it ran a stage and the claim held."""

    peer: str
    stage: Stage


class Accuser(msgspec.Struct, frozen=True):
    """A peer that names an item that fails; `gain` is what it added to the claimant's b, in round `round`."""

    peer: str
    stage: Stage
    item: str
    gain: float
    round: int


class ClaimRecord(msgspec.Struct, frozen=True, kw_only=True):
    """What is known here of one claim. `round` is when it was heard.

    `replayable`: its class is exact or mine. `enters`: it would enter my front, else only its id is kept.
    `surprise`: hypervolume it would gain. `duty`: I sit on its committee. `audit`: drawn for an own check.
    `alone`: nobody else is known who could check it, so that there is nobody to wait for.
    `failures`: items (stage, name) that failed here once. `false`: refused for good.
    """

    peer: str
    task: str
    round: int
    replayable: bool = True
    enters: bool = True
    surprise: float = 0.0
    duty: bool = False
    audit: bool = False
    alone: bool = False
    admitted: bool = False
    false: bool = False
    passes: tuple[Pass, ...] = ()
    failures: tuple[tuple[Stage, str], ...] = ()
    attesters: tuple[Attester, ...] = ()
    accusers: tuple[Accuser, ...] = ()

    @property
    def weighed(self) -> bool:
        """Whether its weights passed stage 1 here."""
        return bool(self.passes) and any(passed.stage is Stage.WEIGHTS for passed in self.passes)

    @property
    def checked(self) -> bool:
        """Whether it passed a replay or a retraining here."""
        return bool(self.passes) and any(passed.stage is not Stage.WEIGHTS for passed in self.passes)

    @property
    def full_stage(self) -> Stage:
        """The stage that says how the weights came to be: replay, or a retraining where I cannot replay."""
        return Stage.REPLAY if self.replayable else Stage.RETRAIN

    def powers(self) -> list[float]:
        """The power of each own pass; stage 1 counts once, since it sees the same thing every time."""
        once = {Stage.WEIGHTS} if self.weighed else set()
        full = [power(p.stage, complete=p.complete) for p in self.passes if p.stage is not Stage.WEIGHTS]
        return [power(stage) for stage in once] + full


def log_odds(
    a: float,
    b: float,
    own: Sequence[float] = (),
    attested: Sequence[tuple[float, float]] = (),
    accused: Sequence[float] = (),
) -> float:
    """Log-odds that a claim is false, of a peer with decayed counts `a` and `b` (TRUST.md, Belief).

    ln[(8 b + 1) / (a + 1)] + sum of ln(1 - d) over own passes of power d + sum of ln(1 - t d) over `attested`
    pairs of attester's trust t and power d + 1.5 for each of the `accused` trusts of accusers (3 from 0.8 on).
    Trusts below 0.5 are ignored.
    """
    odds = math.log((8.0 * b + 1.0) / (a + 1.0))
    odds += sum(math.log1p(-d) for d in own)
    odds += sum(math.log1p(-t * d) for t, d in attested if t >= TRUST_FLOOR)
    odds += sum(ACCUSATION_TRUSTED if t >= WELL_TRUSTED else ACCUSATION for t in accused if t >= TRUST_FLOOR)
    return odds
