"""The node's socket, seen from the dashboard: one order, one answer."""

import asyncio
import os
from pathlib import Path

from dashboard.errors import RefusedError
from node.orders import MOST_BYTES, Answer, Order, decode_answer, line_of_order

__all__ = ["ask_node"]

_DEADLINE_S = 10.0


async def ask_node(path: Path, order: Order) -> Answer | None:
    """What the search or node at `path` answers to an order; None where none is running.

    Raises RefusedError where there is one and no answer comes of it.
    """
    try:
        async with asyncio.timeout(_DEADLINE_S):
            reader, writer = await asyncio.open_unix_connection(os.fspath(path), limit=MOST_BYTES)
            try:
                writer.write(line_of_order(order))
                await writer.drain()
                return decode_answer(await reader.readline())
            finally:
                writer.close()
    except TimeoutError as error:
        raise RefusedError(f"the node gave no answer within {_DEADLINE_S:g} s. Try again.", 504) from error
    except (FileNotFoundError, ConnectionRefusedError):
        return None
    except (BlockingIOError, ConnectionError) as error:
        # asyncio takes a full queue of callers for a connection, and loses it with the first byte.
        raise RefusedError(
            "the node has as many orders before it as it takes at a time, or has just ended. Try again.", 503
        ) from error
    except (OSError, ValueError) as error:
        raise RefusedError(
            f"the node's socket {path.name} gave no answer that this eqmesh knows ({error}). Use the eqmesh that the "
            "node runs, as the user who started it.",
            502,
        ) from error
