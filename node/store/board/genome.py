"""One genome in full: its genes beside its parents', its births, every evaluation, and how each training went."""

import math
import statistics
from collections.abc import Sequence
from typing import Final

import msgspec

from genome import Genome, Value
from node.errors import NotFoundError
from node.store.board.board import Board
from node.store.board.peers import ClaimLine, claims_of_genome
from node.store.board.spaces import GeneCard, space_card, space_of
from node.text import summary

__all__ = [
    "BirthLine",
    "EvaluationLine",
    "GeneLine",
    "GenomeDetail",
    "Interval",
    "Training",
    "document",
    "genome_detail",
    "interval",
    "training",
]

MOST_EVALUATIONS: Final = 400
MOST_CHILDREN: Final = 60
_PARENTS = 2
# Student's t at 97.5 % for 1 to 30 degrees of freedom; scipy would take half a second to load.
_T: Final = (
    12.706, 4.303, 3.182, 2.776, 2.571, 2.447, 2.365, 2.306, 2.262, 2.228, 2.201, 2.179, 2.160, 2.145, 2.131, 2.120,
    2.110, 2.101, 2.093, 2.086, 2.080, 2.074, 2.069, 2.064, 2.060, 2.056, 2.052, 2.048, 2.045, 2.042,
)  # fmt: skip
_NORMAL: Final = 1.960


class GeneLine(msgspec.Struct, frozen=True, kw_only=True):
    """A gene of the genome or of a parent: own value (None: not expressed), each parent's, and what the space says."""

    name: str
    value: Value | None
    parents: tuple[Value | None, ...]
    changed: bool
    card: GeneCard | None


class BirthLine(msgspec.Struct, frozen=True, kw_only=True):
    """One way in which the genome came to be; `born` is its place in the order of births of this store."""

    born: int
    operator: str
    seed: str
    parents: tuple[str, ...]


class Interval(msgspec.Struct, frozen=True, kw_only=True):
    """Mean of `n` values, their standard deviation, and the half-width of its 95 % interval (None below two)."""

    n: int
    mean: float
    deviation: float | None
    half_width: float | None


class EvaluationLine(msgspec.Struct, frozen=True, kw_only=True):
    """One finished evaluation: what was trained where, and what came of it. Seconds are CPU and wall time of training.

    `machine` is what the run's calibration was measured on, empty where a run has none.
    """

    id: int
    run: int
    task: str
    tier: str
    purpose: str
    ask: int
    seed: int
    arithmetic: str
    backend: str
    machine: str
    failure: str
    detail: str
    objectives: dict[str, float]
    finished_at: float
    train_cpu_s: float | None
    train_wall_s: float | None
    peak_bytes: int | None
    samples_per_s: float | None
    weights: str
    points: int


class GenomeDetail(msgspec.Struct, frozen=True, kw_only=True):
    """One genome. `fresh` has intervals over the fresh seeds of each run and objective; `children` the first 60."""

    id: str
    space: str
    summary: str
    genes: tuple[GeneLine, ...]
    births: tuple[BirthLine, ...]
    parents: tuple[str, ...]
    known_parents: tuple[str, ...]
    children: tuple[str, ...]
    children_count: int
    evaluations: tuple[EvaluationLine, ...]
    evaluations_count: int
    fresh: dict[int, dict[str, Interval]]
    claims: tuple[ClaimLine, ...]


class Training(msgspec.Struct, frozen=True, kw_only=True):
    """How one training went: columns of the curve by name, its settling, and what was measured.

    Whatever numbers the record has are given by their names: a figure for each layer as `name.layer`.
    """

    evaluation: int
    curve: dict[str, list[float | None]]
    settling: dict[str, object]
    measured: dict[str, object]
    versions: dict[str, str]


def interval(values: Sequence[float]) -> Interval:
    """Mean and 95 % interval of independent values (Student's t, three decimals of the quantile)."""
    mean = statistics.fmean(values)
    n = len(values)
    if n < 2:
        return Interval(n=n, mean=mean, deviation=None, half_width=None)
    deviation = statistics.stdev(values)
    factor = _T[n - 2] if n - 2 < len(_T) else _NORMAL
    return Interval(n=n, mean=mean, deviation=deviation, half_width=factor * deviation / math.sqrt(n))


def genome_detail(board: Board, id_: str, now: float) -> GenomeDetail:
    """The genome with this whole id. Raises NotFoundError."""
    genome = _genome(board, id_)
    if genome is None:
        raise NotFoundError(f"{board.path} has no genome {id_[:64]!r}. The table of genomes lists them.")
    births = _births(board, id_)
    parents = births[0].parents if births else ()
    known = {parent: found for parent in parents if (found := _genome(board, parent)) is not None}
    children = [
        str(child)
        for (child,) in board.connection.execute(
            "SELECT genome FROM birth WHERE :id IN (parent1, parent2) GROUP BY genome ORDER BY min(born)",
            {"id": id_},
        )
    ]
    evaluations = _evaluations(board, id_)
    return GenomeDetail(
        id=id_,
        space=genome.space,
        summary=summary(genome),
        genes=_genes(genome, [known.get(parent) for parent in parents[:_PARENTS]]),
        births=tuple(births),
        parents=tuple(parents),
        known_parents=tuple(known),
        children=tuple(children[:MOST_CHILDREN]),
        children_count=len(children),
        evaluations=tuple(evaluations[:MOST_EVALUATIONS]),
        evaluations_count=len(evaluations),
        fresh=_fresh(evaluations),
        claims=tuple(claims_of_genome(board, id_, now)),
    )


