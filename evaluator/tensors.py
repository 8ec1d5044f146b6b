"""Named arrays out of a safetensors file that a stranger wrote, held to what they must be before they are used.

Nothing of the file decides how much is read or allocated: names, dtypes and shapes come from a learner made here.
"""

import hashlib
import json
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING

import msgspec
import numpy as np

from evaluator.errors import EvidenceError, SurroundingsError

if TYPE_CHECKING:
    from numpy.typing import NDArray

    Arrays = Mapping[str, NDArray[np.generic]]

__all__ = ["HEADER_BYTES", "fetch", "largest_file", "refuse_infinite", "unpack"]

HEADER_BYTES = 64 * 1024
_PREFIX_BYTES = 8
# What the learners' arrays can be; safetensors' name of each.
_DTYPES = {"<f2": "F16", "<f4": "F32", "<f8": "F64", "<i4": "I32", "<i8": "I64"}
_SHOWN = 80


class _Entry(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """One array in a header of safetensors."""

    dtype: str
    shape: tuple[int, ...]
    data_offsets: tuple[int, int]


def largest_file(like: "Arrays") -> int:
    """Bytes that a file of arrays like these may have: its length prefix, the longest header, the data."""
    return _PREFIX_BYTES + HEADER_BYTES + sum(array.nbytes for array in like.values())


def fetch(path: Path, sha256: str, *, at_most: int) -> bytes:
    """All bytes of a file, which must be no more than `at_most` and have this SHA-256.

    Raises EvidenceError for another file, and SurroundingsError where it cannot be read.
    """
    try:
        with path.open("rb") as file:
            body = file.read(at_most + 1)
    except OSError as error:
        raise SurroundingsError(
            f"a file of evidence must be readable at {path}, but: {error.strerror}. Fetch it again."
        ) from error
    if len(body) > at_most:
        raise EvidenceError(f"the file may have {at_most} bytes, it has more")
    found = hashlib.sha256(body).hexdigest()
    if found != sha256:
        raise EvidenceError(
            f"the file's SHA-256 must be {_shown(sha256)}, its {len(body)} bytes have {found!r}"
        )
    return body


def unpack(body: bytes, like: "Arrays") -> "dict[str, NDArray[np.generic]]":
    """Arrays from safetensors bytes, read-only: exactly the names, dtypes and shapes of `like`, and nothing else.

    Raises EvidenceError for every other sequence of bytes, saying what was expected and what came.
    """
    length = int.from_bytes(body[:_PREFIX_BYTES], "little")
    if len(body) < _PREFIX_BYTES or length > HEADER_BYTES or _PREFIX_BYTES + length > len(body):
        raise EvidenceError(
            f"a safetensors header may have {HEADER_BYTES} bytes inside its file, got {len(body)} bytes of a file that "
            f"announce a header of {length}"
        )
    start = _PREFIX_BYTES + length
    entries = _entries(body[_PREFIX_BYTES:start])
    odd = min(entries.keys() ^ like.keys(), default=None)
    if odd is not None:
        raise EvidenceError(
            f"{_shown(odd)} {'is missing' if odd in like else 'does not belong here'}; "
            f"expected the arrays {', '.join(sorted(like))}"
        )
    size = sum(array.nbytes for array in like.values())
    if len(body) - start != size:
        raise EvidenceError(f"the data must have {size} bytes, {len(body) - start} follow the header")
    arrays: dict[str, NDArray[np.generic]] = {}
    position = 0
    for name, entry in sorted(entries.items(), key=lambda item: item[1].data_offsets):
        wanted = like[name]
        _check_entry(name, entry, wanted, position)
        flat = np.frombuffer(body, wanted.dtype, count=wanted.size, offset=start + position)
        arrays[name] = flat.reshape(wanted.shape)
        position += wanted.nbytes
    return arrays


def refuse_infinite(arrays: "Arrays") -> None:
    """Raise EvidenceError unless every number is finite."""
    for name, array in arrays.items():
        wrong = array.size - int(np.count_nonzero(np.isfinite(array)))
        if wrong:
            raise EvidenceError(f"all numbers must be finite, {wrong} of {array.size} in {name!r} are not")


def _entries(header: bytes) -> dict[str, _Entry]:
    try:
        plain = json.loads(header.decode("utf-8"), object_pairs_hook=_without_doubles)
        return msgspec.convert(plain, dict[str, _Entry])
    # A header of brackets alone nests deeper than Python calls.
    except (ValueError, RecursionError) as error:
        raise EvidenceError(
            f"expected a header of safetensors, got other bytes: {str(error)[:200]}"
        ) from error


def _without_doubles(pairs: list[tuple[str, object]]) -> dict[str, object]:
    """The object of these pairs. Two readers could take different ones of two equal names, so there may be none."""
    names = [name for name, _ in pairs]
    if len(set(names)) != len(names):
        raise EvidenceError("each name may stand once in a header, got one twice")
    return dict(pairs)


def _check_entry(name: str, entry: _Entry, wanted: "NDArray[np.generic]", position: int) -> None:
    """Raise EvidenceError unless the header says what this array must be, laid where the one before it ends."""
    expected = (_DTYPES[wanted.dtype.str], wanted.shape, (position, position + wanted.nbytes))
    came = (entry.dtype, entry.shape, entry.data_offsets)
    if came != expected:
        raise EvidenceError(
            f"{name!r} must be {expected[0]} {expected[1]} at bytes {expected[2]}, got {_shown(came)}"
        )


def _shown(value: object) -> str:
    """What a stranger wrote, short enough for a line of a log."""
    text = repr(value)
    return text if len(text) <= _SHOWN else f"{text[:_SHOWN]}..."
