"""The rules of the DHT: what may stand under a key, and which of two values stays."""

from collections.abc import Callable

import msgspec
import pytest

from genome import preset
from node.protocol.claims import Claim, Head, Signed, sign
from node.protocol.dht import genome_key, head_key, read_head, selector, task_key, validator
from node.protocol.errors import ProtocolError
from node.protocol.identity import Identity
from node.protocol.wire import encode
from tests.protocol.samples import ALICE, BOB, CLAIM, HEAD, NOW

replace = msgspec.structs.replace
TASK = HEAD.task
KEY = head_key(TASK, ALICE.key)
accepts = validator(lambda: NOW)
best = selector(lambda: NOW)


def head(identity: Identity = ALICE, **changes: object) -> bytes:
    return encode(sign(identity, replace(HEAD, peer=identity.key, **changes)))


def test_a_head_stands_under_its_own_key() -> None:
    assert accepts(KEY, head())
    assert read_head(KEY, head(), NOW) == HEAD


OTHER = sign(BOB, replace(HEAD, peer=BOB.key))


@pytest.mark.parametrize(
    "value",
    [
        head(BOB),
        head(task=b"u" * 32),
        head(not_before=int(NOW) - 7200, expiry=int(NOW) - 3600),
        head(not_before=int(NOW) + 3600, expiry=int(NOW) + 7200),
        head(not_before=int(NOW), expiry=int(NOW) + 40 * 86_400),
        head()[:-1],
        head() + b"\x00",
        b"",
        b"\x91" * 9000,
        encode(sign(ALICE, CLAIM)),
        # Another's head under my signature, and mine under another's.
        encode(Signed(body=OTHER.body, signature=ALICE.sign("head/1", OTHER.body))),
        encode(Signed(body=sign(ALICE, HEAD).body, signature=OTHER.signature)),
        # The right bytes, signed for another purpose.
        encode(Signed(body=sign(ALICE, HEAD).body, signature=ALICE.sign("claim/1", sign(ALICE, HEAD).body))),
    ],
    ids=range(13),
)
def test_nothing_else_overwrites_it(value: bytes) -> None:
    assert not accepts(KEY, value)
    with pytest.raises(ProtocolError):
        read_head(KEY, value, NOW)
    assert best(KEY, [head(), value]) == 0
    assert best(KEY, [value, head()]) == 1


@pytest.mark.parametrize(
    "key",
    [head_key(TASK, BOB.key), head_key(b"u" * 32, ALICE.key), KEY + b"x", KEY[:-1], b"head/", KEY[5:], b""],
)
def test_a_head_stands_nowhere_else(key: bytes) -> None:
    assert not accepts(key, head())


def test_the_later_head_stays() -> None:
    older, newer = head(sequence=4), head(sequence=5)
    assert best(KEY, [older, newer]) == 1
    assert best(KEY, [newer, older]) == 0
    assert best(KEY, [older, newer, head(sequence=3)]) == 1


def test_an_expired_head_gives_way_to_an_older_one_that_holds() -> None:
    expired = head(sequence=99, not_before=int(NOW) - 7200, expiry=int(NOW) - 3600)
    assert best(KEY, [expired, head(sequence=1)]) == 1


def test_of_two_heads_of_one_number_the_first_stays() -> None:
    one, other = head(claims=(b"i" * 32,)), head(claims=(b"j" * 32,))
    assert best(KEY, [one, other]) == best(KEY, [other, one]) == 0


@pytest.mark.parametrize("choose", [best, selector(lambda: 0.0)])
def test_where_nothing_is_valid_some_value_is_named(choose: Callable[[bytes, list[bytes]], int]) -> None:
    assert choose(KEY, [b"", b"x"]) in (0, 1)


def test_a_genome_stands_under_its_own_id() -> None:
    genome, other = preset("shallow"), preset("ep")
    assert accepts(genome_key(genome.id), genome.canonical())
    assert not accepts(genome_key(other.id), genome.canonical())
    assert not accepts(genome_key(genome.id), genome.canonical() + b"\x00")
    assert not accepts(genome_key(genome.id) + b"\x00", genome.canonical())
    assert best(genome_key(genome.id), [genome.canonical(), genome.canonical()]) == 0


@pytest.mark.parametrize("value", [b"", b"\x00", b"\x91" * 9000, b"x" * 70_000, b"\xdd\xff\xff\xff\xff"])
def test_what_is_no_genome_stands_nowhere(value: bytes) -> None:
    assert not accepts(genome_key(preset("ep").id), value)


@pytest.mark.parametrize(
    "key", [task_key(TASK), b"blob/" + b"b" * 32, b"b" * 32, b"", b"genome", b"anything"]
)
def test_no_value_stands_under_keys_that_only_have_providers(key: bytes) -> None:
    assert not accepts(key, preset("ep").canonical())
    assert not accepts(key, head())


def test_time_goes_on() -> None:
    now = NOW
    at = validator(lambda: now)
    assert at(KEY, head())
    now = NOW + 2 * 86_400
    assert not at(KEY, head())


def test_only_heads_are_of_the_kind_that_is_looked_for() -> None:
    assert isinstance(read_head(KEY, head(), NOW), Head)
    claim = replace(CLAIM, task=TASK)
    assert isinstance(claim, Claim)
    assert not accepts(KEY, encode(sign(ALICE, claim)))