def document(board: Board, id_: str) -> dict[str, object]:
    """What `eqmesh genome export` writes of a genome. Raises NotFoundError."""
    genome = _genome(board, id_)
    if genome is None:
        raise NotFoundError(f"{board.path} has no genome {id_[:64]!r}. The table of genomes lists them.")
    return {"genome": genome.id, **genome.as_json()}


def training(board: Board, evaluation: int) -> Training:
    """How the training of an evaluation went. Raises NotFoundError."""
    row = board.connection.execute("SELECT body FROM evaluation WHERE id = ?", (evaluation,)).fetchone()
    if row is None:
        raise NotFoundError(f"{board.path} has no evaluation {evaluation}.")
    # Plain, not as an Outcome: a curve of another version shows the figures that it has.
    body = msgspec.msgpack.decode(row[0], type=dict)
    return Training(
        evaluation=evaluation,
        curve=_columns(body.get("curve", [])),
        settling=body.get("settling", {}),
        measured=body.get("measured", {}),
        versions={name: str(value) for name, value in body.get("versions", {}).items()},
    )


def _columns(points: Sequence[dict[str, object]]) -> dict[str, list[float | None]]:
    flat = [_flat(point) for point in points]
    names = dict.fromkeys(name for point in flat for name in point)
    return {name: [point.get(name) for point in flat] for name in names}


def _flat(point: dict[str, object]) -> dict[str, float]:
    """Numbers by name; those of a mapping or a list under the name of both."""
    found: dict[str, float] = {}
    for name, value in point.items():
        match value:
            case bool() | None | str():
                continue
            case int() | float():
                found[name] = float(value)
            case dict():
                found |= {f"{name}.{key}": float(each) for key, each in value.items() if _is_number(each)}
            case list() | tuple():
                found |= {f"{name}.{key}": float(each) for key, each in enumerate(value) if _is_number(each)}
    return found


def _is_number(value: object) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)


def _genome(board: Board, id_: str) -> Genome | None:
    row = board.connection.execute("SELECT body FROM genome WHERE id = ?", (id_,)).fetchone()
    return None if row is None else Genome.decode(row[0])


def _births(board: Board, id_: str) -> list[BirthLine]:
    rows = board.connection.execute(
        "SELECT born, operator, seed, parent1, parent2 FROM birth WHERE genome = ? ORDER BY born", (id_,)
    )
    return [
        BirthLine(
            born=born,
            operator=operator,
            seed=seed,
            parents=tuple(parent for parent in (first, second) if parent is not None),
        )
        for born, operator, seed, first, second in rows
    ]


def _genes(genome: Genome, parents: Sequence[Genome | None]) -> tuple[GeneLine, ...]:
    space = space_of(genome.space)
    cards = {} if space is None else {card.name: card for card in space_card(space).genes}
    names = dict.fromkeys(
        [
            *(name for name in cards if any(name in each for each in (genome, *filter(None, parents)))),
            *(name for name, _ in genome.values),
            *(name for parent in parents if parent is not None for name, _ in parent.values),
        ]
    )
    lines = []
    for name in names:
        value = genome.get(name)
        beside = tuple(None if parent is None else parent.get(name) for parent in parents)
        differs = [parent is not None and was != value for parent, was in zip(parents, beside, strict=True)]
        lines.append(
            GeneLine(
                name=name, value=value, parents=beside, changed=any(differs), card=cards.get(name)
            )
        )  # fmt: skip
    return tuple(lines)


def _evaluations(board: Board, id_: str) -> list[EvaluationLine]:
    rows = board.connection.execute(
        "SELECT e.id, e.run, run.task, run.tier, e.purpose, e.ask, e.seed, e.arithmetic, e.failure, e.detail,"
        " e.weights, e.body, e.finished_at, coalesce(json_extract(run.calibration, '$.machine'), '')"
        " FROM evaluation e JOIN run ON run.id = e.run WHERE e.genome = ? ORDER BY e.id",
        (id_,),
    ).fetchall()
    return [_evaluation(board, row) for row in rows]


def _evaluation(board: Board, row: tuple[object, ...]) -> EvaluationLine:
    id_, run, task, tier, purpose, ask, seed, arithmetic, failure, detail, weights, body, at, machine = row
    assert isinstance(body, bytes)
    plain = msgspec.msgpack.decode(body, type=dict)
    measured = plain.get("measured") or {}
    objectives = dict(
        board.connection.execute("SELECT name, value FROM objective WHERE evaluation = ?", (id_,))
    )
    return msgspec.convert(
        {
            "id": id_, "run": run, "task": task, "tier": tier, "purpose": purpose, "ask": ask, "seed": seed,
            "arithmetic": arithmetic, "backend": str(plain.get("backend", "")), "machine": machine,
            "failure": failure or "", "detail": detail or "", "objectives": objectives, "finished_at": at,
            "train_cpu_s": measured.get("train_cpu_s"), "train_wall_s": measured.get("train_wall_s"),
            "peak_bytes": measured.get("peak_bytes"), "samples_per_s": measured.get("samples_per_s"),
            "weights": weights or "", "points": len(plain.get("curve") or ()),
        },
        EvaluationLine,
    )  # fmt: skip


def _fresh(evaluations: Sequence[EvaluationLine]) -> dict[int, dict[str, Interval]]:
    """Intervals over the fresh seeds by run and objective; seeds of a search flatter whom they selected."""
    found: dict[int, dict[str, list[float]]] = {}
    for line in evaluations:
        if line.purpose == "rescore" and not line.failure:
            for name, value in line.objectives.items():
                found.setdefault(line.run, {}).setdefault(name, []).append(value)
    return {run: {name: interval(values) for name, values in by.items()} for run, by in found.items()}
