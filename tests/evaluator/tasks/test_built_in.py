import hashlib
import struct

import msgspec
import numpy as np
import pytest

from evaluator.errors import DataError, SealedSplitError
from evaluator.tasks import TestPermit, resolve
from evaluator.tasks.data import CATALOGUE, cache_folder, require
from evaluator.tasks.data.catalogue import Bundled, DataFile
from evaluator.tasks.digits import DIGITS
from evaluator.tasks.idx import parse_idx
from evaluator.tasks.mnist import MNIST
from evaluator.tasks.zdt1 import ZDT1

REPORT = TestPermit(reason="report")


def test_digits_have_the_promised_sizes_range_and_classes():
    data = DIGITS.load()
    test_x, test_y = data.open_test(REPORT)
    assert (len(data.train_x), len(data.validation_x), len(test_x)) == (1077, 360, 360)
    for x, y in ((data.train_x, data.train_y), (data.validation_x, data.validation_y), (test_x, test_y)):
        assert x.dtype == np.float32 and y.dtype == np.int64
        assert (x.min(), x.max()) == (0, 1)
        assert set(np.unique(x * 16)) <= set(range(17))
        assert set(y) == set(range(10))


def test_digits_are_those_of_scikit_learn():
    from sklearn.datasets import load_digits

    expected_x, expected_y = load_digits(return_X_y=True)
    data = DIGITS.load()
    test_x, test_y = data.open_test(REPORT)
    x = np.concatenate([data.train_x, data.validation_x, test_x])
    y = np.concatenate([data.train_y, data.validation_y, test_y])

    def rows(inputs, labels):
        return sorted((label, bytes(row)) for row, label in zip(inputs, labels, strict=True))

    assert rows((x * 16).astype(np.uint8), y) == rows(expected_x.astype(np.uint8), expected_y)


def test_digits_are_read_out_of_the_package_and_nowhere_else(own_folder):
    (own_folder / "digits").mkdir(parents=True)
    (own_folder / "digits" / "digits.csv").write_bytes(b"0,1")
    assert len(DIGITS.load().train_x) == 1077


def test_a_damaged_package_is_refused(monkeypatch, tmp_path):
    (tmp_path / "my_package").mkdir()
    (tmp_path / "my_package" / "__init__.py").touch()
    (tmp_path / "my_package" / "digits.csv").write_bytes(b"0,1")
    monkeypatch.syspath_prepend(tmp_path)
    bundled = Bundled(distribution="scikit-learn", module="my_package", folder=".")
    monkeypatch.setitem(CATALOGUE, "digits", msgspec.structs.replace(CATALOGUE["digits"], bundled=bundled))
    with pytest.raises(DataError, match=r"damaged data set 'digits': .*got 3\. Reinstall scikit-learn\."):
        DIGITS.load()


def idx(array: np.ndarray) -> bytes:
    return bytes([0, 0, 8, array.ndim]) + struct.pack(f">{array.ndim}I", *array.shape) + array.tobytes()


@pytest.fixture
def small_mnist(monkeypatch, own_folder):
    """An MNIST of 10,040 and 20 images, each with its row number in its first two pixels."""
    files = []
    (own_folder / "mnist").mkdir(parents=True)
    for part, n in (("train", 10_040), ("t10k", 20)):
        pixels = np.zeros((n, 28, 28), np.uint8)
        pixels[:, 0, 0], pixels[:, 0, 1], pixels[:, 27, 27] = np.arange(n) // 256, np.arange(n) % 256, 255
        labels = (np.arange(n) % 7).astype(np.uint8)
        for name, content in (
            (f"{part}-images-idx3-ubyte", idx(pixels)),
            (f"{part}-labels-idx1-ubyte", idx(labels)),
        ):
            (own_folder / "mnist" / name).write_bytes(content)
            digest = hashlib.sha256(content).hexdigest()
            files.append(DataFile(name=name, size_bytes=len(content), sha256=digest))
    made = msgspec.structs.replace(CATALOGUE["mnist"], files=tuple(files))
    monkeypatch.setitem(CATALOGUE, "mnist", made)
    return own_folder / "mnist"


def row_numbers(x: np.ndarray) -> list[int]:
    return (np.rint(x[:, 0] * 255) * 256 + np.rint(x[:, 1] * 255)).astype(int).tolist()


