"""What a worker answers: every job or check becomes its result or a Failure, never an exception."""

import importlib.metadata
import os
import platform
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from functools import partial
from typing import TypeVar

import torch

from eqmesh import EqmeshError, __version__
from evaluator.calibrate import calibrate
from evaluator.errors import DataError, EvaluatorError, SealedSplitError, SurroundingsError
from evaluator.jobs import (
    Batch,
    Calibrate,
    Calibrated,
    CurvePoint,
    Failure,
    Job,
    JobArithmetic,
    Measured,
    Outcome,
    Progress,
    Ready,
    Replay,
    Replayed,
    Reply,
    Result,
    Weigh,
    Weighed,
    Work,
    failure_of,
    objectives_fingerprint,
)
from evaluator.measure import Finished, outcome_of, run_network, train_together
from evaluator.setups import RefusedError, Setup, set_up
from evaluator.spaces import resolve_space
from evaluator.tasks import DatasetTask, FunctionTask, Task, TestPermit, Tier, resolve, task_id
from evaluator.verification import replay_network, weigh
from genome import Genome, GenomeError
from kernels import DivergedError, KernelError
from kernels.backend import backend_table

__all__ = ["calibrated", "ready", "run", "run_batch"]

Done = TypeVar("Done")

torch.set_num_threads(1)


def ready() -> Ready:
    """This process and the versions that its arithmetic depends on."""
    return Ready(pid=os.getpid(), versions=_versions(), backends=backend_table())


def calibrated(request: Calibrate) -> Calibrated:
    """Time this machine in the class that was asked for."""
    with _subnormals(request.arithmetic):
        return Calibrated(calibration=calibrate(request.arithmetic))


def run(request: Work, send: Callable[[Reply], None]) -> Result | Weighed | Replayed:
    """Do one job or check. Whatever goes wrong in genome, task, data or arithmetic becomes a Failure."""
    return _guarded(request, lambda: _run(request, send))


def run_batch(request: Batch, send: Callable[[Reply], None]) -> None:
    """Train jobs of one group together, and send an Outcome or a Failure for each.

    What goes wrong for one of them is its own Failure. What goes wrong for them all, such as memory that runs out, is
    one of each: whom it is owed to shows when they are run again one by one.
    """
    setups = _set_up(request.jobs, send)
    if not setups:
        return
    jobs = [setup.job for setup in setups]

    def on_progress(member: int, done: float, accuracy: float | None) -> None:
        send(Progress(number=jobs[member].number, done=done, accuracy=accuracy))

    found = _guarded(jobs[0], lambda: train_together(setups, on_progress=on_progress))
    if isinstance(found, Failure):
        for job in jobs:
            send(failure_of(job, found.kind, found.detail))
        return
    for setup, finished in zip(setups, found, strict=True):
        send(_guarded(setup.job, partial(_measured, setup, finished)))


def _set_up(jobs: Sequence[Job], send: Callable[[Reply], None]) -> list[Setup]:
    """Those of the jobs that can be trained; each of the others is answered."""
    found: list[Setup] = []

    def one(job: Job) -> Setup:
        task, tier, genome = _subject(job)
        if not isinstance(task, DatasetTask):
            raise EvaluatorError(f"only networks are trained in groups, task {task.name!r} has none")
        return set_up(job, task, tier, genome, arrays=found[0].arrays if found else None)

    for job in jobs:
        setup = _guarded(job, partial(one, job))
        if isinstance(setup, Failure):
            send(setup)
        else:
            found.append(setup)
    return found


def _measured(setup: Setup, finished: Finished | DivergedError) -> Outcome:
    if isinstance(finished, DivergedError):
        raise finished
    return outcome_of(setup, finished, versions=_versions())


def _guarded(request: Work, act: Callable[[], Done]) -> Done | Failure:
    """What `act` gives in the arithmetic of the request; whatever it raises becomes a Failure of the request."""
    try:
        with _subnormals(request.job.arithmetic if isinstance(request, Replay) else request.arithmetic):
            return act()
    except (RefusedError, GenomeError, SealedSplitError) as error:
        return failure_of(request, "refused", str(error))
    except DivergedError as error:
        return failure_of(request, "diverged", str(error))
    except DataError as error:
        return failure_of(request, "data", str(error))
    except SurroundingsError as error:
        return failure_of(request, "environment", str(error))
    except MemoryError as error:
        return failure_of(request, "out-of-memory", _memory_text(error))
    except KernelError as error:
        return failure_of(request, "refused", str(error))
    except EqmeshError as error:
        return failure_of(request, "error", str(error))
    except Exception as error:  # noqa: BLE001 - a task of a user's own may raise anything
        if "allocate memory" in str(error):
            return failure_of(request, "out-of-memory", _memory_text(error))
        return failure_of(request, "error", f"{type(error).__name__}: {error}"[:2000])


