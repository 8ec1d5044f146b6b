"""Named arrays as safetensors, and files named by the SHA-256 of their bytes."""

import hashlib
import os
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from safetensors.numpy import save

from evaluator.errors import SurroundingsError

if TYPE_CHECKING:
    from numpy.typing import NDArray

__all__ = ["pack", "spool"]


def pack(parameters: Mapping[str, "NDArray[np.generic]"]) -> tuple[str, bytes]:
    """The parameters, or any arrays by name, as safetensors bytes, and the SHA-256 that names them."""
    # Not ascontiguousarray, which makes a row of a single number.
    body = save({name: np.asarray(parameters[name], order="C") for name in sorted(parameters)})
    return hashlib.sha256(body).hexdigest(), body


def spool(folder: Path, name: str, body: bytes, *, suffix: str = ".safetensors") -> Path:
    """Write the bytes under their name, whole or not at all; gives the path. Raises SurroundingsError."""
    path = folder / f"{name}{suffix}"
    partial = folder / f".{name}.{os.getpid()}.partial"
    try:
        partial.write_bytes(body)
        partial.replace(path)
    except OSError as error:
        raise SurroundingsError(
            f"files must be written to {folder}, but: {error.strerror}. Make room there, or give the right to write."
        ) from error
    return path