def test_images_are_divided_by_the_rule_and_keep_their_labels(small_mnist):
    data = MNIST.load()
    rows = MNIST.rule.split(range(10_040))
    assert row_numbers(data.train_x) == rows.train
    assert row_numbers(data.validation_x) == rows.validation
    assert data.train_y.tolist() == [row % 7 for row in rows.train]
    assert data.validation_y.tolist() == [row % 7 for row in rows.validation]
    assert len(data.validation_x) == 10_000
    assert data.train_x.dtype == np.float32 and data.train_y.dtype == np.int64
    assert (data.train_x[:, -1] == 1).all()
    assert (data.train_x[:, 1] == (np.array(rows.train) % 256 / 255).astype(np.float32)).all()


def test_the_published_test_files_are_the_test_split(small_mnist):
    x, y = MNIST.load().open_test(REPORT)
    assert row_numbers(x) == list(range(20))
    assert y.tolist() == [row % 7 for row in range(20)]


def test_a_search_does_not_even_read_the_test_files(small_mnist):
    for path in small_mnist.glob("t10k*"):
        path.write_bytes(b"damaged")
    data = MNIST.load()
    with pytest.raises(SealedSplitError):
        data.open_test(TestPermit(reason="search"))
    with pytest.raises(DataError, match="damaged data set 'mnist'"):
        data.open_test(REPORT)


def test_missing_images_name_the_command():
    for attempt in (MNIST.require, MNIST.load):
        with pytest.raises(DataError, match="Run `eqmesh data fetch mnist`"):
            attempt()


@pytest.mark.parametrize("name", ["mnist", "fashion-mnist"])
def test_the_real_images_where_this_machine_has_them(name, monkeypatch):
    monkeypatch.delenv("EQMESH_DATA_DIR")
    try:
        require(name)
    except DataError as missing:
        pytest.skip(str(missing))
    data = resolve(name).load(cache_folder())
    assert data.train_x.shape == (50_000, 784) and data.validation_x.shape == (10_000, 784)
    x, y = data.open_test(REPORT)
    assert x.shape == (10_000, 784) and (np.bincount(y) > 890).all()
    assert (np.bincount(data.train_y) > 4000).all()
    assert (x.min(), x.max()) == (0, 1)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "expected an IDX file of unsigned bytes"),
        (b"\x00\x00\x0d\x01\x00\x00\x00\x01\x00", "a start of '00 00 0d 01'"),
        (b"\x01\x00\x08\x01\x00\x00\x00\x01\x00", "expected an IDX file"),
        (b"\x00\x00\x08\x01\x00\x00", "shape"),
        (b"\x00\x00\x08\x00", "shape"),
        (idx(np.zeros((2, 3), np.uint8))[:-1], r"shape \[2, 3\], got 5 bytes"),
        (idx(np.zeros((2, 3), np.uint8)) + b"\x00", r"shape \[2, 3\], got 7 bytes"),
        (b"\x00\x00\x08\x03" + b"\xff" * 12, "shape"),
        # 2**32 x 2**32 elements, which 64 bits would take for none.
        (b"\x00\x00\x08\x04" + b"\x00\x01\x00\x00" * 4, "shape"),
    ],
)
def test_malformed_idx_files_are_refused(content, message):
    with pytest.raises(DataError, match=message):
        parse_idx(content)


def test_idx_files_are_read_in_row_order():
    array = np.arange(24, dtype=np.uint8).reshape(2, 3, 4)
    assert (parse_idx(idx(array)) == array).all()


def test_zdt1_has_its_known_front():
    tier = ZDT1.tier()
    for f1 in (0.0, 0.25, 1.0):
        values = {gene.name: 0.0 for gene in ZDT1.space.genes} | {"x1": f1}
        assert ZDT1.measure(values, seed=0, tier=tier) == pytest.approx({"f1": f1, "f2": 1 - f1**0.5})
    worst = {gene.name: 1.0 for gene in ZDT1.space.genes} | {"x1": 0.0}
    assert ZDT1.measure(worst, seed=0, tier=tier) == {"f1": 0.0, "f2": 10.0}
    # One variable of nine off the front: g = 1 + 9 * 1/9 = 2.
    near = {gene.name: 0.0 for gene in ZDT1.space.genes} | {"x1": 0.5, "x7": 1.0}
    assert ZDT1.measure(near, seed=0, tier=tier)["f2"] == pytest.approx(2 * (1 - 0.25**0.5))
