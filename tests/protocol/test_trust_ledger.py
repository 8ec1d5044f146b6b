"""The fold: verdicts, standings, proofs, quarantine, bans; and each attack on them."""

import random

import msgspec
import pytest

from node.protocol.trust import (
    Accused,
    Admitted,
    Attested,
    Banned,
    Checked,
    Dropped,
    Event,
    Heard,
    Ledger,
    Paired,
    Repeated,
    Stage,
    Started,
    Ticked,
    TrustError,
    TrustSettings,
    Unbanned,
)
from node.protocol.trust import parameters as p

DAY = 86_400.0


def heard(claim: str = "c", peer: str = "bob", **fields: object) -> Heard:
    return msgspec.convert({"at": 0.0, "claim": claim, "peer": peer, "task": "t", **fields}, Heard)


def tick(ledger: Ledger, rounds: int = 1) -> None:
    for _ in range(rounds):
        ledger.apply(Ticked(at=0.0, compute=10.0))


def check(ledger: Ledger, stage: Stage, *, claim: str = "c", passed: bool = True, item: str = "") -> None:
    same = 90.0 if stage is Stage.RETRAIN else None
    event = Checked(at=0.0, claim=claim, stage=stage, passed=passed, item=item, claimed=same, mine=same)
    ledger.apply(event)


def attest(
    ledger: Ledger, attester: str, *, claim: str = "c", member: bool = True, worked: bool = True
) -> None:
    event = Attested(at=0.0, claim=claim, attester=attester, stage=Stage.REPLAY, member=member, worked=worked)
    ledger.apply(event)


def accuse(ledger: Ledger, accuser: str, *, claim: str = "c", member: bool = True, item: str = "7") -> None:
    event = Accused(at=0.0, claim=claim, accuser=accuser, stage=Stage.REPLAY, item=item, member=member)
    ledger.apply(event)


def repeat(ledger: Ledger, *, passed: bool, claim: str = "c", item: str = "7", at: float = 0.0) -> None:
    ledger.apply(Repeated(at=at, claim=claim, stage=Stage.REPLAY, item=item, passed=passed))


def proven_attesters(ledger: Ledger, names: list[str], *, times: int = 1) -> None:
    """Let the word of these peers hold: they attest claims of others that I replay myself."""
    for name in names:
        for n in range(times):
            claim = f"proof-{name}-{n}"
            ledger.apply(heard(claim, f"other-{name}-{n}"))
            attest(ledger, name, claim=claim)
            check(ledger, Stage.REPLAY, claim=claim)
            ledger.apply(Dropped(at=0.0, claim=claim))


def confirmed() -> Ledger:
    ledger = Ledger()
    tick(ledger)
    ledger.apply(heard())
    tick(ledger)
    check(ledger, Stage.WEIGHTS)
    for _ in range(3):
        check(ledger, Stage.REPLAY)
    ledger.apply(Admitted(at=0.0, claim="c"))
    return ledger


# Admission


def test_a_newcomers_claim_is_admitted_after_its_passes_and_not_before() -> None:
    ledger = Ledger()
    ledger.apply(heard())
    assert ledger.standing("c", 0.0) == "heard"
    assert ledger.verdict("c", 0.0) == "check"
    check(ledger, Stage.WEIGHTS)
    assert ledger.standing("c", 0.0) == "provisional"
    assert ledger.verdict("c", 0.0) == "wait"
    tick(ledger, 2)
    verdicts = []
    for _ in range(3):
        verdicts.append(ledger.verdict("c", 0.0))
        check(ledger, Stage.REPLAY)
    assert verdicts == ["check", "check", "admit"], "each own pass also speaks for the peer"
    assert ledger.verdict("c", 0.0) == "admit"
    ledger.apply(Admitted(at=0.0, claim="c"))
    assert ledger.standing("c", 0.0) == "confirmed"


def test_nothing_unchecked_is_admitted() -> None:
    ledger = Ledger()
    for n in range(600):  # A veteran of veterans.
        ledger.apply(heard(f"old{n}"))
        check(ledger, Stage.REPLAY, claim=f"old{n}")
        ledger.apply(Dropped(at=0.0, claim=f"old{n}"))
    ledger.apply(heard())
    tick(ledger)
    assert ledger.log_odds("c") < p.ADMIT
    assert ledger.verdict("c", 0.0) != "admit"
    check(ledger, Stage.WEIGHTS)
    assert ledger.verdict("c", 0.0) != "admit"
    with pytest.raises(TrustError, match="unchecked"):
        ledger.apply(Admitted(at=0.0, claim="c"))
    proven_attesters(ledger, ["ann"])
    attest(ledger, "ann")
    assert ledger.verdict("c", 0.0) == "admit"


