"""What is timed by shape, and what a timed step comes to."""

import math
from typing import get_args

import msgspec
import pytest

from evaluator.cost import StepCost
from evaluator.jobs import Arithmetic
from evaluator.rates import (
    CLASSES,
    EXAMPLES,
    Probe,
    StepTime,
    Timed,
    bound_by,
    counts,
    fastest,
    hourly,
    probes,
    speeds,
)
from evaluator.spaces import class_admits
from evaluator.tasks import DatasetTask, Tier, resolve
from evaluator.timer import median_seconds, noise, timed
from genome import preset
from genome.spaces import MLP
from tests.support.jobs import CALIBRATION

TASKS = {name: task for name in EXAMPLES if isinstance(task := resolve(name), DatasetTask)}


def probe(networks: int = 1, **changes: int) -> Probe:
    values = {**dict(preset("shallow").values), "width1": 8, "batch": 16, **changes}
    return Probe(genome=MLP.genome(values), inputs=64, networks=networks)


def step(seconds: float, backend: str = "torch-cpu", probe: int = 0) -> StepTime:
    return StepTime(
        probe=probe, backend=backend, seconds=seconds, clock="cpu", free_steps=0.0, nudged_steps=1.0
    )


def found(*steps: StepTime) -> Timed:
    backends = {"triton": "no device", "torch-cpu": "", "reference": ""}
    return Timed(product_rate=1e9, auto="torch-cpu", backends=backends, steps=steps, refused=())


def test_the_shapes_are_those_of_the_bundled_tasks_at_their_presets_batches() -> None:
    names = [each.name for each in probes("fp32")]
    assert names == [
        "64-16-10", "16 x 64-16-10", "64-64-10", "16 x 64-64-10", "784-128-10", "784-512-10", "784-512-512-10"
    ]  # fmt: skip
    for each in probes("fp32"):
        assert each.batch == preset("deep" if "512-512" in each.name else "shallow")["batch"]
        assert any(task.inputs == each.inputs and task.classes == CLASSES for task in TASKS.values())


@pytest.mark.parametrize("arithmetic", get_args(Arithmetic))
def test_a_class_times_what_it_admits(arithmetic: Arithmetic) -> None:
    asked = probes(arithmetic)
    assert asked
    assert all(class_admits(arithmetic, each.genome) for each in asked)
    # Muon's products are not exact.
    assert ("784-512-512-10" in [each.name for each in asked]) == (arithmetic != "exact-1")


def test_the_number_of_training_examples_is_that_of_the_data() -> None:
    task = TASKS["digits"]
    assert len(task.load().train_x) == EXAMPLES["digits"]
    assert set(EXAMPLES) == set(TASKS)


def test_a_population_makes_the_calls_of_one_network_and_the_products_of_all() -> None:
    one, many = (counts(probe(networks), step(1.0), "fp32") for networks in (1, 5))
    assert many.calls == one.calls
    assert many.macs == 5 * one.macs
    assert many.bytes == 5 * one.bytes


@pytest.mark.parametrize(
    ("cost", "what", "share"),
    [
        (StepCost(calls=60.0, macs=0.0, bytes=0.0), "calls", 1.0),
        (StepCost(calls=10.0, macs=30.0, bytes=10.0), "products", 0.6),
        (StepCost(calls=1.0, macs=1.0, bytes=6.0), "memory", 0.75),
    ],
)
def test_what_takes_the_largest_share_bounds_a_step(cost: StepCost, what: str, share: float) -> None:
    even = msgspec.structs.replace(
        CALIBRATION, seconds_per_call=1.0, seconds_per_mac=1.0, seconds_per_byte=1.0
    )
    bound = bound_by(cost, even)
    assert bound is not None
    assert (bound.what, bound.share) == (what, pytest.approx(share))


