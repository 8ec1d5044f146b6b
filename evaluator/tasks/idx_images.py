"""Tasks over the four IDX files of an MNIST-shaped data set: 60,000 and 10,000 images of 28x28 pixels."""

from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from evaluator.tasks.base import DatasetTask, Tier, fingerprint
from evaluator.tasks.data.catalogue import CATALOGUE
from evaluator.tasks.data.lookup import read_file, require
from evaluator.tasks.dataset import Dataset
from evaluator.tasks.idx import parse_idx
from evaluator.tasks.pixels import scaled
from evaluator.tasks.splits import SplitRule

__all__ = ["IdxImages"]


class IdxImages(DatasetTask):
    """10 classes of 28x28 grey images: 50,000 to train on, 10,000 for validation, the published test sealed.

    Validation is a fixed part of the published 60,000, chosen by hashes; the published 10,000 are the test.
    """

    inputs = 784
    classes = 10
    image = (1, 28, 28)

    def __init__(
        self, *, name: str, version: int, doc: str, tiers: tuple[Tier, ...], default_tier: str
    ) -> None:
        self.name, self.version, self.doc = name, version, doc
        self.tiers, self.default_tier = tiers, default_tier
        self.rule = SplitRule(salt=f"eqmesh/{name}/1", validation=10_000)
        self.split_rule = f"published test; of the rest {self.rule.text}"
        checksums = (file.sha256 for file in CATALOGUE[name].files)
        self.fingerprint = fingerprint(*checksums, self.split_rule, "pixel/255")

    def require(self, cache: Path | None = None) -> None:
        """Raise DataError that names `eqmesh data fetch` if a file is missing."""
        require(self.name, cache)

    def read(self, cache: Path | None) -> Dataset:
        """Read pixels as float32 in [0, 1] (divided by 255); the test files are read when they are opened."""
        images, labels = self.pair("train", cache)
        rows = self.rule.split(range(len(labels)))

        def test() -> tuple[NDArray[np.float32], NDArray[np.int64]]:
            images, labels = self.pair("t10k", cache)
            return scaled(images, labels, range(len(labels)))

        train_x, train_y = scaled(images, labels, rows.train)
        validation_x, validation_y = scaled(images, labels, rows.validation)
        return Dataset(
            train_x=train_x, train_y=train_y, validation_x=validation_x, validation_y=validation_y, test=test
        )

    def pair(self, part: str, cache: Path | None) -> tuple[NDArray[np.uint8], NDArray[np.uint8]]:
        """Give the images (n, 784) and labels (n,) of "train" or "t10k" as bytes."""
        images = parse_idx(read_file(self.name, f"{part}-images-idx3-ubyte", cache))
        labels = parse_idx(read_file(self.name, f"{part}-labels-idx1-ubyte", cache))
        return images.reshape(len(images), -1), labels
