"""Announcements over gossipsub: signed, bounded, paced.

The library drops a node's own messages silently above a rate for each topic and peer, forwarded ones included, and
beats every 120 s unless told otherwise. So the beat is 1 s, the cap stands far above our pace, and we pace ourselves.
"""

import os

import trio
from libp2p.abc import IHost
from libp2p.custom_types import TProtocol
from libp2p.peer.id import ID
from libp2p.pubsub.pb import rpc_pb2

from node.transports.base import Handlers, Limits, TransportError
from node.transports.p2p.contain import CalmGossip, CalmPubsub, Guard, describe

__all__ = ["Gossip"]

_PROTOCOLS = (TProtocol("/meshsub/1.1.0"), TProtocol("/meshsub/1.0.0"))
# All that one neighbour may forward on one topic in a second: some ten peers at full pace.
_FORWARDED_PER_S = 100.0
_TOPICS_PER_PEER = 32


class Gossip:
    """The topics this node follows, and its own voice."""

    def __init__(self, host: IHost, limits: Limits, guard: Guard) -> None:
        self.router = CalmGossip(
            protocols=_PROTOCOLS,
            degree=6,
            degree_low=4,
            degree_high=12,
            heartbeat_interval=1,
            max_messages_per_topic_per_second=_FORWARDED_PER_S,
        )
        self.pubsub = CalmPubsub(
            host,
            self.router,
            max_subscriptions_per_peer=_TOPICS_PER_PEER,
            max_subscriptions_per_rpc=_TOPICS_PER_PEER,
        )
        self.pubsub.guard = self.router.guard = guard
        # The library counts on from the second it started in. A node that starts again within two minutes of saying
        # much would repeat numbers, which others have seen and drop.
        self.pubsub.counter = int.from_bytes(os.urandom(7), "big")
        self._me = host.get_id()
        self._limits = limits
        self._guard = guard
        self._next_s = 0.0

    async def announce(self, topic: str, body: bytes) -> None:
        """Publish when its turn has come. Raises TransportError where that is later than the deadline."""
        if len(body) > self._limits.announcement_bytes:
            raise TransportError(
                f"an announcement may have {self._limits.announcement_bytes} bytes, this one has {len(body)}"
            )
        now = trio.current_time()
        turn = max(now, self._next_s)
        if turn - now > self._limits.deadline_s / 2:
            raise TransportError(
                f"announcements wait for longer than {self._limits.deadline_s / 2:g} s: say less, or later"
            )
        self._next_s = turn + 1 / self._limits.announcements_per_s
        await trio.sleep_until(turn)
        await self.pubsub.publish(topic, body)

    async def follow(self, topic: str, handlers: Handlers) -> None:
        """Hand announcements under `topic` to the handlers, one at a time, until cancelled; drops those too many."""
        self.pubsub.set_topic_validator(topic, self._fits, is_async_validator=False)
        subscription = await self.pubsub.subscribe(topic)
        while True:
            message = await subscription.get()
            author = ID(message.from_id)
            if author != self._me:
                await self._tell(handlers, str(author), topic, bytes(message.data))

    async def _tell(self, handlers: Handlers, author: str, topic: str, body: bytes) -> None:
        try:
            with trio.move_on_after(self._limits.deadline_s):
                await handlers.announced(author, topic, body)
        except Exception as error:  # noqa: BLE001 - around one peer's message
            self._guard.mark(author, f"announcement: {describe(error)}")

    def _fits(self, _: ID, message: rpc_pb2.Message) -> bool:
        try:
            return len(message.topicIDs) == 1 and len(message.data) <= self._limits.announcement_bytes
        except Exception:  # noqa: BLE001 - a validator that raises would end the process
            return False
