"""The log of a store, page by page: what happened last, and what happened since."""

from collections.abc import Sequence

from node.store.board.board import Board
from node.store.rows import EventRow

__all__ = ["MOST_EVENTS", "events_since", "newest_events"]

MOST_EVENTS = 500
"""Events that one question gives at most."""


def newest_events(
    board: Board, limit: int, *, kinds: Sequence[str] = (), before: int | None = None
) -> list[EventRow]:
    """The newest events, the newest first; of some kinds only, or only those before a sequence number."""
    where, values = ["1"], list[object]()
    if kinds:
        where.append(f"kind IN ({', '.join('?' * len(kinds))})")
        values.extend(kinds)
    if before is not None:
        where.append("seq < ?")
        values.append(before)
    return _events(
        board, f"{' AND '.join(where)} ORDER BY seq DESC LIMIT ?", [*values, min(limit, MOST_EVENTS)]
    )


def events_since(board: Board, after: int, limit: int = MOST_EVENTS) -> list[EventRow]:
    """Events with a sequence number above `after`, the oldest first."""
    return _events(board, "seq > ? ORDER BY seq LIMIT ?", [after, min(limit, MOST_EVENTS)])


def _events(board: Board, where: str, values: list[object]) -> list[EventRow]:
    rows = board.connection.execute(f"SELECT seq, at, kind, body FROM event WHERE {where}", values)
    return [EventRow(seq=seq, at=at, kind=kind, body=body) for seq, at, kind, body in rows]
