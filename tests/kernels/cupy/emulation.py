"""The CUDA kernel on the CPU: its source through g++, a warp a coroutine (emulation.hpp says what that shows)."""

import ctypes
import hashlib
import shutil
import subprocess
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

from kernels.backends.cupy.two_hidden import ARGUMENTS
from kernels.backends.cupy.two_hidden_plan import LARGEST_SHARED, Plan, source

__all__ = ["SCHEDULES", "Emulation", "EmulationError", "needs_compiler"]

HERE = Path(__file__).parent
# Whether warps run in descending order, and whether copies happen only when they are waited for.
SCHEDULES = ((False, False), (True, True), (False, True), (True, False))
FLAGS = (
    "-O1", "-fPIC", "-shared", "-Wall", "-Wextra", "-Werror",
    # Pragmas are for the device; a readout leaves two parameters unused; getcontext returns twice.
    "-Wno-unknown-pragmas", "-Wno-unused-parameter", "-Wno-clobbered",
)  # fmt: skip
COMPLAINTS = {
    1: "the guard behind shared memory was written",
    2: "some warps ended while others waited at a barrier",
    3: "copies were begun that nothing waited for",
}


def compiler() -> str | None:
    """g++ where it is one that knows half precision, as version 12 is the first to."""
    found = shutil.which("g++")
    if found is None:
        return None
    probe = subprocess.run(
        [found, "-x", "c++", "-fsyntax-only", "-"],
        input="_Float16 half;", text=True, capture_output=True, timeout=240, check=False,
    )  # fmt: skip
    return found if probe.returncode == 0 else None


needs_compiler = pytest.mark.skipif(
    compiler() is None, reason="no g++ with _Float16 (version 12), which compiles the CUDA source for the CPU"
)


class EmulationError(AssertionError):
    """What the emulated device saw the kernel do wrong."""


@dataclass(frozen=True)
class Emulation:
    """A device that runs `text` with its warps and copies in one order; libraries are compiled into `folder`."""

    folder: Path
    schedule: tuple[bool, bool] = SCHEDULES[0]
    limit: int = LARGEST_SHARED
    text: str = ""

    def shared_bytes(self) -> int:
        """As much as the test gives: little makes small networks stream their weights."""
        return self.limit

    def launch(self, plan: Plan, blocks: int, arguments: NDArray[np.void]) -> None:
        """Run the kernel; raise EmulationError where it does what no kernel may."""
        library = ctypes.CDLL(str(self._library(plan)))
        assert library.arguments_bytes() == ARGUMENTS.itemsize
        failed = library.emulate(
            ctypes.c_void_p(arguments.ctypes.data), ctypes.c_longlong(blocks),
            ctypes.c_longlong(plan.memory.size_bytes), *map(int, self.schedule),
        )  # fmt: skip
        if failed:
            raise EmulationError(COMPLAINTS[failed])

    def _library(self, plan: Plan) -> Path:
        text = (self.text or source()) + '\n#include "emulation_main.hpp"\n'
        name = hashlib.sha256("\n".join([*plan.options, text]).encode()).hexdigest()
        path = self.folder / f"{name}.so"
        if not path.exists():
            found = compiler()
            assert found is not None
            flags = (*plan.options, *FLAGS, "-I", str(HERE), "-include", "emulation.hpp")
            subprocess.run(
                [found, *flags, "-x", "c++", "-", "-o", str(path)],
                input=text, text=True, check=True, timeout=500,
            )  # fmt: skip
        return path
