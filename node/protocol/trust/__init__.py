"""Whom a node believes, what it checks and what a lie costs. Pure: time and randomness are arguments.

Everything is a fold over events: `Ledger.replay(me, settings, events)` is what a node believes.
"""

from node.protocol.trust.belief import (
    Accuser,
    Attester,
    ClaimRecord,
    Pass,
    Standing,
    Verdict,
    log_odds,
)
from node.protocol.trust.budget import Bucket
from node.protocol.trust.committees import (
    SLACK,
    Beacon,
    NoBeacon,
    NoStamps,
    Stamps,
    commitment,
    committee,
    committee_size,
    opens,
    ranking,
)
from node.protocol.trust.ledger import Ledger
from node.protocol.trust.messages import (
    Accused,
    Admitted,
    Attested,
    Banned,
    Checked,
    Dropped,
    Event,
    Heard,
    Paired,
    Repeated,
    Started,
    Ticked,
    Unbanned,
)
from node.protocol.trust.parameters import COMMITTEE_MAX, COST, Stage, TrustError, TrustSettings
from node.protocol.trust.records import PeerRecord, attester_trust
from node.protocol.trust.residuals import Running, Spread, inflated, suspicion
from node.protocol.trust.sanctions import Ban, Evidence, active_ban
from node.protocol.trust.schedule import Check, check_rate, plan, prize
from node.protocol.trust.stages import detection, flips_allowed, power, segments_to_replay
from node.protocol.trust.state import Beliefs
from node.protocol.trust.tiers import Mate, Matings, choose_mate, exported, two_tiers

__all__ = [
    "COMMITTEE_MAX",
    "COST",
    "SLACK",
    "Accused",
    "Accuser",
    "Admitted",
    "Attested",
    "Attester",
    "Ban",
    "Banned",
    "Beacon",
    "Beliefs",
    "Bucket",
    "Check",
    "Checked",
    "ClaimRecord",
    "Dropped",
    "Event",
    "Evidence",
    "Heard",
    "Ledger",
    "Mate",
    "Matings",
    "NoBeacon",
    "NoStamps",
    "Paired",
    "Pass",
    "PeerRecord",
    "Repeated",
    "Running",
    "Spread",
    "Stage",
    "Stamps",
    "Standing",
    "Started",
    "Ticked",
    "TrustError",
    "TrustSettings",
    "Unbanned",
    "Verdict",
    "active_ban",
    "attester_trust",
    "check_rate",
    "choose_mate",
    "commitment",
    "committee",
    "committee_size",
    "detection",
    "exported",
    "flips_allowed",
    "inflated",
    "log_odds",
    "opens",
    "plan",
    "power",
    "prize",
    "ranking",
    "segments_to_replay",
    "suspicion",
    "two_tiers",
]
