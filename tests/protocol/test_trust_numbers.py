"""Each number that TRUST.md quotes about belief, records and stages."""

import math
import random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from node.protocol.trust import (
    PeerRecord,
    Stage,
    TrustError,
    TrustSettings,
    attester_trust,
    check_rate,
    detection,
    flips_allowed,
    log_odds,
    power,
    prize,
    segments_to_replay,
)
from node.protocol.trust.parameters import ADMIT

counts = st.floats(0.0, 1e6)
trusts = st.floats(0.0, 0.999)


def passes_needed(a: float, *, t: float | None) -> int:
    """Own exact replays (t None), or attestations of them at trust t, until a claim would be admitted."""
    step = (1.0, 0.9) if t is None else (t, 0.9)
    return next(n for n in range(100) if log_odds(a, 0.0, attested=[step] * n) <= ADMIT)


def test_attester_trust() -> None:
    assert attester_trust(0, 0) == pytest.approx(0.7)
    assert attester_trust(0, 1) == pytest.approx(2.1 / 8)
    assert attester_trust(10, 0) == pytest.approx(12.1 / 13)
    assert attester_trust(20, 2) == pytest.approx(22.1 / 33)


@given(counts, counts)
def test_attester_trust_is_between_0_and_1_and_rises_with_ok(ok: float, bad: float) -> None:
    t = attester_trust(ok, bad)
    assert 0.0 < t < 1.0
    assert attester_trust(ok + 1, bad) > t or t > 0.999
    assert attester_trust(ok, bad + 1) < t


def test_unknown_attester_is_heeded_and_after_one_bad_word_is_not() -> None:
    assert PeerRecord().heeded
    assert not PeerRecord().misled().heeded


def test_log_odds_formula() -> None:
    expected = (
        math.log((8 * 2.0 + 1) / (5.0 + 1))
        + 2 * math.log(0.1)
        + math.log(1 - 0.7 * 0.9)
        + math.log(1 - 0.85 * 0.9)
        + 1.5
        + 3.0
    )
    got = log_odds(5.0, 2.0, [0.9, 0.9], [(0.7, 0.9), (0.85, 0.9), (0.49, 0.9)], [0.7, 0.8, 0.49])
    assert got == pytest.approx(expected)


@given(counts, counts, st.lists(trusts, max_size=6), st.lists(trusts, max_size=6))
def test_evidence_moves_belief_the_right_way(
    a: float, b: float, attesters: list[float], accusers: list[float]
) -> None:
    attested = [(t, 0.9) for t in attesters]
    odds = log_odds(a, b, [], attested, accusers)
    assert log_odds(a, b, [0.9], attested, accusers) < odds
    assert log_odds(a, b, [], [*attested, (0.7, 0.9)], accusers) < odds
    assert log_odds(a, b, [], [*attested, (0.4, 0.9)], accusers) == odds
    assert log_odds(a, b, [], attested, [*accusers, 0.7]) == pytest.approx(odds + 1.5)
    assert log_odds(a, b, [], attested, [*accusers, 0.4]) == odds


def test_a_newcomer_needs_about_five_passes_and_a_veteran_one_or_two() -> None:
    # One own replay, then unknown attesters.
    mixed = [log_odds(0, 0, [0.9], [(0.7, 0.9)] * n) <= ADMIT for n in range(6)]
    assert mixed.index(True) + 1 == 5
    assert 4 <= passes_needed(0.0, t=0.8) <= 5
    assert passes_needed(0.0, t=None) == 3
    assert [passes_needed(a, t=None) for a in (10.0, 20.0, 100.0)] == [2, 1, 1]
    assert passes_needed(20.0, t=0.9) == 2


def test_gains() -> None:
    record = PeerRecord().passed().vouched(0.15 * 0.8)
    assert record.a == pytest.approx(0.5 + 0.12)
    assert record.blamed(0.5 * 0.7).b == pytest.approx(0.35)
    proven = record.proven_false()
    assert proven.a == 0.0
    assert proven.b > 1.0


