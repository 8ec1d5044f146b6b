"""Outcomes for tests that need a record but no training."""

from typing import Any

from evaluator.jobs import Outcome
from genome import Genome


def outcome(genome: Genome, *, accuracy: float = 0.9, **changes: Any) -> Outcome:
    """What a worker might have said of `genome`."""
    fields: dict[str, Any] = {
        "number": 0,
        "genome": genome.id,
        "task": "digits",
        "task_id": "t" * 64,
        "tier": "smoke",
        "seed": 1,
        "arithmetic": "fp32",
        "backend": "torch-cpu",
        "purpose": "search",
        "split": "validation",
        "objectives": {"accuracy": accuracy, "speed": 1000.0, "memory": 1e6},
        "weights": "w" * 64,
    }
    return Outcome(**(fields | changes))
