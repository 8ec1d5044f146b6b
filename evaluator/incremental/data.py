"""Data that come class by class: orders of the classes, and a guard over what a regime may still look at."""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Literal, TypeAlias

import msgspec
import numpy as np
from numpy.typing import NDArray

from evaluator.errors import EvaluatorError, TaskError
from evaluator.tasks import Dataset, TestPermit
from kernels.growth import seed_bytes
from kernels.randomness import permutation

__all__ = [
    "Access",
    "AccessError",
    "ClassGuard",
    "IncrementalData",
    "ReplaySource",
    "class_order",
    "incremental_data",
]

ReplaySource: TypeAlias = Literal["none", "intrinsic", "data"]


class AccessError(EvaluatorError):
    """Training data were asked for that a regime may not see, or may not see any more."""


@dataclass(frozen=True, eq=False)
class IncrementalData:
    """Samples to learn from and samples to measure on, inputs (n, d) float32 in [0, 1], labels (n,) int64."""

    name: str
    train_x: NDArray[np.float32]
    train_y: NDArray[np.int64]
    test_x: NDArray[np.float32]
    test_y: NDArray[np.int64]

    @property
    def classes(self) -> tuple[int, ...]:
        """The labels to learn, ascending."""
        return tuple(int(label) for label in np.unique(self.train_y))

    @cached_property
    def sha256(self) -> str:
        """SHA-256 (hex) of all four arrays."""
        # Here, not above: trainings load torch, which whoever asks for a run must not.
        from evaluator.train import fingerprint  # noqa: PLC0415

        arrays = {name: getattr(self, name) for name in ("train_x", "train_y", "test_x", "test_y")}
        return fingerprint(arrays)

    def measured(self, label: int) -> NDArray[np.float32]:
        """The samples of one class to measure on, never learned from."""
        rows = np.flatnonzero(self.test_y == label)
        return self.test_x.take(rows, axis=0)


def incremental_data(dataset: Dataset, name: str, *, permit: TestPermit | None = None) -> IncrementalData:
    """A task's data, measured on validation; with a permit all but the test split is learned, and that measured on.

    Raises SealedSplitError for a permit that gives no right.
    """
    if permit is None:
        return IncrementalData(
            name, dataset.train_x, dataset.train_y, dataset.validation_x, dataset.validation_y
        )
    return IncrementalData(name, *dataset.train_and_validation(), *dataset.open_test(permit))


def class_order(
    classes: Sequence[int], *, base: Sequence[int] = (1, 7), seed: int | None = None
) -> tuple[tuple[int, ...], ...]:
    """The stages of a curriculum: the base classes together, then one class at a time.

    Without a seed the rest ascends, as in Draelos et al. (2017); with one it is permuted, on every machine alike.
    Raises TaskError where the base is empty, doubled or not among the classes.
    """
    missing = sorted(set(base) - set(classes))
    if missing or not base or len(set(base)) != len(base):
        raise TaskError(
            f"base classes must be some of {list(classes)}, each once, got {list(base)}. Choose others."
        )
    rest = sorted(set(classes) - set(base))
    if seed is not None:
        rest = [rest[k] for k in permutation(seed_bytes(seed), 0, len(rest))]
    return (tuple(base), *((label,) for label in rest))


class Access(msgspec.Struct, frozen=True):
    """One reading of training data: in which stage, which class, how many rows, and whether it was an old class."""

    stage: int
    label: int
    rows: int
    old: bool


class ClassGuard:
    """The only way to the training data of an incremental run: stage by stage, with every access on record.

    A class can be read in the stage that teaches it. Later it can be read only where the replay source is "data";
    "intrinsic" and "none" raise AccessError, and so does a class whose stage has not come. `accesses` proves it.
    """

    def __init__(
        self,
        data: IncrementalData,
        order: Sequence[Sequence[int]],
        source: ReplaySource,
        *,
        stage: int = 0,
        accesses: Sequence[Access] = (),
    ) -> None:
        self._data = data
        self._source = source
        self._taught = {label: k for k, labels in enumerate(order) for label in labels}
        self._stage = stage
        self._accesses = list(accesses)

    @property
    def accesses(self) -> tuple[Access, ...]:
        """Every reading so far, oldest first."""
        return tuple(self._accesses)

    def advance(self, stage: int) -> None:
        """Begin a stage, whose classes may be read and the earlier ones' no more; raises AccessError backwards."""
        if stage < self._stage:
            raise AccessError(
                f"stages run forwards: stage {self._stage} has begun, got {stage}. Start a new run."
            )
        self._stage = stage

    def read(self, label: int) -> NDArray[np.float32]:
        """The training inputs (n, d) of a class, a copy; raises AccessError where this stage may not see them."""
        taught = self._taught.get(label)
        if taught is None or taught > self._stage:
            raise AccessError(
                f"class {label} is not taught in or before stage {self._stage}. Read it when its stage comes."
            )
        old = taught < self._stage
        if old and self._source != "data":
            raise AccessError(
                f"real data of old class {label} were asked for in stage {self._stage}, but replay is "
                f"{self._source!r}. Draw from the replay statistics, or use the source 'data'."
            )
        x = self._data.train_x.take(np.flatnonzero(self._data.train_y == label), axis=0)
        self._accesses.append(Access(self._stage, label, len(x), old))
        return x
