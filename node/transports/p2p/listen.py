"""TCP for libp2p, with bounds in front of it: counted connections, ports that say why, sockets that end with the node.

Four habits of the library's own listener are the reason (py-libp2p 0.8.1). It binds with SO_REUSEPORT, so a port in
use goes unnoticed. It serves from a system task, where one exception ends the process. Its swarm holds the slot of an
inbound connection until the swarm ends, not until the connection does, so a node turns deaf after max_connections.
And it counts nothing before the handshake, which costs a stranger one packet and the node seconds.
"""

import contextlib
import ipaddress
import socket
import sys
from collections import Counter
from collections.abc import Callable

import trio
from libp2p.abc import IRawConnection
from libp2p.custom_types import THandler
from libp2p.io.trio import TrioTCPStream
from libp2p.network.connection.raw_connection import RawConnection
from libp2p.transport.exceptions import OpenConnectionError
from libp2p.transport.tcp.tcp import TCP, TCPListener
from multiaddr import Multiaddr  # type: ignore[import-untyped]  # it ships no types

__all__ = ["BoundedTCP", "prefix"]

# A peer that lost its power says nothing: after a minute of silence the kernel asks, and drops it in another half.
_KEEPALIVE = ((socket.TCP_KEEPIDLE, 60), (socket.TCP_KEEPINTVL, 10), (socket.TCP_KEEPCNT, 3))
_UNREAD_MS = 30_000
# Read at once where more than that is not asked for: 16 MiB for 64 connections that send faster than we read.
_AHEAD = 256 * 1024
_NOTHING = memoryview(b"")


def prefix(host: str) -> str:
    """What one operator surely holds of an address: all of an IPv4 one, the first 64 bits of an IPv6 one."""
    try:
        address = ipaddress.ip_address(host.partition("%")[0])
    except ValueError:
        return host
    if isinstance(address, ipaddress.IPv6Address):
        if address.ipv4_mapped is not None:
            return str(address.ipv4_mapped)
        return str(ipaddress.ip_network((address, 64), strict=False))
    return str(address)


class _Watched(TrioTCPStream):
    """A TCP stream that tells when it is closed, from whichever side."""

    def __init__(self, stream: trio.SocketStream, closed: Callable[["_Watched"], None]) -> None:
        super().__init__(stream)
        self._closed = closed
        self._ahead = _NOTHING

    async def read(self, n: int | None = None) -> bytes:
        """Up to `n` bytes, b"" at the end. Noise reads two bytes of length and then a message: one call for many."""
        if n is None:
            n = _AHEAD
        if not self._ahead and 0 < n < _AHEAD:
            self._ahead = memoryview(await super().read(_AHEAD))
        elif not self._ahead:
            return await super().read(n)
        part = bytes(self._ahead[:n])
        self._ahead = (
            self._ahead[len(part) :] or _NOTHING
        )  # a view of nothing would keep all that it is a view of
        return part

    async def close(self) -> None:
        try:
            await super().close()
        finally:
            self._closed(self)


