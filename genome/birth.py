"""Births: how a genome came to be, replayable from its parents and a seed on any machine. Pure."""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType

from genome.errors import GenomeError
from genome.genome import Genome
from genome.presets import preset, preset_operator
from genome.quoting import hint, show
from genome.space import SearchSpace
from genome.variation import cross, draw, mutate

__all__ = ["OPERATORS", "Birth", "preset_birth", "replay"]

OPERATORS: Mapping[str, str] = MappingProxyType(
    {
        "random/1": "Every expressed gene drawn uniformly from its levels; no parents.",
        "mutate/1": "One gene of the parent moved for certain, each other one with probability one over their number.",
        "cross/1": "Each gene from either parent by a coin, then a light mutation.",
        "preset/NAME": "A preset; no parents. preset/NAME@TASK where the task has numbers of its own.",
        "import/1": "Given by hand or by another program; no parents, not replayable.",
    }
)
"""What each operator does; the number is its version: a changed operator gets the next one."""

LARGEST_SEED = 2**63 - 1
_PARENTS = {"random/1": 0, "mutate/1": 1, "cross/1": 2, "import/1": 0}
_PRESET = re.compile(r"preset/([a-z0-9-]{1,32})(?:@([a-z0-9._-]{1,64}))?")
_ID = re.compile(r"[0-9a-f]{64}")


@dataclass(frozen=True)
class Birth:
    """Ids of the parents (0 to 2, the first one counts for genes that never vary), operator, operator seed.

    The seed lies in [0, 2^63). Raises GenomeError for an unknown operator, another number of parents than it
    takes, or one parent twice.
    """

    parents: tuple[str, ...]
    operator: str
    seed: int

    def __post_init__(self) -> None:
        object.__setattr__(self, "parents", tuple(self.parents))
        known = isinstance(self.operator, str) and (
            self.operator in _PARENTS or _PRESET.fullmatch(self.operator)
        )
        if not known:
            raise GenomeError(
                f"a birth expects an operator of {', '.join(OPERATORS)}; got {show(self.operator)}."
                f"{hint(self.operator, OPERATORS)}"
            )
        for parent in self.parents:
            if not isinstance(parent, str) or not _ID.fullmatch(parent):
                raise GenomeError(
                    f"a parent expects an id of 64 small hexadecimal digits, got {show(parent)}."
                )
        wanted = _PARENTS.get(self.operator, 0)
        if len(self.parents) != wanted or len(set(self.parents)) != wanted:
            raise GenomeError(
                f"operator {self.operator!r} expects {wanted} different parents, got {len(self.parents)} of which "
                f"{len(set(self.parents))} differ."
            )
        whole = isinstance(self.seed, int) and not isinstance(self.seed, bool)
        if not whole or not 0 <= self.seed <= LARGEST_SEED:
            raise GenomeError(f"a birth expects a seed from 0 to 2^63 - 1, got {show(self.seed)}.")

    @property
    def of_preset(self) -> bool:
        """Whether the genome is a preset: known to everybody who has this program."""
        return _PRESET.fullmatch(self.operator) is not None


def preset_birth(name: str, task: str | None = None) -> Birth:
    """The birth of `preset(name, task)`."""
    return Birth((), preset_operator(name, task), 0)


def replay(birth: Birth, space: SearchSpace, parents: Mapping[str, Genome]) -> Genome:
    """The child of this birth: the same genome on every machine.

    `parents` maps ids to genomes and may hold others too. Raises GenomeError where a parent lacks, is filed
    under another id or does not belong to the space, and for imports, which nothing can replay.
    """
    chosen = [_parent(id_, space, parents) for id_ in birth.parents]
    match birth.operator:
        case "random/1":
            return draw(space, seed=birth.seed)
        case "mutate/1":
            return mutate(space, *chosen, seed=birth.seed)
        case "cross/1":
            return cross(space, *chosen, seed=birth.seed)
        case "import/1":
            raise GenomeError(
                "a genome that was imported ('import/1') has no birth to replay. Take its recorded values instead."
            )
    match = _PRESET.fullmatch(birth.operator)
    child = preset(match[1], match[2]) if match else None
    if child is None or child.space != space.id:
        raise GenomeError(
            f"operator {birth.operator!r} gives a genome of another space than {space.id!r}. Replay it in its own."
        )
    return child


def _parent(id_: str, space: SearchSpace, parents: Mapping[str, Genome]) -> Genome:
    parent = parents.get(id_)
    if parent is None:
        raise GenomeError(
            f"replaying a birth needs its parent {id_}, which was not given. Pass its genome too."
        )
    if parent.id != id_:
        raise GenomeError(
            f"the genome given as parent {id_} has the id {parent.id}. File each under its own id."
        )
    space.check(parent)
    return parent
