"""What a peer has, in a few hundred bytes: comparing two digests says where the two sets of ids differ. Pure.

Ids are SHA-256, so their first bits spread evenly over buckets. A bucket's digest is how many ids it holds and their
exclusive or, both of which follow every id that comes or goes at no cost. (Anti-entropy: Demers et al. 1987.)
"""

from collections.abc import Iterable, Iterator
from typing import Annotated

import msgspec
from msgspec import Meta

from node.protocol.wire import Count, Hash

__all__ = ["BUCKETS", "Bucket", "Catalogue", "Digest", "differing"]

BUCKETS = 64
_SHIFT = 2  # 8 bits less those that number the buckets


class Bucket(msgspec.Struct, frozen=True, array_like=True, forbid_unknown_fields=True):
    """How many ids fall into a bucket, and their exclusive or."""

    count: Count
    mix: Hash


Digest = Annotated[tuple[Bucket, ...], Meta(min_length=BUCKETS, max_length=BUCKETS)]


class Catalogue:
    """A set of ids (32 bytes each) with its digest."""

    def __init__(self, ids: Iterable[bytes] = ()) -> None:
        self._ids: list[set[bytes]] = [set() for _ in range(BUCKETS)]
        self._mixes = [0] * BUCKETS
        for id_ in ids:
            self.add(id_)

    def __len__(self) -> int:
        return sum(map(len, self._ids))

    def __contains__(self, id_: bytes) -> bool:
        return id_ in self._ids[_bucket(id_)]

    def __iter__(self) -> Iterator[bytes]:
        return (id_ for bucket in self._ids for id_ in sorted(bucket))

    def add(self, id_: bytes) -> bool:
        """Take in an id; whether it was new."""
        return self._turn(id_, here=False)

    def discard(self, id_: bytes) -> bool:
        """Drop an id; whether it was here."""
        return self._turn(id_, here=True)

    def _turn(self, id_: bytes, *, here: bool) -> bool:
        number = _bucket(id_)
        if (id_ in self._ids[number]) is not here:
            return False
        self._ids[number] ^= {id_}
        self._mixes[number] ^= int.from_bytes(id_, "big")
        return True

    def digest(self) -> tuple[Bucket, ...]:
        """The digest of the set as it is now."""
        return tuple(
            Bucket(len(ids), mix.to_bytes(32, "big")) for ids, mix in zip(self._ids, self._mixes, strict=True)
        )

    def bucket(self, number: int) -> tuple[bytes, ...]:
        """The ids of one bucket, sorted."""
        return tuple(sorted(self._ids[number]))


def differing(mine: tuple[Bucket, ...], theirs: tuple[Bucket, ...]) -> list[int]:
    """Numbers of the buckets in which two digests differ and the other side has any: what to ask for."""
    return [
        number
        for number, (own, other) in enumerate(zip(mine, theirs, strict=True))
        if own != other and other.count
    ]


def _bucket(id_: bytes) -> int:
    return id_[0] >> _SHIFT
