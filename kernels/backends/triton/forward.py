"""Where a phase of networks of different shapes begins, and what a readout makes of where it ends.

`drive` gathers each network's samples from the data that all share and multiplies them by its first layer's weights:
x W_1 + b_1, once a batch, and s_1 = clip(drive). `feed_forward` sets the states above from those below. `read_out`
forms p - y of softmax readouts, or the scores. Each is one launch for all networks.
"""
# mypy: disable-error-code="import-not-found, import-untyped, untyped-decorator, no-untyped-def, no-untyped-call"

from dataclasses import dataclass

import torch
import triton
import triton.language as tl
from torch import Tensor

from kernels.backends.triton import checks
from kernels.backends.triton.activations import clipped, pull
from kernels.backends.triton.population_layout import LAYER_ROW, OUTPUT, READOUT, PopulationLayout
from kernels.backends.triton.ragged_layout import MAX_LAYERS, UNIT

__all__ = ["Tables", "drive", "feed_forward", "read_out", "tables_on"]

_UNIT, _ROW, _LAYERS = tl.constexpr(UNIT), tl.constexpr(LAYER_ROW), tl.constexpr(MAX_LAYERS)
_OUTPUT, _READOUT = tl.constexpr(OUTPUT), tl.constexpr(READOUT)
# The classes of a network are one tile.
_CLASSES = 64


@triton.jit
def offset(row, FIELD: tl.constexpr):
    """Return the offset in a row of layers, in elements, 64 bit: a buffer may have up to 2**35 of them."""
    return tl.load(row + FIELD).to(tl.int64) * _UNIT


@triton.jit
def received(states, operand, row, width, samples, live, cols, used, bias,
             EXACT: tl.constexpr, BM: tl.constexpr, BN: tl.constexpr, BK: tl.constexpr):  # fmt: skip
    """Return what a layer above the first receives from below on a tile: s W + b in fp32."""
    below = states + offset(row, 6)
    weight = operand + offset(row, 4)
    sources = tl.load(row + 2) * _UNIT
    acc = tl.zeros([BM, BN], tl.float32) + tl.load(bias + cols, mask=used, other=0.0)[None, :]
    for start in range(0, sources, BK):
        ks = start + tl.arange(0, BK)
        s = tl.load(
            below + samples[:, None] * sources + ks[None, :],
            mask=live[:, None] & (ks < sources)[None, :], other=0.0,
        )  # fmt: skip
        w = tl.load(
            weight + ks[:, None] * width + cols[None, :],
            mask=(ks < sources)[:, None] & used[None, :], other=0.0,
        )  # fmt: skip
        acc = tl.dot(s, w, acc, input_precision="ieee" if EXACT else "tf32")
    return acc


