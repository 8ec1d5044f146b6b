"""A search as rows and as a document: what `search` and `front` print. Pure."""

from collections.abc import Mapping, Sequence

from evaluator.objectives import Objective
from genome import Genome
from node.front import Standing, front_of, hypervolume_of
from node.store.rows import EvaluationRow, RunSpec
from node.text import number, short, summary

__all__ = ["document", "front_header", "front_row", "front_rows"]


def front_header(objectives: tuple[Objective, ...]) -> list[str]:
    """Column titles of a front's table."""
    return ["genome", *(objective.name for objective in objectives), "n", "what it is"]


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
    found: Sequence[Standing], objectives: tuple[Objective, ...], genomes: Mapping[str, Genome]
) -> list[list[str]]:
    """The front's table, baselines below it."""
    shown = [*front_of(found, objectives), *(standing for standing in found if standing.baseline)]
    return [front_row(standing, objectives, genomes[standing.genome]) for standing in shown]


def document(
    spec: RunSpec,
    rows: Sequence[EvaluationRow],
    found: Sequence[Standing],
    objectives: tuple[Objective, ...],
    genomes: Mapping[str, Genome],
) -> dict[str, object]:
    """The same as a JSON document: objectives under their names."""
    front = front_of(found, objectives)
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
        "hypervolume": hypervolume_of(front, objectives),
        "objectives": [
            {"name": o.name, "unit": o.unit, "direction": o.direction, "worst": o.worst, "best": o.best}
            for o in objectives
        ],
        "front": [_member(standing, genomes) for standing in front],
        "baselines": [_member(standing, genomes) for standing in found if standing.baseline],
    }


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
