"""What a run of a classifier leaves behind: a checkpoint that only the same run takes up, CSV files and a plot."""

import csv
import hashlib
import io
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import msgspec
import numpy as np

from evaluator.incremental.artefacts import GROWTH_COLUMNS
from evaluator.incremental.checkpoint import read_headed
from evaluator.incremental.classifier.stages import ClassifierState, Course
from evaluator.incremental.data import Access
from evaluator.incremental.stages import GrowthRound
from evaluator.incremental.stagewise import Checkpointed
from evaluator.weights import pack, spool
from kernels.growth import ReplayStatistics

if TYPE_CHECKING:
    from numpy.typing import NDArray

    Arrays = dict[str, NDArray[np.generic]]

__all__ = ["ACCURACY_COLUMNS", "accuracy_png", "read_point", "write_files", "write_point"]

ACCURACY_COLUMNS = ("stage", "learning", "class", "learned_in", "accuracy")

NAME = "checkpoint"
INCHES = (5.0, 4.5)


class _Head(msgspec.Struct, frozen=True, kw_only=True):
    """What is not an array: `run` names the run, by the SHA-256 of all that determines it."""

    run: str
    stage: int
    widths: tuple[int, ...]
    threshold: float
    rounds: tuple[GrowthRound, ...]
    presented: int
    accesses: tuple[Access, ...]
    seconds: float
    # A checkpoint from before it was kept has none; the next class brings it.
    residual: float = 0.0


def write_point(folder: Path, run: str, point: Checkpointed[ClassifierState]) -> Path:
    """Write a run's state, in place of the one before it, by renaming a finished file; raises SurroundingsError."""
    state = point.state
    head = _Head(
        run=run,
        stage=state.stage,
        widths=state.widths,
        threshold=state.threshold,
        rounds=state.rounds,
        presented=state.presented,
        residual=state.residual,
        accesses=point.accesses,
        seconds=point.seconds,
    )
    arrays: Arrays = {
        "head": np.frombuffer(msgspec.json.encode(head), dtype=np.uint8),
        "accuracy": state.accuracy,
    }
    arrays |= {f"network/{name}": value for name, value in state.network.items()}
    if state.statistics is not None:
        arrays |= {f"replay/{name}": value for name, value in state.statistics.to_arrays().items()}
    return spool(folder, NAME, pack(arrays)[1])


def read_point(folder: Path, run: str) -> Checkpointed[ClassifierState] | None:
    """The state that a run left in its folder, or None; raises CheckpointError for another run's, or other bytes."""
    found = read_headed(folder / f"{NAME}.safetensors", run, _decoded)
    if found is None:
        return None
    head, state = found
    return Checkpointed(state=state, accesses=head.accesses, seconds=head.seconds)


def _decoded(arrays: Mapping[str, "NDArray[np.generic]"]) -> tuple[_Head, ClassifierState]:
    head = msgspec.json.decode(arrays["head"].tobytes(), type=_Head)
    return head, _state(head, arrays)


def write_files(folder: Path, state: ClassifierState, course: Course) -> dict[str, str]:
    """Write accuracy.csv, growth.csv and accuracy.png; gives the SHA-256 (hex) of each by its name."""
    growth = (msgspec.structs.astuple(one) for one in state.rounds)
    bodies = {
        "accuracy.csv": _table(ACCURACY_COLUMNS, _accuracy_rows(state, course)),
        "growth.csv": _table(GROWTH_COLUMNS, growth),
        "accuracy.png": accuracy_png(state, course),
    }
    for name, body in bodies.items():
        spool(folder, Path(name).stem, body, suffix=Path(name).suffix)
    return {name: hashlib.sha256(body).hexdigest() for name, body in bodies.items()}


def accuracy_png(state: ClassifierState, course: Course) -> bytes:
    """The accuracy matrix, stages downwards and classes as they were learned, as a PNG."""
    # Here, not above: half a second that only plots pay; the object interface needs no display.
    from matplotlib.backends.backend_agg import FigureCanvasAgg  # noqa: PLC0415
    from matplotlib.figure import Figure  # noqa: PLC0415

    figure = Figure(figsize=INCHES, layout="constrained")
    FigureCanvasAgg(figure)
    axes = figure.add_subplot()
    image = axes.imshow(state.accuracy, vmin=0.0, vmax=1.0, cmap="viridis", aspect="auto")
    axes.set(
        xlabel="class",
        ylabel="after learning",
        title=f"Accuracy, {course.variant}, seed {course.seed}",
        xticks=range(len(course.labels)),
        yticks=range(len(state.accuracy)),
    )
    axes.set_xticklabels([str(label) for label in course.labels])
    axes.set_yticklabels([_learning(labels) for labels in course.order[: len(state.accuracy)]])
    figure.colorbar(image)
    body = io.BytesIO()
    figure.savefig(body, dpi=150, format="png")
    return body.getvalue()


def _state(head: _Head, arrays: Mapping[str, "NDArray[np.generic]"]) -> ClassifierState:
    def below(prefix: str) -> "Arrays":
        return {name.removeprefix(prefix): v for name, v in arrays.items() if name.startswith(prefix)}

    replay = below("replay/")
    return ClassifierState(
        stage=head.stage,
        network=below("network/"),
        widths=head.widths,
        threshold=head.threshold,
        statistics=ReplayStatistics.from_arrays(replay) if replay else None,
        accuracy=np.asarray(arrays["accuracy"], dtype=np.float64),
        rounds=head.rounds,
        presented=head.presented,
        residual=head.residual,
    )


def _learning(labels: Sequence[int]) -> str:
    return "all" if len(labels) > 4 else "+".join(map(str, labels))


def _accuracy_rows(state: ClassifierState, course: Course) -> Iterable[tuple[object, ...]]:
    for stage, labels in enumerate(course.order):
        for column, label in enumerate(course.labels):
            accuracy = float(state.accuracy[stage, column])
            yield stage, "+".join(map(str, labels)), label, course.learned[column], accuracy


def _table(columns: Sequence[str], rows: Iterable[Iterable[object]]) -> bytes:
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(columns)
    writer.writerows(rows)
    return text.getvalue().encode()