def test_nothing_bounds_a_step_that_is_predicted_to_take_no_time() -> None:
    free = msgspec.structs.replace(
        CALIBRATION, seconds_per_call=0.0, seconds_per_mac=0.0, seconds_per_byte=0.0
    )
    assert bound_by(StepCost(calls=1.0, macs=1.0, bytes=1.0), free) is None


def test_evaluations_an_hour_by_hand() -> None:
    # 40 of 100 examples in batches of 16: 3 steps an epoch, 6 in all, half a second each.
    tier = Tier(name="toy", epochs=2, train_limit=40)
    assert hourly(probe(), step(0.5), tier, examples=100) == 3600 / 3
    assert hourly(probe(4), step(0.5), tier, examples=100) == 4 * 3600 / 3
    # Without a limit all are used: 7 steps an epoch.
    assert hourly(probe(), step(0.5), Tier(name="toy", epochs=2), examples=100) == 3600 / 7


def test_what_a_step_comes_to() -> None:
    asked = [probe(4)]
    timings = found(step(1e-3), step(1e-2, "reference"))
    ours, theirs = speeds(timings, asked, CALIBRATION, TASKS)
    assert (ours.network, ours.networks, ours.batch) == ("4 x 64-8-10", 4, 16)
    assert ours.samples_per_s == pytest.approx(64e3)
    assert ours.sgemm_share == pytest.approx(2 * counts(asked[0], step(1.0), "fp32").macs / 1e-3 / 1e9)
    assert ours.sgemm_share == pytest.approx(10 * theirs.sgemm_share)
    assert set(ours.predicted_evaluations_an_hour) == {"digits"}
    # A calibration says what its own backend's calls, products and bytes cost, and nothing of another's.
    assert ours.bound_by is not None
    assert theirs.bound_by is None
    assert theirs.bound_share is None
    assert fastest([theirs, ours]) == [ours]
    (other,) = speeds(msgspec.structs.replace(found(step(1e-3)), auto="triton"), asked, CALIBRATION, TASKS)
    assert other.bound_by is None


def test_every_probe_is_timed_on_every_backend_that_runs_or_the_refusal_is_told() -> None:
    asked = [probe(), probe(3)]
    done = timed("fp32", 1e-4, asked)
    assert done.auto in done.backends
    usable = {name for name, why in done.backends.items() if not why}
    assert {"torch-cpu", "reference"} <= usable
    told = {(number, backend) for number, backend, _ in done.refused}
    assert {(each.probe, each.backend) for each in done.steps} | told == {
        (number, backend) for number in (0, 1) for backend in usable
    }
    assert {(0, "torch-cpu"), (1, "torch-cpu"), (0, "reference")} <= {
        (each.probe, each.backend) for each in done.steps
    }
    assert all(each.nudged_steps == 1.0 and each.seconds > 0 for each in done.steps)
    assert done.product_rate > 0


def test_noise_is_of_the_shape_asked_for_and_the_same_again() -> None:
    x, y = noise(bytes(32), 3, 5, inputs=7)
    assert (x.shape, y.shape) == ((3, 5, 7), (3, 5))
    assert 0 <= x.min() < x.max() < 1
    assert set(y.ravel().tolist()) <= set(range(CLASSES))
    again, _ = noise(bytes(32), 3, 5, inputs=7)
    assert (x == again).all()


def test_a_median_is_over_the_budget_and_at_least_three_calls() -> None:
    now, calls = [0.0], [0]
    # Two to warm up, then as slow, slower, as slow.
    durations = iter([9.0, 9.0, 1.0, 5.0, 1.0])

    def act() -> None:
        calls[0] += 1
        now[0] += next(durations)

    assert median_seconds(act, budget_s=2.0, clock=lambda: now[0]) == 1.0
    assert calls[0] == 5
    durations = iter([0.0, 0.0, *[0.25] * 8])
    calls[0] = 0
    assert math.isclose(median_seconds(act, budget_s=2.0, clock=lambda: now[0]), 0.25)
    assert calls[0] == 10
