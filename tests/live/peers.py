"""Peers on loopback: our transport with a listener that remembers, and plain py-libp2p as a stranger."""

import random
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field

import trio
from libp2p import new_host
from libp2p.abc import IHost
from libp2p.peer.id import ID
from libp2p.peer.peerinfo import info_from_p2p_addr
from multiaddr import Multiaddr

from node.transports.base import Limits
from node.transports.p2p.transport import Libp2p

LOOPBACK = "/ip4/127.0.0.1/tcp/0"


@dataclass
class Heard:
    """Handlers that remember announcements and answer with the question, reversed."""

    announcements: list[tuple[str, str, bytes]] = field(default_factory=list)
    requests: list[tuple[str, bytes]] = field(default_factory=list)
    answer: Callable[[bytes], bytes] = lambda body: body[::-1]

    async def announced(self, peer: str, topic: str, body: bytes) -> None:
        self.announcements.append((peer, topic, body))

    async def requested(self, peer: str, body: bytes) -> bytes:
        self.requests.append((peer, body))
        return self.answer(body)


@dataclass
class Peer:
    """A transport being served, what it heard, and a way to stop it."""

    transport: Libp2p
    heard: Heard
    scope: trio.CancelScope
    gone: trio.Event

    @property
    def address(self) -> str:
        return self.transport.status().addresses[0]

    @property
    def port(self) -> int:
        return int(self.address.split("/")[4])

    async def stop(self) -> None:
        self.scope.cancel()
        await self.gone.wait()


def is_even(key: bytes, value: bytes) -> bool:
    """A validator for tests: values end in an even byte; it raises for `raise`."""
    if value.startswith(b"raise"):
        raise RuntimeError("a validator with a bug")
    return value[-1] % 2 == 0


def longest(key: bytes, values: Sequence[bytes]) -> int:
    """A selector for tests."""
    return max(range(len(values)), key=lambda position: len(values[position]))


def transport(number: int, listen: str = LOOPBACK, **changes: object) -> Libp2p:
    """A transport of a peer that its number makes the same every time."""
    values: dict[str, object] = {
        "validator": is_even,
        "selector": longest,
        "rng": random.Random(number),
        "limits": Limits(connections_per_address=32, deadline_s=6.0),
    }
    return Libp2p(bytes([number]) * 32, [listen], **(values | changes))  # type: ignore[arg-type]


async def start(nursery: trio.Nursery, made: Libp2p, heard: Heard | None = None) -> Peer:
    """Serve a transport until its `stop`."""
    peer = Peer(made, heard or Heard(), trio.CancelScope(), trio.Event())

    async def run(task_status: trio.TaskStatus[None]) -> None:
        async def ready() -> None:
            task_status.started()

        try:
            with peer.scope:
                await made.serve(peer.heard, ready)
        finally:
            peer.gone.set()

    await nursery.start(run)
    return peer


@asynccontextmanager
async def mesh(count: int, *, joined: bool = True, **changes: object) -> AsyncIterator[list[Peer]]:
    """So many peers; each connected to the first where `joined`."""
    async with trio.open_nursery() as nursery:
        peers = [await start(nursery, transport(number + 1, **changes)) for number in range(count)]
        if joined:
            for peer in peers[1:]:
                await peer.transport.connect(peers[0].address)
        yield peers
        for peer in peers:
            await peer.stop()


async def until(condition: Callable[[], object], seconds: float = 8.0) -> None:
    """Wait until it holds; fails after so many seconds."""
    with trio.fail_after(seconds):
        while not condition():
            await trio.sleep(0.02)


@asynccontextmanager
async def stranger(**options: object) -> AsyncIterator[IHost]:
    """Plain py-libp2p, as anybody may run it."""
    host = new_host(**options)  # type: ignore[arg-type]
    async with host.run(listen_addrs=[Multiaddr(LOOPBACK)]):
        try:
            yield host
        finally:
            with trio.move_on_after(3, shield=True):
                await host.close()


async def meet(host: IHost, peer: Peer) -> ID:
    """Connect a stranger to a peer; gives the peer's id."""
    info = info_from_p2p_addr(Multiaddr(peer.address))
    await host.connect(info)
    return info.peer_id