def test_stage_1_counts_once_however_often_it_is_run() -> None:
    ledger = Ledger()
    ledger.apply(heard())
    check(ledger, Stage.WEIGHTS)
    odds = ledger.log_odds("c")
    for _ in range(20):
        check(ledger, Stage.WEIGHTS)
    assert ledger.log_odds("c") == odds
    assert ledger.peer("bob").a == 0.0


def test_nothing_is_admitted_whose_weights_nobody_here_has_run() -> None:
    ledger = Ledger()
    ledger.apply(heard())
    tick(ledger)
    for _ in range(6):
        check(ledger, Stage.REPLAY)
    assert ledger.log_odds("c") < p.ADMIT
    assert ledger.verdict("c", 0.0) == "check"
    check(ledger, Stage.WEIGHTS)
    assert ledger.verdict("c", 0.0) == "admit"


def test_a_word_holds_once_however_often_i_replay() -> None:
    ledger = Ledger()
    ledger.apply(heard())
    attest(ledger, "ann")
    for _ in range(5):
        check(ledger, Stage.REPLAY)
    assert ledger.peer("ann").ok == 1.0


def test_others_get_a_round_to_accuse() -> None:
    ledger = Ledger()
    ledger.apply(heard())
    check(ledger, Stage.WEIGHTS)
    for _ in range(4):
        check(ledger, Stage.REPLAY)
    assert ledger.verdict("c", 0.0) == "wait"
    tick(ledger)
    assert ledger.verdict("c", 0.0) == "admit"


def test_five_attesters_whose_word_has_held_confirm_a_newcomer() -> None:
    ledger = Ledger()
    names = [f"v{n}" for n in range(5)]
    proven_attesters(ledger, names)
    ledger.apply(heard())
    check(ledger, Stage.WEIGHTS)
    tick(ledger)
    admitted = []
    for name in names:
        attest(ledger, name)
        admitted.append(ledger.verdict("c", 0.0) == "admit")
    assert admitted.index(True) + 1 in (4, 5)


def test_a_crowd_of_new_identities_cannot_vouch_a_claim_in() -> None:
    ledger = Ledger()
    ledger.apply(heard())
    check(ledger, Stage.WEIGHTS)
    for n in range(30):
        attest(ledger, f"sybil{n}")
    tick(ledger)
    assert ledger.log_odds("c") < p.ADMIT
    assert ledger.verdict("c", 0.0) != "admit"


@pytest.mark.parametrize("fault", ["member", "worked", "self", "twice", "banned"])
def test_attestations_that_do_not_count(fault: str) -> None:
    ledger = Ledger()
    ledger.apply(heard())
    if fault == "banned":
        ledger.apply(Banned(at=0.0, peer="ann", until=DAY, reason="test"))
    if fault == "twice":
        attest(ledger, "ann")
    before = msgspec.msgpack.encode(ledger)
    attester = "bob" if fault == "self" else "ann"
    attest(ledger, attester, member=fault != "member", worked=fault != "worked")
    assert msgspec.msgpack.encode(ledger) == before


def test_gains_of_the_claimant() -> None:
    ledger = Ledger()
    ledger.apply(heard())
    attest(ledger, "ann")
    assert ledger.peer("bob").a == pytest.approx(0.15 * 0.7)
    check(ledger, Stage.REPLAY)
    assert ledger.peer("bob").a == pytest.approx(0.15 * 0.7 + 0.5)
    assert ledger.peer("ann").ok == 1.0
    attest(ledger, "late")
    assert ledger.peer("late").ok == 1.0
    tick(ledger, 10)
    assert ledger.peer("ann").ok == pytest.approx(0.997**10)


# Accusations and proofs


