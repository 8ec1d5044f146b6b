"""What a node believes, and what it would check next: the questions one may ask of the state. Pure."""

import math
from collections.abc import Iterable

import msgspec

from node.protocol.trust.belief import Attester, ClaimRecord, Standing, Verdict, log_odds
from node.protocol.trust.budget import Bucket
from node.protocol.trust.committees import committee_size
from node.protocol.trust.parameters import (
    ADMIT,
    COST,
    HEARING_ROUNDS,
    HELD,
    ITEM_COST,
    PATIENCE_ROUNDS,
    REVIEW,
    Stage,
    TrustError,
    TrustSettings,
)
from node.protocol.trust.records import PeerRecord
from node.protocol.trust.residuals import Spread
from node.protocol.trust.sanctions import Ban, Evidence, active_ban
from node.protocol.trust.schedule import Check, Purpose, check_rate, loss, prize, urgency
from node.protocol.trust.stages import power

__all__ = ["Beliefs"]


class Beliefs(msgspec.Struct, kw_only=True):
    """Peers, claims, bans and the budget of one node, and what follows from them.

    `pending` holds the claims that may still want a check; `usual_surprise` the hypervolume claims usually gain.
    """

    settings: TrustSettings = TrustSettings()
    round: int = 0
    bucket: Bucket = Bucket()
    usual_surprise: float = 0.0
    peers: dict[str, PeerRecord] = {}
    claims: dict[str, ClaimRecord] = {}
    pending: dict[str, bool] = {}
    bans: dict[str, tuple[Ban, ...]] = {}
    spreads: dict[str, Spread] = {}

    # What is believed

    def peer(self, peer: str) -> PeerRecord:
        """The record of a peer with its counts decayed to this round; an unknown one has all zeros."""
        found = self.peers.get(peer)
        return PeerRecord(round=self.round) if found is None else found.at(self.round)

    def log_odds(self, claim: str) -> float:
        """Log-odds that the claim is false. Raises TrustError where it is unknown."""
        record = self._claim(claim)
        return self._odds(record, record.attesters)

    def standing(self, claim: str, now: float) -> Standing:
        """Which tier the claim is in at `now`. Raises TrustError where it is unknown."""
        record = self._claim(claim)
        if record.false or record.failures or self.ban(record.peer, now) is not None:
            return "refused"
        if record.admitted and self.log_odds(claim) <= REVIEW:
            return "confirmed"
        return "provisional" if record.weighed else "heard"

    def verdict(self, claim: str, now: float) -> Verdict:
        """What to do with the claim at `now`. Raises TrustError where it is unknown.

        `admit` needs the odds, stage 1 here, a replay or retraining, and one round in which others may have
        accused it. Where the replay was not mine, only those count whose word has held before: a crowd of new
        identities cannot vouch a claim in. Of a quarantined peer, or where the claim was drawn for an audit,
        that pass has to be mine.
        """
        record = self._claim(claim)
        if record.false or self.ban(record.peer, now) is not None:
            return "refuse"
        if not record.failures and self._believed(record):
            return "admit"
        return "check" if self._next(claim, record) is not None else "wait"

    def _believed(self, record: ClaimRecord) -> bool:
        if not record.weighed or self.round - record.round < HEARING_ROUNDS:
            return False
        if record.checked:
            return self._odds(record, record.attesters) <= ADMIT
        if record.audit or self.peer(record.peer).suspect:
            return False
        proven = [v for v in record.attesters if self.peer(v.peer).ok >= HELD]
        vouched = any(v.stage is not Stage.WEIGHTS and self.peer(v.peer).heeded for v in proven)
        return vouched and self._odds(record, proven) <= ADMIT

    def _odds(self, record: ClaimRecord, attesters: Iterable[Attester]) -> float:
        peer = self.peer(record.peer)
        return log_odds(
            peer.a,
            peer.b,
            record.powers(),
            [(self.peer(v.peer).trust, power(v.stage)) for v in attesters],
            [self.peer(v.peer).trust for v in record.accusers],
        )

    def _claim(self, claim: str) -> ClaimRecord:
        record = self.claims.get(claim)
        if record is None:
            raise TrustError(f"claim {claim!r} is not in the ledger. Record that it was heard first.")
        return record

    # What to do next

    def rate(self, peer: str, surprise: float, watchers: int = 1) -> float:
        """Probability with which a claim of this peer is to be drawn for an own audit; 1 in quarantine."""
        record = self.peer(peer)
        if record.suspect:
            return 1.0
        return check_rate(prize(surprise, self.usual_surprise), loss(record.a), power(Stage.REPLAY), watchers)

    def committee_size(self, peer: str, surprise: float) -> int:
        """How many are to check a claim of this peer, in my view."""
        record = self.peer(peer)
        return committee_size(log_odds(record.a, record.b), prize(surprise, self.usual_surprise))

    def wanted(self, now: float) -> list[Check]:
        """Every check that is worth its cost now; `plan` picks those that the bucket affords."""
        found = []
        for claim in self.pending:
            record = self.claims[claim]
            if self.ban(record.peer, now) is None:
                check = self._next(claim, record)
                if check is not None:
                    found.append(check)
        return found

    def _next(self, claim: str, record: ClaimRecord) -> Check | None:
        """The next check of a claim: the item in dispute, then stage 1, then the full stage where it is my turn.

        Where only its author is known here, nobody waits for what I find and nobody else can flood me: then every
        check is for my own front, and only its urgency counts.
        """
        purpose: Purpose
        if record.false:
            return None
        for stage, item in record.failures:
            return self._check(claim, record, stage, "repeat", item)
        heeded = [v for v in record.accusers if self.peer(v.peer).heeded]
        accuser = next((v for v in heeded if v.stage is not Stage.RETRAIN), None)
        if accuser is not None:
            purpose = "repeat" if record.enters else "distant"
            return self._check(claim, record, accuser.stage, purpose, accuser.item, accuser.peer)
        if not record.enters or record.admitted:
            return None
        duty = record.duty and not record.alone
        if not record.weighed:
            purpose = "duty" if duty else "own" if record.alone else "weights"
            return self._check(claim, record, Stage.WEIGHTS, purpose)
        if duty and not record.checked:
            return self._check(claim, record, record.full_stage, "duty")
        if self._believed(record) or (record.checked and self._odds(record, record.attesters) <= ADMIT):
            return None
        due = record.audit or self.peer(record.peer).suspect or bool(heeded)
        waited = record.alone or self.round - record.round >= PATIENCE_ROUNDS
        if (due and not record.checked) or waited:
            return self._check(claim, record, record.full_stage, "own")
        return None

    def _check(
        self,
        claim: str,
        record: ClaimRecord,
        stage: Stage,
        purpose: Purpose,
        item: str | None = None,
        accuser: str | None = None,
    ) -> Check:
        newcomer = self.peer(record.peer).newcomer or (accuser is not None and self.peer(accuser).newcomer)
        # Where only its author is known there is nobody whom a newcomer could crowd out.
        newcomer = newcomer and not record.alone
        return Check(
            claim=claim,
            stage=stage,
            cost=(COST if item is None else ITEM_COST)[stage],
            purpose=purpose,
            newcomer=newcomer,
            urgency=urgency(record.surprise, self._units_left(record)),
            round=record.round,
            item=item,
        )

    def _units_left(self, record: ClaimRecord) -> float:
        """Units of own checks until a claim is admitted, if it passes them all and nothing else speaks for it."""
        odds = self._odds(record, record.attesters) - ADMIT
        weights = 0.0
        if not record.weighed:
            odds += math.log1p(-power(Stage.WEIGHTS))
            weights = COST[Stage.WEIGHTS]
        # A newcomer's two replays meet the bound exactly: rounding must not make them three.
        passes = math.ceil(odds / -math.log1p(-power(record.full_stage)) - 1e-9)
        return weights + COST[record.full_stage] * max(1, passes)

    # Sanctions

    def ban(self, peer: str, now: float) -> Ban | None:
        """The ban under which a peer stands at `now`; None where it stands under none."""
        bans = self.bans.get(peer)
        return None if bans is None else active_ban(bans, now)

    def evidence(self, peer: str) -> tuple[Evidence, ...]:
        """All evidence on record against a peer, expired bans' too: this is what the accused is sent."""
        return tuple(item for ban in self.bans.get(peer, ()) for item in ban.evidence)

    def quarantined(self, peer: str) -> bool:
        """Whether everything that this peer claims is checked here; never a ban."""
        return self.peer(peer).suspect

    def sigma(self, task: str) -> float:
        """Standard deviation (points) between seeds of a task, as far as my own runs have shown it."""
        return self.spreads.get(task, Spread()).sigma
