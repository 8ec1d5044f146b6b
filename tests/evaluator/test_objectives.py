import math

import pytest

from evaluator.errors import TaskError
from evaluator.objectives import (
    ACCURACY,
    INCREMENTAL_OBJECTIVES,
    MEMORY,
    NETWORK_OBJECTIVES,
    PROBE_OBJECTIVES,
    SPEED,
    Objective,
    directions,
    logarithmic,
    probes_of,
    selected,
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


def test_objectives_are_chosen_by_name_in_one_order_whatever_the_line_says():
    assert selected((), NETWORK_OBJECTIVES, network=True) is NETWORK_OBJECTIVES
    found = selected(("energy", "accuracy", "robustness"), NETWORK_OBJECTIVES, network=True)
    assert [each.name for each in found] == ["accuracy", "robustness", "energy"]
    assert probes_of(found) == ("robustness", "energy")
    assert probes_of(NETWORK_OBJECTIVES) == probes_of(INCREMENTAL_OBJECTIVES) == ()


def test_objectives_that_there_are_not_are_refused_with_the_nearest():
    for names, network, said in (
        (("robustnes",), True, "'robustness'"),
        (("speed", "speed"), True, "once"),
        (("robustness",), False, "got robustness"),
    ):
        with pytest.raises(TaskError, match=said):
            selected(names, NETWORK_OBJECTIVES, network=network)


def test_every_objective_is_described_and_spans_an_interval():
    every = {each.name: each for each in (*NETWORK_OBJECTIVES, *INCREMENTAL_OBJECTIVES, *PROBE_OBJECTIVES)}
    assert len(every) == 10
    for each in every.values():
        assert each.doc.endswith(".")
        assert (each.normalise(each.best), each.normalise(each.worst)) == (0.0, 1.0)