def test_an_accusation_reopens_a_confirmed_claim_and_is_run_again() -> None:
    ledger = confirmed()
    assert ledger.wanted(0.0) == []
    proven_attesters(ledger, ["ann"], times=30)
    odds = ledger.log_odds("c")
    b = ledger.peer("bob").b
    accuse(ledger, "ann")
    t = ledger.peer("ann").trust
    assert t >= 0.8
    assert ledger.peer("bob").b == pytest.approx(b + 0.5 * t)
    assert ledger.log_odds("c") > odds + 3.0
    [wanted] = ledger.wanted(0.0)
    assert (wanted.purpose, wanted.item, wanted.stage, wanted.cost) == ("repeat", "7", Stage.REPLAY, 0.05)


def test_bad_mouthing_costs_the_accuser_and_leaves_the_accused_as_it_was() -> None:
    ledger = confirmed()
    before = ledger.peer("bob")
    accuse(ledger, "mal")
    tick(ledger, 3)
    repeat(ledger, passed=True)
    assert ledger.peer("bob").b == pytest.approx(before.b, abs=1e-12)
    assert ledger.standing("c", 0.0) == "confirmed"
    assert not ledger.peer("mal").heeded
    frozen = msgspec.msgpack.encode(ledger)
    accuse(ledger, "mal", item="8")
    assert msgspec.msgpack.encode(ledger) == frozen


def test_accusations_of_unknown_strangers_change_nothing() -> None:
    ledger = confirmed()
    before = msgspec.msgpack.encode(ledger)
    for n in range(100):
        accuse(ledger, f"sybil{n}", member=False)
    accuse(ledger, "ann", claim="unknown")
    accuse(ledger, "bob")
    assert msgspec.msgpack.encode(ledger) == before


def test_an_accusation_that_holds_is_a_proof() -> None:
    ledger = confirmed()
    accuse(ledger, "ann")
    repeat(ledger, passed=False, at=5.0)
    assert ledger.standing("c", 5.0) == ledger.standing("c", 40 * DAY) == "refused"
    assert ledger.verdict("c", 5.0) == "refuse"
    assert ledger.peer("ann").ok == 1.0
    assert ledger.peer("bob").a == 0.0
    ban = ledger.ban("bob", 6.0)
    assert ban is not None
    assert (ban.since, ban.until) == (5.0, 5.0 + 30 * DAY)
    assert [(e.claim, e.item, e.accuser) for e in ledger.evidence("bob")] == [("c", "7", "ann")]


def test_my_own_failure_needs_a_second_run_before_it_is_a_proof() -> None:
    ledger = Ledger()
    ledger.apply(heard())
    check(ledger, Stage.WEIGHTS)
    check(ledger, Stage.REPLAY, passed=False, item="7")
    assert ledger.standing("c", 0.0) == "refused"
    assert ledger.ban("bob", 0.0) is None
    [wanted] = ledger.wanted(0.0)
    assert (wanted.purpose, wanted.item) == ("repeat", "7")
    saved = msgspec.msgpack.encode(ledger)
    repeat(ledger, passed=True)
    assert ledger.standing("c", 0.0) == "provisional"
    assert ledger.ban("bob", 0.0) is None
    ledger = msgspec.msgpack.decode(saved, type=Ledger)
    repeat(ledger, passed=False)
    assert ledger.ban("bob", 0.0) is not None


def test_a_proof_evicts_all_claims_of_the_peer_and_counts_against_who_vouched() -> None:
    ledger = confirmed()
    ledger.apply(heard("d"))
    proven_attesters(ledger, ["ann"])
    attest(ledger, "ann", claim="d")
    accuse(ledger, "eve", claim="d")
    repeat(ledger, claim="d", passed=False)
    assert ledger.standing("c", 0.0) == "refused"
    assert not ledger.claims["c"].admitted
    assert ledger.peer("ann").bad == 1.0
    assert not ledger.peer("ann").heeded


def test_claims_that_stood_on_the_word_of_a_colluder_fall_with_it() -> None:
    ledger = Ledger()
    names = [f"v{n}" for n in range(5)]
    proven_attesters(ledger, names)
    for claim, peer in (("c", "bob"), ("lie", "mal")):
        ledger.apply(heard(claim, peer))
        check(ledger, Stage.WEIGHTS, claim=claim)
        for name in names:
            attest(ledger, name, claim=claim)
    tick(ledger)
    ledger.apply(Admitted(at=0.0, claim="c"))
    accuse(ledger, "eve", claim="lie")
    repeat(ledger, claim="lie", passed=False)
    assert all(not ledger.peer(name).heeded for name in names)
    assert not ledger.claims["c"].admitted
    assert ledger.standing("c", 0.0) == "provisional"
    assert ledger.verdict("c", 0.0) != "admit"
    assert "c" in ledger.pending


