"""Tasks of several data sets: one body, a head and an accuracy for each. Their name is "ONE+OTHER"."""

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import msgspec
import numpy as np

from evaluator.errors import TaskError
from evaluator.objectives import ACCURACY, MEMORY, SPEED, Objective
from evaluator.tasks.base import DatasetTask, Task, Tier, fingerprint
from evaluator.tasks.dataset import Dataset, TestPermit

if TYPE_CHECKING:
    from numpy.typing import NDArray

    Part = tuple[NDArray[np.float32], NDArray[np.int64]]

__all__ = ["SEPARATOR", "ComposedTask", "compose", "interleaved"]

SEPARATOR = "+"


class ComposedTask(DatasetTask):
    """Data sets of one input shape, learned by one network with a head of its own for each.

    A label names head and class in one: the first part's classes come first, then the next one's. Rows of the parts
    take turns in each split, until a shorter one has no more; a training draws its order from its seed over all of
    them, so that batches mix them. Accuracy is measured for each part, on its own rows, among its own classes.
    """

    version = 1

    def __init__(self, parts: Sequence[DatasetTask]) -> None:
        self.parts = tuple(parts)
        first = self.parts[0]
        self.head_names = tuple(part.name for part in self.parts)
        self.name = SEPARATOR.join(self.head_names)
        self.doc = f"One network with a head for each of {', '.join(self.head_names)}."
        self.space = first.space
        self.inputs = first.inputs
        self.image = first.image if all(part.image == first.image for part in self.parts) else None
        self.heads = tuple(part.classes for part in self.parts)
        self.classes = sum(self.heads)
        self.objectives = (*(of_part(name) for name in self.head_names), SPEED, MEMORY)
        self.tiers = shared_tiers(self.parts)
        names = [tier.name for tier in self.tiers]
        self.default_tier = first.default_tier if first.default_tier in names else names[0]
        self.fingerprint = fingerprint(
            *(text for part in self.parts for text in (part.name, str(part.version), part.fingerprint))
        )
        self.split_rule = f"rows take turns: {'; '.join(part.split_rule for part in self.parts)}"

    def require(self, cache: Path | None = None) -> None:
        """Raise DataError at once if files of a part are missing."""
        for part in self.parts:
            part.require(cache)

    def read(self, cache: Path | None) -> Dataset:
        """Read all parts; the test splits are read when they are opened."""
        data = [part.load(cache) for part in self.parts]
        train_x, train_y = self._turns([(each.train_x, each.train_y) for each in data])
        validation_x, validation_y = self._turns([(each.validation_x, each.validation_y) for each in data])

        def test() -> "Part":
            # Whoever calls this has shown a permit to the seal of the whole.
            return self._turns([each.open_test(TestPermit(reason="report")) for each in data])

        return Dataset(
            train_x=train_x, train_y=train_y, validation_x=validation_x, validation_y=validation_y, test=test
        )

    def _turns(self, parts: "Sequence[Part]") -> "Part":
        """Give the parts' rows as one split, labels counted on from part to part."""
        order = interleaved([len(y) for _, y in parts])
        labels = np.concatenate([y + offset for (_, y), offset in zip(parts, self._offsets, strict=True)])
        return np.concatenate([x for x, _ in parts])[order], labels[order]

    @property
    def _offsets(self) -> tuple[int, ...]:
        return tuple(sum(self.heads[:head]) for head in range(len(self.heads)))

    def predicted(self, scores: "NDArray[np.floating]", y: "NDArray[np.int64]") -> "NDArray[np.int64]":
        """Give the class with the largest score among those of the head that each label of `y` (n,) names."""
        found = np.empty(len(y), dtype=np.int64)
        for offset, classes in zip(self._offsets, self.heads, strict=True):
            rows = (y >= offset) & (y < offset + classes)
            found[rows] = offset + scores[rows, offset : offset + classes].argmax(axis=1)
        return found

    def accuracies(self, predicted: "NDArray[np.int64]", y: "NDArray[np.int64]") -> dict[str, float]:
        """Give the share of each part's rows that are right."""
        found = {}
        for name, offset, classes in zip(self.head_names, self._offsets, self.heads, strict=True):
            rows = (y >= offset) & (y < offset + classes)
            found[of_part(name).name] = int(np.count_nonzero(predicted[rows] == y[rows])) / int(rows.sum())
        return found


def of_part(name: str) -> Objective:
    """Give the objective "accuracy.NAME" of a part."""
    return msgspec.structs.replace(
        ACCURACY, name=f"accuracy.{name}", unit=f"share of {name}'s validation examples"
    )


def interleaved(counts: Sequence[int]) -> "NDArray[np.int64]":
    """Give the rows of parts of so many rows, laid end to end, in the order in which the parts take turns.

    A part that has no more is passed over: of parts of 3 and 2 rows, 0 3 1 4 2.
    """
    turn = np.concatenate([np.arange(count) for count in counts])
    part = np.repeat(np.arange(len(counts)), counts)
    return np.lexsort((part, turn)).astype(np.int64)


def shared_tiers(parts: Sequence[DatasetTask]) -> tuple[Tier, ...]:
    """Give the tiers that all parts have by name: the most epochs, and of each part as many rows as the least has.

    Raises TaskError where they share none.
    """
    found = []
    for tier in parts[0].tiers:
        alike = [each for part in parts for each in part.tiers if each.name == tier.name]
        if len(alike) == len(parts):
            found.append(
                Tier(
                    name=tier.name,
                    epochs=max(each.epochs for each in alike),
                    train_limit=total([each.train_limit for each in alike]),
                    validation_limit=total([each.validation_limit for each in alike]),
                    doc=tier.doc,
                )
            )
    if not found:
        names = "; ".join(f"{part.name}: {', '.join(tier.name for tier in part.tiers)}" for part in parts)
        raise TaskError(f"parts of a composed task must share a tier's name, got {names}. Compose others.")
    return tuple(found)


def total(limits: Sequence[int | None]) -> int | None:
    """Give the rows of all parts together where each gives as many as the least limit; None where none is limited."""
    limited = [limit for limit in limits if limit is not None]
    return len(limits) * min(limited) if limited else None


def compose(name: str, resolve: Callable[[str], Task]) -> ComposedTask:
    """Give the task that "ONE+OTHER" means; `resolve` gives its parts. Raises TaskError where they do not fit."""
    parts = [resolve(part) for part in name.split(SEPARATOR)]
    data = [part for part in parts if isinstance(part, DatasetTask) and not part.heads]
    if len(data) < len(parts):
        others = ", ".join(part.name for part in parts if part not in data)
        raise TaskError(
            f"{name}: a composed task is made of tasks with data, one head each, got {others}. Leave that out."
        )
    names = [part.name for part in data]
    if len(set(names)) < len(names) or len(names) < 2:
        raise TaskError(
            f"{name}: a composed task is made of two or more different tasks, got {', '.join(names)}."
        )
    if len({part.inputs for part in data}) > 1:
        shapes = ", ".join(f"{part.name} {part.inputs}" for part in data)
        raise TaskError(
            f"{name}: one body takes inputs of one size, got {shapes}. Compose tasks whose inputs are alike."
        )
    return ComposedTask(data)
