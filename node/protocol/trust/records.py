"""What is known of one peer: decayed counts of passes and failures, and how far its word goes. Pure."""

import msgspec

from node.protocol.trust.parameters import DECAY, NEWCOMER, PASS_GAIN, PROOF_GAIN, TRUST_FLOOR
from node.protocol.trust.residuals import Running


def attester_trust(ok: float, bad: float) -> float:
    """Trust t in (0, 1) in an attester: `ok` of its statements held when I checked, `bad` did not.

    (ok + 2.1) / (ok + 5 bad + 3): an unknown one has 0.7, and after a single bad one 0.26, which is ignored.
    """
    return (ok + 2.1) / (ok + 5.0 * bad + 3.0)


class PeerRecord(msgspec.Struct, frozen=True, kw_only=True):
    """The counts of one peer as they stood at `round`; a new identity starts with all of them zero.

    `a`, `b`: its claims that passed and failed. `ok`, `bad`: its attestations and accusations that held and
    did not. `residuals`: claimed - mine in points, by task. `suspect`: quarantined.
    """

    a: float = 0.0
    b: float = 0.0
    ok: float = 0.0
    bad: float = 0.0
    round: int = 0
    suspect: bool = False
    residuals: dict[str, Running] = {}

    def at(self, round: int) -> "PeerRecord":  # noqa: A002
        """The record at a later round: every count times 0.997 a round; the same record for an earlier one."""
        if round <= self.round:
            return self
        factor = DECAY ** (round - self.round)
        return msgspec.structs.replace(
            self,
            a=self.a * factor,
            b=self.b * factor,
            ok=self.ok * factor,
            bad=self.bad * factor,
            round=round,
        )

    @property
    def trust(self) -> float:
        """Trust t in this peer's attestations and accusations."""
        return attester_trust(self.ok, self.bad)

    @property
    def heeded(self) -> bool:
        """Whether its attestations and accusations count at all."""
        return self.trust >= TRUST_FLOOR

    @property
    def newcomer(self) -> bool:
        """Whether its claims are paid for from the newcomers' share."""
        return self.a < NEWCOMER

    def passed(self) -> "PeerRecord":
        """After an own check of stage 2a or 2b that passed."""
        return msgspec.structs.replace(self, a=self.a + PASS_GAIN)

    def vouched(self, gain: float) -> "PeerRecord":
        """After another's word on a claim of this peer: adds `gain` to a."""
        return msgspec.structs.replace(self, a=self.a + gain)

    def blamed(self, gain: float) -> "PeerRecord":
        """After an accusation: adds `gain` to b; a negative gain takes one back, never below zero."""
        return msgspec.structs.replace(self, b=max(0.0, self.b + gain))

    def proven_false(self) -> "PeerRecord":
        """After a proof: what it had earned is gone."""
        return msgspec.structs.replace(self, a=0.0, b=self.b + PROOF_GAIN)

    def held(self) -> "PeerRecord":
        """After a statement of this peer about another's claim that my own check bore out."""
        return msgspec.structs.replace(self, ok=self.ok + 1.0)

    def misled(self) -> "PeerRecord":
        """After a statement of this peer about another's claim that my own check refuted."""
        return msgspec.structs.replace(self, bad=self.bad + 1.0)
