"""The local update of networks of different shapes: the contrast of two phases and each network's own optimizer.

One launch for all networks and layers, weights and biases: a program steps a tile of one layer's weights, and where it
is the first along the sources, the biases above it. With the relaxations a (moved) and b (the other), D = b - a and
M = (a + b)/2, the mean gradient is

    G = unit (M_{k-1}^T D_k + D_{k-1}^T M_k)

as in `kernels.backends.triton.hebbian`; below a first layer lies the input, gathered from the data, and below a readout
the free state, whose D is p - y: one product. Scellier & Bengio (2017), eq. 9; Kingma & Ba (2015); Loshchilov & Hutter
(2019).
"""
# mypy: disable-error-code="import-not-found, import-untyped, untyped-decorator, no-untyped-def, no-untyped-call"

from dataclasses import dataclass

import torch
import triton
import triton.language as tl
from torch import Tensor

from kernels.backends.triton.forward import offset
from kernels.backends.triton.population_layout import INPUT, LAYER_ROW, READOUT, PopulationLayout
from kernels.backends.triton.ragged_layout import UNIT
from kernels.backends.triton.step_numbers import Number
from kernels.optimizers import ADAM_BETAS

__all__ = ["NEVER", "Contrasted", "Slots", "ragged_update", "update_tile"]


# No step of a span.
NEVER = 2**31 - 1
_UNIT, _ROW = tl.constexpr(UNIT), tl.constexpr(LAYER_ROW)
_INPUT, _READOUT = tl.constexpr(INPUT), tl.constexpr(READOUT)
_BETA1, _BETA2 = tl.constexpr(ADAM_BETAS[0]), tl.constexpr(ADAM_BETAS[1])
_KEPT1, _KEPT2 = tl.constexpr(1.0 - ADAM_BETAS[0]), tl.constexpr(1.0 - ADAM_BETAS[1])
_AT_UNIT, _AT_UNIT_READOUT = tl.constexpr(int(Number.UNIT)), tl.constexpr(int(Number.UNIT_READOUT))
_AT_RATE, _AT_MOMENTUM = tl.constexpr(int(Number.RATE)), tl.constexpr(int(Number.MOMENTUM))
_AT_KEEP, _AT_GAIN = tl.constexpr(int(Number.KEEP)), tl.constexpr(int(Number.GAIN))
_AT_FLOOR, _AT_ADAM = tl.constexpr(int(Number.FLOOR)), tl.constexpr(int(Number.ADAM))
_AT_SAMPLES = tl.constexpr(int(Number.SAMPLES))


@triton.jit
def _step(values, shadows, first, second, where, mask, gradient, numbers, P, SHADOW: tl.constexpr):
    """Step the parameters at `where` by the mean gradient; `numbers` is at this network."""
    rate = tl.load(numbers + _AT_RATE * P)
    value = tl.load(values + where, mask=mask, other=0.0)
    kept = tl.load(first + where, mask=mask, other=0.0)
    if tl.load(numbers + _AT_ADAM * P) == 0.0:
        moved = tl.load(numbers + _AT_MOMENTUM * P) * kept + gradient
        new = value - rate * moved
    else:
        moved = _BETA1 * kept + _KEPT1 * gradient
        square = _BETA2 * tl.load(second + where, mask=mask, other=0.0) + _KEPT2 * gradient * gradient
        tl.store(second + where, square, mask=mask)
        # Correctly rounded: the device's fast root and quotient flush small second moments to zero.
        step = tl.div_rn(moved, tl.sqrt_rn(square) + tl.load(numbers + _AT_FLOOR * P))
        new = tl.load(numbers + _AT_KEEP * P) * value - rate * tl.load(numbers + _AT_GAIN * P) * step
    tl.store(first + where, moved, mask=mask)
    tl.store(values + where, new, mask=mask)
    if SHADOW:
        tl.store(shadows + where, new.to(shadows.dtype.element_ty), mask=mask)


