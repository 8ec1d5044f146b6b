"""What the search field finds: genomes and peers by the start of their ids, tasks by their names."""

from node.store.board.board import Board

__all__ = ["genomes_from", "peers_from", "tasks_from"]

# Sorts after every character that an id may hold.
_END = "\U0010ffff"


def genomes_from(board: Board, text: str, limit: int) -> list[str]:
    """Ids of genomes that begin with `text`."""
    return _starting(board, "SELECT id FROM genome WHERE id >= ? AND id < ? LIMIT ?", text.lower(), limit)


def peers_from(board: Board, text: str, limit: int) -> list[str]:
    """Ids of peers, of which there are records, that begin with `text`."""
    query = "SELECT DISTINCT peer FROM signed WHERE peer >= ? AND peer < ? ORDER BY peer LIMIT ?"
    return _starting(board, query, text, limit)


def tasks_from(board: Board, text: str, limit: int) -> list[str]:
    """Names of tasks of the store's runs that hold `text`."""
    rows = board.connection.execute(
        "SELECT DISTINCT task FROM run WHERE instr(lower(task), ?) > 0 ORDER BY task LIMIT ?",
        (text.lower(), limit),
    )
    return [str(name) for (name,) in rows]


def _starting(board: Board, query: str, text: str, limit: int) -> list[str]:
    return [str(found) for (found,) in board.connection.execute(query, (text, text + _END, limit))]
