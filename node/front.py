"""What the records say of each genome, and which genomes no other one dominates. Pure."""

import statistics
from collections.abc import Iterable, Sequence

import msgspec

from evaluator.objectives import Objective, directions, unit_point
from genome.pareto import hypervolume, nondominated
from node.store.rows import EvaluationRow

__all__ = ["Standing", "front_of", "hypervolume_of", "standings"]


class Standing(msgspec.Struct, frozen=True, kw_only=True):
    """One genome's objectives: as it was selected by, and on fresh seeds.

    `selected` holds the values of the search's own evaluation, which flatter whoever they put on the
    front. `fresh` and `spread` are mean and standard deviation over `n` fresh seeds (`spread` is empty
    below two); `failed` counts the fresh seeds that gave no result.
    """

    genome: str
    selected: dict[str, float]
    fresh: dict[str, float]
    spread: dict[str, float]
    n: int
    failed: int
    baseline: bool
    weights: str | None

    @property
    def objectives(self) -> dict[str, float]:
        """The fresh means where there are any, else the values it was selected by."""
        return self.fresh or self.selected


def standings(rows: Iterable[EvaluationRow]) -> list[Standing]:
    """One standing a genome that ever succeeded, in the order of first success.

    Raises ValueError unless the rows are of one task, tier and arithmetic class: results of two tiers
    are never compared.
    """
    first: dict[str, EvaluationRow] = {}
    fresh: dict[str, list[EvaluationRow]] = {}
    kinds = set()
    for row in rows:
        kinds.add((row.task_id, row.arithmetic))
        if row.purpose == "rescore":
            fresh.setdefault(row.genome, []).append(row)
        elif row.purpose in ("baseline", "search") and row.failure is None:
            first.setdefault(row.genome, row)
    if len(kinds) > 1:
        raise ValueError(f"standings compare one task, tier and arithmetic class, got {sorted(kinds)}")
    return [_standing(row, fresh.get(genome, [])) for genome, row in first.items()]


def _standing(row: EvaluationRow, again: list[EvaluationRow]) -> Standing:
    scored = [other for other in again if other.failure is None]
    values = {name: [other.objectives[name] for other in scored] for name in row.objectives}
    return Standing(
        genome=row.genome,
        selected=row.objectives,
        fresh={name: statistics.fmean(found) for name, found in values.items()} if scored else {},
        spread={name: statistics.stdev(found) for name, found in values.items()} if len(scored) > 1 else {},
        n=len(scored),
        failed=len(again) - len(scored),
        baseline=row.purpose == "baseline",
        weights=row.weights,
    )


def front_of(found: Sequence[Standing], objectives: tuple[Objective, ...]) -> list[Standing]:
    """The candidates that no other one dominates, best first objective first; baselines are left out.

    While some of them were not scored on fresh seeds, that is the front of the values they were
    selected by. Once all were, only genomes with fresh scores are compared, by their means; where none of them
    could be scored, the front is again that of the values they were selected by.
    """
    candidates = [standing for standing in found if not standing.baseline]
    ways = directions(objectives)
    front = [candidates[i] for i in nondominated([standing.selected for standing in candidates], ways)]
    scored = [standing for standing in candidates if standing.n]
    if scored and all(standing.n + standing.failed for standing in front):
        candidates = scored
        front = [candidates[i] for i in nondominated([standing.fresh for standing in candidates], ways)]
    lead = objectives[0]
    sign = -1.0 if lead.direction == "max" else 1.0
    return sorted(front, key=lambda standing: (sign * standing.objectives[lead.name], standing.genome))


def hypervolume_of(front: Sequence[Standing], objectives: tuple[Objective, ...]) -> float:
    """Share of the unit cube (each objective between its `worst` and `best`) that the front dominates."""
    return hypervolume([unit_point(objectives, standing.objectives) for standing in front])
