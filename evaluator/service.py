"""What a worker answers: every job becomes an Outcome or a Failure, never an exception."""

import importlib.metadata
import os
import platform
from collections.abc import Callable

import torch

from eqmesh import EqmeshError, __version__
from evaluator.calibrate import calibrate
from evaluator.errors import DataError, EvaluatorError, SealedSplitError, SurroundingsError
from evaluator.jobs import (
    Calibrate,
    Calibrated,
    Job,
    JobArithmetic,
    Outcome,
    Progress,
    Ready,
    Reply,
    Result,
    failure_of,
)
from evaluator.measure import RefusedError, run_network
from evaluator.spaces import resolve_space
from evaluator.tasks import DatasetTask, FunctionTask, Tier, resolve, task_id
from genome import Genome, GenomeError
from kernels import DivergedError, KernelError, choose_backend

__all__ = ["calibrated", "ready", "run"]

torch.set_num_threads(1)


def ready() -> Ready:
    """This process and the versions that its arithmetic depends on."""
    chosen, refusals = choose_backend("auto")
    return Ready(pid=os.getpid(), versions=_versions(), backends={chosen.name: "", **refusals})


def calibrated(request: Calibrate) -> Calibrated:
    """Time this machine in the class that was asked for."""
    _set_subnormals(request.arithmetic)
    return Calibrated(calibration=calibrate(request.arithmetic))


def run(job: Job, send: Callable[[Reply], None]) -> Result:
    """Do one job. Whatever goes wrong in genome, task, data or arithmetic becomes a Failure."""
    _set_subnormals(job.arithmetic)
    try:
        return _run(job, send)
    except (RefusedError, GenomeError, SealedSplitError) as error:
        return failure_of(job, "refused", str(error))
    except DivergedError as error:
        return failure_of(job, "diverged", str(error))
    except DataError as error:
        return failure_of(job, "data", str(error))
    except SurroundingsError as error:
        return failure_of(job, "environment", str(error))
    except MemoryError as error:
        return failure_of(job, "out-of-memory", _memory_text(error))
    except KernelError as error:
        return failure_of(job, "refused", str(error))
    except EqmeshError as error:
        return failure_of(job, "error", str(error))
    except Exception as error:  # noqa: BLE001 - a task of a user's own may raise anything
        if "allocate memory" in str(error):
            return failure_of(job, "out-of-memory", _memory_text(error))
        return failure_of(job, "error", f"{type(error).__name__}: {error}"[:2000])


def _run(job: Job, send: Callable[[Reply], None]) -> Result:
    task = resolve(job.task)
    tier = task.tier(job.tier)
    if task_id(task, tier) != job.task_id:
        raise SurroundingsError(
            f"task {job.task!r} at tier {job.tier!r} is {task_id(task, tier)[:12]} here, the job means "
            f"{job.task_id[:12]}: data, split or budget differ. Use the same version of the task."
        )
    genome = Genome.decode(job.genome)
    if genome.id != job.genome_id:
        raise EvaluatorError(f"the job names genome {job.genome_id[:12]}, its bytes are {genome.id[:12]}")
    resolve_space(job.space, task).check(genome)
    if isinstance(task, FunctionTask):
        return _run_function(job, task, tier, genome)

    if not isinstance(task, DatasetTask):
        raise EvaluatorError(f"task {job.task!r} is neither of networks nor a function")

    def on_progress(done: float, accuracy: float | None) -> None:
        send(Progress(number=job.number, done=done, accuracy=accuracy))

    return run_network(job, task, tier, genome, on_progress=on_progress, versions=_versions())


def _run_function(job: Job, task: FunctionTask, tier: Tier, genome: Genome) -> Outcome:
    """A task that needs no network: its own function gives the objectives."""
    found = task.measure(dict(genome.values), seed=job.seed, tier=tier)
    return Outcome(
        number=job.number,
        genome=genome.id,
        task=job.task,
        task_id=job.task_id,
        tier=job.tier,
        seed=job.seed,
        arithmetic="task",
        backend="task",
        purpose=job.purpose,
        split=job.split,
        objectives=found,
        versions=_versions(),
    )


def _set_subnormals(arithmetic: JobArithmetic) -> None:
    """Flush subnormal numbers to zero in the fast classes: gradients that vanish would cost 30 times the time.

    The exact class keeps IEEE arithmetic, which is the same everywhere.
    """
    torch.set_flush_denormal(arithmetic in ("fp32", "bf16"))


def _memory_text(error: BaseException) -> str:
    return f"the worker ran into its memory limit: {str(error)[:500] or 'MemoryError'}"


def _versions() -> dict[str, str]:
    return {
        "eqmesh": __version__,
        "python": platform.python_version(),
        "torch": str(torch.__version__),
        "numpy": importlib.metadata.version("numpy"),
    }
