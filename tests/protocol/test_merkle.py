"""Trees of checkpoint hashes, against RFC 6962's definition written down anew."""

import hashlib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from node.protocol.errors import ProtocolError
from node.protocol.merkle import proof, proves, root

LEAVES = st.lists(st.binary(min_size=32, max_size=32), min_size=1, max_size=40)


def defined(leaves: list[bytes]) -> bytes:
    """RFC 6962, 2.1, with leaves as data: MTH(D[n])."""
    if len(leaves) == 1:
        return hashlib.sha256(b"\x00" + leaves[0]).digest()
    k = 1
    while k * 2 < len(leaves):
        k *= 2
    return hashlib.sha256(b"\x01" + defined(leaves[:k]) + defined(leaves[k:])).digest()


@given(LEAVES)
def test_the_root_is_the_defined_one(leaves: list[bytes]) -> None:
    assert root(leaves) == defined(leaves)


@given(LEAVES, st.data())
def test_a_path_proves_its_leaf_and_no_other(leaves: list[bytes], data: st.DataObject) -> None:
    index = data.draw(st.integers(0, len(leaves) - 1))
    path, top, count = proof(leaves, index), root(leaves), len(leaves)
    assert proves(top, leaves[index], index, count, path)
    other = bytes([leaves[index][0] ^ 1]) + leaves[index][1:]
    assert not proves(top, other, index, count, path)
    assert not proves(top, leaves[index], index, count, (*path, bytes(32)))
    if path:
        assert not proves(top, leaves[index], index, count, path[:-1])
        bent = (bytes([path[0][0] ^ 1]) + path[0][1:], *path[1:])
        assert not proves(top, leaves[index], index, count, bent)
    for wrong in (-1, count):
        assert not proves(top, leaves[index], wrong, count, path)
    elsewhere = (index + 1) % count
    if leaves[elsewhere] != leaves[index]:
        assert not proves(top, leaves[index], elsewhere, count, proof(leaves, elsewhere))


def test_an_inner_node_is_no_leaf() -> None:
    leaves = [bytes([i]) * 32 for i in range(4)]
    inner = root(leaves[:2])
    assert not proves(root(leaves), inner, 0, 2, (root(leaves[2:]),))


@pytest.mark.parametrize("leaves", [[], [b"short"], [bytes(32), bytes(33)]])
def test_what_is_no_tree_is_refused(leaves: list[bytes]) -> None:
    with pytest.raises(ProtocolError, match="32 bytes"):
        root(leaves)


def test_a_leaf_that_is_not_there_has_no_proof() -> None:
    with pytest.raises(ProtocolError, match="from 0 to 0, got 1"):
        proof([bytes(32)], 1)
