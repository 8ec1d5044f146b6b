"""The network in memory: what it loses, delays, doubles and divides, and that a seed repeats it."""

from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager

import pytest
import trio
import trio.testing

from node.transports.base import Limits, TransportError
from node.transports.memory import MemoryNetwork, MemoryTransport, Weather

CALM = Weather(delay_s=0.0)


class Ear:
    """Hears everything and answers with what it was asked, twice."""

    def __init__(self) -> None:
        self.heard: list[tuple[float, str, str, bytes]] = []

    async def announced(self, peer: str, topic: str, body: bytes) -> None:
        self.heard.append((trio.current_time(), peer, topic, body))
        if body == b"bad":
            raise ValueError(body)

    async def requested(self, peer: str, body: bytes) -> bytes:
        if body == b"bad":
            raise ValueError(body)
        return body + body


@asynccontextmanager
async def meeting(
    *names: str, weather: Weather = CALM, seed: int = 0, limits: Limits | None = None
) -> AsyncIterator[tuple[MemoryNetwork, dict[str, MemoryTransport], dict[str, Ear]]]:
    """Peers that are on one network and listen to topic t."""
    network = MemoryNetwork(seed, weather=weather, limits=limits)
    peers, ears = {name: network.join(name) for name in names}, {name: Ear() for name in names}
    async with trio.open_nursery() as nursery:
        for name in names:

            async def ready(name: str = name) -> None:
                await peers[name].subscribe("t")

            nursery.start_soon(peers[name].serve, ears[name], ready)
        await trio.testing.wait_all_tasks_blocked()
        yield network, peers, ears
        nursery.cancel_scope.cancel()


async def test_announcements_reach_all_who_listen_and_requests_are_answered(
    autojump_clock: trio.testing.MockClock,
) -> None:
    async with meeting("a", "b", "c") as (_, peers, ears):
        await peers["a"].announce("t", b"hello")
        await peers["a"].announce("u", b"nobody listens")
        await trio.testing.wait_all_tasks_blocked()
        assert [(peer, body) for _, peer, _, body in ears["b"].heard] == [("a", b"hello")]
        assert ears["a"].heard == []
        assert await peers["b"].request("c", b"x") == b"xx"
        assert await peers["a"].connect("/memory/p2p/b") == "b"
        assert peers["a"].status().peers == ("b", "c")
        assert (peers["a"].traffic.messages, peers["a"].traffic.bytes) == (2, 10)
    assert peers["a"].status().trouble


async def test_half_of_the_messages_get_lost(autojump_clock: trio.testing.MockClock) -> None:
    loud = Limits(announcements_per_s=1000.0)
    async with meeting("a", "b", weather=Weather(loss=0.5, delay_s=0.0), limits=loud) as (_, peers, ears):
        for number in range(400):
            await peers["a"].announce("t", str(number).encode())
        await trio.testing.wait_all_tasks_blocked()
        assert 160 < len(ears["b"].heard) < 240
        failed = 0
        for _ in range(40):
            try:
                await peers["a"].request("b", b"x", deadline_s=1.0)
            except TransportError:
                failed += 1
        assert 20 < failed < 40


async def test_messages_double_and_overtake_each_other(autojump_clock: trio.testing.MockClock) -> None:
    loud = Limits(announcements_per_s=1000.0)
    rough = Weather(doubling=0.5, delay_s=0.5, longest_delay_s=2.0)
    async with meeting("a", "b", weather=rough, limits=loud) as (_, peers, ears):
        for number in range(100):
            await peers["a"].announce("t", bytes([number]))
        began = trio.current_time()
        await trio.sleep(3)
        bodies = [body for _, _, _, body in ears["b"].heard]
        assert 130 < len(bodies) < 170
        assert bodies != sorted(bodies)
        assert all(at <= began + 2.0 for at, *_ in ears["b"].heard)


async def test_a_divided_network_passes_nothing_across_until_it_heals(
    autojump_clock: trio.testing.MockClock,
) -> None:
    async with meeting("a", "b", "c", "d") as (network, peers, ears):
        network.divide([["a", "b"]])
        await peers["a"].announce("t", b"1")
        await trio.testing.wait_all_tasks_blocked()
        assert [len(ears[name].heard) for name in "bcd"] == [1, 0, 0]
        with pytest.raises(TransportError, match="cannot be reached"):
            await peers["a"].request("c", b"x")
        assert await peers["c"].request("d", b"x") == b"xx"
        network.heal()
        assert await peers["a"].request("c", b"x") == b"xx"


