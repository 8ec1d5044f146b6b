"""Whole trainings in one launch: what is refused, where networks lie, what a plan says; and on a device, gate 4."""

import itertools
from collections.abc import Callable
from dataclasses import replace
from importlib import import_module
from typing import get_args

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from kernels import OptimizerSettings, Relaxation, Rule, Topology
from kernels.backends.reference_optimizers import optimizer_step
from kernels.backends.triton.ragged_layout import UNIT, padded
from kernels.backends.triton.training_layout import (
    COPIES,
    LARGEST_BATCH,
    LAYER_FIELDS,
    LAYERS_AT,
    NUMBERS,
    ROW,
    TrainingLayout,
    lacks_training,
    phases,
    work,
)
from kernels.backends.triton.training_plan import plan_training
from kernels.contrast import distance
from kernels.errors import KernelError
from kernels.members import Member, Span
from kernels.rules import OptimizerName
from tests.kernels.gpu.gates import needs_triton
from tests.kernels.networks import parameters, rule

ADAM = OptimizerSettings("adam", rate=0.01)
SMALL = Topology((5, 6, 4), "ce")


def member(
    topology: Topology = SMALL, asked: Rule | None = None, optimizer: OptimizerSettings = ADAM, size: int = 3
) -> Member:
    return Member(topology, parameters(topology), asked or rule(), optimizer, size)


def span(steps: int, size: int = 3, *, samples: int = 9) -> Span:
    rows = (np.arange(steps * size, dtype=np.int32) % samples).reshape(steps, size)
    signs = np.where(np.arange(steps) % 2, 1, -1).astype(np.int8)
    return Span(rows, np.linspace(1.0, 0.25, steps), signs)


@pytest.mark.parametrize(
    ("word", "topology", "asked", "optimizer"),
    [
        ("skips", Topology((5, 6, 6, 4), "ce", ((0, 2),)), rule(), ADAM),
        ("9 layers", Topology((5, *[3] * 8, 4), "ce"), rule(), ADAM),
        ("32769 units", Topology((2**15 + 1, 6, 4), "ce"), rule(), ADAM),
        ("4097 units", Topology((5, 4097, 4), "mse"), rule(), ADAM),
        ("65 classes", Topology((5, 6, 65), "mse"), rule(), ADAM),
        ("linearised", SMALL, rule("linearised"), ADAM),
        ("synchronously", SMALL, rule(scheme="synchronous"), ADAM),
        ("tolerance", SMALL, rule(tolerance=1e-3), ADAM),
        (
            "tolerance",
            SMALL,
            replace(rule(), nudged=Relaxation(steps=1, tolerance=1e-3)),
            ADAM,
        ),
        *(
            (name, SMALL, rule(), OptimizerSettings(name))
            for name in sorted({*get_args(OptimizerName)} - {"sgd", "adam", "adamw"})
        ),
        ("spectral", SMALL, rule(), OptimizerSettings("sgd", spectral_cap=1.0)),
    ],
)
def test_what_a_launch_cannot_do_is_said(word, topology, asked, optimizer):
    said = lacks_training(topology, asked, optimizer)
    assert said is not None
    assert word in said
    # Refused before the parameters are looked at.
    with pytest.raises(KernelError, match="one launch"):
        TrainingLayout((Member(topology, {}, asked, optimizer, 3),))


@pytest.mark.parametrize("optimizer", [ADAM, OptimizerSettings("adamw"), OptimizerSettings("sgd")])
@pytest.mark.parametrize("estimate", ["centred", "one-sided", "negative", "random-sign"])
@pytest.mark.parametrize("output", ["ce", "mse"])
def test_what_it_can_do_is_not_refused(output, estimate, optimizer):
    assert lacks_training(Topology((2**15, 4096, *[3] * 6, 64), output), rule(estimate), optimizer) is None


def test_networks_that_do_not_fit_together_are_refused():
    for word, members in (
        ("at least one", []),
        ("inputs", [member(), member(Topology((6, 6, 4), "ce"))]),
        ("classes", [member(), member(Topology((5, 6, 3), "ce"))]),
        ("batch", [member(size=LARGEST_BATCH + 1)]),
        ("beta", [member(Topology((5, 6, 4), "mse"), rule(beta=0.7))]),
        ("w0-1", [replace(member(), parameters=parameters(Topology((5, 7, 4), "ce")))]),
    ):
        with pytest.raises(KernelError, match=word):
            TrainingLayout(tuple(members))


