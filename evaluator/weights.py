"""Weights as safetensors, named by the SHA-256 of their bytes."""

import hashlib
import os
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from safetensors import SafetensorError
from safetensors.numpy import load, save

from evaluator.errors import EvaluatorError

if TYPE_CHECKING:
    from numpy.typing import NDArray

__all__ = ["pack", "read", "spool"]


def pack(parameters: Mapping[str, "NDArray[np.generic]"]) -> tuple[str, bytes]:
    """The parameters as safetensors bytes, and the SHA-256 that names them."""
    body = save({name: np.ascontiguousarray(parameters[name]) for name in sorted(parameters)})
    return hashlib.sha256(body).hexdigest(), body


def spool(folder: Path, name: str, body: bytes) -> Path:
    """Write the bytes under their name, whole or not at all; gives the path."""
    path = folder / f"{name}.safetensors"
    partial = folder / f".{name}.{os.getpid()}.partial"
    partial.write_bytes(body)
    partial.replace(path)
    return path


def read(path: Path, name: str) -> dict[str, "NDArray[np.generic]"]:
    """The parameters of a file, checked against its name. Raises EvaluatorError if they differ."""
    body = path.read_bytes()
    found = hashlib.sha256(body).hexdigest()
    if found != name:
        raise EvaluatorError(
            f"weights {name[:12]} must hash to their name, {path.name} hashes to {found[:12]}. "
            "Delete the file and evaluate the genome again."
        )
    try:
        return dict(load(body))
    except SafetensorError as error:
        raise EvaluatorError(f"{path.name} is no safetensors file: {error}") from error
