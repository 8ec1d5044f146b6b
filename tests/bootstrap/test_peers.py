"""Lists of addresses."""

import contextlib
import random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bootstrap.peers import AddressError, choose, merge, parse, peer_of, prefix_of, read, starting, write
from node.protocol.identity import Identity, peer_id


def peer(number: int) -> str:
    return peer_id(Identity(number.to_bytes(32, "big")).key)


def address(host: str, number: int = 1, kind: str = "ip4", port: int = 4001) -> str:
    return f"/{kind}/{host}/tcp/{port}/p2p/{peer(number)}"


@pytest.mark.parametrize(
    ("given_text", "spelt"),
    [
        (address("192.0.2.1"), address("192.0.2.1")),
        (f"  {address('192.0.2.1')}\n", address("192.0.2.1")),
        (address("2001:DB8:0:0::1", kind="ip6"), address("2001:db8::1", kind="ip6")),
        (address("Seed.Example.ORG.", kind="dns4"), address("seed.example.org", kind="dns4")),
    ],
)
def test_an_address_in_one_spelling(given_text: str, spelt: str) -> None:
    assert parse(given_text) == spelt
    assert parse(spelt) == spelt


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("", "was expected"),
        ("192.0.2.1:4001", "was expected"),
        (address("192.0.2.1") + "/x", "was expected"),
        (address("192.0.2.1").replace("/tcp/", "/udp/"), "was expected"),
        ("/ip4/192.0.2.1/tcp/4001", "was expected"),
        (address("192.0.2.1", port=0), "was expected"),
        (address("192.0.2.1", port=70000), "port lies"),
        ("/ip4/192.0.2.1/tcp/4001/p2p/abc", "does not end in a peer id"),
        (address("192.0.2.1") + "1", "does not end in a peer id"),
        (address("192.0.2.300"), "no address of ip4"),
        (address("::1"), "no address of ip4"),
        (address("fe80::1%eth0", kind="ip6"), "nobody can be called|no address"),
        (address("0.0.0.0"), "nobody can be called"),  # noqa: S104 - it is refused
        (address("::", kind="ip6"), "nobody can be called"),
        (address("224.0.0.1"), "nobody can be called"),
        (address("a..b", kind="dns"), "no host name"),
        (address("-a.b", kind="dns"), "no host name"),
        ("/ip4/192.0.2.1/tcp/4001/p2p/" + "1" * 300, "was expected"),
    ],
)
def test_what_is_refused(text: str, why: str) -> None:
    with pytest.raises(AddressError, match=why):
        parse(text)


@given(st.text(max_size=300))
def test_any_text_is_an_address_or_refused(text: str) -> None:
    with contextlib.suppress(AddressError):
        assert parse(parse(text)) == parse(text)


def test_a_list_is_written_as_it_is_read() -> None:
    one, two = address("192.0.2.1"), address("198.51.100.1", 2)
    text = f"# friends\n\n{one}  # home\n{two}\n{one}\n"
    assert read(text) == (one, two)
    assert read(write((one, two))) == (one, two)
    assert write(()) == ""
    with pytest.raises(AddressError, match="line 2"):
        read(f"{one}\nrubbish\n")


def test_merging_keeps_the_order_and_a_bound() -> None:
    many = [address(f"10.{number // 250}.{number % 250}.1") for number in range(1500)]
    assert merge(many[:2], many[1:3]) == tuple(many[:3])
    assert merge(many) == tuple(many[:1024])


def test_built_in_addresses_can_be_switched_off() -> None:
    named, saved, shipped = ([address(f"192.0.{number}.1", number)] for number in (1, 2, 3))
    assert starting(named, saved, built_in=True, shipped=shipped) == (*named, *saved, *shipped)
    assert starting(named, saved, built_in=False, shipped=shipped) == (*named, *saved)


@pytest.mark.parametrize(
    ("text", "network"),
    [
        (address("192.0.2.1"), "192.0.0.0/16"),
        (address("2001:db8:1::1", kind="ip6"), "2001:db8::/32"),
        (address("a.b.example.org", kind="dns"), "example.org"),
    ],
)
def test_networks(text: str, network: str) -> None:
    assert prefix_of(text) == network


def test_a_flood_from_one_network_takes_one_turn() -> None:
    flood = [address(f"10.0.{number // 250}.{number % 250 + 1}", number) for number in range(1, 200)]
    others = [address(f"192.{number}.0.1", 1000 + number) for number in range(4)]
    chosen = choose([*flood, *others], 5, random.Random(1))
    assert len(chosen) == 5
    assert set(others) <= set(chosen)
    assert choose([*flood, *others], 5, random.Random(1)) == chosen
    rest = choose([*flood, *others], 2, random.Random(2), taken=[flood[0], others[0], others[1]])
    assert set(rest) == {others[2], others[3]}


def test_a_peer_is_chosen_once() -> None:
    same = [address(f"192.{number}.0.1", 7) for number in range(5)]
    (only,) = choose(same, 3, random.Random(1))
    assert peer_of(only) == peer(7)
    assert choose(same, 3, random.Random(1), taken=[same[0]]) == ()
    assert choose([], 3, random.Random(1)) == ()
