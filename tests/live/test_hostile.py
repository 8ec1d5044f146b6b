"""What ended the process when a stranger sent it to plain py-libp2p, and floods beside: survived, others served on."""

import os
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass

import pytest
import trio
import varint
from libp2p.abc import IHost, INetStream
from libp2p.crypto.ed25519 import create_new_key_pair
from libp2p.crypto.pb import crypto_pb2
from libp2p.custom_types import TProtocol
from libp2p.kad_dht.pb.kademlia_pb2 import Message
from libp2p.network.stream.exceptions import StreamError
from libp2p.peer.id import ID
from libp2p.pubsub.pb import rpc_pb2
from libp2p.pubsub.validators import PUBSUB_SIGNING_PREFIX

from node.transports.base import Limits
from node.transports.p2p.records import name_of
from node.transports.p2p.request import PROTOCOL
from tests.live.peers import Heard, Peer, meet, mesh, stranger, until

pytestmark = pytest.mark.live

MESHSUB = TProtocol("/meshsub/1.1.0")
KAD = TProtocol("/ipfs/kad/1.0.0")


@dataclass
class Scene:
    """A victim, an honest peer that talks to it, a hostile stranger, and a task that stands for the search."""

    victim: Peer
    honest: Peer
    hostile: IHost
    target: ID
    steps: int = 0
    gossip: INetStream | None = None

    async def open(self, protocol: str = MESHSUB) -> INetStream:
        return await self.hostile.new_stream(self.target, [TProtocol(protocol)])

    async def publish(self, message: rpc_pb2.Message) -> None:
        if self.gossip is None:
            self.gossip = await self.open(MESHSUB)
        packet = rpc_pb2.RPC(publish=[message]).SerializeToString()
        await self.gossip.write(varint.encode(len(packet)) + packet)

    async def send(self, packet: bytes, protocol: str = MESHSUB) -> INetStream:
        stream = await self.open(protocol)
        await stream.write(varint.encode(len(packet)) + packet)
        return stream


@asynccontextmanager
async def scene(**limits: float) -> AsyncIterator[Scene]:
    """Sets the scene; afterwards the victim must be in the same session, answer, and have searched all along."""
    values: dict[str, float] = {"connections_per_address": 32, "deadline_s": 5.0}
    made = Limits(**(values | limits))  # type: ignore[arg-type]
    async with mesh(2, limits=made) as (victim, honest), stranger() as hostile:
        await victim.transport.subscribe("news")
        await until(lambda: victim.transport.status().peers)
        session = victim.transport._session
        play = Scene(victim, honest, hostile, await meet(hostile, victim))

        async def search() -> None:
            while True:
                await trio.sleep(0.01)
                play.steps += 1

        async with trio.open_nursery() as nursery:
            nursery.start_soon(search)
            yield play
            steps = play.steps
            await trio.sleep(0.3)
            assert play.steps > steps
            nursery.cancel_scope.cancel()
        assert victim.transport._session is session
        assert victim.transport.status().trouble == ""
        assert await honest.transport.request(victim.transport.me, b"well?") == b"?llew"
        victim.heard.announcements.clear()
        await honest.transport.announce("news", b"still here")
        await until(lambda: victim.heard.announcements)


async def marked(play: Scene) -> None:
    """Wait until the victim holds something against the stranger."""
    await until(lambda: str(play.hostile.get_id()) in play.victim.transport.marks(), 4)


def message(**changes: object) -> rpc_pb2.Message:
    values: dict[str, object] = {
        "from_id": b"\x12\x20" + bytes(32),  # a hashed key: the signature needs the key field
        "seqno": os.urandom(8),
        "data": b"x",
        "topicIDs": ["news"],
        "signature": b"y" * 64,
    }
    return rpc_pb2.Message(**(values | changes))  # type: ignore[arg-type]


