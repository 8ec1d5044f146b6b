"""Odd or even: the handwritten digits with two classes, derived from the task digits to be learned beside it."""

from pathlib import Path

from evaluator.tasks.base import DatasetTask, fingerprint
from evaluator.tasks.dataset import Dataset
from evaluator.tasks.digits import DIGITS

__all__ = ["DIGITS_PARITY", "DigitsParity"]


class DigitsParity(DatasetTask):
    """The images and splits of the task digits, labelled 0 where the digit is even and 1 where it is odd.

    A row is train, validation or test in both, so that learned together neither shows what the other holds back.
    """

    name = "digits-parity"
    version = 1
    doc = "Odd or even: the digits of 8x8 pixels with 2 classes, to be composed with digits."
    inputs = DIGITS.inputs
    classes = 2
    image = DIGITS.image
    split_rule = DIGITS.split_rule
    fingerprint = fingerprint(DIGITS.fingerprint, "label modulo 2")
    tiers = DIGITS.tiers
    default_tier = DIGITS.default_tier

    def require(self, cache: Path | None = None) -> None:
        """Raise DataError if scikit-learn does not have the file."""
        DIGITS.require(cache)

    def read(self, cache: Path | None) -> Dataset:
        """Read the digits, and give their labels modulo 2."""
        data = DIGITS.load(cache)
        return data.relabelled(lambda y: y % 2)


DIGITS_PARITY = DigitsParity()
