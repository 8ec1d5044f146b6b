"""A whole phase of P networks with two hidden layers in one launch, by a kernel in CUDA (two_hidden.cu).

A sweep moves every layer to its exact minimiser:

    h1 <- clip(drive + h2 W_2^T, 0, c)               drive = x W_1 + b_1, computed once a batch
    h2 <- clip(h1 W_2 + b_2 + o W_3^T, 0, c)
    o <- (h2 W_3 + b_3 + beta y)/(1 + beta)          output inside the energy ("mse"), or
    e <- beta (y - softmax(h2 W_3 + b_3))            a readout ("ce"), whose pull e stands in for o

in the order h1, h2, o ("forward") or o, h2, h1 ("backward"). A readout is always read before h2 moves.
"""

import math
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from functools import cache
from importlib import import_module
from typing import Any, Literal, Protocol

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from kernels.backends.cupy import two_hidden_plan
from kernels.backends.cupy.two_hidden_plan import LARGEST_CLASSES, LARGEST_HIDDEN, NUMBERS, THREADS, Plan
from kernels.backends.triton import checks
from kernels.backends.triton.checks import expect, expect_tensor
from kernels.backends.triton.ragged_layout import MAX_STEPS, ORDERS
from kernels.errors import KernelError

__all__ = ["ARGUMENTS", "Launcher", "phase", "settle_persistent_2h"]

# The kernel's struct Arguments.
ARGUMENTS = np.dtype([*((name, np.int64) for name in NUMBERS), ("clip", np.float64)])
# Copies to shared memory that do not pass through registers came with the A100.
_OLDEST = 80


class Launcher(Protocol):
    """What runs the kernel: a device, or a test's emulation of one."""

    def shared_bytes(self) -> int:
        """Return how much shared memory a block may have."""
        ...

    def launch(self, plan: Plan, blocks: int, arguments: NDArray[np.void]) -> None:
        """Run so many blocks of the kernel that `plan` describes; `arguments` is one number of dtype `ARGUMENTS`."""
        ...


class _Device:
    """A CUDA device through CuPy, in the stream that torch uses."""

    def __init__(self, device: torch.device) -> None:
        self._index = torch.cuda.current_device() if device.index is None else device.index

    def shared_bytes(self) -> int:
        """Return the largest shared memory that a block can ask for."""
        return _shared_bytes(self._index)

    def launch(self, plan: Plan, blocks: int, arguments: NDArray[np.void]) -> None:
        """Compile on first use, and launch behind what torch has queued."""
        cuda = _cupy().cuda
        stream = _Stream(torch.cuda.current_stream(self._index).cuda_stream)
        with cuda.Device(self._index), cuda.Stream.from_external(stream):
            kernel = _kernel(plan.options, self._index)
            kernel((blocks,), (THREADS,), (arguments,), shared_mem=plan.memory.size_bytes)


@dataclass(frozen=True, slots=True)
class _Stream:
    """A stream of torch, in the protocol by which libraries lend each other streams."""

    address: int

    def __cuda_stream__(self) -> tuple[int, int]:
        return 0, self.address


# Any: cupy has no types, and need not be installed.
def _cupy() -> Any:
    try:
        return import_module("cupy")
    except ModuleNotFoundError as error:
        if error.name != "cupy":
            raise
        raise KernelError(
            "settle_persistent_2h needs the package cupy (14, Linux), which is not installed. Install eqmesh[cuda12] "
            "or eqmesh[cuda13], or use settle_persistent_ragged or the torch-cpu backend."
        ) from error


@cache
def _shared_bytes(index: int) -> int:
    device = _cupy().cuda.Device(index)
    capability = int(device.compute_capability)
    expect(
        capability >= _OLDEST,
        f"the kernel needs compute capability {_OLDEST / 10} or above, device {index} has {capability / 10}. "
        "Use settle_persistent_ragged.",
    )
    return int(device.attributes["MaxSharedMemoryPerBlockOptin"])


@cache
def _kernel(options: tuple[str, ...], index: int) -> Any:
    """Compile for the present device, `index`: the attribute below is one device's."""
    kernel = _cupy().RawModule(code=two_hidden_plan.source(), options=options).get_function("settle_2h")
    # More than 48 KiB must be asked for.
    kernel.max_dynamic_shared_size_bytes = _shared_bytes(index)
    return kernel


