"""Where a node keeps blobs: the evidence of its own claims, and what it fetched to check those of others."""

import hashlib
import os
import re
from collections import OrderedDict
from functools import partial
from pathlib import Path
from typing import Protocol

from node.protocol.blobs import MOST_CHUNKS, Manifest, chunk_of, manifest_from, manifest_of
from node.protocol.wire import CHUNK_BYTES

__all__ = ["FolderVault", "MemoryVault", "Vault"]

_MANIFESTS = 256
_BLOB = re.compile(r"[0-9a-f]{64}")


class Vault(Protocol):
    """Blobs by SHA-256 (32 bytes). Look-ups give None for what is not here."""

    def put(self, body: bytes) -> bytes:
        """Keep a blob; gives its name."""
        ...

    def take(self, file: Path) -> None:
        """Move a file into the vault that is named by its SHA-256 in hex, whatever its suffix."""
        ...

    def path(self, name: bytes) -> str:
        """Where a worker finds the blob."""
        ...

    def manifest(self, name: bytes) -> Manifest | None:
        """How the blob is cut into chunks."""
        ...

    def chunk(self, name: bytes, index: int) -> bytes | None:
        """One of its chunks."""
        ...

    def size(self, name: bytes) -> int | None:
        """Bytes of the blob."""
        ...

    def drop(self, name: bytes) -> None:
        """Forget the blob, if it is here."""
        ...


class FolderVault:
    """Blobs as files of one folder, which is made when it is first needed."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._manifests: OrderedDict[bytes, Manifest] = OrderedDict()

    def put(self, body: bytes) -> bytes:
        """Keep a blob; gives its name."""
        name = hashlib.sha256(body).digest()
        self.folder.mkdir(parents=True, exist_ok=True)
        partial = self.folder / f".{name.hex()}.{os.getpid()}.partial"
        partial.write_bytes(body)
        partial.replace(self._file(name))
        return name

    def take(self, file: Path) -> None:
        """Move a file of a worker's spool here."""
        self.folder.mkdir(parents=True, exist_ok=True)
        file.replace(self._file(bytes.fromhex(file.stem)))

    def path(self, name: bytes) -> str:
        """The file of a blob."""
        return str(self._file(name))

    def manifest(self, name: bytes) -> Manifest | None:
        """How the blob is cut into chunks; the last few hundred are remembered."""
        if name not in self._manifests:
            size = self.size(name)
            if size is None or size > MOST_CHUNKS * CHUNK_BYTES:
                return None  # what is larger than any blob may be is shown to nobody
            with self._file(name).open("rb") as file:
                self._manifests[name] = manifest_from(size, iter(partial(file.read, CHUNK_BYTES), b""))
            if len(self._manifests) > _MANIFESTS:
                self._manifests.popitem(last=False)
        return self._manifests[name]

    def chunk(self, name: bytes, index: int) -> bytes | None:
        """One of its chunks, read alone."""
        if index * CHUNK_BYTES >= (self.size(name) or 0):
            return None  # a stranger chose the number: no file can be sought that far
        try:
            with self._file(name).open("rb") as file:
                file.seek(index * CHUNK_BYTES)
                return file.read(CHUNK_BYTES) or None
        except FileNotFoundError:
            return None

    def size(self, name: bytes) -> int | None:
        """Bytes of the blob."""
        try:
            return self._file(name).stat().st_size
        except FileNotFoundError:
            return None

    def drop(self, name: bytes) -> None:
        """Delete its file."""
        self._manifests.pop(name, None)
        self._file(name).unlink(missing_ok=True)

    def names(self) -> set[bytes]:
        """Every blob that is here; what an interrupted write left behind is deleted, what is no blob left alone."""
        found = set()
        for file in self.folder.iterdir() if self.folder.is_dir() else ():
            if file.suffix == ".partial":
                file.unlink()
            elif _BLOB.fullmatch(file.name):
                found.add(bytes.fromhex(file.name))
        return found

    def _file(self, name: bytes) -> Path:
        return self.folder / name.hex()


class MemoryVault:
    """Blobs in memory, for simulated nodes: a path is the blob's name in hex."""

    def __init__(self) -> None:
        self._blobs: dict[bytes, bytes] = {}

    def __len__(self) -> int:
        return len(self._blobs)

    def put(self, body: bytes) -> bytes:
        """Keep a blob; gives its name."""
        name = hashlib.sha256(body).digest()
        self._blobs[name] = body
        return name

    def take(self, file: Path) -> None:
        """Nothing to do: simulated workers put their blobs here themselves."""

    def path(self, name: bytes) -> str:
        """The blob's name."""
        return name.hex()

    def read(self, path: str) -> bytes | None:
        """The blob at what `path` gave."""
        return self._blobs.get(bytes.fromhex(path))

    def manifest(self, name: bytes) -> Manifest | None:
        """How the blob is cut into chunks."""
        return manifest_of(self._blobs[name]) if name in self._blobs else None

    def chunk(self, name: bytes, index: int) -> bytes | None:
        """One of its chunks."""
        return chunk_of(self._blobs.get(name, b""), index) or None

    def size(self, name: bytes) -> int | None:
        """Bytes of the blob."""
        return len(self._blobs[name]) if name in self._blobs else None

    def drop(self, name: bytes) -> None:
        """Forget the blob."""
        self._blobs.pop(name, None)
