"""This machine's stored calibration: measured once, kept in a file, read by every later search.

Speed, as an objective, is predicted from it, so that equal trainings rank equally and no noise of the
clock enters a front. No torch here.
"""

import importlib.metadata
import os
import platform
from pathlib import Path

import msgspec

from eqmesh import __version__
from evaluator.errors import EvaluatorError
from evaluator.jobs import Arithmetic, Calibration

__all__ = ["load", "machine", "save"]

_INSTRUCTION_SETS = ("amx_bf16", "avx512f", "avx2", "neon", "asimd")


def machine() -> str:
    """Processor, best instruction set and library versions: what a timing belongs to."""
    model, flags = platform.machine(), ""
    for line in Path("/proc/cpuinfo").read_text(encoding="utf-8", errors="replace").splitlines():
        name, _, value = line.partition(":")
        if name.strip() == "model name":
            model = value.strip()
        elif name.strip() in ("flags", "Features"):
            flags = value
            break
    best = next((name for name in _INSTRUCTION_SETS if name in flags.split()), "baseline")
    return f"{model} {best} torch-{importlib.metadata.version('torch')} eqmesh-{__version__}"


def load(path: Path, arithmetic: Arithmetic) -> Calibration | None:
    """The calibration of this machine for `arithmetic`, or None where it was not measured yet.

    Raises EvaluatorError for a file that cannot be read as one.
    """
    for calibration in _read(path):
        if calibration.machine == machine() and calibration.arithmetic == arithmetic:
            return calibration
    return None


def save(path: Path, calibration: Calibration) -> None:
    """Store the calibration beside those of other machines and classes; replaces its own older one."""
    key = (calibration.machine, calibration.arithmetic)
    kept = [other for other in _read(path) if (other.machine, other.arithmetic) != key]
    path.parent.mkdir(parents=True, exist_ok=True)
    partial = path.with_name(f".{path.name}.{os.getpid()}.partial")
    partial.write_bytes(msgspec.json.format(msgspec.json.encode([*kept, calibration])))
    partial.replace(path)


def _read(path: Path) -> list[Calibration]:
    try:
        return msgspec.json.decode(path.read_bytes(), type=list[Calibration])
    except (FileNotFoundError, NotADirectoryError):
        return []
    except msgspec.MsgspecError as error:
        raise EvaluatorError(
            f"expected a list of calibrations in {path}, got something else ({error}). "
            "Delete the file; the next search measures this machine again."
        ) from error
