"""What goes wrong with genomes, on purpose. Pure."""

from eqmesh import EqmeshError

__all__ = ["GenomeError"]


class GenomeError(EqmeshError):
    """A gene, space, genome, birth, strategy or lineage cannot be used as it was given."""
