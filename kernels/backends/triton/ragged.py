"""A whole phase of P networks of different depths and widths in one launch and one compilation.

A program settles one tile of samples of one network, through all its sweeps; a table of descriptors
(`kernels.backends.triton.ragged_layout`) tells it where the layers lie. States live in the first-level cache, in flat
buffers: only this program touches its rows. Layers move one after another to their exact minimisers, and a softmax
readout counts as a last layer whose state is its pull beta (y - p), read just before the layer below it moves.
"""
# mypy: disable-error-code="import-not-found, import-untyped, untyped-decorator, no-untyped-def, no-untyped-call"

import math

import torch
import triton
import triton.language as tl
from torch import Tensor

from kernels.backends.triton import checks
from kernels.backends.triton.activations import change, clipped, nudged, pull
from kernels.backends.triton.checks import expect, expect_tensor
from kernels.backends.triton.ragged_layout import FIELDS, HEAD, ROW, UNIT, RaggedLayout
from kernels.backends.triton.visits import layer_of

__all__ = ["LARGEST_CLASSES", "settle_persistent_ragged"]

# The output of a network is one tile wide.
LARGEST_CLASSES = 64
_UNIT = tl.constexpr(UNIT)
_HEAD = tl.constexpr(HEAD)
_FIELDS = tl.constexpr(FIELDS)
_ROW = tl.constexpr(ROW)


@triton.jit
def _width(row, layer):
    return tl.load(row + _HEAD + _FIELDS * layer) * _UNIT


@triton.jit
def _offset(row, layer, FIELD: tl.constexpr):
    # 64 bit: a buffer may have up to 2**35 elements.
    return tl.load(row + _HEAD + _FIELDS * layer + FIELD).to(tl.int64) * _UNIT


