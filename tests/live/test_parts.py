"""The parts of the transport that need no socket."""

import random

import pytest
import trio

from node.transports.base import TransportError
from node.transports.p2p.book import AddressBook, back_off_s
from node.transports.p2p.contain import Marks, describe, only_ours
from node.transports.p2p.listen import _Watched, prefix
from node.transports.p2p.records import key_of, name_of

pytestmark = pytest.mark.live


def test_back_off_doubles_up_to_five_minutes() -> None:
    rng = random.Random(1)
    for failures in range(40):
        middle = min(300.0, 2.0**failures)
        assert 0.5 * middle <= back_off_s(failures, rng) <= 1.5 * middle


def test_the_book_calls_the_named_first_and_forgets_strangers() -> None:
    book = AddressBook(random.Random(1))
    book.learn("stranger", ["/ip4/192.0.2.1/tcp/1"])
    book.learn("friend", ["/ip4/192.0.2.2/tcp/1"], named=True)
    assert book.due(0, set()) == ["friend", "stranger"]
    assert book.due(0, {"friend"}) == ["stranger"]
    for number in range(5):
        book.failed("stranger", number)
        book.failed("friend", number)
    assert book.addresses("stranger") == ()
    assert book.due(4.0, set()) == []
    assert book.due(1000.0, set()) == ["friend"]
    assert book.known() == ("/ip4/192.0.2.2/tcp/1/p2p/friend",)


def test_hearsay_does_not_move_who_is_known() -> None:
    book = AddressBook(random.Random(1))
    book.learn("peer", ["/ip4/192.0.2.1/tcp/1"], hearsay=True)
    book.learn("peer", ["/ip4/192.0.2.2/tcp/1"], hearsay=True)
    assert book.addresses("peer") == ("/ip4/192.0.2.2/tcp/1", "/ip4/192.0.2.1/tcp/1")
    book.reached("peer", "/ip4/192.0.2.1/tcp/1")
    book.learn("peer", [f"/ip4/10.0.0.1/tcp/{port}" for port in range(1, 20)], hearsay=True)
    assert book.addresses("peer") == ("/ip4/192.0.2.1/tcp/1", "/ip4/192.0.2.2/tcp/1")
    book.learn("peer", ["/ip4/192.0.2.3/tcp/1"])
    assert book.addresses("peer")[0] == "/ip4/192.0.2.1/tcp/1"


def test_the_book_is_bounded_and_keeps_the_named() -> None:
    book = AddressBook(random.Random(1))
    book.learn("friend", ["/ip4/192.0.2.2/tcp/1"], named=True)
    for number in range(2000):
        book.learn(f"stranger {number}", [f"/ip4/10.0.0.1/tcp/{port}" for port in range(1, 100)])
    due = book.due(0, set())
    assert len(due) == 512
    assert due[0] == "friend"
    assert len(book.addresses(due[-1])) == 8


def test_networks_take_turns_in_being_called() -> None:
    book = AddressBook(random.Random(1))
    for number in range(4):
        book.learn(f"flood{number}", [f"/ip4/198.51.{number}.7/tcp/1"])
    book.learn("other", ["/ip4/203.0.113.7/tcp/1"])
    book.learn("friend", ["/ip4/198.51.9.9/tcp/1"], named=True)
    assert book.due(0, set()) == ["friend", "other", "flood0", "flood1", "flood2", "flood3"]
    assert book.due(0, {"other"})[:2] == ["friend", "flood0"]
    assert book.due(0, {"friend", "flood0"})[0] == "other"


def test_marks_bar_and_forgive() -> None:
    marks = Marks()
    barred = [marks.add("peer", "why", 0.0) for _ in range(16)]
    assert barred == [False] * 15 + [True]
    assert marks.barred("peer", 599)
    assert not marks.barred("peer", 600)
    for number in range(5000):
        marks.add(str(number), "why", 0.0)
    assert len(marks.seen()) <= 1024


@pytest.mark.parametrize("key", [b"\0", b"key", bytes(range(80))])
def test_names_of_keys(key: bytes) -> None:
    assert key_of(name_of(key)) == key
    assert len(name_of(key)) <= 128


@pytest.mark.parametrize(
    "name", ["", "/eqmesh/", "/eqmesh/a", "/eqmesh/AB", "/eqmesh/QUI=", "/other/QUI", "/eqmesh/é"]
)
def test_other_names_are_no_keys(name: str) -> None:
    assert key_of(name) is None


@pytest.mark.parametrize(
    ("host", "counted"),
    [
        ("192.0.2.1", "192.0.2.1"),
        ("::ffff:192.0.2.1", "192.0.2.1"),
        ("2001:db8::1", "2001:db8::/64"),
        ("fe80::1%eth0", "fe80::/64"),
        ("odd", "odd"),
    ],
)
def test_addresses_are_counted_by_prefix(host: str, counted: str) -> None:
    assert prefix(host) == counted


async def test_reading_ahead_changes_nothing_but_the_calls() -> None:
    ours, theirs = (trio.SocketStream(one) for one in trio.socket.socketpair())
    watched = _Watched(ours, lambda _: None)
    await theirs.send_all(b"abcdef")
    assert [await watched.read(count) for count in (2, 3, 9)] == [b"ab", b"cde", b"f"]
    await theirs.send_all(b"ghi")
    assert [await watched.read(count) for count in (0, 1, None)] == [b"", b"g", b"hi"]
    sent, arrived = bytes(range(256)) * 4096, b""
    async with trio.open_nursery() as nursery:
        nursery.start_soon(theirs.send_all, sent)
        while len(arrived) < len(sent):
            part = await watched.read(100_000 if len(arrived) % 2 else 700_001)
            assert part
            arrived += part
    assert arrived == sent
    await theirs.aclose()
    assert await watched.read(1) == b""
    await watched.close()


def test_errors_of_libp2p_become_ours() -> None:
    nested = ExceptionGroup("outer", [ExceptionGroup("inner", [KeyError("cause")])])
    with pytest.raises(TransportError, match="doing it: KeyError"), only_ours("doing it"):
        raise nested
    assert describe(ValueError("a\nb")) == "ValueError: a b"


async def test_a_cancellation_passes_alone() -> None:
    async def fail_at_the_end() -> None:
        try:
            await trio.sleep_forever()
        finally:
            raise KeyError

    with trio.move_on_after(0.01) as scope, only_ours("doing it"):
        async with trio.open_nursery() as nursery:
            nursery.start_soon(fail_at_the_end)
            nursery.start_soon(trio.sleep_forever)
    assert scope.cancelled_caught
