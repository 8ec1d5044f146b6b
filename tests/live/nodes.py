"""Nodes as processes of their own, with real workers, on loopback; looked at through their stores."""

import os
import re
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

import trio

from node.errors import NodeError
from node.mesh.books import read_ledger
from node.protocol.trust import Ledger, TrustSettings
from node.store.records import Reader

ROOT = Path(__file__).parents[2]
_ADDRESS = re.compile(r"(/ip4/127\.0\.0\.1/tcp/\d+/p2p/\w+)")


@dataclass
class Node:
    """One `eqmesh` process in a folder of its own."""

    folder: Path
    arguments: tuple[str, ...]
    process: subprocess.Popen[bytes] | None = None
    starts: int = 0

    def start(self) -> None:
        self.folder.mkdir(exist_ok=True)
        self.starts += 1
        with self.log.open("ab") as log:
            self.process = subprocess.Popen(
                [sys.executable, "-c", "from node.cli import main; main()", *self.arguments],
                cwd=self.folder,
                env={
                    **os.environ,
                    "PYTHONPATH": str(ROOT),
                    "EQMESH_STATE_DIR": str(self.folder / "state"),
                    "OMP_NUM_THREADS": "1",
                },
                stdout=log,
                stderr=log,
            )

    @property
    def log(self) -> Path:
        return self.folder / "log"

    @property
    def store(self) -> Path:
        return self.folder / "eqmesh.db"

    def said(self) -> str:
        return self.log.read_text(errors="replace") if self.log.exists() else ""

    def end(self, number: int = signal.SIGINT) -> int:
        assert self.process is not None
        if self.process.poll() is None:
            self.process.send_signal(number)
        return self.process.wait(timeout=60)

    @property
    def lives(self) -> bool:
        return self.process is not None and self.process.poll() is None

    async def address(self) -> str:
        """Its address, once it can be reached."""
        await until(lambda: bool(_ADDRESS.search(self.said())), 60, self)
        return _ADDRESS.findall(self.said())[-1]

    @property
    def peer(self) -> str:
        return str(re.findall(r"event=node.starts peer=(\w+)", self.said())[-1])

    def ledger(self) -> Ledger:
        with Reader(self.store) as reader:
            return read_ledger(reader, TrustSettings())

    def records(self) -> dict[bytes, tuple[str, str]]:
        """Peer and kind of every signed record that is held, by id."""
        try:
            with Reader(self.store) as reader:
                return {row.id: (row.peer, row.kind) for row in reader.signed()}
        except NodeError:
            return {}

    def heard_of(self) -> set[str]:
        """Peers whose claims this node has taken in."""
        return {claim.peer for claim in self.ledger().claims.values()}

    def evaluations(self) -> list[tuple[int, str]]:
        try:
            with Reader(self.store) as reader:
                return [(row.id, row.genome) for row in reader.evaluations()]
        except NodeError:
            return []


@dataclass
class Nodes:
    """All nodes of a test, each ended at its end, come what may."""

    folder: Path
    all: list[Node] = field(default_factory=list)

    def add(self, name: str, *arguments: str) -> Node:
        node = Node(self.folder / name, arguments)
        node.start()
        self.all.append(node)
        return node


@contextmanager
def nodes(folder: Path) -> Iterator[Nodes]:
    found = Nodes(folder)
    try:
        yield found
    finally:
        for node in found.all:
            if node.process is not None and node.process.poll() is None:
                node.process.kill()
                node.process.wait(timeout=30)


async def until(seen: Callable[[], bool], seconds: float, *looked_at: Node) -> None:
    """Wait until something is seen; fails with the logs where it is not, or where a node has ended."""
    with trio.move_on_after(seconds):
        while not seen():
            await trio.sleep(0.3)
            gone = [node for node in looked_at if not node.lives]
            if gone:
                break
    if not seen():
        logs = "\n".join(f"--- {node.folder.name}\n{node.said()[-3000:]}" for node in looked_at)
        raise AssertionError(f"not seen within {seconds} s\n{logs}")
