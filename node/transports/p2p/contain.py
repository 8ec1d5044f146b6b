"""What keeps one stranger's input from ending the node: handlers and tasks of libp2p that cannot raise, and marks.

py-libp2p 0.8.1 lets an exception in a stream handler, in a pubsub message or in a background task climb to the
nursery of the whole host. Six inputs of one remote peer do it with default handlers; `tests/live/test_hostile.py`
sends them all. A cancellation always passes.
"""

import contextlib
import functools
from collections import Counter, deque
from collections.abc import Awaitable, Callable, Iterator
from typing import Any

import trio
from libp2p.abc import IHost, INetStream, INetworkService
from libp2p.custom_types import StreamHandlerFn, TProtocol
from libp2p.io.exceptions import ConnectionClosedError, IncompleteReadError
from libp2p.network.connection.swarm_connection import SwarmConn
from libp2p.network.stream.exceptions import StreamError
from libp2p.peer.id import ID
from libp2p.pubsub.gossipsub import GossipSub
from libp2p.pubsub.pb import rpc_pb2
from libp2p.pubsub.pubsub import Pubsub
from libp2p.stream_muxer.exceptions import MuxedConnError, MuxedStreamError
from libp2p.stream_muxer.yamux.yamux import Yamux

from node.transports.base import TransportError

__all__ = [
    "CalmGossip",
    "CalmPubsub",
    "Guard",
    "Marks",
    "calm_tasks",
    "contain",
    "describe",
    "identity_of",
    "only_ours",
]

# A peer that hangs up, or whose wire breaks, has done nothing wrong.
_HANG_UPS = (
    StreamError,
    ConnectionClosedError,
    IncompleteReadError,
    MuxedConnError,
    MuxedStreamError,
    trio.TooSlowError,
    trio.BrokenResourceError,
    trio.ClosedResourceError,
)
_PATIENCE = 16
_BARRED_S = 600.0
_REMEMBERED = 1024

Task = Callable[..., Awaitable[Any]]


@functools.lru_cache(maxsize=1024)
def identity_of(peer: str) -> ID:
    """The peer's id as libp2p wants it. A question asks twice, and base58 costs 8 microseconds."""
    return ID.from_string(peer)


def describe(error: BaseException) -> str:
    """The first error within nested groups, and what it came of, in one line of at most 400 characters."""
    error = _innermost(error)
    root = error
    while root.__cause__ is not None:
        root = _innermost(root.__cause__)
    return _line(error) if root is error else f"{_line(error)} ({_line(root)})"


def _innermost(error: BaseException) -> BaseException:
    while isinstance(error, BaseExceptionGroup):
        error = error.exceptions[0]
    return error


def _line(error: BaseException) -> str:
    words = " ".join(str(error).split())
    return f"{type(error).__name__}: {words}"[:200] if words else type(error).__name__


@contextlib.contextmanager
def only_ours(doing: str) -> Iterator[None]:
    """Whatever libp2p raises within becomes a TransportError that says what was being done; a cancellation passes.

    A cancellation that comes with errors of tasks it ended is a cancellation alone: nobody waits for those tasks.
    """
    try:
        yield
    except (TransportError, trio.Cancelled):
        raise
    except Exception as error:
        raise TransportError(f"{doing}: {describe(error)}") from error
    except BaseExceptionGroup as group:
        ending, _ = group.split(lambda error: not isinstance(error, Exception | BaseExceptionGroup))
        assert ending is not None  # else it were an ExceptionGroup, which is an Exception
        raise ending from None


class Marks:
    """What peers did wrong, counted; a peer with too many is barred for a while. Holds at most 1024 peers."""

    def __init__(self) -> None:
        self._counts: Counter[str] = Counter()
        self._reasons: dict[str, str] = {}
        self._barred: dict[str, float] = {}

    def add(self, peer: str, reason: str, now: float) -> bool:
        """Count one more; True where the peer is barred by it."""
        self._counts[peer] += 1
        self._reasons[peer] = reason
        if len(self._counts) > _REMEMBERED:
            self._forget(min(self._counts, key=self._counts.__getitem__))
        if self._counts[peer] < _PATIENCE:
            return False
        self._forget(peer)
        self._barred[peer] = now + _BARRED_S
        if len(self._barred) > _REMEMBERED:
            del self._barred[min(self._barred, key=self._barred.__getitem__)]
        return True

    def barred(self, peer: str, now: float) -> bool:
        """Whether nothing is to be heard from this peer for now."""
        until = self._barred.get(peer)
        if until is not None and until <= now:
            del self._barred[peer]
            return False
        return until is not None

    def seen(self) -> dict[str, tuple[int, str]]:
        """Peers with marks: how many, and what the last was for."""
        return {peer: (count, self._reasons.get(peer, "")) for peer, count in self._counts.items()}

    def _forget(self, peer: str) -> None:
        del self._counts[peer]
        self._reasons.pop(peer, None)


