"""Read-only queries for pages: SQL that gives what one page shows, quick at 100,000 genomes."""

from node.store.board.board import Board, BoardError, Trouble

__all__ = ["Board", "BoardError", "Trouble"]
