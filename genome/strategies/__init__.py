"""Strategies: which genomes to evaluate next. Pure."""

from genome.strategies.base import ALONE, Company, Proposal, Record, Strategy
from genome.strategies.choosing import STRATEGIES, make_strategy

__all__ = ["ALONE", "STRATEGIES", "Company", "Proposal", "Record", "Strategy", "make_strategy"]
