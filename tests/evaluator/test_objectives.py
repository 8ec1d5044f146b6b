import math

import pytest

from evaluator.errors import TaskError
from evaluator.objectives import (
    ACCURACY,
    MEMORY,
    NETWORK_OBJECTIVES,
    SPEED,
    Objective,
    directions,
    logarithmic,
    unit_point,
)


def test_every_objective_runs_from_worst_to_best() -> None:
    for objective in NETWORK_OBJECTIVES:
        assert objective.normalise(objective.worst) == pytest.approx(1)
        assert objective.normalise(objective.best) == pytest.approx(0)


def test_a_log_scale_is_even_in_factors() -> None:
    middle = math.sqrt(SPEED.worst * SPEED.best)
    assert SPEED.normalise(middle) == pytest.approx(0.5)


@pytest.mark.parametrize("value", [math.nan, -math.inf])
def test_what_is_no_number_counts_as_worst(value: float) -> None:
    assert ACCURACY.normalise(value) == 1
    assert SPEED.normalise(value) == 1


def test_points_beyond_the_ends_are_clipped() -> None:
    assert MEMORY.normalise(1.0) == 0
    assert MEMORY.normalise(1e30) == 1


def test_what_spans_decades_is_named() -> None:
    assert logarithmic(NETWORK_OBJECTIVES) == {"speed", "memory"}


def test_directions_and_points_keep_the_order() -> None:
    assert directions(NETWORK_OBJECTIVES) == {"accuracy": "max", "speed": "max", "memory": "min"}
    point = unit_point(NETWORK_OBJECTIVES, {"accuracy": 0.75, "speed": 10.0, "memory": 2.0**12})
    assert point == pytest.approx((0.25, 1.0, 0.0))


@pytest.mark.parametrize(
    "fields",
    [
        {"direction": "max", "worst": 1.0, "best": 0.0},
        {"direction": "min", "worst": 0.0, "best": 1.0},
        {"direction": "max", "worst": 0.0, "best": 1.0, "scale": "log"},
        {"direction": "max", "worst": 0.0, "best": math.inf},
    ],
)
def test_ends_that_make_no_sense_are_refused(fields: dict[str, object]) -> None:
    with pytest.raises(TaskError, match="objective 'x'"):
        Objective(name="x", unit="1", **fields)  # type: ignore[arg-type]