@given(st.integers(0, 5000), counts)
def test_counts_decay_by_0_997_a_round_however_often_they_are_read(rounds: int, a: float) -> None:
    record = PeerRecord(a=a, b=a, ok=a, bad=a)
    once = record.at(rounds)
    assert once.a == once.b == once.ok == once.bad == pytest.approx(a * 0.997**rounds)
    assert record.at(rounds // 2).at(rounds).a == pytest.approx(once.a)
    assert once.at(rounds - 1) == once


def test_powers() -> None:
    assert power(Stage.REPLAY) == 0.9
    assert power(Stage.REPLAY, complete=True) > 0.99
    assert power(Stage.RETRAIN, complete=True) == power(Stage.RETRAIN)
    assert all(0.0 < power(stage) < 1.0 for stage in Stage)


def test_700_examples_show_a_lie_of_one_point() -> None:
    assert detection(0.01, 700) == pytest.approx(0.999, abs=2e-4)


def test_flips() -> None:
    assert flips_allowed(700, exact=True) == 0
    allowed = flips_allowed(700, exact=False)
    tail = 1 - sum(math.exp(-2.1) * 2.1**k / math.factorial(k) for k in range(allowed + 1))
    assert tail < 1e-4 <= tail + math.exp(-2.1) * 2.1**allowed / math.factorial(allowed)


@given(st.lists(st.floats(allow_infinity=False), min_size=1, max_size=40), st.integers(0, 999))
def test_replay_takes_the_largest_jump_and_two_others(jumps: list[float], seed: int) -> None:
    chosen = segments_to_replay(jumps, random.Random(seed))
    assert len(set(chosen)) == len(chosen) == min(3, len(jumps))
    assert list(chosen) == sorted(chosen)
    largest = max(range(len(jumps)), key=lambda i: math.inf if math.isnan(jumps[i]) else jumps[i])
    assert largest in chosen


def test_replay_of_nothing_is_refused() -> None:
    with pytest.raises(TrustError, match="at least one"):
        segments_to_replay([], random.Random(0))


@given(st.floats(0.0, 100.0), st.floats(0.01, 1e3), st.floats(0.1, 1.0), st.integers(1, 10))
def test_checks_are_often_enough_that_cheating_does_not_pay(
    pi: float, loss: float, d: float, watchers: int
) -> None:
    rate = check_rate(pi, loss, d, watchers)
    assert 0.0 <= rate <= 1.0
    if rate < 1.0:
        detected = 1 - (1 - rate * d) ** watchers
        assert detected == pytest.approx((1 + pi) / (1 + pi + loss), rel=1e-6)
    assert check_rate(pi + 1.0, loss, d, watchers) >= rate
    assert check_rate(pi, loss + 1.0, d, watchers) <= rate


def test_prize_scales_with_surprise_and_is_bounded() -> None:
    assert prize(0.0, 1.0) == prize(-1.0, 1.0) == prize(math.nan, 1.0) == 0.0
    assert prize(3.0, 1.5) == 2.0
    assert prize(1e300, 1e-300) == 100.0
    assert prize(1.0, 0.0) == 1.0


@pytest.mark.parametrize("share", [0.05, 0.15, 0.25])
def test_settings_within_bounds(share: float) -> None:
    assert TrustSettings(check_share=share).check_share == share


@pytest.mark.parametrize(
    "wrong",
    [
        {"check_share": 0.04},
        {"check_share": 0.26},
        {"check_share": math.nan},
        {"newcomer_share": 0.21},
        {"newcomer_share": -0.1},
        {"burst_units": 4.0},
        {"ban_s": 0.0},
        {"ban_s": math.inf},
    ],
)
def test_settings_out_of_bounds(wrong: dict[str, float]) -> None:
    with pytest.raises(TrustError):
        TrustSettings(**wrong)


def test_defaults() -> None:
    settings = TrustSettings()
    assert (settings.check_share, settings.newcomer_share) == (0.15, 0.2)
    assert settings.ban_s == 30 * 24 * 3600
