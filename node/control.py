"""The socket of a running search or node: its owner's orders go there, not to the store that it alone writes.

The socket lies beside the store and is open to the owner alone. One connection is one order: a line of JSON in, a line
of JSON out. Whoever may write the store may give orders; nobody else can connect.
"""

import contextlib
import errno
import os
import socket
import stat
from collections.abc import Awaitable, Callable
from pathlib import Path

import msgspec
import trio

from eqmesh import EqmeshError
from node.errors import NodeError
from node.mesh.books import read_ledger
from node.orders import (
    LONGEST_PATH,
    MOST_BYTES,
    Answer,
    Ban,
    Done,
    Order,
    Refused,
    Unban,
    control_path,
    decode_answer,
    decode_order,
    line_of_order,
)
from node.protocol import trust
from node.protocol.trust import TrustSettings
from node.store.beliefs import BeliefWriter
from node.store.records import Reader
from node.store.writer import Writer

__all__ = [
    "Answer",
    "Ban",
    "ControlError",
    "Done",
    "Obey",
    "Order",
    "Refused",
    "Unban",
    "ask",
    "control_path",
    "event_of",
    "give",
    "is_served",
    "line_of",
    "listen",
    "serve",
]

_DEADLINE_S = 10.0
_ANSWER_S = 1.0
_AT_ONCE = 8

Obey = Callable[[Order], Awaitable[Answer | None]]
"""Carries out one order and gives the answer, None for done; an EqmeshError that it raises is the refusal."""


class ControlError(NodeError):
    """A node cannot be given orders, or did not do what it was told."""


def event_of(order: Ban | Unban, now: float) -> trust.Banned | trust.Unbanned:
    """What an order about a peer makes the ledger take in at the time `now` (seconds)."""
    match order:
        case Ban():
            until = now + order.days * 86_400
            return trust.Banned(at=now, peer=order.peer, until=until, reason=order.reason)
        case Unban():
            return trust.Unbanned(at=now, peer=order.peer)


def line_of(event: trust.Banned | trust.Unbanned) -> tuple[str, dict[str, object]]:
    """The line that the store's log of events gets for it."""
    if isinstance(event, trust.Banned):
        return "peer.banned", {"peer": event.peer, "until": event.until, "reason": event.reason}
    return "peer.unbanned", {"peer": event.peer}


def listen(path: Path) -> socket.socket:
    """A socket at `path` that its owner alone can connect to; one that a dead node left there is replaced.

    Call it with the store's lock held: then no other node of this store is alive. Raises ControlError.
    """
    if len(os.fsencode(path)) > LONGEST_PATH:
        raise ControlError(
            f"a socket's path has at most {LONGEST_PATH} bytes, {path} has more. Choose a shorter EQMESH_STATE_DIR."
        )
    bound = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        _make_room(path)
        # Between bind and chmod others could connect, so the mode has to be right from the start.
        before = os.umask(0o177)
        try:
            bound.bind(os.fspath(path))
        finally:
            os.umask(before)
        bound.listen(_AT_ONCE)
    except OSError as error:
        bound.close()
        raise ControlError(
            f"{path} cannot be a socket: {error.strerror}. Put the store elsewhere."
        ) from error
    except ControlError:
        bound.close()
        raise
    return bound


def _make_room(path: Path) -> None:
    try:
        found = path.lstat().st_mode
    except FileNotFoundError:
        return
    if not stat.S_ISSOCK(found):
        raise ControlError(f"{path} must be free for the node's socket, it is something else. Move it away.")
    path.unlink()


async def serve(
    path: Path,
    obey: Obey,
    *,
    task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED,
) -> None:
    """Take orders at `path` until cancelled, and take the socket away. Raises ControlError where it cannot.

    An EqmeshError of `obey` is the answer to its order.
    """
    bound = trio.socket.from_stdlib_socket(listen(path))
    busy = trio.CapacityLimiter(_AT_ONCE)

    async def handle(stream: trio.SocketStream) -> None:
        async with busy:
            await _take_order(stream, obey)

    try:
        async with trio.open_nursery() as nursery:
            await nursery.start(trio.serve_listeners, handle, [trio.SocketListener(bound)])
            task_status.started()
    finally:
        path.unlink(missing_ok=True)


