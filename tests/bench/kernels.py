"""GPU kernels for populations: correctness, then a training step against eager, graphed cuBLAS, backprop and floor.

One step is B = 256 samples, 20 free and twice 10 nudged sweeps (centred, output inside the energy), SGD with momentum.
--cpu runs toy sizes on Triton's interpreter for their correctness and times nothing.
"""

import argparse
import importlib.metadata
import os
from collections.abc import Callable, Iterator, Sequence
from itertools import pairwise
from typing import Any

import msgspec
import torch
from torch import Tensor

from tests.bench import kernel_trainings as trainings
from tests.bench.on_device import Device, Way, graphed, measured_device, median_s
from tests.bench.report import Cell, Column, Figure, Report, Table, arguments, finish, origin
from tests.kernels.gpu.gates import interpreter_runs
from tests.kernels.gpu.steps import (
    ALLOWED,
    Population,
    backprop_step,
    eager_step,
    errors,
    feed_forward,
    fused_settle,
    fused_step,
    fused_update,
    population,
)

FREE, NUDGED, BATCH = 20, 10, 256
SHAPES = ((784, 256, 10), (784, 512, 512, 10), (784, 2048, 2048, 10))
POPULATIONS = (1, 16, 256)
TOYS = ((24, 18, 10), (24, 18, 33, 10))
TOY_BATCH, TOY_POPULATION, TOY_SWEEPS = 37, 3, (3, 2)
# At least these factors over a rival at P = 1, 16, 256.
FASTER = (
    ("784-256-10", "eager", (25, 20, 8)),
    ("784-256-10", "graph", (3, 3, 2)),
    ("784-512-512-10", "eager", (8, 6, 3)),
    ("784-512-512-10", "graph", (1.3, 1.3, 1.3)),
)
NOT_MEASURED = "not measured"
WAYS = ("floor", "fused", "graph", "eager", "backprop")


def work(sizes: tuple[int, ...], networks: int, batch: int, sweeps: tuple[int, int]) -> tuple[float, float]:
    """(operations, bytes) of a step that no implementation can do without: products, and each weight once."""
    pairs = list(pairwise(sizes))
    inner = sum(a * b for a, b in pairs[1:])
    first = sizes[0] * sizes[1]
    # Each sweep takes each inner connection up and down; the update takes it twice and the input once.
    products = 2 * first + inner * (2 * (sweeps[0] + 2 * sweeps[1]) + 2)
    # fp32 master and velocity read and written, fp16 shadow read and written.
    return 2.0 * batch * networks * products, 20.0 * networks * (first + inner)


def timed(sizes: tuple[int, ...], networks: int, card: Device, repeats: int) -> dict[str, Any]:
    """All ways of a step at one shape and population, after the fused way was found correct."""
    sweeps = (FREE, NUDGED)

    def fresh() -> Population:
        return population(sizes, networks, BATCH, sweeps, "cuda")

    found: dict[str, Any] = {"shape": name_of(sizes), "P": networks, **errors(fresh)}
    for way, step, graph in (
        ("eager", eager_step, False),
        ("graph", eager_step, True),
        ("backprop", backprop_step, True),
        ("fused", fused_step, True),
    ):
        net = fresh()

        def act(step: Callable[[Population], None] = step, net: Population = net) -> None:
            step(net)

        found[way], found[f"{way} spread"] = median_s(graphed(act) if graph else act, repeats)
        del net, act
        torch.cuda.empty_cache()
    operations, size = work(sizes, networks, BATCH, sweeps)
    found["floor"] = max(operations / card.product_rate, size / card.copy_rate)
    for way in ("eager", "graph", "backprop", "fused"):
        assert way == "backprop" or found[way] >= found["floor"], (
            f"{way} at {found} is under its floor: a wrong clock"
        )
    return found


def name_of(sizes: Sequence[int]) -> str:
    return "-".join(map(str, sizes))


class Found(msgspec.Struct, frozen=True):
    """What was timed on a device: steps, free phases, updates, whole trainings; and the memory of steps."""

    steps: list[dict[str, Any]]
    phases: list[dict[str, Any]]
    updates: list[dict[str, Any]]
    trainings: list[dict[str, Any]]
    memory: list[dict[str, Any]]


def figure(what: str, sign: str, target: float, value: float | None, *, form: str = "{:.2f} x") -> Figure:
    """A figure with a lower (>=) or an upper (<=) bound; None was not measured."""
    reached = None
    if value is not None:
        reached = value >= target if sign == ">=" else value <= target
    return Figure(
        what=what,
        target=f"{sign} {target:.0%}" if "%" in form else f"{sign} {target:g} x",
        measured=NOT_MEASURED if value is None else form.format(value),
        reached=reached,
    )


