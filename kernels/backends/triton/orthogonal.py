"""The quintic Newton-Schulz iteration for P small matrices at once, one program each, nothing leaving the chip.

X <- a X + (b A + c A^2) X, A = X X^T, from X = G/|G|_F, transposed where G is tall. Jordan et al. (2024).
"""
# mypy: disable-error-code="import-not-found, import-untyped, untyped-decorator, no-untyped-def, no-untyped-call"

from typing import Literal

import torch
import triton
import triton.language as tl
from torch import Tensor

from kernels.backends.triton import checks
from kernels.backends.triton.checks import expect, expect_tensor
from kernels.muon import COEFFICIENTS

__all__ = ["LARGEST_LONG", "LARGEST_SHORT", "newton_schulz_small"]

LARGEST_SHORT, LARGEST_LONG = 64, 128
MAX_STEPS = 20
_A, _B, _C = (tl.constexpr(value) for value in COEFFICIENTS)
# The smallest normal number: a zero matrix stays zero.
_TINY = tl.constexpr(1.1754943508222875e-38)


@triton.jit(do_not_specialize=["steps"])
def _kernel(matrices, out, S, L, matrix_p, matrix_s, matrix_l, out_p, out_s, out_l, steps,
            EXACT: tl.constexpr, BS: tl.constexpr, BL: tl.constexpr):  # fmt: skip
    genome = tl.program_id(0).to(tl.int64)
    short = tl.arange(0, BS)
    long = tl.arange(0, BL)
    mask = (short < S)[:, None] & (long < L)[None, :]
    x = tl.load(
        matrices + genome * matrix_p + short[:, None] * matrix_s + long[None, :] * matrix_l,
        mask=mask,
        other=0.0,
    )
    # Divided by the largest entry first: the square of a small gradient is not a number that float32 has.
    largest = tl.max(tl.max(tl.abs(x), axis=1), axis=0)
    x = x / tl.maximum(largest, _TINY)
    x = x / tl.maximum(tl.sqrt_rn(tl.sum(tl.sum(x * x, axis=1), axis=0)), _TINY)
    for _ in range(steps):
        operand = x if EXACT else x.to(tl.float16)
        gram = tl.dot(operand, tl.trans(operand), input_precision="ieee" if EXACT else "tf32")
        narrow = gram if EXACT else gram.to(tl.float16)
        gram = _B * gram + _C * tl.dot(narrow, narrow, input_precision="ieee" if EXACT else "tf32")
        narrow = gram if EXACT else gram.to(tl.float16)
        x = _A * x + tl.dot(narrow, operand, input_precision="ieee" if EXACT else "tf32")
    tl.store(out + genome * out_p + short[:, None] * out_s + long[None, :] * out_l, x, mask=mask)


def blocks(short: int, long: int, *, exact: bool) -> dict[str, int]:
    """Return the sides of a program's matrix and its warps: in fp32 all operands of a product lie in registers."""
    return {"BS": checks.at_least(short, 16), "BL": checks.at_least(long, 16), "num_warps": 8 if exact else 4}


def newton_schulz_small(
    out: Tensor, matrix: Tensor, *, steps: int, precision: Literal["fp16", "fp32"] = "fp16"
) -> None:
    """Store the iterate of each `matrix` [P, R, C] after `steps` steps in `out`, both fp32; they may be one tensor.

    The shorter side is at most 64 and the longer at most 128. Products take fp16 operands into fp32, or fp32 operands
    as the truth path. A zero matrix stays zero.

    Raises KernelError for arguments that do not fit together.
    """
    device = checks.expect_device(matrix, interpreted=bool(triton.knobs.runtime.interpret))
    expect(matrix.dim() == 3 and matrix.numel() > 0, f"matrix must be [P, R, C], got {tuple(matrix.shape)}.")
    networks, rows, columns = matrix.shape
    short, long = min(rows, columns), max(rows, columns)
    expect(
        short <= LARGEST_SHORT and long <= LARGEST_LONG,
        f"a matrix may be at most {LARGEST_SHORT} x {LARGEST_LONG}, either way, got {rows} x {columns}. Use "
        "kernels.muon for larger ones.",
    )
    expect(1 <= steps <= MAX_STEPS, f"steps must lie in [1, {MAX_STEPS}], got {steps}.")
    expect(precision in ("fp16", "fp32"), f"precision must be 'fp16' or 'fp32', got {precision!r}.")
    expect_tensor("matrix", matrix, matrix.shape, torch.float32, device)
    expect_tensor("out", out, matrix.shape, torch.float32, device)
    if out.data_ptr() != matrix.data_ptr() or out.stride() != matrix.stride():
        checks.apart(out, matrix, "matrix")
    tall = rows > columns
    (ms, ml), (os, ol) = (
        (tensor.stride()[1:][::-1] if tall else tensor.stride()[1:]) for tensor in (matrix, out)
    )
    _kernel[(networks,)](
        matrix, out, short, long, matrix.stride(0), ms, ml, out.stride(0), os, ol, steps,
        EXACT=precision == "fp32", **blocks(short, long, exact=precision == "fp32"),
    )  # fmt: skip
