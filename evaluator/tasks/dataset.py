"""A loaded data set: train, validation, and a test split that only a final report can open. Pure."""

from __future__ import annotations

import copy
from collections.abc import Callable
from dataclasses import InitVar, dataclass
from typing import TYPE_CHECKING, ClassVar, TypeAlias

import msgspec

from evaluator.errors import SealedSplitError, TaskError

# Arrays stand here as types only: a process that lists tasks must not pay for loading numpy.
if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from evaluator.tasks.base import Tier

    Inputs: TypeAlias = NDArray[np.float32]
    Labels: TypeAlias = NDArray[np.int64]
    Part: TypeAlias = tuple[Inputs, Labels]

__all__ = ["TEST_REASONS", "Dataset", "TestPermit"]

TEST_REASONS = ("report", "export")


class TestPermit(msgspec.Struct, frozen=True, kw_only=True):
    """The right to open a test split, which only a published table or an export of a champion has.

    Raises SealedSplitError for every reason that is not in `TEST_REASONS`, a search above all.
    """

    # Its name begins with "Test"; pytest must not take it for a class of tests.
    __test__: ClassVar[bool] = False

    reason: str

    def __post_init__(self) -> None:
        if self.reason not in TEST_REASONS:
            raise SealedSplitError(
                f"the test split is opened only for {' or '.join(map(repr, TEST_REASONS))}, got the reason "
                f"{self.reason!r}. A search sees train and validation: score on the validation split."
            )


@dataclass(frozen=True, slots=True, eq=False, repr=False)
class Dataset:
    """Train and validation as arrays, and the test split behind `open_test`.

    Inputs are (n, d) float32 in [0, 1], labels (n,) int64 from 0. `test` gives (inputs, labels) and
    is not called before the split is opened, so that a search does not even read the test files.
    Raises TaskError for arrays of another shape, dtype or range.
    """

    train_x: Inputs
    train_y: Labels
    validation_x: Inputs
    validation_y: Labels
    test: InitVar[Callable[[], Part]]
    # Holds no array: whoever finds this attribute still needs a permit to call it.
    _open: Callable[[TestPermit], Part] = None  # type: ignore[assignment]

    def __post_init__(self, test: Callable[[], Part]) -> None:
        check_part("train", self.train_x, self.train_y)
        check_part("validation", self.validation_x, self.validation_y)
        width = self.train_x.shape[1]
        if self.validation_x.shape[1] != width:
            raise TaskError(
                f"train and validation inputs must be equally wide, got {width} and {self.validation_x.shape[1]}."
            )
        object.__setattr__(self, "_open", seal(test, width))

    def __repr__(self) -> str:
        n, d = self.train_x.shape
        return f"Dataset(train={n}, validation={len(self.validation_x)}, inputs={d}, test sealed)"

    def open_test(self, permit: TestPermit) -> Part:
        """Give the test split as (inputs, labels); raises SealedSplitError without a valid permit."""
        return self._open(permit)

    def train_and_validation(self) -> Part:
        """Give all that is not test, train first: what a final report trains on."""
        import numpy as np  # noqa: PLC0415 - whoever calls this has loaded it; whoever lists tasks has not

        x = np.concatenate([self.train_x, self.validation_x])
        return x, np.concatenate([self.train_y, self.validation_y])

    def relabelled(self, label: Callable[[Labels], Labels]) -> Dataset:
        """Give the same rows with the labels that `label` makes of theirs, the test split's too once it is opened."""

        def test() -> Part:
            # Whoever calls this has shown a permit to the seal of the new one.
            x, y = self.open_test(TestPermit(reason="report"))
            return x, label(y)

        return Dataset(
            train_x=self.train_x,
            train_y=label(self.train_y),
            validation_x=self.validation_x,
            validation_y=label(self.validation_y),
            test=test,
        )

    def at(self, tier: Tier) -> Dataset:
        """Give the first examples of each split, as many as the tier allows; the test split stays whole.

        The arrays are views, not copies.
        """
        limited = copy.copy(self)
        for part, limit in (("train", tier.train_limit), ("validation", tier.validation_limit)):
            for name in (f"{part}_x", f"{part}_y"):
                object.__setattr__(limited, name, getattr(self, name)[:limit])
        return limited


def seal(test: Callable[[], Part], width: int) -> Callable[[TestPermit], Part]:
    """Put a split behind a function that asks for a permit each time it is called."""

    def open_sealed(permit: TestPermit) -> Part:
        if not isinstance(permit, TestPermit) or permit.reason not in TEST_REASONS:
            raise SealedSplitError(
                f"the test split is sealed: expected TestPermit(reason='report') or 'export', got {permit!r}. "
                "A search sees train and validation only."
            )
        x, y = test()
        check_part("test", x, y)
        if x.shape[1] != width:
            raise TaskError(f"test inputs must be as wide as train inputs ({width}), got {x.shape[1]}.")
        return x, y

    return open_sealed


def check_part(part: str, x: Inputs, y: Labels) -> None:
    """Hold one split to shape, dtype and range; raises TaskError that says what was expected and what came."""
    for name, array, rank, dtype in ((f"{part}_x", x, 2, "float32"), (f"{part}_y", y, 1, "int64")):
        shape = getattr(array, "shape", None)
        if shape is None or len(shape) != rank or array.dtype != dtype:
            got = type(array).__name__ if shape is None else f"{array.dtype} {tuple(shape)}"
            raise TaskError(
                f"{name} must be a numpy array of {dtype} with {rank} axes, got {got}. "
                f"Convert it with numpy.asarray(..., dtype=numpy.{dtype})."
            )
    if len(x) != len(y) or len(x) == 0 or x.shape[1] == 0:
        raise TaskError(
            f"{part} must have as many inputs as labels, and some of each, got {x.shape} and {y.shape}."
        )
    low, high = x.min(), x.max()
    # Written so that NaN, which fails every comparison, is refused too.
    if not (low >= 0 and high <= 1):
        raise TaskError(
            f"{part}_x must lie in [0, 1], got values from {low} to {high}. Scale each input to [0, 1]."
        )
    if y.min() < 0:
        raise TaskError(f"{part}_y must count classes from 0, got {y.min()}.")
