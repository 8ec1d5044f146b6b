"""What a run leaves behind: CSV files of errors and growth, arrays of reconstructions, and their SHA-256."""

import csv
import hashlib
import io
import math
from collections.abc import Iterable, Sequence
from pathlib import Path

import msgspec
import numpy as np
from numpy.typing import NDArray

from evaluator.incremental.runner import Curriculum, RunState
from evaluator.incremental.stages import GrowthRound
from evaluator.weights import pack, spool

__all__ = ["ERROR_COLUMNS", "GROWTH_COLUMNS", "SHOWN", "write_artefacts"]

ERROR_COLUMNS = ("stage", "learning", "class", "learned_in", "mse", "accuracy")
GROWTH_COLUMNS = GrowthRound.__struct_fields__
# Samples of each class whose reconstructions are kept.
SHOWN = 8


def write_artefacts(folder: Path, state: RunState, curriculum: Curriculum) -> dict[str, str]:
    """Write errors.csv, growth.csv and reconstructions.safetensors; gives the SHA-256 (hex) of each by its name.

    A number that was not measured is an empty field. Raises SurroundingsError.
    """
    bodies = {
        "errors.csv": _table(ERROR_COLUMNS, _error_rows(state, curriculum)),
        "growth.csv": _table(GROWTH_COLUMNS, (msgspec.structs.astuple(growth) for growth in state.rounds)),
        "reconstructions.safetensors": pack(reconstructions(state, curriculum))[1],
    }
    for name, body in bodies.items():
        spool(folder, Path(name).stem, body, suffix=Path(name).suffix)
    return {name: hashlib.sha256(body).hexdigest() for name, body in bodies.items()}


def reconstructions(state: RunState, curriculum: Curriculum) -> dict[str, NDArray[np.generic]]:
    """The first samples of each class to measure on (classes, n, d), what became of them, and draws from replay.

    `replay` (classes, n, d) is there where statistics are. n is 8, or the size of the smallest class below that.
    """
    data, labels = curriculum.data, curriculum.labels
    count = min(SHOWN, *(len(data.measured(label)) for label in labels))
    originals = np.stack([data.measured(label)[:count] for label in labels])
    arrays: dict[str, NDArray[np.generic]] = {
        "labels": np.asarray(labels, dtype=np.int64),
        "originals": originals,
        "reconstructions": np.stack([state.stack.reconstruct(x) for x in originals]),
    }
    if state.statistics is not None:
        stream = curriculum.stream("shown")
        draws = [state.statistics.sample(label, count, stream.child(str(label))) for label in labels]
        arrays["replay"] = np.stack([state.stack.decode(codes) for codes in draws])
    return arrays


def _error_rows(state: RunState, curriculum: Curriculum) -> Iterable[tuple[object, ...]]:
    for stage, labels in enumerate(curriculum.order):
        learning = "+".join(map(str, labels))
        for column, label in enumerate(curriculum.labels):
            mse, accuracy = float(state.mse[stage, column]), float(state.accuracy[stage, column])
            learned = curriculum.learned[column]
            yield stage, learning, label, learned, mse, "" if math.isnan(accuracy) else accuracy


def _table(columns: Sequence[str], rows: Iterable[Iterable[object]]) -> bytes:
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(columns)
    writer.writerows(rows)
    return text.getvalue().encode()
