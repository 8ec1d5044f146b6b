"""Peers of the same local network, by multicast DNS: this node's addresses announced, those of others heard.

Anybody on the network may announce anything, so what is heard is a rumour: parsed strictly, bounded in number and rate,
and handed on as addresses that may be called; the call itself proves the peer's id. python-zeroconf runs threads. They
hand over names through one small queue, and all of them end before `look` does.
"""

import contextlib
import ipaddress
import logging
import socket
from collections import deque
from collections.abc import Awaitable, Callable, Mapping, Sequence

import trio
from zeroconf import InterfaceChoice, IPVersion, ServiceBrowser, ServiceInfo, ServiceStateChange, Zeroconf

from node.transports.base import TransportError
from node.transports.p2p.address import split
from node.transports.p2p.contain import describe

__all__ = ["SERVICE", "announcement", "heard", "look"]

# Without a handler its warnings about strangers' packets go to stderr.
logging.getLogger("zeroconf").addHandler(logging.NullHandler())

SERVICE = "_eqmesh._tcp.local."
"""A change of what is announced is a new type of service."""

_MOST_ADDRESSES = 8
_MOST_PEERS = 256
_WAITING = 64
_PACE_S = 0.1
_ANSWER_MS = 1000
_CLOSING_S = 5.0
_AGAIN_S = 60.0
_TEXT_BYTES = 255

Properties = Mapping[bytes, bytes | None]
Found = Callable[[str, Sequence[str]], None]
"""Is told of a peer, and of addresses (without /p2p/ID) where it may be called."""


def announcement(me: str, addresses: Sequence[str]) -> ServiceInfo | None:
    """What a node says of itself: up to 8 of its addresses as text, numbered from 1; None where it has none over IP."""
    told = [text for text in addresses if len(f"1={text}") <= _TEXT_BYTES and _spot(text)][:_MOST_ADDRESSES]
    spots = [spot for text in told if (spot := _spot(text))]
    if not spots:
        return None
    return ServiceInfo(
        SERVICE,
        f"{me}.{SERVICE}",
        port=spots[0][1],
        parsed_addresses=list(dict.fromkeys(host for host, _ in spots)),
        properties={str(number): text for number, text in enumerate(told, start=1)},
        server=f"{me}.local.",
    )


def heard(name: str, properties: Properties) -> tuple[str, tuple[str, ...]] | None:
    """The peer and its addresses that an announcement under `name` tells of; None where it makes no sense.

    Every address must be of TCP over IP (a host name would have to be asked for, which tells others of us) and of the
    peer that the announcement is named after. At most 8 are read.
    """
    peer = name.removesuffix(f".{SERVICE}")
    addresses = []
    for number in range(1, _MOST_ADDRESSES + 1):
        try:
            bare, owner = split((properties.get(b"%d" % number) or b"").decode("ascii"))
        except (TransportError, UnicodeDecodeError):
            continue
        if owner == peer and _spot(bare):
            addresses.append(bare)
    return (peer, tuple(addresses)) if addresses else None


async def look(
    me: str,
    addresses: Callable[[], Sequence[str]],
    interfaces: Sequence[str],
    *,
    found: Found,
    note: Callable[[str], None],
) -> None:
    """Announce this node and tell of others until cancelled. Never raises: what fails is noted, and tried again.

    `interfaces` are IP addresses of this machine; all of its interfaces where there are none.
    """
    while True:
        try:
            await _look_once(me, addresses(), interfaces, found)
        except TransportError as error:
            note(f"local network: {error}")
        except Exception as error:  # noqa: BLE001 - sockets, strangers' packets, another's threads: never the node's end
            note(f"local network: {describe(error)}")
        await trio.sleep(_AGAIN_S)


