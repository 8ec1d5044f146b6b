"""The events that trust is a fold over; each is recorded before it is applied. Pure.

`at` is the time in seconds at which it was recorded. Membership of committees, openings of commitments and draws
are settled before an event is made, so that replaying the record needs neither network nor generator.
"""

import msgspec

from node.protocol.trust.parameters import Stage


class _Recorded(msgspec.Struct, frozen=True, kw_only=True):
    at: float


class Ticked(_Recorded, frozen=True, kw_only=True, tag="ticked"):
    """A round ended in which own search took `compute` units; nothing else makes time pass for the counts."""

    compute: float


class Heard(_Recorded, frozen=True, kw_only=True, tag="heard"):
    """A claim that passed stage 0. See `ClaimRecord` for the fields; `audit` is drawn at `Ledger.rate`."""

    claim: str
    peer: str
    task: str
    replayable: bool = True
    enters: bool = True
    surprise: float = 0.0
    duty: bool = False
    audit: bool = False
    alone: bool = False


class Started(_Recorded, frozen=True, kw_only=True, tag="started"):
    """A check of `cost` units is about to start; it is paid for now."""

    claim: str
    cost: float
    newcomer: bool


class Checked(_Recorded, frozen=True, kw_only=True, tag="checked"):
    """An own check ended; `item` names what failed. Stage 2b states both accuracies, in points."""

    claim: str
    stage: Stage
    passed: bool
    complete: bool = False
    item: str = ""
    claimed: float | None = None
    mine: float | None = None


class Repeated(_Recorded, frozen=True, kw_only=True, tag="repeated"):
    """One item was run again here: it had failed here once, or somebody accused it."""

    claim: str
    stage: Stage
    item: str
    passed: bool


class Attested(_Recorded, frozen=True, kw_only=True, tag="attested"):
    """Another peer says the claim passed. `member`: of its committee, in my view.

    `worked`: its end hash opens a commitment that it made before the leaf was revealed.
    """

    claim: str
    attester: str
    stage: Stage
    member: bool
    worked: bool


class Accused(_Recorded, frozen=True, kw_only=True, tag="accused"):
    """Another peer names an item of the claim that fails for it."""

    claim: str
    accuser: str
    stage: Stage
    item: str
    member: bool


class Admitted(_Recorded, frozen=True, kw_only=True, tag="admitted"):
    """The claim was put into the confirmed front, on the verdict `admit`."""

    claim: str


class Dropped(_Recorded, frozen=True, kw_only=True, tag="dropped"):
    """The claim expired, or left the front; it may be forgotten."""

    claim: str


class Paired(_Recorded, frozen=True, kw_only=True, tag="paired"):
    """Two own runs of one genome under two seeds, accuracies in points: the task's spread between seeds."""

    task: str
    first: float
    second: float


class Banned(_Recorded, frozen=True, kw_only=True, tag="banned"):
    """A person bans a peer up to `until` (seconds)."""

    peer: str
    until: float
    reason: str


class Unbanned(_Recorded, frozen=True, kw_only=True, tag="unbanned"):
    """A person lifts the ban of a peer."""

    peer: str


Event = (
    Ticked
    | Heard
    | Started
    | Checked
    | Repeated
    | Attested
    | Accused
    | Admitted
    | Dropped
    | Paired
    | Banned
    | Unbanned
)
