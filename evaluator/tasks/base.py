"""What a task is: a space to search, objectives to meet, and tiers of effort. Pure."""

from __future__ import annotations

import difflib
import functools
import hashlib
import math
import numbers
import re
from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, ClassVar, Literal

import msgspec

from evaluator.errors import TaskError
from evaluator.objectives import ACCURACY, NETWORK_OBJECTIVES, Objective
from genome.spaces import MLP

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from evaluator.jobs import CurvePoint
    from evaluator.tasks.dataset import Dataset, TestPermit
    from genome.conditions import Value
    from genome.space import SearchSpace

__all__ = ["DatasetTask", "FunctionTask", "Task", "Tier", "fingerprint", "task_id"]

NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}")


class Tier(msgspec.Struct, frozen=True, kw_only=True):
    """How much effort one evaluation gets. Results of two tiers are never compared.

    `epochs` passes over the train split, of which the first `train_limit` examples are used (None:
    all of them); the score is taken on the first `validation_limit` examples of the validation split.
    A task that trains nothing may read the numbers as it likes.
    """

    name: str
    epochs: int
    train_limit: int | None = None
    validation_limit: int | None = None
    doc: str = ""

    def __post_init__(self) -> None:
        if not isinstance(self.name, str) or not NAME.fullmatch(self.name):
            raise TaskError(
                f"a tier's name must be 1 to 64 letters, digits, '-', '_' or '.', got {self.name!r}."
            )
        for field in ("epochs", "train_limit", "validation_limit"):
            value = getattr(self, field)
            if value is None and field != "epochs":
                continue
            if type(value) is not int or value < 1:
                raise TaskError(
                    f"tier {self.name!r}: {field} must be a whole number of at least 1, got {value!r}."
                )


class Task(ABC):
    """What every task has. Derive from DatasetTask or FunctionTask, not from this class.

    `version` is raised whenever the same genome would score differently; `fingerprint` pins the data
    (a checksum), so that two machines with different data never take their results for comparable.
    """

    kind: ClassVar[Literal["dataset", "function"]]

    name: str
    version: int = 1
    doc: str = ""
    space: SearchSpace
    objectives: tuple[Objective, ...]
    tiers: tuple[Tier, ...]
    default_tier: str
    fingerprint: str = ""
    split_rule: str = ""
    portable: ClassVar[bool] = True
    """Whether a stranger can check what is claimed of it; where not, it is searched alone, without a mesh."""

    def tier(self, name: str | None = None) -> Tier:
        """Give the tier of that name, or the default one; raises TaskError that suggests the nearest name."""
        wanted = self.default_tier if name is None else name
        for tier in self.tiers:
            if tier.name == wanted:
                return tier
        known = [tier.name for tier in self.tiers]
        near = difflib.get_close_matches(wanted, known, n=1, cutoff=0.5)
        hint = f"Did you mean {near[0]!r}?" if near else "Choose one of those."
        raise TaskError(f"task {self.name!r} has the tiers {', '.join(known)}; got {wanted!r}. {hint}")


class DatasetTask(Task):
    """A task whose genomes are networks, trained and scored on one data set.

    A subclass sets `name`, `inputs`, `classes`, `tiers`, `default_tier`, `fingerprint` and `split_rule`,
    and writes `read`; `image` where its inputs are images.
    """

    kind = "dataset"
    space = MLP
    objectives: tuple[Objective, ...] = NETWORK_OBJECTIVES

    inputs: int
    classes: int
    image: tuple[int, int, int] | None = None
    """Channels, height and width of an input that is one; None where filters make no sense."""
    heads: tuple[int, ...] = ()
    """Of a task of several data sets the classes of each, whose labels count on from one to the next; else nothing."""

    @abstractmethod
    def read(self, cache: Path | None) -> Dataset:
        """Read the whole data set; `cache` is the folder of fetched data (None: the usual one).

        Raises DataError where files are missing or not the ones that their checksums name.
        """

    def require(self, cache: Path | None = None) -> None:
        """Raise DataError at once if files are missing; does not read them. Without files: nothing to do."""

    def predicted(self, scores: NDArray[np.floating], y: NDArray[np.int64]) -> NDArray[np.int64]:  # noqa: ARG002
        """Give the classes (n,) that `scores` (n, classes) say; where there are heads, labels `y` (n,) say whose."""
        found: NDArray[np.int64] = scores.argmax(axis=1)
        return found

    def accuracies(self, predicted: NDArray[np.int64], y: NDArray[np.int64]) -> dict[str, float]:
        """Give the objectives that are shares of right answers: here, accuracy."""
        return {ACCURACY.name: int((predicted == y).sum()) / len(y)}

    def load(self, cache: Path | None = None) -> Dataset:
        """Read the data set and hold it to `inputs` and `classes`; raises TaskError where it differs.

        The last data set read stays in memory, for a worker trains on it again and again; its arrays are
        shared, so never write to them.
        """
        return load_checked(self, cache)


