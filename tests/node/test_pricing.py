"""What a training would take: counted from the genes, predicted by a calibration, and shown by a command."""

import json

import pytest

from evaluator import calibration
from evaluator.cost import cost_of
from evaluator.jobs import Calibration
from evaluator.shape import NoImageError
from evaluator.tasks import resolve
from genome import preset
from node.errors import SettingsError
from node.pricing import price
from node.settings import calibration_path
from tests.node.test_commands import Run, run

__all__ = ["run"]


def calibrated(seconds_per_mac: float) -> Calibration:
    return Calibration(
        arithmetic="fp32",
        machine=calibration.machine(),
        seconds_per_call=0.0,
        seconds_per_mac=seconds_per_mac,
        seconds_per_byte=0.0,
        error=0.0,
    )


def test_a_price_by_hand() -> None:
    found = price(preset("shallow"), resolve("digits"), "quick", calibrated(1e-9))
    cost = cost_of(dict(preset("shallow").values), inputs=64, classes=10, arithmetic="fp32")
    assert found.samples == 10 * 1077
    assert found.macs_per_sample == cost.macs_per_step / 128
    assert found.macs == found.macs_per_sample * 10770
    assert found.hours == pytest.approx(found.macs * 1e-9 / 3600)
    assert (found.tier, found.peak_bytes) == ("quick", cost.peak_bytes)


def test_a_limited_tier_reads_no_data_and_no_calibration_gives_no_hours() -> None:
    found = price(preset("conv-recipe"), resolve("cifar10"), "quick", None)
    assert found.samples == 20_000 and found.hours is None
    assert found.macs_per_sample > 5e10


def test_heads_are_priced() -> None:
    one = price(preset("shallow"), resolve("digits"), "smoke", None)
    two = price(preset("shallow"), resolve("digits+digits-parity"), "smoke", None)
    assert two.parameter_bytes == one.parameter_bytes + 4 * 2 * 513
    assert two.samples == 2 * one.samples


def test_what_has_no_price_is_refused() -> None:
    with pytest.raises(SettingsError, match="on tasks with networks, got 'zdt1'"):
        price(preset("shallow"), resolve("zdt1"), None, None)
    with pytest.raises(NoImageError, match="Take fewer layers"):
        price(preset("conv-recipe"), resolve("digits"), None, None)


def test_a_preset_is_shown_with_its_cost(run: Run) -> None:
    code, out, _ = run("genome", "show", "--preset", "conv-recipe", "--task", "cifar10", "--tier", "quick")
    assert code == 0
    assert "57.6G" in out and "not calibrated: `eqmesh bench --calibrate`" in out
    calibration.save(calibration_path(), calibrated(1e-9))
    code, out, _ = run("genome", "show", "--preset", "shallow", "--task", "digits", "--json")
    shown = json.loads(out)
    assert code == 0 and shown["cost"]["samples"] == 40 * 1077
    assert shown["cost"]["hours"] == pytest.approx(shown["cost"]["macs"] * 1e-9 / 3600)


def test_one_genome_and_the_tier_of_a_task(run: Run) -> None:
    for words in ((), ("abcd", "--preset", "shallow")):
        code, _, said = run("genome", "show", *words)
        assert code == 1 and "either a genome or --preset NAME" in said
    code, _, said = run("genome", "show", "--preset", "shallow", "--tier", "quick")
    assert code == 1 and "Give --task too" in said
