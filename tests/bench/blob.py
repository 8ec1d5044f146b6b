"""How fast a blob of 10 MB moves between two processes: our transport in hashed chunks beside plain py-libp2p.

    python -m tests.bench.blob --output tests/bench/results/blob.json

Four processes on loopback. Two speak through `Libp2p`: one answers requests for chunks of 256 KiB, the other has
several requests in flight, hashes each chunk and in the end the whole (`node.protocol.blobs.Assembly`). Two are plain
hosts (Noise and Yamux): one writes the blob to one stream that stays open, the other reads it eagerly and hashes
nothing. The pairs take turns, and each transfer of one is followed by one of the other.
"""

import argparse
import hashlib
import importlib.metadata
import os
import random
import statistics
import subprocess
import sys
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator, Sequence
from contextlib import ExitStack, asynccontextmanager, contextmanager
from typing import TYPE_CHECKING

import msgspec
import trio

from tests.bench.report import (
    ROOT,
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

if TYPE_CHECKING:
    from libp2p.abc import IHost, INetStream

# Neither node.transports.p2p nor libp2p is imported up here: the first changes constants of the second for the whole
# process, and the plain pair must run it as it comes.

_SIZE = 10_000_000
_SHARE = 0.85
_PROTOCOL = "/eqmesh/bench/1"
_LOOPBACK = "/ip4/127.0.0.1/tcp/0"
_PATIENCE_S = 60.0


def blob() -> bytes:
    """The same 10 MB in every process."""
    return random.Random(1).randbytes(_SIZE)


class Transfer(msgspec.Struct, frozen=True):
    """Wall seconds of one transfer, and CPU seconds of the process that received it."""

    wall_s: float
    cpu_s: float


@contextmanager
def _timed(taken: list[Transfer]) -> Iterator[None]:
    wall, cpu = time.perf_counter(), time.process_time()
    yield
    taken.append(Transfer(time.perf_counter() - wall, time.process_time() - cpu))


def say(text: str) -> None:
    """Tell the parent process one line."""
    sys.stdout.write(f"{text}\n")
    sys.stdout.flush()


async def listen() -> str:
    """The next line of the parent process; empty at its end."""
    return (await trio.to_thread.run_sync(sys.stdin.readline, abandon_on_cancel=True)).strip()


async def _on_demand(move: Callable[[], Awaitable[None]]) -> None:
    """Run `move` once for every line of standard input; say what it took."""
    while await listen():
        taken: list[Transfer] = []
        with trio.fail_after(_PATIENCE_S), _timed(taken):
            await move()
        say(msgspec.json.encode(taken[0]).decode())


async def ours_gives() -> None:
    """Answer the requests for chunks; the address is on standard output."""
    from node.protocol.blobs import chunk_of
    from tests.live.peers import Heard, start, transport

    body = blob()
    heard = Heard(answer=lambda question: chunk_of(body, int.from_bytes(question, "big")))
    async with trio.open_nursery() as nursery:
        peer = await start(nursery, transport(1), heard)
        say(peer.address)
        await listen()
        await peer.stop()


async def ours_takes(address: str, in_flight: int) -> None:
    """Fetch the blob by chunks, as often as asked."""
    from node.protocol.blobs import Assembly, manifest_of
    from tests.live.peers import start, transport

    body = blob()
    name, manifest = hashlib.sha256(body).digest(), manifest_of(body)
    async with trio.open_nursery() as nursery:
        peer = await start(nursery, transport(2))
        other = await peer.transport.connect(address)

        async def move() -> None:
            assembly = Assembly(name, _SIZE, manifest)
            wanted = iter(list(assembly.missing()))

            async def fetch() -> None:
                for index in wanted:
                    chunk = await peer.transport.request(other, index.to_bytes(2, "big"))
                    assembly.accept(index, chunk)

            async with trio.open_nursery() as fetching:
                for _ in range(in_flight):
                    fetching.start_soon(fetch)
            assembly.whole()

        await _on_demand(move)
        await peer.stop()


async def plain_gives() -> None:
    """Write the blob to a stream once for each byte that comes over it; the address is on standard output."""
    from libp2p.custom_types import TProtocol

    body = blob()

    async def handler(stream: "INetStream") -> None:
        while await stream.read(1):
            await stream.write(body)

    async with _plain() as host:
        host.set_stream_handler(TProtocol(_PROTOCOL), handler)
        say(str(host.get_addrs()[0]))
        await listen()


async def plain_takes(address: str) -> None:
    """Read the blob from one open stream, as often as asked."""
    from libp2p.custom_types import TProtocol
    from libp2p.peer.peerinfo import info_from_p2p_addr
    from multiaddr import Multiaddr

    async with _plain() as host:
        info = info_from_p2p_addr(Multiaddr(address))
        await host.connect(info)
        stream = await host.new_stream(info.peer_id, [TProtocol(_PROTOCOL)])

        async def move() -> None:
            await stream.write(b"?")
            arrived = 0
            while arrived < _SIZE:
                arrived += len(await stream.read(1024 * 1024))

        await _on_demand(move)


@asynccontextmanager
async def _plain() -> AsyncIterator["IHost"]:
    from libp2p import new_host
    from libp2p.crypto.ed25519 import create_new_key_pair
    from libp2p.crypto.x25519 import create_new_key_pair as create_new_x25519_key_pair
    from libp2p.custom_types import TProtocol
    from libp2p.security.noise.transport import PROTOCOL_ID, Transport
    from libp2p.stream_muxer.yamux import yamux
    from multiaddr import Multiaddr

    keys = create_new_key_pair(os.urandom(32))
    noise = Transport(keys, noise_privkey=create_new_x25519_key_pair().private_key)
    muxers = {TProtocol(yamux.PROTOCOL_ID): yamux.Yamux}
    host = new_host(key_pair=keys, sec_opt={PROTOCOL_ID: noise}, muxer_opt=muxers)
    async with host.run(listen_addrs=[Multiaddr(_LOOPBACK)]):
        yield host


class Child:
    """A process that plays a role of a benchmark (`--role`), and is told and tells by lines."""

    def __init__(self, bench: str, *role: str) -> None:
        command = [sys.executable, "-m", f"tests.bench.{bench}", "--role", *role]
        pipe = subprocess.PIPE
        one_thread = {**os.environ, "OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1"}
        self._process = subprocess.Popen(
            command, cwd=ROOT, stdin=pipe, stdout=pipe, text=True, env=one_thread
        )
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._in, self._out = self._process.stdin, self._process.stdout

    def __enter__(self) -> "Child":
        return self

    def __exit__(self, *_: object) -> None:
        self._in.close()  # which every role takes for the end
        try:
            self._process.wait(timeout=15)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
        self._out.close()

    def tell(self, line: str) -> None:
        """Write one line to it."""
        self._in.write(f"{line}\n")
        self._in.flush()

    def hear(self) -> str:
        """The next line that it writes. Raises RuntimeError where it ended instead."""
        line = self._out.readline()
        if not line:
            raise RuntimeError(f"{self._process.args} ended before it answered")
        return line.strip()


class Pair:
    """Two processes: one that gives and one that takes, on demand."""

    def __init__(self, stack: ExitStack, kind: str, *options: str) -> None:
        giver = stack.enter_context(Child("blob", f"{kind}-gives"))
        self._taker = stack.enter_context(Child("blob", f"{kind}-takes", giver.hear(), *options))

    def move(self) -> Transfer:
        """One transfer. Raises RuntimeError where it failed."""
        self._taker.tell("go")
        return msgspec.json.decode(self._taker.hear(), type=Transfer)


def measure(repeats: int, flights: Sequence[int]) -> dict[str, list[Transfer]]:
    """Transfers of every kind in turn; the first of each is left out, which opens streams and windows."""
    found: dict[str, list[Transfer]] = {}
    with ExitStack() as stack:
        pairs = {f"eqmesh, {count} in flight": Pair(stack, "ours", str(count)) for count in flights}
        pairs["plain py-libp2p, one stream"] = Pair(stack, "plain")
        for kind, pair in pairs.items():
            found[f"{kind}, first"] = [pair.move()]
        for number in range(repeats):
            turn = list(pairs.items())
            for kind, pair in turn if number % 2 else reversed(turn):
                found.setdefault(kind, []).append(pair.move())
    return found


def hashing_s() -> float:
    """Median seconds that the SHA-256 of the blob takes."""
    body, taken = blob(), []
    for _ in range(9):
        began = time.perf_counter()
        hashlib.sha256(body)
        taken.append(time.perf_counter() - began)
    return statistics.median(taken)


def report(found: dict[str, list[Transfer]], options: argparse.Namespace, *, began: Origin) -> Report:
    """All of it in a figure and a table."""
    rows: list[list[Cell]] = []
    rates = {}
    for kind, transfers in found.items():
        walls = [one.wall_s for one in transfers]
        rates[kind] = _SIZE / 1e6 / statistics.median(walls)
        rows.append(
            [
                kind,
                len(walls),
                statistics.median(walls),
                percentile(walls, 0.05),
                percentile(walls, 0.95),
                rates[kind],
                statistics.median(one.cpu_s for one in transfers),
            ]
        )
    plain = rates["plain py-libp2p, one stream"]
    figures = []
    for count in options.in_flight:
        share = rates[f"eqmesh, {count} in flight"] / plain
        figures.append(
            Figure(
                what=f"a blob of 10 MB in hashed chunks, {count} requests in flight, beside plain py-libp2p",
                target=f">= {_SHARE:.0%} of its throughput",
                measured=f"{share:.0%}",
                reached=share >= _SHARE,
            )
        )
    return Report(
        name="blob",
        title="Large bodies",
        about="10 MB between two processes on loopback, TCP with Noise and Yamux for both. eqmesh asks for chunks of "
        "256 KiB over streams of a pool and hashes every chunk and the whole; plain py-libp2p writes the whole to one "
        "open stream and hashes nothing. Both are connected before, and take turns.",
        smoke=bool(options.smoke),
        seeds=(1,),
        figures=tuple(figures),
        tables=(
            Table(
                title="10 MB from one process to another",
                columns=(
                    Column("what"),
                    Column("n"),
                    Column("median s", ".3f"),
                    Column("5 %", ".3f"),
                    Column("95 %", ".3f"),
                    Column("MB/s", ".1f"),
                    Column("CPU s of the receiver", ".3f"),
                ),
                rows=rows,
                note="`first`: the transfer that opens the streams and their windows. Of the receiver's CPU seconds, "
                f"eqmesh spends {2 * hashing_s():.3f} on SHA-256 of the chunks and of the whole.",
            ),
        ),
        origin=began,
        notes=(f"libp2p {importlib.metadata.version('libp2p')}, trio {importlib.metadata.version('trio')}",),
        data=found,
    )


def _play(role: str, *options: str) -> None:
    match role:
        case "ours-gives":
            trio.run(ours_gives)
        case "ours-takes":
            trio.run(ours_takes, options[0], int(options[1]))
        case "plain-gives":
            trio.run(plain_gives)
        case "plain-takes":
            trio.run(plain_takes, options[0])
        case _:
            raise ValueError(f"no such role: {role}")


def main() -> None:
    """Measure and report, or be one of the processes."""
    if sys.argv[1:2] == ["--role"]:
        _play(*sys.argv[2:])
        return
    parser = arguments(__doc__ or "")
    parser.add_argument("--repeats", type=int, default=15)
    parser.add_argument("--in-flight", type=int, nargs="+", default=[4, 8])
    options = parser.parse_args()
    began = origin("blob")
    found = measure(1 if options.smoke else options.repeats, options.in_flight)
    finish(report(found, options, began=began), options.output)


if __name__ == "__main__":
    main()
