"""Cases of `train_persistent`: whole trainings in one launch against the CPU's learner, one network at a time."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from functools import partial
from itertools import accumulate, pairwise
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from kernels import EqpropLearner, OptimizerSettings, Rule, Topology
from kernels.backends.triton.training import TrainingBuffers, TrainingReport, blocks, train_persistent
from kernels.backends.triton.training_layout import TrainingLayout
from kernels.backends.triton.training_plan import TrainingPlan, plan_training
from kernels.errors import KernelError
from kernels.learner import Array
from kernels.members import Member, Span
from tests.kernels.gpu.guarded import Guards
from tests.kernels.networks import batch, parameters, rule, uniform

INPUTS, CLASSES, SAMPLES = 9, 7, 60
# Relative to the largest entry of a parameter, and of what it has moved by. fp16: 2**-11 of a state for each rounding
# on the way, and EP subtracts two near-equal states.
CLOSE = {torch.float32: (1e-4, 2e-4), torch.float16: (2e-2, 6e-2)}
SGD, ADAM = OptimizerSettings("sgd", rate=0.1, momentum=0.9), OptimizerSettings("adam", rate=0.01)
ADAMW = OptimizerSettings("adamw", rate=0.02, weight_decay=0.3)


def member(
    hidden: Sequence[int], output: str, asked: Rule, optimizer: OptimizerSettings, size: int, **options: Any
) -> Member:
    """A network that reads the data of these cases."""
    topology = Topology((INPUTS, *hidden, CLASSES), output, **options)  # type: ignore[arg-type]
    return Member(topology, parameters(topology), asked, optimizer, size)


def members() -> list[Member]:
    """Each estimate, optimizer, output and order; one to three hidden layers; batches of one tile and of two."""
    return [
        member([20], "mse", rule("centred"), SGD, 5),
        member([17, 33], "ce", rule("random-sign", orders=("alternating", "forward"), nudged=2), ADAM, 70),
        member([70, 18, 5], "mse", rule("negative", orders=("backward", "alternating")), ADAMW, 18, clip=0.8),
        member([16], "ce", rule("centred", 0.2, free=0, nudged=1), ADAM, 3),
        member([30, 12], "mse", rule("random-sign", 0.15, free=2), SGD, 16),
        member([24, 40], "ce", rule("one-sided", free=1, orders=("backward", "backward")), ADAMW, 7),
    ]


def light() -> list[Member]:
    """Networks that settle soon, for what does not turn on how they settle."""
    return [
        member([20], "mse", rule(free=1, nudged=1), SGD, 4),
        member([12], "ce", rule("one-sided", free=1, nudged=1), ADAM, 3),
        member([10, 18], "ce", rule("random-sign", free=1, nudged=1), ADAMW, 5),
    ]


def span(size: int, steps: int, label: str, *, short: int | None = None) -> Span:
    """Steps whose rates fall and whose signs change; the last batch has `short` samples."""
    rows = (uniform(label, steps, size) * SAMPLES).astype(np.int32)
    if short is not None:
        rows[-1, short:] = -1
    return Span(rows, np.linspace(1.0, 0.5, steps), np.where(np.arange(steps) % 2, 1, -1).astype(np.int8))


def spans(networks: Sequence[Member]) -> list[Span]:
    """Two or three steps for each network, its own; the last of each reads two samples."""
    return [span(each.batch, 2 + i % 2, f"rows {i}", short=2) for i, each in enumerate(networks)]


class Launch:
    """A population on a device amid guards, its scratch full of NaN."""

    def __init__(self, device: str, networks: Sequence[Member], dtype: torch.dtype = torch.float32) -> None:
        self.layout = TrainingLayout(tuple(networks))
        self.guards = Guards(device)
        made = TrainingBuffers.of(self.layout, "cpu", dtype=dtype)
        kept = {
            name: self.guards.of(getattr(made, name), dense=True)
            for name in ("table", "numbers", "order", "parameters", "first", "second")
        }
        self.buffers = TrainingBuffers(
            **kept,
            states=self.guards.empty((self.layout.state_size,), dtype, dense=True),
            drive=self.guards.empty((self.layout.drive_size,), torch.float32, dense=True),
        )
        x, y = batch(networks[0].topology, SAMPLES)
        self.x, self.y = self.guards.of(torch.from_numpy(x), dense=True), torch.from_numpy(y).to(device)
        self.device = device
        self.done = [0] * len(networks)

    def run(self, asked: Sequence[Span]) -> TrainingReport:
        """Train over the spans."""
        made = plan_training(self.layout, asked, done=self.done, samples=SAMPLES)
        plan = TrainingPlan(
            *(self.guards.of(each, dense=True) for each in (made.lengths, made.rows, made.schedule))
        )
        report = train_persistent(self.layout, plan, self.buffers, self.x, self.y)
        self.guards.check()
        self.done = [done + len(each.scales) for done, each in zip(self.done, asked, strict=True)]
        return report

    def kept(self, network: int) -> list[Array]:
        """The parameters and both slots of a network."""
        flats = (self.buffers.parameters, self.buffers.first, self.buffers.second)
        return [value for flat in flats for value in self.layout.read(flat, network).values()]

    def padding(self, flat: Tensor) -> Tensor:
        """The elements of `flat` that are no parameter's."""
        inside = torch.zeros(self.layout.parameter_size, dtype=torch.bool)
        for network, each in enumerate(self.layout.members):
            for name in each.topology.parameter_shapes:
                self.layout.view(inside, network, name).logical_not_()
        return flat.cpu()[~inside]


