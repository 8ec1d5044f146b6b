"""Questions and answers over streams that stay open: four bytes of length, big-endian, then that many bytes.

A stream carries one question at a time and answers in order. A new stream costs 5 to 12 ms and an open one 1 ms, so
streams are kept; the side that asked resets the one whose answer it no longer wants.
"""

import contextlib
from collections import defaultdict

import trio
from libp2p.abc import IHost, INetStream
from libp2p.custom_types import TProtocol
from libp2p.io.exceptions import IOException
from libp2p.network.stream.exceptions import StreamEOF

from node.errors import NodeError
from node.transports.base import Handlers, Limits, TransportError
from node.transports.p2p.contain import identity_of
from node.transports.p2p.mux import gather

__all__ = ["PROTOCOL", "Asker", "MisbehaviourError", "answer_stream", "read_frame", "write_frame"]

PROTOCOL = TProtocol("/eqmesh/request/1")
"""A change of the framing is a new protocol."""

_HEADER = 4
_READ = 1024 * 1024
_IDLE_HERE_S = 60.0
_IDLE_THERE_S = 120.0


class MisbehaviourError(NodeError):
    """The other side of a stream broke the protocol."""


async def read_frame(stream: INetStream, limit: int, header: bytes = b"") -> bytes:
    """One message of at most `limit` bytes. Raises MisbehaviourError for a longer one, StreamError at an early end."""
    size = int.from_bytes(header or await _exactly(stream, _HEADER), "big")
    if size > limit:
        raise MisbehaviourError(f"a message of at most {limit} bytes was expected, one of {size} announced")
    return await _exactly(stream, size)


async def write_frame(stream: INetStream, body: bytes) -> None:
    """Send one message."""
    await stream.write(len(body).to_bytes(_HEADER, "big") + body)


async def _exactly(stream: INetStream, count: int) -> bytes:
    parts: list[bytes] = []
    missing = count
    while missing:
        # Read eagerly: a reader that pauses for 5 s while the window is full breaks the transfer in py-libp2p.
        await gather(stream, missing)
        part = await stream.read(min(missing, _READ))
        if not part:
            raise StreamEOF
        parts.append(part)
        missing -= len(part)
    return b"".join(parts)


async def answer_stream(stream: INetStream, handlers: Handlers, limits: Limits) -> None:
    """Answer the questions of one stream until the peer closes it or is idle for two minutes.

    Raises what the handler raised, MisbehaviourError or TooSlowError: whoever calls resets the stream.
    """
    peer = str(stream.muxed_conn.peer_id)
    while True:
        header = b""
        with trio.move_on_after(_IDLE_THERE_S):
            with contextlib.suppress(StreamEOF):
                header = await _exactly(stream, _HEADER)
        if not header:
            await stream.close()
            return
        with trio.fail_after(limits.deadline_s):
            body = await read_frame(stream, limits.request_bytes, header)
        with trio.fail_after(limits.deadline_s):
            answer = await handlers.requested(peer, body)
        if len(answer) > limits.reply_bytes:
            raise MisbehaviourError(f"the answer has {len(answer)} bytes, {limits.reply_bytes} are allowed")
        with trio.fail_after(limits.deadline_s):
            await write_frame(stream, answer)


class Asker:
    """Asks peers, over at most `streams_per_peer / 2` streams each, which stay open for the next questions."""

    def __init__(self, host: IHost, limits: Limits) -> None:
        self._host = host
        self._limits = limits
        self._kept: defaultdict[str, list[tuple[INetStream, float]]] = defaultdict(list)
        # Half of what the peer allows in all, so that gossip and DHT streams never wait for questions.
        self._most = max(1, limits.streams_per_peer // 2)
        self._turns: dict[str, trio.CapacityLimiter] = {}

    async def ask(self, peer: str, body: bytes) -> bytes:
        """The peer's answer. The caller sets the deadline; a stream that is left in the middle is reset.

        A kept stream that turns out to be dead costs one more try on a new one, so a question can reach the peer twice.
        Raises TransportError for a question too long, libp2p's errors otherwise.
        """
        if len(body) > self._limits.request_bytes:
            raise TransportError(
                f"a request may have {self._limits.request_bytes} bytes, this one has {len(body)}"
            )
        turn = self._turns.setdefault(peer, trio.CapacityLimiter(self._most))
        async with turn:
            kept = await self._take(peer)
            if kept is not None:
                with contextlib.suppress(IOException):  # the peer closed it while it was idle
                    return await self._exchange(peer, kept, body)
            fresh = await self._host.new_stream(identity_of(peer), [PROTOCOL])
            return await self._exchange(peer, fresh, body)

    def forget(self, peer: str) -> None:
        """The connection is gone, and with it the streams."""
        self._kept.pop(peer, None)
        turn = self._turns.get(peer)
        if turn is not None and not turn.borrowed_tokens and not turn.statistics().tasks_waiting:
            del self._turns[peer]

    async def _take(self, peer: str) -> INetStream | None:
        kept = self._kept.get(peer, [])
        while kept:
            stream, since = kept.pop()
            if trio.current_time() - since < _IDLE_HERE_S and not getattr(stream, "is_closed", False):
                return stream
            # The peer counts it among those that we may have, until it is closed.
            await _leave(stream, done=True)
        return None

    async def _exchange(self, peer: str, stream: INetStream, body: bytes) -> bytes:
        done = False
        try:
            await write_frame(stream, body)
            answer = await read_frame(stream, self._limits.reply_bytes)
            done = True
        finally:
            kept = self._kept[peer]
            if done and len(kept) < self._most:
                kept.append((stream, trio.current_time()))
            else:
                await _leave(stream, done=done)
        return answer


async def _leave(stream: INetStream, *, done: bool) -> None:
    with trio.move_on_after(1, shield=True):
        with contextlib.suppress(Exception):  # it is gone already, which is what was wanted
            await (stream.close() if done else stream.reset())
