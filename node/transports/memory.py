"""A network in memory: lossy, slow, doubling, reordering and divided, all from one seed.

It runs the same code as a real network does, on any trio clock: under a mock clock a day passes in seconds. What is
lost and how late the rest comes is drawn for each sender from a stream of its own, so that it does not depend on the
order in which trio happens to run the tasks of others. Every peer lives in one process.
"""

import math
import random
from collections.abc import Awaitable, Callable, Iterable

import msgspec
import trio

from node.transports.base import (
    Handlers,
    Limits,
    Selector,
    Status,
    Transport,
    TransportError,
    Validator,
)

__all__ = ["MemoryNetwork", "MemoryTransport", "Traffic", "Weather"]


class Weather(msgspec.Struct, frozen=True, kw_only=True):
    """How the network behaves: shares of messages lost and doubled, and mean and longest delay in seconds.

    Delays are exponential, cut off at `longest_delay_s`; so messages overtake each other.
    """

    loss: float = 0.0
    doubling: float = 0.0
    delay_s: float = 0.05
    longest_delay_s: float = 2.0

    def __post_init__(self) -> None:
        if not 0 <= self.loss <= 1 or not 0 <= self.doubling <= 1:
            raise TransportError(
                f"shares of lost and doubled messages lie between 0 and 1, got {self.loss} and {self.doubling}."
            )
        if not 0 <= self.delay_s <= self.longest_delay_s < math.inf:
            raise TransportError(
                f"delays expect 0 <= delay_s <= longest_delay_s, got {self.delay_s} and {self.longest_delay_s}."
            )


class Traffic(msgspec.Struct, kw_only=True):
    """What one peer has sent: messages and bytes, lost ones included."""

    messages: int = 0
    bytes: int = 0


class MemoryNetwork:
    """All peers of one network; `seed` decides what is lost and how late the rest is.

    `validator` and `selector` rule over the DHT, which is one table here: routing is not what this network tries.
    """

    def __init__(
        self,
        seed: int,
        *,
        weather: Weather | None = None,
        limits: Limits | None = None,
        validator: Validator = lambda _key, _value: True,
        selector: Selector = lambda _key, values: len(values) - 1,
    ) -> None:
        self.weather = weather or Weather()
        self.limits = limits or Limits()
        self.seed = seed
        self._validator = validator
        self._selector = selector
        self._present: dict[str, MemoryTransport] = {}
        self._sides: dict[str, int] = {}
        self._records: dict[bytes, bytes] = {}
        self._holders: dict[bytes, dict[str, None]] = {}

    def join(self, peer: str) -> "MemoryTransport":
        """A transport for the peer of this id; it is on the network while it serves."""
        return MemoryTransport(self, peer)

    def divide(self, sides: Iterable[Iterable[str]]) -> None:
        """Let messages pass only between peers of one side; peers that are named nowhere share a side of their own."""
        self._sides = {peer: number for number, side in enumerate(sides, start=1) for peer in side}

    def heal(self) -> None:
        """Let all messages pass again."""
        self._sides = {}

    def reaches(self, one: str, other: str) -> bool:
        """Whether a message from one peer gets to another, loss aside."""
        here = one in self._present and other in self._present
        return here and self._sides.get(one, 0) == self._sides.get(other, 0)

    def others(self, peer: str) -> tuple[str, ...]:
        """Peers that a peer is connected to, sorted."""
        return tuple(other for other in sorted(self._present) if other != peer and self.reaches(peer, other))

    def _enter(self, transport: "MemoryTransport") -> None:
        if transport.me in self._present:
            raise TransportError(f"peer {transport.me} is on this network already.")
        self._present[transport.me] = transport

    def _leave(self, peer: str) -> None:
        self._present.pop(peer, None)
        for holders in self._holders.values():
            holders.pop(peer, None)

    def _store(self, key: bytes, value: bytes) -> None:
        kept = self._records.get(key)
        choice = [value] if kept is None else [kept, value]
        self._records[key] = choice[self._selector(key, choice)]