async def _look_once(me: str, addresses: Sequence[str], interfaces: Sequence[str], found: Found) -> None:
    # Not to be abandoned at a cancellation, or nobody would close what is being opened; it takes milliseconds.
    zeroconf = await trio.to_thread.run_sync(_open, interfaces)
    browser: ServiceBrowser | None = None
    try:
        names = _Names()
        browser = await trio.to_thread.run_sync(
            lambda: ServiceBrowser(zeroconf, SERVICE, handlers=[names.hear])
        )
        info = announcement(me, addresses)
        if info is not None:
            await trio.to_thread.run_sync(
                lambda: zeroconf.register_service(info, cooperating_responders=True)
            )

        async def properties(name: str) -> Properties:
            return await trio.to_thread.run_sync(_properties, zeroconf, name)

        await _tell(me, names, properties, found)
    finally:
        with trio.move_on_after(_CLOSING_S, shield=True):
            await trio.to_thread.run_sync(_close, zeroconf, browser, abandon_on_cancel=True)


async def _tell(
    me: str, names: "_Names", properties: Callable[[str], Awaitable[Properties]], found: Found
) -> None:
    peers: set[str] = set()
    while True:
        name = await names.next()
        rumour = heard(name, await properties(name))
        if rumour is not None and rumour[0] != me and (rumour[0] in peers or len(peers) < _MOST_PEERS):
            peers.add(rumour[0])
            found(*rumour)
        await trio.sleep(_PACE_S)


class _Names:
    """Names heard by a thread and not yet looked at, the latest 64."""

    def __init__(self) -> None:
        self._names: deque[str] = deque(maxlen=_WAITING)
        self._token = trio.lowlevel.current_trio_token()
        self._wake = trio.Event()

    def hear(self, *, name: str, state_change: ServiceStateChange, **_: object) -> None:
        """Keep a name (called in a thread of zeroconf, at whatever rate strangers please)."""
        if state_change is ServiceStateChange.Removed:
            return
        self._names.append(name)
        with contextlib.suppress(trio.RunFinishedError):
            self._token.run_sync_soon(self._ring, idempotent=True)

    async def next(self) -> str:
        """The name that waited longest."""
        while not self._names:
            self._wake = trio.Event()
            if not self._names:  # else it came from the other thread meanwhile, and its ring woke nobody
                await self._wake.wait()
        return self._names.popleft()

    def _ring(self) -> None:
        self._wake.set()


def _open(interfaces: Sequence[str]) -> Zeroconf:
    if not interfaces:
        return Zeroconf(interfaces=InterfaceChoice.All, ip_version=IPVersion.V4Only)
    for address in interfaces:
        _check_ours(address)
    return Zeroconf(interfaces=list(interfaces))


def _check_ours(address: str) -> None:
    # zeroconf would say so too, and forget a socket of its own over it.
    try:
        family = socket.AF_INET if ipaddress.ip_address(address).version == 4 else socket.AF_INET6
        with socket.socket(family, socket.SOCK_DGRAM) as tried:
            tried.bind((address, 0))
    except (OSError, ValueError) as error:
        raise TransportError(
            f"no interface of this machine has {address} ({error}). Name IP addresses of its interfaces, or none"
        ) from error


def _close(zeroconf: Zeroconf, browser: ServiceBrowser | None) -> None:
    try:
        if browser is not None:
            browser.cancel()
    finally:
        zeroconf.close()


def _properties(zeroconf: Zeroconf, name: str) -> Properties:
    info = ServiceInfo(SERVICE, name)
    # It came with the name, unless a packet was lost.
    known = info.load_from_cache(zeroconf) or info.request(zeroconf, _ANSWER_MS)
    return info.properties if known else {}


def _spot(address: str) -> tuple[str, int] | None:
    """Host and port of a multiaddr of TCP over IP."""
    parts = address.split("/")
    if len(parts) < 5 or parts[1] not in ("ip4", "ip6") or parts[3] != "tcp":
        return None
    try:
        return str(ipaddress.ip_address(parts[2])), int(parts[4])
    except ValueError:
        return None