def settle_persistent_2h(
    hidden: tuple[Tensor, Tensor],
    output: Tensor | None,
    *,
    start_hidden: tuple[Tensor, Tensor],
    start_output: Tensor | None,
    drive: Tensor,
    weights: tuple[Tensor, Tensor],
    biases: tuple[Tensor, Tensor],
    target: Tensor,
    beta: Tensor,
    steps: int,
    order: Literal["forward", "backward", "alternating"],
    clip: float = 1.0,
) -> Tensor:
    """Settle P networks for `steps` sweeps; return the largest change of each in the last sweep, (P,) fp32.

    `hidden` ([P, B, H_1], [P, B, H_2]) and `output` [P, B, C] take the states, fp16, or fp32 for the truth path; the
    start tensors have their shapes and may be the same tensors. `output` and `start_output` are None for a softmax
    readout. `weights` W_2 [P, H_1, H_2] and W_3 [P, H_2, C] have the dtype of the states; `drive` [P, B, H_1] is fp32
    or that dtype; `biases` b_2 [P, H_2] and b_3 [P, C], `target` y [P, B, C] and `beta` [P] are fp32. A free phase has
    beta 0. Both widths are at most 512 and C at most 64. Of `steps` sweeps, "alternating" ones begin backward. A change
    that is not a number is infinite.

    Raises KernelError for arguments that do not fit together, and where cupy is missing or the device too old.
    """
    device = checks.expect_device(hidden[0], interpreted=False)
    return phase(
        _Device(device), hidden, output,
        start_hidden=start_hidden, start_output=start_output, drive=drive, weights=weights, biases=biases,
        target=target, beta=beta, steps=steps, order=order, clip=clip,
    )  # fmt: skip


def phase(
    launcher: Launcher,
    hidden: tuple[Tensor, Tensor],
    output: Tensor | None,
    *,
    start_hidden: tuple[Tensor, Tensor],
    start_output: Tensor | None,
    drive: Tensor,
    weights: tuple[Tensor, Tensor],
    biases: tuple[Tensor, Tensor],
    target: Tensor,
    beta: Tensor,
    steps: int,
    order: Literal["forward", "backward", "alternating"],
    clip: float = 1.0,
) -> Tensor:
    """Do what `settle_persistent_2h` does on whatever device the `launcher` is, whose memory the tensors lie in."""
    sizes = _sizes(hidden, biases)
    expect(
        (output is None) == (start_output is None),
        "output and start_output belong together, or neither is given.",
    )
    expect(1 <= steps <= MAX_STEPS, f"steps must lie in [1, {MAX_STEPS}], got {steps}.")
    expect(order in ORDERS, f"order must be one of {', '.join(ORDERS)}, got {order!r}.")
    expect(math.isfinite(clip) and clip > 0, f"clip must be finite and positive, got {clip}.")
    # A readout has no output state, and the kernel never looks there.
    outputs = [None, None] if output is None or start_output is None else [output, start_output]
    states = [*hidden, outputs[0], *start_hidden, outputs[1]]
    _expect_all(sizes, states, drive=drive, weights=weights, biases=biases, target=target, beta=beta)
    networks, batch, *widths = sizes
    half = hidden[0].dtype == torch.float16
    plan = two_hidden_plan.plan(
        (widths[0], widths[1], widths[2]), batch,
        half=half, half_drive=drive.dtype == torch.float16, readout=output is None,
        shared_bytes=launcher.shared_bytes(),
    )  # fmt: skip
    each = checks.tiles(batch, plan.rows)
    partial = torch.empty(networks, each, dtype=torch.float32, device=beta.device)
    numbers: dict[str, int | float] = {
        "batch": batch, "width1": widths[0], "width2": widths[1], "classes": widths[2], "tiles": each, "steps": steps,
        "order": ORDERS.index(order), "clip": float(clip),
    }  # fmt: skip
    numbers |= asdict(plan.memory)
    numbers |= _addresses([*states, drive, *weights, *biases, target, beta, partial])
    launcher.launch(plan, networks * each, _packed(numbers))
    return partial.amax(dim=1)