def test_more_than_32_bits_of_units_are_refused(monkeypatch):
    # Nobody has so many parameters: a single huge layout stands for them.
    monkeypatch.setattr(TrainingLayout, "state_size", property(lambda self: UNIT * 2**31))
    with pytest.raises(KernelError, match="fewer networks"):
        TrainingLayout((member(),))


chosen_members = st.lists(
    st.builds(
        lambda hidden, output, estimate, size: member(
            Topology((5, *hidden, 4), output), rule(estimate), size=size
        ),
        st.lists(st.integers(1, 40), min_size=1, max_size=3),
        st.sampled_from(["ce", "mse"]),
        st.sampled_from(["centred", "one-sided", "negative", "random-sign"]),
        st.integers(1, 9),
    ),
    min_size=1,
    max_size=4,
)


@given(chosen_members)
def test_every_parameter_has_memory_of_its_own(members):
    layout = TrainingLayout(tuple(members))
    flat = torch.zeros(layout.parameter_size)
    for network, each in enumerate(members):
        for name, shape in each.topology.parameter_shapes.items():
            view = layout.view(flat, network, name)
            assert tuple(view.shape) == shape
            view.add_(1)
    assert flat.max() == 1, "two parameters share an element"
    filled = layout.filled()
    assert not filled[flat == 0].any(), "padding is 0"
    for network, each in enumerate(members):
        found = layout.read(filled, network)
        for name, value in each.parameters.items():
            assert np.array_equal(found[name], np.asarray(value, dtype=np.float32))


@given(chosen_members)
def test_the_table_says_where_networks_lie(members):
    layout = TrainingLayout(tuple(members))
    table, parameters_, numbers = layout.table(), torch.arange(layout.parameter_size), layout.numbers()
    assert table.shape == (len(members), ROW)
    assert numbers.shape == (len(members), NUMBERS)
    spaces: list[tuple[int, int]] = []
    drives: list[tuple[int, int]] = []
    for network, each in enumerate(members):
        row, topology = table[network].tolist(), each.topology
        sizes = [padded(size) for size in topology.sizes]
        assert row[:4] == [
            topology.last,
            int(topology.output == "ce"),
            len(phases(each)),
            each.batch,
        ]
        copy = row[6] * UNIT
        assert copy == each.batch * sum(sizes[1:])
        drives.append((row[7] * UNIT, each.batch * sizes[1]))
        for layer in range(topology.last + 1):
            start = LAYERS_AT + LAYER_FIELDS * layer
            width, weight, bias, state = (value * UNIT for value in row[start : start + LAYER_FIELDS])
            assert width == sizes[layer]
            copies = COPIES if layer else 1
            spaces += [(state + copy * each_copy, each.batch * width) for each_copy in range(copies)]
            if layer:
                assert weight == int(layout.view(parameters_, network, f"w{layer - 1}-{layer}")[0, 0])
                assert bias == int(layout.view(parameters_, network, f"b{layer}")[0])
    for found, size in ((spaces, layout.state_size), (drives, layout.drive_size)):
        found.sort()
        assert all(a + length == b for (a, length), (b, _) in itertools.pairwise(found)), "gaps or overlaps"
        assert found[0][0] == 0
        assert sum(found[-1]) == size


def test_phases_follow_the_estimate():
    def told(output: str, estimate: str) -> list[tuple[int, int, float, int]]:
        """Sweeps, copy, nudge and whether the sign turns it, of each phase."""
        each = member(Topology((5, 6, 7, 4), output), rule(estimate, 0.3, free=4, nudged=3))
        return [(integers[0], integers[5], nudge, integers[7]) for integers, nudge in phases(each)]

    start, free, read = (1, 0, 0.0, 0), (4, 0, 0.0, 0), (1, 0, -1.0, 0)
    assert told("mse", "centred") == [start, free, (3, 1, 0.3, 0), (3, 2, -0.3, 0)]
    assert told("ce", "centred") == [start, free, read, (3, 1, 0.3, 0), (3, 2, -0.3, 0)]
    assert told("ce", "one-sided") == [start, free, read, (3, 1, 0.3, 0)]
    assert told("mse", "negative") == [start, free, (3, 1, -0.3, 0)]
    assert told("mse", "random-sign") == [start, free, (3, 1, 0.3, 1)]
    integers = [phase[:5] for phase, _ in phases(member(Topology((5, 6, 7, 4), "ce")))]
    # Sweeps, order, visits, topmost layer, whether the readout is read: only nudged phases reach it.
    assert integers == [[1, 0, 2, 2, 0], [4, 0, 2, 2, 0], [1, 1, 1, 3, 0], [3, 1, 3, 3, 1], [3, 1, 3, 3, 1]]


