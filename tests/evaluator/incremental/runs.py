"""Small data and settings that the tests of class-incremental runs share."""

import functools

import numpy as np

from evaluator.incremental import IncrementalData, NeurogenesisSettings, incremental_data
from evaluator.tasks import resolve
from kernels.growth import Schedule

QUICK = Schedule(epochs=4, rate=3e-3, batch=16)

SMALL = NeurogenesisSettings(
    sizes=(64, 16, 6),
    caps=(8, 4),
    class_caps=(4, 2),
    pretrain=Schedule(epochs=30, rate=5e-3, batch=16),
    finetune=Schedule(epochs=40, rate=5e-3, batch=16),
    plasticity=Schedule(epochs=4, rate=0.1, batch=16),
    stability_epochs=2,
    next_level=QUICK,
    learn=QUICK,
    consolidate=Schedule(epochs=20, rate=3e-3, batch=16),
    new_fraction=0.1,
    refresh_samples=60,
    shrinkage=0.1,
)


@functools.cache
def few_digits() -> IncrementalData:
    """The first 40 digits of each of five classes to learn from, all of validation to measure on."""
    data = incremental_data(resolve("digits").load(), "digits")
    classes = (0, 1, 2, 4, 7)
    rows = np.concatenate([np.flatnonzero(data.train_y == label)[:40] for label in classes])
    shown = np.flatnonzero(np.isin(data.test_y, classes))
    return IncrementalData(
        "few digits", data.train_x[rows], data.train_y[rows], data.test_x[shown], data.test_y[shown]
    )
