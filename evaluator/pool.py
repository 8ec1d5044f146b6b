"""The trio parent of the workers: starts, feeds, times out, kills and restarts them.

A worker is `python -m evaluator.worker`, spoken to in frames over its pipes; nothing it does can
raise here. Whatever ends it becomes a `Failure` of the job that it was doing. Jobs that may share a launch
(`evaluator.groups`) wait in a line of their own: who gets a worker takes others along.
"""

import subprocess
import sys
from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager, nullcontext
from functools import partial
from typing import TypeVar

import msgspec
import trio

from evaluator.child import Child, WorkerEndedError
from evaluator.errors import EvaluatorError
from evaluator.gathering import Line
from evaluator.groups import fills_launches, group_key
from evaluator.jobs import (
    Arithmetic,
    Batch,
    Calibrate,
    Calibrated,
    Calibration,
    Failure,
    Job,
    JobArithmetic,
    Outcome,
    Progress,
    Ready,
    Replay,
    Replayed,
    Reply,
    Request,
    Result,
    Weigh,
    Weighed,
    Work,
    failure_of,
)
from evaluator.launches import Launch, Ticket
from evaluator.limits import thread_environment

__all__ = ["Pool", "PoolSettings", "open_pool"]

_START_DEADLINE_S = 60.0
_CALIBRATE_DEADLINE_S = 120.0
_TRIES = 3
CROWDED = ("rescore", "report")

OnProgress = Callable[[Progress], None]
Answer = TypeVar("Answer", Outcome, Weighed, Replayed)


class PoolSettings(msgspec.Struct, frozen=True, kw_only=True):
    """How many workers, how much memory each may take, and after how many jobs it is replaced.

    At most `lanes` jobs share a launch; 1 for none. On a CPU the time of a network's step falls up to about 16 of them.
    Jobs of purpose rescore or report, which come in crowds, leave `spare` of the workers to others.
    """

    workers: int = 2
    spare: int = 0
    lanes: int = 16
    memory_bytes: int = 2 * 2**30
    jobs_before_restart: int = 200
    nice: int = 5

    def __post_init__(self) -> None:
        if self.workers < 1:
            raise EvaluatorError(f"a pool expects at least one worker, got {self.workers}.")
        if not 0 <= self.spare < self.workers:
            raise EvaluatorError(
                f"a pool can spare less than all of its {self.workers} workers, got {self.spare}. Start more."
            )
        if self.lanes < 1:
            raise EvaluatorError(f"a pool expects launches of at least one job, got {self.lanes} lanes.")


