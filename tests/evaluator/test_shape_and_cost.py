from typing import Any

import msgspec
import pytest

from evaluator.cost import cost_of, excess, predict_rate, step_cost
from evaluator.errors import EvaluatorError
from evaluator.jobs import CostLimits
from evaluator.shape import shape_of
from genome import PRESETS, preset
from genome.spaces import MLP
from tests.support.jobs import CALIBRATION


def values(name: str, **changes: Any) -> dict[str, Any]:
    return dict(MLP.genome({**dict(preset(name).values), **changes}).values)


def test_a_shape_counts_layers_connections_and_states() -> None:
    shape = shape_of(values("deep", width1=20, width2=30, skip="two"), inputs=64, classes=10)
    assert shape.sizes == (64, 20, 30, 10)
    assert set(shape.connections) == {(0, 1), (1, 2), (2, 3), (0, 2), (1, 3)}
    assert shape.states == (1, 2)
    assert shape.parameters == 64 * 20 + 20 * 30 + 30 * 10 + 64 * 30 + 20 * 10 + 60


def test_an_mse_output_is_a_state_and_a_ce_output_is_not() -> None:
    assert shape_of(values("ep"), inputs=4, classes=3).states == (1, 2)
    assert shape_of(values("shallow"), inputs=4, classes=3).states == (1,)


def test_macs_of_a_shallow_step_by_hand() -> None:
    genes = values("shallow", width1=8, batch=16)
    shape = shape_of(genes, inputs=5, classes=3)
    step = step_cost(genes, shape, arithmetic="fp32", free_steps=0, nudged_steps=1)
    first, readout = 16 * 5 * 8, 16 * 8 * 3
    # drive and first gradient; readout once free, and with its feedback in each of two nudged sweeps; its gradient
    assert step.macs == 2 * first + readout + 2 * 2 * readout + readout


def test_macs_of_backprop_by_hand() -> None:
    genes = values("backprop", width1=8, batch=16)
    shape = shape_of(genes, inputs=5, classes=3)
    step = step_cost(genes, shape, arithmetic="fp32", free_steps=0, nudged_steps=0)
    assert step.macs == 2 * 16 * 5 * 8 + 3 * 16 * 8 * 3


def test_more_sweeps_cost_more_and_only_products_between_states() -> None:
    genes = values("deep", width1=20, width2=30, batch=16)
    shape = shape_of(genes, inputs=64, classes=10)
    few, many = (
        step_cost(genes, shape, arithmetic="fp32", free_steps=free, nudged_steps=3).macs for free in (4, 6)
    )
    assert many - few == 2 * 2 * 16 * 20 * 30


@pytest.mark.parametrize(("name", "value"), [("width1", 256), ("batch", 256), ("optimizer", "sgd")])
def test_memory_follows_what_must_be_held(name: str, value: Any) -> None:
    base = values("shallow", width1=128, batch=128)
    changed = {"lr_sgd": 0.1, "momentum": 0.9} if value == "sgd" else {}
    other = values("shallow", **{"width1": 128, "batch": 128, name: value}, **changed)
    small, large = (cost_of(g, inputs=64, classes=10, arithmetic="fp32").peak_bytes for g in (base, other))
    assert (large < small) == (value == "sgd")


def test_memory_does_not_depend_on_settle_steps() -> None:
    costs = {
        cost_of(values("deep", free_steps=n), inputs=64, classes=10, arithmetic="fp32").peak_bytes
        for n in (1, 32)
    }
    assert len(costs) == 1


def test_the_exact_class_needs_twice_the_bytes() -> None:
    genes = values("shallow")
    fp32, exact = (
        cost_of(genes, inputs=64, classes=10, arithmetic=a).parameter_bytes for a in ("fp32", "exact-1")
    )
    assert exact == 2 * fp32


def test_an_absurd_genome_is_refused_in_words() -> None:
    genes = {**values("shallow"), "width1": 2**60}
    said = excess(cost_of(genes, inputs=784, classes=10, arithmetic="fp32"), CostLimits())
    assert said is not None
    assert "bytes" in said
    assert str(2**60) in said


def test_a_slow_genome_is_refused_in_words() -> None:
    genes = values("deep", width1=1024, width2=1024, free_steps=32)
    said = excess(cost_of(genes, inputs=64, classes=10, arithmetic="fp32"), CostLimits())
    assert said is not None
    assert "--genome-macs" in said


@pytest.mark.parametrize("name", [name for name in PRESETS if preset(name).space == MLP.id])
def test_every_preset_is_allowed_on_the_largest_images(name: str) -> None:
    assert excess(cost_of(values(name), inputs=784, classes=10, arithmetic="exact-1"), CostLimits()) is None


def test_a_prediction_is_the_sum_of_its_parts() -> None:
    genes = values("shallow")
    step = step_cost(
        genes, shape_of(genes, inputs=64, classes=10), arithmetic="fp32", free_steps=0, nudged_steps=1
    )
    seconds = (
        step.calls * CALIBRATION.seconds_per_call
        + step.macs * CALIBRATION.seconds_per_mac
        + step.bytes * CALIBRATION.seconds_per_byte
    )
    assert predict_rate(step, batch=128, calibration=CALIBRATION) == pytest.approx(128 / seconds)
    broken = msgspec.structs.replace(CALIBRATION, seconds_per_call=0, seconds_per_mac=0, seconds_per_byte=0)
    with pytest.raises(EvaluatorError, match="eqmesh bench --calibrate"):
        predict_rate(step, batch=128, calibration=broken)
