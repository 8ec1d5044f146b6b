"""Lists of addresses to join a network by: read, checked, merged, and a varied few of them chosen. Pure.

An address is a multiaddr that ends in the id of the peer, such as /ip4/192.0.2.1/tcp/4001/p2p/12D3Koo... or
/dns4/seed.example.org/tcp/4001/p2p/12D3Koo... Whoever floods a list from one network gets one turn in each round of
the choice, not the whole of it.
"""

import ipaddress
import random
import re
from collections.abc import Iterable, Sequence

from node.errors import NodeError
from node.protocol.errors import ProtocolError
from node.protocol.identity import key_of
from node.transports.networks import prefix_of

__all__ = [
    "BUILT_IN",
    "AddressError",
    "choose",
    "merge",
    "parse",
    "peer_of",
    "prefix_of",
    "reachable",
    "read",
    "starting",
    "write",
]

BUILT_IN: tuple[str, ...] = ()
"""Addresses that come with the program. There are none: nobody runs a public bootstrap node yet."""

_MOST = 1024
_MOST_CHARACTERS = 256
_SHAPE = re.compile(r"/(ip4|ip6|dns|dns4|dns6)/([^/\s]+)/tcp/([1-9][0-9]{0,4})/p2p/([1-9A-HJ-NP-Za-km-z]+)")
_PLACE = re.compile(r"/(ip4|ip6|dns|dns4|dns6)/([^/\s]+)/tcp/([1-9][0-9]{0,4})")
_NAME = re.compile(r"(?!-)[A-Za-z0-9-]{1,63}(?<!-)(\.(?!-)[A-Za-z0-9-]{1,63}(?<!-))*\.?")


class AddressError(NodeError):
    """A text is no address of a peer."""


def parse(text: str) -> str:
    """The address in one spelling. Raises AddressError saying what is wrong with it.

    Refused beside what is malformed: port 0, the wildcard addresses, multicast.
    """
    text = text.strip()
    found = _SHAPE.fullmatch(text) if len(text) <= _MOST_CHARACTERS else None
    if found is None:
        raise AddressError(
            f"an address such as /ip4/192.0.2.1/tcp/4001/p2p/12D3Koo... was expected, got {text[:80]!r}."
        )
    kind, host, port, peer = found.groups()
    place = _place(kind, host, port, text)
    try:
        key_of(peer)
    except ProtocolError as error:
        raise AddressError(f"{text!r} does not end in a peer id: {error}") from error
    return f"{place}/p2p/{peer}"


def reachable(text: str) -> str:
    """The address of a place where others can call, without a peer id, in one spelling. Raises AddressError."""
    text = text.strip()
    found = _PLACE.fullmatch(text) if len(text) <= _MOST_CHARACTERS else None
    if found is None:
        raise AddressError(f"an address such as /ip4/203.0.113.7/tcp/4001 was expected, got {text[:80]!r}.")
    kind, host, port = found.groups()
    return _place(kind, host, port, text)


def _place(kind: str, host: str, port: str, text: str) -> str:
    if int(port) > 65535:
        raise AddressError(f"a port lies in [1, 65535], got {port} in {text!r}.")
    return f"/{kind}/{_host(kind, host, text)}/tcp/{port}"


def _host(kind: str, host: str, text: str) -> str:
    if kind.startswith("dns"):
        if not _NAME.fullmatch(host) or len(host) > 253:
            raise AddressError(f"{host!r} is no host name, in {text!r}.")
        return host.lower().rstrip(".")
    try:
        address: ipaddress.IPv4Address | ipaddress.IPv6Address = (
            ipaddress.IPv4Address(host) if kind == "ip4" else ipaddress.IPv6Address(host)
        )
    except ValueError as error:
        raise AddressError(f"{host!r} is no address of {kind}, in {text!r}.") from error
    if address.is_unspecified or address.is_multicast or "%" in host:
        raise AddressError(f"nobody can be called at {host}, in {text!r}.")
    return str(address)


def peer_of(address: str) -> str:
    """The peer id at the end of a parsed address."""
    return address.rpartition("/")[2]


def read(text: str) -> tuple[str, ...]:
    """The addresses of a list, one a line; blank lines and what follows a # are passed over.

    Raises AddressError naming the line. At most 1024 addresses are read.
    """
    found: list[str] = []
    for number, line in enumerate(text.splitlines(), start=1):
        bare = line.partition("#")[0].strip()
        if not bare:
            continue
        try:
            found.append(parse(bare))
        except AddressError as error:
            raise AddressError(f"line {number}: {error}") from error
    return merge(found)


def write(addresses: Iterable[str]) -> str:
    """A list as `read` reads it."""
    return "".join(f"{address}\n" for address in merge(addresses))


def merge(*lists: Iterable[str]) -> tuple[str, ...]:
    """All addresses once, in the order of the lists; at most 1024, so the lists that matter come first."""
    every = dict.fromkeys(address for each in lists for address in each)
    return tuple(every)[:_MOST]


def starting(
    named: Sequence[str], saved: Sequence[str], *, built_in: bool, shipped: Sequence[str] = BUILT_IN
) -> tuple[str, ...]:
    """Whom to call first: those that the user named, then those met before, then, unless switched off, those shipped.

    With `built_in` false no address that comes with the program is ever called.
    """
    return merge(named, saved, shipped if built_in else ())


def choose(
    addresses: Sequence[str], count: int, rng: random.Random, *, taken: Iterable[str] = ()
) -> tuple[str, ...]:
    """At most `count` addresses, of different peers and of networks as different as can be.

    Networks take turns in random order, those of the addresses in `taken` last; within a network the choice is random.
    """
    by_network: dict[str, list[str]] = {}
    for address in addresses:
        by_network.setdefault(prefix_of(address), []).append(address)
    used = [prefix_of(address) for address in taken]
    peers = {peer_of(address) for address in taken}
    turns = []
    for network in sorted(by_network):
        members = sorted(by_network[network])
        rng.shuffle(members)
        luck = rng.random()
        turns += [(used.count(network) + turn, luck, address) for turn, address in enumerate(members)]
    chosen: list[str] = []
    for _, _, address in sorted(turns):
        if len(chosen) < count and peer_of(address) not in peers:
            peers.add(peer_of(address))
            chosen.append(address)
    return tuple(chosen)
