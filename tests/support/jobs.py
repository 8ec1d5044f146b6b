"""Jobs for tests, in one line."""

from typing import Any

from evaluator.jobs import Calibration, Job
from evaluator.tasks import resolve, task_id
from genome import Genome, preset

CALIBRATION = Calibration(
    arithmetic="fp32",
    machine="a machine of the tests",
    seconds_per_call=5e-6,
    seconds_per_mac=2e-11,
    seconds_per_byte=1e-10,
    error=0.1,
)


def job(genome: Genome | None = None, *, task: str = "digits", tier: str = "smoke", **changes: Any) -> Job:
    """A job of the smallest tier of digits, unless `changes` say otherwise."""
    genome = genome or preset("shallow")
    found = resolve(task)
    chosen = found.tier(tier)
    fields: dict[str, Any] = {
        "number": 1,
        "task": task,
        "task_id": task_id(found, chosen),
        "tier": chosen.name,
        "genome": genome.canonical(),
        "genome_id": genome.id,
        "seed": 0,
        "calibration": CALIBRATION,
    }
    return Job(**(fields | changes))


def function_job(name: str, values: dict[str, Any], **changes: Any) -> Job:
    """A job of one of the tasks in tests.support.tasks."""
    task = f"tests.support.tasks:{name}"
    genome = resolve(task).space.genome(values)
    return job(genome, task=task, tier="full", arithmetic="task", **changes)