# Numbers that differ between launches and serve no vector load: one compilation is for all of them.
@triton.jit(do_not_specialize=["each", "C", "y_p", "y_b"])
def _kernel(table, order, betas, drives, weights, biases, states, targets, partial,
            each, B, C, y_p, y_b, clip,
            EXACT: tl.constexpr, BM: tl.constexpr, BN: tl.constexpr, BK: tl.constexpr):  # fmt: skip
    pid = tl.program_id(0)
    genome = tl.load(order + pid // each)
    tile = pid % each
    row = table + genome * _ROW
    depth = tl.load(row)
    readout = tl.load(row + 1) != 0
    steps = tl.load(row + 2)
    sweep_order = tl.load(row + 3)
    drive = drives + tl.load(row + 4).to(tl.int64) * _UNIT
    nudge = tl.load(betas + genome)
    rows = tile * BM + tl.arange(0, BM)
    live = rows < B
    largest = tl.zeros([BM, BN], tl.float32)

    for step in range(steps):
        last = step == steps - 1
        backward = (sweep_order == 1) | ((sweep_order == 2) & (step % 2 == 0))
        for visit in range(depth):
            layer = layer_of(visit, depth, backward, readout)
            width = _width(row, layer)
            # A layer without a neighbour there receives nothing: the drive stands for what is below layer 1.
            k_below = tl.where(layer > 1, _width(row, layer - 1), 0)
            k_above = tl.where(layer < depth, _width(row, layer + 1), 0)
            s_below = states + _offset(row, layer - 1, 3)
            s_above = states + _offset(row, layer + 1, 3)
            w_below = weights + _offset(row, layer, 1)
            w_above = weights + _offset(row, layer + 1, 1)
            bias = biases + _offset(row, layer, 2)
            own = states + _offset(row, layer, 3)
            for first in range(0, width, BN):
                cols = first + tl.arange(0, BN)
                used = cols < width
                mask = live[:, None] & used[None, :]
                acc = tl.load(
                    drive + rows[:, None] * width + cols[None, :], mask=mask & (layer == 1), other=0.0
                )
                acc += tl.load(bias + cols, mask=used & (layer > 1), other=0.0)[None, :]
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
                    acc = tl.dot(s, w, acc, input_precision="ieee" if EXACT else "tf32")
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
                    acc = tl.dot(s, tl.trans(w), acc, input_precision="ieee" if EXACT else "tf32")
                if layer == depth:
                    real = cols < C
                    y = tl.load(
                        targets + genome.to(tl.int64) * y_p + rows[:, None] * y_b + cols[None, :],
                        mask=live[:, None] & real[None, :], other=0.0,
                    )  # fmt: skip
                    value = tl.where(readout, pull(acc, y, nudge, real), nudged(acc, y, nudge))
                else:
                    value = clipped(acc, clip)
                new = value.to(states.dtype.element_ty)
                here = own + rows[:, None] * width + cols[None, :]
                # A pull is no state: its change does not count. Only the last sweep is measured.
                counted = mask & last & ((layer < depth) | (not readout))
                before = tl.load(here, mask=counted, other=0.0)
                largest = tl.maximum(largest, change(new, before, counted))
                tl.store(here, new, mask=mask)
            # The next layer reads what other threads of this program have just written, and they what it reads.
            tl.debug_barrier()
    tl.store(partial + genome * each + tile, tl.max(tl.max(largest, axis=1), axis=0))


def blocks(batch: int, *, exact: bool) -> dict[str, int]:
    """Return the tile of a program (rows, columns, depth of a product step) and its warps: four would spill."""
    rows = min(32 if exact else 64, checks.at_least(batch, 16))
    return {"BM": rows, "BN": LARGEST_CLASSES, "BK": 16 if exact else 32, "num_warps": 8}


def settle_persistent_ragged(
    layout: RaggedLayout,
    states: Tensor,
    *,
    table: Tensor,
    order: Tensor,
    drive: Tensor,
    weights: Tensor,
    biases: Tensor,
    target: Tensor,
    beta: Tensor,
    clip: float = 1.0,
) -> Tensor:
    """Settle every network of `layout` in place; return the largest change of each in its last sweep, (P,) fp32.

    `states` is flat, fp16, or fp32 for the truth path, and begins as the phase begins; `weights` has its dtype;
    `drive`, `biases`, `target` [P, B, C] (an axis of networks with stride 0 shares one batch) and `beta` [P] are fp32.
    `table` and `order` are those of `layout`, on the device. All buffers are contiguous; their padding must be 0. There
    may be at most 64 classes. A change that is not a number is infinite.

    Raises KernelError for arguments that do not fit together.
    """
    device = checks.expect_device(states, interpreted=bool(triton.knobs.runtime.interpret))
    networks, batch, classes = len(layout.networks), layout.batch, layout.classes
    expect(classes <= LARGEST_CLASSES, f"there may be at most {LARGEST_CLASSES} classes, got {classes}.")
    expect(math.isfinite(clip) and clip > 0, f"clip must be finite and positive, got {clip}.")
    expect_tensor("states", states, (layout.state_size,), checks.STATE_DTYPES, device)
    expect_tensor("weights", weights, (layout.weight_size,), states.dtype, device)
    expect_tensor("biases", biases, (layout.bias_size,), torch.float32, device)
    expect_tensor("drive", drive, (layout.drive_size,), torch.float32, device)
    expect_tensor("target", target, (networks, batch, classes), torch.float32, device)
    expect_tensor("table", table, (networks, ROW), torch.int32, device)
    expect(table.is_contiguous(), "table must be contiguous, got a view. Use the table of the layout.")
    expect_tensor("order", order, (networks,), torch.int32, device)
    checks.expect_beta(beta, networks, device)
    exact = states.dtype == torch.float32
    block = blocks(batch, exact=exact)
    each = checks.tiles(batch, block["BM"])
    partial = torch.empty(networks, each, dtype=torch.float32, device=device)
    _kernel[(networks * each,)](
        table, order, beta, drive, weights, biases, states, target, partial,
        each, batch, classes, target.stride(0), target.stride(1), float(clip),
        EXACT=exact, **block,
    )  # fmt: skip
    return partial.amax(dim=1)