def figures(found: Found | None) -> Iterator[Figure]:
    """The design's figures; without measurements they say so."""
    steps = {(row["shape"], row["P"]): row for row in found.steps} if found else {}
    phases = {(row["shape"], row["P"]): row for row in found.phases} if found else {}
    updates = {row["P"]: row for row in found.updates} if found else {}

    def over(shape: str, networks: int, rival: str) -> float | None:
        row = steps.get((shape, networks))
        return row[rival] / row["fused"] if row else None

    small, middle, large = (name_of(sizes) for sizes in SHAPES)
    for shape, rival, targets in FASTER:
        for networks, target in zip(POPULATIONS, targets, strict=True):
            what = f"{shape}, P = {networks}: fused against {rival}"
            yield figure(what, ">=", target, over(shape, networks, rival))
    for shape, target in ((middle, 0.45), (large, 0.6)):
        for networks in POPULATIONS[1:]:
            row = phases.get((shape, networks))
            what = f"{shape}, P = {networks}: settling, of the product rate"
            yield figure(what, ">=", target, row["share"] if row else None, form="{:.1%}")
    one, some, many = (steps.get((small, networks)) for networks in POPULATIONS)
    yield figure(
        f"{small}: P = 16 over P = 1", "<=", 2, some["fused"] / one["fused"] if some and one else None
    )
    loop = 256 * one["eager"] / many["fused"] if one and many else None
    yield figure(f"{small}, P = 256: fused against an eager loop over networks", ">=", 300, loop)
    row = phases.get((small, 256))
    uniform = row["ragged"] / row["fused"] if row else None
    yield figure(f"{small}, P = 256: ragged over uniform, free phase", "<=", 1.25, uniform)
    update = updates.get(256)
    what = f"{small}, P = 256: update, of a copy's bandwidth"
    yield figure(what, ">=", 0.8, update["share"] if update else None, form="{:.1%}")
    backprop = over(small, 1, "backprop")
    what = f"{small}, P = 1: fused over backprop + SGD in a graph"
    yield figure(what, "<=", 2, 1 / backprop if backprop else None)
    for networks in POPULATIONS[1:]:
        what = f"{large}, P = {networks}: fused against graph, which the dispatcher may choose"
        yield figure(what, ">=", 1, over(large, networks, "graph"))
    yield from trainings.training_figures(found.trainings if found else None)
    yield trainings.memory_figure(found.memory if found else None)


def timing_table(found: list[dict[str, Any]] | None) -> Table:
    """Medians beside the floor."""
    rows: list[list[Cell]] = []
    for sizes in SHAPES:
        for networks in POPULATIONS:
            row = next((r for r in found or [] if (r["shape"], r["P"]) == (name_of(sizes), networks)), None)
            times = [1e6 * row[way] if row else NOT_MEASURED for way in WAYS]
            rows.append(
                [
                    name_of(sizes),
                    networks,
                    *times,
                    row["fused spread"] if row else None,
                    row["error"] if row else None,
                ]
            )
    micro = [Column(f"{way}, us", ".1f") for way in WAYS]
    return Table(
        title="One training step, median of replays",
        columns=(
            Column("net"),
            Column("P"),
            *micro,
            Column("spread of fused", ".1%"),
            Column("gradient error", ".2%"),
        ),
        rows=rows,
        note="floor: operations over the measured rate of an 8192 x 8192 fp16 product, or bytes over that of a copy, "
        "whichever is longer. The error is that of the first gradient against float64.",
    )


def ragged_of(net: Population, drive: Tensor, start: list[Tensor]) -> Way:
    """The free phase of `net` by the ragged kernel, from flat buffers."""
    from kernels.backends.triton import Network, RaggedLayout, settle_persistent_ragged

    layout = RaggedLayout((Network(net.sizes, "mse", net.sweeps[0], "forward"),) * net.networks, net.batch)
    device, half, single = net.x.device, torch.float16, torch.float32
    states, weights, biases, drives = (
        torch.zeros(size, dtype=dtype, device=device)
        for size, dtype in (
            (layout.state_size, half),
            (layout.weight_size, half),
            (layout.bias_size, single),
            (layout.drive_size, single),
        )
    )
    for p in range(net.networks):
        layout.driven(drives, p).copy_(drive[p])
        for number in range(1, len(net.sizes)):
            layout.state(states, p, number).copy_(start[number - 1][p])
            if number > 1:
                layout.weight(weights, p, number).copy_(net.shadows[number - 1][p])
                layout.bias(biases, p, number).copy_(net.biases[number - 1][p])
    table, order, beta = layout.table().to(device), layout.order().to(device), net.rows(0.0)

    def act() -> None:
        settle_persistent_ragged(
            layout, states, table=table, order=order, drive=drives, weights=weights, biases=biases, target=net.y,
            beta=beta,
        )  # fmt: skip

    return act


