"""A worker process as its parent sees it: frames over pipes, the last complaint, and how it ended."""

import trio

from evaluator.errors import EvaluatorError
from evaluator.frames import decode_reply, encode, frame_length
from evaluator.jobs import Ready, Reply, Request

__all__ = ["Child", "WorkerEndedError"]

_STOP_DEADLINE_S = 2.0
_STDERR_BYTES = 4096


class WorkerEndedError(EvaluatorError):
    """The worker's pipe closed or carried something else than a reply."""


class Child:
    """A worker process and its pipes. Used for one request at a time."""

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
        """Write a request. Raises WorkerEndedError."""
        try:
            await self._stdin.send_all(encode(request))
        except (trio.BrokenResourceError, trio.ClosedResourceError) as error:
            raise WorkerEndedError("its input is closed") from error

    async def receive(self) -> Reply:
        """The next reply. Raises WorkerEndedError, or EvaluatorError for what is none."""
        return decode_reply(await self._exactly(frame_length(await self._exactly(4))))

    async def _exactly(self, count: int) -> bytes:
        parts: list[bytes] = []
        while count:
            chunk = await self._stdout.receive_some(min(count, 65536))
            if not chunk:
                raise WorkerEndedError("its output ended")
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
