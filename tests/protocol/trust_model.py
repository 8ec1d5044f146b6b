"""An abstract mesh around the real trust code: `python -m tests.protocol.trust_model --liars 0.3 --seed 0`.

Prints one JSON object. What is real: every belief, budget, committee, check order and sanction of every honest
peer is a `Ledger`. What is abstract: a round is `units` trainings a peer, after which it claims one genome; a claim
has one of `slots` costs, a true accuracy and, if it is a lie, a higher claimed one; a check sees a lie with the
power of its stage; messages arrive in the next round. Lies: inflation of 1 to 20 points; 3 in 10 show in the weights
(stage 1), the others only in a replay. Liars all collude: they vouch for each other's lies with valid end hashes (the
claimant tells them), vouch for honest claims after doing no work, accuse honest claims, sleep (half of them) before the
first lie, and come back under new identities once most honest peers ban them.
"""

import argparse
import json
import random
import statistics
import sys
from collections import defaultdict
from dataclasses import dataclass, field

from node.protocol.trust import (
    SLACK,
    Accused,
    Admitted,
    Attested,
    Check,
    Checked,
    Dropped,
    Heard,
    Ledger,
    Repeated,
    Stage,
    Started,
    Ticked,
    TrustSettings,
    plan,
    ranking,
)
from node.protocol.trust.parameters import COMMITTEE_MAX, NEWCOMER

ROUND_S = 600.0


@dataclass(frozen=True)
class Setup:
    """One simulated mesh. `units` of training a peer and round; `fault`: a check errs on an honest claim.

    `pace`: points by which the search improves, a round, so that fronts keep moving.
    """

    peers: int = 100
    rounds: int = 200
    liars: float = 0.3
    seed: int = 0
    units: float = 10.0
    slots: int = 12
    lie_rate: float = 0.5
    sleepers: float = 0.5
    accuse_rate: float = 0.2
    fault: float = 1e-3
    pace: float = 0.15
    reentry: bool = True


@dataclass
class Peer:
    name: str
    honest: bool
    wakes: int = 0
    first_lie: int | None = None
    slept: bool = False
    banned_by: dict[str, int] = field(default_factory=dict)
    gone: bool = False


@dataclass(frozen=True)
class Claim:
    name: str
    peer: str
    slot: int
    claimed: float
    true: float
    shows: bool
    round: int
    order: tuple[str, ...]

    @property
    def lie(self) -> bool:
        return self.claimed > self.true


@dataclass
class Node:
    """An honest peer: its ledger, and the best confirmed claim (or own accuracy) a slot."""

    name: str
    ledger: Ledger
    best: dict[int, float] = field(default_factory=dict)
    front: dict[int, str] = field(default_factory=dict)
    spent: float = 0.0


