"""The ledger: all that a node believes about peers and claims, as a fold over recorded events. Pure."""

import math
from collections.abc import Iterable
from typing import Self, assert_never

import msgspec

from node.protocol.trust import messages as m
from node.protocol.trust.belief import Accuser, Attester, ClaimRecord, Pass
from node.protocol.trust.parameters import (
    ACCUSED_GAIN,
    ATTESTED_GAIN,
    DECAY,
    HELD,
    KEEP_ROUNDS,
    MAX_CLAIMS,
    MAX_PEERS,
    MAX_VOUCHERS,
    REVIEW,
    Stage,
    TrustError,
    TrustSettings,
)
from node.protocol.trust.records import PeerRecord
from node.protocol.trust.residuals import Running, Spread, inflated, suspect
from node.protocol.trust.sanctions import Ban, Evidence, lifted, with_ban
from node.protocol.trust.state import Beliefs

__all__ = ["Ledger"]

_change = msgspec.structs.replace
MAX_TASKS = 16
"""Tasks for which residuals of a peer are kept."""


class Ledger(Beliefs, kw_only=True):
    """What one node believes, changed by `apply` alone.

    Two ledgers that applied the same events are equal, and so is one that was encoded and decoded in between.
    All tables are bounded.
    """

    @classmethod
    def replay(cls, settings: TrustSettings, events: Iterable[m.Event]) -> Self:
        """The ledger that the recorded events lead to."""
        ledger = cls(settings=settings)
        for event in events:
            ledger.apply(event)
        return ledger

    def apply(self, event: m.Event) -> None:
        """Take in one event. Raises TrustError where it does not fit: the ledger then stays as it was."""
        match event:
            case m.Ticked():
                self._tick(event)
            case m.Heard():
                self._hear(event)
            case m.Started():
                self.bucket = self.bucket.spend(event.cost, newcomer=event.newcomer)
            case m.Checked():
                self._checked(event)
            case m.Repeated():
                self._repeated(event)
            case m.Attested():
                self._attested(event)
            case m.Accused():
                self._accused(event)
            case m.Admitted():
                self._admit(event)
            case m.Dropped():
                self.claims.pop(event.claim, None)
                self.pending.pop(event.claim, None)
            case m.Paired():
                spread = self.spreads.get(event.task, Spread())
                self.spreads[event.task] = spread.add(event.first, event.second)
            case m.Banned():
                self._banish(
                    event.peer, Ban(since=event.at, until=event.until, reason=event.reason, manual=True)
                )
            case m.Unbanned():
                self.bans[event.peer] = lifted(self.bans.get(event.peer, ()), event.at)
            case _:
                assert_never(event)

    def _admit(self, event: m.Admitted) -> None:
        verdict = self.verdict(event.claim, event.at)
        if verdict != "admit":
            raise TrustError(
                f"claim {event.claim!r} expects the verdict 'admit', has {verdict!r}. Nothing unchecked is admitted."
            )
        self.claims[event.claim] = _change(self.claims[event.claim], admitted=True)
        self._settle(event.claim)

    def _tick(self, event: m.Ticked) -> None:
        self.bucket = self.bucket.earn(event.compute, self.settings)
        self.round += 1
        old = [
            claim
            for claim, record in self.claims.items()
            if not record.admitted and self.round - record.round > KEEP_ROUNDS
        ]
        for claim in old:
            del self.claims[claim]
            self.pending.pop(claim, None)

    def _hear(self, event: m.Heard) -> None:
        if event.claim in self.claims or self.ban(event.peer, event.at) is not None:
            return
        if len(self.claims) >= MAX_CLAIMS:
            self._forget_claim()
        self.claims[event.claim] = ClaimRecord(
            peer=event.peer,
            task=event.task,
            round=self.round,
            replayable=event.replayable,
            enters=event.enters,
            surprise=event.surprise,
            duty=event.duty,
            audit=event.audit,
            alone=event.alone,
        )
        if event.enters:
            self.pending[event.claim] = True
            if event.surprise > 0.0 and math.isfinite(event.surprise):
                weight = 0.02 if self.usual_surprise > 0.0 else 1.0
                self.usual_surprise += weight * (event.surprise - self.usual_surprise)

    def _forget_claim(self) -> None:
        """Make room for one claim: the oldest of which nothing is wanted, then one that was not admitted, then any.

        What costs its author nothing, a claim that would not enter, must not push out what waits to be checked.
        """
        idle = (c for c, record in self.claims.items() if not record.admitted and c not in self.pending)
        waiting = (c for c, record in self.claims.items() if not record.admitted)
        old = next(idle, None) or next(waiting, None) or next(iter(self.claims))
        del self.claims[old]
        self.pending.pop(old, None)

    def _settle(self, claim: str) -> None:
        """Keep a claim among the pending while it has anything in dispute or undecided."""
        record = self.claims[claim]
        disputed = bool(record.failures or record.accusers)
        if not record.false and (disputed or (record.enters and not record.admitted)):
            self.pending[claim] = True
        else:
            self.pending.pop(claim, None)

    def _store(self, peer: str, record: PeerRecord) -> None:
        if peer not in self.peers and len(self.peers) >= MAX_PEERS:
            # The one with the least to its name goes: what a flood of identities pushes out is the flood.
            least = min(self.peers, key=lambda p: self.peers[p].a + self.peers[p].ok + self.peers[p].b)
            del self.peers[least]
        self.peers[peer] = record

    def _checked(self, event: m.Checked) -> None:
        record = self._claim(event.claim)
        passed = event.passed
        if event.stage is Stage.RETRAIN:
            passed = self._retrained(record, event) and passed
        if not passed:
            self._failed(event, record)
            return
        peer = self.peer(record.peer)
        if event.stage is not Stage.WEIGHTS:
            self._store(record.peer, peer.passed())
            if not record.checked:
                for attester in record.attesters:
                    self._store(attester.peer, self.peer(attester.peer).held())
        self.claims[event.claim] = _change(record, passes=(*record.passes, Pass(event.stage, event.complete)))
        self._settle(event.claim)

    def _failed(self, event: m.Checked, record: ClaimRecord) -> None:
        if event.stage is Stage.RETRAIN:
            # Not a proof: seeds differ. The claim is refused, and the peer has one accusation, mine.
            self._store(record.peer, self.peer(record.peer).blamed(ACCUSED_GAIN))
            self.claims[event.claim] = _change(record, false=True, admitted=False)
        else:
            # My own machine may be the broken one: the item is run once more before it is a proof.
            failures = (*record.failures, (event.stage, event.item))
            self.claims[event.claim] = _change(record, failures=failures)
        self._settle(event.claim)

    def _retrained(self, record: ClaimRecord, event: m.Checked) -> bool:
        """Whether a retraining bears the claim out; its residual counts either way."""
        if event.claimed is None or event.mine is None or not math.isfinite(event.claimed - event.mine):
            raise TrustError(
                "a retraining expects both accuracies in points, finite. Where mine failed, record no check."
            )
        self._residual(record, event.claimed - event.mine)
        return not inflated(event.claimed, event.mine, self.sigma(record.task))

    def _residual(self, record: ClaimRecord, residual: float) -> None:
        peer = self.peer(record.peer)
        if record.task not in peer.residuals and len(peer.residuals) >= MAX_TASKS:
            return
        own = peer.residuals.get(record.task, Running()).add(residual)
        residuals = {**peer.residuals, record.task: own}
        guilty = any(self._suspect(record.peer, task, running) for task, running in residuals.items())
        self._store(record.peer, _change(peer, residuals=residuals, suspect=guilty))

    def _suspect(self, peer: str, task: str, own: Running) -> bool:
        others = [
            other.residuals[task]
            for name, other in self.peers.items()
            if name != peer and task in other.residuals
        ]
        return suspect(own, others, self.sigma(task))

    def _repeated(self, event: m.Repeated) -> None:
        record = self._claim(event.claim)
        item = (event.stage, event.item)
        named = [v for v in record.accusers if (v.stage, v.item) == item]
        if item not in record.failures and not named:
            raise TrustError(
                f"item {event.item!r} of claim {event.claim!r} was not in dispute. Record it as a check."
            )
        if event.passed:
            for accuser in named:
                self._store(accuser.peer, self.peer(accuser.peer).misled())
                self._store(record.peer, self.peer(record.peer).blamed(-self._left(accuser)))
            self.claims[event.claim] = _change(
                record,
                failures=tuple(failed for failed in record.failures if failed != item),
                accusers=tuple(v for v in record.accusers if (v.stage, v.item) != item),
            )
            self._settle(event.claim)
        else:
            self._proven(event, record, named)

    def _left(self, accuser: Accuser) -> float:
        """What is left by now of the accusation in the claimant's b."""
        return float(accuser.gain * DECAY ** (self.round - accuser.round))

    def _proven(self, event: m.Repeated, record: ClaimRecord, named: list[Accuser]) -> None:
        """Two runs failed, one of them mine: evict, ban, and settle with all who spoke about the claim."""
        for accuser in named:
            self._store(accuser.peer, self.peer(accuser.peer).held())
        misled = {
            v.peer for v in record.attesters if event.stage is Stage.WEIGHTS or v.stage is not Stage.WEIGHTS
        }
        for attester in misled:
            self._store(attester, self.peer(attester).misled())
        self._store(record.peer, self.peer(record.peer).proven_false())
        self.claims[event.claim] = _change(record, false=True)
        evidence = Evidence(
            claim=event.claim, stage=event.stage, item=event.item, accuser=named[0].peer if named else None
        )
        reason = f"stage {event.stage.value} of claim {event.claim} failed twice at {event.item}"
        until = event.at + self.settings.ban_s
        self._banish(record.peer, Ban(since=event.at, until=until, reason=reason, evidence=(evidence,)))
        self._review(misled)

    def _banish(self, peer: str, ban: Ban) -> None:
        if peer not in self.bans and len(self.bans) >= MAX_PEERS:
            # Each ban cost checks, so this takes years; the one that ended first is forgotten.
            del self.bans[min(self.bans, key=lambda p: max(old.until for old in self.bans[p]))]
        self.bans[peer] = with_ban(self.bans.get(peer, ()), ban)
        for claim, record in self.claims.items():
            if record.peer == peer:
                if record.admitted:
                    self.claims[claim] = _change(record, admitted=False)
                self._settle(claim)

    def _review(self, misled: set[str]) -> None:
        """Claims that stood on the word of those who misled, and no longer do, have to be admitted anew."""
        for claim, record in self.claims.items():
            if (
                record.admitted
                and not record.checked
                and any(v.peer in misled for v in record.attesters)
                and self.log_odds(claim) > REVIEW
            ):
                self.claims[claim] = _change(record, admitted=False)
                self._settle(claim)

    def _attested(self, event: m.Attested) -> None:
        record = self.claims.get(event.claim)
        if record is None or not record.enters or not event.member or not event.worked:
            return
        if event.attester == record.peer or self.ban(event.attester, event.at) is not None:
            return
        if any(v.peer == event.attester for v in record.attesters) or len(record.attesters) >= MAX_VOUCHERS:
            return
        self.claims[event.claim] = _change(
            record, attesters=(*record.attesters, Attester(event.attester, event.stage))
        )
        if event.stage is Stage.WEIGHTS:
            return
        attester = self.peer(event.attester)
        if record.false:
            self._store(event.attester, attester.misled())
        elif record.checked:
            self._store(event.attester, attester.held())
        if attester.heeded:
            self._store(record.peer, self.peer(record.peer).vouched(ATTESTED_GAIN * attester.trust))

    def _accused(self, event: m.Accused) -> None:
        record = self.claims.get(event.claim)
        accuser = self.peer(event.accuser)
        if record is None or record.false or event.accuser == record.peer or not accuser.heeded:
            return
        # Outside the committee, only those whose word has held before: or new identities could dispute everything.
        if not (event.member or accuser.ok >= HELD) or self.ban(event.accuser, event.at) is not None:
            return
        if any(v.peer == event.accuser for v in record.accusers) or len(record.accusers) >= MAX_VOUCHERS:
            return
        gain = ACCUSED_GAIN * accuser.trust
        added = Accuser(event.accuser, event.stage, event.item, gain, self.round)
        self._store(record.peer, self.peer(record.peer).blamed(gain))
        self.claims[event.claim] = _change(record, accusers=(*record.accusers, added))
        self._settle(event.claim)
