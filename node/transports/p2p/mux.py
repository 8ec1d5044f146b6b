"""Yamux that holds a peer to its window.

py-libp2p 0.8.1 notes that a peer sent more than it was granted, and keeps the bytes: one peer that nobody reads from
fills the memory. It also doubles the window with every small read in a row, up to 16 MiB a stream. Here a window grows
to 2 MiB, a stream that holds more is cut off, and all peers together hold at most 64 MiB. (A writer that met the end
of its window looks again every 10 ms: a smaller window costs a third of the throughput of answers of 1 MiB.)
"""

import weakref

from libp2p.abc import IMuxedConn, ISecureConn
from libp2p.peer.id import ID
from libp2p.stream_muxer.exceptions import MuxedStreamError
from libp2p.stream_muxer.yamux import yamux
from libp2p.transport.upgrader import TransportUpgrader

__all__ = ["bound_streams"]

_WINDOW = 2 * 1024 * 1024
_STREAM = _WINDOW + 256 * 1024
_ALL = 64 * 1024 * 1024
_COUNTED_FROM = 64 * 1024

# A constant of the library's module, and so for the whole process: it bounds the window and the length of one frame.
yamux.MAX_WINDOW_SIZE = _WINDOW


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
