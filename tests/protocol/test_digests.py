"""Comparing sets of ids by their digests."""

import hashlib

from hypothesis import given
from hypothesis import strategies as st

from node.protocol.digests import BUCKETS, Catalogue, differing

IDS = st.sets(st.integers(0, 500).map(lambda n: hashlib.sha256(str(n).encode()).digest()), max_size=60)


@given(IDS, IDS)
def test_what_is_missing_lies_in_the_buckets_that_differ(mine: set[bytes], theirs: set[bytes]) -> None:
    own, other = Catalogue(mine), Catalogue(theirs)
    asked = differing(own.digest(), other.digest())
    heard = {id_ for number in asked for id_ in other.bucket(number)}
    assert theirs - mine <= heard
    if mine == theirs:
        assert asked == []


@given(IDS)
def test_a_digest_follows_from_the_set_alone(ids: set[bytes]) -> None:
    forwards, backwards = Catalogue(), Catalogue()
    assert all(forwards.add(id_) for id_ in sorted(ids))
    assert all(backwards.add(id_) for id_ in sorted(ids, reverse=True))
    assert forwards.digest() == backwards.digest()
    assert set(forwards) == ids
    assert len(forwards) == len(ids)
    for id_ in ids:
        assert id_ in forwards
        assert not forwards.add(id_)
    for id_ in ids:
        assert forwards.discard(id_)
        assert not forwards.discard(id_)
    assert forwards.digest() == Catalogue().digest()


def test_ids_spread_over_all_buckets() -> None:
    found = Catalogue(hashlib.sha256(str(n).encode()).digest() for n in range(4000))
    sizes = [len(found.bucket(number)) for number in range(BUCKETS)]
    assert sum(sizes) == 4000
    assert min(sizes) > 30
    assert max(sizes) < 100
