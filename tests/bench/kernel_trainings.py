"""Whole trainings of 64-64-10 in one launch, and the memory of a step: parts of `tests.bench.kernels`."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import torch

from kernels import EqpropLearner, OptimizerSettings, Relaxation, Rule, Topology, initial_parameters
from kernels.members import Member, Span
from tests.bench.on_device import median_s
from tests.bench.report import Cell, Column, Figure, Table
from tests.bench.stepping import Batch, batch_of
from tests.kernels.gpu.steps import BETA, MOMENTUM, RATE, eager_step, fused_step, population

if TYPE_CHECKING:
    from kernels.backends.triton.training import TrainingReport

NOT_MEASURED = "not measured"


@dataclass(frozen=True)
class Sizes:
    """One population to be trained whole: layers, batch, sweeps, networks, and steps of each."""

    sizes: tuple[int, ...]
    batch: int
    sweeps: tuple[int, int]
    networks: int
    steps: int


# The training of `ep`'s sweeps; 68 steps are four epochs of digits.
WHOLE = Sizes((64, 64, 10), 64, (4, 2), 1024, 68)
TOY = Sizes((24, 18, 10), 17, (2, 1), 2, 2)
LEAST_GAIN = 1000.0
# Of a parameter after three steps, over its largest entry: sums in another order, and states of 11 bits.
CLOSE = {torch.float32: 1e-4, torch.float16: 2e-2}
CHECKED_STEPS = 3
MEMORY_SWEEPS = (10, 1000)
MEMORY_NETWORKS = 16


def member(asked: Sizes, number: int) -> Member:
    """A network of the population: centred, output inside the energy, SGD with momentum."""
    topology = Topology(asked.sizes, "mse")
    rule = Rule(
        "centred",
        BETA,
        Relaxation(order="forward", steps=asked.sweeps[0]),
        Relaxation(order="backward", steps=asked.sweeps[1]),
    )
    start = initial_parameters(topology, seed=number.to_bytes(32, "big"), gain=1.0)
    return Member(topology, start, rule, OptimizerSettings("sgd", rate=RATE, momentum=MOMENTUM), asked.batch)


def span(asked: Sizes, steps: int) -> Span:
    """So many steps, one batch after the other."""
    rows = np.arange(steps * asked.batch, dtype=np.int32).reshape(steps, asked.batch)
    return Span(rows, np.ones(steps), np.ones(steps, dtype=np.int8))


class Launch:
    """A population on a device, to be trained over spans in single launches."""

    def __init__(self, asked: Sizes, device: str, dtype: torch.dtype, steps: int) -> None:
        from kernels.backends.triton.training import TrainingBuffers
        from kernels.backends.triton.training_layout import TrainingLayout
        from kernels.backends.triton.training_plan import plan_training

        self.layout = TrainingLayout(tuple(member(asked, number) for number in range(asked.networks)))
        self.buffers = TrainingBuffers.of(self.layout, device, dtype=dtype)
        samples = steps * asked.batch
        x, y = batch_of(samples, asked.sizes[0])
        self.x, self.y = torch.from_numpy(x).to(device), torch.from_numpy(y).to(device)
        spans, done = [span(asked, steps)] * asked.networks, [0] * asked.networks
        self.plan = plan_training(self.layout, spans, done=done, samples=samples).to(device)

    def run(self) -> "TrainingReport":
        """Train every network over its steps; again, it goes on from where it was."""
        from kernels.backends.triton.training import train_persistent

        return train_persistent(self.layout, self.plan, self.buffers, self.x, self.y)


def learned(asked: Sizes, number: int, data: Batch, steps: int) -> dict[str, Any]:
    """The parameters of a network after so many steps of the CPU's learner."""
    each = member(asked, number)
    learner = EqpropLearner(
        each.topology, each.parameters, each.rule, each.optimizer, batch=each.batch, backend="torch-cpu"
    )
    for rows in span(asked, steps).rows:
        learner.step(data[0][rows], data[1][rows], scale=1.0)
    return learner.parameters()


def launch_error(asked: Sizes, device: str, dtype: torch.dtype) -> float:
    """The largest error of a parameter over its largest entry, in the first and last network, after a few steps.

    Raises ValueError where it is not close enough.
    """
    steps = min(asked.steps, CHECKED_STEPS)
    launch = Launch(asked, device, dtype, steps)
    launch.run()
    data, worst = batch_of(steps * asked.batch, asked.sizes[0]), 0.0
    for number in sorted({0, asked.networks - 1}):
        right, found = (
            learned(asked, number, data, steps),
            launch.layout.read(launch.buffers.parameters, number),
        )
        errors = [np.abs(found[name] - right[name]).max() / np.abs(right[name]).max() for name in right]
        # A NaN must not pass for the smaller of two numbers.
        worst = max(worst, *(float("inf") if np.isnan(error) else float(error) for error in errors))
    if not worst <= CLOSE[dtype]:
        raise ValueError(
            f"a whole training in {dtype}: expected parameters within {CLOSE[dtype]}, got {worst:.3g}. "
            "A kernel is wrong."
        )
    return worst


