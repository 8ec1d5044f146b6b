"""What is searched: genes, spaces, genomes, births, strategies, fronts and lineage. Pure."""

from genome.birth import OPERATORS, Birth, preset_birth, replay
from genome.conditions import ALWAYS, All, Any, AtLeast, Condition, Is, Value
from genome.errors import GenomeError
from genome.formats import FORMATS, export
from genome.genes import Choice, Gene, Integer, Real
from genome.genome import Genome
from genome.lineage import Change, Entry, Lineage, Statistics, diff
from genome.pareto import Direction, crowding, dominates, fronts, hypervolume, nondominated, survival
from genome.presets import PRESETS, preset
from genome.space import SearchSpace
from genome.spaces import MLP
from genome.strategies import STRATEGIES, Proposal, Record, Strategy, make_strategy

__all__ = [
    "ALWAYS",
    "FORMATS",
    "MLP",
    "OPERATORS",
    "PRESETS",
    "STRATEGIES",
    "All",
    "Any",
    "AtLeast",
    "Birth",
    "Change",
    "Choice",
    "Condition",
    "Direction",
    "Entry",
    "Gene",
    "Genome",
    "GenomeError",
    "Integer",
    "Is",
    "Lineage",
    "Proposal",
    "Real",
    "Record",
    "SearchSpace",
    "Statistics",
    "Strategy",
    "Value",
    "crowding",
    "diff",
    "dominates",
    "export",
    "fronts",
    "hypervolume",
    "make_strategy",
    "nondominated",
    "preset",
    "preset_birth",
    "replay",
    "survival",
]
