"""Merkle trees over checkpoint hashes: one root commits to all, one path proves one. Pure.

Leaves and inner nodes are hashed under different prefixes, and an odd node moves up unchanged, as in RFC 6962 (2.1),
so that no inner node can pass for a leaf and no two lists of leaves share a root.
"""

import hashlib
from collections.abc import Sequence

from node.protocol.errors import ProtocolError

__all__ = ["proof", "proves", "root"]

_HASH_BYTES = 32


def root(leaves: Sequence[bytes]) -> bytes:
    """The root (32 bytes) of at least one leaf of 32 bytes. Raises ProtocolError for others."""
    if not leaves or any(len(leaf) != _HASH_BYTES for leaf in leaves):
        raise ProtocolError("a tree expects one or more leaves of 32 bytes each.")
    if len(leaves) == 1:
        return _leaf(leaves[0])
    middle = _split(len(leaves))
    return _node(root(leaves[:middle]), root(leaves[middle:]))


def proof(leaves: Sequence[bytes], index: int) -> tuple[bytes, ...]:
    """The sibling hashes from leaf `index` up to the root. Raises ProtocolError where there is no such leaf."""
    if not 0 <= index < len(leaves):
        raise ProtocolError(f"a proof expects a leaf from 0 to {len(leaves) - 1}, got {index}.")
    if len(leaves) == 1:
        return ()
    middle = _split(len(leaves))
    if index < middle:
        return (*proof(leaves[:middle], index), root(leaves[middle:]))
    return (*proof(leaves[middle:], index - middle), root(leaves[:middle]))


def proves(top: bytes, leaf: bytes, index: int, count: int, path: Sequence[bytes]) -> bool:
    """Whether `path` shows that `leaf` is number `index` of `count` under the root `top`."""
    if not 0 <= index < count or any(len(step) != _HASH_BYTES for step in path):
        return False
    found = _climb(leaf, index, count, list(path))
    return found == top


def _climb(leaf: bytes, index: int, count: int, path: list[bytes]) -> bytes | None:
    if count == 1:
        return _leaf(leaf) if not path else None
    if not path:
        return None
    middle, above = _split(count), path.pop()
    if index < middle:
        below = _climb(leaf, index, middle, path)
        return None if below is None else _node(below, above)
    below = _climb(leaf, index - middle, count - middle, path)
    return None if below is None else _node(above, below)


def _split(count: int) -> int:
    """The largest power of two below `count`."""
    return 1 << (count - 1).bit_length() - 1


def _leaf(value: bytes) -> bytes:
    return hashlib.sha256(b"\x00" + value).digest()


def _node(left: bytes, right: bytes) -> bytes:
    return hashlib.sha256(b"\x01" + left + right).digest()