def settled(sizes: tuple[int, ...], networks: int, card: Device, repeats: int) -> dict[str, Any]:
    """The free phase alone: its rate beside that of a large product, and the ragged kernel on the same networks."""
    net = population(sizes, networks, BATCH, (FREE, NUDGED), "cuda")
    drive, start = feed_forward(net)
    beta = net.rows(0.0)

    def act() -> None:
        fused_settle(net, drive, start, beta, FREE, "forward")

    seconds, spread = median_s(graphed(act), repeats)
    ragged, _ = median_s(graphed(ragged_of(net, drive, start)), repeats)
    operations = 4.0 * BATCH * networks * FREE * sum(a * b for a, b in pairwise(sizes[1:]))
    return {
        "shape": name_of(sizes), "P": networks, "fused": seconds, "spread": spread, "ragged": ragged,
        "share": operations / seconds / card.product_rate,
    }  # fmt: skip


def phase_table(found: list[dict[str, Any]] | None) -> Table:
    """The free phase by the uniform and by the ragged kernels."""
    by = {(row["shape"], row["P"]): row for row in found or []}
    rows: list[list[Cell]] = []
    for sizes in SHAPES:
        for networks in POPULATIONS[1:]:
            row = by.get((name_of(sizes), networks))
            cells: list[Cell] = [NOT_MEASURED] * 4
            if row:
                cells = [1e6 * row["fused"], row["share"], 1e6 * row["ragged"], row["ragged"] / row["fused"]]
            rows.append([name_of(sizes), networks, *cells, row["spread"] if row else None])
    return Table(
        title=f"The free phase, {FREE} sweeps",
        columns=(
            Column("net"),
            Column("P"),
            Column("fused, us", ".1f"),
            Column("of the product rate", ".1%"),
            Column("ragged, us", ".1f"),
            Column("ragged over fused", ".2f"),
            Column("spread of fused", ".1%"),
        ),
        rows=rows,
        note="The products of the sweeps over the measured rate of an 8192 x 8192 fp16 product. The ragged kernel "
        "settles the same networks, all of one shape.",
    )


def updated(networks: int, card: Device, repeats: int) -> dict[str, Any]:
    """The update of the first shape: its bytes a second beside a copy's."""
    net = population(SHAPES[0], networks, BATCH, (FREE, NUDGED), "cuda")
    _, states = feed_forward(net)
    other = [(state * 0.9).half() for state in states]

    def act() -> None:
        fused_update(net, states, other)

    seconds, spread = median_s(graphed(act), repeats)
    # Master and velocity read and written, the shadow written.
    rate = 18.0 * sum(weight.numel() for weight in net.weights) / seconds
    return {"P": networks, "update": seconds, "rate": rate, "share": rate / card.copy_rate, "spread": spread}


def update_table(found: list[dict[str, Any]] | None) -> Table:
    """The update beside a copy."""
    by = {row["P"]: row for row in found or []}
    rows: list[list[Cell]] = []
    for networks in POPULATIONS:
        row = by.get(networks)
        cells: list[Cell] = [NOT_MEASURED] * 3
        if row:
            cells = [1e6 * row["update"], row["rate"] / 1e9, row["share"]]
        rows.append([networks, *cells, row["spread"] if row else None])
    columns = (("us", ".1f"), ("GB/s", ".0f"), ("of a copy", ".1%"), ("spread", ".1%"))
    return Table(
        title=f"The update of {name_of(SHAPES[0])}, SGD with momentum",
        columns=(Column("P"), *(Column(*column) for column in columns)),
        rows=rows,
    )


def toy_rows(toys: Sequence[tuple[int, ...]]) -> list[dict[str, Any]]:
    """The correctness of a step on toy sizes, on the interpreter."""
    found = []
    for sizes in toys:

        def fresh(sizes: tuple[int, ...] = sizes) -> Population:
            return population(sizes, TOY_POPULATION, TOY_BATCH, TOY_SWEEPS, "cpu")

        found.append({"shape": name_of(sizes), "P": TOY_POPULATION, **errors(fresh)})
    return found


