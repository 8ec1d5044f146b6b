"""Stage 2b's rule, the spread between seeds, and quarantine by residuals."""

import math
import random
import statistics

import pytest
from hypothesis import given
from hypothesis import strategies as st

from node.protocol.trust import Running, Spread, inflated, suspicion
from node.protocol.trust.parameters import SUSPICION
from node.protocol.trust.residuals import suspect

SIGMA = 0.4
points = st.floats(-100.0, 100.0)


@given(st.lists(points, min_size=2, max_size=50))
def test_welford(values: list[float]) -> None:
    running = Running()
    for value in values:
        running = running.add(value)
    assert running.n == len(values)
    assert running.mean == pytest.approx(statistics.fmean(values), abs=1e-9)
    assert running.variance == pytest.approx(statistics.variance(values), rel=1e-6, abs=1e-9)


def test_the_limit_is_three_root_two_sigma() -> None:
    limit = 3 * math.sqrt(2) * SIGMA
    assert not inflated(90 + limit - 1e-9, 90.0, SIGMA)
    assert inflated(90 + limit + 1e-9, 90.0, SIGMA)
    assert not inflated(80.0, 90.0, SIGMA)
    assert inflated(math.nan, 90.0, SIGMA)
    assert inflated(90.0, math.nan, SIGMA)


@pytest.mark.parametrize(("lie", "seen"), [(1.0, 0.11), (2.0, 0.70), (3.0, 0.99)])
def test_power_by_size_of_the_lie(lie: float, seen: float) -> None:
    rng = random.Random(1)
    n = 20_000
    caught = sum(inflated(90 + lie + rng.gauss(0, SIGMA), 90 + rng.gauss(0, SIGMA), SIGMA) for _ in range(n))
    assert caught / n == pytest.approx(seen, abs=0.015)


def test_spread_converges_from_its_prior() -> None:
    assert Spread().sigma == pytest.approx(0.4)
    rng = random.Random(2)
    spread = Spread()
    for _ in range(5000):
        spread = spread.add(rng.gauss(90, 1.3), rng.gauss(90, 1.3))
    assert spread.sigma == pytest.approx(1.3, rel=0.03)


def draw(rng: random.Random, shift: float, n: int) -> Running:
    running = Running()
    for _ in range(n):
        running = running.add(shift + rng.gauss(0, SIGMA * math.sqrt(2)))
    return running


def checks_until_suspect(rng: random.Random, shift: float, usual: float, most: int) -> int:
    others = [draw(rng, usual, 10) for _ in range(30)]
    own = Running()
    for n in range(1, most + 1):
        own = own.add(shift + rng.gauss(0, SIGMA * math.sqrt(2)))
        if suspect(own, others, SIGMA):
            return n
    return most + 1


def test_half_a_point_shows_after_about_twenty_checks() -> None:
    rng = random.Random(3)
    waits = [checks_until_suspect(rng, 0.5, 0.0, 200) for _ in range(200)]
    assert 14 <= statistics.median(waits) <= 26


def test_honest_peers_are_left_alone_though_all_claims_lie_above() -> None:
    # Whoever claims his best runs claims a little too much: that is usual, and no ground for suspicion.
    rng = random.Random(4)
    waits = [checks_until_suspect(rng, 0.3, 0.3, 60) for _ in range(200)]
    assert sum(wait <= 60 for wait in waits) <= 2


def test_liars_do_not_hide_in_the_variance_that_they_make() -> None:
    rng = random.Random(5)
    others = [draw(rng, 0.0, 20) for _ in range(15)] + [draw(rng, 10.0, 20) for _ in range(10)]
    assert suspicion(draw(rng, 10.0, 6), others, SIGMA) > SUSPICION


def test_few_checks_say_nothing() -> None:
    assert suspicion(Running(4, 50.0, 0.0), [], SIGMA) == -math.inf
    assert suspicion(Running(5, 50.0, 0.0), [], SIGMA) > SUSPICION
    assert suspicion(Running(50, -50.0, 0.0), [], SIGMA) < 0
