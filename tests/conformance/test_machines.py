"""exact-1 on processors that this machine has not: the golden hashes under qemu-user."""

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
QEMU = shutil.which("qemu-x86_64")


@pytest.mark.qemu
@pytest.mark.slow
@pytest.mark.skipif(QEMU is None, reason="qemu-user is not installed (Debian package qemu-user)")
@pytest.mark.parametrize("processor", ["Nehalem", "Haswell"])
def test_another_processor_gives_the_same_bits(processor: str) -> None:
    """A Nehalem has neither AVX nor fused multiply-add; a Haswell has AVX2."""
    assert QEMU is not None
    done = subprocess.run(
        [QEMU, "-cpu", processor, sys.executable, "-m", "tests.conformance.exact_program"],
        cwd=ROOT,
        env={**os.environ, "OMP_NUM_THREADS": "1", "PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
        timeout=500,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    golden = json.loads((Path(__file__).parent / "golden_exact.json").read_text(encoding="utf-8"))
    assert json.loads(done.stdout) == golden
