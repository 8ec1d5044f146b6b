"""A bootstrap node and four searching ones, each a process with real workers: deaths, restarts, strangers."""

import os
import signal
from pathlib import Path

import pytest
import trio

pytest.importorskip("libp2p", reason="extra `mesh` is not installed")

from libp2p.host.ping import PingService
from libp2p.kad_dht.kad_dht import DHTMode, KadDHT
from libp2p.peer.peerinfo import info_from_p2p_addr
from libp2p.records.validator import BlankValidator, NamespacedValidator
from libp2p.tools.anyio_service import background_trio_service
from multiaddr import Multiaddr

from genome import Genome
from node.protocol.claims import Claim
from node.protocol.dht import genome_key
from node.protocol.wire import decode
from node.store.records import Reader
from node.transports.p2p.records import name_of
from tests.live.nodes import Node, Nodes, nodes, until
from tests.live.peers import LOOPBACK, start, stranger, transport

pytestmark = [pytest.mark.live, pytest.mark.slow, pytest.mark.timeout(600)]

SEARCH = ("--listen", LOOPBACK, "--task", "digits", "--tier", "quick", "-w", "1")


def member(all_: Nodes, number: int, address: str) -> Node:
    return all_.add(f"n{number}", "join", address, *SEARCH, "--seed", str(number))


def own_claims(node: Node) -> set[bytes]:
    """Claims that a node has made itself."""
    return {id_ for id_, (peer, kind) in node.records().items() if kind == "claim" and peer == node.peer}


async def test_a_mesh_outlives_its_bootstrap_and_the_death_of_a_node(tmp_path: Path) -> None:
    with nodes(tmp_path) as all_:
        boot = all_.add("boot", "bootstrap", "--listen", LOOPBACK)
        address = await boot.address()
        four = [member(all_, number, address) for number in range(1, 5)]

        # Each finds the others, whose addresses nobody gave it, and takes in what they claim.
        await until(lambda: all(node.evaluations() and own_claims(node) for node in four), 120, *four)
        await until(lambda: all(len(node.heard_of()) >= 3 for node in four), 180, boot, *four)
        await until(
            lambda: any(c.admitted for node in four for c in node.ledger().claims.values()), 240, *four
        )

        # One dies in the middle of whatever it does. Nothing that it had on record is lost.
        victim = four[1]
        before = victim.peer, set(victim.records()), victim.evaluations()
        assert victim.end(signal.SIGKILL) == -signal.SIGKILL
        # The bootstrap node ends for good.
        assert boot.end(signal.SIGTERM) == 130
        others = [node for node in four if node is not victim]
        meanwhile = {node.peer: own_claims(node) for node in others}
        await until(lambda: any(own_claims(node) - meanwhile[node.peer] for node in others), 240, *others)
        victim.start()
        await until(lambda: victim.said().count("event=node.starts") == 2, 60, victim)
        assert victim.peer == before[0]
        assert before[1] <= set(victim.records())
        assert victim.evaluations()[: len(before[2])] == before[2]
        # It is back among the others without the bootstrap, and learns what it missed.
        await until(lambda: len(victim.evaluations()) > len(before[2]), 120, victim)
        await until(
            lambda: bool(set(victim.ledger().claims) - {id_.hex() for id_ in before[1]}), 180, victim, *others
        )
        for node in four:
            assert node.lives, node.said()[-2000:]
            assert node.end() == 130
            assert "Traceback" not in node.said()


async def test_strangers_of_other_make_and_of_ill_will(tmp_path: Path) -> None:
    with nodes(tmp_path) as all_:
        one = all_.add("n1", "node", "run", *SEARCH, "--seed", "1")
        address = await one.address()
        two = member(all_, 2, address)
        await until(lambda: bool(own_claims(one)) and bool(two.evaluations()), 120, one, two)

        async with stranger() as host:
            target = info_from_p2p_addr(Multiaddr(address))
            await host.connect(target)
            (round_trip_ms,) = await PingService(host).ping(target.peer_id, ping_amt=1)
            assert 0 <= round_trip_ms < 5000
            # Genomes of claims stand in the DHT by their content hash, for anyone to read.
            with Reader(one.store) as reader:
                claims = [
                    decode(row.body, Claim) for row in reader.signed(kind="claim") if row.peer == one.peer
                ]
            validator = NamespacedValidator({"eqmesh": BlankValidator()}, strict_validation=True)
            dht = KadDHT(host, DHTMode.CLIENT, validator=validator, validator_changed=True)
            async with background_trio_service(dht):
                found: bytes | None = None
                with trio.move_on_after(90):
                    while found is None:
                        for claim in claims:
                            found = found or await dht.get_value(name_of(genome_key(claim.genome.hex())))
                        await trio.sleep(1)
                assert found is not None
                assert bytes.fromhex(Genome.decode(found).id) in {claim.genome for claim in claims}

        async with trio.open_nursery() as nursery:
            liar = await start(nursery, transport(91))
            other = await liar.transport.connect(address)
            topic = f"eqmesh/{claims[0].task.hex()}/1"
            await liar.transport.subscribe(topic)
            for body in (b"", b"\xc1", os.urandom(4000), b"\x9f" * 4000, b"\x81\xa7records" + b"\x90" * 2000):
                await liar.transport.announce(topic, body or b"\0")
                with pytest.raises(Exception):  # noqa: B017, PT011 - a reset or a refusal, whichever comes first
                    await liar.transport.request(other, body)
            await liar.stop()
            nursery.cancel_scope.cancel()

        at = len(one.evaluations())
        await until(lambda: len(one.evaluations()) > at, 120, one)
        assert one.end() == 130
        assert two.end() == 130
        assert "Traceback" not in one.said() + two.said()
