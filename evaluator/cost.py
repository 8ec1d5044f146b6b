"""Analytic cost of a genome: products, bytes and calls of one training step, before it is built. Pure.

Every figure is counted from the formulas that the kernels follow (sweeps, nudged phases, estimates,
update), never timed. A stored calibration turns the counts into a predicted time.
"""

from collections.abc import Mapping
from typing import NamedTuple

import msgspec

from evaluator.errors import EvaluatorError
from evaluator.general_cost import before_pools, copies_of_states, count_general, updates_per_step
from evaluator.jobs import Arithmetic, Calibration, CostLimits
from evaluator.shape import Image, Shape, is_plain, shape_of
from evaluator.tally import Tally
from genome import Value

__all__ = [
    "Cost",
    "StepCost",
    "cost_of",
    "excess",
    "nominal_steps",
    "optimizer_name",
    "predict_rate",
    "step_cost",
]


class _Width(NamedTuple):
    """Bytes of one number: weights and gradients, optimizer slots, copies of weights for products, states."""

    master: int
    slot: int
    shadow: int
    state: int

    @property
    def operand(self) -> int:
        """Bytes of one operand of a product."""
        return self.shadow or self.master


_WIDTH: Mapping[Arithmetic, _Width] = {
    "fp32": _Width(4, 4, 0, 4),
    "bf16": _Width(4, 4, 2, 6),
    "exact-1": _Width(8, 4, 0, 8),
}
# Dion also carries a basis, which is counted by itself.
_SLOTS = {"sgd": 1, "adam": 2, "adamw": 2, "muon": 1, "dion": 1}
# The exact class updates weights in blocks of 32,768 float64; Adam works on two at a time.
_EXACT_BLOCK_BYTES = 8 * 32_768
_UPDATE_PASSES = {"sgd": 4, "adam": 6, "adamw": 7, "muon": 8, "dion": 8}


class StepCost(msgspec.Struct, frozen=True, kw_only=True):
    """Counts of one training step of one batch."""

    calls: float
    macs: float
    bytes: float


class Cost(msgspec.Struct, frozen=True, kw_only=True):
    """What a genome needs: bytes of parameters, of activations and at the peak of a training step."""

    shape: Shape
    batch: int
    parameter_bytes: int
    activation_bytes: int
    peak_bytes: int
    macs_per_step: float


def step_cost(
    values: Mapping[str, Value],
    shape: Shape,
    *,
    arithmetic: Arithmetic,
    free_steps: float,
    nudged_steps: float,
) -> StepCost:
    """Counts of one training step when the phases take so many sweeps (means may be fractions)."""
    batch = float(int(values["batch"]))
    tally = Tally(_WIDTH[arithmetic].operand)
    updates = 1.0
    if values["credit"] == "backprop":
        _count_backprop(tally, shape, batch)
    elif is_plain(values) and not shape.heads:
        _count_eqprop(tally, values, shape, batch, free_steps, nudged_steps)
    else:
        count_general(tally, values, shape, free_steps=free_steps, nudged_steps=nudged_steps)
        updates = updates_per_step(values, nudged_steps)
    _count_update(tally, values, shape, _WIDTH[arithmetic].master, updates)
    return StepCost(calls=tally.calls, macs=tally.macs, bytes=tally.bytes)


def _count_backprop(tally: Tally, shape: Shape, batch: float) -> None:
    for k, l in shape.connections:
        m, n = shape.sizes[k], shape.sizes[l]
        tally.product(batch, n, m)  # forward
        tally.product(n, m, batch)  # weight gradient
        if k > 0:
            tally.product(batch, m, n)  # input gradient
    tally.sweep(batch * sum(shape.sizes[1:]), 4)