def trained(floor_of: Callable[[Sizes], float], repeats: int) -> list[dict[str, Any]]:
    """The launch beside as many steps of eager torch, network after network: one is timed, and multiplied."""
    single = population(WHOLE.sizes, 1, WHOLE.batch, WHOLE.sweeps, "cuda")
    eager, eager_spread = median_s(lambda: eager_step(single), repeats)
    found = []
    for dtype in CLOSE:
        error = launch_error(WHOLE, "cuda", dtype)
        launch = Launch(WHOLE, "cuda", dtype, WHOLE.steps)
        seconds, spread = median_s(launch.run, repeats)
        floor, loop = floor_of(WHOLE), WHOLE.networks * WHOLE.steps * eager
        if seconds < floor:
            raise ValueError(f"a launch of {seconds} s is under its floor of {floor} s: a wrong clock.")
        found.append(
            {
                "states": str(dtype).removeprefix("torch."), "launch": seconds, "spread": spread, "floor": floor,
                "eager step": eager, "eager spread": eager_spread, "gain": loop / seconds, "error": error,
            }
        )  # fmt: skip
    return found


def memory(shapes: Sequence[tuple[int, ...]], batch: int, nudged: int) -> list[dict[str, Any]]:
    """Bytes that a fused step takes beyond its arguments, at few and at many free sweeps."""
    found = []
    for sizes in shapes:
        taken = []
        for sweeps in MEMORY_SWEEPS:
            net = population(sizes, MEMORY_NETWORKS, batch, (sweeps, nudged), "cuda")
            # The first call compiles, and sets up what is kept.
            fused_step(net)
            torch.cuda.synchronize()
            torch.cuda.reset_peak_memory_stats()
            before = torch.cuda.memory_allocated()
            fused_step(net)
            torch.cuda.synchronize()
            taken.append(torch.cuda.max_memory_allocated() - before)
        found.append({"shape": "-".join(map(str, sizes)), "bytes": taken})
    return found


def training_figures(found: Sequence[dict[str, Any]] | None) -> list[Figure]:
    """Gain of a launch over the loop."""
    shape = "-".join(map(str, WHOLE.sizes))
    figures = []
    for dtype in CLOSE:
        states = str(dtype).removeprefix("torch.")
        gain = next((row["gain"] for row in found or () if row["states"] == states), None)
        figures.append(
            Figure(
                what=f"{WHOLE.networks} trainings of {shape} in one launch ({states} states), against eager torch one "
                "by one",
                target=f">= {LEAST_GAIN:g} x",
                measured=NOT_MEASURED if gain is None else f"{gain:.0f} x",
                reached=None if gain is None else gain >= LEAST_GAIN,
            )
        )
    return figures


def memory_figure(found: Sequence[dict[str, Any]] | None) -> Figure:
    """Whether memory depends on the number of sweeps."""
    equal = None if not found else all(len(set(row["bytes"])) == 1 for row in found)
    return Figure(
        what=f"device memory of a fused step at {MEMORY_SWEEPS[0]} and at {MEMORY_SWEEPS[1]:,} free sweeps",
        target="equal",
        measured=NOT_MEASURED if equal is None else ("equal" if equal else "not equal"),
        reached=equal,
    )


def training_table(found: Sequence[dict[str, Any]] | None) -> Table:
    """Whole trainings."""
    rows: list[list[Cell]] = []
    for dtype in CLOSE:
        states = str(dtype).removeprefix("torch.")
        row = next((each for each in found or () if each["states"] == states), None)
        cells: list[Cell] = [NOT_MEASURED] * 4
        if row:
            cells = [1e3 * row["floor"], 1e3 * row["launch"], 1e6 * row["eager step"], row["gain"]]
        rows.append([states, *cells, row["spread"] if row else None, row["error"] if row else None])
    shape = "-".join(map(str, WHOLE.sizes))
    return Table(
        title=f"{WHOLE.networks} whole trainings of {shape} in one launch",
        columns=(
            Column("states"),
            Column("floor, ms", ".2f"),
            Column("launch, ms", ".2f"),
            Column("eager step, us", ".1f"),
            Column("gain over one by one", ".0f"),
            Column("spread of the launch", ".1%"),
            Column("parameter error", ".1e"),
        ),
        rows=rows,
        note=f"{WHOLE.steps} steps of batch {WHOLE.batch}, {WHOLE.sweeps[0]} free and 2 x {WHOLE.sweeps[1]} nudged "
        "sweeps. One by one: the time of one eager step of one network, times steps, times networks.",
    )


def memory_table(found: Sequence[dict[str, Any]] | None, shapes: Sequence[tuple[int, ...]]) -> Table:
    """Memory at few and many sweeps."""
    by = {row["shape"]: row["bytes"] for row in found or ()}
    names = ["-".join(map(str, sizes)) for sizes in shapes]
    rows: list[list[Cell]] = [[name, *(by.get(name) or [NOT_MEASURED] * 2)] for name in names]
    return Table(
        title=f"Memory of a fused step, P = {MEMORY_NETWORKS}",
        columns=(Column("net"), *(Column(f"bytes at {sweeps:,} sweeps", ",d") for sweeps in MEMORY_SWEEPS)),
        rows=rows,
        note="Beyond its arguments: the largest that was allocated at once, less what was before the step.",
    )
