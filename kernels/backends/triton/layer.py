"""One step of one layer of P networks: two products in one accumulator, the base, the nudge and the activation.

    pre = base + S_{k-1} W_k + S_{k+1} W_{k+1}^T        base: the bias b_k, or a drive computed once a batch

"clip":    s <- clip(pre, 0, c)                          a hidden layer
"output":  o <- (pre + beta y)/(1 + beta)                the exact minimiser of an output inside the energy
"pull":    e <- beta (y - softmax(pre))                  what a softmax readout sends down through W_L^T
"linear":  s <- pre                                      scores, a drive, a feed-forward output

With a `step_size` a layer moves by that share of the way instead ("clip" and "output"; the output's force is then
pre - o + beta (y - o)). Scellier & Bengio (2017), eq. 4; Laborieux et al. (2021) for the readout.
"""
# mypy: disable-error-code="import-not-found, import-untyped, untyped-decorator, no-untyped-def, no-untyped-call"

import math
from dataclasses import dataclass
from typing import Literal

import torch
import triton
import triton.language as tl
from torch import Tensor

from kernels.backends.triton import checks
from kernels.backends.triton.activations import change as changed
from kernels.backends.triton.activations import clipped, nudged, pull
from kernels.backends.triton.checks import expect, expect_tensor

__all__ = ["Activation", "Feed", "settle_layer"]

Activation = Literal["clip", "output", "pull", "linear"]

CODES: dict[Activation, int] = {"linear": 0, "output": 1, "clip": 2, "pull": 3}
CLIP = tl.constexpr(CODES["clip"])
PULL = tl.constexpr(CODES["pull"])
# The softmax of a readout is taken inside one tile.
LARGEST_READOUT = 128


@triton.jit
def _accumulate(acc, states, weights, rows, cols, live, used, K, row_stride, k_stride, n_stride,
                EXACT: tl.constexpr, BK: tl.constexpr):  # fmt: skip
    """Add states [rows, K] times weights [K, cols] to `acc`; both pointers are the genome's."""
    for start in range(0, K, BK):
        ks = start + tl.arange(0, BK)
        inside = ks < K
        s = tl.load(
            states + rows[:, None] * row_stride + ks[None, :], mask=live[:, None] & inside[None, :], other=0.0
        )
        w = tl.load(
            weights + ks[:, None] * k_stride + cols[None, :] * n_stride,
            mask=inside[:, None] & used[None, :],
            other=0.0,
        )
        acc = tl.dot(s, w, acc, input_precision="ieee" if EXACT else "tf32")
    return acc


