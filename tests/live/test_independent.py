"""Plain py-libp2p as an independent client: ping, identify, records; and what we do not speak."""

import pytest
import trio
from libp2p.crypto.ed25519 import create_new_key_pair
from libp2p.custom_types import TProtocol
from libp2p.host.ping import PingService
from libp2p.identity.identify.pb.identify_pb2 import Identify
from libp2p.kad_dht.kad_dht import DHTMode, KadDHT
from libp2p.records.validator import BlankValidator, NamespacedValidator
from libp2p.security.insecure.transport import PLAINTEXT_PROTOCOL_ID, InsecureTransport
from libp2p.security.secio import transport as secio
from libp2p.stream_muxer.mplex.mplex import MPLEX_PROTOCOL_ID, Mplex
from libp2p.tools.anyio_service import background_trio_service
from libp2p.utils.varint import read_length_prefixed_protobuf

from node.transports.p2p.records import name_of
from tests.live.peers import meet, mesh, stranger

pytestmark = pytest.mark.live


async def test_ping_and_identify() -> None:
    async with mesh(1) as (one,), stranger() as host:
        target = await meet(host, one)
        assert str(target) == one.transport.me
        (round_trip_ms,) = await PingService(host).ping(target, ping_amt=1)
        assert 0 <= round_trip_ms < 1000
        stream = await host.new_stream(target, [TProtocol("/ipfs/id/1.0.0")])
        told = Identify()
        told.ParseFromString(await read_length_prefixed_protobuf(stream, use_varint_format=True))
        assert {"/eqmesh/request/1", "/ipfs/kad/1.0.0", "/meshsub/1.1.0"} <= set(told.protocols)
        assert len(told.listen_addrs) == 1


async def test_reads_and_writes_records() -> None:
    async with mesh(2) as (one, two), stranger() as host:
        await two.transport.put(b"key", b"value\0")
        validator = NamespacedValidator({"eqmesh": BlankValidator()}, strict_validation=True)
        dht = KadDHT(host, DHTMode.CLIENT, validator=validator, validator_changed=True)
        async with background_trio_service(dht):
            await meet(host, one)
            with trio.fail_after(8):
                assert await dht.get_value(name_of(b"key")) == b"value\0"
                await dht.put_value(name_of(b"other"), b"told by a stranger\0")
                await dht.put_value(name_of(b"bad"), b"odd\1")
        assert await one.transport.get(b"other") == b"told by a stranger\0"
        assert await one.transport.get(b"bad") is None


@pytest.mark.parametrize("spoken", ["plaintext", "secio", "mplex"])
async def test_nothing_but_noise_and_yamux(spoken: str) -> None:
    keys = create_new_key_pair(b"k" * 32)
    options: dict[str, dict[str, object]] = {
        "plaintext": {"sec_opt": {PLAINTEXT_PROTOCOL_ID: InsecureTransport(keys)}},
        "secio": {"sec_opt": {TProtocol(secio.ID): secio.Transport(keys)}},
        "mplex": {"muxer_opt": {TProtocol(MPLEX_PROTOCOL_ID): Mplex}},
    }
    async with mesh(1) as (one,), stranger(key_pair=keys, **options[spoken]) as host:
        with trio.fail_after(8), pytest.raises(Exception, match="unable to connect"):
            await meet(host, one)
        assert one.transport.status().peers == ()
