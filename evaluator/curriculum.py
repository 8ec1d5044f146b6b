"""Which samples an epoch sees: all, or a growing share of them by difficulty. Pure.

Difficulty is a loss that needs no training: how much nearer a sample lies to the mean of another class than to that of
its own, the margin of a nearest-mean classifier. It is counted in whole numbers, which sums of float64 hold exactly in
any order, so that every machine ranks alike.
"""

import bisect
import functools
import hashlib
import itertools
import math
from collections.abc import Mapping
from typing import TYPE_CHECKING, Literal, NamedTuple, cast

import msgspec
import numpy as np

from genome import Value

if TYPE_CHECKING:
    from numpy.typing import NDArray

__all__ = ["Course", "Curriculum", "course_of", "curriculum_of", "difficulty", "ranking"]

# Pixels are counted in 255ths, means of classes in 256ths of these: with 3,072 inputs a margin stays below 2^46, and
# float64 holds every whole number to 2^53.
_LEVELS = 255.0
_PARTS = 256.0
# Rows that are worked on at once: 1.6 MB of float64 for images of 784 pixels.
_BLOCK = 256
# Rankings by the digest of their data, the last few: a search trains on the same data thousands of times.
_MOST_KEPT = 8
_kept: "dict[str, NDArray[np.int64]]" = {}


class Curriculum(msgspec.Struct, frozen=True):
    """Samples come by difficulty, from the end `first`; the first epoch sees the share `pace` of them.

    The share grows by the same amount an epoch and is whole from the middle of the epochs on (for E epochs from the
    epoch of index E / 2, rounded up). A training of one epoch sees the share `pace` alone.
    """

    first: Literal["easy", "hard"]
    pace: float


class Course(NamedTuple):
    """Samples that each epoch sees, and the steps after each."""

    sizes: tuple[int, ...]
    ends: tuple[int, ...]

    def epoch(self, step: int) -> tuple[int, int]:
        """The epoch in which a step (from 0) lies, and its number in it; the end of the last is still of the last."""
        number = min(bisect.bisect_right(self.ends, step), len(self.ends) - 1)
        return number, step - (self.ends[number - 1] if number else 0)


def curriculum_of(values: Mapping[str, Value]) -> Curriculum | None:
    """The curriculum of a genome; None where it has no such gene, or sees all samples in every epoch."""
    order = str(values.get("curriculum", "none"))
    if order == "none":
        return None
    first = cast('Literal["easy", "hard"]', order.removesuffix("-first"))
    return Curriculum(first, float(values["pace"]))


@functools.lru_cache(maxsize=64)
def course_of(curriculum: Curriculum | None, *, examples: int, epochs: int, batch: int) -> Course:
    """Sizes of the epochs of a training on so many examples, in batches of `batch`, the last of an epoch shorter."""
    sizes = tuple(_size(curriculum, examples, epoch, epochs) for epoch in range(epochs))
    return Course(sizes, tuple(itertools.accumulate(math.ceil(size / batch) for size in sizes)))


def _size(curriculum: Curriculum | None, examples: int, epoch: int, epochs: int) -> int:
    whole = max(1, math.ceil(epochs / 2))
    if curriculum is None or epoch >= whole:
        return examples
    share = curriculum.pace + (1.0 - curriculum.pace) * epoch / whole
    return max(1, round(share * examples))


def ranking(
    curriculum: Curriculum | None, x: "NDArray[np.float32]", y: "NDArray[np.int64]"
) -> "NDArray[np.int64] | None":
    """Rows (n,) in the order in which a curriculum takes them up, or None without one.

    `x` (n, inputs) in [0, 1] and `y` (n,) are what is trained on. Each class is ranked by itself, and the classes are
    merged by their shares: the first k rows hold each class in its proportion, to within one row. Rows of equal
    difficulty stand in the order of the data ("hard" goes through the whole order from its end). Kept for the last data
    sets.
    """
    if curriculum is None:
        return None
    name = _digest(x, y)
    if name not in _kept:
        while len(_kept) >= _MOST_KEPT:
            del _kept[next(iter(_kept))]
        _kept[name] = _easy_first(x, y)
    rows = _kept[name]
    return rows if curriculum.first == "easy" else rows[::-1]


def _digest(x: "NDArray[np.float32]", y: "NDArray[np.int64]") -> str:
    """SHA-256 of both arrays: equal data are one data set, whoever holds them."""
    digest = hashlib.sha256(f"{x.shape}\n".encode())
    digest.update(np.ascontiguousarray(x).data)
    digest.update(np.ascontiguousarray(y).data)
    return digest.hexdigest()


def _easy_first(x: "NDArray[np.float32]", y: "NDArray[np.int64]") -> "NDArray[np.int64]":
    found = difficulty(x, y)
    # Shares of classes of n and m rows that are not equal differ by 1 / (2 n m) at least: float64 tells them apart.
    share = np.empty(len(found), dtype=np.float64)
    for label in np.unique(y):
        (rows,) = np.nonzero(y == label)
        count = len(rows)
        share[rows[np.argsort(found[rows], kind="stable")]] = (2 * np.arange(count) + 1) / (2 * count)
    order = np.argsort(share, kind="stable")
    order.flags.writeable = False
    return order


def difficulty(x: "NDArray[np.float32]", y: "NDArray[np.int64]") -> "NDArray[np.int64]":
    """Margin (n,) by which each row is nearer to the mean of another class than to that of its own; larger is harder.

    Of squared distances, in units of (1 / 65,280)^2: pixels are rounded to 255ths (half to even), means to 256ths of
    these. Where there is one class, the squared distance to its mean, but for the row's own square.
    """
    labels, own = np.unique(y, return_inverse=True)
    means = _means(x, own, len(labels))
    squares = (means * means).sum(axis=1)
    margin = np.empty(len(x), dtype=np.int64)
    for start in range(0, len(x), _BLOCK):
        pixels, mine = _whole(x[start : start + _BLOCK]), own[start : start + _BLOCK]
        # The row's own square stands in every distance: it leaves the margin as it is.
        distance = squares - 2.0 * _PARTS * (pixels @ means.T)
        at = np.arange(len(mine))
        found = distance[at, mine]
        if len(labels) > 1:
            distance[at, mine] = np.inf
            found = found - distance.min(axis=1)
        margin[start : start + _BLOCK] = found
    return margin


def _whole(x: "NDArray[np.float32]") -> "NDArray[np.float64]":
    """Pixels in 255ths, whole numbers."""
    return np.rint(x.astype(np.float64) * _LEVELS)


def _means(x: "NDArray[np.float32]", own: "NDArray[np.int64]", classes: int) -> "NDArray[np.float64]":
    """Mean (classes, inputs) of the pixels of each class, in 256ths of theirs, whole numbers."""
    sums = np.zeros((classes, x.shape[1]))
    for start in range(0, len(x), _BLOCK):
        pixels = _whole(x[start : start + _BLOCK])
        members = own[start : start + _BLOCK] == np.arange(classes)[:, None]
        sums += members.astype(np.float64) @ pixels
    counts = np.bincount(own, minlength=classes)[:, None]
    return np.rint(_PARTS * sums / counts)