@triton.jit(do_not_specialize=["P"])
def _update(tiles, layers, numbers, rows, clock, x, free, moved, other, mistakes,
            values, shadows, first, second, failed, B, X, P,
            SHADOW: tl.constexpr, EXACT: tl.constexpr,
            BM: tl.constexpr, BN: tl.constexpr, BK: tl.constexpr):  # fmt: skip
    pid = tl.program_id(0)
    row = layers + tl.load(tiles + 3 * pid) * _ROW
    source_tile = tl.load(tiles + 3 * pid + 1)
    member = tl.load(row).to(tl.int64)
    kind = tl.load(row + 1)
    width = tl.load(row + 3) * _UNIT
    sources = source_tile * BM + tl.arange(0, BM)
    targets = tl.load(tiles + 3 * pid + 2) * BN + tl.arange(0, BN)
    used = targets < width
    numbers += member
    present = tl.load(numbers + _AT_SAMPLES * P).to(tl.int32)
    below, own = offset(row, 6), offset(row, 7)
    acc = tl.zeros([BM, BN], tl.float32)
    shift = tl.zeros([BN], tl.float32)
    if kind == _INPUT:
        fan_in = tl.load(row + 2)
        unit = tl.load(numbers + _AT_UNIT * P)
        fed = sources < fan_in
        for start in range(0, present, BK):
            samples = start + tl.arange(0, BK)
            live = samples < present
            index = tl.load(rows + member * B + samples, mask=live, other=0).to(tl.int64)
            s = tl.load(
                x + index[:, None] * X + sources[None, :], mask=live[:, None] & fed[None, :], other=0.0
            )
            here = own + samples[:, None] * width + targets[None, :]
            mask = live[:, None] & used[None, :]
            t = tl.load(moved + here, mask=mask, other=0.0).to(tl.float32)
            difference = tl.load(other + here, mask=mask, other=0.0).to(tl.float32) - t
            shift += tl.sum(difference, axis=0)
            acc = tl.dot(
                tl.trans(s), difference.to(s.dtype), acc, input_precision="ieee" if EXACT else "tf32"
            )
    elif kind == _READOUT:
        fan_in = tl.load(row + 2) * _UNIT
        unit = tl.load(numbers + _AT_UNIT_READOUT * P)
        fed = sources < fan_in
        for start in range(0, present, BK):
            samples = start + tl.arange(0, BK)
            live = samples < present
            s = tl.load(
                free + below + samples[:, None] * fan_in + sources[None, :],
                mask=live[:, None] & fed[None, :], other=0.0,
            )  # fmt: skip
            difference = tl.load(
                mistakes + (member * B + samples[:, None]) * width + targets[None, :],
                mask=live[:, None] & used[None, :], other=0.0,
            )  # fmt: skip
            shift += tl.sum(difference, axis=0)
            acc = tl.dot(
                tl.trans(s), difference.to(s.dtype), acc, input_precision="ieee" if EXACT else "tf32"
            )
    else:
        fan_in = tl.load(row + 2) * _UNIT
        unit = tl.load(numbers + _AT_UNIT * P)
        fed = sources < fan_in
        for start in range(0, present, BK):
            samples = start + tl.arange(0, BK)
            live = samples < present
            at = below + samples[:, None] * fan_in + sources[None, :]
            lower = live[:, None] & fed[None, :]
            s = tl.load(moved + at, mask=lower, other=0.0)
            s_other = tl.load(other + at, mask=lower, other=0.0)
            here = own + samples[:, None] * width + targets[None, :]
            mask = live[:, None] & used[None, :]
            t = tl.load(moved + here, mask=mask, other=0.0).to(tl.float32)
            t_other = tl.load(other + here, mask=mask, other=0.0).to(tl.float32)
            difference = t_other - t
            shift += tl.sum(difference, axis=0)
            mean = (0.5 * (s.to(tl.float32) + s_other.to(tl.float32))).to(s.dtype)
            across = (s_other.to(tl.float32) - s.to(tl.float32)).to(s.dtype)
            above = (0.5 * (t + t_other)).to(s.dtype)
            acc = tl.dot(
                tl.trans(mean), difference.to(s.dtype), acc, input_precision="ieee" if EXACT else "tf32"
            )
            acc = tl.dot(tl.trans(across), above, acc, input_precision="ieee" if EXACT else "tf32")
    stepped = present > 0
    where = offset(row, 4) + sources[:, None] * width + targets[None, :]
    _step(values, shadows, first, second, where, fed[:, None] & used[None, :] & stepped, acc * unit,
          numbers, P, SHADOW)  # fmt: skip
    # Every tile of sources sums the same differences; the first one steps the biases, which have no shadow.
    alone = stepped & (source_tile == 0)
    shift = shift * unit
    _step(
        values,
        shadows,
        first,
        second,
        offset(row, 5) + targets,
        used & alone,
        shift,
        numbers,
        P,
        SHADOW=False,
    )
    total = tl.sum(tl.where(used, shift, 0.0), axis=0)
    # What is infinite or no number differs from itself once it is taken away.
    strayed = (total - total) != 0.0
    tl.atomic_min(failed + member, tl.load(clock).to(tl.int32) + 1, mask=alone & strayed)


def blocks(*, exact: bool) -> dict[str, int]:
    """Return the tile of a program (sources, targets, samples of a product step) and its warps, for every shape."""
    side = update_tile(exact=exact)
    # Four warps would hold 64 x 64 sums in every register that there is, and spill.
    return {"BM": side, "BN": side, "BK": 32, "num_warps": 8}


def update_tile(*, exact: bool) -> int:
    """Return the side of the square tiles of weights, as `PopulationLayout.weight_tiles` takes it."""
    return 32 if exact else 64


@dataclass(frozen=True, slots=True)
class Contrasted:
    """The states of a batch that an estimate is made of: flat `free`, `moved` and `other`, and `mistakes` of readouts.

    `rows` [P, B] int32 are the samples of the data `x` [n, n_0], in the dtype of the states; `mistakes` is
    [P, B, classes padded to 16] fp32.
    """

    x: Tensor
    rows: Tensor
    free: Tensor
    moved: Tensor
    other: Tensor
    mistakes: Tensor


@dataclass(frozen=True, slots=True)
class Slots:
    """The block of parameters, its `shadow` in the dtype of the states or itself, and the optimizers' two slots."""

    values: Tensor
    shadow: Tensor
    first: Tensor
    second: Tensor


def ragged_update(
    layout: PopulationLayout,
    slots: Slots,
    states: Contrasted,
    *,
    layers: Tensor,
    tiles: Tensor,
    numbers: Tensor,
    clock: Tensor,
    failed: Tensor,
) -> None:
    """Step every parameter of every network whose batch has samples, as `numbers` (len(Number), P) fp32 tell it.

    `failed` (P,) int32 takes the smallest of itself and `clock` () int64 + 1 where a network's differences are not
    finite. `layers` and `tiles` are those of `layout` on the device, with tiles of `update_tile`.
    """
    exact = states.free.dtype == torch.float32
    _update[(len(tiles),)](
        tiles, layers, numbers, states.rows, clock, states.x, states.free, states.moved, states.other,
        states.mistakes, slots.values, slots.shadow, slots.first, slots.second, failed,
        layout.batch, layout.inputs, numbers.stride(0),
        SHADOW=not exact, EXACT=exact, **blocks(exact=exact),
    )  # fmt: skip
