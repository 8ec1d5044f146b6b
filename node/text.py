"""Genomes, numbers and tables in words, for terminals and pipes. Pure."""

import math
from collections.abc import Iterable, Mapping, Sequence

from evaluator.objectives import Objective
from genome import Genome, Value

__all__ = ["number", "short", "summary", "table"]

_DIGITS = 12
_NETWORK_GENES = {"credit", "output", "batch"}
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
    if "course" in values:
        return _course(values)
    layers = _layers(values)
    if layers is None or not values.keys() >= _NETWORK_GENES:
        return " ".join(f"{name}={value}" for name, value in list(values.items())[:6])
    # Continual learning has no choice of an optimizer.
    name = str(values.get("optimizer", "sgd"))
    rate = values.get("lr_adam" if name in ("adam", "adamw") else f"lr_{name}", math.nan)
    return f"{_rule(values)} {layers} {values['output']} {name} {rate:g} b{values['batch']}"


def _course(values: Mapping[str, Value]) -> str:
    """How classes are learned one after another: the regime, the layers, and what may be added to the first."""
    grows, replays = values.get("growth") == "on", values.get("replay") == "on"
    regime = ("ndl" if grows else "cl") + ("-ir" if replays else "")
    layers = str(_layers(values)) + (f" +{values['cap']}" if grows else "")
    rate = float(values["lr_adam"])
    named = "joint" if values["course"] == "joint" else regime
    return f"{named} {layers} {values['output']} adam {rate:g} b{values['batch']}"


def _rule(values: Mapping[str, Value]) -> str:
    """The estimate or rule, and what else changes how the network learns."""
    family = values.get("rule_ce", values.get("rule_mse", "plain"))
    parts = [str(values.get("estimate", values["credit"])) if family == "plain" else str(family)]
    if values.get("feedback", "tied") != "tied":
        parts.append(f"{values['feedback']} feedback")
    if float(values.get("keep", 1.0)) < 1.0:
        parts.append(f"sparse {values['keep']:g}")
    if values.get("weight_bits", "32") != "32":
        parts.append(f"{values['weight_bits']} bits")
    return ", ".join(parts)


def _layers(values: Mapping[str, Value]) -> str | None:
    """Widths, or what else the hidden layers are; None for a genome of no network."""
    if "side" in values:
        return f"cube {values['side']}"
    if "layers" in values:
        layers = range(1, int(values["layers"]) + 1)
        return "conv " + "-".join(str(values[f"channels{min(layer, 3)}"]) for layer in layers)
    if "loop_depth" in values:
        return f"{values['width1']} x {values['loop_depth']} looped"
    if not {"depth", "width1"} <= values.keys():
        return None
    widths = "-".join(str(values.get(f"width{i}", "?")) for i in range(1, int(values["depth"]) + 1))
    return widths + (" skip" if values.get("skip") == "two" else "")


def table(header: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """Columns in plain text, padded; what pipes and narrow terminals get."""
    lines = [list(header), *(list(row) for row in rows)]
    widths = [max(len(line[i]) for line in lines) for i in range(len(header))]
    return "\n".join(
        "  ".join(cell.ljust(width) for cell, width in zip(line, widths, strict=True)).rstrip()
        for line in lines
    )
