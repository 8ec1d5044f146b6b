"""What a node's peers feel of a dashboard under load, and what a dashboard makes of bytes that are no HTTP.

Three processes of their own beside the server's: a peer that answers, a peer that asks it again and again (both
through `Libp2p`, as a node does), and clients of the dashboard. `tests.bench.dashboard` runs this.
"""

import http.client
import socket
import statistics
import sys
import threading
import time
from collections.abc import Callable
from contextlib import ExitStack
from pathlib import Path

import msgspec
import trio

from tests.bench.blob import Child, listen, say
from tests.bench.report import Cell, Figure, percentile
from tests.dashboard.test_guard import NASTY

__all__ = ["Pings", "malformed", "malformed_figure", "pings"]

_EVERY_S = 0.02
_CLIENTS = 4
_MOST_RATIO = 1.5
# What an open page asks for, and pages themselves.
_ASKED = ("/api/overview", "/api/events?limit=100", "/genomes", "/api/genomes", "/")


class Pings(msgspec.Struct, frozen=True, kw_only=True):
    """Round trips of a peer's questions in milliseconds, and answers of the dashboard a second meanwhile."""

    without_ms: list[float]
    with_ms: list[float]
    answers_per_s: float

    @property
    def ratio(self) -> float:
        """Median with the dashboard under load by the median without one."""
        return statistics.median(self.with_ms) / statistics.median(self.without_ms)

    def figure(self) -> Figure:
        """The ratio beside what the design asks for."""
        return Figure(
            what="a peer's ping with the dashboard under load, median by median without",
            target=f"<= {_MOST_RATIO:g} x",
            measured=f"{self.ratio:.2f} x",
            reached=self.ratio <= _MOST_RATIO,
        )

    def rows(self) -> list[list[Cell]]:
        """Lines for a table of what was measured."""
        return [
            ["a peer's ping without a dashboard (ms, p50)", statistics.median(self.without_ms)],
            ["a peer's ping with one under load (ms, p50)", statistics.median(self.with_ms)],
            ["a peer's ping without a dashboard (ms, p99)", percentile(self.without_ms, 0.99)],
            ["a peer's ping with one under load (ms, p99)", percentile(self.with_ms, 0.99)],
            [f"answers to {_CLIENTS} clients under that load (1/s)", self.answers_per_s],
        ]


def pings(serve: Callable[[ExitStack], tuple[int, str]], *, turns: int, seconds: float) -> Pings:
    """Ask for so many seconds without a dashboard, then with one under load, so many times.

    `serve` starts a dashboard that ends with the stack, and gives its port and token.
    """
    found = {False: list[float](), True: list[float]()}
    answers = 0
    with ExitStack() as peers:
        answering = peers.enter_context(Child("dashboard_pings", "answers"))
        asking = peers.enter_context(Child("dashboard_pings", "asks", answering.hear()))
        asking.hear()
        for turn in range(2 * turns):
            loaded = bool(turn % 2)
            with ExitStack() as stack:
                if loaded:
                    port, token = serve(stack)
                    load = stack.enter_context(Child("dashboard_pings", "loads", str(port), token))
                    load.hear()
                    # A little longer than the questions, so that none is asked in quiet.
                    load.tell(str(seconds + 0.5))
                asking.tell(str(seconds))
                found[loaded] += msgspec.json.decode(asking.hear(), type=list[float])
                if loaded:
                    answers += int(load.hear())
    return Pings(
        without_ms=found[False], with_ms=found[True], answers_per_s=answers / (turns * (seconds + 0.5))
    )


async def answers() -> None:
    """Be the peer that is asked, until the parent's end."""
    from tests.live.peers import start, transport

    async with trio.open_nursery() as nursery:
        peer = await start(nursery, transport(1))
        say(peer.address)
        await listen()
        await peer.stop()


async def asks(address: str) -> None:
    """Ask for as many seconds as each line says; say the round trips in milliseconds."""
    from tests.live.peers import start, transport

    async with trio.open_nursery() as nursery:
        peer = await start(nursery, transport(2))
        other = await peer.transport.connect(address)
        await peer.transport.request(other, b"ping")
        say("ready")
        while line := await listen():
            taken = []
            until = time.perf_counter() + float(line)
            while time.perf_counter() < until:
                began = time.perf_counter()
                await peer.transport.request(other, b"ping")
                taken.append(1e3 * (time.perf_counter() - began))
                await trio.sleep(_EVERY_S)
            say(msgspec.json.encode(taken).decode())
        await peer.stop()


def loads(port: int, token: str) -> None:
    """Ask a dashboard, each client on one connection, as fast as it answers; say how many answers came."""
    say("ready")
    while line := sys.stdin.readline().strip():
        until = time.perf_counter() + float(line)
        counts = [0] * _CLIENTS

        def client(number: int, until: float = until, counts: list[int] = counts) -> None:
            connection = http.client.HTTPConnection("127.0.0.1", port, timeout=60)
            while time.perf_counter() < until:
                path = _ASKED[counts[number] % len(_ASKED)]
                connection.request("GET", path, headers={"Authorization": f"Bearer {token}"})
                answer = connection.getresponse()
                answer.read()
                if answer.status != 200:
                    raise RuntimeError(f"{path} expected 200, got {answer.status}")
                counts[number] += 1
            connection.close()

        threads = [threading.Thread(target=client, args=(number,)) for number in range(_CLIENTS)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        say(str(sum(counts)))


def malformed(port: int, token: str, pid: int, *, rounds: int) -> dict[str, int]:
    """Send the guard's tests' nasty bytes so many times; what was sent, what was refused, whether it still answers."""
    host = f"127.0.0.1:{port}".encode()
    sent = refused = 0
    for _ in range(rounds):
        for nasty in NASTY:
            with socket.create_connection(("127.0.0.1", port), timeout=20) as stream:
                stream.sendall(nasty.replace(b"HOST", host).replace(b"TOKEN", token.encode()))
                stream.shutdown(socket.SHUT_WR)
                answer = b""
                try:
                    while part := stream.recv(65536):
                        answer += part
                except ConnectionResetError:
                    answer = answer or b"HTTP/1.1 4xx reset"
            sent += 1
            refused += not answer or answer.split()[1][:1] == b"4"
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=20)
    connection.request("GET", "/api/node", headers={"Authorization": f"Bearer {token}"})
    lives = connection.getresponse().status == 200 and Path(f"/proc/{pid}").exists()
    connection.close()
    return {"sent": sent, "refused": refused, "lives": int(lives)}


def malformed_figure(found: dict[str, int]) -> Figure:
    """What `malformed` found, beside what the design asks for."""
    return Figure(
        what=f"{found['sent']} malformed requests",
        target="the server never ends",
        measured=f"it answers on; {found['refused']} refused" if found["lives"] else "it ended",
        reached=bool(found["lives"]) and found["refused"] == found["sent"],
    )


def main() -> None:
    """Be one of the processes."""
    _, role, *options = sys.argv[1:]
    if role == "answers":
        trio.run(answers)
    elif role == "asks":
        trio.run(asks, options[0])
    elif role == "loads":
        loads(int(options[0]), options[1])
    else:
        raise SystemExit(f"expected answers, asks or loads, got {role}. Run tests.bench.dashboard.")


if __name__ == "__main__":
    main()
