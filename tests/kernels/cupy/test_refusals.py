"""Arguments that are refused before anything is launched, and a machine without CuPy."""

import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from numpy.typing import NDArray

from kernels.backends.cupy import settle_persistent_2h
from kernels.backends.cupy.two_hidden import phase
from kernels.backends.cupy.two_hidden_plan import LARGEST_SHARED, Plan
from kernels.errors import KernelError

ROOT = Path(__file__).parents[3]
P, B, H1, H2, C = 3, 37, 45, 70, 10
HALF = torch.float16


class Unused:
    """A device that must not be asked to do anything."""

    def shared_bytes(self) -> int:
        return LARGEST_SHARED

    def launch(self, plan: Plan, blocks: int, arguments: NDArray[np.void]) -> None:
        raise AssertionError("launched")


def arguments(h1: int = H1, h2: int = H2, c: int = C) -> dict[str, Any]:
    f = torch.zeros
    return {
        "hidden": (f(P, B, h1), f(P, B, h2)), "output": f(P, B, c),
        "start_hidden": (f(P, B, h1), f(P, B, h2)), "start_output": f(P, B, c), "drive": f(P, B, h1),
        "weights": (f(P, h1, h2), f(P, h2, c)), "biases": (f(P, h2), f(P, c)), "target": f(P, B, c), "beta": f(P),
        "steps": 1, "order": "forward",
    }  # fmt: skip


F = torch.zeros
REFUSED: dict[str, tuple[str, dict[str, Any], dict[str, int]]] = {
    "flat": ("[P, B, H_1]", {"hidden": (F(B, H1), F(P, B, H2))}, {}),
    "wide, first": ("at most 512", {}, {"h1": 513}),
    "wide, second": ("at most 512", {}, {"h2": 513}),
    "classes": ("1 to 64 classes", {}, {"c": 65}),
    "output alone": ("belong together", {"start_output": None}, {}),
    "dtype": ("float16 or float32", {"hidden": (F(P, B, H1, dtype=torch.float64), F(P, B, H2))}, {}),
    "two dtypes": ("hidden[1]", {"hidden": (F(P, B, H1), F(P, B, H2, dtype=HALF))}, {}),
    "output": ("output must", {"output": F(P, B, C + 1)}, {}),
    "start": ("start_hidden[0]", {"start_hidden": (F(P, B + 1, H1), F(P, B, H2))}, {}),
    "start, second": ("start_hidden[1]", {"start_hidden": (F(P, B, H1), F(P, B, H1))}, {}),
    "drive": ("drive must be float32", {"drive": F(P, B, H1, dtype=HALF)}, {}),
    "weights": ("weights[0]", {"weights": (F(P, H2, H1), F(P, H2, C))}, {}),
    "weights, second": ("weights[1]", {"weights": (F(P, H1, H2), F(P, C, H2))}, {}),
    "strides": ("contiguous", {"weights": (F(P, H2, H1).mT, F(P, H2, C))}, {}),
    "bias": ("biases[0]", {"biases": (F(P, H1), F(P, C))}, {}),
    "flat bias": ("biases[1]", {"biases": (F(P, H2), F(C))}, {}),
    "half bias": ("float32", {"biases": (F(P, H2, dtype=HALF), F(P, C))}, {}),
    "target": ("target", {"target": F(B, C)}, {}),
    "beta": ("beta", {"beta": F(P, 1)}, {}),
    "steps": ("steps", {"steps": 0}, {}),
    "order": ("forward, backward, alternating", {"order": "sideways"}, {}),
    "clip": ("clip", {"clip": float("nan")}, {}),
}  # fmt: skip


@pytest.mark.parametrize("name", REFUSED)
def test_what_does_not_fit_together_is_refused(name: str):
    word, options, sizes = REFUSED[name]
    with pytest.raises(KernelError) as caught:
        phase(Unused(), **{**arguments(**sizes), **options})
    assert word in str(caught.value)


def test_what_fits_together_is_launched():
    with pytest.raises(AssertionError, match="launched"):
        phase(Unused(), **arguments())


def test_tensors_must_be_on_a_device():
    with pytest.raises(KernelError, match="must be on a CUDA device, got cpu"):
        settle_persistent_2h(**arguments())


def runs(code: str) -> None:
    """Fail unless `code` runs in a fresh interpreter."""
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=False, timeout=500
    )
    assert done.returncode == 0, done.stderr


def test_importing_the_package_loads_no_accelerator_library():
    runs(
        "import sys, kernels.backends.cupy; "
        "sys.exit(any(name.split('.')[0] in ('cupy', 'triton') for name in sys.modules))"
    )


def test_a_missing_cupy_is_named():
    runs("""if True:
        import sys
        import torch
        sys.modules["cupy"] = None
        from kernels.backends.cupy.two_hidden import _Device
        from kernels.errors import KernelError
        try:
            _Device(torch.device("cuda", 0)).shared_bytes()
        except KernelError as error:
            assert "not installed" in str(error)
        else:
            raise AssertionError
    """)