def by_learner(each: Member, asked: Span) -> tuple[dict[str, Array], float]:
    """The parameters of a member after its span on the CPU, and the residual of the last step."""
    x, y = batch(each.topology, SAMPLES)
    learner = EqpropLearner(
        each.topology, each.parameters, each.rule, each.optimizer, batch=each.batch, backend="torch-cpu"
    )
    residual = 0.0
    for rows, scale, sign in zip(asked.rows, asked.scales, asked.signs, strict=True):
        rows = rows[rows >= 0]
        residual = learner.step(x[rows], y[rows], scale=float(scale), sign=int(sign)).residual
    return learner.parameters(), residual


def off(found: dict[str, Array], right: dict[str, Array]) -> float:
    """The largest error of any parameter over that parameter's largest entry; NaN is infinite."""
    errors = [np.abs(found[name] - right[name]).max() / np.abs(right[name]).max() for name in right]
    return float(np.nan_to_num(max(errors), nan=np.inf))


def parity_case(device: str, dtype: torch.dtype, networks: Callable[[], list[Member]]) -> None:
    """Every network of a launch against a learner of its own; the padding stays zero."""
    chosen = networks()
    assert max(each.batch for each in chosen) > blocks(exact=dtype == torch.float32)["BM"], (
        "a batch of two tiles"
    )
    launch, asked = Launch(device, chosen, dtype), spans(chosen)
    report = launch.run(asked)
    assert not report.failed_at.any()
    for network, (each, steps) in enumerate(zip(chosen, asked, strict=True)):
        expected, residual = by_learner(each, steps)
        found = launch.layout.read(launch.buffers.parameters, network)
        whole, moved = CLOSE[dtype]
        assert (error := off(found, expected)) <= whole, f"network {network}: error {error:.3g}"
        moves = [{k: values[k] - each.parameters[k] for k in expected} for values in (found, expected)]
        assert (error := off(*moves)) <= moved, f"network {network}: error of what it moved by {error:.3g}"
        assert abs(float(report.residual[network]) - residual) <= whole * 0.1, f"network {network}: residual"
    for flat in (launch.buffers.parameters, launch.buffers.first, launch.buffers.second):
        assert not launch.padding(flat).any(), "padded parameters and slots must stay 0"


def sgd_alone() -> list[Member]:
    """Networks whose error is that of the gradient: Adam divides by its size."""
    return [replace(each, optimizer=SGD) for each in members()[:3]]


def slots_case(device: str) -> None:
    """A network's bits depend neither on its slot nor on its neighbours, their batches and spans included."""
    first, _, second = light()
    asked = [span(each.batch, 2, "own") for each in (first, second)]
    alone = []
    for each, steps in zip((first, second), asked, strict=True):
        launch = Launch(device, [each])
        launch.run([steps])
        alone.append(launch.kept(0))
    neighbour = member([33], "ce", rule(free=1, nudged=1), ADAM, 40)
    launch = Launch(device, [second, neighbour, first])
    launch.run([asked[1], span(40, 1, "neighbour"), asked[0]])
    for slot, expected in ((0, alone[1]), (2, alone[0])):
        assert all(np.array_equal(a, b) for a, b in zip(launch.kept(slot), expected, strict=True))