async def _take_order(stream: trio.SocketStream, obey: Obey) -> None:
    # Whoever asked and left, or says nothing, gets no answer; neither is the node's trouble.
    with (
        contextlib.suppress(trio.BrokenResourceError, trio.ClosedResourceError),
        trio.move_on_after(_DEADLINE_S),
    ):
        try:
            answer: Answer = await obey(decode_order(await _line(stream))) or Done()
        except (msgspec.DecodeError, RecursionError) as error:
            answer = Refused(why=f"this node does not know the order: {error}. Use the eqmesh that it runs.")
        except EqmeshError as error:
            answer = Refused(why=str(error))
        # The order may have been to end: its answer goes out all the same.
        with trio.move_on_after(_ANSWER_S, shield=True):
            await stream.send_all(msgspec.json.encode(answer) + b"\n")


async def ask(path: Path, order: Order) -> Answer | None:
    """What the node at `path` answers to an order; None where no node is there.

    Raises ControlError where one is, and gives no answer in time.
    """
    with trio.move_on_after(_DEADLINE_S):
        try:
            stream = await trio.open_unix_socket(os.fspath(path))
        except OSError as error:
            _nobody(path, error)
            return None
        try:
            async with stream:
                await stream.send_all(line_of_order(order))
                return decode_answer(await _line(stream))
        except (trio.BrokenResourceError, msgspec.DecodeError) as error:
            raise ControlError(
                f"the node at {path} gave no answer that this eqmesh knows ({error}). Use the eqmesh that it runs."
            ) from error
    raise ControlError(
        f"the node at {path} gave no answer within {_DEADLINE_S:g} s. Try again, or stop it first."
    )


def is_served(path: Path) -> bool:
    """Whether a node takes orders at `path`. Raises ControlError where that cannot be seen."""
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as made:
        made.settimeout(_DEADLINE_S)
        try:
            made.connect(os.fspath(path))
        except OSError as error:
            _nobody(path, error)
            return False
    return True


def _nobody(path: Path, error: OSError) -> None:
    """Pass over what says that no node is at `path`. Raises ControlError for any other reason."""
    if len(os.fsencode(path)) > LONGEST_PATH:
        return  # no node could listen there either
    if error.errno == errno.EAGAIN:
        raise ControlError(
            f"the node at {path} has as many orders before it as it takes at a time. Try again."
        ) from error
    if error.errno not in (errno.ENOENT, errno.ECONNREFUSED, errno.ENOTSOCK):
        raise ControlError(
            f"the node's socket {path} cannot be reached: {error.strerror}. It takes orders of its owner alone."
        ) from error


async def give(order: Ban | Unban, store: Path, state: Path, *, now: Callable[[], float]) -> bool:
    """Have an order about a peer carried out; whether a running node did it. It is written into the store otherwise.

    Raises NodeError where it cannot be done.
    """
    answer = await ask(control_path(store, state), order)
    if isinstance(answer, Refused):
        raise ControlError(answer.why)
    if answer is not None:
        return True
    with Reader(store) as reader:  # where there is no store, none is made
        ledger = read_ledger(reader, TrustSettings())
    with Writer(store, now=now) as writer:
        event = event_of(order, now())
        ledger.apply(event)  # what the ledger refuses must never be written: no later start could read it
        BeliefWriter(writer).keep(events=[msgspec.msgpack.encode(event)], log=[line_of(event)])
    return False


async def _line(stream: trio.SocketStream) -> bytes:
    """The bytes up to the first line end, or to the end of the stream. Raises ControlError where they are too many."""
    body = b""
    while b"\n" not in body:
        part = await stream.receive_some(MOST_BYTES)
        if not part:
            break
        body += part
        if len(body) > MOST_BYTES:
            raise ControlError(f"an order has at most {MOST_BYTES} bytes. Give a shorter one.")
    return body.partition(b"\n")[0]
