"""Whole trainings of P small networks in one launch: a program takes one network through all steps of a span.

A table of descriptors (`kernels.backends.triton.training_layout`) says where a network lies and what its phases are; a
plan (`kernels.backends.triton.training_plan`) which samples each step reads, and how far it goes. A step gathers its
samples, feeds them forward, settles the free phase and the nudged ones from it, and moves every parameter by

    G = (D_k M_{k-1}^T + M_k D_{k-1}^T)/(d b),    D = b - a, M = (a + b)/2 of two relaxations (kernels.contrast)

by SGD with momentum, Adam or AdamW. Differences are formed in fp32 before anything is rounded. Parameters, slots and
states of small networks stay in the caches: only this program touches them. Programs share nothing that is written, so
that a network's results depend neither on its place nor on its neighbours.
Scellier & Bengio (2017), eq. 9; Laborieux et al. (2021), eq. 8.
"""
# mypy: disable-error-code="import-not-found, import-untyped, untyped-decorator, no-untyped-def, no-untyped-call"

from dataclasses import dataclass

import torch
import triton
import triton.language as tl
from torch import Tensor

from kernels.backends.triton import checks
from kernels.backends.triton.activations import change, clipped, nudged, pull
from kernels.backends.triton.checks import expect, expect_tensor
from kernels.backends.triton.ragged_layout import UNIT
from kernels.backends.triton.training_layout import (
    HEAD,
    LARGEST_CLASSES,
    LAYER_FIELDS,
    LAYERS_AT,
    NUMBERS,
    PHASE_FIELDS,
    ROW,
    TrainingLayout,
)
from kernels.backends.triton.training_plan import PLAN, TrainingPlan
from kernels.backends.triton.visits import layer_of
from kernels.optimizers import ADAM_BETAS

__all__ = ["TrainingBuffers", "TrainingReport", "train_persistent"]

_UNIT = tl.constexpr(UNIT)
_HEAD = tl.constexpr(HEAD)
_PHASE_FIELDS = tl.constexpr(PHASE_FIELDS)
_LAYER_FIELDS = tl.constexpr(LAYER_FIELDS)
_LAYERS_AT = tl.constexpr(LAYERS_AT)
_ROW = tl.constexpr(ROW)
_NUMBERS = tl.constexpr(NUMBERS)
_PLAN = tl.constexpr(PLAN)
_BETA2, _KEPT2 = tl.constexpr(ADAM_BETAS[1]), tl.constexpr(1.0 - ADAM_BETAS[1])


@triton.jit
def _width(row, layer):
    return tl.load(row + _LAYERS_AT + _LAYER_FIELDS * layer) * _UNIT


@triton.jit
def _offset(row, layer, FIELD: tl.constexpr):
    # 64 bit: a buffer may have up to 2**35 elements.
    return tl.load(row + _LAYERS_AT + _LAYER_FIELDS * layer + FIELD).to(tl.int64) * _UNIT


@triton.jit
def _gather(row, chosen, samples, states, batch, N0, BM: tl.constexpr, BN: tl.constexpr):
    """Set the input states to the chosen samples; the padding to 0."""
    wide = _width(row, 0)
    own = states + _offset(row, 0, 3)
    for start in range(0, batch, BM):
        rows = start + tl.arange(0, BM)
        sample = tl.load(chosen + rows, mask=rows < batch, other=-1)
        live = sample >= 0
        origin = samples + sample.to(tl.int64)[:, None] * N0
        for first in range(0, wide, BN):
            cols = first + tl.arange(0, BN)
            value = tl.load(origin + cols[None, :], mask=live[:, None] & (cols < N0)[None, :], other=0.0)
            here = own + rows[:, None] * wide + cols[None, :]
            tl.store(here, value.to(states.dtype.element_ty), mask=live[:, None] & (cols < wide)[None, :])


@triton.jit
def _copy(origin, goal, length, SIZE: tl.constexpr):
    """Copy so many elements."""
    for start in range(0, length, SIZE):
        where = start + tl.arange(0, SIZE)
        tl.store(goal + where, tl.load(origin + where, mask=where < length, other=0.0), mask=where < length)