@pytest.mark.parametrize("estimate", ["centred", "one-sided", "negative", "random-sign"])
def test_an_estimate_is_divided_by_the_distance_of_its_nudges(estimate):
    each = member(asked=rule(estimate, 0.3))
    away = float(TrainingLayout((each,)).numbers()[0, 3])
    assert abs(away) == pytest.approx(1 / distance(each.rule))
    assert (away < 0) == (estimate == "negative")


def test_the_longest_come_first():
    members = [member(size=1), member(Topology((5, 60, 60, 4), "mse"), size=8), member(size=4)]
    assert TrainingLayout(tuple(members)).order().tolist() == [1, 2, 0]
    more = replace(members[0], rule=rule(free=9))
    assert work(more) > work(members[0])


@pytest.mark.parametrize("name", ["sgd", "adam", "adamw"])
def test_a_plan_makes_the_optimizers_step(name):
    """What the kernel does with the numbers of a plan, in float64, is what the arbiter's optimizer does."""
    settings = OptimizerSettings(name, rate=0.1, momentum=0.9, weight_decay=0.2)
    each, asked, before = member(optimizer=settings), span(4), 3
    layout = TrainingLayout((each,))
    plan = plan_training(layout, [asked], done=[before], samples=9)
    _, kept, taken, _, *_ = layout.numbers()[0].double().tolist()
    value, m, v = np.array([0.7]), np.array([0.2]), np.array([0.01])
    slots = {"velocity": m} if name == "sgd" else {"first": m, "second": v}
    expected = value
    for step, numbers in enumerate(plan.schedule[0].double().tolist()):
        rate, floor, keep, *_ = numbers
        gradient = np.array([0.5 - step])
        m = kept * m + taken * gradient
        v = 0.999 * v + 0.001 * gradient * gradient
        value = keep * value - rate * m / ((0.0 if name == "sgd" else np.sqrt(v)) + floor)
        expected, slots = optimizer_step(
            expected, gradient, slots, settings, scale=float(asked.scales[step]), time=before + step + 1
        )
        # Numbers of a plan are float32.
        np.testing.assert_allclose(value, expected, rtol=1e-6)


def test_a_plan_holds_the_rows_of_every_network():
    members = [member(size=3), member(asked=rule("random-sign"), size=5)]
    asked = [span(2), span(3, 5)]
    asked[1].rows[-1, 2:] = -1
    plan = plan_training(TrainingLayout(tuple(members)), asked, done=[0, 0], samples=9)
    assert plan.lengths.tolist() == [2, 3]
    assert plan.rows[0].tolist() == [[0, 1, 2, -1, -1], [3, 4, 5, -1, -1], [-1] * 5]
    assert plan.rows[1].tolist() == asked[1].rows.tolist()
    # The estimate "centred" has no sign; a short batch is the mean over what it holds.
    assert plan.schedule[0, :2, 3].tolist() == [1, 1]
    assert plan.schedule[1, :, 3].tolist() == [-1, 1, -1]
    assert plan.schedule[1, :, 4].tolist() == pytest.approx([1 / 5, 1 / 5, 1 / 2])
    moved = plan.to("cpu")
    assert torch.equal(moved.rows, plan.rows)


def test_spans_that_do_not_fit_are_refused():
    layout = TrainingLayout((member(),))
    for word, asked, done in (
        ("one for each", [], [0]),
        ("count steps", [span(2, samples=5)], [-1]),
        ("count steps", [span(2, samples=5)], []),
        ("rows", [span(2, 4, samples=5)], [0]),
        ("rows", [span(2)], [0]),
        ("least one sample", [Span(np.full((1, 3), -1, np.int32), np.ones(1), np.ones(1, np.int8))], [0]),
    ):
        with pytest.raises(KernelError, match=word):
            plan_training(layout, asked, done=done, samples=5)


def test_a_view_of_no_parameter_is_refused():
    layout = TrainingLayout((member(),))
    flat = layout.filled()
    with pytest.raises(KernelError, match="network"):
        layout.view(flat, 1, "b1")
    with pytest.raises(KernelError, match="w0-2"):
        layout.view(flat, 0, "w0-2")