def _run(request: Work, send: Callable[[Reply], None]) -> Result | Weighed | Replayed:
    task, tier, genome = _subject(request.job if isinstance(request, Replay) else request)
    if isinstance(task, FunctionTask):
        return _run_function(request, task, tier, genome, send)
    if not isinstance(task, DatasetTask):
        raise EvaluatorError(f"task {task.name!r} is neither of networks nor a function")
    if isinstance(request, Weigh):
        return weigh(request, task, tier, genome)
    if isinstance(request, Replay):
        return replay_network(request, task, tier, genome)

    def on_progress(done: float, accuracy: float | None) -> None:
        send(Progress(number=request.number, done=done, accuracy=accuracy))

    return run_network(request, task, tier, genome, on_progress=on_progress, versions=_versions())


def _subject(asked: Job | Weigh) -> tuple[Task, Tier, Genome]:
    """Task, tier and genome that are meant, once both ids are computed again."""
    task = resolve(asked.task)
    tier = task.tier(asked.tier)
    if task_id(task, tier) != asked.task_id:
        raise SurroundingsError(
            f"task {asked.task!r} at tier {asked.tier!r} is {task_id(task, tier)[:12]} here, the job means "
            f"{asked.task_id[:12]}: data, split or budget differ. Use the same version of the task."
        )
    genome = Genome.decode(asked.genome)
    if genome.id != asked.genome_id:
        raise EvaluatorError(f"the job names genome {asked.genome_id[:12]}, its bytes are {genome.id[:12]}")
    resolve_space(asked.space, task).check(genome)
    return task, tier, genome


def _run_function(
    request: Work, task: FunctionTask, tier: Tier, genome: Genome, send: Callable[[Reply], None]
) -> Outcome | Replayed:
    """A task that needs no network: its own function gives the objectives."""
    if isinstance(request, Weigh):
        raise RefusedError(f"task {task.name!r} is a function and leaves no weights. Replay its claim.")
    job = request.job if isinstance(request, Replay) else request
    if isinstance(request, Replay) and (request.segment != 0 or request.state is not None):
        raise EvaluatorError(
            f"a function is replayed as segment 0 without a state, got {request.segment} and {request.state!r}."
        )
    curve: list[CurvePoint] = []

    def on_point(point: CurvePoint, done: float) -> None:
        curve.append(point)
        send(Progress(number=job.number, done=done, accuracy=point.accuracy))

    # A search that asks for the test split has no permit to give.
    permit = TestPermit(reason=job.purpose) if job.split == "test" else None
    found = task.measure(dict(genome.values), seed=job.seed, tier=tier, permit=permit, on_point=on_point)
    end = objectives_fingerprint(found)
    if isinstance(request, Replay):
        return Replayed(number=request.number, end=end)
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
        checkpoints=(end,),
        curve=tuple(curve) if permit is None else (),
        measured=Measured(train_cpu_s=curve[-1].train_cpu_s if curve else 0.0),
        versions=_versions(),
    )


@contextmanager
def _subnormals(arithmetic: JobArithmetic) -> Iterator[None]:
    """Flush subnormal numbers to zero in the fast classes: gradients that vanish would cost 30 times the time.

    The exact class keeps IEEE arithmetic, which is the same everywhere, and so does whatever this process does next.
    """
    torch.set_flush_denormal(arithmetic in ("fp32", "bf16"))
    try:
        yield
    finally:
        torch.set_flush_denormal(False)


def _memory_text(error: BaseException) -> str:
    return f"the worker ran into its memory limit: {str(error)[:500] or 'MemoryError'}"


def _versions() -> dict[str, str]:
    return {
        "eqmesh": __version__,
        "python": platform.python_version(),
        "torch": str(torch.__version__),
        "numpy": importlib.metadata.version("numpy"),
    }