def signed(data: bytes, topic: str = "news") -> rpc_pb2.Message:
    """A message that is what it should be."""
    keys = create_new_key_pair(b"s" * 32)
    plain = rpc_pb2.Message(
        data=data,
        topicIDs=[topic],
        from_id=ID.from_pubkey(keys.public_key).to_bytes(),
        seqno=os.urandom(8),
    )
    plain.signature = keys.private_key.sign(PUBSUB_SIGNING_PREFIX.encode() + plain.SerializeToString())
    return plain


async def test_1_a_handler_that_raises() -> None:
    async with scene() as play:
        answer = play.victim.heard.answer

        def fail(body: bytes) -> bytes:
            raise ZeroDivisionError

        play.victim.heard.answer = fail
        stream = await play.open(PROTOCOL)
        await stream.write(b"\0\0\0\1x")
        await marked(play)
        play.victim.heard.answer = answer


async def test_2_garbage_on_meshsub() -> None:
    async with scene() as play:
        for garbage in (b"\xff" * 40, b"\x0a\xff\xff\xff\xff\x0f", os.urandom(200)):
            await play.send(garbage)
        await marked(play)


async def test_3_a_publish_with_a_garbage_key() -> None:
    async with scene() as play:
        await play.publish(message(key=b"garbage"))
        await marked(play)


async def test_4_a_key_of_the_wrong_length() -> None:
    async with scene() as play:
        for kind in (crypto_pb2.KeyType.Ed25519, crypto_pb2.KeyType.Secp256k1, crypto_pb2.KeyType.ECDSA):
            key = crypto_pb2.PublicKey(key_type=kind, data=b"short")
            await play.publish(message(key=key.SerializeToString()))
        await marked(play)


async def test_5_no_author_and_a_bad_rsa_key() -> None:
    async with scene() as play:
        key = crypto_pb2.PublicKey(key_type=crypto_pb2.KeyType.RSA, data=b"not DER")
        await play.publish(message(from_id=b"", key=key.SerializeToString()))
        await marked(play)


async def test_6_validators_that_raise() -> None:
    async with scene() as play:
        session = play.victim.transport._session
        assert session is not None
        pubsub = session.gossip.pubsub
        ours = pubsub.topic_validators["news"].validator

        def fail(forwarder: ID, given: rpc_pb2.Message) -> bool:
            raise ZeroDivisionError

        pubsub.set_topic_validator("news", fail, is_async_validator=False)
        await play.publish(signed(b"fine"))
        await marked(play)
        pubsub.set_topic_validator("news", ours, is_async_validator=False)
        put = Message(type=Message.MessageType.PUT_VALUE, key=name_of(b"key").encode())
        put.record.key, put.record.value = put.key, b"raise\0"
        await play.send(put.SerializeToString(), KAD)
        await trio.sleep(0.3)
        assert await play.honest.transport.get(b"key") is None


async def test_a_dht_value_under_a_foreign_or_misspelt_name() -> None:
    async with scene() as play:
        spelt = name_of(b"key")  # /eqmesh/a2V5
        for name in ("/other/a2V5", "plain", "/pk/x", f"{spelt}=", "/eqmesh/a2V5A", "/eqmesh/", "/eqmesh/ä"):
            put = Message(type=Message.MessageType.PUT_VALUE, key=name.encode())
            put.record.key, put.record.value = put.key, b"\0"
            await play.send(put.SerializeToString(), KAD)
        await trio.sleep(0.3)
        session = play.victim.transport._session
        assert session is not None
        assert session.records.dht.value_store.store == {}


async def test_oversized_frames() -> None:
    async with scene() as play:
        for header in (b"\xff\xff\xff\xff", (64 * 1024 + 1).to_bytes(4, "big")):
            stream = await play.open(PROTOCOL)
            await stream.write(header + bytes(1000))
            await marked(play)
            with trio.fail_after(3), pytest.raises(StreamError):
                await stream.read(1000)
        for protocol in (MESHSUB, KAD):
            stream = await play.open(protocol)
            await stream.write(varint.encode(2**31) + bytes(1000))
        stream = await play.open(MESHSUB)
        await stream.write(b"\xff" * 30)  # a length that never ends