async def test_a_peer_that_leaves_is_gone_with_what_it_provided(
    autojump_clock: trio.testing.MockClock,
) -> None:
    async with meeting("a", "b") as (network, peers, _):
        late = network.join("c")
        with trio.CancelScope() as scope:
            async with trio.open_nursery() as nursery:

                async def go() -> None:
                    await late.provide(b"k")
                    assert await peers["a"].providers(b"k") == ("c",)
                    scope.cancel()

                nursery.start_soon(late.serve, Ear(), go)
        assert await peers["a"].providers(b"k") == ()
        with pytest.raises(TransportError, match="cannot be reached"):
            await peers["a"].request("c", b"x")
        with pytest.raises(TransportError, match="not on the network"):
            await late.announce("t", b"x")


async def test_the_table_keeps_what_validator_and_selector_say(
    autojump_clock: trio.testing.MockClock,
) -> None:
    network = MemoryNetwork(
        0,
        validator=lambda key, value: value.startswith(key),
        selector=lambda _key, values: values.index(max(values)),
    )
    one = network.join("a")
    async with trio.open_nursery() as nursery:

        async def go() -> None:
            assert await one.put(b"k", b"k2") == 0
            assert await one.put(b"k", b"k1") == 0
            assert await one.get(b"k") == b"k2"
            assert await one.get(b"other") is None
            with pytest.raises(TransportError, match="refuses"):
                await one.put(b"k", b"x")
            nursery.cancel_scope.cancel()

        nursery.start_soon(one.serve, Ear(), go)


async def test_what_a_handler_raises_costs_one_message(autojump_clock: trio.testing.MockClock) -> None:
    async with meeting("a", "b") as (_, peers, ears):
        await peers["a"].announce("t", b"bad")
        await peers["a"].announce("t", b"good")
        with pytest.raises(TransportError, match="reset"):
            await peers["a"].request("b", b"bad")
        assert await peers["a"].request("b", b"x") == b"xx"
        assert [body for *_, body in ears["b"].heard] == [b"bad", b"good"]
        assert isinstance(peers["b"].refused, ValueError)


async def test_sizes_and_pace_are_held(autojump_clock: trio.testing.MockClock) -> None:
    small = Limits(announcement_bytes=4, request_bytes=4, reply_bytes=4, announcements_per_s=2.0)
    async with meeting("a", "b", limits=small) as (_, peers, ears):
        for call in (peers["a"].announce("t", b"large"), peers["a"].request("b", b"large")):
            with pytest.raises(TransportError, match="at most 4 bytes"):
                await call
        with pytest.raises(TransportError, match="at most 4 bytes"):
            await peers["a"].request("b", b"xxx")  # the answer is too large
        began = trio.current_time()
        for _ in range(5):
            await peers["a"].announce("t", b"x")
        assert trio.current_time() - began == pytest.approx(2.0)
        await trio.testing.wait_all_tasks_blocked()
        assert len(ears["b"].heard) == 5


def story(seed: int) -> list[tuple[float, str, str, bytes]]:
    async def run() -> list[tuple[float, str, str, bytes]]:
        loud = Limits(announcements_per_s=100.0)
        rough = Weather(loss=0.3, doubling=0.2, delay_s=0.3)
        async with meeting("a", "b", weather=rough, seed=seed, limits=loud) as (_, peers, ears):
            for number in range(50):
                await peers["a"].announce("t", bytes([number]))
            await trio.sleep(5)
            return ears["b"].heard

    return trio.run(run, clock=trio.testing.MockClock(autojump_threshold=0))


def test_a_seed_repeats_everything() -> None:
    assert story(1) == story(1)
    assert story(1) != story(2)


@pytest.mark.parametrize(
    "make",
    [
        lambda: Weather(loss=1.1),
        lambda: Weather(doubling=-0.1),
        lambda: Weather(delay_s=3.0, longest_delay_s=2.0),
    ],
)
def test_impossible_weather_is_refused(make: Callable[[], Weather]) -> None:
    with pytest.raises(TransportError):
        make()


async def test_nobody_joins_twice(autojump_clock: trio.testing.MockClock) -> None:
    async with meeting("a") as (network, _, _):
        with pytest.raises(TransportError, match="already"):
            await network.join("a").serve(Ear(), trio.lowlevel.checkpoint)