class Guard:
    """Counts streams of each peer, contains what their handlers raise, and marks who caused it."""

    def __init__(self, *, per_peer: int, bar: Callable[[str], None]) -> None:
        self.marks = Marks()
        self.notes: deque[str] = deque(maxlen=64)
        """What was contained and is nobody's fault for sure: the latest, for the log."""
        self._per_peer = per_peer
        self._bar = bar
        self._open: Counter[tuple[str, str]] = Counter()

    def mark(self, peer: str, reason: str) -> None:
        """Hold something against a peer; the last straw bars it."""
        if self.marks.add(peer, reason, trio.current_time()):
            self._bar(peer)

    def wrap(
        self, name: str, handler: StreamHandlerFn, *, most: int, lasting_s: float = float("inf")
    ) -> StreamHandlerFn:
        """The handler, for at most `most` streams of one peer, each ended after `lasting_s` seconds."""

        async def contained(stream: INetStream) -> None:
            peer = str(stream.muxed_conn.peer_id)
            if self.marks.barred(peer, trio.current_time()) or self._open[name, peer] >= most:
                await _reset(stream)
                return
            self._open[name, peer] += 1
            try:
                with trio.move_on_after(lasting_s) as scope:
                    await handler(stream)
                if scope.cancelled_caught:
                    await _reset(stream)
            except _HANG_UPS:
                await _reset(stream)
            except Exception as error:  # noqa: BLE001 - around one peer's handler, as the house style allows
                self.mark(peer, f"{name}: {describe(error)}")
                await _reset(stream)
            finally:
                self._open[name, peer] -= 1
                if not self._open[name, peer]:
                    del self._open[name, peer]

        return contained

    def wrap_all(self, handler: StreamHandlerFn) -> StreamHandlerFn:
        """The swarm's own handler: it negotiates before any protocol's handler runs, and raises too."""
        return self.wrap("stream", handler, most=self._per_peer)


async def _reset(stream: INetStream) -> None:
    with trio.move_on_after(1, shield=True):
        with contextlib.suppress(Exception):  # it is gone already, which is what was wanted
            await stream.reset()


def contain(host: IHost, guard: Guard, *, most: dict[str, tuple[int, float]]) -> None:
    """From now on every handler that anybody registers with the host is wrapped. Call it before KadDHT and Pubsub.

    `most` gives, by protocol, how many streams one peer may have open and how many seconds each may last.
    """
    plain = host.set_stream_handler
    network: INetworkService = host.get_network()
    # BasicHost has registered ping and identify by now: their streams pass through here like all others.
    network.set_stream_handler(guard.wrap_all(host._swarm_stream_handler))  # type: ignore[attr-defined]

    # Identify runs as a system task of trio: what it raised would end the process, not the host alone.
    identify = host._identify_task_entry  # type: ignore[attr-defined]

    async def identify_calmly(peer_id: ID, reason: str) -> None:
        with contextlib.suppress(Exception):
            await identify(peer_id, reason)

    host._identify_task_entry = identify_calmly  # type: ignore[attr-defined]

    def set_stream_handler(protocol_id: TProtocol, stream_handler: StreamHandlerFn) -> None:
        streams, lasting_s = most.get(str(protocol_id), (2, float("inf")))
        plain(protocol_id, guard.wrap(str(protocol_id), stream_handler, most=streams, lasting_s=lasting_s))

    host.set_stream_handler = set_stream_handler  # type: ignore[method-assign]


def calm_tasks(manager: Any, note: Callable[[str], None]) -> None:
    """Tasks that a service of libp2p starts from now on cannot end it; a connection whose task failed is closed.

    `manager` is the service's TrioManager, typed Any because its interface hides the keyword that is told apart here.
    """
    plain = manager.run_task

    def run_task(task: Task, *args: Any, daemon: bool = False, name: str | None = None, **more: Any) -> None:
        if daemon or more:  # a daemon that stops must be noticed: the supervisor starts the transport anew
            plain(task, *args, daemon=daemon, name=name, **more)
        else:
            plain(
                functools.partial(_calmly, task, note),
                *args,
                name=name or getattr(task, "__qualname__", "task"),
            )

    manager.run_task = run_task


async def _calmly(task: Task, note: Callable[[str], None], *args: Any) -> None:
    try:
        await task(*args)
    except Exception as error:  # noqa: BLE001 - whatever one peer's connection or message made libp2p raise
        note(f"{getattr(task, '__qualname__', task)}: {describe(error)}")
        owner = getattr(task, "__self__", None)
        if isinstance(owner, SwarmConn | Yamux):
            with trio.move_on_after(2):
                with contextlib.suppress(Exception):  # as closed as it can be
                    await owner.close()


class CalmGossip(GossipSub):
    """A router whose heartbeat goes on after a beat that failed."""

    guard: Guard

    async def run(self) -> None:
        """Run as GossipSub does, with tasks that cannot end it."""
        calm_tasks(self.manager, self.guard.notes.append)
        await super().run()

    async def heartbeat(self) -> None:
        """Beat for ever."""
        while True:
            try:
                await super().heartbeat()
            except Exception as error:  # noqa: BLE001 - state that strangers fill; the next beat may do better
                self.guard.notes.append(f"heartbeat: {describe(error)}")
                await trio.sleep(self.heartbeat_interval)


class CalmPubsub(Pubsub):
    """Pubsub in which a stranger's message cannot raise: the peer that forwarded it is marked instead."""

    guard: Guard

    async def run(self) -> None:
        """Run as Pubsub does, with tasks that cannot end it."""
        calm_tasks(self.manager, self.guard.notes.append)
        await super().run()

    async def push_msg(self, msg_forwarder: ID, msg: rpc_pb2.Message) -> None:
        """Check, deliver and pass on one message. Raises only for a message of our own."""
        if msg_forwarder == self.my_id:
            await super().push_msg(msg_forwarder, msg)
            return
        try:
            await super().push_msg(msg_forwarder, msg)
        except Exception as error:  # noqa: BLE001 - around one peer's message
            self.guard.mark(str(msg_forwarder), f"announcement: {describe(error)}")
