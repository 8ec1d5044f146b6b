"""Genomes, numbers and tables in words, for terminals and pipes. Pure."""

import math
from collections.abc import Iterable, Sequence

from evaluator.objectives import Objective
from genome import Genome

__all__ = ["number", "short", "summary", "table"]

_DIGITS = 12
_MLP_GENES = {"credit", "depth", "width1", "skip", "output", "optimizer", "batch"}
_STEPS = ((1e9, "G"), (1e6, "M"), (1e3, "k"))


def short(identifier: str) -> str:
    """The first digits of an id: enough to name it in a store."""
    return identifier[:_DIGITS]


def number(value: float, objective: Objective | None = None) -> str:
    """A value in three digits, with a letter for thousands where its objective has a log scale."""
    if objective is not None and objective.scale == "linear":
        return f"{value:.4f}" if abs(value) >= 1e-3 or value == 0 else f"{value:.3g}"
    for step, letter in _STEPS:
        if abs(value) >= step:
            return f"{value / step:.3g}{letter}"
    return f"{value:.3g}"


def summary(genome: Genome) -> str:
    """One line on what a genome is: rule, layers, output, optimizer; for other spaces its values."""
    values = dict(genome.values)
    if not values.keys() >= _MLP_GENES:
        return " ".join(f"{name}={value}" for name, value in list(values.items())[:6])
    widths = "-".join(str(values.get(f"width{i}", "?")) for i in range(1, int(values["depth"]) + 1))
    name = str(values["optimizer"])
    rate = values.get("lr_adam" if name in ("adam", "adamw") else f"lr_{name}", math.nan)
    rule = str(values.get("estimate", values["credit"]))
    extra = " skip" if values["skip"] == "two" else ""
    return f"{rule} {widths}{extra} {values['output']} {name} {rate:g} b{values['batch']}"


def table(header: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """Columns in plain text, padded; what pipes and narrow terminals get."""
    lines = [list(header), *(list(row) for row in rows)]
    widths = [max(len(line[i]) for line in lines) for i in range(len(header))]
    return "\n".join(
        "  ".join(cell.ljust(width) for cell, width in zip(line, widths, strict=True)).rstrip()
        for line in lines
    )