def _sizes(hidden: Sequence[Tensor], biases: Sequence[Tensor]) -> tuple[int, int, int, int, int]:
    """Return P, B, H_1, H_2 and C; raise KernelError where they are not what the kernel takes."""
    for tensor in hidden:
        expect(
            tensor.dim() == 3,
            f"hidden must be [P, B, H_1] and [P, B, H_2], got the shape {tuple(tensor.shape)}.",
        )
    expect(biases[1].dim() == 2, f"biases[1] must be [P, C], got the shape {tuple(biases[1].shape)}.")
    networks, batch, first = hidden[0].shape
    second, classes = hidden[1].shape[-1], biases[1].shape[-1]
    expect(
        networks >= 1
        and 1 <= batch <= checks.MAX_SIDE
        and all(1 <= width <= LARGEST_HIDDEN for width in (first, second)),
        f"hidden must be [P, B, H_1] and [P, B, H_2] with B at most {checks.MAX_SIDE} and both widths at most "
        f"{LARGEST_HIDDEN}, got {tuple(hidden[0].shape)} and {tuple(hidden[1].shape)}. Wider networks settle layer by "
        "layer.",
    )
    expect(1 <= classes <= LARGEST_CLASSES, f"there may be 1 to {LARGEST_CLASSES} classes, got {classes}.")
    return networks, batch, first, second, classes


def _expect_all(
    sizes: tuple[int, int, int, int, int],
    states: Sequence[Tensor | None],
    *,
    drive: Tensor,
    weights: Sequence[Tensor],
    biases: Sequence[Tensor],
    target: Tensor,
    beta: Tensor,
) -> None:
    """Raise KernelError unless every tensor has its shape, dtype, device and strides."""
    networks, batch, first, second, classes = sizes
    lead = states[0]
    assert lead is not None  # hidden[0], which is always given
    device, dtype = lead.device, lead.dtype
    names = ("hidden[0]", "hidden[1]", "output", "start_hidden[0]", "start_hidden[1]", "start_output")
    expect_tensor(names[0], lead, (networks, batch, first), checks.STATE_DTYPES, device)
    for name, tensor, width in zip(names, states, (first, second, classes) * 2, strict=True):
        if tensor is not None:
            expect_tensor(name, tensor, (networks, batch, width), dtype, device)
    expect_tensor("drive", drive, (networks, batch, first), (torch.float32, dtype), device)
    expect_tensor("weights[0]", weights[0], (networks, first, second), dtype, device)
    expect_tensor("weights[1]", weights[1], (networks, second, classes), dtype, device)
    expect_tensor("biases[0]", biases[0], (networks, second), torch.float32, device)
    expect_tensor("biases[1]", biases[1], (networks, classes), torch.float32, device)
    expect_tensor("target", target, (networks, batch, classes), torch.float32, device)
    checks.expect_beta(beta, networks, device)


# The tensors of `phase` by the kernel's names, and the strides that it asks of each besides that of the networks.
_TENSORS = (
    "hidden1", "hidden2", "output", "start1", "start2", "start3", "drive", "w2", "w3", "bias2", "bias3", "target",
    "beta", "partial",
)  # fmt: skip
_STRIDES = {
    name: axis for axis, suffix in enumerate("pb") for name in (f"{each}_{suffix}" for each in _TENSORS)
}
_STRIDES |= {"w2_k": 1, "w3_k": 1}


def _addresses(tensors: Sequence[Tensor | None]) -> dict[str, int | float]:
    """Return address and strides of each tensor by the kernel's names; 0 for one that is not given."""
    held = dict(zip(_TENSORS, tensors, strict=True))
    found: dict[str, int | float] = {name: 0 if t is None else t.data_ptr() for name, t in held.items()}
    for name in NUMBERS:
        tensor = held.get(name.rpartition("_")[0])
        if name in _STRIDES:
            found[name] = 0 if tensor is None else tensor.stride(_STRIDES[name])
    return found


def _packed(numbers: dict[str, int | float]) -> NDArray[np.void]:
    """Return the kernel's struct as an array of no axes. Raises KeyError for a number that was forgotten."""
    packed = np.zeros((), dtype=ARGUMENTS)
    for name in ARGUMENTS.names or ():
        packed[name] = numbers[name]
    return packed