# Numbers that differ between launches and serve no vector load: one compilation is for all of them.
@triton.jit(do_not_specialize=["each"])
def _drive(tiles, layers, rows, x, values, operand, states, drives, each, B, X, clip,
           EXACT: tl.constexpr, BM: tl.constexpr, BN: tl.constexpr, BK: tl.constexpr):  # fmt: skip
    pid = tl.program_id(0)
    tile = pid % each
    row = layers + tl.load(tiles + 2 * (pid // each)) * _ROW
    width = tl.load(row + 3) * _UNIT
    member = tl.load(row).to(tl.int64)
    samples = tile * BM + tl.arange(0, BM)
    live = samples < B
    index = tl.load(rows + member * B + samples, mask=live, other=-1)
    # An absent sample doubles the first, so that those of the batch alone decide when it has settled; estimates do
    # not read it. A network that takes no step has no first.
    index = tl.where(index < 0, tl.load(rows + member * B), index).to(tl.int64)
    cols = tl.load(tiles + 2 * (pid // each) + 1) * BN + tl.arange(0, BN)
    used = cols < width
    weight = operand + offset(row, 4)
    acc = (
        tl.zeros([BM, BN], tl.float32)
        + tl.load(values + offset(row, 5) + cols, mask=used, other=0.0)[None, :]
    )
    for start in range(0, X, BK):
        ks = start + tl.arange(0, BK)
        s = tl.load(
            x + index[:, None] * X + ks[None, :],
            mask=(index >= 0)[:, None] & (ks < X)[None, :], other=0.0,
        )  # fmt: skip
        w = tl.load(
            weight + ks[:, None] * width + cols[None, :], mask=(ks < X)[:, None] & used[None, :], other=0.0
        )
        acc = tl.dot(s, w, acc, input_precision="ieee" if EXACT else "tf32")
    here = samples[:, None] * width + cols[None, :]
    mask = live[:, None] & used[None, :]
    tl.store(drives + offset(row, 8) + here, acc, mask=mask)
    tl.store(states + offset(row, 7) + here, clipped(acc, clip).to(states.dtype.element_ty), mask=mask)


@triton.jit(do_not_specialize=["each"])
def _forward(order, layers, values, operand, states, each, B, clip,
             EXACT: tl.constexpr, BM: tl.constexpr, BN: tl.constexpr, BK: tl.constexpr):  # fmt: skip
    pid = tl.program_id(0)
    first = layers + tl.load(order + pid // each) * (_LAYERS * _ROW)
    samples = (pid % each) * BM + tl.arange(0, BM)
    live = samples < B
    for layer in range(1, tl.load(first + 9)):
        row = first + layer * _ROW
        width = tl.load(row + 3) * _UNIT
        output = tl.load(row + 1) == _OUTPUT
        bias = values + offset(row, 5)
        own = states + offset(row, 7)
        for start in range(0, width, BN):
            cols = start + tl.arange(0, BN)
            used = cols < width
            acc = received(states, operand, row, width, samples, live, cols, used, bias, EXACT, BM, BN, BK)
            value = tl.where(output, acc, clipped(acc, clip))
            tl.store(
                own + samples[:, None] * width + cols[None, :], value.to(states.dtype.element_ty),
                mask=live[:, None] & used[None, :],
            )  # fmt: skip
        # The next layer reads what other threads of this program have just written.
        tl.debug_barrier()


@triton.jit(do_not_specialize=["each", "C"])
def _read(order, layers, lasts, values, operand, states, targets, out, each, B, C,
          SCORES: tl.constexpr, EXACT: tl.constexpr,
          BM: tl.constexpr, BN: tl.constexpr, BK: tl.constexpr):  # fmt: skip
    pid = tl.program_id(0)
    genome = tl.load(order + pid // each).to(tl.int64)
    row = layers + tl.load(lasts + genome) * _ROW
    readout = tl.load(row + 1) == _READOUT
    width = tl.load(row + 3) * _UNIT
    samples = (pid % each) * BM + tl.arange(0, BM)
    live = samples < B
    cols = tl.arange(0, BN)
    used = cols < width
    real = cols < C
    here = samples[:, None] * width + cols[None, :]
    mask = live[:, None] & used[None, :]
    bias = values + offset(row, 5)
    acc = received(states, operand, row, width, samples, live, cols, used, bias, EXACT, BM, BN, BK)
    if SCORES:
        state = tl.load(states + offset(row, 7) + here, mask=mask, other=0.0).to(tl.float32)
        tl.store(out + genome * B * width + here, tl.where(readout, acc, state), mask=mask)
    else:
        y = tl.load(
            targets + (genome * B + samples[:, None]) * C + cols[None, :],
            mask=live[:, None] & real[None, :], other=0.0,
        )  # fmt: skip
        tl.store(out + genome * B * width + here, -pull(acc, y, 1.0, real), mask=mask & readout)


def blocks(batch: int, *, exact: bool) -> dict[str, int]:
    """Return the tile of a program (rows, columns, depth of a product step) and its warps."""
    rows = min(32 if exact else 64, checks.at_least(batch, 16))
    return {"BM": rows, "BN": _CLASSES, "BK": 16 if exact else 32, "num_warps": 8}


@dataclass(frozen=True, slots=True)
class Tables:
    """What kernels read of a population layout, on the device.

    `layers` and `order` as the layouts give them; `columns` the tiles of the first layers; `lasts` (P,) the row of
    each network's last layer.
    """

    layers: Tensor
    order: Tensor
    columns: Tensor
    lasts: Tensor


def tables_on(layout: PopulationLayout, device: torch.device) -> Tables:
    """Return the tables of `layout` on `device`."""
    lasts = [member * MAX_LAYERS + each.last - 1 for member, each in enumerate(layout.topologies)]
    return Tables(
        layout.layers().to(device),
        layout.ragged.order().to(device),
        layout.column_tiles(_CLASSES).to(device),
        torch.tensor(lasts, dtype=torch.int32, device=device),
    )


def drive(
    layout: PopulationLayout,
    tables: Tables,
    rows: Tensor,
    *,
    x: Tensor,
    values: Tensor,
    operand: Tensor,
    states: Tensor,
    drives: Tensor,
    clip: float,
) -> None:
    """Store x W_1 + b_1 of the samples `rows` [P, B] int32 in `drives`, and the first layers' states in `states`.

    `x` [n, n_0] is the data in the dtype of the states; a row of -1 is a sample that is not there. `values` is the
    block of parameters, fp32, `operand` its weights in the dtype of the states.
    """
    exact = states.dtype == torch.float32
    block = blocks(layout.batch, exact=exact)
    each = checks.tiles(layout.batch, block["BM"])
    _drive[(len(tables.columns) * each,)](
        tables.columns, tables.layers, rows, x, values, operand, states, drives,
        each, layout.batch, layout.inputs, float(clip), EXACT=exact, **block,
    )  # fmt: skip


def feed_forward(
    layout: PopulationLayout, tables: Tables, *, values: Tensor, operand: Tensor, states: Tensor, clip: float
) -> None:
    """Set the states of the layers from 2 on from those below alone, in place."""
    exact = states.dtype == torch.float32
    block = blocks(layout.batch, exact=exact)
    each = checks.tiles(layout.batch, block["BM"])
    _forward[(len(layout.topologies) * each,)](
        tables.order, tables.layers, values, operand, states, each, layout.batch, float(clip),
        EXACT=exact, **block,
    )  # fmt: skip


def read_out(
    layout: PopulationLayout,
    tables: Tables,
    out: Tensor,
    *,
    values: Tensor,
    operand: Tensor,
    states: Tensor,
    target: Tensor | None,
) -> None:
    """Store in `out` [P, B, classes padded to 16] fp32 what the outputs say at `states`.

    With a `target` [P, B, classes] fp32 the mistakes p - y of softmax readouts, those of other networks untouched; with
    None the scores: logits, or the output state.
    """
    exact = states.dtype == torch.float32
    block = blocks(layout.batch, exact=exact)
    each = checks.tiles(layout.batch, block["BM"])
    _read[(len(layout.topologies) * each,)](
        tables.order, tables.layers, tables.lasts, values, operand, states, out if target is None else target,
        out, each, layout.batch, layout.ragged.classes, SCORES=target is None, EXACT=exact, **block,
    )  # fmt: skip
