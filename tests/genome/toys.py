"""Small spaces with analytic objectives: what strategies are tried on."""

import math
import random
from collections.abc import Callable, Mapping, Sequence
from typing import Any as Anything

from genome import (
    Choice,
    Direction,
    Genome,
    Integer,
    Proposal,
    Real,
    Record,
    SearchSpace,
    Strategy,
    hypervolume,
)

CURVE = SearchSpace("curve", 1, tuple(Real(f"x{index}", 0.0, 1.0, 33) for index in range(8)))
CURVE_DIRECTIONS: dict[str, Direction] = {"f1": "min", "f2": "min"}
TINY = SearchSpace("tiny", 1, (Choice("kind", ("a", "b")), Integer("size", 1, 3)))


def curve(genome: Genome) -> dict[str, float]:
    """The two objectives of ZDT1 (Zitzler, Deb & Thiele 2000), both to be minimised."""
    xs = [float(value) for _, value in genome.values]
    far = 1 + 9 * sum(xs[1:]) / (len(xs) - 1)
    return {"f1": xs[0], "f2": far * (1 - math.sqrt(xs[0] / far))}


def some_objectives(genome: Genome) -> dict[str, float]:
    """Arbitrary objectives that depend on the id only."""
    return {
        name: 1.0 + int(genome.id[8 * k : 8 * k + 8], 16) % 1000
        for k, name in enumerate(("one", "two", "three"))
    }


def record(proposal: Proposal, measure: Callable[[Genome], Mapping[str, float]], ask: int = 0) -> Record:
    """The record of a successful evaluation."""
    return Record(proposal.genome, measure(proposal.genome), ask)


def curve_hypervolume(strategy: Strategy, *, seed: int, evaluations: int, workers: int = 2) -> float:
    """Hypervolume of all that the strategy found on `curve`, with `workers` evaluations under way at a time."""
    pending: list[Proposal] = []
    done: list[Mapping[str, float]] = []
    for ask in range(evaluations):
        pending += strategy.ask(random.Random(1000 * seed + ask))
        if len(pending) == workers:
            finished = record(pending.pop(0), curve, ask)
            strategy.tell([finished])
            done.append(finished.objectives or {})
    done += [curve(proposal.genome) for proposal in pending]
    return hypervolume([(row["f1"], row["f2"] / 10) for row in done])


def births(proposals: Sequence[Proposal]) -> list[tuple[str, str, int]]:
    """What tells proposals apart."""
    return [(proposal.genome.id, proposal.birth.operator, proposal.birth.seed) for proposal in proposals]


# Values of genes that nobody means.
ABSURD: list[Mapping[Anything, object]] = [
    {"width1": 2**60},
    {"width1": 2**1_000_000},
    {"width1": -(2**1_000_000)},
    {"width1": math.nan},
    {"width1": "512"},
    {"width1": True},
    {"width1": [8] * 100_000},
    {"gain": math.nan},
    {"gain": math.inf},
    {"gain": 2**1_000_000},
    {"gain": None},
    {"optimizer": "x" * 1_000_000},
    {"optimizer": 3},
    {"x" * 1_000_000: 3},
    {"lr": 0.1},
    {7: 8},
    dict.fromkeys(map(str, range(100_000)), 1),
]
