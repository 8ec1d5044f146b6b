"""The lab seen from a server: one child that trains for all who watch, and ends when nobody does. asyncio alone.

The dashboard may not load kernels, so a child of its own does (`python -m evaluator.lab`); messages alone are known
here.
"""

import asyncio
import sys
from collections.abc import AsyncIterator, Mapping
from contextlib import suppress
from typing import Any

import msgspec

from evaluator.errors import EvaluatorError
from evaluator.lab import (
    MOST_LINE_BYTES,
    Ended,
    Frame,
    Order,
    Pace,
    Point,
    Restart,
    Set,
    Settings,
    Told,
    decode_report,
    line_of,
)
from evaluator.limits import thread_environment
from node.errors import NodeError

__all__ = ["MOST_VIEWERS", "Ended", "Frame", "Lab", "LabError", "controls", "settings_of"]

MOST_VIEWERS = 8
"""Pages that may watch at one time."""

_MOST_HISTORY = 1500
_STOP_S = 2.0
# Loading torch takes seconds on a busy machine.
_ANSWER_S = 30.0
_SILENCE_S = 15.0
_COMPLAINT_BYTES = 4096


class LabError(NodeError):
    """The lab cannot do what was asked, or has ended."""


class Viewer:
    """One page's queue: a single frame, into which those that it has not taken yet are merged."""

    def __init__(self) -> None:
        self._frame: Frame | None = None
        self._ended: Ended | None = None
        self._there = asyncio.Event()

    def put(self, frame: Frame) -> None:
        """Take in a frame; returns at once."""
        self._frame = frame if self._frame is None else merged(self._frame, frame)
        self._there.set()

    def end(self, why: str) -> None:
        """Let the stream end, and say why."""
        self._ended = Ended(why=why)
        self._there.set()

    async def next(self, silence_s: float = _SILENCE_S) -> Frame | Ended | None:
        """The next frame, or word of the end; None after so many seconds without one."""
        try:
            async with asyncio.timeout(silence_s):
                await self._there.wait()
        except TimeoutError:
            return None
        if self._frame is not None:
            frame, self._frame = self._frame, None
            if self._ended is None:
                self._there.clear()
            return frame
        return self._ended


def merged(earlier: Frame, later: Frame) -> Frame:
    """One frame for two: the newer one with the points of both, fewer where they are many."""
    if later.restarted:
        return later
    points = thinned((*earlier.points, *later.points))
    return msgspec.structs.replace(later, points=points, restarted=earlier.restarted)


def thinned(points: tuple[Point, ...], most: int = _MOST_HISTORY) -> tuple[Point, ...]:
    """The points, or, where they are more than `most`, every other of them and the last."""
    while len(points) > most:
        points = points[:-1][::2] + points[-1:]
    return points


