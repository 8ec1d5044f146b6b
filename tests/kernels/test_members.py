"""Populations of torch: whose bits depend on nobody else, and in exact-1 are those of a network alone."""

import math
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from kernels import (
    EqpropLearner,
    KernelError,
    OptimizerSettings,
    Relaxation,
    Rule,
    Topology,
    initial_parameters,
    permutation,
)
from kernels.learner import Array
from kernels.members import Member, Population, Span, SpanReport, population_of
from kernels.rules import ArithmeticName
from tests.kernels.networks import batch

BATCH, EXAMPLES, STEPS = 6, 23, 70  # a pass has four batches, the last of five; Adam forgets once in 64 steps

CE = Topology((9, 7, 4))
X, Y = batch(CE, EXAMPLES)
MSE = Topology((9, 7, 5, 4), output="mse", skips=((0, 2),))
CENTRED = Rule("centred", 0.3, Relaxation(steps=3), Relaxation(order="backward", steps=2))
RANDOM = replace(CENTRED, estimate="random-sign", beta=0.2)
SYNCHRONOUS = Relaxation(scheme="synchronous", steps=4, step_size=0.5)
LINEAR = Rule("linearised", 1.0, SYNCHRONOUS, SYNCHRONOUS)
KINDS = [
    pytest.param(CE, CENTRED, OptimizerSettings("adam", rate=0.02), id="ce-adam"),
    pytest.param(MSE, RANDOM, OptimizerSettings("sgd", rate=0.2, momentum=0.9), id="mse-sgd"),
    pytest.param(MSE, LINEAR, OptimizerSettings("adamw", rate=0.02, weight_decay=0.1), id="mse-adamw"),
    pytest.param(CE, CENTRED, OptimizerSettings("adam", rate=0.9), id="beyond-the-limit"),
]
MUON = pytest.param(CE, CENTRED, OptimizerSettings("muon", rate=0.02, ns_steps=3), id="ce-muon")


def key(number: int) -> bytes:
    return bytes([number]) * 32


def member(number: int, topology: Topology, rule: Rule, optimizer: OptimizerSettings) -> Member:
    """Members of one kind, each with its own weights, nudge and rate."""
    return Member(
        topology,
        initial_parameters(topology, key(number), 1.0),
        replace(rule, beta=rule.beta / (1 + number)),
        replace(optimizer, rate=optimizer.rate / (1 + number)),
        BATCH,
    )


def span(number: int, first: int = 0, last: int = STEPS) -> Span:
    """Steps of passes over all samples in an order of the member's own."""
    rows = np.full((last, BATCH), -1, dtype=np.int32)
    for step in range(last):
        epoch, index = divmod(step, math.ceil(EXAMPLES / BATCH))
        taken = permutation(key(number), epoch, EXAMPLES)[index * BATCH : (index + 1) * BATCH]
        rows[step, : len(taken)] = taken
    scales = 1.0 - np.arange(last) / STEPS
    signs = np.where(np.arange(last) * (number + 1) % 3 == 0, -1, 1).astype(np.int8)
    return Span(rows[first:], scales[first:last], signs[first:])


def population(members: Sequence[Member], arithmetic: ArithmeticName) -> Population:
    made = population_of(members, arithmetic=arithmetic, backend="torch-cpu")
    made.hold(X, Y)
    return made


def trained(
    numbers: Sequence[int], arithmetic: ArithmeticName, *kind: Any
) -> tuple[Population, list[SpanReport]]:
    group = population([member(number, *kind) for number in numbers], arithmetic)
    return group, group.run([span(number) for number in numbers])


def same(first: dict[str, Array], second: dict[str, Array]) -> bool:
    return first.keys() == second.keys() and all(
        first[name].dtype == second[name].dtype and np.array_equal(first[name], second[name], equal_nan=True)
        for name in first
    )


@pytest.mark.parametrize("arithmetic", ["fp32", "exact-1"])
@pytest.mark.parametrize(
    "kind", [*(each.values for each in KINDS), MUON.values], ids=[*(each.id or "" for each in KINDS), "muon"]
)
def test_a_members_bits_depend_on_nobody_else(kind: tuple[Any, ...], arithmetic: ArithmeticName) -> None:
    if kind[2].name == "muon" and arithmetic == "exact-1":
        with pytest.raises(KernelError, match="muon"):
            trained([0], arithmetic, *kind)
        return
    group, reports = trained([0, 1, 2], arithmetic, *kind)
    other, others = trained([2, 0], arithmetic, *kind)
    for slot, number in enumerate((2, 0)):
        alone, (report,) = trained([number], arithmetic, *kind)
        for state in (group.state(number), other.state(slot)):
            assert same(alone.state(0), state)
        assert same(alone.parameters(0), other.parameters(slot))
        assert report == reports[number] == others[slot]
        assert np.array_equal(alone.predict(X)[0], group.predict(X)[number])


