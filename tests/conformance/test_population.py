"""Each network of a population is the network that it would be alone."""

from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from kernels import EqpropLearner, OptimizerSettings, PopulationLearner, Topology
from tests.conformance import cases
from tests.conformance.cases import EXACT, FP32, REFERENCE, Way

# Network i of every test, so that the same one can stand in another slot of another population.
NUMBERS = range(7)


def settings(name: Any, i: int, *, cap: bool = False) -> OptimizerSettings:
    return OptimizerSettings(
        name,
        rate={"sgd": 0.1, "muon": 0.02}.get(name, 4e-3) * (1 + i / 4),
        momentum=0.5 + i / 20,
        weight_decay=0.1 * i if name == "adamw" else 0.0,
        bias_rate=1e-3 * (1 + i),
        spectral_cap=0.3 + 0.1 * i if cap else None,
    )


def networks(shape: Topology, name: Any, estimate: Any, *, cap: bool = False) -> list[tuple[Any, ...]]:
    return [
        (
            cases.weights(shape, f"p{i}"),
            cases.rule(estimate, beta=0.2 + i / 25, steps=(2, 2)),
            settings(name, i, cap=cap),
            1 if i % 2 else -1,
        )
        for i in NUMBERS
    ]


def data(shape: Topology, i: int, step: int, rows: int) -> tuple[Any, Any]:
    return cases.batch(shape, rows, f"{i}/{step}" + "+" * i)


ROWS = (6, 6, 3, 6, 1, 6)


def alone(shape: Topology, network: tuple[Any, ...], i: int, way: Way) -> tuple[Any, Any]:
    values, how, optimizer, sign = network
    learner = cases.learner(shape, values, how, optimizer, way=way)
    for step, rows in enumerate(ROWS):
        learner.step(*data(shape, i, step, rows), scale=1.0 - step / 8, sign=sign)
    return learner.parameters(), learner.predict(data(shape, i, 9, 9)[0])


def together(shape: Topology, chosen: list[tuple[Any, ...]], numbers: list[int], way: Way) -> tuple[Any, Any]:
    values, rules, optimizers, signs = (list(column) for column in zip(*chosen, strict=True))
    group = PopulationLearner(shape, values, rules, optimizers, batch=6, arithmetic=way.arithmetic)
    for step, rows in enumerate(ROWS):
        batches = [data(shape, i, step, rows) for i in numbers]
        report = group.step(
            np.stack([x for x, _ in batches]),
            np.stack([y for _, y in batches]),
            scale=1.0 - step / 8,
            signs=signs,
        )
        assert report.finite.shape == (len(numbers),) and report.finite.all()
        assert (report.free_steps, report.nudged_steps) == (2, 2)
    scores = group.predict(np.stack([data(shape, i, 9, 9)[0] for i in numbers]))
    return group.parameters(), scores


# Numbers of the networks, by slot.
GROUPS = [[0], [0, 1, 2], [2, 0, 1], [4, 3, 6, 0, 2, 5, 1]]


@pytest.mark.parametrize("estimate", ["centred", "random-sign", "linearised"])
@pytest.mark.parametrize("name", ["sgd", "adam", "adamw"])
@pytest.mark.parametrize("output", ["ce", "mse"])
def test_exact_slots_have_the_bits_of_a_network_alone(output: Any, name: str, estimate: str) -> None:
    shape = cases.topology(output, 2, skip=True)
    made = networks(shape, name, estimate)
    single: dict[int, Any] = {}
    for numbers in GROUPS:
        parameters, scores = together(shape, [made[i] for i in numbers], numbers, EXACT)
        assert len(parameters) == len(scores) == len(numbers)
        for slot, i in enumerate(numbers):
            if i not in single:
                single[i] = alone(shape, made[i], i, EXACT)
            assert cases.same_bits(parameters[slot], single[i][0]), (numbers, slot)
            assert scores[slot].tobytes() == single[i][1].tobytes(), (numbers, slot)


@pytest.mark.parametrize("estimate", ["centred", "one-sided", "negative", "random-sign", "linearised"])
@pytest.mark.parametrize("name", ["sgd", "adam", "adamw", "muon"])
@pytest.mark.parametrize("output", ["ce", "mse"])
def test_fast_slots_follow_a_network_alone(output: Any, name: str, estimate: str) -> None:
    """fp32: batched products round otherwise, 1e-6 a step; Newton-Schulz and tiny Adam gradients stretch that."""
    shape = cases.topology(output, 2, skip=True)
    made, bound = networks(shape, name, estimate), 2e-5 if name == "sgd" else 2e-3
    for numbers in GROUPS[2:]:
        parameters, scores = together(shape, [made[i] for i in numbers], numbers, FP32)
        for slot, i in enumerate(numbers):
            start = made[i][0]
            expected, expected_scores = alone(shape, made[i], i, REFERENCE)
            moved = {key: expected[key] - start[key] for key in start}
            came = {key: parameters[slot][key] - start[key] for key in start}
            assert cases.distance(came, moved) < bound, (numbers, slot)
            np.testing.assert_allclose(scores[slot], expected_scores, atol=bound)


