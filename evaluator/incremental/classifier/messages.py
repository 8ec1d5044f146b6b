"""What is asked of the child that lets classifiers learn, and what it answers. Pure, and free of the kernels."""

from typing import Literal, TypeAlias

import msgspec

__all__ = [
    "CLASSIFIER_VARIANTS",
    "ClassifierResult",
    "ClassifierVariant",
    "Dataset",
    "LearnClasses",
    "Learned",
]

ClassifierVariant: TypeAlias = Literal["ndl", "cl", "ndl+ir", "cl+ir", "joint"]
# Growth first: it says how large the fixed networks are.
CLASSIFIER_VARIANTS: tuple[ClassifierVariant, ...] = ("ndl", "cl", "ndl+ir", "cl+ir", "joint")
Dataset: TypeAlias = Literal["digits", "mnist", "fashion-mnist"]


class ClassifierResult(msgspec.Struct, frozen=True, kw_only=True):
    """What a variant ended with, on samples never learned from, over all classes counted alike.

    `accuracy` is that at naming a class among all, without being told of which stage it is. `forgetting` and
    `backward_transfer` are of accuracies; None where all classes were learned at once. `cap_hit` says whether growth
    was ever bounded by a cap; `presented` how many samples training went through, epochs counted.
    """

    variant: ClassifierVariant
    seed: int
    accuracy: float
    forgetting: float | None
    backward_transfer: float | None
    widths: tuple[int, ...]
    cap_hit: bool
    presented: int
    seconds: float


class LearnClasses(msgspec.Struct, frozen=True, kw_only=True):
    """Which runs are wanted: variants and seeds on a data set, and the folder (absolute) that they go to.

    `order_seed` permutes the classes after the base (None: they ascend); `smoke` shortens data and phases; at most
    `per_class` samples of a class are learned (None: all, or 60 of a smoke run).
    """

    dataset: Dataset
    variants: tuple[ClassifierVariant, ...]
    seeds: tuple[int, ...]
    order_seed: int | None
    split: Literal["validation", "test"]
    smoke: bool
    per_class: int | None
    out: str


class Learned(msgspec.Struct, tag="learned", frozen=True):
    """The answer: a result for each variant and seed, the variants of a seed together."""

    results: tuple[ClassifierResult, ...]
