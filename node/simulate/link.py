"""A way to others whose streams are those of TCP: what is lost of a question or an answer is sent again."""

import trio

from node.transports.base import TransportError
from node.transports.memory import MemoryTransport

__all__ = ["Link"]

_RESEND_S = 0.5
"""How long an answer is waited for before the question is sent again; delays are a tenth of that, mostly."""


class Link(MemoryTransport):
    """A transport in memory that loses announcements for good, as gossip does, but asks again until the deadline."""

    async def request(self, peer: str, body: bytes, *, deadline_s: float | None = None) -> bytes:
        """Ask one peer; each time that nothing comes back costs half a second."""
        until = trio.current_time() + (self._limits.deadline_s if deadline_s is None else deadline_s)
        while True:
            left = until - trio.current_time()
            try:
                return await super().request(peer, body, deadline_s=min(_RESEND_S, left))
            except TransportError:
                # Whoever is away stays so for longer than a deadline; a reset is an answer.
                over = trio.current_time() >= until - 1e-9
                if over or trio.current_time() < until - left + _RESEND_S - 1e-9:
                    raise
