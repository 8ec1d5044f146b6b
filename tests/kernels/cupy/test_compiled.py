"""The CUDA source compiled for sm_90 without a device, against its budget."""

import msgspec
import pytest

from tests.kernels.cupy.nvrtc import (
    CONFIGURATIONS,
    Count,
    compiled,
    complaints,
    needs_nvrtc,
    read_budgets,
    version,
)


@needs_nvrtc
@pytest.mark.aot
@pytest.mark.parametrize("name", CONFIGURATIONS)
def test_compiled_kernels_keep_their_budgets(name: str):
    budgets = read_budgets()
    assert version() in budgets, "no budget: python -m tests.kernels.cupy.nvrtc --write, and read it"
    made = CONFIGURATIONS[name]
    assert complaints(made, compiled(made), budgets[version()][name]) == []


def test_the_budget_is_of_the_configurations():
    for known, budget in read_budgets().items():
        assert set(budget) == set(CONFIGURATIONS), known
        for name, made in CONFIGURATIONS.items():
            assert complaints(made, budget[name], budget[name]) == []
            assert budget[name].shared == made.memory.size_bytes


def test_a_broken_budget_is_named():
    good = Count(
        spills=0, stack=0, registers=100, shared=1000, static_shared=1024, tensor=4, wide_copies=8, barriers=1,
        hidden_nan=0,
    )  # fmt: skip
    made = CONFIGURATIONS["256-256-10-fp16-ce"]
    for field, value, word in (
        ("spills", 1, "spilled"),
        ("stack", 8, "spilled"),
        ("registers", 111, "registers"),
        ("shared", 1001, "shared"),
        ("static_shared", 2048, "shared"),
        ("tensor", 0, "tensor"),
        ("wide_copies", 0, "128 bits"),
        ("hidden_nan", 1, "NaN"),
        ("barriers", 0, "barriers"),
    ):
        count = msgspec.structs.replace(good, **{field: value})
        assert any(word in each for each in complaints(made, count, good)), field
