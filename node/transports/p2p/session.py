"""One life of the libp2p host: opened, tended and closed. What fails ends it, and the supervisor opens another."""

import contextlib
import logging
import random
from collections.abc import Awaitable, Callable, Iterable, Sequence

import trio
from libp2p import new_host
from libp2p.abc import IHost, INetConn, INetStream, INetwork, INotifee
from libp2p.crypto.ed25519 import create_new_key_pair
from libp2p.crypto.keys import KeyPair
from libp2p.crypto.x25519 import create_new_key_pair as create_new_x25519_key_pair
from libp2p.custom_types import TProtocol
from libp2p.network.config import ConnectionConfig, RetryConfig
from libp2p.network.connection import swarm_connection
from libp2p.network.swarm import Swarm
from libp2p.peer.id import ID
from libp2p.rcmgr import Direction
from libp2p.rcmgr.manager import ResourceManager
from libp2p.security.noise.transport import PROTOCOL_ID as NOISE
from libp2p.security.noise.transport import Transport as NoiseTransport
from libp2p.stream_muxer.yamux.yamux import PROTOCOL_ID as YAMUX
from libp2p.stream_muxer.yamux.yamux import Yamux
from libp2p.tools.anyio_service import background_trio_service
from libp2p.utils.address_validation import get_available_interfaces
from multiaddr import Multiaddr  # type: ignore[import-untyped]  # it ships no types

from node.transports.base import Handlers, Limits, Selector, TransportError, Validator
from node.transports.p2p import lan, records, request
from node.transports.p2p.address import dialable
from node.transports.p2p.book import AddressBook
from node.transports.p2p.contain import Guard, calm_tasks, contain, identity_of
from node.transports.p2p.gossip import Gossip
from node.transports.p2p.listen import BoundedTCP
from node.transports.p2p.mux import bound_streams
from node.transports.p2p.records import Records
from node.transports.p2p.request import Asker

__all__ = ["Session", "key_pair"]

# Without a handler its warnings about strangers go to stderr; with LIBP2P_DEBUG set it has handlers of its own.
logging.getLogger("libp2p").addHandler(logging.NullHandler())
# One module logs by logging.debug() and so on, which gives the root logger a handler behind everybody's back.
swarm_connection.logging = logging.getLogger("libp2p.network.connection")  # type: ignore[attr-defined, assignment]

_CLOSING_S = 5.0
_TEND_S = 0.5
_DIALS = 4
_ADDRESS_TTL_S = 24 * 3600
_IDENTIFIED_S = 5.0
_SETTLING_S = 0.3


def key_pair(seed: bytes) -> KeyPair:
    """The Ed25519 key of a 32-byte seed. Raises TransportError for another length."""
    if len(seed) != 32:
        raise TransportError(f"an identity is a seed of 32 bytes, got {len(seed)}")
    return create_new_key_pair(seed)


def _new_host(keys: KeyPair, limits: Limits, tcp: BoundedTCP, advertised: Sequence[str]) -> IHost:
    most = limits.connections
    noise = NoiseTransport(keys, noise_privkey=create_new_x25519_key_pair().private_key)
    host = new_host(
        key_pair=keys,
        sec_opt={NOISE: noise},  # the library would add TLS, secio and plaintext
        muxer_opt={TProtocol(YAMUX): Yamux},
        transports=[tcp],
        connection_config=ConnectionConfig(
            max_connections=most,
            high_watermark=most,
            low_watermark=0,  # no dialling of its own: the book decides whom to call
            min_connections=0,
            dial_timeout=limits.deadline_s,
            inbound_upgrade_timeout=limits.deadline_s / 2,
            outbound_upgrade_timeout=limits.deadline_s / 2,
            inbound_stream_protocol_negotiation_timeout=max(1.0, limits.deadline_s / 2),
            outbound_stream_protocol_negotiation_timeout=max(1.0, limits.deadline_s / 2),
        ),
        # Its breaker and its rates are shared by all peers: strangers could trip them for everybody. We count before.
        resource_manager=ResourceManager(
            enable_metrics=False,
            enable_memory_limits=False,
            enable_circuit_breaker=False,
            enable_graceful_degradation=False,
            enable_rate_limiting=False,
        ),
        addrs_factory=_Advertised(advertised),
    )
    swarm = host.get_network()
    assert isinstance(swarm, Swarm)
    bound_streams(swarm.upgrader)
    # Whatever the watermarks, it would dial half of high_watermark from the addresses that strangers told of.
    swarm.auto_connector.maybe_connect = trio.lowlevel.checkpoint  # type: ignore[method-assign]
    swarm.retry_config = RetryConfig(max_retries=0)  # the book knows when to call again
    return host


