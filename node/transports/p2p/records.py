"""Records and providers in the Kademlia DHT, with the answers of the network rather than of this node.

py-libp2p tells nobody how many peers took a value, gives the local copy without asking, and lists a provider as often
as it heard of it. So a put is read back from each peer, a get asks each peer and lets the caller's selector choose
among all answers, and providers are told once. Values without a namespace, or of another one, are refused.
"""

import base64
import binascii
import contextlib
import hashlib
from collections.abc import Awaitable, Callable, Iterable

import trio
from libp2p.abc import IHost
from libp2p.kad_dht.kad_dht import DHTMode, KadDHT
from libp2p.kad_dht.pb.kademlia_pb2 import Record
from libp2p.kad_dht.provider_store import ProviderStore
from libp2p.kad_dht.value_store import ValueStore
from libp2p.peer.id import ID
from libp2p.peer.peerinfo import PeerInfo
from libp2p.records.validator import NamespacedValidator
from libp2p.records.validator import Validator as KadValidator

from node.transports.base import Limits, Selector, TransportError, Validator

__all__ = ["PROTOCOL", "Records", "key_of", "name_of"]

PROTOCOL = "/ipfs/kad/1.0.0"
"""What the library speaks, whatever prefix it is given."""

_NAMESPACE = "eqmesh"
_KEY_BYTES = 80  # libp2p asks for names of at most 128 bytes
_CLOSEST = 20
_RECORDS = 8192
_RECORDS_BYTES = 64 * 1024 * 1024
_PROVIDED_KEYS = 8192
_PROVIDERS = 64
# The library serves 12 DHT streams at a time and resets the others: fewer than a few idle peers may hold.
_STREAMS = 64

Learn = Callable[[str, Iterable[str]], None]


def name_of(key: bytes) -> str:
    """The key as the DHT knows it: /eqmesh/ and URL-safe base64, unpadded. Raises TransportError above 80 bytes."""
    if not 0 < len(key) <= _KEY_BYTES:
        raise TransportError(f"a DHT key has 1 to {_KEY_BYTES} bytes, this one has {len(key)}")
    return f"/{_NAMESPACE}/{base64.urlsafe_b64encode(key).rstrip(b'=').decode()}"


def key_of(name: str) -> bytes | None:
    """The key that `name_of` named so; None for every other name, other spellings of a key included."""
    text = name.removeprefix(f"/{_NAMESPACE}/")
    try:
        key = base64.urlsafe_b64decode(text + "=" * (-len(text) % 4))
        return key if name_of(key) == name else None
    except (binascii.Error, ValueError, TransportError):
        return None


class _Checked(KadValidator):
    """The caller's validator and selector, as libp2p calls them: it refuses by raising, and cannot raise otherwise."""

    def __init__(self, limits: Limits, validator: Validator, selector: Selector) -> None:
        self._limits = limits
        self._validator = validator
        self._selector = selector

    def accepts(self, key: bytes, value: bytes) -> bool:
        """Whether the value may stand under the key; a validator that raises says no."""
        if not 0 < len(value) <= self._limits.record_bytes:
            return False
        try:
            return self._validator(key, value) is True
        except Exception:  # noqa: BLE001 - the validator reads what strangers wrote
            return False

    def best(self, key: bytes, values: list[bytes]) -> int:
        """Position of the value to keep; the first where the selector fails."""
        try:
            position = self._selector(key, values)
        except Exception:  # noqa: BLE001 - as above
            return 0
        return position if 0 <= position < len(values) else 0

    def validate(self, key: str, value: bytes) -> None:
        """Raise ValueError for a value that may not stand under the key."""
        bare = key_of(key)
        if bare is None or not self.accepts(bare, value):
            raise ValueError("refused")

    def select(self, key: str, values: list[bytes]) -> int:
        """Position of the value to keep."""
        bare = key_of(key)
        return 0 if bare is None else self.best(bare, values)


class _BoundedValues(ValueStore):
    """At most 8192 records and 64 MiB; the oldest of others goes first. The library would hold 50,000 of any size."""

    held_bytes = 0

    def _evict_if_full(self) -> None:
        while self.store and (len(self.store) >= _RECORDS or self.held_bytes >= _RECORDS_BYTES):
            oldest = next((key for key in self.store if key not in self.local_keys), next(iter(self.store)))
            self.remove(oldest)

    def put(self, key: bytes, value: bytes, validity: float = 0.0) -> None:
        self.remove(key)  # so that the order of the dict is the order of age
        super().put(key, value, validity)
        self.held_bytes += len(value)

    def put_record(self, key: bytes, record: Record) -> None:
        self.remove(key)
        super().put_record(key, record)
        self.held_bytes += len(record.value)

    def remove(self, key: bytes) -> bool:
        held = self.store.get(key)
        if held is not None:
            self.held_bytes -= len(held[0].value)
        return super().remove(key)

    def cleanup_expired(self) -> int:
        gone = super().cleanup_expired()
        self.held_bytes = sum(len(record.value) for record, _ in self.store.values())
        return gone


class _BoundedProviders(ProviderStore):
    """At most 8192 keys, each with the library's 20 providers; the oldest key goes first."""

    def add_provider(self, key: bytes, provider: PeerInfo) -> None:
        while key not in self.providers and len(self.providers) >= _PROVIDED_KEYS:
            del self.providers[next(iter(self.providers))]
        super().add_provider(key, provider)


