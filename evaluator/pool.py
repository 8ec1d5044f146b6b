"""The trio parent of the workers: starts, feeds, times out, kills and restarts them.

A worker is `python -m evaluator.worker`, spoken to in frames over its pipes; nothing it does can
raise here. Whatever ends it becomes a `Failure` of the job that it was doing.
"""

import subprocess
import sys
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import TypeVar

import msgspec
import trio

from evaluator.errors import EvaluatorError
from evaluator.jobs import (
    Arithmetic,
    Calibrate,
    Calibrated,
    Calibration,
    Failure,
    Job,
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
    decode_reply,
    encode,
    failure_of,
    frame_length,
)
from evaluator.limits import thread_environment

__all__ = ["Pool", "PoolSettings", "open_pool"]

_START_DEADLINE_S = 60.0
_CALIBRATE_DEADLINE_S = 120.0
_TRIES = 3
_STOP_DEADLINE_S = 2.0
_STDERR_BYTES = 4096

OnProgress = Callable[[Progress], None]
Answer = TypeVar("Answer", Outcome, Weighed, Replayed)


class PoolSettings(msgspec.Struct, frozen=True, kw_only=True):
    """How many workers, how much memory each may take, and after how many jobs it is replaced."""

    workers: int = 2
    memory_bytes: int = 2 * 2**30
    jobs_before_restart: int = 200
    nice: int = 5

    def __post_init__(self) -> None:
        if self.workers < 1:
            raise EvaluatorError(f"a pool expects at least one worker, got {self.workers}.")


class _WorkerEndedError(EvaluatorError):
    """The worker's pipe closed or carried something else than a reply."""


class _Worker:
    """One child process and its pipes. Used by one job at a time."""

    def __init__(self, process: trio.Process) -> None:
        assert process.stdin is not None
        assert process.stdout is not None
        assert process.stderr is not None
        self.process = process
        self.jobs = 0
        self.ready: Ready | None = None
        self._stdin, self._stdout, self._stderr = process.stdin, process.stdout, process.stderr
        self._complaint = b""

    async def drain_stderr(self) -> None:
        """Keep the last of what the worker complained about, for the detail of a failure."""
        async for chunk in self._stderr:
            self._complaint = (self._complaint + chunk)[-_STDERR_BYTES:]

    async def send(self, request: Request) -> None:
        try:
            await self._stdin.send_all(encode(request))
        except (trio.BrokenResourceError, trio.ClosedResourceError) as error:
            raise _WorkerEndedError("its input is closed") from error

    async def receive(self) -> Reply:
        return decode_reply(await self._exactly(frame_length(await self._exactly(4))))

    async def _exactly(self, count: int) -> bytes:
        parts: list[bytes] = []
        while count:
            chunk = await self._stdout.receive_some(min(count, 65536))
            if not chunk:
                raise _WorkerEndedError("its output ended")
            parts.append(bytes(chunk))
            count -= len(chunk)
        return b"".join(parts)

    async def end(self, *, kill: bool) -> str:
        """Wait for the process, killed now or after a grace; gives how it ended, in words."""
        with trio.CancelScope(shield=True):
            await self._stdin.aclose()
            if not kill:
                with trio.move_on_after(_STOP_DEADLINE_S):
                    await self.process.wait()
            if self.process.returncode is None:
                self.process.kill()
            code = await self.process.wait()
            await self._stdout.aclose()
        lines = self._complaint.decode(errors="replace").strip().splitlines()
        how = f"signal {-code}" if code < 0 else f"exit status {code}"
        return f"{how}: {lines[-1][:500]}" if lines else how


