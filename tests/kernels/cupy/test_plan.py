"""The launch's layout, at every width; and the struct that host and kernel share."""

from itertools import pairwise

import numpy as np
import pytest

from kernels.backends.cupy.two_hidden import ARGUMENTS
from kernels.backends.cupy.two_hidden_plan import (
    LARGEST_CLASSES,
    LARGEST_HIDDEN,
    LARGEST_SHARED,
    NUMBERS,
    Plan,
    plan,
    source,
)
from kernels.errors import KernelError

DTYPES = {"fp16": (True, False), "fp16-drive": (True, True), "fp32": (False, False)}


def padded(width: int) -> int:
    return -(-width // 16) * 16


def expect_sound(made: Plan, widths: tuple[int, int, int], limit: int = LARGEST_SHARED) -> None:
    """Fail unless the parts lie apart, aligned, large enough and inside `limit`."""
    memory, size = made.memory, 2 if made.half else 4
    first, second, classes = (padded(width) for width in widths)
    lead2, lead3 = second * size + 16, classes * size + 16
    parts = (
        (memory.at_h1, made.rows * (first * size + 16)),
        (memory.at_h2, made.rows * lead2),
        (memory.at_o, made.rows * lead3),
        (memory.at_drive, made.rows * first * (2 if made.half_drive else 4)),
        (memory.at_bias2, second * 4),
        (memory.at_bias3, classes * 4),
        (memory.at_scratch, max(8 * 16 * 20 * 4, made.rows * (classes + 4) * 4, 256 * 4)),
        (memory.at_w2, memory.kept2 * lead2),
        (memory.at_w3, memory.kept3 * lead3),
        (memory.at_buffer, 2 * memory.buffer_bytes),
    )
    for (start, length), (after, _) in pairwise(parts):
        assert start + length <= after
    assert all(start % 128 == 0 for start, _ in parts)
    assert sum(parts[-1]) <= memory.size_bytes <= limit
    assert memory.kept2 % 16 == 0 and 0 <= memory.kept2 <= first
    assert memory.kept3 % 16 == 0 and 0 <= memory.kept3 <= second
    assert memory.buffer_bytes % 128 == 0
    for whole, kept, lead in ((first, memory.kept2, lead2), (second, memory.kept3, lead3)):
        assert kept == whole or memory.buffer_bytes >= 16 * lead
    # Each of 8 warps has every (128 / rows)-th column of fragments in one row of them.
    assert made.fragments * (128 // made.rows) * 16 >= second
    assert made.fragments <= 8


@pytest.mark.parametrize(("half", "half_drive"), DTYPES.values(), ids=DTYPES.keys())
def test_every_width_has_a_sound_layout(half: bool, half_drive: bool):
    options = set()
    for width in range(1, LARGEST_HIDDEN + 1):
        for widths in ((width, width), (width, LARGEST_HIDDEN), (LARGEST_HIDDEN, width), (1, width)):
            for classes in (1, 10, LARGEST_CLASSES):
                made = plan((*widths, classes), 256, half=half, half_drive=half_drive, readout=False)
                expect_sound(made, (*widths, classes))
                options.add(made.options)
    # All widths share a handful of compilations.
    assert len(options) <= 12


@pytest.mark.parametrize("batch", [1, 16, 17, 37, 64, 1000])
def test_a_tile_is_no_larger_than_the_batch_asks(batch: int):
    made = plan((45, 70, 10), batch, half=True, half_drive=False, readout=True)
    assert made.rows <= padded(batch)
    assert made.rows >= min(32, padded(batch)) or batch < 32


def test_256_units_stay_on_chip_in_fp16_and_512_do_not():
    small = plan((256, 256, 10), 256, half=True, half_drive=False, readout=True).memory
    assert (small.kept2, small.kept3, small.buffer_bytes) == (256, 256, 0)
    large = plan((512, 512, 10), 256, half=True, half_drive=False, readout=True)
    assert large.memory.kept2 < 512
    assert large.rows == 32


@pytest.mark.parametrize("limit", [99 * 1024, 163 * 1024])
@pytest.mark.parametrize("width", range(16, 193, 16))
def test_less_shared_memory_gives_another_layout(limit: int, width: int):
    widths = (width, width, 10)
    made = plan(widths, 256, half=True, half_drive=False, readout=False, shared_bytes=limit)
    expect_sound(made, widths, limit)


def test_too_little_shared_memory_is_an_error():
    with pytest.raises(KernelError, match="99000 bytes of shared memory"):
        plan((512, 512, 10), 256, half=True, half_drive=False, readout=False, shared_bytes=99_000)


def test_the_struct_of_the_source_is_the_one_that_is_packed():
    assert ARGUMENTS.names == (*NUMBERS, "clip")
    assert ARGUMENTS.itemsize == 8 * len(ARGUMENTS.names)
    assert all(ARGUMENTS[name] in (np.dtype(np.int64), np.dtype(np.float64)) for name in ARGUMENTS.names)
    text = source()
    order = [text.index(f"long long {name};") for name in NUMBERS]
    assert order == sorted(order)
    assert all(f"a.{name}" in text for name in ARGUMENTS.names), "a number that the kernel never reads"