def test_a_repetition_of_what_nobody_disputes_is_refused() -> None:
    ledger = confirmed()
    before = msgspec.msgpack.encode(ledger)
    with pytest.raises(TrustError, match="dispute"):
        repeat(ledger, passed=False)
    assert msgspec.msgpack.encode(ledger) == before


# Bans


def test_bans_expire_and_leave_the_evidence() -> None:
    ledger = confirmed()
    accuse(ledger, "ann")
    repeat(ledger, passed=False)
    ledger.apply(Heard(at=DAY, claim="e", peer="bob", task="t"))
    assert "e" not in ledger.claims
    assert ledger.ban("bob", 30 * DAY - 1) is not None
    assert ledger.ban("bob", 30 * DAY) is None
    assert ledger.evidence("bob")
    ledger.apply(Heard(at=31 * DAY, claim="e", peer="bob", task="t"))
    assert ledger.log_odds("e") > 3.0, "a returner starts below a newcomer"
    ledger.apply(Heard(at=31 * DAY, claim="n", peer="new", task="t"))
    assert ledger.log_odds("n") == 0.0, "a new identity starts at zero"


def test_the_history_of_bans_is_bounded() -> None:
    ledger = Ledger()
    for n in range(20):
        ledger.apply(Banned(at=float(n), peer="bob", until=n + 2.0, reason=f"{n}"))
    assert [ban.reason for ban in ledger.bans["bob"]] == [f"{n}" for n in range(12, 20)]


def test_manual_ban_and_unban() -> None:
    ledger = confirmed()
    ledger.apply(Banned(at=1.0, peer="bob", until=DAY, reason="rude"))
    ban = ledger.ban("bob", 2.0)
    assert ban is not None
    assert ban.manual
    assert ledger.standing("c", 2.0) == "refused"
    ledger.apply(Unbanned(at=3.0, peer="bob"))
    assert ledger.ban("bob", 3.0) is None
    assert ledger.verdict("c", 3.0) == "admit"
    with pytest.raises(TrustError, match="expire"):
        ledger.apply(Banned(at=1.0, peer="bob", until=float("inf"), reason="rude"))


# Stage 2b and quarantine


def retrain(ledger: Ledger, claim: str, claimed: float, mine: float) -> None:
    event = Checked(at=0.0, claim=claim, stage=Stage.RETRAIN, passed=True, claimed=claimed, mine=mine)
    ledger.apply(event)


def test_a_failed_retraining_refuses_but_never_bans() -> None:
    ledger = Ledger()
    ledger.apply(heard(replayable=False))
    retrain(ledger, "c", 95.0, 90.0)
    assert ledger.standing("c", 0.0) == "refused"
    assert ledger.ban("bob", 0.0) is None
    assert ledger.peer("bob").b == 0.5


def test_the_limit_follows_the_spread_of_my_own_runs() -> None:
    ledger = Ledger()
    rng = random.Random(0)
    for _ in range(200):
        ledger.apply(Paired(at=0.0, task="t", first=rng.gauss(90, 2), second=rng.gauss(90, 2)))
    ledger.apply(heard(replayable=False))
    retrain(ledger, "c", 95.0, 90.0)
    assert ledger.standing("c", 0.0) != "refused"


def test_small_steady_inflation_ends_in_quarantine_not_in_a_ban() -> None:
    ledger = Ledger()
    rng = random.Random(1)
    first = None
    for n in range(80):
        for peer in ("mal", *[f"h{k}" for k in range(8)]):
            claim = f"{peer}-{n}"
            ledger.apply(heard(claim, peer, replayable=False))
            lie = 0.5 if peer == "mal" else 0.0
            retrain(ledger, claim, 90.0 + lie + rng.gauss(0, 0.4), 90.0 + rng.gauss(0, 0.4))
            ledger.apply(Dropped(at=0.0, claim=claim))
        if first is None and ledger.quarantined("mal"):
            first = n + 1
    assert first is not None
    assert 5 <= first <= 50
    assert not any(ledger.quarantined(f"h{k}") for k in range(8))
    assert ledger.ban("mal", 0.0) is None
    assert ledger.rate("mal", 0.0) == 1.0
    # Everything is checked: nobody's word stands in for mine.
    proven_attesters(ledger, [f"v{n}" for n in range(6)])
    ledger.apply(heard("next", "mal"))
    check(ledger, Stage.WEIGHTS, claim="next")
    for n in range(6):
        attest(ledger, f"v{n}", claim="next")
    tick(ledger)
    assert ledger.log_odds("next") < p.ADMIT
    assert ledger.verdict("next", 0.0) == "check"


