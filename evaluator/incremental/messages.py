"""What crosses the pipe between the commands `experiment neurogenesis` and `report` and what computes. Pure."""

from typing import Literal, TypeAlias

import msgspec

from evaluator.errors import TaskError
from evaluator.oneshot import Refused

__all__ = [
    "DATASETS",
    "Answer",
    "Comparison",
    "Estimate",
    "Learn",
    "Learned",
    "Look",
    "Question",
    "RegimeSummary",
    "Summary",
    "Verdict",
]

# Names of the data that an experiment learns; the last is read from a folder that is named.
DATASETS = ("digits", "mnist", "fashion-mnist", "sd19")

# What a difference between two regimes comes to: `unclear` where its interval holds 0, `single` where it has none.
Verdict: TypeAlias = Literal["lower", "higher", "unclear", "single"]


class Learn(msgspec.Struct, tag="learn", frozen=True, kw_only=True):
    """Learn data by each of these regimes from one seed, with files under the folder `out`.

    `folder` holds the images of `sd19`. At most `per_class` samples of each class are learned; without it all, but
    see `evaluator.incremental.presets`. Raises TaskError.
    """

    dataset: str
    variants: tuple[str, ...]
    seed: int
    out: str
    split: Literal["validation", "test"] = "validation"
    order_seed: int | None = None
    smoke: bool = False
    per_class: int | None = None
    folder: str | None = None

    def __post_init__(self) -> None:
        if self.dataset not in DATASETS:
            raise TaskError(f"expected one of the data sets {', '.join(DATASETS)}, got {self.dataset!r}.")
        if (self.dataset == "sd19") != (self.folder is not None):
            raise TaskError(
                f"a folder of images belongs to the data set sd19 and to no other, got {self.dataset!r} and the folder "
                f"{self.folder!r}. Give --data DIR with --dataset sd19 alone."
            )
        if self.per_class is not None and self.per_class < 2:
            raise TaskError(f"--per-class must be at least 2, got {self.per_class}.")
        for what, seed in (("seed", self.seed), ("order", self.order_seed or 0)):
            if not 0 <= seed < 2**62:
                raise TaskError(f"the {what} must lie between 0 and 2^62 - 1, got {seed}.")


class Look(msgspec.Struct, tag="look", frozen=True, kw_only=True):
    """Read back every finished run under `out`, checked, and draw the plots; with `report` write the report too."""

    out: str
    report: bool


Question: TypeAlias = Learn | Look


class Learned(msgspec.Struct, tag="learned", frozen=True):
    """The answer to `Learn`."""


class Estimate(msgspec.Struct, frozen=True, kw_only=True):
    """The mean of one value a seed, with Student's 95 % interval; None for its ends where there is one seed."""

    mean: float
    low: float | None
    high: float | None
    values: tuple[float, ...]


class RegimeSummary(msgspec.Struct, frozen=True, kw_only=True):
    """One regime over its seeds. Tuples and the values of estimates are in the order of `seeds`.

    `accuracy` is None in regimes without replay. `old_readings` counts how often training data of an old class were
    read. `class_mse` holds by class, in the order they were learned, the final MSE, mean over seeds.
    """

    variant: str
    seeds: tuple[int, ...]
    macro_mse: Estimate
    forgetting: Estimate
    backward_transfer: Estimate
    accuracy: Estimate | None
    presented: Estimate
    seconds: Estimate
    sizes: tuple[tuple[int, ...], ...]
    cap_hit: tuple[bool, ...]
    old_readings: int
    class_mse: tuple[float, ...]


class Comparison(msgspec.Struct, frozen=True, kw_only=True):
    """Two regimes on the seeds they share: `difference` is of `measure`, first less second, paired by seed.

    `ratio` is of the means, None where the second is not above 0. `words` say the same in a sentence.
    """

    first: str
    second: str
    measure: Literal["macro_mse", "forgetting"]
    seeds: tuple[int, ...]
    difference: Estimate
    ratio: float | None
    verdict: Verdict
    words: str


class Summary(msgspec.Struct, tag="summary", frozen=True, kw_only=True):
    """The answer to `Look`. `unfinished` names runs that were begun and not ended; `files` what was written."""

    data: str
    data_sha256: str
    settings_sha256: str
    versions: dict[str, str]
    order: tuple[tuple[int, ...], ...]
    regimes: tuple[RegimeSummary, ...]
    comparisons: tuple[Comparison, ...]
    unfinished: tuple[str, ...]
    files: tuple[str, ...]


Answer: TypeAlias = Learned | Summary | Refused
