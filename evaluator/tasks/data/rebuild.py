"""Data files that a package holds in another form, written again as their authors published them. Pure."""

import io
from collections.abc import Callable

import msgspec
import numpy as np

from evaluator.errors import DataError

__all__ = ["cifar_batch"]

BATCH = 10_000
PIXELS = 32 * 32

Read = Callable[[str, int], bytes]


def cifar_batch(name: str, read: Read) -> bytes:
    """Give the bytes of a batch of CIFAR-10 called `name` ("data_batch_1.bin" ... "test_batch.bin").

    A record is a label and the red, green and blue planes of an image, a byte a value (3,073 bytes). `read(member,
    limit)` gives a file of the package: images as a PNG, one in each of its 10,000 rows, labels as JSON, which for the
    train part stand in one list. Raises DataError where these hold something else.
    """
    stem = name.removesuffix(".bin")
    pixels = rows(read(f"{stem}.png", BATCH * PIXELS * 3), stem)
    first, part = (0, "test") if stem == "test_batch" else ((int(stem[-1]) - 1) * BATCH, "train")
    # The package spells it so.
    labels = classes(read(f"{part}_lables.json", 1 << 20), part)[first : first + BATCH]
    if len(labels) != BATCH:
        raise DataError(f"expected {BATCH} {part} labels from number {first} on, got {len(labels)}")
    records = np.empty((BATCH, 1 + 3 * PIXELS), dtype=np.uint8)
    records[:, 0] = labels
    records[:, 1:] = pixels.transpose(0, 2, 1).reshape(BATCH, -1)
    return records.tobytes()


def rows(png: bytes, name: str) -> np.ndarray[tuple[int, int, int], np.dtype[np.uint8]]:
    """Give the images of a PNG as (10000, 1024, 3) bytes; looks at its size before it decompresses anything."""
    # Here, not above: only a fetch needs it. It comes with matplotlib.
    from PIL import Image, UnidentifiedImageError  # noqa: PLC0415

    try:
        with Image.open(io.BytesIO(png), formats=("PNG",)) as image:
            if image.size != (PIXELS, BATCH) or image.mode != "RGB":
                raise DataError(
                    f"expected {name} as {PIXELS} x {BATCH} RGB, got {image.size[0]} x {image.size[1]} {image.mode}"
                )
            return np.asarray(image, dtype=np.uint8).reshape(BATCH, PIXELS, 3)
    except (OSError, UnidentifiedImageError, SyntaxError, ValueError) as error:
        raise DataError(f"expected {name} as a PNG: {error}") from error


def classes(body: bytes, part: str) -> list[int]:
    """Give labels 0 to 9 from a JSON list."""
    try:
        labels = msgspec.json.decode(body, type=list[int])
    except msgspec.MsgspecError as error:
        raise DataError(f"expected the {part} labels as a JSON list of numbers: {error}") from error
    if any(not 0 <= label <= 9 for label in labels):
        raise DataError(f"expected {part} labels of 0 to 9, got {min(labels)} to {max(labels)}")
    return labels