@pytest.mark.parametrize("bad", [None, float("nan"), float("inf")])
def test_a_retraining_without_numbers_changes_nothing(bad: float | None) -> None:
    ledger = Ledger()
    ledger.apply(heard())
    before = msgspec.msgpack.encode(ledger)
    with pytest.raises(TrustError):
        ledger.apply(Checked(at=0.0, claim="c", stage=Stage.RETRAIN, passed=True, claimed=90.0, mine=bad))
    assert msgspec.msgpack.encode(ledger) == before


# Whose turn it is


def test_turns() -> None:
    ledger = Ledger()
    ledger.apply(heard("duty", duty=True))
    ledger.apply(heard("audit", audit=True))
    ledger.apply(heard("plain"))
    ledger.apply(heard("other-class", replayable=False, duty=True))
    ledger.apply(heard("useless", enters=False))
    for claim in ("duty", "audit", "plain", "other-class"):
        check(ledger, Stage.WEIGHTS, claim=claim)
    stages = {w.claim: (w.stage, w.purpose, w.cost) for w in ledger.wanted(0.0)}
    assert stages == {
        "duty": (Stage.REPLAY, "duty", 0.15),
        "audit": (Stage.REPLAY, "own", 0.15),
        "other-class": (Stage.RETRAIN, "duty", 1.0),
    }
    tick(ledger, p.PATIENCE_ROUNDS)
    assert "plain" in {w.claim for w in ledger.wanted(0.0)}
    assert "useless" not in {w.claim for w in ledger.wanted(0.0)}


def test_alone_with_a_claimant_the_claim_nearest_to_belief_comes_first() -> None:
    ledger = Ledger()
    ledger.apply(heard("dear", replayable=False, alone=True, duty=True, surprise=0.4))
    ledger.apply(heard("begun", alone=True, surprise=0.1))
    ledger.apply(heard("fresh", alone=True, surprise=0.1))
    for claim in ("dear", "begun"):
        check(ledger, Stage.WEIGHTS, claim=claim)
    check(ledger, Stage.REPLAY, claim="begun")
    wanted = sorted(ledger.wanted(0.0), key=lambda found: -found.urgency)
    assert [(w.claim, w.purpose) for w in wanted] == [("begun", "own"), ("fresh", "own"), ("dear", "own")]
    # One more replay; stage 1 and two replays; four retrainings.
    assert [w.urgency for w in wanted] == pytest.approx([0.1 / 0.15, 0.1 / 0.31, 0.4 / 4.0])


def test_a_drawn_audit_wants_my_own_replay() -> None:
    ledger = Ledger()
    proven_attesters(ledger, [f"v{n}" for n in range(6)])
    ledger.apply(heard(audit=True))
    check(ledger, Stage.WEIGHTS)
    for n in range(6):
        attest(ledger, f"v{n}")
    tick(ledger)
    assert ledger.verdict("c", 0.0) == "check"
    check(ledger, Stage.REPLAY)
    assert ledger.verdict("c", 0.0) == "admit"


def test_rate_rises_with_surprise_and_falls_with_standing() -> None:
    ledger = Ledger()
    ledger.apply(heard("x", "someone", surprise=1.0))
    assert ledger.rate("new", 10.0) > ledger.rate("new", 1.0) > 0.0
    for n in range(40):
        ledger.apply(heard(f"old{n}", "vet"))
        check(ledger, Stage.REPLAY, claim=f"old{n}")
    assert ledger.rate("vet", 1.0) < ledger.rate("new", 1.0)
    assert ledger.committee_size("vet", 1.0) < ledger.committee_size("new", 1.0)


# The fold itself


