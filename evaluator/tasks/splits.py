"""Fixed splits derived from hashes of indices: the same on every machine, for ever. Pure."""

import hashlib
from collections import Counter
from collections.abc import Mapping, Sequence

import msgspec

from evaluator.errors import TaskError

__all__ = ["Split", "SplitRule"]


class Split(msgspec.Struct, frozen=True):
    """Row numbers of each part, in hash order: the first k rows of a part are a random sample of it.

    Lists, because an array indexed by a list takes rows, and by a tuple one element.
    """

    train: list[int]
    validation: list[int]
    test: list[int]


class SplitRule(msgspec.Struct, frozen=True, kw_only=True):
    """How many rows go to validation and test, chosen by SHA-256 of "salt/row number".

    `stratified` gives each class its proportional share of each part (largest remainder, the lower
    class first where remainders are equal). Rows that are in neither part are train.
    """

    salt: str
    validation: int
    test: int = 0
    stratified: bool = False

    @property
    def text(self) -> str:
        """The rule in words that stand in a task's identity."""
        how = "stratified" if self.stratified else "plain"
        return f"sha256({self.salt}/row) {how} test={self.test} validation={self.validation} rest=train"

    def split(self, labels: Sequence[int]) -> Split:
        """Divide the rows 0..len(labels) - 1; raises TaskError if nothing would be left to train on."""
        n = len(labels)
        if self.validation < 1 or self.test < 0 or self.validation + self.test >= n:
            raise TaskError(
                f"split {self.text!r} needs at least one validation row and more than "
                f"{self.validation + self.test} rows in all, got {n}."
            )
        # A plain split is a stratified one with a single class.
        classes = [int(label) for label in labels] if self.stratified else [0] * n
        counts = Counter(classes)
        test_left = shares(counts, self.test)
        validation_left = shares({c: counts[c] - test_left[c] for c in counts}, self.validation)
        parts = Split(train=[], validation=[], test=[])
        for row in hash_order(self.salt, n):
            c = classes[row]
            if test_left[c]:
                test_left[c] -= 1
                parts.test.append(row)
            elif validation_left[c]:
                validation_left[c] -= 1
                parts.validation.append(row)
            else:
                parts.train.append(row)
        return parts


def hash_order(salt: str, n: int) -> list[int]:
    """Give the numbers 0..n - 1 sorted by SHA-256 of "salt/number"."""
    return sorted(range(n), key=lambda row: hashlib.sha256(f"{salt}/{row}".encode()).digest())


def shares(counts: Mapping[int, int], total: int) -> dict[int, int]:
    """Divide `total` in proportion to `counts` in whole numbers that add up, none above its count."""
    everything = sum(counts.values())
    share = {c: counts[c] * total // everything for c in counts}
    by_remainder = sorted(counts, key=lambda c: (-(counts[c] * total % everything), c))
    for c in by_remainder[: total - sum(share.values())]:
        share[c] += 1
    return share
