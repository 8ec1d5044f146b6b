"""Gates 2 and 3, each in processes of its own, and the package without triton."""

import subprocess
import sys
from pathlib import Path

import msgspec
import pytest

from tests.kernels.gpu import aot
from tests.kernels.gpu.gates import KERNELS, ROOT, child, needs_interpreter, needs_triton
from tests.kernels.gpu.mutants import MUTANTS, Mutant, mutated


@needs_interpreter
@pytest.mark.interp
@pytest.mark.parametrize("kernel", KERNELS)
def test_the_interpreter_agrees_with_the_naive_operations(kernel):
    done = child(["tests.kernels.gpu.cases", kernel], interpret=True)
    assert done.returncode == 0, f"{done.stdout}\n{done.stderr}"
    assert done.stdout.splitlines()[-1].endswith("passed")


@needs_triton
@pytest.mark.aot
@pytest.mark.parametrize("kernel", KERNELS)
def test_compiled_kernels_keep_their_budgets(kernel: str, tmp_path: Path):
    expected = {each.name: each for each in aot.configurations() if each.kernel_file == kernel}
    done = child(["tests.kernels.gpu.aot", "--only", kernel], interpret=False, cache=tmp_path)
    assert done.returncode == 0, done.stderr
    counts = msgspec.json.decode(done.stdout, type=dict[str, aot.Count])
    assert set(counts) == set(expected)
    budget = aot.read_budget()
    found = {name: aot.complaints(expected[name], counts[name], budget[name]) for name in counts}
    assert not any(found.values()), found


@needs_triton
def test_the_budget_is_of_the_configurations():
    names = [each.name for each in aot.configurations()]
    assert len(set(names)) == len(names)
    for version, budget in aot.read_budgets().items():
        assert set(budget) == set(names), version
        for each in aot.configurations():
            assert aot.complaints(each, budget[each.name], budget[each.name]) == []


def test_a_broken_budget_is_named():
    good = aot.Count(
        spills=0, registers=100, shared=1000, tensor=4, vector_loads=8, barriers=1, wide=3, nan=2
    )
    configuration = aot.Configuration(name="one", module="kernels", kernel="_kernel", types={}, constants={})
    for field, value, word in (
        ("spills", 1, "spilled"),
        ("registers", 111, "registers"),
        ("shared", 1101, "shared"),
        ("tensor", 0, "tensor"),
        ("vector_loads", 0, "128 bits"),
        ("vector_loads", 3, "128 bits"),
        ("barriers", 0, "barriers"),
        ("wide", 2, "64 bits"),
        ("nan", 0, "NaN"),
    ):
        count = msgspec.structs.replace(good, **{field: value})
        assert any(word in each for each in aot.complaints(configuration, count, good)), field


@pytest.mark.parametrize("mutant", MUTANTS, ids=lambda mutant: mutant.name)
def test_every_mutant_still_changes_its_kernel(mutant: Mutant):
    source = (ROOT / mutant.path).read_text()
    assert mutated(source, mutant) != source


def runs(code: str) -> None:
    """Fail unless `code` runs in a fresh interpreter."""
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=False, timeout=240
    )
    assert done.returncode == 0, done.stderr


def test_importing_the_package_needs_no_triton():
    code = """if True:
        import sys
        sys.modules["triton"] = None
        import kernels.backends.triton as package
        from kernels.errors import KernelError
        assert package.RaggedLayout and package.Network
        for name in set(package.__all__) - {"RaggedLayout", "Network"}:
            try:
                getattr(package, name)
            except KernelError as error:
                assert "not installed" in str(error)
            else:
                raise AssertionError(name)
    """
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=False, timeout=240
    )
    assert done.returncode == 0, done.stderr


def test_importing_the_package_loads_no_triton():
    code = "import sys, kernels, kernels.backends.triton; sys.exit('triton' in sys.modules)"
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=False, timeout=240
    )
    assert done.returncode == 0, done.stderr