class Pool:
    """A fixed number of workers; `run` takes the next idle one. Made by `open_pool`."""

    def __init__(self, settings: PoolSettings, nursery: trio.Nursery) -> None:
        self.settings = settings
        self._nursery = nursery
        send, receive = trio.open_memory_channel[_Worker | None](settings.workers)
        self._give, self._idle = send, receive
        self._running: set[_Worker] = set()

    async def start(self) -> None:
        """Start every worker; does not wait for torch to load in them."""
        for _ in range(self.settings.workers):
            self._give.send_nowait(await self._launch())

    async def run(self, job: Job, *, on_progress: OnProgress = lambda _: None) -> Result:
        """Do one job in a worker of its own. Raises nothing for what the genome or the task does.

        Raises EvaluatorError where workers cannot start at all.
        """
        return await self._do(job, Outcome, on_progress)

    async def weigh(self, request: Weigh) -> Weighed | Failure:
        """Weigh a claim in a worker of its own; fails as `run` does."""
        return await self._do(request, Weighed, lambda _: None)

    async def replay(self, request: Replay) -> Replayed | Failure:
        """Replay a segment of a claim in a worker of its own; fails as `run` does."""
        return await self._do(request, Replayed, lambda _: None)

    async def _do(self, request: Work, kind: type[Answer], on_progress: OnProgress) -> Answer | Failure:
        worker = await self._take(request)
        try:
            with trio.move_on_after(request.deadline_s):
                result = await self._answer(worker, on_progress)
                if not isinstance(result, (kind, Failure)):
                    raise _WorkerEndedError(f"it answered with {type(result).__name__}")
                await self._return(worker)
                return result
            await self._replace(worker, kill=True)
            return failure_of(request, "deadline", f"the job did not end within its {request.deadline_s:g} s")
        except EvaluatorError as error:
            ended = await self._replace(worker, kill=False)
            return failure_of(request, "crashed", f"the worker process ended, {ended} ({error})")
        except trio.Cancelled:
            await self._replace(worker, kill=True)
            raise

    async def calibrate(self, arithmetic: Arithmetic) -> Calibration:
        """Time training steps of one arithmetic class in an idle worker. Raises EvaluatorError."""
        worker = await self._take(Calibrate(arithmetic=arithmetic))
        try:
            with trio.move_on_after(_CALIBRATE_DEADLINE_S) as waiting:
                reply = await self._answer(worker, lambda _: None)
            if waiting.cancelled_caught:
                raise _WorkerEndedError(f"nothing came within {_CALIBRATE_DEADLINE_S:g} s")
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
        worker = await self._take()
        await self._return(worker)
        assert worker.ready is not None
        return worker.ready.backends

    async def stop(self) -> None:
        """End every worker that still lives, whatever it is doing."""
        for worker in list(self._running):
            await worker.end(kill=True)
        self._running.clear()

    async def _answer(self, worker: _Worker, on_progress: OnProgress) -> Reply:
        while True:
            reply = await worker.receive()
            if not isinstance(reply, Progress):
                return reply
            on_progress(reply)

    async def _launch(self) -> _Worker:
        command = [
            sys.executable,
            "-P",  # the current folder must not shadow packages of the same names
            "-m",
            "evaluator.worker",
            f"--memory={self.settings.memory_bytes}",
            f"--nice={self.settings.nice}",
        ]
        pipe = subprocess.PIPE
        process = await trio.lowlevel.open_process(
            command, stdin=pipe, stdout=pipe, stderr=pipe, env=thread_environment()
        )
        worker = _Worker(process)
        self._running.add(worker)
        self._nursery.start_soon(worker.drain_stderr)
        return worker

    async def _take(self, request: Request | None = None) -> _Worker:
        """An idle worker that lives and has the request. One that ended before it could do anything is replaced."""
        for tries_left in reversed(range(_TRIES)):
            worker = await self._idle.receive()
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
                    raise _WorkerEndedError("it ended while it was idle")
                if request is not None:
                    await worker.send(request)
            except EvaluatorError:
                await self._replace(worker, kill=True)
                if not tries_left:
                    raise
            except trio.Cancelled:
                await self._replace(worker, kill=True)
                raise
            else:
                worker.jobs += 1
                return worker
        raise AssertionError("every try returns, goes on or raises")

    async def _await_ready(self, worker: _Worker) -> None:
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

    async def _return(self, worker: _Worker) -> None:
        if worker.jobs >= self.settings.jobs_before_restart:
            await self._replace(worker, kill=True)
        else:
            self._give.send_nowait(worker)

    async def _replace(self, worker: _Worker, *, kill: bool) -> str:
        """Bury the worker and leave a place for a new one; gives how it ended."""
        with trio.CancelScope(shield=True):
            ended = await worker.end(kill=kill)
            self._running.discard(worker)
            self._give.send_nowait(None)
        return ended


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
