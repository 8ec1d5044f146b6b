"""Handwritten digits of 8x8 pixels: the default task, whose data come with scikit-learn."""

import io
from pathlib import Path

import numpy as np

from evaluator.tasks.base import DatasetTask, Tier, fingerprint
from evaluator.tasks.data.catalogue import CATALOGUE
from evaluator.tasks.data.lookup import read_file, require
from evaluator.tasks.dataset import Dataset
from evaluator.tasks.splits import SplitRule

__all__ = ["DIGITS", "Digits"]

RULE = SplitRule(salt="eqmesh/digits/1", validation=360, test=360, stratified=True)


class Digits(DatasetTask):
    """1,797 digits in 10 classes: 1,077 to train on, 360 for validation, 360 sealed for the test."""

    name = "digits"
    version = 1
    doc = "Handwritten digits of 8x8 pixels, 10 classes; the data come with scikit-learn."
    inputs = 64
    classes = 10
    image = (1, 8, 8)
    split_rule = RULE.text
    fingerprint = fingerprint(*(file.sha256 for file in CATALOGUE["digits"].files), RULE.text, "pixel/16")
    tiers = (
        Tier(name="smoke", epochs=2, train_limit=256, validation_limit=120, doc="Does it run at all."),
        Tier(name="quick", epochs=10, doc="A first impression."),
        Tier(name="standard", epochs=40, doc="What `make search` uses."),
        Tier(name="full", epochs=120, doc="Until nothing more is learned."),
    )
    default_tier = "standard"

    def require(self, cache: Path | None = None) -> None:
        """Raise DataError if scikit-learn does not have the file."""
        require("digits", cache)

    def read(self, cache: Path | None) -> Dataset:
        """Read the pixels as float32 in [0, 1] (their 17 levels divided by 16) and the labels."""
        table = np.loadtxt(
            io.BytesIO(read_file("digits", "digits.csv", cache)), delimiter=",", dtype=np.int64
        )
        x = table[:, :64].astype(np.float32) / np.float32(16)
        y = np.ascontiguousarray(table[:, 64])
        rows = RULE.split(y.tolist())
        return Dataset(
            train_x=x[rows.train],
            train_y=y[rows.train],
            validation_x=x[rows.validation],
            validation_y=y[rows.validation],
            test=lambda: (x[rows.test], y[rows.test]),
        )


DIGITS = Digits()
