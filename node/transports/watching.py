"""Tells of a transport's state whenever it changes, and of what went wrong within it."""

from collections.abc import Callable

import trio

from node.transports.base import Status, Transport

__all__ = ["watch"]

_EVERY_S = 2.0


async def watch(
    transport: Transport,
    told: Callable[[Status], None],
    noted: Callable[[str], None],
) -> None:
    """Call `told` at the start and at each change of the state, `noted` for each contained failure; until cancelled."""
    before: tuple[object, ...] = ()
    notes: tuple[str, ...] = ()
    while True:
        status = transport.status()
        # How many peers, not which: in a large mesh some come and go all the time.
        shown = (status.reachability, status.trouble, len(status.peers), status.addresses)
        if shown != before:
            before = shown
            told(status)
        seen, notes = set(notes), transport.contained()
        for note in notes:
            if note not in seen:
                noted(note)
        await trio.sleep(_EVERY_S)
