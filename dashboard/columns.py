"""Columns of numbers on the wire: what a hundred thousand points weigh as arrays, not as JSON. Pure.

Four bytes: length of the header, little-endian. The header: JSON `{"rows", "columns": [{"name", "type", "offset"}]}`
and more, padded with spaces so that what follows begins at a multiple of eight. Then the arrays, little-endian, each
at its `offset` from the end of the header, which is a multiple of eight too.
"""

import sys
from array import array
from collections.abc import Iterable, Mapping
from typing import Literal

import msgspec

__all__ = ["MEDIA_TYPE", "Column", "ColumnType", "column", "pack"]

MEDIA_TYPE = "application/octet-stream"

ColumnType = Literal["i32", "f32", "f64", "u8"]
"""Type of the numbers of a column."""

_CODES: dict[ColumnType, str] = {"i32": "i", "f32": "f", "f64": "d", "u8": "B"}

Column = tuple[ColumnType, "array[int] | array[float]"]
"""The type of a column, and its numbers."""


def column(type_: ColumnType, values: Iterable[float]) -> Column:
    """A column of one type. Raises OverflowError for an integer that does not fit."""
    # An array of integers takes no floats and says so.
    return type_, array(_CODES[type_], values)


def pack(columns: Mapping[str, Column], **extra: object) -> bytes:
    """The bytes of columns of equal length; `extra` goes into the header beside `rows` and `columns`.

    Raises ValueError where lengths differ.
    """
    lengths = {len(values) for _, values in columns.values()}
    if len(lengths) > 1:
        raise ValueError(f"columns must be equally long, got {sorted(lengths)} rows")
    described: list[dict[str, object]] = []
    body: list[bytes] = []
    offset = 0
    for name, (type_, values) in columns.items():
        described.append({"name": name, "type": type_, "offset": offset})
        packed = _little_endian(values)
        packed += bytes(-len(packed) % 8)
        body.append(packed)
        offset += len(packed)
    header = msgspec.json.encode({**extra, "rows": next(iter(lengths), 0), "columns": described})
    header += b" " * (-(len(header) + 4) % 8)
    return b"".join((len(header).to_bytes(4, "little"), header, *body))


def _little_endian(values: "array[int] | array[float]") -> bytes:
    if sys.byteorder == "big":
        values = values[:]
        values.byteswap()
    return values.tobytes()
