"""What a connected node costs that does nothing: CPU, memory, and bytes on the wire.

    python -m tests.bench.idle --output tests/bench/results/idle.json

Four processes on loopback with one `Libp2p` each, all connected, all following the node's two topics, and nobody says
anything. One of them is measured, the transport alone: no store, no search, no workers. A second time it also looks for
peers on the local network (multicast on loopback). Bytes are those of its TCP connections as the kernel counted them
(TCP_INFO), with 52 bytes of headers a segment; multicast is not among them.
"""

import argparse
import importlib.metadata
import socket
import struct
import sys
import time
from collections.abc import Iterable
from contextlib import ExitStack
from pathlib import Path

import msgspec
import trio

from tests.bench.blob import Child, listen, say
from tests.bench.report import Cell, Column, Figure, Origin, Report, Table, arguments, finish, origin

_OTHERS = 3
_TOPICS = ("eqmesh/bench/1", "eqmesh/bench/2")
_SHARE, _RSS_MB, _BYTES_PER_S = 0.02, 150.0, 2048.0
_SETTLING_S = 15.0
_PATIENCE_S = 60.0
# IPv4, TCP, and the time stamps of TCP.
_HEADERS_BYTES = 20 + 20 + 12
# Of struct tcp_info (linux/tcp.h): bytes_acked and bytes_received are at 120, segs_out and segs_in at 136.
_TCP_INFO = struct.Struct("=120x2Q2I")


class Cost(msgspec.Struct, frozen=True, kw_only=True):
    """What the measured process used: over `wall_s` seconds, and in all."""

    wall_s: float
    cpu_s: float
    rss_mb: float
    wire_bytes: int
    segments: int


class Deaf:
    """Handlers whom nobody tells anything."""

    async def announced(self, peer: str, topic: str, body: bytes) -> None:
        raise ValueError("nobody says anything here")

    async def requested(self, peer: str, body: bytes) -> bytes:
        raise ValueError("nobody asks anything here")


async def node(number: int, first: str, lan: bool) -> None:
    """Be one of the nodes: join at `first` (empty for the first one), then answer each line.

    `peers` asks for the number of connections, a number of seconds for what they cost.
    """
    from node.transports.p2p.transport import Libp2p
    from tests.live.peers import transport

    made: Libp2p = transport(number + 1, lan=lan, lan_interfaces=["127.0.0.1"])
    for topic in _TOPICS:
        await made.subscribe(topic)
    async with trio.open_nursery() as nursery:

        async def ready() -> None:
            nursery.start_soon(obey)

        async def obey() -> None:
            if first:
                await made.connect(first)
            say(made.status().addresses[0])
            while line := await listen():
                answer = str(len(made.status().peers)) if line == "peers" else await cost(made, float(line))
                say(answer)
            nursery.cancel_scope.cancel()

        await made.serve(Deaf(), ready)


async def cost(made: object, seconds: float) -> str:
    """What this process uses in so many seconds, as JSON."""
    sockets = {stream.stream.socket for stream in made._session._tcp._streams}  # type: ignore[attr-defined]
    if len(sockets) < _OTHERS:
        raise RuntimeError(f"{len(sockets)} connections are open, {_OTHERS} were to be measured")
    before, cpu, wall = traffic(sockets), time.process_time(), time.perf_counter()
    await trio.sleep(seconds)
    after = traffic(sockets)
    found = Cost(
        wall_s=time.perf_counter() - wall,
        cpu_s=time.process_time() - cpu,
        rss_mb=_rss_mb(),
        wire_bytes=after[0] - before[0] + _HEADERS_BYTES * (after[1] - before[1]),
        segments=after[1] - before[1],
    )
    return msgspec.json.encode(found).decode()


