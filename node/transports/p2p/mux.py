"""Yamux that holds a peer to its window.

py-libp2p 0.8.1 notes that a peer sent more than it was granted, and keeps the bytes: one peer that nobody reads from
fills the memory. It also doubles the window with every small read in a row, up to 16 MiB a stream. Here a window grows
to 2 MiB, a stream that holds more is cut off, and all peers together hold at most 64 MiB. (A writer that met the end
of its window looks again every 10 ms: a smaller window costs a third of the throughput of answers of 1 MiB.)
"""

import weakref

import trio
from libp2p.abc import IMuxedConn, INetStream, ISecureConn
from libp2p.network.stream.net_stream import NetStream
from libp2p.peer.id import ID
from libp2p.stream_muxer.exceptions import MuxedStreamError
from libp2p.stream_muxer.yamux import yamux
from libp2p.transport.upgrader import TransportUpgrader

__all__ = ["bound_streams", "gather"]

_WINDOW = 2 * 1024 * 1024
_STREAM = _WINDOW + 256 * 1024
_ALL = 64 * 1024 * 1024
_COUNTED_FROM = 64 * 1024
# One frame holds an answer with a chunk of 256 KiB, its length, and the frame's own header. The library's 64 KiB cost
# four times the turns of both event loops, and are a little too long for Noise, which makes two messages of each.
_FRAME = 256 * 1024 + 4 + 12

# Constants of the library's module, and so for the whole process: they bound the window and the length of one frame.
yamux.MAX_WINDOW_SIZE = _WINDOW
yamux.MAX_MESSAGE_SIZE = _FRAME


class _Stream(yamux.YamuxStream):
    """A stream that grants more once half of its window is used, not after every read."""

    # The library's own; named here for a type checker that does not have the library.
    _pending_recv_release: int

    async def _auto_tune_and_send_window_update(self, *, bytes_read: int = 0) -> None:
        self._pending_recv_release += bytes_read
        if 2 * self._pending_recv_release < self.target_recv_window:
            return
        granted, self._pending_recv_release = self._pending_recv_release, 0
        self.recv_window += granted
        buffered = len(self.conn.stream_buffers.get(self.stream_id, b""))
        granted += self._apply_autotune_epoch(buffered)
        await self.send_window_update(granted)

    async def gather(self, count: int) -> None:
        """Wait until `count` bytes can be read at once, or half a window of them, or no more are to come."""
        conn = self.conn
        while not (self.recv_closed or self.closed or conn.event_shutting_down.is_set()):
            held, event = conn.stream_buffers.get(self.stream_id), conn.stream_events.get(self.stream_id)
            # At least half a window is always granted: whoever waits for that much does not wait for himself.
            if held is None or event is None or len(held) >= min(count, self.target_recv_window // 2):
                return
            await event.wait()
            if self.stream_id in conn.stream_events:
                conn.stream_events[self.stream_id] = trio.Event()


async def gather(stream: INetStream, count: int) -> None:
    """Wait until it is worth reading up to `count` bytes: one read of them all costs less than one for each frame."""
    assert isinstance(stream, NetStream)
    assert isinstance(stream.muxed_stream, _Stream)  # nothing else is made
    await stream.muxed_stream.gather(count)


# Yamux makes its streams by this name.
yamux.YamuxStream = _Stream  # type: ignore[misc]


class _Buffer(bytearray):
    """What a stream received and nobody read yet; refuses what is too much."""

    def __init__(self, given: bytearray) -> None:
        super().__init__(given)
        _buffers[id(self)] = self

    def extend(self, more: bytes) -> None:  # type: ignore[override]  # the library extends by bytes alone
        held = len(self) + len(more)
        if held > _STREAM or (held > _COUNTED_FROM and sum(map(len, _buffers.values())) + len(more) > _ALL):
            # The library takes any error here for a broken read: it ends the stream, and goes on with the others.
            raise MuxedStreamError("the peer sent more than it was granted")
        super().extend(more)


# By identity: buffers of equal content are different buffers.
_buffers: "weakref.WeakValueDictionary[int, _Buffer]" = weakref.WeakValueDictionary()


class _Buffers(dict[int, bytearray]):
    def __setitem__(self, stream: int, buffer: bytearray) -> None:
        super().__setitem__(stream, _Buffer(buffer))


def bound_streams(upgrader: TransportUpgrader) -> None:
    """From now on every connection that is upgraded has bounded buffers. A subclass would not be asked for."""
    plain = upgrader.upgrade_connection

    async def upgrade(conn: ISecureConn, peer_id: ID) -> IMuxedConn:
        muxed = await plain(conn, peer_id)
        assert isinstance(muxed, yamux.Yamux)  # nothing else is offered
        muxed.stream_buffers = _Buffers()  # it is empty: reading starts later
        return muxed

    upgrader.upgrade_connection = upgrade  # type: ignore[method-assign]