def test_a_cap_is_each_networks_own() -> None:
    shape = cases.topology("mse", 3, skip=True)
    made = networks(shape, "sgd", "centred", cap=True)
    parameters, _ = together(shape, [made[i] for i in range(5)], list(range(5)), FP32)
    for i in range(5):
        expected, _ = alone(shape, made[i], i, REFERENCE)
        assert cases.distance(parameters[i], expected) < 1e-4


def test_a_network_that_diverges_leaves_its_neighbours_alone() -> None:
    shape = cases.topology("ce", 2, skip=True)
    start = [cases.weights(shape, f"p{i}") for i in range(3)]
    optimizers = [OptimizerSettings("adam", rate=4e-3)] * 3
    x, y = (np.stack(each) for each in zip(*(cases.batch(shape, 6, "x" * i) for i in range(3)), strict=True))
    groups = [PopulationLearner(shape, start, [cases.rule()] * 3, optimizers, batch=6) for _ in range(2)]
    cases.spoil(groups[1], "w0-1", slot=1)
    for _ in range(4):
        assert groups[0].step(x, y, scale=1.0).finite.tolist() == [True, True, True]
        assert groups[1].step(x, y, scale=1.0).finite.tolist() == [True, False, True]
    for slot in (0, 2):
        assert cases.same_bits(groups[1].parameters()[slot], groups[0].parameters()[slot])


@pytest.mark.parametrize("width", [24, 80])
@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
def test_a_cap_holds_beside_a_network_that_diverged(width: int, bad: float) -> None:
    """By a decomposition, and by the iteration that wide matrices take."""
    shape = Topology((7, width, width, 3), output="mse")
    optimizers = [OptimizerSettings("muon", rate=0.1, spectral_cap=0.4)] * 3
    start = [cases.weights(shape, f"p{i}") for i in range(3)]
    group = PopulationLearner(shape, start, [cases.rule(beta=0.2, steps=(1, 1))] * 3, optimizers, batch=6)
    cases.spoil(group, "w1-2", bad, slot=1)
    x, y = cases.batch(shape)
    for _ in range(6):
        group.step(np.stack([x] * 3), np.stack([y] * 3), scale=1.0)
        after = group.parameters()
        assert not np.isfinite(after[1]["w1-2"]).all(), "what diverged is not made to look sound"
        for slot in (0, 2):
            assert np.linalg.svd(after[slot]["w1-2"], compute_uv=False)[0] <= 0.4 * (1 + 1e-3)


def test_signs_may_be_an_array() -> None:
    shape = cases.topology("ce", 1, skip=False)
    start = [cases.weights(shape, f"p{i}") for i in range(2)]
    x, y = cases.batch(shape)
    results = []
    for signs in ([1, -1], np.array([1, -1]), (1, -1)):
        group = PopulationLearner(shape, start, [cases.rule("random-sign")] * 2, [cases.PLAIN] * 2, batch=6)
        group.step(np.stack([x, x]), np.stack([y, y]), scale=1.0, signs=signs)
        results.append(group.state())
    assert cases.same_bits(results[0], results[1]) and cases.same_bits(results[0], results[2])


def test_wide_networks_of_a_population_span_blocks() -> None:
    """More parameters than element-wise passes take at a time: 7 x 900 + 900 x 40 and their biases."""
    shape = Topology((7, 900, 40, 3), output="mse")
    for name in ("sgd", "adam", "adamw"):
        values = [cases.weights(shape, str(i), gain=0.5) for i in range(2)]
        optimizers = [replace(settings(name, i), rate=1e-3 * (i + 1)) for i in range(2)]
        how = cases.rule(beta=0.2, steps=(1, 1))
        group = PopulationLearner(shape, values, [how] * 2, optimizers, batch=6, arithmetic="exact-1")
        x, y = cases.batch(shape)
        for _ in range(3):
            group.step(np.stack([x, x]), np.stack([y, y]), scale=1.0)
        for slot in range(2):
            single = EqpropLearner(shape, values[slot], how, optimizers[slot], batch=6, arithmetic="exact-1")
            for _ in range(3):
                single.step(x, y, scale=1.0)
            assert cases.same_bits(single.parameters(), group.parameters()[slot])


@pytest.mark.parametrize("arithmetic", ["fp32", "exact-1"])
def test_long_adam_runs_follow_the_formula(arithmetic: Any) -> None:
    """Past the steps at which moments too small to matter are dropped."""
    shape = cases.topology("ce", 1, skip=True)
    values, how = cases.weights(shape), cases.rule(steps=(0, 1))
    optimizer = OptimizerSettings("adam", rate=1e-3)
    group = PopulationLearner(shape, [values], [how], [optimizer], batch=6, arithmetic=arithmetic)
    single = cases.learner(shape, values, how, optimizer, way=REFERENCE)
    for step in range(140):
        x, y = cases.batch(shape, 6, str(step % 4))
        group.step(x[None], y[None], scale=1.0)
        single.step(x, y, scale=1.0)
    expected = {name: value - values[name] for name, value in single.parameters().items()}
    came = {name: value - values[name] for name, value in group.parameters()[0].items()}
    assert cases.distance(came, expected) < {"fp32": 1e-3, "exact-1": 2e-2}[arithmetic]
