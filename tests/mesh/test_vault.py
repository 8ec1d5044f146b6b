"""Blobs in a folder and in memory: the same answers, and none that a stranger's number could break."""

import hashlib
from pathlib import Path

import pytest

from node.mesh import FolderVault, MemoryVault, Vault, vault
from node.protocol.blobs import Assembly, manifest_of
from node.protocol.wire import CHUNK_BYTES

BODIES = (b"", b"x", bytes(range(256)) * 1024, bytes(range(256)) * 2500)


@pytest.fixture(params=["folder", "memory"])
def found(request: pytest.FixtureRequest, tmp_path: Path) -> Vault:
    return FolderVault(tmp_path / "blobs") if request.param == "folder" else MemoryVault()


@pytest.mark.parametrize("body", BODIES, ids=len)
def test_a_blob_comes_back_in_chunks(found: Vault, body: bytes) -> None:
    name = found.put(body)
    assert name == hashlib.sha256(body).digest()
    manifest = found.manifest(name)
    assert manifest == manifest_of(body)
    assert found.size(name) == len(body)
    parts = Assembly(name, len(body), manifest)
    for index in list(parts.missing()):
        parts.accept(index, found.chunk(name, index) or b"")
    assert parts.whole() == body
    for beyond in (len(manifest.chunks), 2**53):
        assert found.chunk(name, beyond) is None
    found.drop(name)
    assert (found.manifest(name), found.chunk(name, 0), found.size(name)) == (None, None, None)


def test_what_is_larger_than_a_blob_may_be_is_shown_to_nobody(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(vault, "MOST_CHUNKS", 2)
    found = FolderVault(tmp_path / "blobs")
    whole, over = found.put(bytes(2 * CHUNK_BYTES)), found.put(bytes(2 * CHUNK_BYTES + 1))
    assert found.manifest(whole) is not None
    assert found.manifest(over) is None
