"""Bytes of a data file as they came, turned into the bytes that its checksum names, or refused. Pure."""

import gzip
import hashlib
import io
import zlib

from evaluator.errors import DataError
from evaluator.tasks.data.catalogue import DataFile

__all__ = ["plain_bytes"]

GZIP_MAGIC = b"\x1f\x8b"


def plain_bytes(file: DataFile, raw: bytes, came_from: str) -> bytes:
    """Decompress `raw` if it is gzipped and check it: equal size, equal SHA-256, or DataError.

    The checksum is of the decompressed bytes, because packagers compress again. No more is decompressed
    than the file's size and one byte, so that a bomb costs nothing.
    """
    content = raw
    if raw.startswith(GZIP_MAGIC):
        try:
            with gzip.GzipFile(fileobj=io.BytesIO(raw)) as stream:
                content = stream.read(file.size_bytes + 1)
        except (OSError, EOFError, zlib.error) as error:
            raise DataError(
                f"{came_from}: expected gzipped {file.name}, it does not decompress ({error})."
            ) from error
    if len(content) != file.size_bytes:
        more = "more than " if len(content) > file.size_bytes else ""
        size = min(len(content), file.size_bytes)
        raise DataError(f"{came_from}: expected {file.size_bytes} bytes of {file.name}, got {more}{size}.")
    digest = hashlib.sha256(content).hexdigest()
    if digest != file.sha256:
        raise DataError(f"{came_from}: expected {file.name} with SHA-256 {file.sha256}, got {digest}.")
    return content
