"""The bucket holds under a flood, and spends on what matters first."""

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from node.protocol.trust import (
    Bucket,
    Check,
    Heard,
    Ledger,
    Stage,
    Started,
    Ticked,
    TrustError,
    TrustSettings,
    plan,
)
from node.protocol.trust.schedule import urgency

settings = TrustSettings()
moves = st.lists(
    st.tuples(st.booleans(), st.floats(0.0, 50.0), st.floats(0.0, 3.0), st.booleans()), max_size=60
)


@given(moves, st.sampled_from([0.05, 0.15, 0.25]))
def test_never_negative_and_never_above_the_share(
    steps: list[tuple[bool, float, float, bool]], share: float
) -> None:
    own = TrustSettings(check_share=share)
    bucket, earned, spent, newcomers = Bucket(), 0.0, 0.0, 0.0
    for earn, compute, cost, newcomer in steps:
        if earn:
            bucket = bucket.earn(compute, own)
            earned += compute
        elif bucket.affords(cost, newcomer=newcomer):
            bucket = bucket.spend(cost, newcomer=newcomer)
            spent += cost
            newcomers += cost * newcomer
        else:
            with pytest.raises(TrustError, match="units"):
                bucket.spend(cost, newcomer=newcomer)
        assert bucket.tokens >= 0.0
        assert bucket.newcomers >= 0.0
        assert spent <= share * earned + 1e-9
        assert newcomers <= 0.2 * share * earned + 1e-9


@pytest.mark.parametrize("compute", [-1.0, float("nan"), float("inf")])
def test_impossible_income(compute: float) -> None:
    with pytest.raises(TrustError):
        Bucket().earn(compute, settings)


@pytest.mark.parametrize("cost", [-1.0, float("nan")])
def test_impossible_cost(cost: float) -> None:
    assert not Bucket(10.0, 10.0).affords(cost, newcomer=False)


def test_it_does_not_hoard() -> None:
    bucket = Bucket().earn(1e9, settings)
    assert bucket == Bucket(settings.burst_units, settings.burst_units * 0.2)
    assert bucket.affords(1.0, newcomer=True), "a retraining of a newcomer must be possible at all"


def a_check(n: int, *, purpose: str = "own", newcomer: bool = False, urgency: float = 0.0) -> Check:
    return Check(
        claim=f"c{n}",
        stage=Stage.REPLAY,
        cost=0.15,
        purpose=purpose,  # type: ignore[arg-type]
        newcomer=newcomer,
        urgency=urgency,
        round=n,
    )


def test_a_flood_of_newcomers_leaves_the_rest_to_the_others() -> None:
    flood = [a_check(n, newcomer=True, urgency=100.0) for n in range(1000)]
    known = [a_check(2000 + n) for n in range(5)]
    chosen = plan(Bucket(1.5, 0.3), [*flood, *known], settings)
    assert sum(check.newcomer for check in chosen) == 2
    assert [check for check in chosen if not check.newcomer] == known


def test_order() -> None:
    wanted = [
        a_check(1, purpose="weights", urgency=9.0),
        a_check(2, purpose="own"),
        a_check(3, purpose="duty"),
        a_check(4, purpose="repeat"),
        a_check(5, purpose="own", urgency=1.0),
    ]
    chosen = plan(Bucket(10.0, 10.0), wanted, settings)
    assert [check.claim for check in chosen] == ["c4", "c3", "c5", "c2", "c1"]
    assert [check.claim for check in plan(Bucket(0.3, 0.0), wanted, settings)] == ["c4", "c3"]


@given(st.integers(1, 40), st.integers(1, 60), st.floats(0.0, 20.0))
def test_a_ledger_under_a_flood_of_claims(rounds: int, flood: int, compute: float) -> None:
    ledger = Ledger()
    spent = 0.0
    for round_ in range(rounds):
        ledger.apply(Ticked(at=float(round_), compute=compute))
        for n in range(flood):
            ledger.apply(
                Heard(
                    at=0.0, claim=f"c{round_}-{n}", peer=f"p{round_}-{n}", task="t", surprise=1.0, duty=True
                )
            )
        for check in plan(ledger.bucket, ledger.wanted(0.0), ledger.settings):
            ledger.apply(Started(at=0.0, claim=check.claim, cost=check.cost, newcomer=check.newcomer))
            spent += check.cost
        assert ledger.bucket.tokens >= 0.0
        assert ledger.bucket.newcomers >= 0.0
    assert spent <= 0.15 * 0.2 * compute * rounds + 1e-9


def test_a_stream_of_cheap_checks_does_not_starve_a_dear_one() -> None:
    bucket, replays = Bucket(), 0
    for _ in range(50):
        bucket = bucket.earn(1.0, settings)
        cheap = [
            msgspec.structs.replace(a_check(n, purpose="weights", newcomer=True), cost=0.01)
            for n in range(50)
        ]
        for check in plan(bucket, [*cheap, a_check(99, newcomer=True)], settings):
            bucket = bucket.spend(check.cost, newcomer=True)
            replays += check.cost == 0.15
    assert replays == 10, f"a fifth of 15 % of 50 units pays for ten replays of 0.15, got {replays}"


def test_urgency_is_what_a_claim_gains_for_its_cost() -> None:
    assert urgency(1.0, 0.15) > urgency(1.0, 0.31) > urgency(1.0, 4.0)
    assert urgency(20.0, 4.0) > urgency(1.0, 0.31)


def test_newcomers_who_save_up_do_not_hold_up_the_others() -> None:
    wanted = [a_check(1, newcomer=True), a_check(2), a_check(3, newcomer=True)]
    assert [check.claim for check in plan(Bucket(1.0, 0.1), wanted, settings)] == ["c2"]


def test_what_no_bucket_could_pay_for_holds_up_nothing() -> None:
    none_for_newcomers = TrustSettings(newcomer_share=0.0)
    dear = msgspec.structs.replace(a_check(1), cost=99.0)
    wanted = [dear, a_check(2, newcomer=True), a_check(3)]
    assert [check.claim for check in plan(Bucket(1.0, 0.0), wanted, none_for_newcomers)] == ["c3"]


def test_nobody_overtakes_what_is_saved_up_for() -> None:
    dear = msgspec.structs.replace(a_check(1, purpose="repeat"), cost=1.0)
    assert plan(Bucket(0.9, 0.9), [dear, a_check(2)], settings) == []
    assert plan(Bucket(1.0, 0.9), [dear, a_check(2)], settings) == [dear]
