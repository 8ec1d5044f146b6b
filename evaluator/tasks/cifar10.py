"""CIFAR-10: colour photos of 32x32 pixels, 10 classes (Krizhevsky 2009, Learning Multiple Layers of Features)."""

from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from evaluator.errors import DataError
from evaluator.tasks.base import DatasetTask, Tier, fingerprint
from evaluator.tasks.data.catalogue import CATALOGUE
from evaluator.tasks.data.lookup import read_file, require
from evaluator.tasks.dataset import Dataset
from evaluator.tasks.pixels import scaled
from evaluator.tasks.splits import SplitRule

__all__ = ["CIFAR10", "Cifar10", "parse_records"]

VALUES = 3 * 32 * 32
RULE = SplitRule(salt="eqmesh/cifar10/1", validation=5_000)


class Cifar10(DatasetTask):
    """10 classes of 3x32x32 photos: 45,000 to train on, 5,000 for validation, the published 10,000 sealed.

    Validation is a fixed part of the published 50,000, chosen by hashes.
    """

    name = "cifar10"
    version = 1
    doc = "Colour photos of 32x32 pixels, 10 classes; made for the space conv."
    inputs = VALUES
    classes = 10
    image = (3, 32, 32)
    split_rule = f"published test; of the rest {RULE.text}"
    fingerprint = fingerprint(*(file.sha256 for file in CATALOGUE["cifar10"].files), split_rule, "pixel/255")
    tiers = (
        Tier(name="smoke", epochs=1, train_limit=2_048, validation_limit=1_000, doc="Does it run at all."),
        Tier(name="quick", epochs=1, train_limit=20_000, doc="A first impression."),
        Tier(name="standard", epochs=1, doc="One pass over all: minutes of a core."),
        Tier(name="full", epochs=20, doc="As far as a small network gets on a CPU."),
        Tier(name="recipe", epochs=120, doc="As published networks are trained: for a GPU."),
    )
    default_tier = "standard"

    def require(self, cache: Path | None = None) -> None:
        """Raise DataError that names `eqmesh data fetch` if a file is missing."""
        require(self.name, cache)

    def read(self, cache: Path | None) -> Dataset:
        """Read pixels as float32 in [0, 1] (divided by 255); the test file is read when it is opened."""
        parts = [records(f"data_batch_{number}.bin", cache) for number in range(1, 6)]
        pixels = np.concatenate([part[0] for part in parts])
        labels = np.concatenate([part[1] for part in parts])
        rows = RULE.split(range(len(labels)))

        def test() -> tuple[NDArray[np.float32], NDArray[np.int64]]:
            pixels, labels = records("test_batch.bin", cache)
            return scaled(pixels, labels, range(len(labels)))

        train_x, train_y = scaled(pixels, labels, rows.train)
        validation_x, validation_y = scaled(pixels, labels, rows.validation)
        return Dataset(
            train_x=train_x, train_y=train_y, validation_x=validation_x, validation_y=validation_y, test=test
        )


def records(name: str, cache: Path | None) -> tuple[NDArray[np.uint8], NDArray[np.uint8]]:
    """Give the pixels (n, 3072) and labels (n,) of one checked file."""
    return parse_records(read_file("cifar10", name, cache))


def parse_records(content: bytes) -> tuple[NDArray[np.uint8], NDArray[np.uint8]]:
    """Give pixels (n, 3072), red, green, then blue, and labels (n,) of CIFAR-10's binary format.

    Both are read-only views of `content`. Raises DataError where it is not whole records of 3,073 bytes.
    """
    if not content or len(content) % (1 + VALUES):
        raise DataError(f"expected records of {1 + VALUES} bytes, got {len(content)} bytes in all.")
    table = np.frombuffer(content, dtype=np.uint8).reshape(-1, 1 + VALUES)
    return table[:, 1:], table[:, 0]


CIFAR10 = Cifar10()
