"""An owner has one claim of another peer checked before the others."""

from contextlib import ExitStack
from pathlib import Path

import pytest
from trio.testing import MockClock

from node.protocol.trust import TrustError
from tests.support import mesh as support
from tests.support.mesh import Rogue, check_all, earn, serving


async def test_what_is_urged_is_checked_before_what_would_gain_more(
    tmp_path: Path, autojump_clock: MockClock
) -> None:
    net = support.network()
    with ExitStack() as stack:
        node, ann = support.node(tmp_path, net, 1, stack), Rogue(net, 2)
        mesh = node.mesh
        async with serving(node, ann):
            claims = [ann.say(ann.honest(number)) for number in (1, 2, 3)]
            await mesh.take(ann.peer, claims)
            await earn(mesh)
            mesh.end_round()
            wanted = sorted(mesh.ledger.wanted(support.clock()), key=lambda check: check.urgency)
            assert len(wanted) >= 2, "two of them have to enter"
            least = wanted[0].claim
            first = mesh.next_check()
            assert first is not None
            assert first.claim != least
            assert least[:12] in mesh.urge(least[:20])
            urged = mesh.next_check()
            assert urged is not None
            assert urged.claim == least
            await mesh.do_check(urged)
            after = mesh.next_check()
            assert after is not None
            assert after.claim == first.claim, "one check was urged, not all of them"


async def test_what_cannot_be_urged_is_said(tmp_path: Path, autojump_clock: MockClock) -> None:
    net = support.network()
    with ExitStack() as stack:
        node, ann = support.node(tmp_path, net, 1, stack), Rogue(net, 2)
        async with serving(node, ann):
            claim = ann.say(ann.honest(1))
            await node.mesh.take(ann.peer, [claim])
            with pytest.raises(TrustError, match="no claim starts with 'zz'"):
                node.mesh.urge("zz")
            for _ in range(3):
                await earn(node.mesh)
                node.mesh.end_round()
                await check_all(node.mesh)
            assert node.standing(claim) == "confirmed"
            with pytest.raises(TrustError, match="nothing is left to be checked"):
                node.mesh.urge(claim.id.hex()[:12])
