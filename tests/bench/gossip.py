"""What share of announcements arrives, and how late, while two workers train beside the nodes.

    python -m tests.bench.gossip --output tests/bench/results/gossip.json

Eight processes on loopback, each with one `Libp2p`; together they announce 5 messages of 1 KB a second under one topic.
Two more processes multiply matrices without end at nice 5, as workers do. Latency is from just before `announce` in one
process to the handler of another, by the monotonic clock that all processes of a machine share.
"""

import argparse
import importlib.metadata
import os
import statistics
import sys
import time
from contextlib import ExitStack

import msgspec
import numpy as np
import trio

from tests.bench.blob import Child, listen, say
from tests.bench.report import (
    Cell,
    Column,
    Figure,
    Origin,
    Report,
    Table,
    arguments,
    finish,
    origin,
    percentile,
)

_PEERS = 8
_PER_S = 5.0
_BYTES = 1024
_TOPIC = "eqmesh/bench"
_SHARE, _P95_S = 0.99, 0.5
_PATIENCE_S = 60.0
_LATE_S = 5.0
"""How long after the last announcement one still counts."""
_NICE = 5


class Heard(msgspec.Struct, frozen=True):
    """What one peer said and heard in one phase: numbers said, and (number, latency) of those heard first."""

    said: tuple[int, ...]
    heard: tuple[tuple[int, float], ...]


class Ear:
    """Handlers that note when an announcement came first."""

    def __init__(self) -> None:
        self.came: dict[int, float] = {}

    async def announced(self, peer: str, topic: str, body: bytes) -> None:
        now = time.monotonic()
        self.came.setdefault(int.from_bytes(body[:4], "big"), now - float(body[4:28]))

    async def requested(self, peer: str, body: bytes) -> bytes:
        raise ValueError("nobody asks anything here")


def _body(number: int) -> bytes:
    head = number.to_bytes(4, "big") + f"{time.monotonic():24.9f}".encode()
    return head + os.urandom(_BYTES - len(head))  # which nothing can compress, as with ids and signatures


async def peer(number: int, first: str) -> None:
    """Be one of the peers: join at `first` (empty for the first one), then do what each line asks for.

    `START SECONDS OFFSET` announces for so many seconds from that monotonic time on, with numbers from OFFSET.
    """
    from tests.live.peers import transport

    ear, made = Ear(), transport(number + 1)
    async with trio.open_nursery() as nursery:

        async def ready() -> None:
            nursery.start_soon(obey)

        async def obey() -> None:
            await made.subscribe(_TOPIC)
            if first:
                await made.connect(first)
            say(made.status().addresses[0])
            while line := await listen():
                if line == "peers":
                    say(str(len(made.status().peers)))
                else:
                    start, seconds, offset = map(float, line.split())
                    said = await announce(start, seconds, int(offset))
                    await trio.sleep(_LATE_S)
                    came = tuple(one for one in ear.came.items() if one[0] >= offset)
                    say(msgspec.json.encode(Heard(said, came)).decode())
            nursery.cancel_scope.cancel()

        async def announce(start: float, seconds: float, offset: int) -> tuple[int, ...]:
            said = []
            for turn in range(number, round(seconds * _PER_S), _PEERS):
                await trio.sleep(max(0.0, start + turn / _PER_S - time.monotonic()))
                said.append(offset + turn)
                await made.announce(_TOPIC, _body(offset + turn))
            await trio.sleep(max(0.0, start + seconds - time.monotonic()))
            return tuple(said)

        await made.serve(ear, ready)


def busy() -> None:
    """Multiply matrices as a worker does, until the parent ends it."""
    import threading

    os.nice(_NICE)
    over = threading.Event()
    threading.Thread(target=lambda: (sys.stdin.read(), over.set()), daemon=True).start()
    matrix = np.full((512, 512), 1e-3, dtype=np.float32)
    while not over.is_set():
        matrix @ matrix