@triton.jit
def _move(row, layer, depth, top, readout, feeding, counted, copied, nudge, clip, largest,
          chosen, classes, parameters, states, drive, batch, C,
          EXACT: tl.constexpr, BM: tl.constexpr, BN: tl.constexpr, BK: tl.constexpr):  # fmt: skip
    """Move `layer` to its exact minimiser in the copy `copied` of the states, or from the layers below if `feeding`.

    Return `largest`, raised to its largest change where that is `counted`.
    """
    width = _width(row, layer)
    # A layer without a neighbour there receives nothing. The drive stands for the input, but to make it.
    driven = (layer == 1) & (feeding == 0)
    k_below = tl.where(driven, 0, _width(row, layer - 1))
    k_above = tl.where((layer < top) & (feeding == 0), _width(row, layer + 1), 0)
    # The input is in no copy.
    s_below = states + _offset(row, layer - 1, 3) + tl.where(layer > 1, copied, 0)
    s_above = states + _offset(row, layer + 1, 3) + copied
    own = states + _offset(row, layer, 3) + copied
    w_below = parameters + _offset(row, layer, 1)
    w_above = parameters + _offset(row, layer + 1, 1)
    bias = parameters + _offset(row, layer, 2)
    operand = states.dtype.element_ty
    for tile in range(0, batch, BM):
        rows = tile + tl.arange(0, BM)
        sample = tl.load(chosen + rows, mask=rows < batch, other=-1)
        live = sample >= 0
        for first in range(0, width, BN):
            cols = first + tl.arange(0, BN)
            used = cols < width
            mask = live[:, None] & used[None, :]
            into = drive + rows[:, None] * width + cols[None, :]
            acc = tl.load(into, mask=mask & driven, other=0.0)
            acc += tl.load(bias + cols, mask=used & (driven == 0), other=0.0)[None, :]
            for start in range(0, k_below, BK):
                ks = start + tl.arange(0, BK)
                s = tl.load(
                    s_below + rows[:, None] * k_below + ks[None, :],
                    mask=live[:, None] & (ks < k_below)[None, :], other=0.0,
                )  # fmt: skip
                w = tl.load(
                    w_below + ks[:, None] * width + cols[None, :],
                    mask=(ks < k_below)[:, None] & used[None, :], other=0.0,
                )  # fmt: skip
                acc = tl.dot(s, w.to(operand), acc, input_precision="ieee" if EXACT else "tf32")
            for start in range(0, k_above, BK):
                ks = start + tl.arange(0, BK)
                s = tl.load(
                    s_above + rows[:, None] * k_above + ks[None, :],
                    mask=live[:, None] & (ks < k_above)[None, :], other=0.0,
                )  # fmt: skip
                # [d_k, d_{k+1}], as it lies; the product takes it transposed.
                w = tl.load(
                    w_above + cols[:, None] * k_above + ks[None, :],
                    mask=used[:, None] & (ks < k_above)[None, :], other=0.0,
                )  # fmt: skip
                acc = tl.dot(s, tl.trans(w.to(operand)), acc, input_precision="ieee" if EXACT else "tf32")
            tl.store(into, acc, mask=mask & (layer == 1) & (feeding != 0))
            if layer == depth:
                label = tl.load(classes + sample, mask=live, other=-1)
                y = tl.where(label[:, None] == cols[None, :], 1.0, 0.0)
                # Reading the scores is a nudge of -1, by which an output inside the energy would divide by 0.
                inside = nudged(acc, y, tl.where(readout, 0.0, nudge))
                value = tl.where(readout, pull(acc, y, nudge, cols < C), inside)
            else:
                value = clipped(acc, clip)
            new = value.to(operand)
            here = own + rows[:, None] * width + cols[None, :]
            before = tl.load(here, mask=mask & counted, other=0.0)
            largest = tl.maximum(largest, change(new, before, mask & counted))
            tl.store(here, new, mask=mask)
    return largest


@triton.jit
def _step(parameters, first, second, where, mask, gradient, adam, kept, taken, rate, floor, keep):
    """Step the parameters at `where` by `gradient`: by Adam, or by SGD with momentum, whose floor is 1."""
    m = kept * tl.load(first + where, mask=mask, other=0.0) + taken * gradient
    tl.store(first + where, m, mask=mask)
    both = mask & adam
    v = _BETA2 * tl.load(second + where, mask=both, other=0.0) + _KEPT2 * gradient * gradient
    tl.store(second + where, v, mask=both)
    # Correctly rounded: the device's fast root and quotient flush small second moments to zero.
    step = tl.div_rn(m, tl.where(adam, tl.sqrt_rn(v), 0.0) + floor)
    tl.store(
        parameters + where, keep * tl.load(parameters + where, mask=mask, other=0.0) - rate * step, mask=mask
    )


