"""What the wrappers ask of their arguments, where no kernel is needed to ask it."""

import pytest
import torch

from kernels.backends.triton import checks
from kernels.errors import KernelError

META = torch.device("meta")


@pytest.mark.parametrize(
    ("length", "smallest", "expected"), [(1, 16, 16), (16, 16, 16), (17, 16, 32), (1, 1, 1), (45, 2, 64)]
)
def test_block_sides_are_powers_of_two_that_cover(length, smallest, expected):
    assert checks.at_least(length, smallest) == expected


@pytest.mark.parametrize(("length", "block", "expected"), [(1, 64, 1), (64, 64, 1), (65, 64, 2)])
def test_tiles_cover_the_last_part(length, block, expected):
    assert checks.tiles(length, block) == expected


def test_a_network_must_be_reachable_with_32_bits():
    far = torch.empty_strided((2, 3, 4), (1, 2**30, 1), device="meta", dtype=torch.float32)
    with pytest.raises(KernelError, match="contiguous storage"):
        checks.expect_tensor("states", far, (2, 3, 4), torch.float32, META)
    # The axis of networks is reached with 64.
    wide = torch.empty_strided((3, 2, 4), (2**33, 4, 1), device="meta", dtype=torch.float32)
    checks.expect_tensor("states", wide, (3, 2, 4), torch.float32, META)


def test_devices_are_the_interpreters_or_a_gpu():
    here = torch.zeros(1)
    assert checks.expect_device(here, interpreted=True) == here.device
    with pytest.raises(KernelError, match="torch-cpu backend"):
        checks.expect_device(here, interpreted=False)
    with pytest.raises(KernelError, match="TRITON_INTERPRET"):
        checks.expect_device(torch.zeros(1, device="meta"), interpreted=True)


def test_tensors_share_memory_or_do_not():
    whole = torch.zeros(4, 10)
    checks.apart(whole[:2], whole[2:], "states")
    for first, second in ((whole, whole), (whole[:3], whole[2:]), (whole[:, :5], whole[:, 4:])):
        with pytest.raises(KernelError, match="states must not share memory"):
            checks.apart(first, second, "states")


def test_a_tensor_on_another_device_is_named():
    with pytest.raises(KernelError, match="weight must be on meta, got cpu"):
        checks.expect_tensor("weight", torch.zeros(2), (2,), torch.float32, META)