class BoundedTCP(TCP):
    """libp2p's TCP transport with at most `inbound` accepted connections, `per_address` of them from one prefix.

    Nothing is accepted before `open` is set: the services that must hear of a connection start after the listener.
    """

    def __init__(self, *, inbound: int, per_address: int) -> None:
        super().__init__()
        self.open = trio.Event()
        self.refusals: list[str] = []
        self._inbound = inbound
        self._per_address = per_address
        self._accepted: Counter[str] = Counter()
        self._streams: set[_Watched] = set()
        self._listeners: list[_Listener] = []

    def create_listener(self, handler_function: THandler) -> TCPListener:
        """A listener that counts before it hands on."""
        listener = _Listener(handler_function, self)
        self._listeners.append(listener)
        return listener

    async def dial(self, maddr: Multiaddr) -> IRawConnection:
        """Dial as libp2p does, and remember the socket. Raises OpenConnectionError."""
        raw = await super().dial(maddr)
        # super().dial gives a RawConnection over a TrioTCPStream; only its socket is of interest.
        assert isinstance(raw, RawConnection)
        assert isinstance(raw.stream, TrioTCPStream)
        return RawConnection(self.watch(raw.stream.stream, self._streams.discard), initiator=True)

    def watch(self, stream: trio.SocketStream, closed: Callable[[_Watched], None]) -> _Watched:
        """The stream, remembered until it is closed, with the kernel asking after a silent peer."""
        stream.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
        for option, value in _KEEPALIVE:
            stream.setsockopt(socket.IPPROTO_TCP, option, value)
        if sys.platform == "linux":  # a peer that reads nothing must not hold writers for ever
            stream.setsockopt(socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT, _UNREAD_MS)
        watched = _Watched(stream, closed)
        self._streams.add(watched)
        return watched

    async def accept(self, handler: THandler, stream: trio.SocketStream) -> None:
        """Serve one accepted connection until it is closed; never raises but for cancellation."""
        try:
            host = prefix(stream.socket.getpeername()[0])
        except OSError:  # gone already
            return
        if self._accepted.total() >= self._inbound or self._accepted[host] >= self._per_address:
            return  # trio closes the socket of a handler that returns
        self._accepted[host] += 1
        try:
            with contextlib.suppress(
                Exception
            ):  # one bad peer: libp2p closed its side, and trio closes the socket
                await self._serve(handler, stream)
        finally:
            self._accepted[host] -= 1
            if not self._accepted[host]:
                del self._accepted[host]

    async def _serve(self, handler: THandler, stream: trio.SocketStream) -> None:
        await self.open.wait()
        with trio.CancelScope() as scope:
            # libp2p's handler waits for the end of the whole swarm; the connection's own end must free its slot.
            watched = self.watch(stream, lambda _: scope.cancel())
            try:
                await handler(watched)
            finally:
                self._streams.discard(watched)

    def listeners_now(self) -> list[TCPListener]:
        """Those that hold a socket."""
        return [listener for listener in self._listeners if listener.listeners]

    def abandon(self) -> None:
        """Close every socket at once, without a word to the peers: for the end, after all politeness."""
        for watched in tuple(self._streams):
            watched.stream.socket.close()
        self._streams.clear()
        for listener in self._listeners:
            for bound in listener.listeners:
                bound.socket.close()
        self._listeners.clear()


class _Listener(TCPListener):
    """Binds without SO_REUSEPORT, and serves from the swarm's own nursery."""

    # Set by Swarm.listen before it calls listen().
    background_nursery: trio.Nursery

    def __init__(self, handler_function: THandler, transport: BoundedTCP) -> None:
        super().__init__(handler_function)
        self._transport = transport
        self._scope = trio.CancelScope()
        self._ended = trio.Event()

    async def listen(self, maddr: Multiaddr) -> None:
        """Bind `maddr` and accept. Raises OpenConnectionError, which the transport keeps as a refusal."""
        try:
            port = int(maddr.value_for_protocol("tcp"))
            host = _host(maddr)
            bound = await trio.open_tcp_listeners(port, host=host)
        except (OSError, ValueError, LookupError) as error:
            reason = f"{maddr}: {error.strerror or error if isinstance(error, OSError) else error}"
            self._transport.refusals.append(reason)
            raise OpenConnectionError(reason) from error
        self.listeners.extend(bound)
        self.background_nursery.start_soon(self._accept, bound)

    async def _accept(self, bound: list[trio.SocketListener]) -> None:
        async def handle(stream: trio.SocketStream) -> None:
            await self._transport.accept(self.handler, stream)

        try:
            with self._scope:
                await trio.serve_listeners(handle, bound)
        finally:
            self._ended.set()

    async def close(self) -> None:
        """Stop accepting and close the sockets; the connections accepted so far end too."""
        self._scope.cancel()
        for bound in self.listeners:
            bound.socket.close()
        self.listeners.clear()
        with trio.move_on_after(1):
            await self._ended.wait()


def _host(maddr: Multiaddr) -> str:
    for name in ("ip4", "ip6"):
        if any(protocol.name == name for protocol in maddr.protocols()):
            return str(maddr.value_for_protocol(name))
    raise ValueError("an address to listen on starts with /ip4/ or /ip6/")
