"""A search as rows and as a document: what `search` and `front` print. Pure."""

from collections.abc import Mapping, Sequence
from typing import Literal

import msgspec

from evaluator.objectives import Objective, directions
from genome import Genome
from node.front import Standing, front_of, hypervolume_of
from node.protocol.trust import two_tiers
from node.store.rows import EvaluationRow, RunSpec
from node.text import number, short, summary

__all__ = ["Foreign", "Row", "document", "front_header", "front_row", "front_rows", "tiers"]

_END = 8
"""Characters at the end of a peer id that a table shows: the beginnings are all the same."""


class Foreign(msgspec.Struct, frozen=True, kw_only=True):
    """A peer's claim as this node ranks it: accuracy as claimed, all else as reckoned here."""

    claim: str
    peer: str
    genome: str
    values: dict[str, float]
    weights: str | None
    standing: Literal["confirmed", "provisional"]


class Row(msgspec.Struct, frozen=True, kw_only=True):
    """One row of a front: `origin` is "self" or a peer id, `claim` what a peer's row came with."""

    standing: Standing
    origin: str = "self"
    tier: Literal["confirmed", "provisional"] = "confirmed"
    claim: str | None = None


def tiers(
    found: Sequence[Standing], foreign: Sequence[Foreign], objectives: tuple[Objective, ...]
) -> tuple[list[Row], list[Row]]:
    """The front of own results and confirmed claims, and the provisional claims that it does not dominate.

    What is provisional dominates nothing and displaces nobody. Of equal rows the first stands, own ones before others'.
    """
    own = {standing.genome: Row(standing=standing) for standing in front_of(found, objectives)}
    seen = [row.standing.objectives for row in own.values()]
    confirmed, provisional = dict(own), dict[str, Row]()
    for one in sorted(foreign, key=lambda one: (one.standing, one.claim)):
        if one.values not in seen:
            seen.append(one.values)
            (confirmed if one.standing == "confirmed" else provisional)[one.claim] = _row(one)
    ways = directions(objectives)
    best, waiting = two_tiers(_values(confirmed), _values(provisional), ways)
    # Own rows may be half way between selected and fresh values: among each other they stand as `front_of` has it.
    peers = {name: row for name, row in confirmed.items() if name not in own}
    _, kept = two_tiers(_values(peers), _values(own), ways)
    front = [*kept, *(name for name in best if name in peers)]
    first, *_ = objectives
    sign = -1.0 if first.direction == "max" else 1.0

    def place(row: Row) -> tuple[float, str]:
        return sign * row.standing.objectives[first.name], row.standing.genome

    return sorted((confirmed[n] for n in front), key=place), sorted(
        (provisional[n] for n in waiting), key=place
    )


def _values(rows: Mapping[str, Row]) -> dict[str, dict[str, float]]:
    return {name: row.standing.objectives for name, row in rows.items()}


def _row(one: Foreign) -> Row:
    standing = Standing(
        genome=one.genome,
        selected=one.values,
        fresh={},
        spread={},
        n=0,
        failed=0,
        baseline=False,
        weights=one.weights,
    )
    return Row(standing=standing, origin=one.peer, tier=one.standing, claim=one.claim)


def front_header(objectives: tuple[Objective, ...], *, foreign: bool = False) -> list[str]:
    """Column titles of a front's table; with `foreign` also where a row is from, and how far it is believed."""
    where = ["origin", "standing"] if foreign else []
    return ["genome", *(objective.name for objective in objectives), "n", *where, "what it is"]


def front_row(standing: Standing, objectives: tuple[Objective, ...], genome: Genome) -> list[str]:
    """One line of a front's table: means and spreads over n fresh seeds, n = 0 where there are none."""
    cells = []
    for objective in objectives:
        text = number(standing.objectives[objective.name], objective)
        spread = standing.spread.get(objective.name, 0.0)
        cells.append(f"{text} ±{number(spread, objective)}" if spread else text)
    what = summary(genome) + ("  (baseline)" if standing.baseline else "")
    return [short(standing.genome), *cells, str(standing.n), what]


def front_rows(
    found: Sequence[Standing],
    objectives: tuple[Objective, ...],
    genomes: Mapping[str, Genome],
    foreign: Sequence[Foreign] = (),
) -> list[list[str]]:
    """The front's table, what is provisional below it, and baselines below that."""
    front, waiting = tiers(found, foreign, objectives)
    baselines = [Row(standing=standing) for standing in found if standing.baseline]
    lines = []
    for row in (*front, *waiting, *baselines):
        line = front_row(row.standing, objectives, genomes[row.standing.genome])
        if foreign:
            own = row.origin == "self"
            line[-1:-1] = [
                row.origin if own else f"..{row.origin[-_END:]}",
                "-" if row.standing.baseline else row.tier,
            ]
        lines.append(line)
    return lines


def document(
    spec: RunSpec,
    rows: Sequence[EvaluationRow],
    found: Sequence[Standing],
    objectives: tuple[Objective, ...],
    genomes: Mapping[str, Genome],
    foreign: Sequence[Foreign] = (),
) -> dict[str, object]:
    """The same as a JSON document: objectives under their names."""
    front, waiting = tiers(found, foreign, objectives)
    return {
        "task": spec.task,
        "task_id": spec.task_id,
        "tier": spec.tier,
        "space": spec.space,
        "strategy": spec.strategy,
        "arithmetic": spec.arithmetic,
        "seed": spec.seed,
        "evaluations": sum(row.purpose in ("baseline", "search") for row in rows),
        "rescored": sum(row.purpose == "rescore" for row in rows),
        "failures": sum(row.failure is not None for row in rows),
        "hypervolume": hypervolume_of([row.standing for row in front], objectives),
        "objectives": [
            {"name": o.name, "unit": o.unit, "direction": o.direction, "worst": o.worst, "best": o.best}
            for o in objectives
        ],
        "front": [_placed(row, genomes) for row in front],
        "provisional": [_placed(row, genomes) for row in waiting],
        "baselines": [_member(standing, genomes) for standing in found if standing.baseline],
    }


def _placed(row: Row, genomes: Mapping[str, Genome]) -> dict[str, object]:
    where = {"origin": row.origin, "standing": row.tier, "claim": row.claim}
    return _member(row.standing, genomes) | where


def _member(standing: Standing, genomes: Mapping[str, Genome]) -> dict[str, object]:
    return {
        "genome": standing.genome,
        **standing.objectives,
        "n": standing.n,
        "spread": standing.spread,
        "selected": standing.selected,
        "weights": standing.weights,
        "genes": dict(genomes[standing.genome].values),
    }
