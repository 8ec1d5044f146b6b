"""Blobs in chunks: any order, any interruption, and no byte that was not hashed."""

import hashlib
import random

import msgspec
import pytest

from node.protocol.blobs import Assembly, Manifest, chunk_of, manifest_of
from node.protocol.errors import ProtocolError
from node.protocol.wire import CHUNK_BYTES

BODY = random.Random(1).randbytes(3 * CHUNK_BYTES + 17)
NAME = hashlib.sha256(BODY).digest()


def assembly(body: bytes = BODY, manifest: Manifest | None = None) -> Assembly:
    return Assembly(hashlib.sha256(body).digest(), len(body), manifest or manifest_of(body))


def test_chunks_in_any_order_make_the_whole() -> None:
    found = assembly()
    order = [2, 0, 3, 1]
    for done, index in enumerate(order):
        assert list(found.missing()) == sorted(order[done:])
        found.accept(index, chunk_of(BODY, index))
    assert found.whole() == BODY


@pytest.mark.parametrize("size", [0, 1, CHUNK_BYTES - 1, CHUNK_BYTES, CHUNK_BYTES + 1])
def test_every_size_comes_back(size: int) -> None:
    body = BODY[:size]
    found = assembly(body)
    for index in found.missing():
        found.accept(index, chunk_of(body, index))
    assert found.whole() == body


def test_a_bent_chunk_is_refused_and_may_come_again() -> None:
    found = assembly()
    with pytest.raises(ProtocolError, match="chunk 1 does not hash"):
        found.accept(1, chunk_of(BODY, 2))
    found.accept(1, chunk_of(BODY, 1))
    found.accept(1, chunk_of(BODY, 1))
    assert list(found.missing()) == [0, 2, 3]
    for wrong in (-1, 4):
        with pytest.raises(ProtocolError, match="from 0 to 3"):
            found.accept(wrong, b"")


def test_a_blob_that_is_not_whole_is_not_given_out() -> None:
    with pytest.raises(ProtocolError, match="once all its chunks"):
        assembly().whole()


def test_a_manifest_of_another_blob_is_found_out_at_the_end() -> None:
    other = bytes(len(BODY))
    found = Assembly(NAME, len(BODY), manifest_of(other))
    for index in range(4):
        found.accept(index, chunk_of(other, index))
    with pytest.raises(ProtocolError, match="made for another"):
        found.whole()


def test_a_manifest_cannot_make_a_blob_larger_than_it_is_known_to_be() -> None:
    whole = manifest_of(BODY)
    for wrong in (
        msgspec.structs.replace(whole, size=whole.size + 1),
        msgspec.structs.replace(whole, chunks=whole.chunks[:-1]),
        msgspec.structs.replace(whole, chunks=(*whole.chunks, bytes(32))),
    ):
        with pytest.raises(ProtocolError, match="expects 4 chunks"):
            assembly(manifest=wrong)