def _count_eqprop(
    tally: Tally,
    values: Mapping[str, Value],
    shape: Shape,
    batch: float,
    free_steps: float,
    nudged_steps: float,
) -> None:
    sizes, last = shape.sizes, len(shape.sizes) - 1
    states = sum(sizes[l] for l in shape.states)
    inner = [(k, l) for k, l in shape.connections if k > 0 and l in shape.states]
    readout = [(k, l) for k, l in shape.connections if k > 0 and l not in shape.states]
    phases = 2.0 if values["estimate"] == "centred" else 1.0
    for k, l in shape.connections:  # the feed-forward start, with the drive of the clamped input
        tally.product(batch, sizes[l], sizes[k])
    for k, l in inner:  # a sweep reads every inner weight in both directions
        tally.product(batch, sizes[l], sizes[k], 2 * (free_steps + phases * nudged_steps))
    for k, l in readout:  # the readout's error enters the layers that it reads at each nudged sweep
        tally.product(batch, sizes[l], sizes[k], 2 * phases * nudged_steps)
    sweeps = 1 + (free_steps if inner else 0) + phases * nudged_steps
    tally.sweep(batch * states, 2 * len(shape.states), sweeps)
    if shape.output == "ce":
        tally.sweep(batch * sizes[last], 4, 1 + phases * nudged_steps)
    for k, l in shape.connections:  # first-layer and readout gradients are one product, others two
        tally.product(sizes[l], sizes[k], batch, 1 if k == 0 or (k, l) in readout else 2)
    tally.sweep(batch * states, 2)


def _count_update(
    tally: Tally, values: Mapping[str, Value], shape: Shape, width: int, updates: float
) -> None:
    """Add so many updates of the parameters, which are `width` bytes wide."""
    optimizer = optimizer_name(values)
    scale = width / tally.width
    tally.sweep(shape.parameters * scale, _UPDATE_PASSES[optimizer], updates)
    for sides in _matrices(shape):
        if optimizer == "muon":
            _count_muon(tally, *sides, int(values["ns_steps"]))
        elif optimizer == "dion":
            _count_dion(tally, *sides, float(values["rank_fraction"]))
    if values.get("weight_bits", "32") != "32":
        tally.sweep(shape.parameters, 4, updates)
    if values.get("spectral") == "clip":
        for edge in shape.own:
            if edge[0] > 0 and edge[1] in shape.states and not shape.filtered(edge):
                for sides in shape.matrices(edge):
                    _count_cap(tally, *sides, updates)


def _matrices(shape: Shape) -> list[tuple[int, int]]:
    """Rows and columns of all weights that are held."""
    return [sides for edge in (*shape.own, *shape.untied) for sides in shape.matrices(edge)]


def _count_muon(tally: Tally, m: int, n: int, steps: int) -> None:
    short, long = sorted((m, n))
    tally.product(short, short, long, steps)
    tally.product(short, short, short, steps)
    tally.product(short, long, short, steps)


def _count_dion(tally: Tally, m: int, n: int, fraction: float) -> None:
    """B Q, its orthonormal basis (counted as two products of it with itself), B^T P, P R^T and P Qn^T."""
    rank = _rank(m, n, fraction)
    tally.product(m, rank, n)
    tally.product(m, rank, rank, 2)
    tally.product(n, rank, m)
    tally.product(m, n, rank, 2)


def _rank(m: int, n: int, fraction: float) -> int:
    return max(1, round(fraction * min(m, n)))


def _count_cap(tally: Tally, m: int, n: int, updates: float) -> None:
    """One capped weight: a decomposition of its smaller Gram matrix, or rounds on 16 carried directions."""
    short, long = sorted((m, n))
    if short <= 64:
        tally.product(short, short, long, 2 * updates)
        tally.product(short, short, short, 10 * updates)
    else:
        tally.product(long, 16, short, 2 * 9 * updates)
        # The check that nothing is left beyond the cap: a Gram matrix and its Cholesky factor.
        tally.product(short, short, long, updates)
        tally.product(short, short, short, updates)
    tally.sweep(short * long, 10, updates)


