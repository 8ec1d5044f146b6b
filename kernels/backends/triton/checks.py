"""What every wrapper asks before it launches: where the kernels run, and what its arguments must look like. Pure."""

import math
from collections.abc import Sequence

import torch
from torch import Tensor

from kernels.errors import KernelError

__all__ = [
    "MAX_SIDE",
    "STATE_DTYPES",
    "apart",
    "at_least",
    "expect",
    "expect_beta",
    "expect_device",
    "expect_tensor",
    "tiles",
]

STATE_DTYPES = (torch.float16, torch.float32)
# Offsets inside one genome are 32 bit integers; a genome's own offset is 64 bit.
MAX_SIDE = 2**15


def expect(condition: bool, message: str) -> None:
    """Raise KernelError with `message` unless `condition` holds."""
    if not condition:
        raise KernelError(message)


def expect_tensor(
    name: str,
    tensor: Tensor,
    shape: Sequence[int],
    dtypes: torch.dtype | tuple[torch.dtype, ...],
    device: torch.device,
) -> None:
    """Raise KernelError unless `tensor` has this shape, one of these dtypes, this device and a contiguous last axis.

    Other axes may have any stride, so that a tensor can be a view of padded storage, as long as one network's part
    spans fewer than 2**31 elements; the first may have stride 0, an expanded axis.
    """
    allowed = dtypes if isinstance(dtypes, tuple) else (dtypes,)
    wanted = " or ".join(str(dtype).removeprefix("torch.") for dtype in allowed)
    expect(
        tuple(tensor.shape) == tuple(shape),
        f"{name} must have the shape {tuple(shape)}, got {tuple(tensor.shape)}. See the layouts in docs/gpu.md.",
    )
    expect(tensor.dtype in allowed, f"{name} must be {wanted}, got {tensor.dtype}. Convert it first.")
    expect(tensor.device == device, f"{name} must be on {device}, got {tensor.device}. Move it there first.")
    expect(
        tensor.shape[-1] <= 1 or tensor.stride(-1) == 1,
        f"the last axis of {name} must be contiguous, got the strides {tensor.stride()}. Call contiguous() on it.",
    )
    span = sum(
        (size - 1) * stride for size, stride in zip(tensor.shape[1:], tensor.stride()[1:], strict=True)
    )
    expect(
        span < 2**31,
        f"one network's part of {name} must span fewer than {2**31} elements, got the strides {tensor.stride()}. Copy "
        "it to contiguous storage.",
    )


def expect_device(tensor: Tensor, *, interpreted: bool) -> torch.device:
    """Return the device of `tensor`; raise KernelError for one that the kernels cannot run on."""
    kind = tensor.device.type
    if interpreted:
        expect(
            kind == "cpu",
            f"under TRITON_INTERPRET=1 tensors must be on the CPU, got {tensor.device}. Unset it to use a GPU.",
        )
    else:
        expect(
            kind == "cuda",
            f"tensors must be on a CUDA device, got {tensor.device}. Move them there, or use the torch-cpu backend.",
        )
    return tensor.device


def expect_beta(beta: Tensor, networks: int, device: torch.device) -> None:
    """Raise KernelError unless `beta` is a nudge for each network: (P,) float32.

    Its values are not read here: that would wait for the device. The rule that made them has checked them.
    """
    expect_tensor("beta", beta, (networks,), torch.float32, device)


def apart(written: Tensor, read: Tensor, name: str) -> None:
    """Raise KernelError where a kernel would read `read` in one program while another overwrites it."""
    expect(
        not _overlap(written, read),
        f"{name} must not share memory with what is written: programs run in no order. Give it its own.",
    )


def _overlap(first: Tensor, second: Tensor) -> bool:
    (low, high), (start, end) = _extent(first), _extent(second)
    return low < end and start < high


def _extent(tensor: Tensor) -> tuple[int, int]:
    last = sum((size - 1) * stride for size, stride in zip(tensor.shape, tensor.stride(), strict=True))
    start = tensor.data_ptr()
    return start, start + (last + 1) * tensor.element_size()


def tiles(length: int, block: int) -> int:
    """Return how many blocks cover `length`."""
    return -(-length // block)


def at_least(length: int, smallest: int) -> int:
    """Return the power of two that covers `length`, at least `smallest`: block sides are powers of two."""
    return max(smallest, 1 << math.ceil(math.log2(length)) if length > 1 else 1)
