"""Compile the CUDA source for sm_90 without a device, and count what its machine code has.

python -m tests.kernels.cupy.nvrtc [--write]: prints JSON by configuration; --write keeps it as the budget of
this NVRTC.
NVRTC comes with the wheel nvidia-cuda-nvrtc-cu12 or its kin, the tools that read machine code with triton's.
"""

import argparse
import re
import subprocess
import sys
import tempfile
from importlib import import_module
from importlib.util import find_spec
from pathlib import Path

import msgspec
import pytest

from kernels.backends.cupy.two_hidden_plan import LARGEST_SHARED, Plan, plan, source

__all__ = ["CONFIGURATIONS", "Count", "compiled", "complaints", "needs_nvrtc", "read_budgets", "version"]

BUDGET = Path(__file__).with_name("budget.json")
# Registers may exceed the budget by this share before the gate says so: compilers move them.
SLACK = 0.10
BATCH = 256
CONFIGURATIONS: dict[str, Plan] = {
    "256-256-10-fp16-ce": plan((256, 256, 10), BATCH, half=True, half_drive=False, readout=True),
    "512-512-10-fp16-mse": plan((512, 512, 10), BATCH, half=True, half_drive=False, readout=False),
    "304-256-64-fp16-drive-ce": plan((304, 256, 64), BATCH, half=True, half_drive=True, readout=True),
    "512-512-10-fp32-mse": plan((512, 512, 10), BATCH, half=False, half_drive=False, readout=False),
}


class Count(msgspec.Struct, frozen=True, kw_only=True):
    """What a compiled configuration has: the numbers of a budget.

    `spills` counts accesses to local memory, `static_shared` what the compiler adds to the plan's `shared`, `tensor`
    the operations of tensor cores, `wide_copies` copies of 128 bits to shared memory, and `hidden_nan` minima and
    maxima that drop NaN.
    """

    spills: int
    stack: int
    registers: int
    shared: int
    static_shared: int
    tensor: int
    wide_copies: int
    barriers: int
    hidden_nan: int


def missing() -> str | None:
    """Why nothing can be compiled here, or None."""
    for package, name in (("cupy", "cupy"), ("triton", "triton")):
        if find_spec(package) is None:
            return f"{name} is not installed, which brings {'NVRTC' if name == 'cupy' else 'cuobjdump'} to the test"
    try:
        import_module("cupy.cuda").nvrtc.getVersion()
    except (ImportError, OSError, RuntimeError) as error:
        return f"no NVRTC library: {str(error).splitlines()[0]}. pip install nvidia-cuda-nvrtc-cu12"
    return None


needs_nvrtc = pytest.mark.skipif(missing() is not None, reason=missing() or "")


def version() -> str:
    """NVRTC's version, such as 12.9."""
    return ".".join(str(part) for part in import_module("cupy.cuda").nvrtc.getVersion())


def compiled(made: Plan) -> Count:
    """Compile for sm_90 as CuPy does, and count."""
    nvrtc = import_module("cupy.cuda").nvrtc
    program = nvrtc.createProgram(source(), "two_hidden.cu", (), ())
    try:
        # CuPy flushes subnormal numbers in fp32 whatever it is asked.
        nvrtc.compileProgram(program, (*made.options, "-arch=sm_90", "-ftz=true"))
    except nvrtc.NVRTCError as error:
        raise AssertionError(nvrtc.getProgramLog(program)) from error
    # The last byte is taken for the end of a string.
    cubin = nvrtc.getCUBIN(program) + b"\0"
    nvrtc.destroyProgram(program)
    code, resources = _disassembled(cubin)
    numbers = {name: int(value) for name, value in re.findall(r"\b(REG|STACK|SHARED):(\d+)", resources)}
    return Count(
        spills=len(re.findall(r"\b(?:STL|LDL)\b", code)),
        stack=numbers["STACK"],
        registers=numbers["REG"],
        shared=made.memory.size_bytes,
        static_shared=numbers["SHARED"],
        tensor=len(re.findall(r"\bHMMA\b", code)),
        wide_copies=len(re.findall(r"\bLDGSTS(?:\.\w+)*\.128\b", code)),
        barriers=len(re.findall(r"\bBAR\.SYNC\b", code)),
        hidden_nan=len(re.findall(r"\bFMNMX(?!\S*\.NAN)", code)),
    )


def _disassembled(cubin: bytes) -> tuple[str, str]:
    """The machine code as text, and what it needs; both tools come in triton's wheel."""
    found = find_spec("triton")
    assert found is not None and found.origin is not None
    tools = Path(found.origin).parent / "backends" / "nvidia" / "bin"
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "kernel.cubin"
        path.write_bytes(cubin)
        texts = [
            subprocess.run(
                [str(tools / tool), *options, str(path)],
                capture_output=True, text=True, check=True, timeout=240,
            ).stdout
            for tool, options in (("nvdisasm", ["-c"]), ("cuobjdump", ["-res-usage"]))
        ]  # fmt: skip
    return texts[0], texts[1]


def read_budgets() -> dict[str, dict[str, Count]]:
    """The committed budgets by NVRTC's version."""
    return msgspec.json.decode(BUDGET.read_bytes(), type=dict[str, dict[str, Count]])


def complaints(made: Plan, count: Count, budget: Count) -> list[str]:
    """What is wrong with a compiled configuration, in words."""
    found = []
    if count.spills or count.stack:
        found.append(f"{count.spills} accesses to {count.stack} bytes of spilled registers, expected none")
    if count.registers > budget.registers * (1 + SLACK):
        found.append(f"{count.registers} registers, expected at most {budget.registers * (1 + SLACK):.0f}")
    # The system's own 1 KiB of a block lies beyond what a block may have.
    if count.shared > LARGEST_SHARED or count.static_shared > 1024:
        found.append(
            f"{count.shared} and {count.static_shared} bytes of shared memory, expected {LARGEST_SHARED}"
        )
    if count.shared > budget.shared:
        found.append(f"{count.shared} bytes of shared memory, expected at most {budget.shared}")
    if made.half and not count.tensor:
        found.append("no tensor operation")
    if not count.wide_copies:
        found.append("no copy of 128 bits to shared memory")
    if count.hidden_nan:
        found.append(f"{count.hidden_nan} minima or maxima that hide NaN")
    if count.barriers != budget.barriers:
        found.append(f"{count.barriers} barriers, expected {budget.barriers}")
    return found


def main() -> None:
    """Compile and print, or write the budget of this NVRTC."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--write", action="store_true")
    counts = {name: compiled(made) for name, made in CONFIGURATIONS.items()}
    if parser.parse_args().write:
        budgets = (read_budgets() if BUDGET.exists() else {}) | {version(): counts}
        BUDGET.write_bytes(msgspec.json.format(msgspec.json.encode(dict(sorted(budgets.items())))) + b"\n")
    sys.stdout.buffer.write(msgspec.json.format(msgspec.json.encode(counts)) + b"\n")


if __name__ == "__main__":
    main()