def toy_table(found: list[dict[str, Any]]) -> Table:
    """What the interpreter found."""
    return Table(
        title="Toy sizes on the interpreter: correctness alone",
        columns=(Column("net"), Column("P"), Column("error, fused", ".2%"), Column("error, eager", ".2%")),
        rows=[[row["shape"], row["P"], row["error"], row["eager error"]] for row in found],
        note=f"The largest error of the first step's gradient over its largest entry, against float64; {ALLOWED:.0%} "
        "are allowed. No time is published.",
    )


def tables(found: Found | None) -> list[Table]:
    """Every table of times and memory; without measurements they say so."""
    return [
        timing_table(found.steps if found else None),
        phase_table(found.phases if found else None),
        update_table(found.updates if found else None),
        trainings.training_table(found.trainings if found else None),
        trainings.memory_table(found.memory if found else None, SHAPES),
    ]


def checked(smoke: bool) -> tuple[list[Table], list[Figure], list[str], Any]:
    """What the interpreter can say: that the kernels are right on toy sizes, and no time."""
    if not interpreter_runs():
        raise SystemExit("--cpu needs triton 3.7, or 3.6 with numpy below 2.4: install eqmesh[dev] on Linux")
    # Before triton is imported, which reads it.
    os.environ["TRITON_INTERPRET"] = "1"
    toys = toy_rows(TOYS[:1] if smoke else TOYS)
    worst = max(row["error"] for row in toys)
    error = trainings.launch_error(trainings.TOY, "cpu", torch.float32)
    allowed = trainings.CLOSE[torch.float32]
    right = [
        figure("gradient of a fused step against float64", "<=", ALLOWED, worst, form="{:.2%}"),
        Figure(
            what="parameters of whole trainings in one launch against the CPU's learner",
            target=f"<= {allowed:.0e}",
            measured=f"{error:.1e}",
            reached=error <= allowed,
        ),
    ]
    note = (
        "Times: not measured, for this machine has no CUDA device. What is shown is that the kernels compute the right "
        "numbers on Triton's interpreter."
    )
    return (
        [toy_table(toys), *tables(None)], [*right, *figures(None)], [note], {"toys": toys, "training error": error}
    )  # fmt: skip


def measured(smoke: bool) -> tuple[list[Table], list[Figure], list[str], Any]:
    """All there is to time on this machine's device."""
    card = measured_device()
    repeats, shapes = (5, SHAPES[:1]) if smoke else (50, SHAPES)

    def floor_of(asked: trainings.Sizes) -> float:
        # Products alone: the weights need not leave the chip between steps.
        operations, _ = work(asked.sizes, asked.networks, asked.batch, asked.sweeps)
        return asked.steps * operations / card.product_rate

    found = Found(
        [timed(sizes, networks, card, repeats) for sizes in shapes for networks in POPULATIONS],
        [settled(sizes, networks, card, repeats) for sizes in shapes for networks in POPULATIONS[1:]],
        [updated(networks, card, repeats) for networks in POPULATIONS],
        trainings.trained(floor_of, repeats),
        trainings.memory(shapes, BATCH, NUDGED),
    )
    said = (
        f"{card.name}: {card.product_rate / 1e12:.0f} TFLOP/s of an fp16 product, {card.copy_rate / 1e12:.2f} TB/s "
        f"of a copy. triton {importlib.metadata.version('triton')}, CUDA {torch.version.cuda}."
    )
    return tables(found), list(figures(found)), [said], msgspec.to_builtins(found)


def measure(options: argparse.Namespace) -> tuple[list[Table], list[Figure], list[str], Any]:
    """Tables, figures, notes and data of what can be done on this machine."""
    if options.cpu:
        return checked(options.smoke)
    if not torch.cuda.is_available():
        notes = ["Not measured: this machine has no CUDA device."]
        return tables(None), list(figures(None)), notes, {"measured": False}
    return measured(options.smoke)


def main() -> None:
    """Check, measure, report."""
    parser = arguments(__doc__ or "")
    parser.add_argument("--cpu", action="store_true", help="toy sizes on the interpreter: correctness alone")
    options = parser.parse_args()
    began = origin("kernels")
    found, shown, notes, data = measure(options)
    finish(
        Report(
            name="kernels",
            title="GPU kernels for populations",
            about="One training step of P networks, B = 256, 20 free and twice 10 nudged sweeps, SGD with momentum: "
            "fused Triton kernels against batched eager torch, the same in a CUDA graph, backprop in a graph, and "
            "the floor.",
            smoke=options.smoke,
            seeds=(7,),
            figures=tuple(shown),
            tables=tuple(found),
            origin=began,
            notes=tuple(notes),
            data=data,
        ),
        options.output,
    )


if __name__ == "__main__":
    main()
