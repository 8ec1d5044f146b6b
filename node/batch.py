"""Run a handful of evaluations outside a search: what `evaluate`, `compare` and `bench` share."""

from collections.abc import Sequence
from pathlib import Path
from typing import Literal

import msgspec
import trio

from evaluator.jobs import Calibration, Job, Progress, Purpose, Result
from evaluator.pool import PoolSettings, open_pool
from evaluator.tasks import DatasetTask, Task, task_id
from genome import Genome
from node.output import say
from node.service import cost_limits, stored_calibration, worker_count
from node.settings import Settings
from node.text import short

__all__ = ["Request", "run_batch"]


class Request(msgspec.Struct, frozen=True, kw_only=True):
    """One evaluation: who, on which seed, measured on which split and why.

    `space` is that of this genome (None: the settings'); `telemetry` asks for a look at the network after each epoch.
    """

    genome: Genome
    seed: int
    space: str | None = None
    telemetry: bool = False
    split: Literal["validation", "test"] = "validation"
    purpose: Purpose = "rescore"


async def run_batch(
    settings: Settings,
    task: Task,
    requests: Sequence[Request],
    *,
    backend: str = "auto",
    weights_folder: Path | None = None,
) -> list[Result]:
    """Results in the order of the requests; a line of talk for each. Weights go to `weights_folder`."""
    tier = task.tier(settings.tier or None)
    if isinstance(task, DatasetTask):
        task.require()
    if weights_folder is not None:
        weights_folder.mkdir(parents=True, exist_ok=True)
    workers = min(worker_count(settings), len(requests))
    results: dict[int, Result] = {}

    def job(number: int, request: Request, calibration: Calibration | None) -> Job:
        return Job(
            number=number,
            task=settings.task,
            task_id=task_id(task, tier),
            tier=tier.name,
            space=settings.space if request.space is None else request.space,
            genome=request.genome.canonical(),
            genome_id=request.genome.id,
            seed=request.seed,
            arithmetic=settings.arithmetic if isinstance(task, DatasetTask) else "task",
            backend=backend,
            purpose=request.purpose,
            split=request.split,
            telemetry=request.telemetry,
            deadline_s=settings.deadline,
            limits=cost_limits(settings),
            calibration=calibration,
            spool=str(weights_folder.resolve()) if weights_folder else None,
        )

    def heard(progress: Progress) -> None:
        if progress.accuracy is not None and len(requests) == 1:
            say(f"{progress.done:4.0%} accuracy {progress.accuracy:.4f}")

    pool_settings = PoolSettings(
        workers=workers, memory_bytes=settings.worker_memory * 2**20, nice=settings.nice
    )
    async with open_pool(pool_settings) as pool:
        network = isinstance(task, DatasetTask)
        calibration = await stored_calibration(pool, settings) if network else None

        async def evaluate(number: int, request: Request) -> None:
            results[number] = await pool.run(job(number, request, calibration), on_progress=heard)
            if len(requests) > 1:
                say(f"[{len(results)}/{len(requests)}] {short(request.genome.id)} seed {request.seed}")

        # All at once: the pool trains those of one genome together where that is faster.
        async with trio.open_nursery() as nursery:
            for number, request in enumerate(requests):
                nursery.start_soon(evaluate, number, request)
    return [results[number] for number in range(len(requests))]
