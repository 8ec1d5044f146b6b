"""The other process of `test_two_processes`."""

import sys

import trio

from tests.live.peers import start, transport


async def main(address: str) -> None:
    """Connect, announce, ask, and write the answer."""
    async with trio.open_nursery() as nursery:
        peer = await start(nursery, transport(77))
        other = await peer.transport.connect(address)
        await peer.transport.announce("news", b"from afar")
        await trio.sleep(1)  # the announcement goes out as soon as the two know each other's topics
        answer = await peer.transport.request(other, b"cat")
        sys.stdout.write(answer.decode())
        await peer.stop()