class MemoryTransport(Transport):
    """One peer's way to the others in a `MemoryNetwork`."""

    def __init__(self, network: MemoryNetwork, peer: str) -> None:
        self._network = network
        self._me = peer
        self._limits = network.limits
        self._handlers: Handlers | None = None
        self._nursery: trio.Nursery | None = None
        self._topics: set[str] = set()
        self._next_announcement = -math.inf
        self._rng = random.Random(f"eqmesh/memory/1\n{network.seed}\n{peer}")
        self.traffic = Traffic()
        self.refused: Exception | None = None  # what the last announcement that was refused led to

    @property
    def me(self) -> str:
        """Own peer id."""
        return self._me

    def status(self) -> Status:
        """How things are now: reachable as soon as there is anybody to reach."""
        peers = self._network.others(self._me) if self._nursery else ()
        return Status(
            addresses=(self._address(self._me),) if self._nursery else (),
            peers=peers,
            reachability="reachable" if peers else "alone",
            trouble="" if self._nursery else "this peer is not on the network",
            lives=1 if self._nursery else 0,
        )

    def known(self) -> tuple[str, ...]:
        """Nothing: nobody has to be called here."""
        return ()

    def contained(self) -> tuple[str, ...]:
        """Nothing: this network has no failures but those that were asked for."""
        return ()

    async def serve(self, handlers: Handlers, ready: Callable[[], Awaitable[None]]) -> None:
        """Be on the network until cancelled."""
        self._network._enter(self)
        self._handlers = handlers
        try:
            async with trio.open_nursery() as nursery:
                self._nursery = nursery
                await ready()
                await trio.sleep_forever()
        finally:
            self._nursery = None
            self._handlers = None
            self._network._leave(self._me)

    async def connect(self, address: str) -> str:
        """Check that the peer of `address` (/memory/p2p/ID) is there."""
        prefix, _, peer = address.rpartition("/")
        await trio.sleep(self._delay())
        if f"{prefix}/" != self._address("") or not self._network.reaches(self._me, peer):
            raise TransportError(
                f"nobody answers at {address}. Expected /memory/p2p/ID of a peer that is there."
            )
        return peer

    async def announce(self, topic: str, body: bytes) -> None:
        """Tell everybody who listens to `topic`."""
        self._sendable(body, self._limits.announcement_bytes)
        now = trio.current_time()
        self._next_announcement = max(now, self._next_announcement) + 1 / self._limits.announcements_per_s
        await trio.sleep(self._next_announcement - 1 / self._limits.announcements_per_s - now)
        for other in self._network.others(self._me):
            transport = self._network._present[other]
            if topic in transport._topics:
                self._count(body)
                for delay in self._copies():
                    transport._expect(delay, self._me, topic, body)

    async def subscribe(self, topic: str) -> None:
        """Hand announcements under `topic` to the handlers from now on."""
        self._topics.add(topic)

    async def request(self, peer: str, body: bytes, *, deadline_s: float | None = None) -> bytes:
        """Ask one peer; a lost question or answer shows as a deadline that passes."""
        self._sendable(body, self._limits.request_bytes)
        answer = b""
        with trio.move_on_after(self._limits.deadline_s if deadline_s is None else deadline_s) as waiting:
            await self._pass(self, peer, body)
            other = self._network._present[peer]
            answer = await other._answer(self._me, body)
            await other._pass(other, self._me, answer)
        if waiting.cancelled_caught:
            raise TransportError(f"peer {peer} did not answer in time.")
        return answer

    async def put(self, key: bytes, value: bytes) -> int:
        """Store a value; gives how many other peers are there to hold it."""
        self._sendable(value, self._limits.record_bytes)
        if not self._network._validator(key, value):
            raise TransportError("the network refuses this value under its key.")
        await trio.sleep(self._delay())
        self._count(value)
        self._network._store(key, value)
        return len(self._network.others(self._me))

    async def get(self, key: bytes) -> bytes | None:
        """The value under a key."""
        await trio.sleep(self._delay())
        return self._network._records.get(key)

    async def provide(self, key: bytes) -> None:
        """Say that this peer has what `key` names."""
        await trio.sleep(self._delay())
        self._network._holders.setdefault(key, {})[self._me] = None

    async def providers(self, key: bytes) -> tuple[str, ...]:
        """Other peers that say so and can be reached."""
        await trio.sleep(self._delay())
        holders = self._network._holders.get(key, {})
        return tuple(peer for peer in sorted(holders) if self._network.reaches(self._me, peer))

    async def _pass(self, sender: "MemoryTransport", peer: str, body: bytes) -> None:
        """Let a message travel; one that is lost never arrives."""
        sender._count(body)
        if not self._network.reaches(self._me, peer):
            raise TransportError(f"peer {peer} cannot be reached.")
        delays = self._copies()
        if not delays:
            await trio.sleep_forever()
        await trio.sleep(min(delays))
        if not self._network.reaches(self._me, peer):
            raise TransportError(f"the connection to peer {peer} broke.")

    async def _answer(self, peer: str, body: bytes) -> bytes:
        if self._handlers is None:
            raise TransportError(f"peer {self._me} is not there any more.")
        try:
            answer = await self._handlers.requested(peer, body)
        except Exception as error:
            # What a real stream shows of a handler that raises is a reset.
            raise TransportError(f"peer {self._me} reset the stream.") from error
        self._sendable(answer, self._limits.reply_bytes)
        return answer

    def _expect(self, delay: float, peer: str, topic: str, body: bytes) -> None:
        async def arrive() -> None:
            await trio.sleep(delay)
            if self._handlers is None or not self._network.reaches(peer, self._me):
                return
            try:
                await self._handlers.announced(peer, topic, body)
            except Exception as error:  # noqa: BLE001 - as on a real network: a bad announcement costs nobody anything
                self.refused = error

        if self._nursery is not None:
            self._nursery.start_soon(arrive)

    def _copies(self) -> list[float]:
        """Delays (seconds) after which a message arrives: none where it is lost, two where it is doubled."""
        weather = self._network.weather
        count = 0 if self._rng.random() < weather.loss else 1
        if self._rng.random() < weather.doubling:
            count += 1
        return [self._delay() for _ in range(count)]

    def _delay(self) -> float:
        weather = self._network.weather
        mean = weather.delay_s
        return min(weather.longest_delay_s, self._rng.expovariate(1 / mean)) if mean else 0.0

    def _sendable(self, body: bytes, most: int) -> None:
        if self._nursery is None:
            raise TransportError("this peer is not on the network.")
        if len(body) > most:
            raise TransportError(f"a message here has at most {most} bytes, got {len(body)}.")

    def _count(self, body: bytes) -> None:
        self.traffic.messages += 1
        self.traffic.bytes += len(body)

    @staticmethod
    def _address(peer: str) -> str:
        return f"/memory/p2p/{peer}"
