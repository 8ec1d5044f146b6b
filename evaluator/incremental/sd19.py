"""NIST Special Database 19 from a local copy: handwritten digits and letters, 62 classes, as 28x28 pixels.

The data set is not fetched: a folder is named that holds it. Images lie in folders named by the character's code, 30
to 39, 41 to 5a and 61 to 7a in hexadecimal, however deep: `by_class/4a/hsf_3/hsf_3_00012.png` as well as
`hsf_3/4a/00012.png`. A part of the path that begins with hsf_4, NIST's partition for tests, puts an image into the
test split. `train_4a` folders repeat the images of other partitions, so they are left out.
"""

from collections.abc import Sequence
from pathlib import Path
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from evaluator.errors import DataError
from evaluator.incremental.data import IncrementalData

__all__ = ["BASE", "CODES", "PIXELS", "area_average", "label_of", "read_sd19"]

PIXELS = 28
# Labels in the order of their codes: 0 to 9 are the digits, 10 to 35 the capitals, 36 to 61 the small letters.
CODES = tuple(f"{code:02x}" for code in (*range(0x30, 0x3A), *range(0x41, 0x5B), *range(0x61, 0x7B)))
# What an experiment learns first.
BASE = tuple(range(10))

_TEST = "hsf_4"
# Every so many images of a class are for validation.
_VALIDATE_EVERY = 10


def label_of(path: Path, root: Path) -> int | None:
    """The label of an image by the last folder between root and file that is named by a code; None without one."""
    for part in reversed(path.relative_to(root).parts[:-1]):
        if part.lower() in CODES:
            return CODES.index(part.lower())
    return None


def read_sd19(root: Path, *, split: Literal["validation", "test"], per_class: int) -> IncrementalData:
    """Images of a folder, at most `per_class` of each class to learn from and as many to measure on.

    The first of a class in the order of their paths are taken. With "validation" every tenth image outside of hsf_4 is
    measured on and the others are learned from; with "test" all outside of hsf_4 are learned from. Inputs (n, 784) in
    [0, 1], ink 1. Raises DataError where the folder is missing, has no images, or not those that a split needs.
    """
    found = _found(root)
    learned: dict[int, list[Path]] = {}
    measured: dict[int, list[Path]] = {}
    for label, paths in sorted(found.items()):
        test = [path for path in paths if _of_test(path, root)]
        rest = [path for path in paths if not _of_test(path, root)]
        held = rest[_VALIDATE_EVERY - 1 :: _VALIDATE_EVERY]
        kept = rest if split == "test" else [p for k, p in enumerate(rest) if (k + 1) % _VALIDATE_EVERY]
        learned[label], measured[label] = kept[:per_class], (test if split == "test" else held)[:per_class]
    lacking = [CODES[label] for label in found if not learned[label] or not measured[label]]
    if lacking:
        need = f"images in a folder {_TEST} and outside of it" if split == "test" else "10 images or more"
        raise DataError(
            f"every class of {root} must have {need} for the split {split!r}, the classes {', '.join(lacking)} have "
            "not. Add the other partitions, or choose the other split."
        )
    name = f"sd19, measured on {split}, at most {per_class} a class learned"
    return IncrementalData(name, *_part(learned), *_part(measured))


def _found(root: Path) -> dict[int, list[Path]]:
    """Paths of the images by label, sorted."""
    if not root.is_dir():
        raise DataError(
            f"expected a folder with the images of SD-19 at {root}, there is none. Name it with --data."
        )
    found: dict[int, list[Path]] = {}
    for path in sorted(root.rglob("*.png")):
        label = label_of(path, root)
        if label is not None and not _repeated(path, root):
            found.setdefault(label, []).append(path)
    if not found:
        raise DataError(
            f"{root} must hold PNG images in folders named 30 to 39, 41 to 5a or 61 to 7a, got none. Name the folder "
            "by_class of SD-19 with --data."
        )
    return found


def _of_test(path: Path, root: Path) -> bool:
    return any(part.startswith(_TEST) for part in path.relative_to(root).parts)


def _repeated(path: Path, root: Path) -> bool:
    return any(part.startswith("train_") for part in path.relative_to(root).parts[:-1])


def _part(paths: dict[int, list[Path]]) -> tuple[NDArray[np.float32], NDArray[np.int64]]:
    x = np.stack([_image(path) for label in paths for path in paths[label]])
    y = np.concatenate([np.full(len(group), label, dtype=np.int64) for label, group in paths.items()])
    return x, y


def _image(path: Path) -> NDArray[np.float32]:
    """One image (784,) with ink 1 on paper 0."""
    from matplotlib.image import imread  # noqa: PLC0415 - half a second that only this data set pays

    try:
        pixels = np.asarray(imread(path), dtype=np.float64)
    except (OSError, SyntaxError, ValueError) as error:
        raise DataError(f"{path} is no PNG image: {error}. Replace or remove it.") from error
    if pixels.ndim == 3:
        pixels = pixels[:, :, :3].mean(axis=2)
    return (1.0 - area_average(pixels, (PIXELS, PIXELS))).astype(np.float32).reshape(-1)


def area_average(pixels: NDArray[np.float64], shape: Sequence[int]) -> NDArray[np.float64]:
    """An image (h, w) at another shape: each pixel the mean over the area that it covers, parts of pixels by share."""
    rows, columns = (_shares(old, new) for old, new in zip(pixels.shape, shape, strict=True))
    averaged: NDArray[np.float64] = rows @ pixels @ columns.T
    return averaged


def _shares(old: int, new: int) -> NDArray[np.float64]:
    """What each of `old` pixels in a row gives to each of `new`: (new, old), rows sum to 1."""
    width = old / new
    starts = np.arange(new)[:, None] * width
    left = np.arange(old)[None, :]
    overlap = np.minimum(starts + width, left + 1) - np.maximum(starts, left)
    shares: NDArray[np.float64] = np.clip(overlap, 0.0, None) / width
    return shares
