"""On a device: parity with the naive sweeps, the same bits from run to run, and torch's memory and stream."""

from collections.abc import Callable
from functools import partial
from importlib import import_module
from importlib.util import find_spec
from typing import Literal

import pytest
import torch
from torch import Tensor

from kernels.backends.cupy import settle_persistent_2h
from tests.kernels.cupy.cases import CASES, PRECISIONS, Case, check, check_at_rest, check_nan

pytestmark = [
    pytest.mark.gpu,
    pytest.mark.skipif(
        find_spec("cupy") is None, reason="cupy is not installed: pip install 'cupy-cuda12x>=14,<15'"
    ),
    pytest.mark.skipif(
        not torch.cuda.is_available(), reason="no CUDA device here: run this on a machine with a GPU"
    ),
]

WIDTHS = {
    "widest": (512, 512, 64),
    "on chip": (256, 256, 10),
    "64 rows": (304, 256, 64),
    "odd": (511, 257, 33),
    "one": (1, 1, 1),
}


@pytest.mark.parametrize("case", CASES.values(), ids=CASES.keys())
def test_the_device_agrees_with_the_naive_sweeps(case: Case):
    check(settle_persistent_2h, case, "cuda")


@pytest.mark.parametrize("precision", PRECISIONS)
@pytest.mark.parametrize("widths", WIDTHS.values(), ids=WIDTHS.keys())
def test_the_device_agrees_at_other_widths(widths: tuple[int, int, int], precision: Literal["fp16", "fp32"]):
    case = Case(precision, "mse", "backward", 2, widths=widths, batch=70)
    check(settle_persistent_2h, case, "cuda", dense=True)


@pytest.mark.parametrize("readout", [False, True], ids=["mse", "ce"])
@pytest.mark.parametrize("half", [False, True], ids=["fp32", "fp16"])
def test_what_is_no_number_stays_none_and_stays_alone(half: bool, readout: bool):
    check_nan(settle_persistent_2h, "cuda", half=half, readout=readout)


def test_a_network_at_rest_does_not_change():
    check_at_rest(settle_persistent_2h, "cuda")


def acts(steps: int, width: int, *, dtype: torch.dtype = torch.float16) -> Callable[[], list[Tensor]]:
    """A phase of 16 networks width-width-10 whose results are returned."""
    networks, batch, classes = 16, 256, 10
    generator = torch.Generator("cuda").manual_seed(1)

    def made(*shape: int, size: float = 1.0, kind: torch.dtype = torch.float32) -> Tensor:
        return ((torch.rand(shape, generator=generator, device="cuda") - 0.3) * size).to(kind)

    start = made(networks, batch, width, kind=dtype), made(networks, batch, width, kind=dtype)
    outputs = made(networks, batch, classes, kind=dtype)
    weights = tuple(made(networks, width, across, size=0.1, kind=dtype) for across in (width, classes))
    hidden, output = (torch.empty_like(start[0]), torch.empty_like(start[1])), torch.empty_like(outputs)
    settle = partial(
        settle_persistent_2h, hidden, output, start_hidden=start, start_output=outputs,
        drive=made(networks, batch, width), weights=weights,
        biases=(made(networks, width), made(networks, classes)), target=made(networks, batch, classes),
        beta=made(networks, size=0.4), steps=steps, order="backward",
    )  # fmt: skip

    def act() -> list[Tensor]:
        change = settle()
        return [each.clone() for each in (*hidden, output, change)]

    return act


@pytest.mark.parametrize("width", [256, 512])
def test_runs_are_the_same_bit_for_bit(width: int):
    act = acts(20, width)
    first = act()
    for _ in range(5):
        # A result that moves from run to run is a race.
        assert all(torch.equal(a, b) for a, b in zip(first, act(), strict=True))


def test_memory_does_not_depend_on_the_number_of_steps():
    peaks = []
    for steps in (10, 1000):
        act = acts(steps, 256)
        act()
        torch.cuda.synchronize()
        torch.cuda.reset_peak_memory_stats()
        before = torch.cuda.memory_allocated()
        act()
        torch.cuda.synchronize()
        peaks.append(torch.cuda.max_memory_allocated() - before)
    assert peaks[0] == peaks[1]


def test_the_launch_waits_for_what_torch_has_queued_in_its_stream():
    act = acts(3, 256)
    expected = act()
    stream = torch.cuda.Stream()
    with torch.cuda.stream(stream):
        found = act()
    stream.synchronize()
    assert all(torch.equal(a, b) for a, b in zip(expected, found, strict=True))


def test_arrays_of_cupy_are_settled_in_place_through_dlpack():
    cupy = import_module("cupy")
    arrays = [cupy.zeros((2, 5, width), dtype="float32") for width in (20, 33, 4)]
    states = [torch.from_dlpack(each) for each in arrays]
    f = partial(torch.zeros, device="cuda")
    change = settle_persistent_2h(
        (states[0], states[1]), states[2], start_hidden=(states[0], states[1]), start_output=states[2],
        drive=f(2, 5, 20) + 0.5, weights=(f(2, 20, 33), f(2, 33, 4)), biases=(f(2, 33) + 0.25, f(2, 4) - 1.0),
        target=f(2, 5, 4), beta=f(2), steps=1, order="forward",
    )  # fmt: skip
    assert [
        float(abs(each - value).max()) for each, value in zip(arrays, (0.5, 0.25, -1.0), strict=True)
    ] == [0.0] * 3
    assert change.tolist() == [1.0, 1.0]
    assert torch.equal(torch.as_tensor(cupy.asarray(states[0]), device="cuda"), states[0])