@pytest.mark.parametrize("kind", [each.values for each in KINDS], ids=[each.id or "" for each in KINDS])
@pytest.mark.parametrize("numbers", [(0, 1), (1,)], ids=["two", "alone"])
def test_in_exact_1_a_member_is_a_learner_bit_for_bit(
    kind: tuple[Any, ...], numbers: tuple[int, ...]
) -> None:
    group, reports = trained(numbers, "exact-1", *kind)
    each = member(1, *kind)
    learner = EqpropLearner(
        each.topology,
        each.parameters,
        each.rule,
        each.optimizer,
        batch=BATCH,
        arithmetic="exact-1",
        backend="torch-cpu",
    )
    steps = span(1)
    for rows, scale, sign in zip(steps.rows, steps.scales, steps.signs, strict=True):
        taken = rows[rows >= 0]
        found = learner.step(X[taken], Y[taken], scale=float(scale), sign=int(sign))
    assert same(group.state(len(numbers) - 1), learner.state())
    assert same(group.parameters(len(numbers) - 1), learner.parameters())
    assert np.array_equal(group.predict(X)[-1], learner.predict(X))
    report = reports[-1]
    assert (report.residual, report.failed_at) == (found.residual, 0)
    assert (report.free_steps, report.nudged_steps) == (found.free_steps * STEPS, found.nudged_steps * STEPS)


@pytest.mark.parametrize("arithmetic", ["fp32", "exact-1"])
def test_spans_go_on_where_the_last_one_ended(arithmetic: ArithmeticName) -> None:
    kind = (CE, CENTRED, OptimizerSettings("adam", rate=0.02))
    whole, _ = trained([0, 1], arithmetic, *kind)
    parts = population([member(number, *kind) for number in (0, 1)], arithmetic)
    for first, last in ((0, 30), (30, 31), (31, STEPS)):
        parts.run([span(number, first, last) for number in (0, 1)])
    assert all(same(whole.state(number), parts.state(number)) for number in (0, 1))


@pytest.mark.parametrize("arithmetic", ["fp32", "exact-1"])
def test_who_diverges_names_its_step_and_harms_nobody(arithmetic: ArithmeticName) -> None:
    kind = (MSE, RANDOM, OptimizerSettings("sgd", rate=0.2, momentum=0.9))
    # Large, but finite: the first step's products are beyond any number.
    huge = {name: array * 0 + 1e38 for name, array in member(1, *kind).parameters.items()}
    # In exact-1 weights and states are bounded: only a rate that is infinite times a unit makes numbers of none.
    steep = replace(member(1, *kind), optimizer=OptimizerSettings("sgd", rate=1.7e308))
    bad = replace(member(1, *kind), parameters=huge) if arithmetic == "fp32" else steep
    group = population([member(0, *kind), bad, member(2, *kind)], arithmetic)
    reports = group.run([span(number) for number in range(3)])
    assert [bool(report.failed_at) for report in reports] == [False, True, False]
    alone, _ = trained([2], arithmetic, *kind)
    assert same(group.state(2), alone.state(0))
    (lonely,) = population([bad], arithmetic).run([span(1)])
    assert lonely.failed_at == reports[1].failed_at


def refused(match: str) -> Any:
    return pytest.raises(KernelError, match=match)


def test_what_a_population_cannot_be_is_refused() -> None:
    kind = (CE, CENTRED, OptimizerSettings("adam"))
    one = member(0, *kind)
    with refused("at least one member"):
        population([], "fp32")
    with refused("slower in bf16"):
        population([one], "bf16")
    with refused("one topology and batch"):
        population([one, replace(one, batch=BATCH + 1)], "fp32")
    with refused("one topology and batch"):
        population([one, member(0, Topology((9, 8, 4)), *kind[1:])], "fp32")
    with refused("tolerance"):
        population([replace(one, rule=replace(CENTRED, free=Relaxation(steps=3, tolerance=0.1)))], "fp32")
    with refused("differ in beta alone"):
        population([one, replace(one, rule=replace(CENTRED, estimate="negative"))], "fp32")
    with refused("populations run on"):
        population_of([one], arithmetic="fp32", backend="reference")


def test_data_and_spans_that_fit_nobody_are_refused() -> None:
    kind = (CE, CENTRED, OptimizerSettings("adam"))
    group = population_of([member(0, *kind), member(1, *kind)], arithmetic="fp32", backend="torch-cpu")
    both = [span(0), span(1)]
    with refused("Call `hold` first"):
        group.run(both)
    for x, y, match in (
        (X[:, 1:], Y, "samples, 9"),
        (X, Y[1:], "one class number"),
        (X, Y + 1, "classes 0 to 3"),
    ):
        with refused(match):
            group.hold(x, y)
    group.hold(X, Y)
    with refused("once"):
        group.hold(X, Y)
    first = both[0]
    gap, empty, far = first.rows.copy(), first.rows.copy(), first.rows.copy()
    gap[0, 0], empty[1], far[2, 2] = -1, -1, EXAMPLES
    for wrong, match in (
        (both[:1], "one for each of 2"),
        ([first, replace(first, rows=first.rows[:, 1:])], "needs rows"),
        ([first, replace(first, rows=gap)], "only at the end"),
        ([first, replace(first, rows=empty)], "at least one sample"),
        ([first, replace(first, rows=far)], "lie in"),
        ([first, replace(first, scales=first.scales + 1.0)], "scale"),
        ([first, replace(first, signs=first.signs * 0)], "sign"),
        ([first, replace(first, scales=first.scales / 2)], "steps and scales"),
        ([first, span(1, 1)], "steps and scales"),
        (
            [first, replace(first, rows=np.where(np.arange(BATCH) < 5, first.rows, -1).astype(np.int32))],
            "equally many",
        ),
    ):
        with refused(match):
            group.run(wrong)