class _Advertised:
    """The addresses to tell others: those given, or else those bound, with a wildcard spelt out by interface."""

    def __init__(self, given: Sequence[str]) -> None:
        self._given = [Multiaddr(text) for text in given]
        self._spelt: dict[str, list[Multiaddr]] = {}

    def __call__(self, bound: list[Multiaddr]) -> list[Multiaddr]:
        return self._given or [address for one in bound for address in self._spell(one)]

    def _spell(self, address: Multiaddr) -> list[Multiaddr]:
        text = str(address)
        family = next((part for part in ("/ip4/0.0.0.0/", "/ip6/::/") if text.startswith(part)), None)
        if family is None:
            return [address]
        if text not in self._spelt:
            found = get_available_interfaces(int(address.value_for_protocol("tcp")))
            same = [one for one in found if str(one).startswith(family[:5])]
            outside = [one for one in same if "/127." not in str(one) and "/::1/" not in str(one)]
            self._spelt[text] = outside or same
        return self._spelt[text]


class Session(INotifee):
    """Everything that lives and dies with one host. `run` is its life; the rest may be called while it is `up`."""

    def __init__(
        self,
        keys: KeyPair,
        limits: Limits,
        book: AddressBook,
        *,
        validator: Validator,
        selector: Selector,
        advertised: Sequence[str],
        rng: random.Random,
        lan_interfaces: Sequence[str] | None = None,
    ) -> None:
        """`lan_interfaces` are those to look at the local network by: none of them means all, None not at all."""
        self._limits = limits
        self._lan_interfaces = lan_interfaces
        self._book = book
        self._rng = rng
        self._tcp = BoundedTCP(
            # A quarter is kept for calls of our own: strangers who fill the rest cannot cut us off.
            inbound=max(1, limits.connections * 3 // 4),
            per_address=limits.connections_per_address,
        )
        self.host = _new_host(keys, limits, self._tcp, advertised)
        self._swarm = self.host.get_network()
        self.guard = Guard(per_peer=limits.streams_per_peer, bar=self._bar)
        few = max(2, limits.streams_per_peer // 4)
        half = max(1, limits.streams_per_peer // 2)
        contain(
            self.host,
            self.guard,
            most={
                records.PROTOCOL: (few, 2 * limits.deadline_s),
                str(request.PROTOCOL): (half, float("inf")),
            },
        )
        self.records = Records(self.host, limits, validator, selector, self._hear)
        self.gossip = Gossip(self.host, limits, self.guard)
        self.asker = Asker(self.host, limits)
        self.called = False
        """Whether anybody connected to us: then we can be reached."""
        self._look = trio.Event()
        self._dialling: set[str] = set()
        self._nursery: trio.Nursery | None = None

    async def run(
        self,
        listen: Sequence[str],
        handlers: Handlers,
        topics: Sequence[str],
        up: Callable[["Session"], None],
    ) -> None:
        """Listen and answer until cancelled. Raises TransportError naming the port where one cannot be bound."""
        self.host.set_stream_handler(
            request.PROTOCOL,
            lambda stream: request.answer_stream(stream, handlers, self._limits),
        )
        self._swarm.register_notifee(self)
        try:
            async with self.host.run(listen_addrs=[_multiaddr(text) for text in listen]):
                calm_tasks(self._swarm.get_manager(), self.guard.notes.append)
                self._check_bound(listen)
                async with (
                    background_trio_service(self.records.dht),
                    background_trio_service(self.gossip.pubsub),
                    background_trio_service(self.gossip.router),
                ):
                    await self.gossip.pubsub.wait_until_ready()
                    try:
                        await self._live(handlers, topics, up)
                    finally:
                        await self._hang_up()
        finally:
            self._tcp.abandon()

    async def _live(self, handlers: Handlers, topics: Sequence[str], up: Callable[["Session"], None]) -> None:
        async with trio.open_nursery() as nursery:
            self._nursery = nursery
            for topic in topics:
                nursery.start_soon(self.gossip.follow, topic, handlers)
            nursery.start_soon(self._tend)
            nursery.start_soon(self._look_around)
            if self._lan_interfaces is not None:
                nursery.start_soon(self._look_nearby, self._lan_interfaces)
            self._tcp.open.set()
            up(self)
            await self._swarm.get_manager().wait_finished()
            raise TransportError("libp2p's network ended by itself")

    def follow(self, topic: str, handlers: Handlers) -> None:
        """Subscribe from now on."""
        self.start(lambda: self.gossip.follow(topic, handlers))

    def start(self, work: Callable[[], Awaitable[None]]) -> None:
        """Run something for as long as the session lives. Raises TransportError once it does not."""
        if self._nursery is None or self._nursery.cancel_scope.cancel_called:
            raise TransportError("the transport is down")
        try:
            self._nursery.start_soon(work)
        except RuntimeError as error:  # the nursery has closed meanwhile
            raise TransportError("the transport is down") from error

    def addresses(self) -> tuple[str, ...]:
        """Where this node listens, as others are told."""
        return tuple(str(address) for address in self.host.get_addrs())

    def bound(self) -> tuple[str, ...]:
        """What is bound, so that the next session binds the same ports."""
        return tuple(
            str(address) for listener in self._tcp.listeners_now() for address in listener.get_addrs()
        )

    def peers(self) -> tuple[str, ...]:
        """Peers with an open connection."""
        return tuple(str(peer) for peer in self.host.get_connected_peers())

    async def reach(self, peer: str, addresses: Sequence[str] = ()) -> None:
        """Make sure of a connection, by one of the addresses or of those known. Raises what libp2p raised last."""
        if self._swarm.get_connections(identity_of(peer)):
            return
        failure: Exception = TransportError(f"no address of {peer} is known")
        for address in addresses or self._book.addresses(peer):
            try:
                # One address that swallows packets must not cost the time of the others.
                with trio.fail_after(self._limits.deadline_s / 2):
                    await self._dial(peer, address)
            except Exception as error:  # noqa: BLE001 - the next address may do; the last failure is raised
                failure = error
            else:
                self._book.reached(peer, address)
                return
        raise failure

    async def _dial(self, peer: str, address: str) -> None:
        identity = identity_of(peer)
        store = self.host.get_peerstore()
        # The library dials one address of a kind, the first it has: leave it only the one that is meant.
        store.clear_addrs(identity)
        target = Multiaddr(address)
        store.add_addrs(identity, [target], _ADDRESS_TTL_S)
        assert isinstance(self._swarm, Swarm)
        self._swarm._negative_peer_cache.evict(peer)
        await self._swarm.dial_addr(target, identity)

    def _hear(self, peer: str, addresses: Iterable[str]) -> None:
        self._learn(peer, addresses, hearsay=True)

    def _learn(self, peer: str, addresses: Iterable[str], *, hearsay: bool = False) -> None:
        # Names from strangers are left alone: to resolve one tells its owner who we are.
        texts = [text.split("/p2p/")[0] for text in addresses if dialable(text) and "/dns" not in text]
        if texts and peer != str(self.host.get_id()):
            self._book.learn(peer, texts, hearsay=hearsay)

    async def _tend(self) -> None:
        """Call again whom we lost, and call on those we hear of while there are few."""
        async with trio.open_nursery() as nursery:
            while True:
                await trio.sleep(_TEND_S)
                connected = set(self.peers())
                room = min(_DIALS, self._limits.connections // 4 - len(connected)) - len(self._dialling)
                due = self._book.due(trio.current_time(), connected | self._dialling)
                for peer in due[: max(0, room)]:
                    self._dialling.add(peer)
                    nursery.start_soon(self._call_again, peer)

    async def _call_again(self, peer: str) -> None:
        reached = False
        try:
            with trio.move_on_after(self._limits.deadline_s):
                await self.reach(peer)
                reached = True
        except Exception:  # noqa: BLE001, S110 - the book keeps count
            pass
        finally:
            self._dialling.discard(peer)
            if not reached:
                self._book.failed(peer, trio.current_time())

    async def _look_around(self) -> None:
        """After every new connection, once things have settled, look up the own id."""
        while True:
            await self._look.wait()
            await trio.sleep(_SETTLING_S)
            self._look = trio.Event()
            await _quietly(self.records.look_around)

    async def _look_nearby(self, interfaces: Sequence[str]) -> None:
        """Tell the local network of this node, and call on those it tells of."""
        me = str(self.host.get_id())
        await lan.look(me, self.addresses, interfaces, found=self._hear, note=self.guard.notes.append)

    async def _welcome(self, peer: ID) -> None:
        store = self.host.get_peerstore()
        with trio.move_on_after(_IDENTIFIED_S):
            while not _protocols(store, peer):
                await trio.sleep(0.05)
        if records.PROTOCOL in _protocols(store, peer):
            await self.records.welcome(peer)
        self._learn(str(peer), [str(address) for address in store.addrs(peer)])
        self._book.reached(str(peer))
        self._look.set()

    def _bar(self, peer: str) -> None:
        with contextlib.suppress(TransportError):  # the session is ending, and with it every connection
            self.start(lambda: self._part(identity_of(peer)))

    async def _part(self, peer: ID) -> None:
        with trio.move_on_after(_CLOSING_S):
            await _quietly(lambda: self.host.disconnect(peer))

    def _check_bound(self, listen: Sequence[str]) -> None:
        if len(self._tcp.listeners_now()) < len(listen) or not self.host.get_addrs():
            reasons = "; ".join(self._tcp.refusals) or ", ".join(listen)
            raise TransportError(f"cannot listen on {reasons}. Choose another port, or stop who holds it")

    async def _hang_up(self) -> None:
        """Close everything, politely for a while: the caller's cancellation must not leave sockets behind."""
        with trio.move_on_after(_CLOSING_S, shield=True):
            async with trio.open_nursery() as nursery:
                # host.close() takes 0.2 s a connection, one after the other: close them side by side before.
                for connection in self._swarm.get_connections():
                    nursery.start_soon(_quietly, connection.close)
            await _quietly(self.host.close)

    async def connected(self, network: INetwork, conn: INetConn) -> None:  # noqa: ARG002
        """A connection stands (called by libp2p)."""
        peer = conn.muxed_conn.peer_id
        if self.guard.marks.barred(str(peer), trio.current_time()):
            self.start(lambda: self._part(peer))
            return
        if getattr(conn, "direction", None) == Direction.INBOUND:
            self.called = True
        self._book.reached(str(peer))
        self.start(lambda: _quietly(lambda: self._welcome(peer)))

    async def disconnected(self, network: INetwork, conn: INetConn) -> None:  # noqa: ARG002
        """A connection ended (called by libp2p)."""
        peer = conn.muxed_conn.peer_id
        if not self._swarm.get_connections(peer):
            self.asker.forget(str(peer))
            self._book.lost(str(peer), trio.current_time())

    async def opened_stream(self, network: INetwork, stream: INetStream) -> None:
        """Nothing to do (called by libp2p)."""

    async def closed_stream(self, network: INetwork, stream: INetStream) -> None:
        """Nothing to do (called by libp2p)."""

    async def listen(self, network: INetwork, multiaddr: Multiaddr) -> None:
        """Nothing to do (called by libp2p)."""

    async def listen_close(self, network: INetwork, multiaddr: Multiaddr) -> None:
        """Nothing to do (called by libp2p)."""


def _protocols(store: object, peer: ID) -> list[str]:
    try:
        return list(store.get_protocols(peer))  # type: ignore[attr-defined]
    except Exception:  # noqa: BLE001 - an unknown peer
        return []


async def _quietly(work: Callable[[], Awaitable[None]]) -> None:
    with contextlib.suppress(Exception):
        await work()


def _multiaddr(text: str) -> Multiaddr:
    try:
        return Multiaddr(text)
    except Exception as error:
        raise TransportError(f"{text} is no multiaddr, such as /ip4/0.0.0.0/tcp/4001: {error}") from error