def random_events(rng: random.Random, n: int) -> list[Event]:
    """Events that fit: each is applied to a scratch ledger, and those that it refuses are left out."""
    scratch, events = Ledger(), list[Event]()
    claims, peers = [f"c{k}" for k in range(12)], [f"p{k}" for k in range(6)]
    for k in range(n):
        at, claim, peer = float(k), rng.choice(claims), rng.choice(peers)
        stage, passed = rng.choice(list(Stage)), rng.random() < 0.8
        event: Event = rng.choice(
            [
                Ticked(at=at, compute=rng.random() * 20),
                Heard(at=at, claim=claim, peer=peer, task="t", surprise=rng.random(), duty=passed),
                Checked(at=at, claim=claim, stage=stage, passed=passed, item="i", claimed=90.0, mine=89.5),
                Repeated(at=at, claim=claim, stage=stage, item="i", passed=passed),
                Attested(at=at, claim=claim, attester=peer, stage=stage, member=True, worked=passed),
                Accused(at=at, claim=claim, accuser=peer, stage=stage, item="i", member=True),
                Admitted(at=at, claim=claim),
                Started(at=at, claim=claim, cost=0.15, newcomer=passed),
                Paired(at=at, task="t", first=90.0, second=90.0 + rng.random()),
                Dropped(at=at, claim=claim) if rng.random() < 0.2 else Ticked(at=at, compute=1.0),
                Unbanned(at=at, peer=peer),
            ]
        )
        try:
            scratch.apply(event)
        except TrustError:
            continue
        events.append(event)
    return events


@pytest.mark.parametrize("seed", range(8))
def test_replay_from_a_store_gives_the_same_ledger(seed: int) -> None:
    events = random_events(random.Random(seed), 600)
    assert len(events) > 200
    stored = [msgspec.msgpack.encode(event) for event in events]
    whole = Ledger.replay(TrustSettings(), (msgspec.msgpack.decode(raw, type=Event) for raw in stored))
    part = Ledger.replay(TrustSettings(), events[:200])
    resumed = msgspec.msgpack.decode(msgspec.msgpack.encode(part), type=Ledger)
    for event in events[200:]:
        resumed.apply(event)
    assert resumed == whole
    assert set(whole.pending) <= set(whole.claims)
    assert whole.bucket.tokens >= 0.0


@pytest.mark.parametrize("seed", range(8))
def test_what_a_ledger_refuses_leaves_it_as_it_was(seed: int) -> None:
    rng = random.Random(seed)
    ledger = Ledger()
    for event in random_events(rng, 200):
        before = msgspec.msgpack.encode(ledger)
        with pytest.raises(TrustError):
            ledger.apply(Started(at=0.0, claim="c", cost=1e9, newcomer=False))
        with pytest.raises(TrustError):
            ledger.apply(Admitted(at=0.0, claim="never-heard"))
        assert msgspec.msgpack.encode(ledger) == before
        ledger.apply(event)


def test_tables_are_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    from node.protocol.trust import ledger as module

    monkeypatch.setattr(module, "MAX_CLAIMS", 20)
    monkeypatch.setattr(module, "MAX_PEERS", 10)
    ledger = confirmed()
    for _ in range(5):
        check(ledger, Stage.REPLAY)
    for n in range(200):
        ledger.apply(heard(f"flood{n}", f"sybil{n}"))
        attest(ledger, f"voucher{n}", claim=f"flood{n}")
        ledger.apply(Banned(at=float(n), peer=f"sybil{n}", until=n + 5.0, reason="flood"))
    assert len(ledger.claims) <= 20
    assert len(ledger.peers) <= 10
    assert len(ledger.bans) <= 10
    assert set(ledger.pending) <= set(ledger.claims)
    assert "bob" in ledger.peers, "what a flood pushes out is the flood"
    assert ledger.standing("c", 300.0) == "confirmed"


def test_claims_that_came_to_nothing_are_forgotten() -> None:
    ledger = confirmed()
    ledger.apply(heard("idle"))
    tick(ledger, p.KEEP_ROUNDS + 1)
    assert set(ledger.claims) == {"c"}
    ledger.apply(Dropped(at=0.0, claim="c"))
    assert not ledger.claims
    with pytest.raises(TrustError, match="not in the ledger"):
        ledger.log_odds("c")


def test_the_same_claim_heard_again_changes_nothing() -> None:
    ledger = confirmed()
    before = msgspec.msgpack.encode(ledger)
    ledger.apply(heard(peer="mal", duty=True))
    assert msgspec.msgpack.encode(ledger) == before