@triton.jit
def _learn(row, layer, contrasted, clamped, unit, chosen, parameters, first, second, states, copy, other, batch,
           adam, kept, taken, rate, floor, keep,
           EXACT: tl.constexpr, BM: tl.constexpr, BN: tl.constexpr, BK: tl.constexpr):  # fmt: skip
    """Step the weights and the bias of `layer`; return how many gradients of its bias are no finite number.

    `clamped` says that the layer below is the same in both relaxations, `contrasted` that `layer` has two: the free
    state of a readout is its difference itself, the mistake.
    """
    below, width = _width(row, layer - 1), _width(row, layer)
    fixed = states + _offset(row, layer - 1, 3)
    s_moved, s_other = fixed + tl.where(clamped, 0, copy), fixed + tl.where(clamped, 0, other)
    t_moved = states + _offset(row, layer, 3) + copy
    t_other = states + _offset(row, layer, 3) + tl.where(contrasted, other, 0)
    # Where nothing below moves there is no second product.
    moving = tl.where(clamped, 0, batch)
    astray = 0
    for across in range(0, width, BN):
        targets = across + tl.arange(0, BN)
        used = targets < width
        total = tl.zeros([BK, BN], tl.float32)
        for start in range(0, batch, BK):
            rows = start + tl.arange(0, BK)
            live = tl.load(chosen + rows, mask=rows < batch, other=-1) >= 0
            here = rows[:, None] * width + targets[None, :]
            mask = live[:, None] & used[None, :]
            a = tl.load(t_moved + here, mask=mask & contrasted, other=0.0).to(tl.float32)
            total += tl.load(t_other + here, mask=mask, other=0.0).to(tl.float32) - a
        shift = tl.sum(total, axis=0)
        # NaN compares as nothing does.
        finite = tl.abs(shift) < float("inf")
        astray += tl.sum(tl.where(used & (finite == 0), 1, 0), axis=0)
        _step(parameters, first, second, _offset(row, layer, 2) + targets, used, shift * unit,
              adam, kept, taken, rate, floor, keep)  # fmt: skip
        for down in range(0, below, BM):
            sources = down + tl.arange(0, BM)
            fed = sources < below
            acc = tl.zeros([BM, BN], tl.float32)
            for start in range(0, batch, BK):
                rows = start + tl.arange(0, BK)
                live = tl.load(chosen + rows, mask=rows < batch, other=-1) >= 0
                here = rows[:, None] * width + targets[None, :]
                there = rows[:, None] * below + sources[None, :]
                mask, under = live[:, None] & used[None, :], live[:, None] & fed[None, :]
                a = tl.load(t_moved + here, mask=mask & contrasted, other=0.0).to(tl.float32)
                b = tl.load(t_other + here, mask=mask, other=0.0).to(tl.float32)
                s_a = tl.load(s_moved + there, mask=under, other=0.0).to(tl.float32)
                s_b = tl.load(s_other + there, mask=under, other=0.0).to(tl.float32)
                mean = (0.5 * (s_a + s_b)).to(states.dtype.element_ty)
                apart = (b - a).to(states.dtype.element_ty)
                acc = tl.dot(tl.trans(mean), apart, acc, input_precision="ieee" if EXACT else "tf32")
            for start in range(0, moving, BK):
                rows = start + tl.arange(0, BK)
                live = tl.load(chosen + rows, mask=rows < batch, other=-1) >= 0
                here = rows[:, None] * width + targets[None, :]
                there = rows[:, None] * below + sources[None, :]
                mask, under = live[:, None] & used[None, :], live[:, None] & fed[None, :]
                a = tl.load(t_moved + here, mask=mask, other=0.0).to(tl.float32)
                b = tl.load(t_other + here, mask=mask, other=0.0).to(tl.float32)
                s_a = tl.load(s_moved + there, mask=under, other=0.0).to(tl.float32)
                s_b = tl.load(s_other + there, mask=under, other=0.0).to(tl.float32)
                moved = (s_b - s_a).to(states.dtype.element_ty)
                mean_above = (0.5 * (a + b)).to(states.dtype.element_ty)
                acc = tl.dot(tl.trans(moved), mean_above, acc, input_precision="ieee" if EXACT else "tf32")
            where = _offset(row, layer, 1) + sources[:, None] * width + targets[None, :]
            _step(parameters, first, second, where, fed[:, None] & used[None, :], acc * unit,
                  adam, kept, taken, rate, floor, keep)  # fmt: skip
    return astray


