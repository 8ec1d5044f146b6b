"""`settle_persistent_2h` against the naive float64 sweeps, on an emulated device or a real one.

Odd shapes, outputs poisoned with NaN, guards around every tensor. A case raises where the kernel is wrong.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

import numpy as np
import torch
from torch import Tensor

from tests.kernels.gpu import naive
from tests.kernels.gpu.guarded import Guards

__all__ = ["CASES", "CLOSE", "PRECISIONS", "Case", "check", "check_at_rest", "check_nan"]

P, B = 3, 37
# fp32: sums of about 100 products in another order, in 512 wide networks of 500. fp16: 2**-11 of a state in [0, 1] for
# each rounding on the way, operands included, times the sweeps.
CLOSE = {torch.float32: 1e-5, torch.float16: 4e-3}
BETAS = torch.tensor([0.3, -0.2, 0.45])


PRECISIONS: tuple[Literal["fp16", "fp32"], ...] = ("fp32", "fp16")
PHASES: tuple[tuple[Literal["mse", "ce"], Literal["forward", "backward", "alternating"], int], ...] = (
    ("mse", "forward", 3),
    ("mse", "backward", 2),
    ("mse", "alternating", 3),
    ("ce", "backward", 3),
    ("ce", "forward", 3),
    ("ce", "alternating", 2),
)


@dataclass(frozen=True)
class Case:
    """One phase: widths (H_1, H_2, C), sweeps and their order, and whether the drive has the states' dtype."""

    precision: Literal["fp16", "fp32"]
    output: Literal["mse", "ce"]
    order: Literal["forward", "backward", "alternating"]
    steps: int
    narrow: bool = False
    widths: tuple[int, int, int] = (45, 70, 10)
    batch: int = B

    @property
    def half(self) -> bool:
        """Whether states and weights are fp16."""
        return self.precision == "fp16"

    @property
    def readout(self) -> bool:
        """Whether the output is read by a softmax, outside the energy."""
        return self.output == "ce"

    @property
    def dtype(self) -> torch.dtype:
        """The dtype of the states."""
        return torch.float16 if self.half else torch.float32


CASES = {
    f"{output}-{order}-{steps}-{precision}": Case(precision, output, order, steps, narrow=steps == 2)
    for precision in PRECISIONS
    for output, order, steps in PHASES
}


def wide(tensor: Tensor) -> np.ndarray:
    """A tensor in float64, as the naive operations take it."""
    return tensor.cpu().double().numpy()


def near(found: Tensor, expected: np.ndarray, allowed: float) -> None:
    """Fail unless all values are within `allowed`; NaN never is."""
    error = np.abs(wide(found) - expected)
    assert error.max() <= allowed, f"largest error {error.max():.3g}, allowed {allowed:.3g}"


def check(settle: Callable[..., Tensor], case: Case, device: str, *, dense: bool = False) -> list[Tensor]:
    """Settle, compare with the naive sweeps, and return what came out; `dense` tensors allow vector loads."""
    generator = torch.Generator().manual_seed(7)

    def state(*shape: int) -> Tensor:
        return torch.rand(*shape, generator=generator)

    def weight(*shape: int) -> Tensor:
        # What a unit receives stays about as large at any width.
        return torch.randn(*shape, generator=generator) * 1.2 / shape[1] ** 0.5

    first, second, classes = case.widths
    batch, dtype = case.batch, case.dtype
    guards = Guards(device)
    drive = guards.of(torch.randn(P, batch, first, generator=generator) * 0.6, dtype if case.narrow else None)
    weights = tuple(
        guards.of(weight(P, *shape), dtype, dense=dense) for shape in ((first, second), (second, classes))
    )
    biases = tuple(guards.of(weight(P, width) * 0.3) for width in (second, classes))
    y, beta = guards.of(state(P, batch, classes)), guards.of(BETAS, dense=True)
    start = [guards.of(state(P, batch, width), dtype) for width in case.widths]
    found = [guards.empty((P, batch, width), dtype) for width in case.widths]
    change = settle(
        (found[0], found[1]), None if case.readout else found[2],
        start_hidden=(start[0], start[1]), start_output=None if case.readout else start[2],
        drive=drive, weights=weights, biases=biases, target=y, beta=beta,
        steps=case.steps, order=case.order, clip=0.9,
    )  # fmt: skip
    guards.check()
    for p in range(P):
        states, moved = naive.settle(
            wide(drive[p]), [wide(each[p]) for each in weights], [wide(each[p]) for each in biases],
            [wide(each[p]) for each in start], (wide(y[p]), float(beta[p])),
            steps=case.steps, order=case.order, readout=case.readout, clip=0.9,
        )  # fmt: skip
        for layer in range(2 if case.readout else 3):
            near(found[layer][p], states[layer], CLOSE[dtype])
        near(change[p], np.float64(moved), 2 * CLOSE[dtype])
    return [*found[: 2 if case.readout else 3], change]


def check_nan(settle: Callable[..., Tensor], device: str, *, half: bool, readout: bool) -> None:
    """A drive that is not a number shows in its own sample and in its network's change, and nowhere else."""
    first, second, classes = 45, 20, 10
    dtype = torch.float16 if half else torch.float32
    generator = torch.Generator().manual_seed(8)

    def drawn(*shape: int, size: float = 0.2, kind: torch.dtype = torch.float32) -> Tensor:
        return (torch.rand(*shape, generator=generator) * size).to(device, kind)

    drive = drawn(P, B, first)
    drive[1, 5, 7] = float("nan")
    states = [drawn(P, B, width, kind=dtype) for width in (first, second, classes)]
    change = settle(
        (states[0], states[1]), None if readout else states[2],
        # The states begin where they end: both are the same tensors.
        start_hidden=(states[0], states[1]), start_output=None if readout else states[2],
        drive=drive, weights=(drawn(P, first, second, kind=dtype), drawn(P, second, classes, kind=dtype)),
        biases=(drawn(P, second), drawn(P, classes)), target=drawn(P, B, classes), beta=BETAS.to(device),
        steps=1, order="forward",
    )  # fmt: skip
    assert torch.isinf(change).tolist() == [False, True, False]
    assert bool(torch.isnan(states[0][1, 5, 7]))
    assert int(torch.isnan(states[0]).sum()) == 1
    for layer in states[1 : 2 if readout else 3]:
        assert bool(torch.isnan(layer[1, 5]).all())
        assert int(torch.isnan(layer).sum()) == layer.shape[-1]


def check_at_rest(settle: Callable[..., Tensor], device: str) -> None:
    """Networks that begin where they settle do not change; the empty rows of their tile do, and do not count."""
    first, second, classes = 20, 33, 5
    drive = torch.full((P, B, first), 0.25, device=device)
    biases = torch.full((P, second), 0.5, device=device), torch.full((P, classes), 0.125, device=device)
    hidden = drive.clone(), torch.full((P, B, second), 0.5, device=device)
    output = torch.full((P, B, classes), 0.125, device=device)
    change = settle(
        hidden, output, start_hidden=hidden, start_output=output, drive=drive,
        weights=(torch.zeros(P, first, second, device=device), torch.zeros(P, second, classes, device=device)),
        biases=biases, target=torch.ones_like(output), beta=torch.zeros(P, device=device), steps=1, order="forward",
    )  # fmt: skip
    assert change.tolist() == [0.0] * P
