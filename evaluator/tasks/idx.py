"""The IDX file format of MNIST: a header of sizes, then bytes. Pure."""

import math
import struct

import numpy as np
from numpy.typing import NDArray

from evaluator.errors import DataError

__all__ = ["parse_idx"]

UNSIGNED_BYTE = 0x08


def parse_idx(content: bytes) -> NDArray[np.uint8]:
    """Give the array of unsigned bytes that an IDX file holds, as a read-only view of `content`.

    Raises DataError for other element types and for a body that does not fill the announced shape.
    """
    if len(content) < 4 or content[:2] != b"\0\0" or content[2] != UNSIGNED_BYTE:
        raise DataError(
            f"expected an IDX file of unsigned bytes (00 00 08 ..), got a start of {content[:4].hex(' ')!r}."
        )
    rank = content[3]
    header = 4 + 4 * rank
    shape = struct.unpack_from(f">{rank}I", content, 4) if len(content) >= header else ()
    expected = math.prod(shape) if shape else -1
    if len(content) - header != expected:
        raise DataError(
            f"expected an IDX body of shape {list(shape)}, got {max(0, len(content) - header)} bytes."
        )
    return np.frombuffer(content, dtype=np.uint8, offset=header).reshape(shape)
