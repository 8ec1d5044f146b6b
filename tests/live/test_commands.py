"""`eqmesh bootstrap` and `eqmesh node run` as a person starts and stops them."""

import os
import re
import signal
import socket
import subprocess
import sys
from pathlib import Path

import pytest
import trio

pytest.importorskip("libp2p", reason="extra `mesh` is not installed")

from node.protocol.identity import Identity
from node.store.records import Reader
from tests.live.nodes import ROOT, nodes, until
from tests.live.peers import LOOPBACK

pytestmark = [pytest.mark.live, pytest.mark.slow, pytest.mark.timeout(180)]

_ADDRESS = re.compile(rb"/ip4/127\.0\.0\.1/tcp/(\d+)/p2p/12D3Koo\w+\n")


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
async def test_a_bootstrap_node_prints_its_address_and_leaves_no_socket(
    tmp_path: Path, number: signal.Signals
) -> None:
    environ = {name: value for name, value in os.environ.items() if name != "PYTHONUNBUFFERED"}
    environ |= {"PYTHONPATH": str(ROOT), "EQMESH_STATE_DIR": str(tmp_path / "state")}
    process = await trio.lowlevel.open_process(
        [sys.executable, "-c", "from node.cli import main; main()", "bootstrap", "--listen", LOOPBACK],
        cwd=tmp_path,
        env=environ,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
    )
    try:
        assert process.stdout is not None
        # Through a pipe, while it runs: a person or a script needs the address now.
        with trio.fail_after(60):
            found = _ADDRESS.fullmatch(await process.stdout.receive_some(4096))
        assert found is not None
        process.send_signal(number)
        with trio.fail_after(60):
            assert await process.wait() == 130
    finally:
        if process.poll() is None:
            process.kill()
        await process.stdout.aclose()
    with socket.socket() as bound:
        bound.bind(("127.0.0.1", int(found[1])))
    assert {path.name for path in tmp_path.iterdir()} == {"state"}


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
async def test_a_node_that_is_still_starting_ends_as_cleanly(tmp_path: Path, number: signal.Signals) -> None:
    with nodes(tmp_path) as all_:
        one = all_.add(
            "n1", "node", "run", "--listen", LOOPBACK, "--task", "digits", "--tier", "smoke", "-w", "1"
        )
        # What follows takes seconds: a worker is started, the machine is calibrated.
        await until(lambda: "event=node.starts" in one.said(), 60, one)
        assert one.end(number) == 130
        assert "Traceback" not in one.said()


async def test_a_node_whose_bootstrap_is_dead_says_so_and_goes_on_alone(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as closed:
        port = closed.getsockname()[1]
    dead = f"/ip4/127.0.0.1/tcp/{port}/p2p/{Identity(b'd' * 32).peer}"
    with nodes(tmp_path) as all_:
        one = all_.add(
            *("n1", "node", "run", "--join", dead, "--listen", LOOPBACK),
            *("--task", "digits", "--tier", "smoke", "-w", "1"),
        )
        await until(lambda: "no answer from any of 1 known peers" in one.said(), 60, one)
        assert "reachability=alone" in one.said()
        at = len(one.evaluations())
        await until(lambda: len(one.evaluations()) > at, 60, one)
        assert one.end() == 130
        assert "Traceback" not in one.said()
        assert "trouble=stopped" in one.said()
        with Reader(one.store) as reader:
            assert any("no answer from any" in event.body for event in reader.events())
        # The address is not forgotten: it may be back the next time.
        assert one.store.with_name("eqmesh.db.peers").read_text() == f"{dead}\n"
