"""How soon an accuracy is reached, on curves whose answer is known."""

from collections.abc import Sequence

import pytest

from evaluator.jobs import CurvePoint, EpochPoint, Outcome
from genome import preset
from node.convergence import arrival, common_level, epoch_means, first_reached
from tests.support.outcomes import outcome


def curve(*points: tuple[float, float]) -> tuple[CurvePoint, ...]:
    """Points of (CPU seconds, accuracy), one an epoch."""
    return tuple(
        CurvePoint(samples=100 * n, epoch=float(n), accuracy=accuracy, residual=0.0, train_cpu_s=seconds)
        for n, (seconds, accuracy) in enumerate(points, 1)
    )


def trained(*points: tuple[float, float], epochs: Sequence[EpochPoint] = ()) -> Outcome:
    return outcome(preset("shallow"), curve=curve(*points), epochs=tuple(epochs))


RISING = ((2.0, 0.5), (4.0, 0.7), (10.0, 0.9))


@pytest.mark.parametrize(
    ("level", "expected"),
    [
        (0.3, (2.0, 1.0)),  # reached before the first look, so at it
        (0.5, (2.0, 1.0)),
        (0.6, (3.0, 1.5)),
        (0.7, (4.0, 2.0)),
        (0.85, (8.5, 2.75)),
        (0.9, (10.0, 3.0)),
        (0.91, None),
    ],
)
def test_a_curve_is_straight_between_its_points(level: float, expected: tuple[float, float] | None) -> None:
    found = first_reached(curve(*RISING), level)
    assert found == (expected if expected is None else pytest.approx(expected))


def test_the_first_crossing_counts_and_a_fall_does_not() -> None:
    falling = curve((1.0, 0.8), (2.0, 0.2), (3.0, 0.6), (4.0, 0.9))
    assert first_reached(falling, 0.7) == (1.0, 1.0)
    assert first_reached(falling, 0.85) == pytest.approx((3.0 + 0.25 / 0.3, 3.0 + 0.25 / 0.3))
    assert first_reached((), 0.1) is None


def test_twice_as_fast_takes_half_the_seconds_and_as_many_epochs() -> None:
    slow, fast = arrival([trained(*RISING)], 0.8), arrival([trained(*((s / 2, a) for s, a in RISING))], 0.8)
    assert slow.cpu_s is not None
    assert fast.cpu_s is not None
    assert slow.cpu_s.mean == pytest.approx(2 * fast.cpu_s.mean) == pytest.approx(7.0)
    assert slow.epochs == fast.epochs


def test_an_interval_over_seeds() -> None:
    found = arrival([trained((s, 0.0), (s + 2.0, 1.0)) for s in (1.0, 2.0, 3.0)], 0.5)
    assert found.cpu_s is not None
    assert (found.reached, found.trainings, found.cpu_s.mean) == (3, 3, pytest.approx(3.0))
    # Student's t of 2 degrees of freedom at 97.5 %, times 1/sqrt(3).
    assert found.cpu_s.half_width == pytest.approx(4.302653 / 3**0.5, rel=1e-5)


def test_no_mean_where_a_seed_does_not_arrive() -> None:
    found = arrival([trained((1.0, 0.9)), trained((1.0, 0.4))], 0.8)
    assert (found.reached, found.trainings, found.cpu_s, found.epochs) == (1, 2, None, None)
    assert arrival([], 0.8).cpu_s is None


def test_the_common_level_is_one_that_all_reach_and_the_highest() -> None:
    outcomes = [trained(*RISING), trained((1.0, 0.85), (2.0, 0.6)), trained((1.0, 0.95))]
    level = common_level(outcomes)
    assert level == 0.85
    assert arrival(outcomes, level).reached == 3
    assert arrival(outcomes, level + 1e-9).reached == 2
    assert common_level([*outcomes, trained()]) is None
    assert common_level([]) is None


def point(epoch: int, loss: float, *, dead: str = "", energy: float | None = 1.0) -> EpochPoint:
    return EpochPoint(
        epoch=epoch, samples=100, accuracy=0.5, loss=loss, error=0.5, train_cpu_s=1.0, train_wall_s=2.0, peak_bytes=10,
        free_steps=4.0, nudged_steps=2.0, residual=0.1, free_energy=energy, nudged_energy=energy, spectral_norm={},
        recurrent_norm=0.0, gradient_norm={"w0-1": 1.0, "w1-2": 0.0 if dead == "w1-2" else 1.0},
    )  # fmt: skip


def test_epochs_are_summed_up_over_seeds() -> None:
    first = trained((1.0, 0.5), epochs=[point(1, 3.0), point(2, 1.0, dead="w1-2")])
    second = trained((1.0, 0.5), epochs=[point(1, 5.0), point(2, 2.0)])
    one, two = epoch_means([first, second])
    assert (one.epoch, one.intervals["loss"].mean, one.dead) == (1, 4.0, ())
    assert (two.epoch, two.intervals["loss"].mean, two.dead) == (2, 1.5, ("w1-2",))
    assert two.intervals["train_wall_s"].mean == 2.0


def test_what_a_network_does_not_have_has_no_mean() -> None:
    (found,) = epoch_means([trained((1.0, 0.5), epochs=[point(1, 1.0, energy=None)])])
    assert "free_energy" not in found.intervals
    assert "residual" in found.intervals
    assert epoch_means([trained((1.0, 0.5))]) == []
