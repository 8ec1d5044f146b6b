"""A task that costs nothing and whose whole front is known: what simulated nodes search. Pure.

A table of made-up networks. Memory and speed follow from size and effort; accuracy needs both, and besides the right
combination of genes that work on each other (an NK landscape with K = 1, Kauffman & Levin 1987), so that no gene can be
set on its own and only search finds the front. Accuracy differs a little between seeds, as that of a training does.
"""

import functools
import hashlib
import itertools
import random
from collections.abc import Mapping, Sequence

from evaluator.objectives import Objective
from evaluator.tasks import FunctionTask, Tier
from genome import Choice, Integer, SearchSpace
from genome.conditions import Value

__all__ = ["SYNTHETIC", "Synthetic"]

_WIDTHS = (16, 32, 64, 128, 256, 512)
_DEPTHS = (1, 2, 3, 4)
_SWEEPS = (4, 8, 16, 32)
_OPTIONS = ("a", "b", "c", "d", "e", "f")
_KNOBS = ("rate", "nudge", "shape", "order", "bound", "gain")
_RUGGED = 0.5
"""How much of its worth lies in the combination; the rest is its own."""
_EXAMPLES = 1000
_SPREAD = 0.003
"""Standard deviation of the accuracy between seeds."""


@functools.lru_cache(maxsize=len(_DEPTHS))
def _worth(depth: int) -> tuple[dict[tuple[str, str], float], ...]:
    """For each knob of networks so deep: what its option is worth beside that of the next knob, 0 to 1."""
    rng = random.Random(f"eqmesh/simulate/landscape/1/{depth}")
    tables = []
    for _ in _KNOBS:
        alone = {option: rng.random() for option in _OPTIONS}
        tables.append(
            {
                (option, beside): (1.0 - _RUGGED) * alone[option] + _RUGGED * rng.random()
                for option in _OPTIONS
                for beside in _OPTIONS
            }
        )
    return tuple(tables)


class Synthetic(FunctionTask):
    """Accuracy against speed and memory over a table of made-up networks."""

    name = "synthetic"
    version = 1
    doc = "A made-up table with a known front, for simulated nodes; nothing is trained, no data are needed."
    space = SearchSpace(
        "synthetic",
        1,
        (
            Integer("width", _WIDTHS[0], _WIDTHS[-1], _WIDTHS, doc="Units a layer."),
            Integer("depth", _DEPTHS[0], _DEPTHS[-1], _DEPTHS, doc="Layers."),
            Integer("sweeps", _SWEEPS[0], _SWEEPS[-1], _SWEEPS, doc="Sweeps a phase."),
            *(Choice(name, _OPTIONS, doc="Works together with others.") for name in _KNOBS),
        ),
    )
    objectives = (
        Objective(
            name="accuracy", unit="share", direction="max", worst=0.3, best=1.0, doc="Higher is better."
        ),
        Objective(
            name="speed",
            unit="samples/s",
            direction="max",
            worst=10.0,
            best=1e6,
            scale="log",
            doc="Follows from size and sweeps.",
        ),
        Objective(
            name="memory",
            unit="bytes",
            direction="min",
            worst=2.0**24,
            best=2.0**8,
            scale="log",
            doc="Follows from size.",
        ),
    )

    def evaluate(self, values: Mapping[str, Value], *, seed: int, tier: Tier) -> dict[str, float]:  # noqa: ARG002
        """Give the three objectives of a made-up training under this seed."""
        rng = random.Random(hashlib.sha256(f"{sorted(values.items())}\n{seed}".encode()).digest())
        exact = self.expected(values)
        accuracy = exact["accuracy"] + rng.gauss(0.0, _SPREAD)
        return {**exact, "accuracy": round(_EXAMPLES * min(1.0, max(0.0, accuracy))) / _EXAMPLES}

    def expected(self, values: Mapping[str, Value]) -> dict[str, float]:
        """The objectives of a genome without the spread between seeds."""
        size = _size(values)
        options = [str(values[name]) for name in _KNOBS]
        return {"accuracy": _capacity(values) + 0.35 * _fit(int(values["depth"]), options), **size}

    def reference_front(self) -> list[dict[str, float]]:
        """Expected objectives of all genomes that no other one dominates: the whole table is looked at."""
        return [dict(row) for row in _reference()]


def _size(values: Mapping[str, Value]) -> dict[str, float]:
    width, depth, sweeps = int(values["width"]), int(values["depth"]), int(values["sweeps"])
    weights = 64 * width + (depth - 1) * width * width + 10 * width
    return {"speed": float(f"{1e8 / (weights * sweeps):.6g}"), "memory": float(12 * weights)}


def _capacity(values: Mapping[str, Value]) -> float:
    """What size and effort alone give: more of both helps, ever less."""
    width, depth, sweeps = float(values["width"]), float(values["depth"]), float(values["sweeps"])
    # Deep networks settle only after more sweeps, so neither helps much alone.
    settled = min(1.0, sweeps / (6.0 * depth))
    return 0.30 + 0.18 * (1.0 - 8.0 / width) ** 2 + 0.12 * settled * (1.0 - 0.6 / depth)


def _fit(depth: int, options: Sequence[str]) -> float:
    """What the combination of options is worth in networks so deep, 0 to 1."""
    tables = _worth(depth)
    following = (*options[1:], options[0])
    return sum(
        table[pair] for table, pair in zip(tables, zip(options, following, strict=True), strict=True)
    ) / len(tables)


def _best_fit(depth: int) -> float:
    """What the best of all combinations is worth: each knob depends on the next one alone, the last on the first."""
    tables = _worth(depth)
    best = 0.0
    for first in _OPTIONS:
        reached = {first: 0.0}
        for table in tables[:-1]:
            reached = {
                option: max(worth + table[before, option] for before, worth in reached.items())
                for option in _OPTIONS
            }
        best = max(best, *(worth + tables[-1][last, first] for last, worth in reached.items()))
    return best / len(tables)


@functools.lru_cache(maxsize=1)
def _reference() -> tuple[Mapping[str, float], ...]:
    # Options and size beside depth add up, so the best combination for a depth is the best at each size.
    best = {depth: _best_fit(depth) for depth in _DEPTHS}
    sizes = [
        {"width": width, "depth": depth, "sweeps": sweeps}
        for width, depth, sweeps in itertools.product(_WIDTHS, _DEPTHS, _SWEEPS)
    ]
    rows = [{"accuracy": _capacity(size) + 0.35 * best[size["depth"]], **_size(size)} for size in sizes]
    return tuple(row for row in rows if not any(_dominates(other, row) for other in rows))


def _dominates(one: Mapping[str, float], other: Mapping[str, float]) -> bool:
    better = (
        one["accuracy"] >= other["accuracy"],
        one["speed"] >= other["speed"],
        one["memory"] <= other["memory"],
    )
    return all(better) and one != other


SYNTHETIC = Synthetic()
