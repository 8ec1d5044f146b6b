"""Memory, thread and priority limits of a worker, set before torch is loaded.

torch reads its thread counts when it is imported, and an address-space limit has to stand before the
first large allocation; so the worker calls `apply` first and imports torch after it.
"""

import ctypes
import os
import resource
import signal
from pathlib import Path

__all__ = ["apply", "peak_resident_bytes", "reset_peak", "thread_environment"]

_THREAD_VARIABLES = ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS", "NUMEXPR_NUM_THREADS")


def thread_environment() -> dict[str, str]:
    """The environment of this process, with every maths library held to one thread."""
    return {**os.environ, **dict.fromkeys(_THREAD_VARIABLES, "1")}


def apply(*, memory_bytes: int, nice: int) -> None:
    """Hold this process to `memory_bytes` of private memory (RLIMIT_DATA) and lower its priority.

    RLIMIT_DATA counts what is written (heap and anonymous maps), not the address space that
    libraries reserve, so it can be as small as the genome's budget. Ctrl-C is left to the parent.
    """
    _, hard = resource.getrlimit(resource.RLIMIT_DATA)
    limit = memory_bytes if hard == resource.RLIM_INFINITY else min(memory_bytes, hard)
    resource.setrlimit(resource.RLIMIT_DATA, (limit, hard))
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    os.environ.update(dict.fromkeys(_THREAD_VARIABLES, "1"))
    os.nice(nice)
    signal.signal(signal.SIGINT, signal.SIG_IGN)


def reset_peak() -> int:
    """Start a new measurement of peak resident memory; gives the bytes resident now (Linux, glibc).

    Freed pages go back to the system first: else the next network would seem to need nothing.
    """
    ctypes.CDLL(None).malloc_trim(0)
    Path("/proc/self/clear_refs").write_text("5", encoding="ascii")
    return _status_bytes("VmRSS")


def peak_resident_bytes() -> int:
    """Largest resident size since `reset_peak` (Linux's VmHWM), bytes."""
    return _status_bytes("VmHWM")


def _status_bytes(field: str) -> int:
    for line in Path("/proc/self/status").read_text(encoding="utf-8").splitlines():
        if line.startswith(field):
            return int(line.split()[1]) * 1024
    raise OSError(f"/proc/self/status has no line {field}")
