"""Starts the gates in processes of their own: the interpreter must be chosen before triton is imported."""

import os
import subprocess
import sys
from collections.abc import Sequence
from importlib.metadata import version
from importlib.util import find_spec
from pathlib import Path

import pytest

__all__ = ["KERNELS", "ROOT", "child", "interpreter_runs", "needs_interpreter", "needs_triton"]

ROOT = Path(__file__).parents[3]
KERNELS = ("layer", "one_hidden", "ragged", "hebbian", "spectrum", "training")
needs_triton = pytest.mark.skipif(
    find_spec("triton") is None, reason="triton is not installed: pip install -e '.[dev]' on Linux brings it"
)


def interpreter_runs() -> bool:
    """Whether the interpreter runs here: that of triton 3.6 takes arrays for numbers, which numpy 2.4 forbids."""
    if find_spec("triton") is None:
        return False
    triton, numpy = (tuple(map(int, version(name).split(".")[:2])) for name in ("triton", "numpy"))
    return triton >= (3, 7) or numpy < (2, 4)


needs_interpreter = pytest.mark.skipif(
    not interpreter_runs(),
    reason="no interpreter: triton 3.7 is not installed, pip install -e '.[dev]' on Linux brings it "
    "(3.6 needs numpy below 2.4)",
)


def child(
    arguments: Sequence[str], *, root: Path = ROOT, interpret: bool, cache: Path | None = None
) -> subprocess.CompletedProcess[str]:
    """Run `python -m arguments` over the packages under `root`; compiled kernels go to `cache`."""
    environment = {key: value for key, value in os.environ.items() if not key.startswith("TRITON_")}
    environment |= {"PYTHONPATH": str(root), "OMP_NUM_THREADS": "1", "MKL_NUM_THREADS": "1"}
    if interpret:
        environment["TRITON_INTERPRET"] = "1"
    if cache is not None:
        environment["TRITON_CACHE_DIR"] = str(cache)
    return subprocess.run(
        [sys.executable, "-m", *arguments],
        cwd=root, env=environment, capture_output=True, text=True, timeout=500, check=False,
    )  # fmt: skip