def cost_of(
    values: Mapping[str, Value],
    *,
    inputs: int,
    classes: int,
    arithmetic: Arithmetic,
    image: Image | None = None,
    heads: tuple[int, ...] = (),
) -> Cost:
    """Bytes and products that training this genome needs, counted from its genes alone.

    `heads` are the classes of each head of a task that has several.

    Raises shape.NoImageError for filters where the task's inputs are no `image` (channels, height, width).
    """
    shape = shape_of(values, inputs=inputs, classes=classes, image=image, heads=heads)
    width = _WIDTH[arithmetic]
    batch = int(values["batch"])
    slots = _SLOTS[optimizer_name(values)]
    activations = round(batch * _activities(values, shape) * width.state)
    # Weights of few bits are copies, which states meet while the masters learn.
    shadow = width.shadow + (4 if values.get("weight_bits", "32") != "32" else 0)
    held = shape.parameters * (2 * width.master + slots * width.slot + shadow)
    blocks = (1 + slots // 2) * _EXACT_BLOCK_BYTES if arithmetic == "exact-1" else 0
    free, nudged = nominal_steps(values)
    step = step_cost(values, shape, arithmetic=arithmetic, free_steps=free, nudged_steps=nudged)
    return Cost(
        shape=shape,
        batch=batch,
        parameter_bytes=shape.parameters * width.master,
        activation_bytes=activations,
        peak_bytes=held + activations + 4 * _scratch(values, shape) + blocks,
        macs_per_step=step.macs,
    )


def _activities(values: Mapping[str, Value], shape: Shape) -> float:
    """Numbers held for one sample: the input, and for each layer its states, drives and differences."""
    if values["credit"] == "backprop":
        return shape.sizes[0] + 2 * sum(shape.sizes[1:])
    states = sum(shape.sizes[layer] for layer in shape.states)
    if shape.heads or not is_plain(values):
        held = shape.sizes[0] + copies_of_states(values) * states + 3 * shape.sizes[-1]
        return held + before_pools(values, shape)
    # A network that settles in sweeps keeps drives apart from states, and both signs of a centred nudge.
    copies = 3
    copies += 2 * shape.iterative
    copies += 2 * (shape.iterative and values["estimate"] == "centred")
    copies += 2 * (values.get("scheme") == "synchronous")
    return shape.sizes[0] + copies * states + 7 * shape.sizes[-1]


def _scratch(values: Mapping[str, Value], shape: Shape) -> int:
    """Numbers that an optimizer works on beside its slots.

    Newton-Schulz: three copies of each weight and two of its smaller square. Dion: the basis that it carries, both
    factors and a step.
    """
    name = optimizer_name(values)
    sides = _matrices(shape)
    if name == "dion":
        fraction = float(values["rank_fraction"])
        return sum(n * _rank(m, n, fraction) for m, n in sides) + max(
            2 * m * n + (m + n) * _rank(m, n, fraction) for m, n in sides
        )
    return sum(3 * m * n + 2 * min(m, n) ** 2 for m, n in sides) if name == "muon" else 0


def optimizer_name(values: Mapping[str, Value]) -> str:
    """What turns a gradient into an update; continual learning has no choice and takes sgd."""
    return str(values.get("optimizer", "sgd"))


def nominal_steps(values: Mapping[str, Value]) -> tuple[float, float]:
    """Most sweeps that the free phase and each nudged one may take: one of those where no gene says."""
    nudged = values.get("nudged_steps", 1) if values["credit"] == "ep" else 0
    return float(int(values.get("free_steps", 0))), float(int(nudged))


def excess(cost: Cost, limits: CostLimits) -> str | None:
    """Why this cost is refused, or None: what was allowed, what the genome asks, what to do."""
    layers = "-".join(map(str, cost.shape.sizes))
    if cost.peak_bytes > limits.bytes:
        return (
            f"training may take at most {limits.bytes:.4g} bytes, this genome needs {cost.peak_bytes:.4g} "
            f"(layers {layers}, batch {cost.batch}). Narrow its layers or raise --genome-memory."
        )
    macs = cost.macs_per_step / cost.batch
    if macs > limits.macs:
        return (
            f"a training sample may take at most {limits.macs:.4g} multiply-accumulates, this genome needs "
            f"{macs:.4g} (layers {layers}). Narrow its layers, take fewer settle steps or raise --genome-macs."
        )
    return None


def predict_rate(step: StepCost, *, batch: int, calibration: Calibration) -> float:
    """Training samples a second that the calibration predicts for steps of this cost."""
    seconds = (
        step.calls * calibration.seconds_per_call
        + step.macs * calibration.seconds_per_mac
        + step.bytes * calibration.seconds_per_byte
    )
    if not seconds > 0:
        raise EvaluatorError(
            f"a calibration must give a positive time a step, got {seconds} from {calibration}. "
            "Run `eqmesh bench --calibrate` again."
        )
    return batch / seconds
