"""Peers that find each other on the local network: loopback here, by real multicast."""

import itertools
import socket
import threading

import pytest
import trio
from zeroconf import ServiceInfo, ServiceStateChange

from node.transports.p2p import lan
from tests.live.peers import Heard, mesh, start, transport, until
from tests.live.test_life import open_sockets

pytestmark = pytest.mark.live

ME, OTHER = transport(1).me, transport(2).me
HERE = "127.0.0.1"


def multicast_fault() -> str:
    """Why multicast on loopback does not work here; empty where it does."""
    group, port = "224.0.0.251", 0
    try:
        with (
            socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as ear,
            socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as mouth,
        ):
            ear.bind(("", port))
            ear.settimeout(2)
            membership = socket.inet_aton(group) + socket.inet_aton(HERE)
            ear.setsockopt(socket.IPPROTO_IP, socket.IP_ADD_MEMBERSHIP, membership)
            mouth.setsockopt(socket.IPPROTO_IP, socket.IP_MULTICAST_IF, socket.inet_aton(HERE))
            mouth.sendto(b"anybody?", (group, ear.getsockname()[1]))
            ear.recv(16)
    except OSError as error:
        return f"no multicast on loopback: {error}"
    return ""


@pytest.fixture
def multicast() -> None:
    if fault := multicast_fault():
        pytest.skip(fault)


def told(*addresses: str) -> dict[bytes, bytes | None]:
    """Properties as they come from the network."""
    return {b"%d" % number: text.encode() for number, text in enumerate(addresses, start=1)}


def zeroconf_threads() -> list[str]:
    return [one.name for one in threading.enumerate() if "zeroconf" in one.name or "_run_loop" in one.name]


@pytest.mark.usefixtures("multicast")
async def test_two_find_each_other_without_an_address() -> None:
    before = open_sockets()
    async with mesh(2, joined=False, lan=True, lan_interfaces=[HERE]) as (one, two):
        await until(lambda: one.transport.status().peers and two.transport.status().peers, 15)
        assert one.transport.status().peers == (two.transport.me,)
        assert await one.transport.request(two.transport.me, b"ab") == b"ba"
        assert one.transport.contained() == ()
        assert zeroconf_threads()
    assert zeroconf_threads() == []
    assert not open_sockets() - before


@pytest.mark.usefixtures("multicast")
async def test_a_session_that_dies_takes_the_announcement_with_it_and_the_next_one_brings_it_back() -> None:
    async with mesh(1, lan=True, lan_interfaces=[HERE]) as (one,):
        session = one.transport._session
        assert session is not None

        async def die() -> None:
            raise RuntimeError("something in libp2p")

        session.start(die)
        await until(lambda: one.transport.status().lives == 2)
        async with trio.open_nursery() as nursery:
            two = await start(nursery, transport(2, lan=True, lan_interfaces=[HERE]))
            await until(lambda: two.transport.status().peers == (one.transport.me,), 15)
            await two.stop()


async def test_off_unless_asked() -> None:
    async with mesh(2, joined=False, lan_interfaces=[HERE]):
        assert zeroconf_threads() == []


async def test_an_interface_that_is_not_there_is_a_note() -> None:
    async with mesh(2, lan=True, lan_interfaces=["192.0.2.77"]) as (one, two):
        await until(one.transport.contained)
        assert "local network: no interface of this machine has 192.0.2.77" in one.transport.contained()[0]
        assert not one.transport.status().trouble
        assert await one.transport.request(two.transport.me, b"ab") == b"ba"


async def test_stopping_at_once_leaves_nothing() -> None:
    before = open_sockets()
    for _ in range(3):
        async with mesh(1, lan=True, lan_interfaces=[HERE]):
            await trio.lowlevel.checkpoint()
    assert zeroconf_threads() == []
    assert not open_sockets() - before


async def test_a_port_that_cannot_be_bound_starts_no_announcement() -> None:
    with socket.create_server((HERE, 0)) as taken:
        made = transport(1, f"/ip4/{HERE}/tcp/{taken.getsockname()[1]}", lan=True, lan_interfaces=[HERE])
        with pytest.raises(Exception, match="in use"):
            await made.serve(Heard(), trio.lowlevel.checkpoint)
    assert zeroconf_threads() == []


def test_what_is_announced_is_what_is_heard() -> None:
    addresses = [f"/ip4/10.0.0.{number}/tcp/4001/p2p/{ME}" for number in range(1, 20)]
    info = lan.announcement(ME, ["/dns4/example.org/tcp/4001", *addresses])
    assert info is not None
    assert lan.heard(info.name, info.properties) == (
        ME,
        tuple(one.split("/p2p/")[0] for one in addresses[:8]),
    )
    assert (info.port, info.parsed_addresses()[0]) == (4001, "10.0.0.1")
    mixed = lan.announcement(ME, [f"/ip6/2001:db8::1/tcp/1/p2p/{ME}", f"/ip4/10.0.0.1/tcp/2/p2p/{ME}"])
    assert mixed is not None
    assert lan.heard(mixed.name, mixed.properties) == (ME, ("/ip6/2001:db8::1/tcp/1", "/ip4/10.0.0.1/tcp/2"))


