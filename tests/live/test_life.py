"""Starting, stopping, losing each other and finding each other again."""

import socket
import sys
from pathlib import Path

import pytest
import trio

from node.transports.base import Limits, TransportError
from tests.live.peers import Heard, mesh, start, transport, until

pytestmark = pytest.mark.live


def open_sockets() -> set[str]:
    """Sockets that this process holds, as the kernel names them."""
    found = set()
    for entry in Path("/proc/self/fd").iterdir():
        try:
            target = str(entry.readlink())
        except OSError:
            continue
        if target.startswith("socket:"):
            found.add(target)
    return found


async def test_a_port_in_use_is_named() -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        made = transport(1, f"/ip4/127.0.0.1/tcp/{port}")

        async def ready() -> None:
            raise AssertionError("it cannot be ready")

        with pytest.raises(TransportError, match=rf"tcp/{port}.*in use"):
            await made.serve(Heard(), ready)


async def test_another_peers_port_in_use_is_named() -> None:
    async with mesh(1) as (
        one,
    ):  # the library would share the port by SO_REUSEPORT, and lose half of the calls
        with pytest.raises(TransportError, match=rf"tcp/{one.port}.*in use"):
            await transport(2, f"/ip4/127.0.0.1/tcp/{one.port}").serve(Heard(), trio.lowlevel.checkpoint)


@pytest.mark.parametrize("listen", ["nonsense", "/ip4/127.0.0.1/udp/4001/quic-v1", "/ip4/192.0.2.1/tcp/4001"])
async def test_an_address_that_cannot_be_bound(listen: str) -> None:
    with pytest.raises(TransportError, match=listen):
        await transport(1, listen).serve(Heard(), trio.lowlevel.checkpoint)


async def test_wrong_peer_id_is_refused() -> None:
    async with mesh(2, joined=False) as (one, two):
        wrong = two.address.replace(two.transport.me, transport(9).me)
        with pytest.raises(TransportError, match="Mismatch"):
            await one.transport.connect(wrong)
        assert one.transport.status().peers == ()
        assert await one.transport.connect(two.address) == two.transport.me
        for bad in ("", "/ip4/127.0.0.1/tcp/1", "/p2p/x", "rubbish", f"{two.address}x"):
            with pytest.raises(TransportError, match="was expected"):
                await one.transport.connect(bad)
        with pytest.raises(TransportError, match="this node itself"):
            await one.transport.connect(one.address)


async def test_shutdown_leaves_no_socket() -> None:
    before = open_sockets()
    async with mesh(3) as peers:
        await until(lambda: len(peers[2].transport.status().peers) == 2)
        ports = [peer.port for peer in peers]
        assert open_sockets() - before
    assert not open_sockets() - before
    for port in ports:
        with pytest.raises(ConnectionRefusedError):
            socket.create_connection(("127.0.0.1", port), timeout=1)
    with pytest.raises(TransportError, match="down"):
        await peers[0].transport.announce("news", b"")


async def test_reachability() -> None:
    async with mesh(2) as (one, two):
        await until(lambda: one.transport.status().peers)
        assert one.transport.status().reachability == "reachable"
        assert two.transport.status().reachability in ("outgoing only", "reachable")
        assert one.transport.me in one.address
        await until(one.transport.known)
        assert one.transport.known() == (two.address,)


async def test_reconnects_after_the_other_side_restarts() -> None:
    async with trio.open_nursery() as nursery:
        one = await start(nursery, transport(1))
        two = await start(nursery, transport(2))
        await two.transport.subscribe("news")
        await two.transport.connect(one.address)
        assert await two.transport.request(one.transport.me, b"ab") == b"ba"
        port = one.port
        await one.stop()
        await until(lambda: not two.transport.status().peers)
        with pytest.raises(TransportError):
            await two.transport.request(one.transport.me, b"ab", deadline_s=1)
        again = await start(nursery, transport(1, f"/ip4/127.0.0.1/tcp/{port}"))
        await until(lambda: two.transport.status().peers == (again.transport.me,))
        assert await two.transport.request(again.transport.me, b"ab") == b"ba"
        # What is said at once after a restart is heard: message numbers do not repeat.
        await again.transport.announce("news", b"back")
        await until(lambda: two.heard.announcements)
        await again.stop()
        await two.stop()


async def test_a_session_that_dies_is_started_again_on_the_same_port() -> None:
    async with mesh(2) as (one, two):
        await until(lambda: one.transport.status().peers)
        address = one.address
        session = one.transport._session
        assert session is not None

        async def die() -> None:
            raise RuntimeError("something in libp2p")

        session.start(die)
        await until(lambda: "something in libp2p" in one.transport.status().trouble)
        assert one.transport.status().lives == 1
        with pytest.raises(TransportError, match="something in libp2p"):
            await one.transport.get(b"key")
        await until(lambda: not one.transport.status().trouble)
        assert one.address == address
        assert (one.transport.status().lives, two.transport.status().lives) == (2, 1)
        await until(lambda: one.transport.status().peers and two.transport.status().peers)
        assert await two.transport.request(one.transport.me, b"ab") == b"ba"


async def test_known_addresses_are_called_from_the_start() -> None:
    async with trio.open_nursery() as nursery:
        one = await start(nursery, transport(1))
        two = await start(nursery, transport(2, known=[one.address]))
        await until(lambda: two.transport.status().peers)
        await one.stop()
        await two.stop()


async def test_connections_from_one_address_are_counted() -> None:
    limits = Limits(connections_per_address=2)
    async with mesh(1, limits=limits) as (one,):
        streams = [await trio.open_tcp_stream("127.0.0.1", one.port) for _ in range(5)]
        closed = 0
        for stream in streams:
            with trio.move_on_after(0.5):
                while await stream.receive_some(100):
                    pass
                closed += 1
        assert closed == 3
        for stream in streams:
            await stream.aclose()


async def test_a_connection_that_ended_leaves_room_for_another() -> None:
    limits = Limits(connections=4, connections_per_address=4)  # three inbound
    async with mesh(1, limits=limits) as (one,):
        for number in range(2, 8):
            async with trio.open_nursery() as nursery:
                caller = await start(nursery, transport(number))
                await caller.transport.connect(one.address)
                await caller.stop()
            await until(lambda: not one.transport.status().peers)


async def test_two_processes() -> None:
    async with mesh(1) as (one,):
        await one.transport.subscribe("news")
        program = f"import trio; from tests.live.caller import main; trio.run(main, {one.address!r})"
        done = await trio.run_process([sys.executable, "-c", program], capture_stdout=True)
        caller = transport(77).me
        assert done.stdout == b"tac"
        assert one.heard.requests == [(caller, b"cat")]
        assert one.heard.announcements == [(caller, "news", b"from afar")]