class Lab:
    """One lab for all viewers of a server: `watch` starts its process, `order` steers it.

    It ends `linger_s` after the last viewer left, after `most_s` seconds, and when it is closed.
    """

    def __init__(
        self, *, memory_bytes: int = 2**30, nice: int = 10, most_s: float = 1800.0, linger_s: float = 10.0
    ) -> None:
        self._command = (
            sys.executable,
            "-P",  # the current folder must not shadow packages of the same names
            "-m",
            "evaluator.lab",
            f"--memory={memory_bytes}",
            f"--nice={nice}",
            f"--seconds={most_s}",
        )
        self._linger_s = linger_s
        self._viewers: set[Viewer] = set()
        self._process: asyncio.subprocess.Process | None = None
        self._reading: asyncio.Task[None] | None = None
        self._leaving: asyncio.TimerHandle | None = None
        self._ending: asyncio.Task[None] | None = None
        self._starting = asyncio.Lock()
        self._waiting: dict[int, asyncio.Future[str | None]] = {}
        self._number = 0
        self._whole: Frame | None = None
        self._closed = False

    @property
    def pid(self) -> int | None:
        """The process that trains; None where there is none."""
        return None if self._process is None else self._process.pid

    @property
    def full(self) -> bool:
        """Whether as many pages watch as may."""
        return len(self._viewers) >= MOST_VIEWERS

    async def watch(self) -> AsyncIterator[Frame | Ended | None]:
        """Frames as they come, the first with all points so far; None now and then in a silence; at last why it ended.

        Starts the process where there is none. Raises LabError where that fails or too many watch.
        """
        if self.full or self._closed:
            raise LabError(f"{MOST_VIEWERS} pages watch the lab already, or it closes. Close one of them.")
        viewer = Viewer()
        self._viewers.add(viewer)
        try:
            await self._start()
            if self._whole is not None:
                viewer.put(msgspec.structs.replace(self._whole, restarted=True))
            while True:
                found = await viewer.next()
                yield found
                if isinstance(found, Ended):
                    return
        finally:
            self._viewers.discard(viewer)
            if not self._viewers:
                self._leave()

    async def set(self, settings: Settings) -> None:
        """Go on with other settings. Raises LabError for those that make no network, or where nobody watches."""
        await self._ask(Set(number=self._next(), settings=settings))

    async def restart(self, settings: Settings) -> None:
        """Train from the first weights again, with these settings. Raises LabError as `set` does."""
        await self._ask(Restart(number=self._next(), settings=settings))

    async def pace(self, steps_per_s: float, *, once: bool = False) -> None:
        """Take at most so many steps a second, 0 for a pause; `once` takes one step more. Raises LabError."""
        try:
            order = msgspec.convert(
                {"type": "pace", "number": self._next(), "steps_per_s": steps_per_s, "once": once}, Pace
            )
        except msgspec.ValidationError as error:
            raise LabError(f"the lab takes 0 to 1000 steps a second: {error}.") from error
        await self._ask(order)

    def release(self) -> None:
        """Let every stream end now, so that the server can end."""
        self._closed = True
        for viewer in self._viewers:
            viewer.end("The dashboard was closed.")

    async def close(self) -> None:
        """End the process and every stream, and wait for it."""
        self.release()
        if self._leaving is not None:
            self._leaving.cancel()
        await self._end()

    def _next(self) -> int:
        self._number += 1
        return self._number

    async def _ask(self, order: Order) -> None:
        process = self._process
        if process is None or process.stdin is None:
            raise LabError("nobody watches the lab, so it does not run. Open its page.")
        answer: asyncio.Future[str | None] = asyncio.get_running_loop().create_future()
        self._waiting[order.number] = answer
        try:
            process.stdin.write(line_of(order))
            async with asyncio.timeout(_ANSWER_S):
                await process.stdin.drain()
                refused = await answer
        except TimeoutError as error:
            raise LabError(f"the lab gave no answer within {_ANSWER_S:g} s. Reload the page.") from error
        except OSError as error:
            raise LabError("the lab has just ended. Reload the page.") from error
        finally:
            del self._waiting[order.number]
        if refused is not None:
            raise LabError(refused)

    async def _start(self) -> None:
        if self._leaving is not None:
            self._leaving.cancel()
            self._leaving = None
        async with self._starting:
            if self._ending is not None:
                await self._ending
            if self._process is not None:
                return
            try:
                self._process = await asyncio.create_subprocess_exec(
                    *self._command,
                    stdin=asyncio.subprocess.PIPE,
                    stdout=asyncio.subprocess.PIPE,
                    stderr=asyncio.subprocess.PIPE,
                    limit=MOST_LINE_BYTES,
                    env=thread_environment(),
                )
            except OSError as error:
                raise LabError(f"the lab's process cannot be started: {error}.") from error
            self._whole = None
            self._reading = asyncio.create_task(self._read(self._process))
            if self._closed:
                await self._end()

    async def _read(self, process: asyncio.subprocess.Process) -> None:
        """Take in all that the child says, until it ends; then tell everybody why."""
        assert process.stdout is not None
        assert process.stderr is not None
        complaining = asyncio.create_task(_last_of(process.stderr))
        why = ""
        try:
            while line := await process.stdout.readline():
                report = decode_report(line)
                if isinstance(report, Ended):
                    why = report.why
                elif isinstance(report, Told):
                    waiting = self._waiting.get(report.number)
                    if waiting is not None and not waiting.done():
                        waiting.set_result(report.refused)
                else:
                    self._take(report)
        except (EvaluatorError, ValueError) as error:
            why = f"The lab said something that this eqmesh does not know: {error}"
            process.kill()
        except asyncio.CancelledError:
            # The server's loop ends without having closed the lab: nothing may outlive it.
            process.kill()
            raise
        finally:
            await self._ended(process, why, complaining)

    async def _ended(
        self, process: asyncio.subprocess.Process, why: str, complaining: "asyncio.Task[bytes]"
    ) -> None:
        code = await process.wait()
        said = (await complaining).decode(errors="replace").strip().splitlines()
        if not why:
            how = f"signal {-code}" if code < 0 else f"exit status {code}"
            why = f"The lab's process ended ({how}{': ' + said[-1][:300] if said else ''}). Start it again."
        if self._process is process:
            self._process, self._whole = None, None
        for waiting in self._waiting.values():
            if not waiting.done():
                waiting.set_result(why)
        for viewer in self._viewers:
            viewer.end(why)

    def _take(self, frame: Frame) -> None:
        whole = frame if self._whole is None else merged(self._whole, frame)
        self._whole = whole
        for viewer in self._viewers:
            viewer.put(frame)

    def _leave(self) -> None:
        """Nobody watches: end the process soon, unless somebody comes."""
        if self._process is None or self._closed:
            return

        def end() -> None:
            if not self._viewers:
                self._ending = asyncio.create_task(self._end())

        self._leaving = asyncio.get_running_loop().call_later(self._linger_s, end)

    async def _end(self) -> None:
        process, reading = self._process, self._reading
        if process is None or reading is None:
            return
        if process.stdin is not None:
            process.stdin.close()
        try:
            async with asyncio.timeout(_STOP_S):
                await asyncio.shield(reading)
        except TimeoutError:
            with suppress(ProcessLookupError):
                process.kill()
            await reading
        self._ending = None


async def _last_of(stream: asyncio.StreamReader) -> bytes:
    """The last of what a stream says, once it has ended."""
    kept = b""
    while chunk := await stream.read(_COMPLAINT_BYTES):
        kept = (kept + chunk)[-_COMPLAINT_BYTES:]
    return kept


def settings_of(value: object) -> Settings:
    """Settings from plain data. Raises LabError that names the setting, what is allowed and what came."""
    try:
        return msgspec.convert(value, Settings)
    except msgspec.ValidationError as error:
        raise LabError(f"the lab's settings expect other values: {error}. Correct it.") from error


# Any: a JSON schema holds whatever it holds.
def controls() -> Mapping[str, Mapping[str, Any]]:
    """Every setting by name: its default, and the values it may have, as JSON Schema says them."""
    (schema,), components = msgspec.json.schema_components([Settings], ref_template="{name}")
    found: Mapping[str, Mapping[str, Any]] = components[schema["$ref"]]["properties"]
    return found
