"""What a mesh needs of a network, whatever carries it. Pure.

A transport moves bytes and knows peers by id; what the bytes mean and who is believed is decided above it. Every
input of a transport comes from strangers: it bounds sizes, counts and times, and hands on nothing it did not bound.
"""

from collections.abc import Awaitable, Callable, Sequence
from typing import Literal, Protocol

import msgspec

from node.errors import NodeError

__all__ = ["Handlers", "Limits", "Reachability", "Status", "Transport", "TransportError"]

Reachability = Literal["reachable", "outgoing only", "alone"]


class TransportError(NodeError):
    """The network, or the peer at its other end, did not do what was asked in the time and size allowed."""


class Limits(msgspec.Struct, frozen=True, kw_only=True):
    """Bounds that a transport holds against strangers.

    Connections and streams are counted before anything is parsed; `announcement_bytes` bounds one gossip message,
    `request_bytes` and `reply_bytes` one message of a stream, `record_bytes` one value of the DHT.
    """

    connections: int = 64
    connections_per_address: int = 8
    streams_per_peer: int = 16
    announcement_bytes: int = 8 * 1024
    request_bytes: int = 64 * 1024
    reply_bytes: int = 1024 * 1024 + 4096
    record_bytes: int = 64 * 1024
    announcements_per_s: float = 8.0
    deadline_s: float = 10.0


class Status(msgspec.Struct, frozen=True, kw_only=True):
    """How a transport fares: its addresses, the peers at the other end of open connections, and why it is not well.

    `lives` counts how often it came up so far. What it held of the DHT is gone each time: where the number has grown,
    whoever stored or provided something does so again.
    """

    addresses: tuple[str, ...] = ()
    peers: tuple[str, ...] = ()
    reachability: Reachability = "alone"
    trouble: str = ""
    lives: int = 0


class Handlers(Protocol):
    """Who answers strangers. Calls come one at a time for each stream; what raises costs the peer its stream."""

    async def announced(self, peer: str, topic: str, body: bytes) -> None:
        """`peer` signed an announcement."""

    async def requested(self, peer: str, body: bytes) -> bytes:
        """`peer` asks something; gives the answer, at most `Limits.reply_bytes`."""
        ...


Validator = Callable[[bytes, bytes], bool]
"""Whether a DHT value may stand under a key."""
Selector = Callable[[bytes, Sequence[bytes]], int]
"""Which of several valid values of a key to keep, by position."""


class Transport(Protocol):
    """One peer's way to the others. Every call raises TransportError, and none lasts longer than its deadline."""

    @property
    def me(self) -> str:
        """Own peer id: base58 of the multihash of the Ed25519 public key, as libp2p writes it."""
        ...

    def status(self) -> Status:
        """How things are now."""
        ...

    def known(self) -> tuple[str, ...]:
        """Addresses with /p2p/ID of peers that were reached or named, to be saved for the next start."""
        ...

    def contained(self) -> tuple[str, ...]:
        """Failures within the transport that were contained, the latest few, for the log."""
        ...

    async def serve(self, handlers: Handlers, ready: Callable[[], Awaitable[None]]) -> None:
        """Listen, keep connections alive and answer until cancelled; calls `ready` once when it can be reached."""

    async def connect(self, address: str) -> str:
        """Dial a multiaddress that ends in /p2p/ID; gives the peer's id, which must be ID."""
        ...

    async def announce(self, topic: str, body: bytes) -> None:
        """Tell everybody who listens to `topic`; paced, at most `Limits.announcements_per_s`."""

    async def subscribe(self, topic: str) -> None:
        """Hand announcements under `topic` to the handlers from now on."""

    async def request(self, peer: str, body: bytes, *, deadline_s: float | None = None) -> bytes:
        """Ask one peer over a pooled stream; gives its answer."""
        ...

    async def put(self, key: bytes, value: bytes) -> int:
        """Store a value in the DHT and read it back from the network; gives how many other peers hold it.

        Again whenever `Status.lives` grows: this peer has forgotten it then.
        """
        ...

    async def get(self, key: bytes) -> bytes | None:
        """The best valid value that the network has under a key; asks the network even where it is held here."""
        ...

    async def provide(self, key: bytes) -> None:
        """Say in the DHT that this peer has what `key` names; again whenever `Status.lives` grows."""

    async def providers(self, key: bytes) -> tuple[str, ...]:
        """Peers that say so, each once."""
        ...
