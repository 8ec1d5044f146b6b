"""The largest singular values of P matrices at once, by power iteration on W^T W."""
# mypy: disable-error-code="import-not-found, import-untyped, untyped-decorator, no-untyped-def, no-untyped-call"

import torch
import triton
import triton.language as tl
from torch import Tensor

from kernels.backends.triton import checks
from kernels.backends.triton.checks import expect, expect_tensor

__all__ = ["LARGEST_COLUMNS", "power_iter"]

# A program keeps its vector in registers.
LARGEST_COLUMNS = 2048
MAX_ITERATIONS = 10_000
# Below it a norm counts as 0: a zero matrix has the value 0 and leaves its vector as it is.
_TINY = tl.constexpr(1e-30)


@triton.jit(do_not_specialize=["iterations"])
def _kernel(weights, vectors, values, R, C, weight_p, weight_r, vector_p, iterations,
            BR: tl.constexpr, BC: tl.constexpr):  # fmt: skip
    genome = tl.program_id(0).to(tl.int64)
    columns = tl.arange(0, BC)
    used = columns < C
    weights += genome * weight_p
    v = tl.load(vectors + genome * vector_p + columns, mask=used, other=0.0)
    v = v / tl.maximum(tl.sqrt_rn(tl.sum(v * v, axis=0)), _TINY)
    value = 0.0
    for _ in range(iterations):
        image = tl.zeros([BC], tl.float32)
        square = 0.0
        for start in range(0, R, BR):
            rows = start + tl.arange(0, BR)
            w = tl.load(
                weights + rows[:, None] * weight_r + columns[None, :],
                mask=(rows < R)[:, None] & used[None, :],
                other=0.0,
            )
            u = tl.sum(w * v[None, :], axis=1)
            square += tl.sum(u * u, axis=0)
            image += tl.sum(w * u[:, None], axis=0)
        # |W v| of a unit vector v: it never falls from one iteration to the next.
        value = tl.sqrt_rn(square)
        norm = tl.sqrt_rn(tl.sum(image * image, axis=0))
        v = tl.where(norm > _TINY, image / tl.maximum(norm, _TINY), v)
    tl.store(values + genome, value)
    tl.store(vectors + genome * vector_p + columns, v, mask=used)


def blocks(columns: int) -> dict[str, int]:
    """Return the rows and columns that a program has at once, and its warps."""
    wide = checks.at_least(columns, 16)
    return {"BR": max(2, min(32, 8192 // wide)), "BC": wide, "num_warps": 8 if wide > 512 else 4}


def power_iter(weight: Tensor, vector: Tensor, *, iterations: int) -> Tensor:
    """Return an estimate from below of the largest singular value of each matrix, (P,) fp32.

    `weight` [P, R, C] fp32; `vector` [P, C] fp32 is where each iteration starts, any length but zero, and takes the
    right singular vector, of length 1, for the next call to begin from. C is at most 2048.

    Raises KernelError for arguments that do not fit together.
    """
    device = checks.expect_device(weight, interpreted=bool(triton.knobs.runtime.interpret))
    expect(weight.dim() == 3 and weight.numel() > 0, f"weight must be [P, R, C], got {tuple(weight.shape)}.")
    networks, rows, columns = weight.shape
    expect(rows <= checks.MAX_SIDE, f"a matrix may have at most {checks.MAX_SIDE} rows, got {rows}.")
    expect(
        columns <= LARGEST_COLUMNS,
        f"a matrix may have at most {LARGEST_COLUMNS} columns, got {columns}. Use kernels.spectral.",
    )
    expect(
        1 <= iterations <= MAX_ITERATIONS, f"iterations must lie in [1, {MAX_ITERATIONS}], got {iterations}."
    )
    expect_tensor("weight", weight, weight.shape, torch.float32, device)
    expect_tensor("vector", vector, (networks, columns), torch.float32, device)
    expect(
        vector.stride(0) != 0 or networks == 1,
        "every network needs a vector of its own, got an expanded one.",
    )
    checks.apart(vector, weight, "weight")
    values = torch.empty(networks, dtype=torch.float32, device=device)
    _kernel[(networks,)](
        weight, vector, values, rows, columns, weight.stride(0), weight.stride(1), vector.stride(0), iterations,
        **blocks(columns),
    )  # fmt: skip
    return values
