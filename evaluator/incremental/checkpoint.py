"""A run's state in one file, written whole or not at all, that only the same run takes up again."""

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Protocol, TypeVar

import msgspec
import numpy as np
from safetensors import SafetensorError
from safetensors.numpy import load

from evaluator.errors import EvaluatorError
from evaluator.incremental.data import Access
from evaluator.incremental.runner import RunState
from evaluator.incremental.stages import GrowthRound
from evaluator.incremental.stagewise import Checkpointed
from evaluator.weights import pack, spool
from kernels import KernelError
from kernels.growth import Level, ReplayStatistics, Stack

if TYPE_CHECKING:
    from numpy.typing import NDArray

    Arrays = dict[str, NDArray[np.generic]]

__all__ = ["CheckpointError", "read_checkpoint", "read_headed", "write_checkpoint"]

NAME = "checkpoint"


class CheckpointError(EvaluatorError):
    """A checkpoint is not of the run that would go on from it, or cannot be read."""


class Headed(Protocol):
    """What a checkpoint begins with: at least whose it is."""

    @property
    def run(self) -> str:
        """The identity of the run that wrote it."""


Head = TypeVar("Head", bound=Headed)
State = TypeVar("State")


class _Head(msgspec.Struct, frozen=True, kw_only=True):
    """What is not an array: `run` names the run, by the SHA-256 of all that determines it."""

    run: str
    stage: int
    sizes: tuple[int, ...]
    thresholds: tuple[float, ...]
    rounds: tuple[GrowthRound, ...]
    presented: int
    base_sha256: str
    accesses: tuple[Access, ...]
    seconds: float


def write_checkpoint(folder: Path, run: str, point: Checkpointed[RunState]) -> Path:
    """Write a run's state, in place of the one before it, by renaming a finished file; raises SurroundingsError."""
    state = point.state
    head = _Head(
        run=run,
        stage=state.stage,
        sizes=state.stack.sizes,
        thresholds=state.thresholds,
        rounds=state.rounds,
        presented=state.presented,
        base_sha256=state.base_sha256,
        accesses=point.accesses,
        seconds=point.seconds,
    )
    arrays: Arrays = {
        "head": np.frombuffer(msgspec.json.encode(head), dtype=np.uint8),
        "mse": state.mse,
        "accuracy": state.accuracy,
    }
    for k, level in enumerate(state.stack.levels):
        arrays |= {f"level/{k}/{name}": value for name, value in vars(level).items()}
    if state.statistics is not None:
        arrays |= {f"replay/{name}": value for name, value in state.statistics.to_arrays().items()}
    return spool(folder, NAME, pack(arrays)[1])


def read_checkpoint(folder: Path, run: str) -> Checkpointed[RunState] | None:
    """The state that a run left in its folder, or None; raises CheckpointError for another run's, or other bytes."""
    found = read_headed(folder / f"{NAME}.safetensors", run, _decoded)
    if found is None:
        return None
    head, state = found
    return Checkpointed(state=state, accesses=head.accesses, seconds=head.seconds)


def read_headed(
    path: Path, run: str, decode: "Callable[[Mapping[str, NDArray[np.generic]]], tuple[Head, State]]"
) -> tuple[Head, State] | None:
    """What `decode` makes of a checkpoint's arrays, or None where there is none.

    Raises CheckpointError where `decode` cannot, or where the head is another run's.
    """
    if not path.exists():
        return None
    try:
        head, state = decode(load(path.read_bytes()))
    except (SafetensorError, KeyError, KernelError, msgspec.MsgspecError, OSError) as error:
        raise CheckpointError(f"{path} is no checkpoint: {error}. Remove it to begin anew.") from error
    if head.run != run:
        raise CheckpointError(
            f"{path} belongs to the run {head.run[:12]}, expected {run[:12]}: settings, seed, data or versions "
            "differ. Choose another folder, or remove it."
        )
    return head, state


def _decoded(arrays: Mapping[str, "NDArray[np.generic]"]) -> tuple[_Head, RunState]:
    head = msgspec.json.decode(arrays["head"].tobytes(), type=_Head)
    return head, _state(head, arrays)


def _state(head: _Head, arrays: Mapping[str, "NDArray[np.generic]"]) -> RunState:
    return RunState(
        stage=head.stage,
        stack=_stack(head.sizes, arrays),
        thresholds=head.thresholds,
        statistics=_statistics(arrays),
        mse=np.asarray(arrays["mse"], dtype=np.float64),
        accuracy=np.asarray(arrays["accuracy"], dtype=np.float64),
        rounds=head.rounds,
        presented=head.presented,
        base_sha256=head.base_sha256,
    )


def _stack(sizes: tuple[int, ...], arrays: Mapping[str, "NDArray[np.generic]"]) -> Stack:
    names = ("encoder", "encoder_bias", "decoder", "decoder_bias")
    levels = []
    for k in range(len(sizes) - 1):
        parts = {name: np.asarray(arrays[f"level/{k}/{name}"], dtype=np.float32) for name in names}
        levels.append(Level(**parts))
    return Stack(sizes, tuple(levels))


def _statistics(arrays: Mapping[str, "NDArray[np.generic]"]) -> ReplayStatistics | None:
    prefix = "replay/"
    found = {name.removeprefix(prefix): value for name, value in arrays.items() if name.startswith(prefix)}
    return ReplayStatistics.from_arrays(found) if found else None