# Numbers that differ between launches and serve no vector load: one compilation is for all of them.
@triton.jit(do_not_specialize=["T", "S", "C"])
def _kernel(table, numbers, order, samples, classes, lengths, rows, schedule, parameters, first, second, states,
            drives, residuals, failures,
            T, S, N0, C,
            EXACT: tl.constexpr, BM: tl.constexpr, BN: tl.constexpr, BK: tl.constexpr):  # fmt: skip
    network = tl.load(order + tl.program_id(0))
    row = table + network * _ROW
    own = numbers + network * _NUMBERS
    depth, readout, phases = tl.load(row), tl.load(row + 1) != 0, tl.load(row + 2)
    batch, adam = tl.load(row + 3), tl.load(row + 4) != 0
    copy = tl.load(row + 6).to(tl.int64) * _UNIT
    other = tl.load(row + 5) * copy
    drive = drives + tl.load(row + 7).to(tl.int64) * _UNIT
    clip, kept, taken, away = tl.load(own), tl.load(own + 1), tl.load(own + 2), tl.load(own + 3)
    free = states + _offset(row, 1, 3)
    failed = 0
    for step in range(tl.load(lengths + network)):
        chosen = rows + (network.to(tl.int64) * T + step) * S
        plan = schedule + (network.to(tl.int64) * T + step) * _PLAN
        rate, floor, keep = tl.load(plan), tl.load(plan + 1), tl.load(plan + 2)
        sign, share = tl.load(plan + 3), tl.load(plan + 4)
        _gather(row, chosen, samples, states, batch, N0, BM, BN)
        tl.debug_barrier()
        largest = tl.zeros([BM, BN], tl.float32)
        for number in range(phases):
            phase = row + _HEAD + _PHASE_FIELDS * number
            sweeps, sweep_order, visits, top = (
                tl.load(phase),
                tl.load(phase + 1),
                tl.load(phase + 2),
                tl.load(phase + 3),
            )
            read, which, feeding = tl.load(phase + 4) != 0, tl.load(phase + 5), tl.load(phase + 6)
            nudge = tl.load(own + 4 + number) * tl.where(tl.load(phase + 7) != 0, sign, 1.0)
            copied = which * copy
            # A nudged phase begins at the free states.
            _copy(free, free + copied, tl.where(which != 0, copy, 0), BM * BN)
            tl.debug_barrier()
            for sweep in range(sweeps):
                backward = (sweep_order == 1) | ((sweep_order == 2) & (sweep % 2 == 0))
                counted = (number == 1) & (sweep == sweeps - 1)
                for visit in range(visits):
                    layer = layer_of(visit, top, backward, read)
                    largest = _move(row, layer, depth, top, readout, feeding, counted, copied, nudge, clip, largest,
                                    chosen, classes, parameters, states, drive, batch, C,
                                    EXACT, BM, BN, BK)  # fmt: skip
                    # The next layer reads what other threads of this program have just written, and they what it reads.
                    tl.debug_barrier()
        tl.store(residuals + network, tl.max(tl.max(largest, axis=1), axis=0))
        astray = 0
        for visit in range(depth):
            layer = visit + 1
            contrasted = (readout == 0) | (layer < depth)
            unit = share * tl.where(contrasted, away * sign, 1.0)
            astray += _learn(row, layer, contrasted, (layer == 1) | (contrasted == 0), unit, chosen, parameters,
                             first, second, states, copy, other, batch, adam, kept, taken, rate, floor, keep,
                             EXACT, BM, BN, BK)  # fmt: skip
        failed = tl.where((failed == 0) & (astray > 0), step + 1, failed)
        # The next step reads what other threads have just learned.
        tl.debug_barrier()
    tl.store(failures + network, failed)


# Whatever the batch: a network's sums must not take another course because a neighbour's batch is larger.
def blocks(*, exact: bool) -> dict[str, int]:
    """Return the tile of a program (rows, columns, depth of a product step) and its warps."""
    return {"BM": 32 if exact else 64, "BN": LARGEST_CLASSES, "BK": 16 if exact else 32, "num_warps": 8}


@dataclass(frozen=True)
class TrainingBuffers:
    """What a launch keeps on the device from span to span.

    `parameters` and both slots are flat fp32, and what a training is; `states` (fp16, or fp32 for the truth path) and
    `drive` are scratch. `table`, `numbers` and `order` are those of the layout.
    """

    table: Tensor
    numbers: Tensor
    order: Tensor
    parameters: Tensor
    first: Tensor
    second: Tensor
    states: Tensor
    drive: Tensor

    @classmethod
    def of(
        cls, layout: TrainingLayout, device: torch.device | str, *, dtype: torch.dtype = torch.float32
    ) -> "TrainingBuffers":
        """Return the buffers of `layout` as its members begin, with states of `dtype`."""
        parameters = layout.filled().to(device)
        return cls(
            table=layout.table().to(device),
            numbers=layout.numbers().to(device),
            order=layout.order().to(device),
            parameters=parameters,
            first=torch.zeros_like(parameters),
            second=torch.zeros_like(parameters),
            states=torch.zeros(layout.state_size, dtype=dtype, device=device),
            drive=torch.zeros(layout.drive_size, device=device),
        )


