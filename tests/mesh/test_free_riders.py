"""What costs an attacker nothing must not cost others anything: free identities, and answers that take for ever."""

from contextlib import ExitStack
from pathlib import Path

import msgspec
import trio
from trio.testing import MockClock

from node.protocol.announcements import announcements, topic_of
from node.protocol.claims import Birth, Setback
from tests.support import mesh as support
from tests.support.mesh import JUDGE, Rogue, serving


async def test_two_new_identities_keep_nobody_from_a_genome(
    tmp_path: Path, autojump_clock: MockClock
) -> None:
    net = support.network()
    with ExitStack() as stack:
        bob = support.node(tmp_path, net, 2, stack)
        for number in (66, 67):
            said = Rogue(net, number).sign(
                Setback,
                task=JUDGE.task_id,
                tier="smoke",
                genome=b"g" * 32,
                arithmetic="fp32",
                kind="diverged",
            )
            await bob.mesh.take("x", [said])
        bob.mesh.end_round()
        assert bob.shunned == set()


async def test_one_that_answers_slowly_holds_up_nobody_elses_records(
    tmp_path: Path, autojump_clock: MockClock
) -> None:
    net = support.network()
    with ExitStack() as stack:
        bob = support.node(tmp_path, net, 2, stack)
        ann, mal = Rogue(net, 66), Rogue(net, 67)
        unknown = Birth(parents=(b"u" * 32, b"v" * 32), operator="cross/1", seed=5)
        async with serving(bob, ann, mal), trio.open_nursery() as nursery:
            claim = ann.say(ann.honest(1))
            wrong = [mal.say(msgspec.structs.replace(mal.honest(n), birth=unknown)) for n in range(2, 22)]
            mal.genomes.clear()
            mal.delay_s = 9.0
            topic = topic_of(JUDGE.task_id)
            for record in wrong:
                for body in announcements([record]):
                    await bob.mesh.announced(mal.peer, topic, body)
            for body in announcements([claim]):
                await bob.mesh.announced(ann.peer, topic, body)
            nursery.start_soon(bob.mesh.arrivals.run)
            await trio.sleep(60)
            known = bob.knows(claim)
            nursery.cancel_scope.cancel()
        assert known
