"""A training step captured once in a CUDA graph, and replayed: one launch in place of hundreds.

Small and middling networks spend their time on a GPU in launches, of which a step has some hundreds. A graph is the
same operations on the same memory, so it gives the same bits. What changes from step to step must therefore lie in
memory: the batch in the buffers of its workspace, rates and signs in arrays (`Engine.prepare`).
"""

from collections.abc import Callable
from typing import Protocol

import torch
from torch import Tensor

from kernels.arithmetic import Op
from kernels.buffers import BySize
from kernels.engine import Engine
from kernels.settle import Settled
from kernels.workspace import Workspace

__all__ = ["CudaRecorder", "RecordedSteps", "Recorder", "Step", "fastest_step"]

# The first steps run as they are: libraries allocate, choose and load in their first calls, which no capture survives.
WARM_UP = 2

Step = Callable[..., tuple[Settled, Settled, Tensor]]


class Recorder(Protocol):
    """Writes down what some work launches, so that it can be launched again in one go."""

    def warm(self, work: Op) -> None:
        """Do `work`, where it will later be recorded."""

    def record(self, work: Op) -> Op:
        """Return what does again what `work` does; nothing is done yet."""


class CudaRecorder:
    """Captures CUDA graphs, on a stream of its own as torch asks; replays run on the stream of the caller."""

    def __init__(self, device: torch.device) -> None:
        self._device = device
        self._side = torch.cuda.Stream(device)  # type: ignore[no-untyped-call]  # torch leaves it so

    def warm(self, work: Op) -> None:
        """Do `work` on the side stream, between what the caller has launched and what it will."""
        with torch.cuda.device(self._device):
            current = torch.cuda.current_stream()
            self._side.wait_stream(current)
            with torch.cuda.stream(self._side):
                work()
            current.wait_stream(self._side)

    def record(self, work: Op) -> Op:
        """Capture `work`; the result replays it."""
        with torch.cuda.device(self._device):
            graph = torch.cuda.CUDAGraph()
            # Thread by thread: a probe that still waits for an answer elsewhere must not spoil the capture.
            with torch.cuda.graph(graph, stream=self._side, capture_error_mode="thread_local"):
                work()
        return graph.replay


class RecordedStep:
    """The work of a step on one batch size: done as it is a few times, then recorded, then replayed."""

    def __init__(self, engine: Engine, recorder: Recorder, workspace: Workspace) -> None:
        # The workspace is held: an engine that made another one must not free memory that a graph writes to.
        self.workspace = workspace
        self._engine = engine
        self._recorder = recorder
        self._taken = 0
        self._replay: Op | None = None

    def _work(self) -> None:
        self._engine.launch(self.workspace)

    def advance(self) -> None:
        """Do the work once."""
        if self._replay is None and self._taken < WARM_UP:
            self._taken += 1
            self._recorder.warm(self._work)
            return
        if self._replay is None:
            self._replay = self._recorder.record(self._work)
        self._replay()


class RecordedSteps:
    """Steps of an engine, those of each batch size recorded on their own: a short last batch has other operations.

    Kept are those of the engine's batch size and of the last other one. Take an engine that `launches`.
    """

    def __init__(self, engine: Engine, recorder: Recorder) -> None:
        self._engine = engine
        self._by_rows = BySize(
            lambda rows: RecordedStep(engine, recorder, engine.workspace(rows)), engine.batch
        )

    @torch.inference_mode()
    def step(
        self, x: Tensor, y: Tensor, *, scale: float, sign: int | Tensor
    ) -> tuple[Settled, Settled, Tensor]:
        """Learn from a batch; see `Engine.step`, which does the same operation by operation."""
        rows = x.shape[-2]
        self._engine.check(rows, scale, sign)
        recorded = self._by_rows[rows]
        recorded.workspace.load(x, y)
        self._engine.prepare(scale, sign)
        recorded.advance()
        return self._engine.finish(recorded.workspace)


def fastest_step(engine: Engine) -> Step:
    """Return what takes a step of `engine`: recorded on a CUDA device where the sweeps are fixed, else as it is.

    Dion's factorisations belong to a library that allocates in each call: its steps are taken as they are.
    """
    if engine.device.type == "cuda" and engine.launches and not engine.factorises:
        return RecordedSteps(engine, CudaRecorder(engine.device)).step
    return engine.step