def traffic(sockets: Iterable["trio.socket.SocketType"]) -> tuple[int, int]:
    """Bytes and segments that the kernel counted for these connections, both ways."""
    counts = [
        _TCP_INFO.unpack(one.getsockopt(socket.IPPROTO_TCP, socket.TCP_INFO, _TCP_INFO.size))
        for one in sockets
    ]
    return sum(one[0] + one[1] for one in counts), sum(one[2] + one[3] for one in counts)


def _rss_mb() -> float:
    fields = dict(
        line.split(":", 1) for line in Path("/proc/self/status").read_text().splitlines() if ":" in line
    )
    return int(fields["VmRSS"].split()[0]) * 1024 / 1e6


def measure(seconds: float, settling_s: float, *, lan: bool) -> Cost:
    """One node among three others, after they have settled."""
    with ExitStack() as stack:
        children: list[Child] = []
        first = ""
        for number in range(_OTHERS + 1):
            options = (str(number), first, "lan" if lan else "")
            children.append(stack.enter_context(Child("idle", "node", *options)))
            address = children[-1].hear()
            first = first or address
        ends = time.monotonic() + _PATIENCE_S
        while min(found := _peers(children)) < _OTHERS:
            if time.monotonic() > ends:
                raise RuntimeError(f"the nodes did not all find each other: {found} connections")
        # One that called and was called, as most are; what a connection costs at first is not what is measured.
        measured = children[1]
        measured.tell(str(settling_s))
        measured.hear()
        measured.tell(str(seconds))
        return msgspec.json.decode(measured.hear(), type=Cost)


def _peers(children: list[Child]) -> list[int]:
    for child in children:
        child.tell("peers")
    return [int(child.hear()) for child in children]


def report(found: dict[str, Cost], options: argparse.Namespace, *, began: Origin) -> Report:
    """All of it in figures and a table."""
    rows: list[list[Cell]] = []
    figures = []
    for kind, one in found.items():
        share, rate = one.cpu_s / one.wall_s, one.wire_bytes / one.wall_s
        rows.append([kind, one.wall_s, share, one.rss_mb, rate, one.segments / one.wall_s])
        what = f"a connected node with {_OTHERS} quiet peers and no workers, {kind}"
        for target, measured, reached in (
            (f"<= {_SHARE:.0%} of a core", f"{share:.2%}", share <= _SHARE),
            (f"<= {_RSS_MB:.0f} MB", f"{one.rss_mb:.0f} MB", one.rss_mb <= _RSS_MB),
            (f"<= {_BYTES_PER_S / 1024:.0f} KB/s", f"{rate / 1024:.2f} KB/s", rate <= _BYTES_PER_S),
        ):
            figures.append(Figure(what=what, target=target, measured=measured, reached=reached))
    return Report(
        name="idle",
        title="A quiet node",
        about=f"The transport alone in a process of its own, {_SETTLING_S:g} s after it joined: CPU of the process, "
        "resident memory, and what its TCP connections sent and received, headers included.",
        smoke=bool(options.smoke),
        seeds=(),
        figures=tuple(figures),
        tables=(
            Table(
                title="What a connected node costs that does nothing",
                columns=(
                    Column("node"),
                    Column("s", ".0f"),
                    Column("share of a core", ".2%"),
                    Column("resident MB", ".0f"),
                    Column("bytes/s", ".0f"),
                    Column("segments/s", ".1f"),
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
    if sys.argv[1:3] == ["--role", "node"]:
        number, first, lan = sys.argv[3:]
        trio.run(node, int(number), first, bool(lan))
        return
    parser = arguments(__doc__ or "")
    parser.add_argument("--seconds", type=float, default=60.0)
    options = parser.parse_args()
    began = origin("idle")
    seconds, settling_s = (3.0, 1.0) if options.smoke else (options.seconds, _SETTLING_S)
    found = {
        "local network off": measure(seconds, settling_s, lan=False),
        "local network on": measure(seconds, settling_s, lan=True),
    }
    finish(report(found, options, began=began), options.output)


if __name__ == "__main__":
    main()