@pytest.mark.parametrize(
    "addresses", [[], ["/dns4/example.org/tcp/4001"], ["/ip4/10.0.0.1/udp/1"], ["x" * 300]]
)
def test_nothing_to_announce(addresses: list[str]) -> None:
    assert lan.announcement(ME, addresses) is None


@pytest.mark.parametrize(
    "text",
    [
        "",
        "nonsense",
        "\xff",
        f"/ip4/10.0.0.1/tcp/1/p2p/{OTHER}",
        "/ip4/10.0.0.1/tcp/1",
        "/ip4/10.0.0.1/tcp/1/p2p/",
        f"/ip4/0.0.0.0/tcp/1/p2p/{ME}",
        f"/ip4/10.0.0.1/tcp/0/p2p/{ME}",
        f"/ip4/10.0.0.1/tcp/99999/p2p/{ME}",
        f"/ip4/10.0.0.1/udp/1/p2p/{ME}",
        f"/ip4/10.0.0.1/tcp/1/ws/p2p/{ME}",
        f"/ip4/10.0.0.1/tcp/1/p2p/{ME}/p2p-circuit",
        f"/dns4/example.org/tcp/1/p2p/{ME}",
    ],
)
def test_what_makes_no_sense_is_not_heard(text: str) -> None:
    good = f"/ip4/10.0.0.1/tcp/1/p2p/{ME}"
    name = f"{ME}.{lan.SERVICE}"
    assert lan.heard(name, told(good)) == (ME, ("/ip4/10.0.0.1/tcp/1",))
    assert lan.heard(name, {b"1": text.encode("latin-1")}) is None
    assert lan.heard(name, told(text, good)) == (ME, ("/ip4/10.0.0.1/tcp/1",))
    assert lan.heard(name, {b"1": None}) is None
    assert lan.heard(name, {b"address": good.encode()}) is None


def test_no_more_than_eight_addresses_are_read() -> None:
    addresses = [f"/ip4/10.0.0.1/tcp/{port}/p2p/{ME}" for port in range(1, 100)]
    found = lan.heard(f"{ME}.{lan.SERVICE}", told(*addresses))
    assert found is not None
    assert len(found[1]) == 8


async def test_a_flood_of_names_is_cut_to_the_latest(autojump_clock: trio.testing.MockClock) -> None:
    names = lan._Names()

    def shout() -> None:
        for number in range(10_000):
            names.hear(name=str(number), state_change=ServiceStateChange.Added)
        names.hear(name="gone", state_change=ServiceStateChange.Removed)

    async with trio.open_nursery() as nursery:
        heard: list[str] = []

        async def listen() -> None:
            heard.extend([await names.next() for _ in range(64)])

        nursery.start_soon(listen)
        await trio.testing.wait_all_tasks_blocked()
        shout()
    assert heard == [str(number) for number in range(10_000 - 64, 10_000)]
    with trio.move_on_after(1) as scope:
        await names.next()
    assert scope.cancelled_caught


async def test_strangers_are_told_of_slowly_and_up_to_a_number(
    autojump_clock: trio.testing.MockClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(lan, "_MOST_PEERS", 3)
    peers = [transport(number).me for number in range(1, 8)]

    async def properties(name: str) -> dict[bytes, bytes | None]:
        return told(f"/ip4/10.0.0.1/tcp/1/p2p/{name.removesuffix('.' + lan.SERVICE)}")

    names = lan._Names()
    found: list[tuple[float, str]] = []
    for peer in [*peers, *peers]:
        names.hear(name=f"{peer}.{lan.SERVICE}", state_change=ServiceStateChange.Added)
    with trio.move_on_after(30):
        await lan._tell(ME, names, properties, lambda peer, _: found.append((trio.current_time(), peer)))
    assert [peer for _, peer in found] == [*peers[1:4], *peers[1:4]]  # the first is this node itself
    pauses = [later - sooner for (sooner, _), (later, _) in itertools.pairwise(found)]
    assert pauses == pytest.approx([lan._PACE_S] * 2 + [lan._PACE_S * 5] + [lan._PACE_S] * 2)


def test_an_announcement_fits_one_packet() -> None:
    addresses = [
        f"/ip6/2001:db8:1234:5678:9abc:def0:1234:567{digit}/tcp/40001/p2p/{ME}" for digit in range(8)
    ]
    info = lan.announcement(ME, addresses)
    assert isinstance(info, ServiceInfo)
    assert info.text is not None
    assert len(info.text) < 1200
