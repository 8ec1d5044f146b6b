"""The mesh over libp2p: TCP, Noise and Yamux; gossipsub, Kademlia, and questions over streams of our own.

Importing this takes a second or two and 87 MB: import it only where a mesh is asked for. Faults of the network are
"network down", never "search down": the host runs in a nursery of its own and is started again when it dies.
"""

import random
from collections.abc import Awaitable, Callable, Sequence
from typing import TypeVar

import trio
from libp2p.peer.id import ID

from node.errors import leaves
from node.transports.base import Handlers, Limits, Reachability, Selector, Status, TransportError, Validator
from node.transports.p2p.address import split
from node.transports.p2p.book import AddressBook, back_off_s
from node.transports.p2p.contain import only_ours
from node.transports.p2p.session import Session, key_pair

__all__ = ["Libp2p"]

_STEADY_S = 60.0

Result = TypeVar("Result")


class Libp2p:
    """A `Transport` over real sockets. `serve` must be running for the other calls to do anything."""

    def __init__(
        self,
        seed: bytes,
        listen: Sequence[str],
        *,
        validator: Validator,
        selector: Selector,
        rng: random.Random,
        limits: Limits | None = None,
        known: Sequence[str] = (),
        advertised: Sequence[str] = (),
        lan: bool = False,
        lan_interfaces: Sequence[str] = (),
    ) -> None:
        """Nothing is opened yet.

        `seed` is the 32 bytes of an Ed25519 key; `listen` are multiaddrs such as /ip4/0.0.0.0/tcp/4001, port 0 for any;
        `known` are addresses with /p2p/ID to call from the start; `advertised` replaces the addresses that are told
        to others, for a node behind a forwarded port. With `lan` this node announces itself on the local network and
        calls those that it finds there; `lan_interfaces` are the IP addresses of this machine to do so on, all of them
        where there are none. `validator` and `selector` judge DHT values, `rng` spreads
        retries. Raises TransportError for a seed of another length or an address without a peer id.
        """
        self._keys = key_pair(seed)
        self._me = str(ID.from_pubkey(self._keys.public_key))
        self._listen = tuple(listen)
        self._validator = validator
        self._selector = selector
        self._rng = rng
        self._limits = limits or Limits()
        self._advertised = tuple(advertised)
        self._lan_interfaces = tuple(lan_interfaces) if lan else None
        self._book = AddressBook(rng)
        for address in known:
            bare, peer = split(address)
            self._book.learn(peer, [bare], named=True)
        self._topics: dict[str, None] = {}
        self._handlers: Handlers | None = None
        self._session: Session | None = None
        self._trouble = "not started"
        self._called = False
        self._lives = 0

    @property
    def me(self) -> str:
        """Own peer id, base58."""
        return self._me

    def status(self) -> Status:
        """Addresses, connected peers, reachability, and why the transport is down, or alone, if it is."""
        session = self._session
        if session is None:
            return Status(trouble=self._trouble, lives=self._lives)
        peers = session.peers()
        self._called = self._called or session.called
        reachability: Reachability = "alone"
        if peers:
            reachability = "reachable" if self._called else "outgoing only"
        silent = 0 if peers else self._book.silent()
        return Status(
            addresses=session.addresses(),
            peers=peers,
            reachability=reachability,
            trouble=f"no answer from any of {silent} known peers; they are called again" if silent else "",
            lives=self._lives,
        )

    def known(self) -> tuple[str, ...]:
        """Addresses with /p2p/ID of peers that were reached or named, to be saved for the next start."""
        return self._book.known()

    def marks(self) -> dict[str, tuple[int, str]]:
        """What peers did wrong on the wire since the transport started: how often, and the last of it."""
        session = self._session
        return session.guard.marks.seen() if session else {}

    def contained(self) -> tuple[str, ...]:
        """Failures within libp2p that were contained and are held against nobody, the latest 64, for the log."""
        session = self._session
        return tuple(session.guard.notes) if session else ()

    async def serve(self, handlers: Handlers, ready: Callable[[], Awaitable[None]]) -> None:
        """Listen and answer until cancelled; calls `ready` once.

        Raises TransportError where the first start fails, naming the port. Later failures are put in
        `status().trouble`, and the host is started again with back-off, on the same ports.
        """
        if self._handlers is not None:
            raise TransportError("this transport is being served already")
        self._handlers = handlers
        failure: BaseException | None = None
        try:
            async with trio.open_nursery() as nursery:
                await nursery.start(self._supervise, handlers)
                await ready()
        except* TransportError as group:
            failure, *_ = leaves(group)
        finally:
            self._handlers = None
            self._session = None
            self._trouble = "stopped" if failure is None else str(failure)
        if failure is not None:
            raise failure

    async def connect(self, address: str) -> str:
        """Dial a multiaddr that ends in /p2p/ID; gives ID. The peer is called again whenever it is lost."""
        bare, peer = split(address)
        if peer == self._me:
            raise TransportError(f"{address} is this node itself")
        self._book.learn(peer, [bare], named=True)
        await self._call(f"connect to {address}", lambda session: session.reach(peer, [bare]))
        return peer

    async def announce(self, topic: str, body: bytes) -> None:
        """Publish under a topic, when its turn has come."""
        await self._call(f"announce under {topic}", lambda session: session.gossip.announce(topic, body))

    async def subscribe(self, topic: str) -> None:
        """Follow a topic from now on, over restarts too; before `serve` it is remembered."""
        if topic in self._topics:
            return
        self._topics[topic] = None
        if self._session is not None and self._handlers is not None:
            self._session.follow(topic, self._handlers)

    async def request(self, peer: str, body: bytes, *, deadline_s: float | None = None) -> bytes:
        """Ask a peer; connects where there is an address but no connection. The question can arrive twice."""

        async def ask(session: Session) -> bytes:
            await session.reach(peer)
            return await session.asker.ask(peer, body)

        return await self._call(f"ask {peer}", ask, deadline_s=deadline_s)

    async def put(self, key: bytes, value: bytes) -> int:
        """Store a record; gives how many other peers returned it when asked afterwards."""
        return await self._call("put a record", lambda session: session.records.put(key, value))

    async def get(self, key: bytes) -> bytes | None:
        """The best valid record of the network under a key."""
        return await self._call("get a record", lambda session: session.records.get(key))

    async def provide(self, key: bytes) -> None:
        """Say that this peer has what the key names."""
        await self._call("provide", lambda session: session.records.provide(key))

    async def providers(self, key: bytes) -> tuple[str, ...]:
        """Other peers that say so, each once."""
        return await self._call("find providers", lambda session: session.records.providers(key))

    async def _supervise(
        self, handlers: Handlers, *, task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED
    ) -> None:
        started = False
        attempts = 0

        def up(session: Session) -> None:
            nonlocal started
            self._session, self._trouble = session, ""
            self._lives += 1
            self._listen = session.bound()
            if not started:
                started = True
                task_status.started()

        while True:
            began = trio.current_time()
            try:
                with only_ours("the libp2p host"):
                    await self._new_session().run(self._listen, handlers, tuple(self._topics), up)
            except TransportError as error:
                self._trouble = str(error)
                if not started:
                    raise
            finally:
                self._session = None
            attempts = 0 if trio.current_time() - began > _STEADY_S else attempts + 1
            await trio.sleep(back_off_s(attempts, self._rng))

    def _new_session(self) -> Session:
        return Session(
            self._keys,
            self._limits,
            self._book,
            validator=self._validator,
            selector=self._selector,
            advertised=self._advertised,
            rng=self._rng,
            lan_interfaces=self._lan_interfaces,
        )

    async def _call(
        self,
        doing: str,
        work: Callable[[Session], Awaitable[Result]],
        *,
        deadline_s: float | None = None,
    ) -> Result:
        """Run `work` within the session's own nursery, and wait for it no longer than the deadline.

        Not in the caller's task: libp2p shields some of its cleaning up without a deadline of its own.
        """
        session = self._session
        if session is None:
            raise TransportError(f"{doing}: the transport is down ({self._trouble})")
        seconds = self._limits.deadline_s if deadline_s is None else deadline_s
        results: list[Result] = []
        failures: list[TransportError] = []
        done = trio.Event()
        scope = trio.CancelScope()

        async def run() -> None:
            try:
                with scope, only_ours(doing):
                    results.append(await work(session))
            except TransportError as error:
                failures.append(error)
            finally:
                done.set()

        session.start(run)
        try:
            with trio.move_on_after(seconds):
                await done.wait()
        finally:
            scope.cancel()
        if results:
            return results[0]
        if failures:
            raise failures[0]
        if done.is_set():
            raise TransportError(f"{doing}: the transport ended meanwhile")
        raise TransportError(f"{doing}: no answer within {seconds:g} s")