class Pool:
    """A fixed number of workers; `run` takes the next idle one. Made by `open_pool`."""

    def __init__(self, settings: PoolSettings, nursery: trio.Nursery) -> None:
        self.settings = settings
        self._nursery = nursery
        send, receive = trio.open_memory_channel[Child | None](settings.workers)
        self._give, self._idle = send, receive
        self._running: set[Child] = set()
        self._crowd = trio.CapacityLimiter(settings.workers - settings.spare)
        self._line: Line[Ticket] = Line()
        self._starting: set[Ticket] = set()  # whoever has a worker that is not ready for a launch yet

    async def start(self) -> None:
        """Start every worker; does not wait for torch to load in them."""
        for _ in range(self.settings.workers):
            self._give.send_nowait(await self._launch())

    async def run(self, job: Job, *, on_progress: OnProgress = lambda _: None) -> Result:
        """Do one job in a worker, together with others where they may share a launch: its result is the same alone.

        Raises nothing for what the genome or the task does, EvaluatorError where workers cannot start at all.
        """
        key = group_key(job) if self.settings.lanes > 1 else None
        if key is None:
            async with self._place(job):
                return await self._do(job, Outcome, on_progress)
        ticket = Ticket(job, key, on_progress)
        self._begin(ticket)
        try:
            await ticket.settled.wait()
        except trio.Cancelled:
            with trio.CancelScope(shield=True):
                await self._forsake(ticket)
            raise
        if ticket.result is None:
            raise EvaluatorError(f"{ticket.error}")
        return ticket.result

    def asks_per_worker(self, arithmetic: JobArithmetic, backend: str = "auto") -> int:
        """How many jobs of a search a worker can use at a time: a launch of them where most may share one, else 1."""
        return self.settings.lanes if fills_launches(arithmetic, backend) else 1

    async def weigh(self, request: Weigh) -> Weighed | Failure:
        """Weigh a claim in a worker of its own; fails as `run` does."""
        return await self._do(request, Weighed, lambda _: None)

    async def replay(self, request: Replay) -> Replayed | Failure:
        """Replay a segment of a claim in a worker of its own; fails as `run` does."""
        return await self._do(request, Replayed, lambda _: None)

    def _begin(self, ticket: Ticket) -> None:
        """Have a job wait for a worker, or for another job that takes it along."""
        ticket.begin()
        if ticket.key is not None:
            self._line.join(ticket, ticket.key)
        self._nursery.start_soon(self._lead, ticket)

    async def _forsake(self, ticket: Ticket) -> None:
        """Forget a job that its caller waits for no longer; end its worker, unless others wait for what that does."""
        ticket.forsaken = True
        self._line.leave(ticket)
        launch = ticket.launch
        if launch is None:
            ticket.scope.cancel()
            await ticket.left.wait()
        elif not launch.wanted:
            launch.scope.cancel()
            await launch.over.wait()

    async def _lead(self, ticket: Ticket) -> None:
        """Wait for a worker, and have it do the job and those of the same key that wait then."""
        launch: Launch | None = None

        def request() -> Batch:
            nonlocal launch
            launch = launch or self._gather(ticket)
            return launch.request()

        def claim() -> bool:
            # Out of the line nobody takes the job along any more, while its worker loads its libraries, say.
            ticket.leads = ticket.leads or ticket.key is None or self._line.leave(ticket)
            if ticket.leads and launch is None:
                self._starting.add(ticket)
            return ticket.leads

        scope, left = ticket.scope, ticket.left
        try:
            with scope:
                async with self._place(ticket.job):
                    worker = await self._take(request, claim=claim)
                    if worker is not None:
                        assert launch is not None
                        await self._attend(worker, launch)
        except EvaluatorError as error:
            for each in [ticket] if launch is None else launch.tickets:
                each.give_up(str(error))
        finally:
            self._starting.discard(ticket)
            left.set()
            if launch is not None:
                launch.over.set()
        for each in [] if launch is None else launch.again:
            if not each.forsaken:
                each.key = None
                self._begin(each)

    def _place(self, job: Job) -> AbstractAsyncContextManager[None]:
        """What a job holds as long as it waits for a worker or has one."""
        return self._crowd if job.purpose in CROWDED else nullcontext()

    def _gather(self, ticket: Ticket) -> Launch:
        self._starting.discard(ticket)
        company: list[Ticket] = []
        if ticket.key is not None:
            idle = self._idle.statistics().current_buffer_used
            if ticket.job.purpose in CROWDED:
                idle = min(idle, int(self._crowd.available_tokens))
            company = self._line.gather(
                ticket.key, most=self.settings.lanes - 1, idle=idle, starting=len(self._starting)
            )
        for each in company:
            each.scope.cancel()  # the task that waits for a worker of its own
        return Launch([ticket, *company])

    async def _attend(self, worker: Child, launch: Launch) -> None:
        """Wait for the answers of a launch; whatever ends it earlier fails what has none yet."""
        try:
            with trio.move_on_after(launch.deadline_s):
                while not launch.answered:
                    reply = await worker.receive()
                    if not launch.take(reply):
                        raise WorkerEndedError(f"it answered with {type(reply).__name__}")
                    if not launch.wanted:
                        break
                if launch.answered:
                    await self._return(worker)
                else:
                    await self._replace(worker, kill=True)
                return
            await self._replace(worker, kill=True)
            launch.fail(_late)
        except EvaluatorError as error:
            ended = await self._replace(worker, kill=False)
            launch.fail(partial(_crashed, ended=ended, error=error))
        except trio.Cancelled:
            await self._replace(worker, kill=True)
            raise

    async def _do(self, request: Work, kind: type[Answer], on_progress: OnProgress) -> Answer | Failure:
        worker = await self._take(lambda: request)
        assert worker is not None
        try:
            with trio.move_on_after(request.deadline_s):
                result = await self._answer(worker, on_progress)
                if not isinstance(result, (kind, Failure)):
                    raise WorkerEndedError(f"it answered with {type(result).__name__}")
                await self._return(worker)
                return result
            await self._replace(worker, kill=True)
            return _late(request)
        except EvaluatorError as error:
            ended = await self._replace(worker, kill=False)
            return _crashed(request, ended=ended, error=error)
        except trio.Cancelled:
            await self._replace(worker, kill=True)
            raise

    async def calibrate(self, arithmetic: Arithmetic) -> Calibration:
        """Time training steps of one arithmetic class in an idle worker. Raises EvaluatorError."""
        worker = await self._take(lambda: Calibrate(arithmetic=arithmetic))
        assert worker is not None
        try:
            with trio.move_on_after(_CALIBRATE_DEADLINE_S) as waiting:
                reply = await self._answer(worker, lambda _: None)
            if waiting.cancelled_caught:
                raise WorkerEndedError(f"nothing came within {_CALIBRATE_DEADLINE_S:g} s")
        except EvaluatorError as error:
            ended = await self._replace(worker, kill=True)
            raise EvaluatorError(
                f"a worker ended while it measured this machine, {ended} ({error})"
            ) from error
        except trio.Cancelled:
            await self._replace(worker, kill=True)
            raise
        await self._return(worker)
        if not isinstance(reply, Calibrated):
            raise EvaluatorError(f"expected a calibration from a worker, got {type(reply).__name__}")
        return reply.calibration

    async def backends(self) -> dict[str, str]:
        """For each backend why the workers cannot use it; empty where they can. Raises EvaluatorError."""
        worker = await self._take(lambda: None)
        assert worker is not None
        await self._return(worker)
        assert worker.ready is not None
        return worker.ready.backends

    async def stop(self) -> None:
        """End every worker that still lives, whatever it is doing."""
        for worker in list(self._running):
            await worker.end(kill=True)
        self._running.clear()

    async def _answer(self, worker: Child, on_progress: OnProgress) -> Reply:
        while True:
            reply = await worker.receive()
            if not isinstance(reply, Progress):
                return reply
            on_progress(reply)

    async def _launch(self) -> Child:
        command = worker_command(self.settings)
        pipe = subprocess.PIPE
        process = await trio.lowlevel.open_process(
            command, stdin=pipe, stdout=pipe, stderr=pipe, env=thread_environment()
        )
        worker = Child(process)
        self._running.add(worker)
        self._nursery.start_soon(worker.drain_stderr)
        return worker

    async def _take(
        self, request: Callable[[], Request | None], *, claim: Callable[[], bool] = lambda: True
    ) -> Child | None:
        """An idle worker that lives and has the request. One that ended before it could do anything is replaced.

        None, and the worker stays idle, where `claim` says then that none is wanted any more.
        """
        for tries_left in reversed(range(_TRIES)):
            worker = await self._idle.receive()
            if not claim():
                self._give.send_nowait(worker)
                return None
            try:
                worker = worker or await self._launch()
            except OSError as error:
                self._give.send_nowait(None)
                if tries_left:
                    await trio.sleep(1.0)
                    continue
                raise EvaluatorError(f"a worker process cannot be started: {error.strerror}") from error
            try:
                if worker.ready is None:
                    await self._await_ready(worker)
                if worker.process.poll() is not None:
                    raise WorkerEndedError("it ended while it was idle")
                # Only now: whoever came while the worker loaded its libraries may go along.
                asked = request()
                if asked is not None:
                    await worker.send(asked)
            except EvaluatorError:
                await self._replace(worker, kill=True)
                if not tries_left:
                    raise
            except trio.Cancelled:
                await self._replace(worker, kill=True)
                raise
            else:
                worker.jobs += len(asked.jobs) if isinstance(asked, Batch) else 1
                return worker
        raise AssertionError("every try returns, goes on or raises")

    async def _await_ready(self, worker: Child) -> None:
        """Wait until the worker has loaded its libraries. Raises EvaluatorError if it cannot."""
        why = f"nothing came within {_START_DEADLINE_S:g} s"
        with trio.move_on_after(_START_DEADLINE_S):
            try:
                reply = await worker.receive()
            except EvaluatorError:
                why = await worker.end(kill=False)
            else:
                if isinstance(reply, Ready):
                    worker.ready = reply
                    return
                why = f"it said {type(reply).__name__} first"
        raise EvaluatorError(
            f"a worker must start and say that it is ready, but {why}. Each worker may take "
            f"{self.settings.memory_bytes / 2**20:.0f} MiB (--worker-memory); see `eqmesh doctor`."
        )

    async def _return(self, worker: Child) -> None:
        if worker.jobs >= self.settings.jobs_before_restart:
            await self._replace(worker, kill=True)
        else:
            self._give.send_nowait(worker)

    async def _replace(self, worker: Child, *, kill: bool) -> str:
        """Bury the worker and leave a place for a new one; gives how it ended."""
        with trio.CancelScope(shield=True):
            ended = await worker.end(kill=kill)
            self._running.discard(worker)
            self._give.send_nowait(None)
        return ended


def worker_command(settings: PoolSettings) -> list[str]:
    """The command that starts a worker."""
    return [
        sys.executable,
        "-P",  # the current folder must not shadow packages of the same names
        "-m",
        "evaluator.worker",
        f"--memory={settings.memory_bytes}",
        f"--nice={settings.nice}",
    ]


def _late(request: Work) -> Failure:
    return failure_of(request, "deadline", f"the job did not end within its {request.deadline_s:g} s")


def _crashed(request: Work, *, ended: str, error: EvaluatorError) -> Failure:
    return failure_of(request, "crashed", f"the worker process ended, {ended} ({error})")


@asynccontextmanager
async def open_pool(settings: PoolSettings) -> AsyncIterator[Pool]:
    """A pool of running workers; on leaving, every one of them has ended."""
    async with trio.open_nursery() as nursery:
        pool = Pool(settings, nursery)
        try:
            await pool.start()
            yield pool
        finally:
            with trio.CancelScope(shield=True):
                await pool.stop()
            nursery.cancel_scope.cancel()