async def test_a_flood_that_nobody_reads_is_not_kept() -> None:
    class Slow(Heard):
        async def requested(self, peer: str, body: bytes) -> bytes:
            await trio.sleep(1)
            return body

    async with scene() as play:
        answer, play.victim.heard.requested = play.victim.heard.requested, Slow().requested  # type: ignore[method-assign]
        stream = await play.open(PROTOCOL)
        await stream.write(b"\0\0\0\1x")
        muxed = stream.muxed_stream  # type: ignore[attr-defined]
        muxed.send_window = 2**30  # it grants itself what the victim did not
        with trio.move_on_after(0.8):
            await stream.write(bytes(16 * 1024 * 1024))
        session = play.victim.transport._session
        assert session is not None
        (connection,) = session.host.get_network().get_connections(play.hostile.get_id())
        held = sum(map(len, connection.muxed_conn.stream_buffers.values()))  # type: ignore[attr-defined]
        assert 256 * 1024 < held <= 3 * 1024 * 1024
        play.victim.heard.requested = answer  # type: ignore[method-assign]


async def test_announcements_too_long_or_for_two_topics_are_dropped() -> None:
    async with scene() as play:
        await play.publish(signed(bytes(8 * 1024 + 1)))
        double = signed(b"x")
        double.topicIDs.append("news")
        await play.publish(double)
        await play.publish(signed(b"right"))
        await until(lambda: play.victim.heard.announcements)
        assert [body for _, _, body in play.victim.heard.announcements] == [b"right"]


async def test_a_slow_reader() -> None:
    async with scene(deadline_s=2.0, reply_bytes=8 * 1024 * 1024) as play:
        answer = play.victim.heard.answer
        play.victim.heard.answer = lambda body: bytes(8 * 1024 * 1024)
        streams = [await play.open(PROTOCOL) for _ in range(3)]
        for stream in streams:
            await stream.write(b"\0\0\0\1x")  # and nobody reads the answers
        await until(lambda: len(play.victim.heard.requests) == 3)
        play.victim.heard.answer = answer
        for _ in range(10):
            assert await play.honest.transport.request(play.victim.transport.me, b"ab", deadline_s=1) == b"ba"
        session = play.victim.transport._session
        assert session is not None
        await until(lambda: not session.guard._open[str(PROTOCOL), str(play.hostile.get_id())], 5)


async def test_idle_streams_of_one_peer_block_nobody() -> None:
    async with scene(deadline_s=2.0) as play:
        for protocol in (KAD, PROTOCOL, MESHSUB):
            for _ in range(20):
                with trio.move_on_after(1):
                    try:
                        await play.open(protocol)
                    except Exception:  # noqa: BLE001 - refused, as it should be
                        break
        assert await play.honest.transport.put(b"key", b"\0") == 1
        assert await play.honest.transport.get(b"key") == b"\0"


async def test_half_open_sockets() -> None:
    async with scene(connections_per_address=16, deadline_s=3.0) as play:
        sockets = [await trio.open_tcp_stream("127.0.0.1", play.victim.port) for _ in range(200)]
        for number, each in enumerate(sockets):
            if number % 2:
                with trio.move_on_after(0.1):
                    with suppress(trio.BrokenResourceError):
                        await each.send_all(os.urandom(64))
        assert await play.honest.transport.request(play.victim.transport.me, b"ab", deadline_s=1) == b"ba"
        for each in sockets:
            await each.aclose()


async def test_who_goes_on_is_barred() -> None:
    async with scene() as play:
        with trio.move_on_after(5):
            for _ in range(40):
                try:
                    await play.publish(message(key=b"garbage"))
                except Exception:  # noqa: BLE001 - barred
                    break
        await until(lambda: str(play.hostile.get_id()) not in play.victim.transport.status().peers)
        assert play.honest.transport.me in play.victim.transport.status().peers
        assert isinstance(play.victim.heard, Heard)
