"""Numbered SQL files, applied in order, forwards only."""
