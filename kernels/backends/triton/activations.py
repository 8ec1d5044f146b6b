"""What every settling kernel does with what a layer received, as device functions on tiles in fp32."""
# mypy: disable-error-code="import-not-found, import-untyped, untyped-decorator, no-untyped-def, no-untyped-call"

import triton
import triton.language as tl

__all__ = ["change", "clipped", "nudged", "pull"]


@triton.jit
def clipped(received, clip):
    """Return `received` inside [0, clip]; NaN stays NaN, which a device's minimum and maximum hide unless told."""
    return tl.clamp(received, 0.0, clip, propagate_nan=tl.PropagateNan.ALL)


@triton.jit
def nudged(received, y, beta):
    """Return the exact minimiser of an output inside the energy: (h + beta y)/(1 + beta)."""
    return (received + beta * y) / (1.0 + beta)


@triton.jit
def pull(scores, y, beta, used):
    """Return beta (y - softmax(scores)) over the columns `used`, all of which lie in this tile."""
    raised = tl.where(used[None, :], scores, float("-inf"))
    raised = tl.exp(raised - tl.max(raised, axis=1)[:, None])
    return beta * (y - raised / tl.sum(raised, axis=1)[:, None])


@triton.jit
def change(new, old, mask):
    """Return |new - old| where `mask`, else 0; what is not a number counts as infinite, for a maximum drops NaN."""
    moved = tl.abs(new.to(tl.float32) - old.to(tl.float32))
    return tl.where(mask, tl.where(moved == moved, moved, float("inf")), 0.0)
