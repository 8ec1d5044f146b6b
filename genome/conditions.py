"""When a gene is expressed: small predicates over the genes declared before it. Pure."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Protocol

from genome.errors import GenomeError

__all__ = ["ALWAYS", "All", "Any", "AtLeast", "Condition", "Is", "Value"]

Value = int | float | str


class Condition(Protocol):
    """A predicate over the expressed genes; a test of a gene that is not expressed is false."""

    @property
    def genes(self) -> tuple[str, ...]:
        """Names of the genes that the condition reads."""
        ...

    def holds(self, values: Mapping[str, Value]) -> bool:
        """Whether the condition holds, given the values of the expressed genes only."""
        ...


@dataclass(frozen=True, init=False)
class Is:
    """The gene is expressed and has one of the values."""

    gene: str
    values: tuple[Value, ...]

    def __init__(self, gene: str, *values: Value) -> None:
        if not values:
            raise GenomeError(
                f"Is({gene!r}) expects at least one value, got none. Name the values that count."
            )
        object.__setattr__(self, "gene", gene)
        object.__setattr__(self, "values", values)

    @property
    def genes(self) -> tuple[str, ...]:
        """The one gene that is read."""
        return (self.gene,)

    def holds(self, values: Mapping[str, Value]) -> bool:
        """Whether the gene is expressed with one of the values."""
        return values.get(self.gene) in self.values

    def __str__(self) -> str:
        return f"{self.gene} = {' or '.join(str(value) for value in self.values)}"


@dataclass(frozen=True)
class AtLeast:
    """The gene, a number, is expressed and is not below the bound."""

    gene: str
    bound: int | float

    @property
    def genes(self) -> tuple[str, ...]:
        """The one gene that is read."""
        return (self.gene,)

    def holds(self, values: Mapping[str, Value]) -> bool:
        """Whether the gene is expressed and reaches the bound."""
        value = values.get(self.gene)
        return isinstance(value, int | float) and value >= self.bound

    def __str__(self) -> str:
        return f"{self.gene} >= {self.bound}"


@dataclass(frozen=True, init=False)
class All:
    """Every part holds; without parts, always."""

    parts: tuple[Condition, ...]

    def __init__(self, *parts: Condition) -> None:
        object.__setattr__(self, "parts", parts)

    @property
    def genes(self) -> tuple[str, ...]:
        """The genes that any part reads."""
        return tuple(name for part in self.parts for name in part.genes)

    def holds(self, values: Mapping[str, Value]) -> bool:
        """Whether all parts hold."""
        return all(part.holds(values) for part in self.parts)

    def __str__(self) -> str:
        return " and ".join(str(part) for part in self.parts) or "always"


@dataclass(frozen=True, init=False)
class Any:
    """At least one part holds."""

    parts: tuple[Condition, ...]

    def __init__(self, *parts: Condition) -> None:
        object.__setattr__(self, "parts", parts)

    @property
    def genes(self) -> tuple[str, ...]:
        """The genes that any part reads."""
        return tuple(name for part in self.parts for name in part.genes)

    def holds(self, values: Mapping[str, Value]) -> bool:
        """Whether at least one part holds."""
        return any(part.holds(values) for part in self.parts)

    def __str__(self) -> str:
        return f"({' or '.join(str(part) for part in self.parts)})"


ALWAYS = All()