def pieces_case(device: str) -> None:
    """A span in pieces, of other lengths for each network, is the span in one, bit for bit."""
    chosen = light()[1:]
    whole = [span(each.batch, 3, "whole") for each in chosen]
    at_once, by_parts = Launch(device, chosen), Launch(device, chosen)
    at_once.run(whole)
    for cuts in zip(
        *(list(pairwise(accumulate(sizes, initial=0))) for sizes in ((1, 2), (2, 1))), strict=True
    ):
        by_parts.run(
            [
                Span(each.rows[a:b], each.scales[a:b], each.signs[a:b])
                for each, (a, b) in zip(whole, cuts, strict=True)
            ]
        )
    for slot in range(len(chosen)):
        pairs = zip(at_once.kept(slot), by_parts.kept(slot), strict=True)
        assert all(np.array_equal(a, b) for a, b in pairs)


def nan_case(device: str) -> None:
    """A network that meets what is not a number names its step; its neighbours keep their bits."""
    chosen = light()[::-1]
    asked = [span(each.batch, 2, f"rows {i}") for i, each in enumerate(chosen)]
    for steps in asked:
        steps.rows[steps.rows == SAMPLES - 1] = 0
    clean, sick = Launch(device, chosen[2:]), Launch(device, chosen)
    clean.run(asked[2:])
    poisoned = asked[1].rows.copy()
    poisoned[1, 1] = SAMPLES - 1
    sick.x[SAMPLES - 1, 3] = float("nan")
    # The first network begins with a weight that is not a number.
    sick.layout.view(sick.buffers.parameters, 0, "w1-2")[2, 3] = float("nan")
    report = sick.run([asked[0], replace(asked[1], rows=poisoned), asked[2]])
    assert report.failed_at.tolist() == [1, 2, 0]
    assert torch.isinf(report.residual).tolist() == [True, True, False]
    assert all(np.array_equal(a, b) for a, b in zip(sick.kept(2), clean.kept(0), strict=True))
    assert not all(np.isfinite(value).all() for value in sick.kept(1))


def refusals_case(device: str) -> None:
    """Arguments that do not fit together."""
    chosen = light()[:2]
    launch = Launch(device, chosen)
    plan = plan_training(launch.layout, spans(chosen), done=[0, 0], samples=SAMPLES).to(device)

    def refused(word: str, *, x: Tensor = launch.x, y: Tensor = launch.y, **changed: Tensor) -> None:
        buffers = {name: value for name, value in changed.items() if hasattr(launch.buffers, name)}
        steps = {name: value for name, value in changed.items() if hasattr(plan, name)}
        assert len(buffers) + len(steps) == len(changed)
        with pytest.raises(KernelError) as caught:
            train_persistent(launch.layout, replace(plan, **steps), replace(launch.buffers, **buffers), x, y)
        assert word in str(caught.value), f"expected {word!r} in: {caught.value}"

    own = launch.buffers
    refused("table", table=own.table.long())
    refused("numbers", numbers=own.numbers[:1])
    refused("order", order=own.order.float())
    refused("parameters", parameters=own.parameters[:-16])
    refused("first", first=own.first.half())
    refused("share memory", first=own.parameters)
    refused("share memory", second=own.first)
    refused("float16 or float32", states=own.states.double())
    refused("states", states=own.states[16:])
    refused("drive", drive=own.drive.half())
    refused("lengths", lengths=plan.lengths[:1])
    refused("rows", rows=plan.rows[:, :, :1])
    refused("contiguous", rows=torch.cat([plan.rows] * 2, -1)[:, :, : plan.rows.shape[-1]])
    refused("schedule", schedule=plan.schedule[:, :1])
    refused("[n, n_0]", x=launch.x[0])
    refused("x must", x=launch.x[:, 1:])
    refused("y must", y=launch.y.int())


def training_cases() -> Iterator[tuple[str, Callable[[str], None]]]:
    yield "mixed-float32", partial(parity_case, dtype=torch.float32, networks=members)
    yield "sgd-float16", partial(parity_case, dtype=torch.float16, networks=sgd_alone)
    yield "nan", nan_case
    yield "slots", slots_case
    yield "pieces", pieces_case
    yield "refusals", refusals_case
