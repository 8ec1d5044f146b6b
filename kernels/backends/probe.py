"""What this machine can run: each probe launches something trivial, and says why it could not.

Only a launch shows it. A package that imports may find no driver, a driver no device, and a device that is listed may
be too old for the code that was compiled. Packages are loaded here on first use, and nowhere before.
"""

import subprocess
import threading
from collections.abc import Callable
from importlib import import_module
from importlib.util import find_spec

__all__ = [
    "PROBE_DEADLINE_S",
    "Probe",
    "answer",
    "full_precision",
    "probe_cupy",
    "probe_numpy",
    "probe_torch_cpu",
    "probe_torch_cuda",
    "probe_triton",
]

# Three devices that never answer must still leave a worker time to start: it has 60 s.
PROBE_DEADLINE_S = 15.0

# What libraries of accelerators raise where package, driver, compiler or device are amiss: torch an AssertionError
# if it was built without CUDA, a missing shared library an OSError, a compiler that fails a CalledProcessError.
FAILURES = (
    AssertionError,
    ImportError,
    MemoryError,
    OSError,
    RuntimeError,
    subprocess.SubprocessError,
)
LONGEST_REASON = 300

# Why the machine cannot, or None.
Probe = Callable[[], str | None]


def answer(probe: Probe, deadline_s: float | None) -> str | None:
    """Return why `probe` says that this machine cannot, or None where it can.

    What goes wrong inside becomes the reason. With a deadline the probe runs in a thread of its own, so that a driver
    that never answers holds up nothing but that thread.
    """
    if deadline_s is None:
        return _reason_of(probe)
    reasons: list[str | None] = []
    thread = threading.Thread(target=lambda: reasons.append(_reason_of(probe)), name="probe", daemon=True)
    thread.start()
    thread.join(deadline_s)
    if reasons:
        return reasons[0]
    if thread.is_alive():
        return f"its probe gave no answer within {deadline_s:g} s"
    return "its probe broke off; the traceback on stderr says where"


def _reason_of(probe: Probe) -> str | None:
    try:
        return probe()
    except FAILURES as error:
        return _told(error)


def _told(error: BaseException) -> str:
    # The first lines say what; the rest of a compiler's or driver's message is advice on debugging.
    text = " ".join(str(error).split()) or "no message"
    return f"{type(error).__name__}: {text}"[:LONGEST_REASON]


def probe_numpy() -> str | None:
    """Multiply two matrices with NumPy."""
    import numpy as np  # noqa: PLC0415

    ones = np.ones((2, 2))
    return _wrong("NumPy", float((ones @ ones).sum()), 8.0)


def probe_torch_cpu() -> str | None:
    """Multiply two matrices with torch on the CPU."""
    import torch  # noqa: PLC0415

    ones = torch.ones(2, 2)
    return _wrong("torch", float((ones @ ones).sum()), 8.0)


def full_precision() -> None:
    """Turn off TF32, which keeps 10 of float32's 23 bits after the point."""
    import torch  # noqa: PLC0415

    torch.set_float32_matmul_precision("highest")


def probe_torch_cuda() -> str | None:
    """Multiply two matrices with torch on a CUDA device, in whole float32."""
    import torch  # noqa: PLC0415

    absent = _no_device()
    if absent:
        return absent
    full_precision()
    # 1 + 2**-20 is 1 in TF32.
    value = 1.0 + 2.0**-20
    left, right = torch.full((64, 64), value, device="cuda"), torch.eye(64, device="cuda")
    found = float((left @ right).amin())
    if found == 1.0:
        return "it rounds products to TF32 though told not to; unset NVIDIA_TF32_OVERRIDE"
    return _wrong("torch", found, value)


def _no_device() -> str | None:
    """Why torch has no CUDA device, or None."""
    import torch  # noqa: PLC0415

    if torch.cuda.is_available():
        return None
    try:
        torch.zeros(1, device="cuda")
    except FAILURES as error:
        return f"no CUDA device: torch says {_told(error)}"
    return "no CUDA device: torch says none is available"


def probe_triton() -> str | None:
    """Compile and launch a Triton kernel that stores one number."""
    absent = _not_installed("triton") or _no_device()
    if absent:
        return absent
    import torch  # noqa: PLC0415

    triton, tl = import_module("triton"), import_module("triton.language")

    def touch(out):  # type: ignore[no-untyped-def]  # Triton's compiler reads annotations as its own
        tl.store(out, 1.0)

    kept = torch.zeros(1, device="cuda")
    try:
        triton.jit(touch)[(1,)](kept)
    except import_module("triton.errors").TritonError as error:
        return _told(error)
    return _wrong("triton", float(kept), 1.0)


def probe_cupy() -> str | None:
    """Compile and launch a CuPy kernel that stores one number."""
    absent = _not_installed("cupy")
    if absent:
        return absent
    cupy = import_module("cupy")
    if not cupy.is_available():
        return "no CUDA device: cupy says none is available"
    source = 'extern "C" __global__ void touch(float* out) { out[0] = 1.0f; }'
    kept = cupy.zeros(1, dtype="float32")
    try:
        cupy.RawKernel(source, "touch")((1,), (1,), (kept,))
    except import_module("cupy.cuda.compiler").CompileException as error:
        return _told(error)
    return _wrong("cupy", float(kept[0]), 1.0)


def _not_installed(package: str) -> str | None:
    if find_spec(package) is None:
        return f"package {package} is not installed (extra cuda12 or cuda13)"
    return None


def _wrong(who: str, found: float, expected: float) -> str | None:
    return None if found == expected else f"{who} computes {found} where {expected} is right"