def _join(stack: ExitStack) -> list[Child]:
    children: list[Child] = []
    first = ""
    for number in range(_PEERS):
        children.append(stack.enter_context(Child("gossip", "peer", str(number), first)))
        address = children[-1].hear()
        first = first or address
    ends = time.monotonic() + _PATIENCE_S
    while min(_peers(children)) < _PEERS - 1:
        if time.monotonic() > ends:
            raise RuntimeError(f"the peers did not all find each other: {_peers(children)} connections")
    return children


def _peers(children: list[Child]) -> list[int]:
    for child in children:
        child.tell("peers")
    return [int(child.hear()) for child in children]


def _phase(children: list[Child], seconds: float, offset: int) -> list[Heard]:
    start = (
        time.monotonic() + 2
    )  # every peer has heard of the phase by then, and some beats of the mesh have passed
    for child in children:
        child.tell(f"{start} {seconds} {offset}")
    return [msgspec.json.decode(child.hear(), type=Heard) for child in children]


def measure(seconds: float, workers: int) -> dict[str, list[Heard]]:
    """One phase without and one with busy processes, among the same peers."""
    with ExitStack() as stack:
        children = _join(stack)
        _phase(
            children, 2.0, 0
        )  # what is said while the mesh of the topic still forms is not what is measured
        found = {"nothing beside them": _phase(children, seconds, 1_000_000)}
        for _ in range(workers):
            stack.enter_context(Child("gossip", "busy"))
        found[f"{workers} busy processes"] = _phase(children, seconds, 2_000_000)
    return found


def _figures(kind: str, phase: list[Heard], workers: int) -> tuple[list[Figure], list[Cell]]:
    said = sum(len(one.said) for one in phase)
    late = sorted(latency for one in phase for _, latency in one.heard)
    share = len(late) / (said * (_PEERS - 1))
    middle, p95 = statistics.median(late), percentile(late, 0.95)
    row: list[Cell] = [kind, said, len(late), share, middle, p95, late[-1]]
    where = f"{_PEERS} nodes, {_PER_S:g} announcements of 1 KB a second, {kind}"
    return [
        Figure(
            what=where, target=f">= {_SHARE:.0%} arrive", measured=f"{share:.2%}", reached=share >= _SHARE
        ),
        Figure(
            what=where,
            target=f"p95 <= {_P95_S * 1000:.0f} ms",
            measured=f"{p95 * 1000:.0f} ms",
            reached=p95 <= _P95_S,
        ),
    ], row


def report(found: dict[str, list[Heard]], options: argparse.Namespace, *, began: Origin) -> Report:
    """All of it in figures and a table."""
    figures: list[Figure] = []
    rows: list[list[Cell]] = []
    for kind, phase in found.items():
        own, row = _figures(kind, phase, options.workers)
        rows.append(row)
        if kind != "nothing beside them":
            figures += own
    seconds = ("median s", "p95 s", "latest s")
    return Report(
        name="gossip",
        title="Announcements",
        about="Eight nodes in eight processes on one machine, everybody connected to everybody; the busy processes "
        f"multiply matrices on one thread each at nice {_NICE}. One announcement counts once for each of the seven "
        "others that got it.",
        smoke=bool(options.smoke),
        seeds=(),
        figures=tuple(figures),
        tables=(
            Table(
                title="Announcements: how many arrived, and how late",
                columns=(
                    Column("beside the nodes"),
                    Column("said"),
                    Column("arrived"),
                    Column("share", ".2%"),
                    *(Column(title, ".3f") for title in seconds),
                ),
                rows=rows,
            ),
        ),
        origin=began,
        notes=(f"libp2p {importlib.metadata.version('libp2p')}, trio {importlib.metadata.version('trio')}",),
        data=found,
    )


def main() -> None:
    """Measure and report, or be one of the processes."""
    match sys.argv[1:]:
        case ["--role", "peer", number, first]:
            trio.run(peer, int(number), first)
            return
        case ["--role", "busy"]:
            busy()
            return
    parser = arguments(__doc__ or "")
    parser.add_argument("--seconds", type=float, default=60.0)
    parser.add_argument("--workers", type=int, default=2)
    options = parser.parse_args()
    began = origin("gossip")
    found = measure(3.0 if options.smoke else options.seconds, options.workers)
    finish(report(found, options, began=began), options.output)


if __name__ == "__main__":
    main()
