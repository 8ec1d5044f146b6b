"""Strategies: which genomes to evaluate next. Pure."""

from genome.strategies.base import Proposal, Record, Strategy
from genome.strategies.choosing import STRATEGIES, make_strategy

__all__ = ["STRATEGIES", "Proposal", "Record", "Strategy", "make_strategy"]