@dataclass(frozen=True)
class TrainingReport:
    """What a launch tells of each network, on the device.

    `residual` (P,) fp32 is the largest change of a state in the last free sweep of the last step, 0 where there was
    none and infinite where a state is not a number; `failed_at` (P,) int32 the first step, from 1, at which a gradient
    of a bias was not finite, 0 for none: what came later means nothing.
    """

    residual: Tensor
    failed_at: Tensor


def train_persistent(
    layout: TrainingLayout, plan: TrainingPlan, buffers: TrainingBuffers, x: Tensor, y: Tensor
) -> TrainingReport:
    """Train every network of `layout` over its steps of `plan`, in place; return what became of each.

    `x` [n, n_0] fp32 and `y` [n] int64 are the data that the plan points into, its rows checked against n by
    `plan_training`, and the classes in [0, C) by the caller: reading them here would wait for the device. All tensors
    are contiguous and on one device, and none that is written shares memory with another.

    Raises KernelError for arguments that do not fit together.
    """
    device = checks.expect_device(buffers.states, interpreted=bool(triton.knobs.runtime.interpret))
    _check_buffers(layout, buffers, device)
    networks, batch = len(layout.members), layout.batch
    longest = _check_plan(plan, networks, batch, device)
    expect(x.dim() == 2 and x.shape[0] >= 1, f"x must be [n, n_0], got the shape {tuple(x.shape)}.")
    expect_tensor("x", x, (x.shape[0], layout.inputs), torch.float32, device)
    expect_tensor("y", y, (x.shape[0],), torch.int64, device)
    _expect_whole({"x": x, "y": y})
    residual = torch.zeros(networks, device=device)
    failed_at = torch.zeros(networks, dtype=torch.int32, device=device)
    exact = buffers.states.dtype == torch.float32
    _kernel[(networks,)](
        buffers.table, buffers.numbers, buffers.order, x, y, plan.lengths, plan.rows, plan.schedule,
        buffers.parameters, buffers.first, buffers.second, buffers.states, buffers.drive, residual, failed_at,
        longest, batch, layout.inputs, layout.classes,
        EXACT=exact, **blocks(exact=exact),
    )  # fmt: skip
    return TrainingReport(residual, failed_at)


def _check_buffers(layout: TrainingLayout, buffers: TrainingBuffers, device: torch.device) -> None:
    networks, held = len(layout.members), (layout.parameter_size,)
    expect_tensor("table", buffers.table, (networks, ROW), torch.int32, device)
    expect_tensor("numbers", buffers.numbers, (networks, NUMBERS), torch.float32, device)
    expect_tensor("order", buffers.order, (networks,), torch.int32, device)
    expect_tensor("states", buffers.states, (layout.state_size,), checks.STATE_DTYPES, device)
    expect_tensor("drive", buffers.drive, (layout.drive_size,), torch.float32, device)
    learned = {"parameters": buffers.parameters, "first": buffers.first, "second": buffers.second}
    for name, flat in learned.items():
        expect_tensor(name, flat, held, torch.float32, device)
    _expect_whole({"table": buffers.table, "numbers": buffers.numbers})
    checks.apart(buffers.parameters, buffers.first, "first")
    checks.apart(buffers.parameters, buffers.second, "second")
    checks.apart(buffers.first, buffers.second, "second")


def _check_plan(plan: TrainingPlan, networks: int, batch: int, device: torch.device) -> int:
    """Return how many steps the longest span of `plan` may have."""
    expect(plan.rows.dim() == 3, f"rows must be [P, T, B], got the shape {tuple(plan.rows.shape)}.")
    longest = plan.rows.shape[1]
    expect_tensor("lengths", plan.lengths, (networks,), torch.int32, device)
    expect_tensor("rows", plan.rows, (networks, longest, batch), torch.int32, device)
    expect_tensor("schedule", plan.schedule, (networks, longest, PLAN), torch.float32, device)
    _expect_whole({"rows": plan.rows, "schedule": plan.schedule})
    return longest


def _expect_whole(tensors: dict[str, Tensor]) -> None:
    for name, tensor in tensors.items():
        expect(tensor.is_contiguous(), f"{name} must be contiguous, got the strides {tensor.stride()}.")
