"""The built-in search spaces, by the names that `--space` takes. Pure."""

from collections.abc import Mapping
from types import MappingProxyType

from genome.family import CONV, CUBE, FAMILY
from genome.incremental import INCREMENTAL
from genome.mlp import MLP
from genome.space import SearchSpace

__all__ = ["CONV", "CUBE", "FAMILY", "INCREMENTAL", "MLP", "SPACES"]

SPACES: Mapping[str, SearchSpace] = MappingProxyType(
    {space.name: space for space in (MLP, FAMILY, CUBE, CONV, INCREMENTAL)}
)
"""The built-in spaces: `mlp`, `family`, `cube`, `conv`, `incremental`."""
