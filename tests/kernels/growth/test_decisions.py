from dataclasses import replace

import numpy as np
import pytest

from kernels import KernelError
from kernels.growth import Decision, GrowthLimits, Situation, decide, estimate_thresholds

LIMITS = GrowthLimits(
    cap=20, class_cap=10, max_outlier_fraction=0.1, new_fraction=0.1, patience=2, improvement=0.05
)
GROW = Situation(samples=100, outliers=40, added_before=0, added=0, fractions=())


@pytest.mark.parametrize(
    ("situation", "decision"),
    [
        (GROW, Decision(4, "grow")),
        # A part of a unit is a unit; a fraction is a fraction whatever the number of samples.
        (replace(GROW, outliers=41), Decision(5, "grow")),
        (replace(GROW, samples=1000, outliers=101, fractions=()), Decision(10, "grow", cap_hit=True)),
        (replace(GROW, samples=1000, outliers=100), Decision(0, "settled")),
        (replace(GROW, outliers=10), Decision(0, "settled")),
        (replace(GROW, outliers=0), Decision(0, "settled")),
        (replace(GROW, samples=0, outliers=0), Decision(0, "settled")),
        (replace(GROW, samples=1, outliers=1), Decision(1, "grow")),
        # All outliers, more wanted than one class may have.
        (replace(GROW, outliers=100), Decision(10, "grow")),
        (replace(GROW, outliers=100, added=3), Decision(7, "grow", cap_hit=True)),
        (replace(GROW, added=10), Decision(0, "cap", cap_hit=True)),
        (replace(GROW, added_before=18, added=1), Decision(1, "grow", cap_hit=True)),
        (replace(GROW, added_before=19, added=1), Decision(0, "cap", cap_hit=True)),
        # Patience: two rounds that gained less than .05 together.
        (replace(GROW, fractions=(0.42,)), Decision(4, "grow")),
        (replace(GROW, fractions=(0.42, 0.41)), Decision(0, "patience")),
        (replace(GROW, fractions=(0.46, 0.41)), Decision(4, "grow")),
        (replace(GROW, fractions=(0.9, 0.42, 0.3)), Decision(0, "patience")),
        # Settled before anything else, room before patience.
        (replace(GROW, outliers=10, added=10), Decision(0, "settled")),
        (replace(GROW, added=10, fractions=(0.4, 0.4)), Decision(0, "cap", cap_hit=True)),
    ],
)
def test_decisions(situation: Situation, decision: Decision) -> None:
    assert decide(situation, LIMITS) == decision


def test_growth_that_never_helps_ends_and_stays_within_its_cap() -> None:
    added, fractions = 0, ()
    for _ in range(50):
        decision = decide(replace(GROW, outliers=100, added=added, fractions=fractions), LIMITS)
        if not decision.add:
            break
        added, fractions = added + decision.add, (*fractions, 1.0)
    assert decision.reason in ("cap", "patience")
    assert 0 < added <= LIMITS.class_cap


def test_thresholds_are_quantiles_of_each_level() -> None:
    errors = [np.arange(101.0), np.arange(101.0)[::-1] * 2]
    assert estimate_thresholds(errors, 0.95) == (95.0, 190.0)
    assert estimate_thresholds(errors, 0.5, margin=1.1) == pytest.approx((55.0, 110.0))


def test_a_share_of_the_data_lies_beyond_its_threshold() -> None:
    values = np.linspace(0, 1, 4001) ** 3
    (threshold,) = estimate_thresholds([values], 0.985)
    assert (values > threshold).mean() == pytest.approx(0.015, abs=1e-3)


@pytest.mark.parametrize(
    ("errors", "quantile", "margin"),
    [
        ([np.ones(3)], 1.0, 1.0),
        ([np.ones(3)], 0.9, 0.0),
        ([np.ones(0)], 0.9, 1.0),
        ([np.array([np.inf])], 0.9, 1.0),
    ],
)
def test_thresholds_need_errors_and_a_quantile(
    errors: list[np.ndarray], quantile: float, margin: float
) -> None:
    with pytest.raises(KernelError):
        estimate_thresholds(errors, quantile, margin=margin)


@pytest.mark.parametrize(
    "change", [{"cap": -1}, {"patience": 0}, {"new_fraction": 0.0}, {"improvement": 2.0}]
)
def test_limits_out_of_range_are_refused(change: dict[str, float]) -> None:
    with pytest.raises(KernelError, match="growth needs"):
        replace(LIMITS, **change)