@functools.lru_cache(maxsize=1)
def load_checked(task: DatasetTask, cache: Path | None) -> Dataset:
    """Read the task's data set unless it is the one read last."""
    dataset = task.read(cache)
    width = dataset.train_x.shape[1]
    top = int(max(dataset.train_y.max(), dataset.validation_y.max()))
    if width != task.inputs or top >= task.classes:
        raise TaskError(
            f"task {task.name!r} promises {task.inputs} inputs and labels below {task.classes}, its data have "
            f"{width} inputs and labels up to {top}. Set inputs = {width}, classes = {top + 1}, or correct read()."
        )
    return dataset


class FunctionTask(Task):
    """A task without networks or data: a function from a space's values to objectives.

    A subclass sets `name`, `space` and `objectives`, and writes `evaluate`.
    """

    kind = "function"
    tiers: tuple[Tier, ...] = (Tier(name="full", epochs=1, doc="The whole function."),)
    default_tier = "full"

    @abstractmethod
    def evaluate(self, values: Mapping[str, Value], *, seed: int, tier: Tier) -> Mapping[str, float]:
        """Give each objective's value for the expressed genes' values.

        Equal arguments must give equal results: draw all randomness from `seed`.
        """

    def follow(
        self,
        values: Mapping[str, Value],
        *,
        seed: int,
        tier: Tier,
        permit: TestPermit | None = None,  # noqa: ARG002 - a function has no data
        on_point: Callable[[CurvePoint, float], None] = lambda _point, _done: None,  # noqa: ARG002 - nor a curve
    ) -> Mapping[str, float]:
        """Evaluate, and tell `on_point` on the way of the curve and of the share that is done.

        A task with a test split measures on that where there is a `permit`. Here there is neither: `evaluate` alone.
        """
        return self.evaluate(values, seed=seed, tier=tier)

    def measure(
        self,
        values: Mapping[str, Value],
        *,
        seed: int,
        tier: Tier,
        permit: TestPermit | None = None,
        on_point: Callable[[CurvePoint, float], None] = lambda _point, _done: None,
    ) -> dict[str, float]:
        """Evaluate, and hold the answer to the objectives: all of them, nothing else, finite numbers.

        `permit` and `on_point` as in `follow`. Raises TaskError where the answer differs.
        """
        answer = self.follow(values, seed=seed, tier=tier, permit=permit, on_point=on_point)
        expected = [objective.name for objective in self.objectives]
        if not isinstance(answer, Mapping) or set(answer) != set(expected):
            got = sorted(map(str, answer)) if isinstance(answer, Mapping) else type(answer).__name__
            raise TaskError(
                f"task {self.name!r}: evaluate() must return the objectives {expected}, got {got}."
            )
        for name, value in answer.items():
            if not is_finite(value):
                raise TaskError(
                    f"task {self.name!r}: objective {name!r} must be a finite number, got {value!r}."
                )
        return {name: float(answer[name]) for name in expected}


def is_finite(value: object) -> bool:
    """Say whether a value is a real number, numpy's scalars included and booleans not, and finite."""
    return not isinstance(value, bool) and isinstance(value, numbers.Real) and math.isfinite(value)


def fingerprint(*parts: str) -> str:
    """Give one SHA-256 (hex) over strings such as checksums, in the order given."""
    return hashlib.sha256(msgspec.msgpack.encode(parts)).hexdigest()


def task_id(task: Task, tier: Tier) -> str:
    """Give the SHA-256 (hex) that names a task at a tier: equal ids mean comparable results.

    It covers kind, name, version, fingerprint, split rule, the tier with its budget, and each
    objective's name and direction, as canonical MessagePack; it is the same on every machine.
    """
    identity = (
        "eqmesh-task/1",
        task.kind,
        task.name,
        task.version,
        task.fingerprint,
        task.split_rule,
        (tier.name, tier.epochs, tier.train_limit, tier.validation_limit),
        tuple((objective.name, objective.direction) for objective in task.objectives),
    )
    return hashlib.sha256(msgspec.msgpack.encode(identity)).hexdigest()
