"""A store as a long search leaves it, without one training: real genomes and births, invented scores.

python -m tests.support.bigstore 10000 FILE

Genomes are made by the operators of the package, so that each birth replays; what each genome scored is a walk from its
parents' scores. For figures of readers and pages, never for figures of the search.
"""

import argparse
import hashlib
import math
import random
import sqlite3
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import msgspec

from evaluator.jobs import CostLimits, Failure, Outcome
from evaluator.objectives import NETWORK_OBJECTIVES
from genome import MLP, Birth, Genome
from genome.variation import cross, draw, mutate
from node.store.connection import open_writer
from node.store.rows import RunSpec

__all__ = ["TASK_ID", "make_big_store", "spec"]

TASK_ID = hashlib.sha256(b"digits of an invented search").hexdigest()
FOUNDERS, POPULATION = 40, 256
EXAMPLES = 10_000
START = 1_795_400_000.0
_MUTATED, _CROSSED = 0.6, 0.97
_FAILED = 0.02
_CHUNK = 5_000
_WALL, _MOST = 3.0, 5.0


class _Scored(NamedTuple):
    """A genome with the point that its children's scores walk from: merits in accuracy, speed and memory."""

    genome: Genome
    birth: Birth
    point: tuple[float, float, float]
    failed: bool


def spec(seed: int = 7) -> RunSpec:
    """The specification of the invented search."""
    return RunSpec(
        seed=seed,
        task="digits",
        task_id=TASK_ID,
        tier="smoke",
        space=MLP.id,
        space_source="",
        strategy="nsga2",
        arithmetic="fp32",
        objectives=NETWORK_OBJECTIVES,
        limits=CostLimits(),
        look_behind=None,
        baselines=(),
        seeds=(),
        population=POPULATION,
    )


def make_big_store(path: Path, count: int, *, seed: int = 7) -> None:
    """Write a store of `count` genomes, each evaluated once, in one run; `path` must not exist."""
    if path.exists():
        raise FileExistsError(f"{path} must be a new file. Remove it, or name another one.")
    connection = open_writer(path, durable=False)
    try:
        connection.execute("PRAGMA wal_autocheckpoint = 0")
        connection.execute("BEGIN")
        _insert_run(connection, spec(seed))
        rows = list[tuple[int, _Scored]]()
        for number, scored in enumerate(_births(count, random.Random(seed)), 1):
            rows.append((number, scored))
            if len(rows) == _CHUNK or number == count:
                _insert(connection, rows)
                rows.clear()
        connection.execute("COMMIT")
        connection.execute("ANALYZE")
        connection.execute("PRAGMA wal_checkpoint(TRUNCATE)")
    finally:
        connection.close()


def _births(count: int, rng: random.Random) -> Iterator[_Scored]:
    """Founders, then children of a population in which the better of two genomes, by a random weighting, stays."""
    seen: set[str] = set()
    living: list[_Scored] = []
    while len(seen) < count:
        child = _child(living, rng)
        if child.genome.id in seen:
            continue
        seen.add(child.genome.id)
        yield child
        if child.failed:
            continue
        if len(living) < POPULATION:
            living.append(child)
            continue
        rival = rng.randrange(POPULATION)
        weights = [rng.expovariate(1.0) for _ in range(3)]
        if _worth(child, weights) >= _worth(living[rival], weights):
            living[rival] = child


def _child(living: list[_Scored], rng: random.Random) -> _Scored:
    seed = rng.getrandbits(63)
    kind = rng.random()
    if len(living) < FOUNDERS or kind >= _CROSSED:
        parents: list[_Scored] = []
        genome, operator = draw(MLP, seed=seed), "random/1"
    elif kind < _MUTATED:
        parents = [rng.choice(living)]
        genome, operator = mutate(MLP, parents[0].genome, seed=seed), "mutate/1"
    else:
        parents = rng.sample(living, 2)
        genome, operator = cross(MLP, parents[0].genome, parents[1].genome, seed=seed), "cross/1"
    birth = Birth(tuple(parent.genome.id for parent in parents), operator, seed)
    return _Scored(genome, birth, _point([parent.point for parent in parents], rng), rng.random() < _FAILED)


def _point(parents: list[tuple[float, float, float]], rng: random.Random) -> tuple[float, float, float]:
    """The parents' mean, moved a little: mostly one merit is paid for by another, seldom is there a gain in all."""
    if not parents:
        return rng.gauss(0.8, 0.4), rng.gauss(0.8, 0.4), rng.gauss(0.8, 0.4)
    merits = [sum(values) / len(parents) for values in zip(*parents, strict=True)]
    moves = [rng.gauss(0.0, 0.2) for _ in merits]
    drift = sum(moves) / 3
    mean = sum(merits) / 3
    # The wall is approached and never reached, so that a long search still has births worth looking at.
    gain = max(-0.2, rng.gauss(-0.04, 0.05)) * (_WALL - mean)
    first, second, third = (
        min(_MOST, max(-0.5, merit + move - drift + gain)) for merit, move in zip(merits, moves, strict=True)
    )
    return first, second, third


