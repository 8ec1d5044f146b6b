"""Weights as safetensors, named by the SHA-256 of their bytes."""

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
    """The parameters as safetensors bytes, and the SHA-256 that names them."""
    body = save({name: np.ascontiguousarray(parameters[name]) for name in sorted(parameters)})
    return hashlib.sha256(body).hexdigest(), body


def spool(folder: Path, name: str, body: bytes) -> Path:
    """Write the bytes under their name, whole or not at all; gives the path. Raises SurroundingsError."""
    path = folder / f"{name}.safetensors"
    partial = folder / f".{name}.{os.getpid()}.partial"
    try:
        partial.write_bytes(body)
        partial.replace(path)
    except OSError as error:
        raise SurroundingsError(
            f"weights must be written to {folder}, but: {error.strerror}. Make room there, or give the right to write."
        ) from error
    return path