on_device = [
    pytest.mark.gpu,
    needs_triton,
    pytest.mark.skipif(
        not torch.cuda.is_available(), reason="no CUDA device here: run this on a machine with a GPU"
    ),
]
P, STEPS, DATA = 64, 20, 256


def population(output: str) -> list[Member]:
    topology = Topology((64, 64, 10), output)
    asked = [rule(estimate, 0.2, free=10, nudged=5) for estimate in ("centred", "one-sided", "random-sign")]
    settings = [ADAM, OptimizerSettings("sgd", rate=0.05, momentum=0.9)]
    return [
        Member(topology, parameters(topology, seed=bytes([number] * 32)), asked[number % 3], settings[number % 2], 32)
        for number in range(P)
    ]  # fmt: skip


def sixty_four(
    dtype: torch.dtype,
) -> Callable[[int], tuple[list[Member], list[Span], list[list[np.ndarray]]]]:
    """A launch of 64 networks 64-64-10 for so many steps, from their beginning, and what they then hold."""
    from kernels.backends.triton.training import TrainingBuffers, train_persistent
    from tests.kernels.networks import batch

    members = population("ce")
    layout = TrainingLayout(tuple(members))
    x, y = (torch.from_numpy(each).cuda() for each in batch(members[0].topology, DATA))

    def act(steps: int) -> tuple[list[Member], list[Span], list[list[np.ndarray]]]:
        asked = [span(steps, 32, samples=DATA) for _ in members]
        plan = plan_training(layout, asked, done=[0] * P, samples=DATA).to("cuda")
        buffers = TrainingBuffers.of(layout, "cuda", dtype=dtype)
        report = train_persistent(layout, plan, buffers, x, y)
        assert not report.failed_at.any()
        kept = [
            [value for flat in (buffers.parameters, buffers.first) for value in layout.read(flat, network).values()]
            for network in range(P)
        ]  # fmt: skip
        return members, asked, kept

    return act


class TestOnADevice:
    pytestmark = on_device

    def test_64_networks_follow_the_cpus_learner(self):
        from kernels import EqpropLearner
        from tests.kernels.gpu.training_cases import off
        from tests.kernels.networks import batch

        members, asked, kept = sixty_four(torch.float32)(STEPS)
        x, y = batch(members[0].topology, DATA)
        for network in (0, 1, 2, 31, 63):
            each = members[network]
            learner = EqpropLearner(
                each.topology, each.parameters, each.rule, each.optimizer, batch=32, backend="torch-cpu"
            )
            steps = asked[network]
            for rows, scale, sign in zip(steps.rows, steps.scales, steps.signs, strict=True):
                learner.step(x[rows], y[rows], scale=float(scale), sign=int(sign))
            expected = learner.parameters()
            found = dict(zip(expected, kept[network], strict=False))
            assert off(found, expected) <= 1e-3, f"network {network}"

    @pytest.mark.parametrize("dtype", [torch.float32, torch.float16])
    def test_runs_are_the_same_bit_for_bit(self, dtype):
        act = sixty_four(dtype)
        first = act(STEPS)[2]
        for _ in range(3):
            # A result that moves from run to run is a race.
            again = act(STEPS)[2]
            assert all(
                np.array_equal(a, b)
                for old, new in zip(first, again, strict=True)
                for a, b in zip(old, new, strict=True)
            )

    def test_populations_of_other_shapes_are_one_compilation(self):
        from kernels.backends.triton.training import TrainingBuffers, train_persistent

        kernel = import_module("kernels.backends.triton.training")._kernel
        compiled = []
        for hidden in ([40], [17, 90, 33], [200, 64]):
            members = [
                member(Topology((64, *hidden, 10), output), rule(free=2, nudged=1), size=len(hidden) * 17)
                for output in ("ce", "mse")
            ]
            layout = TrainingLayout(tuple(members))
            asked = [span(len(hidden), each.batch, samples=DATA) for each in members]
            plan = plan_training(layout, asked, done=[0, 0], samples=DATA).to("cuda")
            x, y = torch.rand(DATA, 64, device="cuda"), torch.zeros(DATA, dtype=torch.int64, device="cuda")
            train_persistent(layout, plan, TrainingBuffers.of(layout, "cuda", dtype=torch.float16), x, y)
            compiled.append(len(kernel.device_caches[torch.cuda.current_device()][0]))
        assert compiled[0] == compiled[2]