def _worth(scored: _Scored, weights: list[float]) -> float:
    return sum(weight * merit for weight, merit in zip(weights, scored.point, strict=True))


def _insert_run(connection: sqlite3.Connection, chosen: RunSpec) -> None:
    connection.execute(
        "INSERT INTO run (id, key, seed, task, task_id, tier, space, strategy, arithmetic, settings, created_at)"
        " VALUES (1, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)",
        (
            chosen.key,
            chosen.seed,
            chosen.task,
            chosen.task_id,
            chosen.tier,
            chosen.space,
            chosen.strategy,
            chosen.arithmetic,
            msgspec.json.encode(chosen).decode(),
            START,
        ),
    )
    body = msgspec.json.encode({"run": 1, "task": chosen.task, "seed": chosen.seed}).decode()
    connection.execute("INSERT INTO event (at, kind, body) VALUES (?, 'run.started', ?)", (START, body))


def _insert(connection: sqlite3.Connection, rows: list[tuple[int, _Scored]]) -> None:
    connection.executemany(
        "INSERT INTO genome (id, space, body) VALUES (?, ?, ?)",
        [(scored.genome.id, scored.genome.space, scored.genome.canonical()) for _, scored in rows],
    )
    connection.executemany(
        "INSERT INTO birth (genome, operator, seed, parent1, parent2, born) VALUES (?, ?, ?, ?, ?, ?)",
        [
            (
                scored.genome.id,
                scored.birth.operator,
                str(scored.birth.seed),
                *(*scored.birth.parents, None, None)[:2],
                number,
            )
            for number, scored in rows
        ],
    )
    results = [(number, scored, _result(number, scored)) for number, scored in rows]
    connection.executemany(
        "INSERT INTO evaluation (id, run, ask, purpose, genome, task_id, seed, arithmetic, failure, detail, weights,"
        " body, finished_at) VALUES (?, 1, ?, 'search', ?, ?, ?, 'fp32', ?, ?, NULL, ?, ?)",
        [
            (
                number,
                number,
                scored.genome.id,
                TASK_ID,
                result.seed,
                result.kind if isinstance(result, Failure) else None,
                result.detail if isinstance(result, Failure) else None,
                msgspec.msgpack.encode(result),
                START + number,
            )
            for number, scored, result in results
        ],
    )
    connection.executemany(
        "INSERT INTO objective (evaluation, name, value) VALUES (?, ?, ?)",
        [
            (number, name, value)
            for number, _, result in results
            if isinstance(result, Outcome)
            for name, value in result.objectives.items()
        ],
    )
    connection.executemany(
        "INSERT INTO event (at, kind, body) VALUES (?, ?, ?)",
        [_event(number, scored, result) for number, scored, result in results],
    )


def _event(number: int, scored: _Scored, result: Outcome | Failure) -> tuple[float, str, str]:
    body = {"run": 1, "evaluation": number, "ask": number, "purpose": "search", "genome": scored.genome.id}
    found = {"failure": result.kind} if isinstance(result, Failure) else {"objectives": result.objectives}
    kind = "evaluation.failed" if isinstance(result, Failure) else "evaluation.finished"
    return START + number, kind, msgspec.json.encode(body | found).decode()


def _result(number: int, scored: _Scored) -> Outcome | Failure:
    """What a worker might have said: the walk's point in the objectives' units."""
    seed = scored.birth.seed & 0x7FFFFFFF
    if scored.failed:
        return Failure(
            number=number,
            genome=scored.genome.id,
            task="digits",
            task_id=TASK_ID,
            tier="smoke",
            seed=seed,
            arithmetic="fp32",
            purpose="search",
            kind="diverged",
            detail="the energy of the free phase is not finite",
        )
    logit, speed, memory = scored.point[0] - 0.5, 3.5 + 0.5 * scored.point[1], 7.5 - 0.5 * scored.point[2]
    correct = round(EXAMPLES / (1.0 + math.exp(-logit)))
    return Outcome(
        number=number,
        genome=scored.genome.id,
        task="digits",
        task_id=TASK_ID,
        tier="smoke",
        seed=seed,
        arithmetic="fp32",
        backend="torch-cpu",
        purpose="search",
        split="validation",
        objectives={
            "accuracy": correct / EXAMPLES,
            "memory": float(round(10.0**memory)),
            "speed": float(round(10.0**speed)),
        },
        examples=EXAMPLES,
        correct=correct,
    )


def _main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("count", type=int, help="genomes")
    parser.add_argument("file", type=Path, help="the store to write; must not exist")
    arguments = parser.parse_args()
    make_big_store(arguments.file, arguments.count)


if __name__ == "__main__":
    _main()
