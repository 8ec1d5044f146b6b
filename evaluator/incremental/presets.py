"""Data and settings of an experiment by name, whole or shortened."""

import math
from dataclasses import replace
from pathlib import Path

import msgspec
import numpy as np

from evaluator.incremental.data import IncrementalData, incremental_data
from evaluator.incremental.messages import Learn
from evaluator.incremental.sd19 import BASE, read_sd19
from evaluator.incremental.settings import DIGITS, MNIST, NeurogenesisSettings, Phases
from evaluator.tasks import DatasetTask, TestPermit, resolve
from kernels.growth import Schedule

__all__ = ["SD19_PER_CLASS", "SMOKE_PER_CLASS", "curriculum_of", "few", "shortened"]

SMOKE_PER_CLASS = 60
# Of sd19 there are thousands a class in 62 classes: more than fits, unless someone asks for it.
SD19_PER_CLASS = 1000

_SHORTER = 4


def curriculum_of(question: Learn) -> tuple[IncrementalData, NeurogenesisSettings]:
    """The data that a question names and the settings to learn them by.

    A smoke run learns at most 60 samples a class, for a quarter of the epochs. Raises DataError, TaskError.
    """
    limit = question.per_class or (SMOKE_PER_CLASS if question.smoke else None)
    if question.folder is not None:
        data = read_sd19(Path(question.folder), split=question.split, per_class=limit or SD19_PER_CLASS)
        base = tuple(label for label in BASE if label in data.classes) or data.classes[:2]
        settings = msgspec.structs.replace(MNIST, base=base)
    else:
        task = resolve(question.dataset)
        assert isinstance(task, DatasetTask)
        permit = TestPermit(reason="report") if question.split == "test" else None
        name = f"{question.dataset}, measured on {question.split}"
        data = incremental_data(task.load(), name, permit=permit)
        data = data if limit is None else few(data, limit)
        settings = DIGITS if question.dataset == "digits" else MNIST
    settings = shortened(settings) if question.smoke else settings
    return data, msgspec.structs.replace(settings, order_seed=question.order_seed)


def few(data: IncrementalData, per_class: int) -> IncrementalData:
    """The data with the first `per_class` samples of each class to learn from; what is measured on stays whole."""
    rows = np.concatenate([np.flatnonzero(data.train_y == label)[:per_class] for label in data.classes])
    rows.sort()
    name = f"{data.name}, at most {per_class} a class learned"
    return replace(data, name=name, train_x=data.train_x[rows], train_y=data.train_y[rows])


def shortened(settings: NeurogenesisSettings) -> NeurogenesisSettings:
    """The settings with a quarter of the epochs in every phase, rounded up, and of the samples for statistics."""
    changes: dict[str, Schedule | Phases | int] = {**_shorter(settings)}
    if settings.alone is not None:
        changes["alone"] = msgspec.structs.replace(settings.alone, **_shorter(settings.alone))
    changes["stability_epochs"] = _quarter(settings.stability_epochs)
    changes["refresh_samples"] = max(2, _quarter(settings.refresh_samples))
    return msgspec.structs.replace(settings, **changes)


def _shorter(phases: NeurogenesisSettings | Phases) -> dict[str, Schedule]:
    return {
        name: replace(value, epochs=_quarter(value.epochs))
        for name, value in msgspec.structs.asdict(phases).items()
        if isinstance(value, Schedule)
    }


def _quarter(count: int) -> int:
    return math.ceil(count / _SHORTER)
