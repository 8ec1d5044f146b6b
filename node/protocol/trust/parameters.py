"""The numbers of trust, each defined once. Pure.

Those marked (TRUST) are fixed by the design; the others it leaves open, and `tests/protocol/trust_model.py`
is where they were tried.
"""

import math
from enum import StrEnum
from typing import Final

import msgspec

from node.errors import NodeError


class TrustError(NodeError):
    """An event, a setting or a count does not fit the rules of trust."""


class Stage(StrEnum):
    """A kind of check, by the names that attestations carry on the wire; stage 0 is free and never attested."""

    WEIGHTS = "1"
    """Run the claimed weights on secret validation examples and compare predictions; about 0.01 unit."""
    REPLAY = "2a"
    """Replay checkpoint segments bit for bit, in the class of the claim; about 0.15 unit."""
    RETRAIN = "2b"
    """Train anew with a fresh seed, where the class is not mine; one unit. A failure proves nothing."""


DECAY: Final = 0.997  # (TRUST) factor on every count, a round
PASS_GAIN: Final = 0.5  # (TRUST) what an own pass adds to a
ATTESTED_GAIN: Final = 0.15  # (TRUST) times t, what a trusted attestation adds to a
ACCUSED_GAIN: Final = 0.5  # (TRUST) times t, what an accusation adds to b
PROOF_GAIN: Final = (
    5.0  # what a proof adds to b: the trust of a returner's first claims is a fortieth of a newcomer's
)
TRUST_FLOOR: Final = 0.5  # (TRUST) attesters below are ignored
WELL_TRUSTED: Final = 0.8  # accusers from here on weigh 3, not 1.5
ADMIT: Final = math.log(0.005)  # (TRUST) log-odds of falsehood at which a claim is admitted
REVIEW: Final = math.log(0.05)  # log-odds above which an admitted claim is provisional again
ACCUSATION: Final = 1.5  # (TRUST) log-odds an accusation
ACCUSATION_TRUSTED: Final = 3.0  # (TRUST) log-odds an accusation from a well-trusted peer
HELD: Final = 0.5  # an attester whose ok is at least this has had its word held here before
NEWCOMER: Final = 1.0  # a peer whose a is below this is a newcomer
HEARING_ROUNDS: Final = 1  # rounds before admission, so that what other checkers found can arrive
PATIENCE_ROUNDS: Final = 2  # rounds to wait for the attestations of others before checking oneself
COMMITTEE_MIN: Final = 3
COMMITTEE_MAX: Final = 7
SUSPICION: Final = 4.0  # standard errors; 0.5 point at sigma 0.4 gets there in 20 checks
SUSPICION_CHECKS: Final = 5  # fewest residuals that say anything
KEEP_ROUNDS: Final = 50  # rounds for which a claim that was never admitted is remembered
MAX_CLAIMS: Final = 20_000
MAX_PEERS: Final = 10_000
MAX_VOUCHERS: Final = 32  # attesters, and accusers, kept a claim
MAX_BANS: Final = 8  # bans kept a peer, with their evidence
DAY_S: Final = 86_400.0

COST: Final = {Stage.WEIGHTS: 0.01, Stage.REPLAY: 0.15, Stage.RETRAIN: 1.0}
"""Units of a check (TRUST)."""
ITEM_COST: Final = {Stage.WEIGHTS: 0.01, Stage.REPLAY: 0.05, Stage.RETRAIN: 1.0}
"""Units of running again the one item that an accusation names: a segment is one of 20."""


class TrustSettings(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What the owner of a node may set. `check_share` is a fraction of own search compute, `ban_s` seconds."""

    check_share: float = 0.15
    newcomer_share: float = 0.2
    burst_units: float = 10.0
    ban_s: float = 30 * DAY_S

    def __post_init__(self) -> None:
        if not 0.05 <= self.check_share <= 0.25:
            raise TrustError(
                f"check_share must lie in [0.05, 0.25], got {self.check_share!r}. "
                "It is the share of compute that checks may take."
            )
        if not 0.0 <= self.newcomer_share <= 0.2:
            raise TrustError(
                f"newcomer_share must lie in [0, 0.2], got {self.newcomer_share!r}. "
                "More would let a flood of new identities crowd out everyone else's checks."
            )
        if not (self.burst_units >= 5.0 and math.isfinite(self.burst_units)):
            raise TrustError(
                f"burst_units must be at least 5, got {self.burst_units!r}: a fifth of it must pay for one retraining."
            )
        if not (self.ban_s > 0.0 and math.isfinite(self.ban_s)):
            raise TrustError(f"ban_s must be a positive number of seconds, got {self.ban_s!r}. Bans expire.")

    def payable(self, cost: float, *, newcomer: bool) -> bool:
        """Whether a full bucket could pay for a check of `cost` units."""
        return cost <= self.burst_units * (self.newcomer_share if newcomer else 1.0)
