"""Weights and other large bodies, moved in hashed chunks: any chunk from any peer, in any order, resumable. Pure."""

import hashlib
from collections.abc import Iterable, Iterator
from typing import Annotated

import msgspec
from msgspec import Meta

from node.protocol.errors import ProtocolError
from node.protocol.wire import CHUNK_BYTES, Count, Hash

__all__ = ["MOST_CHUNKS", "Assembly", "Manifest", "chunk_of", "manifest_from", "manifest_of"]

MOST_CHUNKS = 2048
"""Chunks of the largest blob: 512 MiB."""


class Manifest(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Size of a blob, and the SHA-256 of each of its chunks of 256 KiB (the last one may be shorter)."""

    size: Count
    chunks: Annotated[tuple[Hash, ...], Meta(max_length=MOST_CHUNKS)]


def manifest_of(body: bytes) -> Manifest:
    """The manifest of a blob. Raises ProtocolError for one that is too large."""
    count = -(-len(body) // CHUNK_BYTES)
    if count > MOST_CHUNKS:
        raise ProtocolError(f"a blob expects at most {MOST_CHUNKS * CHUNK_BYTES} bytes, got {len(body)}.")
    return manifest_from(len(body), (chunk_of(body, index) for index in range(count)))


def manifest_from(size: int, chunks: Iterable[bytes]) -> Manifest:
    """The manifest of a blob whose chunks come one after the other: nobody has to hold the whole of it."""
    return Manifest(size=size, chunks=tuple(hashlib.sha256(chunk).digest() for chunk in chunks))


def chunk_of(body: bytes, index: int) -> bytes:
    """Chunk `index` of a blob; empty beyond its end."""
    return body[index * CHUNK_BYTES : (index + 1) * CHUNK_BYTES]


class Assembly:
    """A blob that arrives in chunks. Its size is known beforehand, so no peer can send more than that.

    `name` is the SHA-256 of the whole (32 bytes) and `size` what it must weigh. A manifest is a peer's word until the
    whole hashes to its name: where it does not, that peer lied.
    """

    def __init__(self, name: bytes, size: int, manifest: Manifest) -> None:
        if manifest.size != size or len(manifest.chunks) != -(-size // CHUNK_BYTES):
            raise ProtocolError(
                f"the manifest of a blob of {size} bytes expects {-(-size // CHUNK_BYTES)} chunks, got "
                f"{len(manifest.chunks)} for {manifest.size} bytes."
            )
        self.name = name
        self.manifest = manifest
        self._parts: dict[int, bytes] = {}

    def missing(self) -> Iterator[int]:
        """Numbers of the chunks that have not arrived yet."""
        return (index for index in range(len(self.manifest.chunks)) if index not in self._parts)

    def accept(self, index: int, chunk: bytes) -> None:
        """Take one chunk. Raises ProtocolError for one that is not what the manifest names; a second one is ignored."""
        if not 0 <= index < len(self.manifest.chunks):
            raise ProtocolError(
                f"a chunk expects a number from 0 to {len(self.manifest.chunks) - 1}, got {index}."
            )
        if hashlib.sha256(chunk).digest() != self.manifest.chunks[index]:
            raise ProtocolError(f"chunk {index} does not hash to what its manifest says.")
        self._parts.setdefault(index, chunk)

    def whole(self) -> bytes:
        """The blob. Raises ProtocolError while chunks are missing, or where the whole is another one."""
        if next(self.missing(), None) is not None:
            raise ProtocolError("a blob is whole once all its chunks are here.")
        body = b"".join(self._parts[index] for index in range(len(self.manifest.chunks)))
        if len(body) != self.manifest.size or hashlib.sha256(body).digest() != self.name:
            raise ProtocolError("a blob must hash to its name; this one's manifest was made for another.")
        return body
