"""Search spaces: named, versioned sequences of genes that say which values make a genome. Pure."""

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from types import MappingProxyType

from genome.conditions import All, Any, AtLeast, Condition, Is, Value
from genome.errors import GenomeError
from genome.genes import Choice, Gene
from genome.genome import MOST_GENES, Genome
from genome.quoting import hint, show

__all__ = ["SearchSpace"]

_NAME = re.compile(r"[a-z][a-z0-9_.-]{0,63}")


@dataclass(frozen=True)
class SearchSpace:
    """Genes in order; a gene's condition reads only genes declared before it.

    A change of the genes that gives old genomes another meaning is a new `version`. Raises GenomeError for
    names used twice, and for conditions on genes or options that do not exist.
    """

    name: str
    version: int
    genes: tuple[Gene, ...]
    by_name: Mapping[str, Gene] = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "genes", tuple(self.genes))
        if not isinstance(self.name, str) or not _NAME.fullmatch(self.name):
            raise GenomeError(
                "a space's name expects a small letter and then up to 63 small letters, digits, '_', '.' or '-', "
                f"got {show(self.name)}. Rename it."
            )
        if (
            isinstance(self.version, bool)
            or not isinstance(self.version, int)
            or not 1 <= self.version <= 9999
        ):
            raise GenomeError(
                f"space {self.name!r} expects a version from 1 to 9999, got {show(self.version)}."
            )
        if not 1 <= len(self.genes) <= MOST_GENES:
            raise GenomeError(f"space {self.id!r} expects 1 to {MOST_GENES} genes, got {len(self.genes)}.")
        earlier: dict[str, Gene] = {}
        for gene in self.genes:
            if gene.name in earlier:
                raise GenomeError(f"space {self.id!r} has two genes named {gene.name!r}. Rename one.")
            _check_condition(gene.when, gene.name, earlier)
            earlier[gene.name] = gene
        object.__setattr__(self, "by_name", MappingProxyType(earlier))

    @property
    def id(self) -> str:
        """Name and version as they stand in each genome, e.g. 'mlp/1'."""
        return f"{self.name}/{self.version}"

    def validate(self, values: Mapping[str, object]) -> dict[str, Value]:
        """The values in gene order, with the type that each gene keeps (a Real turns 1 into 1.0).

        Genes may be missing here. Raises GenomeError for an unknown gene or an unlawful value, naming gene,
        bounds, what came and the space.
        """
        if not isinstance(values, Mapping):
            raise GenomeError(f"space {self.id!r} expects a mapping of genes to values, got {show(values)}.")
        for name in values:
            if name not in self.by_name:
                raise GenomeError(
                    f"space {self.id!r} has no gene {show(name)}.{hint(name, self.by_name)} Remove it or take one "
                    f"of its {len(self.genes)} genes."
                )
        try:
            return {gene.name: gene.check(values[gene.name]) for gene in self.genes if gene.name in values}
        except GenomeError as error:
            raise GenomeError(
                f"{error} Give such a value, or let SearchSpace.repair find the nearest (space {self.id!r})."
            ) from None

    def expressed(self, values: Mapping[str, Value]) -> tuple[str, ...]:
        """Names, in order, of the genes whose conditions hold, whether or not `values` has them."""
        names: list[str] = []
        seen: dict[str, Value] = {}
        for gene in self.genes:
            if gene.when.holds(seen):
                names.append(gene.name)
                if gene.name in values:
                    seen[gene.name] = values[gene.name]
        return tuple(names)

    def express(self, values: Mapping[str, Value]) -> dict[str, Value]:
        """Only those of the values whose genes' conditions hold, in gene order."""
        return {name: values[name] for name in self.expressed(values) if name in values}

    def genome(self, values: Mapping[str, object]) -> Genome:
        """The genome of these values: unexpressed ones dropped, and GenomeError where an expressed one lacks."""
        lawful = self.validate(values)
        names = self.expressed(lawful)
        for name in names:
            if name not in lawful:
                gene = self.by_name[name]
                raise GenomeError(
                    f"gene {name!r} is expressed here ({gene.when}) but was not given. Add it; it must "
                    f"{gene.domain} (space {self.id!r})."
                )
        return Genome(self.id, {name: lawful[name] for name in names})

    def check(self, genome: Genome) -> None:
        """Raise GenomeError unless the genome is one that this space makes, gene for gene.

        A genome that carries an unexpressed gene is refused: its id would differ from its program's.
        """
        if genome.space != self.id:
            raise GenomeError(
                f"space {self.id!r} got a genome of space {genome.space!r}. Take the space that made it, or build a "
                "new genome from its values."
            )
        made = self.genome(dict(genome.values))
        if made != genome:
            surplus = sorted(set(dict(genome.values)) - set(dict(made.values)))
            what = f"unexpressed genes {', '.join(surplus)}" if surplus else "values of another type"
            raise GenomeError(
                f"space {self.id!r} expects only expressed genes in their own types, got {what}. Build the genome "
                "with SearchSpace.genome()."
            )

    def repair(self, values: Mapping[str, object]) -> dict[str, Value]:
        """Values that make a genome, as near as can be to those given.

        Numbers are clipped into their bounds (and rounded, for an Integer); unknown and unexpressed genes go;
        a missing expressed gene gets the middle of its table, a missing Choice its first option. Raises
        GenomeError for what has no nearest lawful value: NaN, a word for a number, an unknown option.
        """

        def pick(gene: Gene) -> Value:
            if gene.name in values:
                try:
                    return gene.clip(values[gene.name])
                except GenomeError as error:
                    raise GenomeError(
                        f"{error} Nothing lawful is nearest to that: give such a value (space {self.id!r})."
                    ) from None
            return gene.table[0] if isinstance(gene, Choice) else gene.table[len(gene.table) // 2]

        return self.build(pick)

    def build(self, pick: Callable[[Gene], Value]) -> dict[str, Value]:
        """The expressed values that arise when each expressed gene, in order, takes what `pick` gives it."""
        values: dict[str, Value] = {}
        for gene in self.genes:
            if gene.when.holds(values):
                values[gene.name] = pick(gene)
        return values


def _check_condition(condition: Condition, name: str, earlier: Mapping[str, Gene]) -> None:
    for other in condition.genes:
        if other not in earlier:
            raise GenomeError(
                f"gene {name!r} has a condition on {other!r}, which is not declared before it."
                f"{hint(other, earlier)} Declare {other!r} first."
            )
    if isinstance(condition, All | Any):
        for part in condition.parts:
            _check_condition(part, name, earlier)
    if isinstance(condition, Is):
        for value in condition.values:
            try:
                earlier[condition.gene].check(value)
            except GenomeError as error:
                raise GenomeError(f"gene {name!r} has a condition that can never hold: {error}") from None
    if isinstance(condition, AtLeast) and isinstance(earlier[condition.gene], Choice):
        raise GenomeError(
            f"gene {name!r} has the condition {condition}, but {condition.gene!r} is a Choice. Use Is()."
        )