@triton.jit
def _kernel(out, base, below, w_below, above, w_above, previous, target, beta, partial,
            B, N, K_BELOW, K_ABOVE,
            out_p, out_b, base_p, base_b, below_p, below_b, wb_p, wb_k, above_p, above_b, wa_p, wa_n,
            prev_p, prev_b, target_p, target_b,
            clip, step_size,
            ACTIVATION: tl.constexpr, HAS_BELOW: tl.constexpr, HAS_ABOVE: tl.constexpr, NUDGED: tl.constexpr,
            SYNCHRONOUS: tl.constexpr, MEASURED: tl.constexpr, EXACT: tl.constexpr,
            BM: tl.constexpr, BN: tl.constexpr, BK: tl.constexpr):  # fmt: skip
    across = tl.cdiv(N, BN)
    each = tl.cdiv(B, BM) * across
    pid = tl.program_id(0)
    # 64 bit: a population's arrays may pass 2**31 elements.
    genome = (pid // each).to(tl.int64)
    tile = pid % each
    rows = (tile // across) * BM + tl.arange(0, BM)
    cols = (tile % across) * BN + tl.arange(0, BN)
    live = rows < B
    used = cols < N
    mask = live[:, None] & used[None, :]

    # A bias is a base whose rows have stride 0.
    acc = tl.load(base + genome * base_p + rows[:, None] * base_b + cols[None, :], mask=mask, other=0.0)
    if HAS_BELOW:
        acc = _accumulate(acc, below + genome * below_p, w_below + genome * wb_p, rows, cols, live, used,
                          K_BELOW, below_b, wb_k, 1, EXACT, BK)  # fmt: skip
    if HAS_ABOVE:
        # W_{k+1} is [d_k, d_{k+1}]: read transposed.
        acc = _accumulate(acc, above + genome * above_p, w_above + genome * wa_p, rows, cols, live, used,
                          K_ABOVE, above_b, 1, wa_n, EXACT, BK)  # fmt: skip

    if SYNCHRONOUS or MEASURED:
        before = tl.load(
            previous + genome * prev_p + rows[:, None] * prev_b + cols[None, :], mask=mask, other=0.0
        )
        before = before.to(tl.float32)
    if NUDGED:
        nudge = tl.load(beta + genome)
        y = tl.load(
            target + genome * target_p + rows[:, None] * target_b + cols[None, :], mask=mask, other=0.0
        )
    if ACTIVATION == PULL:
        acc = pull(acc, y, nudge, used)
    elif SYNCHRONOUS:
        force = acc - before
        if NUDGED:
            force += nudge * (y - before)
        acc = before + step_size * force
    elif NUDGED:
        acc = nudged(acc, y, nudge)
    if ACTIVATION == CLIP:
        acc = clipped(acc, clip)

    new = acc.to(out.dtype.element_ty)
    tl.store(out + genome * out_p + rows[:, None] * out_b + cols[None, :], new, mask=mask)
    if MEASURED:
        tl.store(partial + pid, tl.max(tl.max(changed(new, before, mask), axis=1), axis=0))


@dataclass(frozen=True, slots=True)
class Feed:
    """What a neighbouring layer sends: its states [P, B, n] and the weights of the connection.

    From below: W_k [P, n, N]. From above: W_{k+1} [P, N, n], which is used transposed.
    """

    states: Tensor
    weight: Tensor


def blocks(batch: int, width: int, *, exact: bool, readout: bool) -> dict[str, int]:
    """Return the tile of a program (rows, columns, depth) for a layer of `width` units, and its warps."""
    columns = checks.at_least(width, 16) if readout else min(64, checks.at_least(width, 16))
    # The truth path has no tensor cores: smaller tiles keep it in registers.
    rows = min(32 if exact else 64, checks.at_least(batch, 16))
    return {"BM": rows, "BN": columns, "BK": 16 if exact else 32, "num_warps": 4}


def settle_layer(
    out: Tensor,
    *,
    base: Tensor,
    activation: Activation,
    below: Feed | None = None,
    above: Feed | None = None,
    clip: float = 1.0,
    target: Tensor | None = None,
    beta: Tensor | None = None,
    previous: Tensor | None = None,
    step_size: float | None = None,
    change: Tensor | None = None,
) -> None:
    """Store the next states of one layer of P networks in `out` [P, B, N], fp16, or fp32 for the truth path.

    `base` is fp32: a bias [P, N] or a drive [P, B, N]. States and weights of both feeds have the dtype of `out`.
    `target` y [P, B, N] fp32 (an axis of networks with stride 0 shares one batch) and `beta` [P] fp32 belong together:
    "output" and "pull" need them, but for an "output" that is not nudged, the others take none. `previous`, which may
    be `out` itself, holds the states before: a `step_size` and `change` need it. `change` [P] fp32 takes the largest
    change of each network, infinite where it is not a number. `out` must not share memory with a feed.

    Raises KernelError for arguments that do not fit together.
    """
    device = checks.expect_device(out, interpreted=bool(triton.knobs.runtime.interpret))
    expect(
        out.dim() == 3,
        f"out must be [P, B, N], got the shape {tuple(out.shape)}. Add an axis of one network.",
    )
    expect_tensor("out", out, out.shape, checks.STATE_DTYPES, device)
    expect(activation in CODES, f"activation must be one of {', '.join(CODES)}, got {activation!r}.")
    expect(math.isfinite(clip) and clip > 0, f"clip must be finite and positive, got {clip}.")
    _check_sizes(out, activation)
    expect_tensor(
        "base", base, (out.shape[0], out.shape[-1]) if base.dim() == 2 else out.shape, torch.float32, device
    )
    _check_feeds(out, below, above)
    is_nudged = _check_nudge(out, activation, target, beta)
    _check_motion(out, activation, previous, step_size, change)
    networks, batch, width = out.shape
    exact = out.dtype == torch.float32
    block = blocks(batch, width, exact=exact, readout=activation == "pull")
    each = checks.tiles(batch, block["BM"]) * checks.tiles(width, block["BN"])
    partial = torch.empty(networks, each, dtype=torch.float32, device=device) if change is not None else None
    # What a configuration does not read is given as `out`: a pointer must point somewhere.
    feeds = [feed or Feed(out, out) for feed in (below, above)]
    before, y = (out if tensor is None else tensor for tensor in (previous, target))
    _kernel[(networks * each,)](
        out, base, feeds[0].states, feeds[0].weight, feeds[1].states, feeds[1].weight,
        before, y, out if beta is None else beta, out if partial is None else partial,
        batch, width, feeds[0].states.shape[-1], feeds[1].states.shape[-1],
        out.stride(0), out.stride(1), base.stride(0), base.stride(1) if base.dim() == 3 else 0,
        feeds[0].states.stride(0), feeds[0].states.stride(1), feeds[0].weight.stride(0), feeds[0].weight.stride(1),
        feeds[1].states.stride(0), feeds[1].states.stride(1), feeds[1].weight.stride(0), feeds[1].weight.stride(1),
        before.stride(0), before.stride(1), y.stride(0), y.stride(1),
        float(clip), 1.0 if step_size is None else float(step_size),
        ACTIVATION=CODES[activation], HAS_BELOW=below is not None, HAS_ABOVE=above is not None, NUDGED=is_nudged,
        SYNCHRONOUS=step_size is not None, MEASURED=change is not None, EXACT=exact,
        **block,
    )  # fmt: skip
    if partial is not None and change is not None:
        torch.amax(partial, dim=1, out=change)


def _check_sizes(out: Tensor, activation: Activation) -> None:
    networks, batch, width = out.shape
    expect(networks >= 1 and batch >= 1 and width >= 1, f"out must not be empty, got {tuple(out.shape)}.")
    expect(
        max(batch, width) <= checks.MAX_SIDE,
        f"batch and width must be at most {checks.MAX_SIDE}, got {batch} and {width}. Split the batch.",
    )
    expect(
        activation != "pull" or width <= LARGEST_READOUT,
        f"a readout has at most {LARGEST_READOUT} classes here, got {width}. Use torch for its softmax.",
    )


def _check_feeds(out: Tensor, below: Feed | None, above: Feed | None) -> None:
    networks, batch, width = out.shape
    for name, feed in (("below", below), ("above", above)):
        if feed is None:
            continue
        units = feed.states.shape[-1]
        expect(1 <= units <= checks.MAX_SIDE, f"{name} must have 1 to {checks.MAX_SIDE} units, got {units}.")
        expect_tensor(f"{name}.states", feed.states, (networks, batch, units), out.dtype, out.device)
        shape = (networks, units, width) if name == "below" else (networks, width, units)
        expect_tensor(f"{name}.weight", feed.weight, shape, out.dtype, out.device)
        checks.apart(out, feed.states, f"{name}.states")


def _check_nudge(out: Tensor, activation: Activation, target: Tensor | None, beta: Tensor | None) -> bool:
    expect((target is None) == (beta is None), "target and beta belong together: give both or neither.")
    expect(target is not None or activation != "pull", "a pull needs target and beta, got neither.")
    if target is None or beta is None:
        return False
    expect(
        activation in ("output", "pull"),
        f"{activation!r} is not nudged: leave target and beta away, or choose 'output' or 'pull'.",
    )
    expect_tensor("target", target, out.shape, torch.float32, out.device)
    checks.expect_beta(beta, out.shape[0], out.device)
    return True


def _check_motion(
    out: Tensor,
    activation: Activation,
    previous: Tensor | None,
    step_size: float | None,
    change: Tensor | None,
) -> None:
    if previous is not None:
        expect_tensor("previous", previous, out.shape, out.dtype, out.device)
    if change is not None:
        expect_tensor("change", change, (out.shape[0],), torch.float32, out.device)
        expect(previous is not None, "a change needs the states before it: give previous.")
    if step_size is not None:
        expect(
            activation in ("clip", "output"),
            f"{activation!r} takes no step_size: only states move. Choose 'clip' or 'output'.",
        )
        expect(0 < step_size <= 1, f"step_size must lie in (0, 1], got {step_size}.")
        expect(previous is not None, "a step_size needs the states before it: give previous.")
