"""A whole phase of P networks with one hidden layer in one launch: drive, states and W_2 stay on chip for all steps.

A sweep moves both layers to their exact minimisers:

    h <- clip(drive + o W_2^T, 0, c)        drive = x W_1 + b_1, computed once a batch
    o <- (h W_2 + b_2 + beta y)/(1 + beta)  output inside the energy ("mse"), or
    e <- beta (y - softmax(h W_2 + b_2))    a readout ("ce"), whose pull e stands in for o

in the order h, o ("forward") or o, h ("backward"). A readout is always read before h moves.
"""
# mypy: disable-error-code="import-not-found, import-untyped, untyped-decorator, no-untyped-def, no-untyped-call"

import math
from typing import Literal

import torch
import triton
import triton.language as tl
from torch import Tensor

from kernels.backends.triton import checks
from kernels.backends.triton.activations import change, clipped, nudged, pull
from kernels.backends.triton.checks import expect, expect_tensor

__all__ = ["LARGEST_CLASSES", "LARGEST_HIDDEN", "settle_persistent_1h"]

# Beyond these the states of a tile no longer fit a multiprocessor's registers.
LARGEST_HIDDEN = 512
LARGEST_CLASSES = 64
MAX_STEPS = 10**6


@triton.jit
def _hidden(o, w2_down, drive, clip, EXACT: tl.constexpr):
    acc = tl.dot(o, w2_down, drive.to(tl.float32), input_precision="ieee" if EXACT else "tf32")
    return clipped(acc, clip).to(o.dtype)


@triton.jit
def _output(h, w2, bias, y, nudge, used, READOUT: tl.constexpr, EXACT: tl.constexpr):
    acc = tl.dot(h, w2, input_precision="ieee" if EXACT else "tf32") + bias[None, :]
    if READOUT:
        return pull(acc, y, nudge, used).to(h.dtype)
    return nudged(acc, y, nudge).to(h.dtype)


@triton.jit
def _sweep(h, o, w2, w2_down, drive, bias, y, nudge, used, clip,
           READOUT: tl.constexpr, BACKWARD: tl.constexpr, EXACT: tl.constexpr):  # fmt: skip
    if BACKWARD or READOUT:
        o = _output(h, w2, bias, y, nudge, used, READOUT, EXACT)
        h = _hidden(o, w2_down, drive, clip, EXACT)
    else:
        h = _hidden(o, w2_down, drive, clip, EXACT)
        o = _output(h, w2, bias, y, nudge, used, READOUT, EXACT)
    return h, o


