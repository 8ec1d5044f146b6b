"""The two tiers of a front, and how often what is not confirmed may be a parent. Pure."""

import random
from collections.abc import Mapping, Sequence
from typing import Literal

import msgspec

from genome.pareto import Direction, nondominated
from node.protocol.trust.parameters import TrustError

PROVISIONAL_SHARE = 0.35
"""Most matings that may have a provisional parent (TRUST)."""

Tier = Literal["confirmed", "provisional"]
Rows = Mapping[str, Mapping[str, float]]
"""Objectives by genome id."""


class Mate(msgspec.Struct, frozen=True):
    """A genome chosen as the second parent of a mating."""

    genome: str
    tier: Tier


class Matings(msgspec.Struct, frozen=True):
    """How many matings there were, and how many had a provisional parent: never more than 35 %."""

    total: int = 0
    provisional: int = 0

    @property
    def open(self) -> bool:
        """Whether the next mating may have a provisional parent."""
        return self.provisional + 1 <= PROVISIONAL_SHARE * (self.total + 1)


def two_tiers(
    confirmed: Rows, provisional: Rows, directions: Mapping[str, Direction]
) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """The confirmed front, and the provisional genomes that no confirmed one dominates; ids in the given order.

    A provisional row never dominates: the confirmed front is the same with and without it, and so is every other
    provisional row's place. An id in both counts as confirmed. Own results belong to the confirmed.
    """
    names = list(confirmed)
    front = tuple(names[i] for i in nondominated([confirmed[name] for name in names], directions))
    rows = [confirmed[name] for name in front]
    waiting = tuple(
        name
        for name, row in provisional.items()
        if name not in confirmed and len(rows) in nondominated([*rows, row], directions)
    )
    return front, waiting


def exported(confirmed: Rows, provisional: Rows, directions: Mapping[str, Direction]) -> tuple[str, ...]:
    """The ids that may leave this node: the confirmed front, whatever is provisional."""
    return two_tiers(confirmed, provisional, directions)[0]


def choose_mate(
    rng: random.Random, matings: Matings, confirmed: Sequence[str], provisional: Sequence[str]
) -> tuple[Mate, Matings]:
    """The second parent of a mating, and the count after it.

    Provisional genomes are drawn like confirmed ones, each as likely as any other, but never in more than 35 % of
    all matings so far. They may be parents at all since the child is measured here.

    Raises TrustError where no parent may be had: nothing confirmed, and the provisional have had their share.
    """
    some = bool(provisional) and matings.open
    if not confirmed and not some:
        raise TrustError(
            "a mating expects a confirmed genome, or a provisional one within its 35 %, got neither. "
            "Mate among own genomes; those count as confirmed."
        )
    among = len(confirmed) + len(provisional)
    share = min(PROVISIONAL_SHARE, len(provisional) / among)
    if some and (not confirmed or rng.random() < share):
        return Mate(rng.choice(provisional), "provisional"), Matings(
            matings.total + 1, matings.provisional + 1
        )
    return Mate(rng.choice(confirmed), "confirmed"), Matings(matings.total + 1, matings.provisional)
