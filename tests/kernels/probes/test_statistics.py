"""Draws, intervals, ranks and power laws."""

import math

import numpy as np
import pytest

from kernels import KernelError
from kernels.probes.draws import below, normal, orthogonal, signs, uniform
from kernels.probes.intervals import Interval, bootstrap, rank_correlation, ranks, share, student
from kernels.probes.power_law import fit_power_law
from tests.kernels.networks import SEED

SIZES = np.repeat(2.0 ** np.arange(4, 12), 3)


def seeds(count: int) -> list[bytes]:
    return [bytes([number]) * 32 for number in range(count)]


def test_draws_have_the_moments_of_their_distributions():
    u, n = uniform(SEED, "u", 20_000), normal(SEED, "n", 20_000)
    assert (u.mean(), u.var()) == pytest.approx((1 / 2, 1 / 12), abs=0.01)
    assert (n.mean(), n.var(), (n**4).mean()) == pytest.approx((0.0, 1.0, 3.0), abs=0.1)
    assert set(signs(SEED, "s", 50)) == {-1.0, 1.0}
    assert set(below(SEED, "b", 3, 4, 20).ravel().tolist()) == {0, 1, 2}
    factor = orthogonal(SEED, "q", 6, 3)
    assert factor.T @ factor == pytest.approx(np.eye(3))
    assert (normal(SEED, "n", 5) != normal(SEED, "m", 5)).all()
    assert (normal(SEED, "n", 5) == normal(SEED, "n", 5)).all()


def test_a_share_has_wilsons_interval():
    # Newcombe (1998), table I: 81 of 263, Wilson's score method: .2553 to .3662; 0 of 20: 0 to .1611.
    found = share(81, 263)
    assert (found.low, found.high) == pytest.approx((0.2553, 0.3662), abs=5e-5)
    assert share(0, 20) == Interval(0.0, 0.0, pytest.approx(0.1611, abs=5e-5))
    assert share(20, 20).high == 1.0
    with pytest.raises(KernelError, match="hits <= total"):
        share(3, 2)


def test_a_mean_has_students_interval():
    # Mean 3, deviation sqrt(2.5), t(4) = 2.776.
    found = student(np.arange(1.0, 6.0))
    half = 2.7764451 * math.sqrt(2.5 / 5)
    assert (found.value, found.low, found.high) == pytest.approx((3.0, 3.0 - half, 3.0 + half))
    with pytest.raises(KernelError, match="2 values"):
        student(np.ones(1))


def test_the_bootstrap_of_a_mean_is_near_the_normal_interval():
    values = normal(SEED, "sample", 400)
    found = bootstrap(lambda rows: float(values[rows].mean()), 400, SEED)
    half = 1.96 * values.std() / 20
    assert found.value == pytest.approx(values.mean())
    assert (found.low, found.high) == pytest.approx((values.mean() - half, values.mean() + half), abs=0.015)
    with pytest.raises(KernelError, match="half of 100"):
        bootstrap(lambda rows: math.nan, 4, SEED, rounds=100)


def test_ranks_share_ties_and_correlate():
    assert ranks(np.array([3.0, 1.0, 3.0, 2.0])).tolist() == [3.5, 1.0, 3.5, 2.0]
    x = np.arange(9.0)
    assert rank_correlation(x, np.exp(x)) == pytest.approx(1.0)
    assert rank_correlation(x, -(x**3)) == pytest.approx(-1.0)
    # 1 - 6 sum d^2 / (n (n^2 - 1)), with d = (1, 1, 0, 0).
    assert rank_correlation(x[:4], np.array([1.0, 0.0, 2.0, 3.0])) == pytest.approx(1 - 6 * 2 / 60)
    assert math.isnan(rank_correlation(x, np.ones(9)))


@pytest.mark.parametrize("exponent", [0.07, 0.5, 2.0])
def test_a_known_exponent_is_recovered(exponent):
    noise = np.exp(0.02 * normal(SEED, "noise", len(SIZES)))
    law = fit_power_law(SIZES, 3.0 * SIZES**-exponent * noise, SEED)
    assert law.holds
    assert law.exponent.value == pytest.approx(exponent, abs=0.02)
    assert law.exponent.holds(exponent)
    assert law.factor == pytest.approx(3.0, rel=0.1)


def test_an_exact_power_law_is_met_to_rounding():
    law = fit_power_law(SIZES, 5.0 * SIZES**-0.25, SEED)
    assert (law.exponent.value, law.exponent.low, law.exponent.high) == pytest.approx((0.25,) * 3, abs=1e-12)
    assert law.explained == pytest.approx(1.0)


def test_noise_is_no_power_law():
    # Sabotage: the sizes no longer belong to the errors.
    for seed in seeds(50):
        law = fit_power_law(SIZES, np.exp(normal(seed, "noise", len(SIZES))), SEED, rounds=200)
        assert not law.holds and law.reason


def test_a_poor_line_is_no_power_law_even_where_it_slopes():
    # Flat, then a cliff: the slope is sure, the line is not.
    errors = np.where(SIZES < 500.0, 1.0, 1e-3)
    law = fit_power_law(SIZES, errors, SEED)
    assert law.exponent.low > 0
    assert law.reason.startswith("a straight line explains")


def test_an_exponent_that_may_be_0_is_no_power_law_however_little_must_be_explained():
    law = fit_power_law(SIZES, np.exp(normal(SEED, "noise", len(SIZES))), SEED, least_explained=1e-9)
    assert law.exponent.holds(0.0) and law.explained > 1e-9
    assert law.reason.startswith("the exponent's interval")


def test_constant_errors_are_no_power_law():
    law = fit_power_law(SIZES, np.full(len(SIZES), 0.3), SEED)
    assert not law.holds and law.explained == 0.0


@pytest.mark.parametrize(
    ("sizes", "errors", "told"),
    [
        (np.ones(5), np.ones(4), "one error for each size"),
        (np.arange(5.0), np.ones(5), "above 0"),
        (np.arange(1.0, 6.0), np.full(5, np.nan), "finite"),
        (np.array([1.0, 1.0, 2.0, 3.0, 4.0]), np.ones(5), "5 different sizes or more, got 4"),
    ],
)
def test_what_has_no_logarithm_or_no_line_is_refused(sizes, errors, told):
    with pytest.raises(KernelError, match=told):
        fit_power_law(sizes, errors, SEED)