class Records:
    """The DHT of one host. Calls take as long as the network does: the caller sets the deadline."""

    def __init__(
        self, host: IHost, limits: Limits, validator: Validator, selector: Selector, learn: Learn
    ) -> None:
        self._host = host
        self._me = host.get_id()
        self._checked = _Checked(limits, validator, selector)
        # A third of the deadline for finding peers, a third for each of them, so that a dead one costs no answer.
        self._patience_s = limits.deadline_s / 3
        self._learn = learn
        self.dht = KadDHT(
            host,
            DHTMode.SERVER,
            validator=NamespacedValidator({_NAMESPACE: self._checked}, strict_validation=True),
            validator_changed=True,
            strict_validation=True,
        )
        self.dht.value_store = self._values = _BoundedValues(host, self._me)
        self.dht.provider_store = self._providers = _BoundedProviders(host, self.dht.peer_routing)
        self.dht._inbound_limiter = trio.CapacityLimiter(_STREAMS)

    async def put(self, key: bytes, value: bytes) -> int:
        """Store here and at the closest peers; gives how many of those returned exactly this value when asked.

        Raises TransportError for a value that the validator refuses, or while a better one is held here.
        """
        name = name_of(key).encode()
        if not self._checked.accepts(key, value):
            raise TransportError("the validator refuses this value: no peer would keep it")
        held = self._values.get(name)
        if held is not None and held.value != value and self._checked.best(key, [value, held.value]) != 0:
            raise TransportError("a better value is held under this key already: read it first")
        self._values.put(name, value)
        holders: list[ID] = []

        async def store(peer: ID) -> None:
            await self._values._store_at_peer(peer, name, value)
            found = await self._values._get_from_peer(peer, name)
            if found == value:
                holders.append(peer)

        await self._each(await self._closest(name), store)
        return len(holders)

    async def get(self, key: bytes) -> bytes | None:
        """The best valid value of all that the closest peers, and this node, hold under the key."""
        name = name_of(key).encode()
        values: list[bytes] = []

        async def ask(peer: ID) -> None:
            found = await self._values._get_from_peer(peer, name)
            if isinstance(found, bytes) and self._checked.accepts(key, found) and found not in values:
                values.append(found)

        await self._each(await self._closest(name), ask)
        held = self._values.get(name)
        if held is not None and held.value not in values:
            values.insert(0, held.value)
        if not values:
            return None
        best = values[self._checked.best(key, values)]
        if held is None or held.value != best:
            self._keep(name, best)
        return best

    async def provide(self, key: bytes) -> None:
        """Say that this peer has what the key names. Raises TransportError where no connected peer took it."""
        told = await self._providers.provide(_content(key))
        if not told and self._host.get_connected_peers():
            raise TransportError("no peer took the provider record")

    async def providers(self, key: bytes) -> tuple[str, ...]:
        """Other peers that say so, each once, at most 64; their addresses are learned on the way."""
        content = _content(key)
        found: dict[str, None] = {}

        def add(providers: Iterable[PeerInfo]) -> None:
            for info in providers:
                if info.peer_id != self._me and len(found) < _PROVIDERS:
                    found[str(info.peer_id)] = None
                    self._learn(str(info.peer_id), [str(address) for address in info.addrs])

        async def ask(peer: ID) -> None:
            providers, _ = await self._providers._get_providers_from_peer_with_closers(peer, content)
            add(providers)

        add(self._providers.get_providers(content))
        await self._each(await self._closest(content), ask)
        return tuple(found)

    async def look_around(self) -> None:
        """Look up the own id: fills the routing table after the first connections, and learns of peers on the way."""
        with trio.move_on_after(2 * self._patience_s):
            await self.dht.peer_routing.find_closest_peers_network(self._me.to_bytes())
        for peer in self.dht.routing_table.get_peer_ids():
            info = self.dht.routing_table.get_peer_info(peer)
            if info is not None and peer != self._me:
                self._learn(str(peer), [str(address) for address in info.addrs])

    async def welcome(self, peer: ID) -> None:
        """A peer connected that speaks the DHT's protocol: it belongs into the routing table."""
        await self.dht.add_peer(peer)

    def _keep(self, name: bytes, value: bytes) -> None:
        # Not put(): that would make it a record of our own, republished by the library for ever.
        record = Record(key=name, value=value)
        self._values.put_record(name, record)

    async def _closest(self, name: bytes) -> list[ID]:
        found: list[ID] = []
        with trio.move_on_after(self._patience_s):
            found = await self.dht.peer_routing.find_closest_peers_network(name, _CLOSEST)
        if not found:
            found = [
                *self.dht.routing_table.find_local_closest_peers(name, _CLOSEST),
                *self._host.get_connected_peers(),
            ]
        return [peer for peer in dict.fromkeys(found) if peer != self._me][:_CLOSEST]

    async def _each(self, peers: list[ID], work: Callable[[ID], Awaitable[None]]) -> None:
        async def one(peer: ID) -> None:
            with trio.move_on_after(self._patience_s):
                with contextlib.suppress(Exception):  # one peer's answer; the others' count
                    await work(peer)

        async with trio.open_nursery() as nursery:
            for peer in peers:
                nursery.start_soon(one, peer)


def _content(key: bytes) -> bytes:
    # Provider keys are multihashes: 0x12 is SHA-256, 0x20 its length.
    return b"\x12\x20" + hashlib.sha256(f"/{_NAMESPACE}/".encode() + key).digest()