@triton.jit(do_not_specialize=["steps"])
def _kernel(hidden, output, start_hidden, start_output, drives, w2s, biases, targets, betas, partial,
            B, H, C,
            hid_p, hid_b, out_p, out_b, sh_p, sh_b, so_p, so_b, drive_p, drive_b, w_p, w_k, bias_p, y_p, y_b,
            steps, clip,
            READOUT: tl.constexpr, BACKWARD: tl.constexpr, EXACT: tl.constexpr,
            BM: tl.constexpr, BH: tl.constexpr, BC: tl.constexpr):  # fmt: skip
    each = tl.cdiv(B, BM)
    pid = tl.program_id(0)
    genome = (pid // each).to(tl.int64)
    rows = (pid % each) * BM + tl.arange(0, BM)
    units = tl.arange(0, BH)
    classes = tl.arange(0, BC)
    live = rows < B
    inside = live[:, None] & (units < H)[None, :]
    used = classes < C
    shown = live[:, None] & used[None, :]

    nudge = tl.load(betas + genome)
    drive = tl.load(
        drives + genome * drive_p + rows[:, None] * drive_b + units[None, :], mask=inside, other=0.0
    )
    bias = tl.load(biases + genome * bias_p + classes, mask=used, other=0.0)
    y = tl.load(targets + genome * y_p + rows[:, None] * y_b + classes[None, :], mask=shown, other=0.0)
    w2 = tl.load(
        w2s + genome * w_p + units[:, None] * w_k + classes[None, :],
        mask=(units < H)[:, None] & used[None, :],
        other=0.0,
    )
    w2_down = tl.trans(w2)
    h = tl.load(start_hidden + genome * sh_p + rows[:, None] * sh_b + units[None, :], mask=inside, other=0.0)
    if READOUT:
        o = tl.zeros([BM, BC], h.dtype)
    else:
        o = tl.load(
            start_output + genome * so_p + rows[:, None] * so_b + classes[None, :], mask=shown, other=0.0
        )

    for _ in range(steps - 1):
        h, o = _sweep(h, o, w2, w2_down, drive, bias, y, nudge, used, clip, READOUT, BACKWARD, EXACT)
    # Only the last sweep is measured.
    next_h, next_o = _sweep(h, o, w2, w2_down, drive, bias, y, nudge, used, clip, READOUT, BACKWARD, EXACT)
    largest = tl.max(tl.max(change(next_h, h, inside), axis=1), axis=0)
    tl.store(hidden + genome * hid_p + rows[:, None] * hid_b + units[None, :], next_h, mask=inside)
    if not READOUT:
        largest = tl.maximum(largest, tl.max(tl.max(change(next_o, o, shown), axis=1), axis=0))
        tl.store(output + genome * out_p + rows[:, None] * out_b + classes[None, :], next_o, mask=shown)
    tl.store(partial + pid, largest)


def blocks(batch: int, hidden: int, classes: int, *, exact: bool) -> dict[str, int]:
    """Return the rows, units, classes and warps of a program: about as many states as the registers hold."""
    units = checks.at_least(hidden, 16)
    # Accumulator, drive and state of a row take 10 bytes a unit, in fp32 12 and both operands of a product besides:
    # with twice the rows a width of 256 needs every register that there is.
    rows = max(16, min(32, 4096 // units)) if exact else max(16, min(64, 8192 // units))
    warps = 8 if units > (64 if exact else 256) else 4
    rows = min(rows, checks.at_least(batch, 16))
    return {"BM": rows, "BH": units, "BC": checks.at_least(classes, 16), "num_warps": warps}


def settle_persistent_1h(
    hidden: Tensor,
    output: Tensor | None,
    *,
    start_hidden: Tensor,
    start_output: Tensor | None,
    drive: Tensor,
    weight: Tensor,
    bias: Tensor,
    target: Tensor,
    beta: Tensor,
    steps: int,
    order: Literal["forward", "backward"],
    clip: float = 1.0,
) -> Tensor:
    """Settle P networks for `steps` sweeps; return the largest change of each in the last sweep, (P,) fp32.

    `hidden` [P, B, H] and `output` [P, B, C] take the states, fp16, or fp32 for the truth path; both start tensors
    have their shapes and may be the same tensors. `output` and `start_output` are None for a softmax readout.
    `weight` W_2 [P, H, C] has the dtype of the states; `drive` [P, B, H] is fp32 or that dtype; `bias` b_2 [P, C],
    `target` y [P, B, C] and `beta` [P] are fp32. A free phase has beta 0. H is at most 512 and C at most 64. A change
    that is not a number is infinite.

    Raises KernelError for arguments that do not fit together.
    """
    device = checks.expect_device(hidden, interpreted=bool(triton.knobs.runtime.interpret))
    expect(hidden.dim() == 3, f"hidden must be [P, B, H], got the shape {tuple(hidden.shape)}.")
    expect(
        (output is None) == (start_output is None),
        "output and start_output belong together, or neither is given.",
    )
    networks, batch, units = hidden.shape
    expect(bias.dim() == 2, f"bias must be [P, C], got the shape {tuple(bias.shape)}.")
    classes = bias.shape[-1]
    expect(
        networks >= 1 and 1 <= batch <= checks.MAX_SIDE and 1 <= units <= LARGEST_HIDDEN,
        f"hidden must be [P, B, H] with B at most {checks.MAX_SIDE} and H at most {LARGEST_HIDDEN}, got "
        f"{tuple(hidden.shape)}. Wider networks settle layer by layer.",
    )
    expect(1 <= classes <= LARGEST_CLASSES, f"there may be 1 to {LARGEST_CLASSES} classes, got {classes}.")
    expect(1 <= steps <= MAX_STEPS, f"steps must lie in [1, {MAX_STEPS}], got {steps}.")
    expect(order in ("forward", "backward"), f"order must be 'forward' or 'backward', got {order!r}.")
    expect(math.isfinite(clip) and clip > 0, f"clip must be finite and positive, got {clip}.")
    expect_tensor("hidden", hidden, hidden.shape, checks.STATE_DTYPES, device)
    dtype = hidden.dtype
    expect_tensor("start_hidden", start_hidden, hidden.shape, dtype, device)
    shape = (networks, batch, classes)
    for name, states in (("output", output), ("start_output", start_output)):
        if states is not None:
            expect_tensor(name, states, shape, dtype, device)
    expect_tensor("drive", drive, hidden.shape, (torch.float32, dtype), device)
    expect_tensor("weight", weight, (networks, units, classes), dtype, device)
    expect_tensor("bias", bias, (networks, classes), torch.float32, device)
    expect_tensor("target", target, shape, torch.float32, device)
    checks.expect_beta(beta, networks, device)
    exact = dtype == torch.float32
    block = blocks(batch, units, classes, exact=exact)
    each = checks.tiles(batch, block["BM"])
    partial = torch.empty(networks, each, dtype=torch.float32, device=device)
    # A readout has no output state; a pointer must point somewhere.
    out, start = (hidden if states is None else states for states in (output, start_output))
    _kernel[(networks * each,)](
        hidden, out, start_hidden, start, drive, weight, bias, target, beta, partial,
        batch, units, classes,
        hidden.stride(0), hidden.stride(1), out.stride(0), out.stride(1),
        start_hidden.stride(0), start_hidden.stride(1), start.stride(0), start.stride(1),
        drive.stride(0), drive.stride(1), weight.stride(0), weight.stride(1), bias.stride(0),
        target.stride(0), target.stride(1),
        steps, float(clip),
        READOUT=output is None, BACKWARD=order == "backward", EXACT=exact,
        **block,
    )  # fmt: skip
    return partial.amax(dim=1)