class Mesh:
    """The whole mesh; `run` gives the measures."""

    def __init__(self, setup: Setup, *, trace: bool = False) -> None:
        self.setup = setup
        self.rng = random.Random(f"trust-model-{setup.seed}-{setup.liars}")
        self.peers: dict[str, Peer] = {}
        self.nodes: dict[str, Node] = {}
        self.claims: dict[str, Claim] = {}
        self.mail: list[tuple[str, Attested | Accused]] = []
        self.delays: list[int] = []
        self.false_shares: list[float] = []
        self.false_claims = self.confirmed_claims = self.offers = 0
        self.checks_by_round: list[float] = []
        self.wrong_bans: set[tuple[str, str]] = set()
        self.trace: list[object] | None = [] if trace else None
        self.counter = 0
        n_liars = round(setup.peers * setup.liars)
        for number in range(setup.peers):
            self._join(honest=number >= n_liars, round_=0)

    def _join(self, *, honest: bool, round_: int) -> None:
        self.counter += 1
        name = f"{'h' if honest else 'l'}{self.counter}-{self.setup.seed}"
        peer = Peer(name=name, honest=honest)
        if not honest and self.rng.random() < self.setup.sleepers:
            peer.wakes, peer.slept = round_ + self.rng.randint(20, 80), True
        self.peers[name] = peer
        if honest:
            self.nodes[name] = Node(name=name, ledger=Ledger(settings=TrustSettings()))

    # One round

    def run(self) -> dict[str, object]:
        for round_ in range(self.setup.rounds):
            now = round_ * ROUND_S
            fresh = self._claims(round_)
            mail, self.mail = self.mail, self._liars_mail(fresh, now)
            before = sum(node.spent for node in self.nodes.values())
            for node in self.nodes.values():
                self._step(node, fresh, mail, round_, now)
            spent = sum(node.spent for node in self.nodes.values()) - before
            self.checks_by_round.append(spent / (len(self.nodes) * self.setup.units))
            self._measure()
            if self.setup.reentry:
                self._reenter(round_)
        return self._report()

    def _claims(self, round_: int) -> list[Claim]:
        fresh = []
        names = [peer.name for peer in self.peers.values() if not peer.gone]
        for peer in [peer for peer in self.peers.values() if not peer.gone]:
            slot = self.rng.randrange(self.setup.slots)
            level = 45.0 + self.setup.pace * round_ + 15.0 * slot / self.setup.slots
            true = level + self.rng.gauss(0.0, 1.5)
            lies = not peer.honest and round_ >= peer.wakes and self.rng.random() < self.setup.lie_rate
            claimed = true + (self.rng.uniform(1.0, 20.0) if lies else 0.0)
            if lies and peer.first_lie is None:
                peer.first_lie = round_
            name = f"c{round_}-{peer.name}"
            order = tuple(other for other in ranking(name, names) if other != peer.name)
            claim = Claim(name, peer.name, slot, claimed, true, self.rng.random() < 0.3, round_, order)
            self.claims[name] = claim
            fresh.append(claim)
            if peer.honest:
                node = self.nodes[peer.name]
                if true > node.best.get(slot, 0.0):
                    node.best[slot] = true
                    self._displace(node, slot, round_ * ROUND_S)
        return fresh

    def _liars_mail(self, fresh: list[Claim], now: float) -> list[tuple[str, Attested | Accused]]:
        mail: list[tuple[str, Attested | Accused]] = []
        liars = [peer for peer in self.peers.values() if not peer.honest and not peer.gone]
        honest = [claim for claim in fresh if self.peers[claim.peer].honest]
        for claim in fresh:
            collude = not self.peers[claim.peer].honest
            seats = set(claim.order[: 3 * COMMITTEE_MAX])
            # Lazy where the claimant is no accomplice: no end hash, so the attestation opens nothing.
            mail += [
                (liar.name, self._attested(claim, liar.name, now, worked=collude))
                for liar in liars
                if liar.name in seats and (collude or self.rng.random() < 0.1)
            ]
        for liar in liars:
            if honest and self.rng.random() < self.setup.accuse_rate:
                claim = self.rng.choice(honest)
                event = Accused(
                    at=now, claim=claim.name, accuser=liar.name, stage=Stage.REPLAY, item="0", member=False
                )
                mail.append((liar.name, event))
        return mail

    def _attested(self, claim: Claim, attester: str, now: float, *, worked: bool) -> Attested:
        return Attested(
            at=now, claim=claim.name, attester=attester, stage=Stage.REPLAY, member=False, worked=worked
        )

    def _step(
        self,
        node: Node,
        fresh: list[Claim],
        mail: list[tuple[str, Attested | Accused]],
        round_: int,
        now: float,
    ) -> None:
        ledger = node.ledger
        ledger.apply(Ticked(at=now, compute=self.setup.units))
        established = {name for name, record in ledger.peers.items() if record.at(ledger.round).a >= NEWCOMER}
        pool = established if len(established) >= 2 * COMMITTEE_MAX else None
        for claim in fresh:
            if claim.peer != node.name:
                self._hear(node, claim, pool, now)
        for sender, event in mail:
            record = ledger.claims.get(event.claim)
            if sender == node.name or record is None:
                continue
            if isinstance(event, Accused) or record.enters:
                self._deliver(node, event, sender, pool, now)
        for check in plan(ledger.bucket, ledger.wanted(now), ledger.settings):
            self._check(node, check, now)
        for name in list(ledger.pending):
            if name in ledger.claims and ledger.verdict(name, now) == "admit":
                self._admit(node, self.claims[name], round_, now)
        self._clean(node, now)

    def _turn(self, node: str, claim: Claim, pool: set[str] | None, k: int) -> bool:
        place = 0
        for name in claim.order:
            if name == node:
                return True
            place += pool is None or name in pool
            if place >= k:
                return False
        return False

    def _hear(self, node: Node, claim: Claim, pool: set[str] | None, now: float) -> None:
        gain = claim.claimed - node.best.get(claim.slot, 0.0)
        enters = gain > 0.0
        k = node.ledger.committee_size(claim.peer, gain) if enters else 0
        audit = enters and self.rng.random() < node.ledger.rate(claim.peer, gain, watchers=max(1, k))
        self.offers += enters and self.peers[claim.peer].honest
        duty = enters and self._turn(node.name, claim, pool, k)
        node.ledger.apply(
            Heard(
                at=now,
                claim=claim.name,
                peer=claim.peer,
                task="t",
                enters=enters,
                surprise=max(0.0, gain),
                duty=duty,
                audit=audit,
            )
        )

    def _deliver(
        self, node: Node, event: Attested | Accused, sender: str, pool: set[str] | None, now: float
    ) -> None:
        claim = self.claims[event.claim]
        k = node.ledger.committee_size(claim.peer, node.ledger.claims[claim.name].surprise) + SLACK
        member = (pool is None or sender in pool) and self._turn(sender, claim, pool, k)
        fields = {name: getattr(event, name) for name in event.__struct_fields__} | {
            "at": now,
            "member": member,
        }
        node.ledger.apply(type(event)(**fields))

    def _check(self, node: Node, check: Check, now: float) -> None:
        ledger, claim = node.ledger, self.claims[check.claim]
        if claim.name not in ledger.claims or ledger.claims[claim.name].false:
            return
        if ledger.ban(claim.peer, now) is not None or not ledger.bucket.affords(
            check.cost, newcomer=check.newcomer
        ):
            return
        ledger.apply(Started(at=now, claim=claim.name, cost=check.cost, newcomer=check.newcomer))
        node.spent += check.cost
        if check.item is not None:
            self._repeat(node, claim, check, check.item, now)
            return
        seen = claim.lie and (
            (claim.shows and self.rng.random() < 0.999)
            if check.stage is Stage.WEIGHTS
            else self.rng.random() < 0.9
        )
        fault = not seen and self.rng.random() < self.setup.fault
        passed = not (seen or fault)
        # An item "lie" fails for everyone; an item "fault" was this machine's own.
        item = "" if passed else "lie" if seen else "fault"
        ledger.apply(Checked(at=now, claim=claim.name, stage=check.stage, passed=passed, item=item))
        if passed and check.stage is not Stage.WEIGHTS:
            self.mail.append((node.name, self._attested(claim, node.name, now, worked=True)))
        elif not passed:
            self._repeat(node, claim, check, item, now)

    def _repeat(self, node: Node, claim: Claim, check: Check, item: str, now: float) -> None:
        ledger = node.ledger
        if check.item is None:
            again = next(
                (c for c in ledger.wanted(now) if c.claim == claim.name and c.item is not None), None
            )
            if again is None or not ledger.bucket.affords(again.cost, newcomer=again.newcomer):
                return
            ledger.apply(Started(at=now, claim=claim.name, cost=again.cost, newcomer=again.newcomer))
            node.spent += again.cost
        passed = item != "lie" and self.rng.random() >= self.setup.fault
        ledger.apply(Repeated(at=now, claim=claim.name, stage=check.stage, item=item, passed=passed))
        if not passed:
            self._banned(node, claim, now)
            event = Accused(
                at=now, claim=claim.name, accuser=node.name, stage=check.stage, item=item, member=False
            )
            self.mail.append((node.name, event))

    def _banned(self, node: Node, claim: Claim, now: float) -> None:
        peer = self.peers[claim.peer]
        if peer.honest:
            self.wrong_bans.add((node.name, peer.name))
        else:
            peer.banned_by.setdefault(node.name, round(now / ROUND_S))

    def _admit(self, node: Node, claim: Claim, round_: int, now: float) -> None:
        if claim.lie and self.trace is not None:
            record = node.ledger.claims[claim.name]
            peer = node.ledger.peer(claim.peer)
            own = [p.stage.value for p in record.passes]
            trusts = [(v.peer[0], round(node.ledger.peer(v.peer).trust, 2)) for v in record.attesters]
            self.trace.append(
                (round_, node.name, claim.name, round(peer.a, 2), round(peer.b, 2), own, trusts)
            )
        node.ledger.apply(Admitted(at=now, claim=claim.name))
        if self.peers[claim.peer].honest:
            self.delays.append(round_ - claim.round)
        # What is ranked is the accuracy that was claimed: a confirmed lie does harm.
        if claim.claimed > node.best.get(claim.slot, 0.0):
            self._displace(node, claim.slot, now)
            node.best[claim.slot] = claim.claimed
            node.front[claim.slot] = claim.name
        else:
            node.ledger.apply(Dropped(at=now, claim=claim.name))

    def _displace(self, node: Node, slot: int, now: float) -> None:
        old = node.front.pop(slot, None)
        if old is not None:
            node.ledger.apply(Dropped(at=now, claim=old))

    def _clean(self, node: Node, now: float) -> None:
        ledger = node.ledger
        for slot, name in list(node.front.items()):
            if ledger.standing(name, now) != "confirmed":
                # Evicted or in doubt: the slot is open again, below what it was thought to be.
                del node.front[slot]
                node.best[slot] = min(node.best[slot], self.claims[name].true - 5.0)
        stale = [
            name
            for name in ledger.pending
            if ledger.claims[name].enters
            and not ledger.claims[name].accusers
            and not ledger.claims[name].admitted
            and self.claims[name].claimed <= node.best.get(self.claims[name].slot, 0.0)
        ]
        for name in stale:
            ledger.apply(Dropped(at=now, claim=name))

    def _reenter(self, round_: int) -> None:
        most = len(self.nodes) / 2
        for peer in list(self.peers.values()):
            if not peer.honest and not peer.gone and len(peer.banned_by) > most:
                peer.gone = True
                self._join(honest=False, round_=round_ + 1)

    # Measures

    def _measure(self) -> None:
        """False share of whole confirmed fronts (own results and confirmed claims), and of the claims alone."""
        nodes = self.nodes.values()
        false = sum(self.claims[name].lie for node in nodes for name in node.front.values())
        total = sum(len(node.best) for node in nodes)
        self.false_shares.append(false / total if total else 0.0)
        self.false_claims += false
        self.confirmed_claims += sum(len(node.front) for node in nodes)

    def _report(self) -> dict[str, object]:
        waits: dict[bool, list[int]] = defaultdict(list)
        firsts: list[int] = []
        unbanned = 0
        for peer in self.peers.values():
            if peer.first_lie is None:
                continue
            if peer.banned_by:
                firsts.append(min(peer.banned_by.values()) - peer.first_lie)
            for name in self.nodes:
                if name in peer.banned_by:
                    waits[peer.slept].append(peer.banned_by[name] - peer.first_lie)
                else:
                    unbanned += 1
                    waits[peer.slept].append(self.setup.rounds)
        honest = len(self.nodes)
        tail = self.false_shares[len(self.false_shares) // 2 :]
        return {
            "setup": {name: getattr(self.setup, name) for name in self.setup.__dataclass_fields__},
            "false_share_mean": round(statistics.mean(self.false_shares), 6),
            "false_share_second_half": round(statistics.mean(tail), 6),
            "false_share_of_claims": round(self.false_claims / max(1, self.confirmed_claims), 6),
            "false_share_max": round(max(self.false_shares), 5),
            "false_share_every_20": [round(x, 5) for x in self.false_shares[::20]],
            "checks_share": round(statistics.mean(self.checks_by_round), 4),
            "checks_share_max": round(max(self.checks_by_round), 4),
            "rounds_to_ban_median": statistics.median(waits[False]) if waits[False] else None,
            "rounds_to_ban_median_sleeper": statistics.median(waits[True]) if waits[True] else None,
            "rounds_to_first_ban_median": statistics.median(firsts) if firsts else None,
            "liar_pairs_never_banned": unbanned / max(1, sum(len(w) for w in waits.values())),
            "liar_identities": sum(not peer.honest for peer in self.peers.values()),
            "wrong_bans_share": round(len(self.wrong_bans) / (honest * (honest - 1)), 6),
            "rounds_to_confirmation_median": statistics.median(self.delays) if self.delays else None,
            "confirmed_foreign_mean": round(
                statistics.mean(len(node.front) for node in self.nodes.values()), 2
            ),
            # Of honest claims that would have entered when heard; the others were outdone before, or never checked.
            "confirmed_share_of_offers": round(len(self.delays) / max(1, self.offers), 4),
            "confirmations": len(self.delays),
        }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    for name, kind in (
        ("peers", int),
        ("rounds", int),
        ("liars", float),
        ("seed", int),
        ("units", float),
        ("fault", float),
    ):
        parser.add_argument(f"--{name}", type=kind, default=getattr(Setup, name))
    setup = Setup(**vars(parser.parse_args()))
    sys.stdout.write(json.dumps(Mesh(setup).run()) + "\n")


if __name__ == "__main__":
    main()
