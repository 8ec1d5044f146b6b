from pathlib import Path

import numpy as np
import pytest
from matplotlib.image import imsave

from evaluator.errors import DataError
from evaluator.incremental.sd19 import CODES, area_average, label_of, read_sd19


def image(path: Path, ink: float) -> None:
    """128x128 pixels of white paper with the upper left quarter in ink."""
    pixels = np.ones((128, 128))
    pixels[:64, :64] = 1.0 - ink
    path.parent.mkdir(parents=True, exist_ok=True)
    imsave(path, pixels, cmap="gray", vmin=0.0, vmax=1.0)


@pytest.fixture(scope="module")
def by_class(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Three classes in the layout by_class, 12 images in hsf_0, 3 in hsf_4, and the repetitions of train_."""
    root = tmp_path_factory.mktemp("sd19") / "by_class"
    for code in ("30", "4a", "7a"):
        for number in range(12):
            image(root / code / "hsf_0" / f"hsf_0_{number:05}.png", 1.0)
        for number in range(3):
            image(root / code / "hsf_4" / f"hsf_4_{number:05}.png", 0.4)
            image(root / code / f"train_{code}" / f"train_{code}_{number:05}.png", 1.0)
    return root


def test_codes_are_the_62_characters() -> None:
    assert "".join(chr(int(code, 16)) for code in CODES) == (
        "0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz"
    )


def test_the_folder_nearest_the_image_names_its_class() -> None:
    root = Path("sd19")
    assert label_of(root / "by_class/4a/hsf_3/hsf_3_00012.png", root) == 19
    assert label_of(root / "hsf_3/lower/7A/00012.png", root) == 61
    assert label_of(root / "30/31/x.png", root) == 1
    assert label_of(root / "3f/x.png", root) is None
    assert label_of(root / "30.png", root) is None


def test_area_averages_are_means_over_areas() -> None:
    pixels = np.arange(12.0).reshape(3, 4)
    assert np.allclose(area_average(pixels, (3, 4)), pixels)
    assert np.allclose(area_average(pixels, (1, 1)), pixels.mean())
    # Three rows on two: the middle one counts half for each.
    expected = np.array([(pixels[0] + pixels[1] / 2) / 1.5, (pixels[1] / 2 + pixels[2]) / 1.5])
    assert np.allclose(area_average(pixels, (2, 4)), expected)


def test_validation_learns_nine_of_ten_outside_of_hsf_4(by_class: Path) -> None:
    data = read_sd19(by_class, split="validation", per_class=1000)
    assert data.classes == (0, 19, 61)
    assert [int((data.train_y == label).sum()) for label in data.classes] == [11] * 3
    assert [len(data.measured(label)) for label in data.classes] == [1] * 3
    assert data.train_x.dtype == np.float32 and data.train_x.shape[1] == 784
    # Ink is 1 and paper 0, and the quarter ends in the middle of a pixel row no more than of a column.
    picture = data.train_x[0].reshape(28, 28)
    assert np.allclose(picture[:14, :14], 1.0) and np.allclose(picture[14:], 0.0)
    assert np.allclose(picture, picture.T)


def test_test_learns_all_outside_of_hsf_4_and_measures_that(by_class: Path) -> None:
    data = read_sd19(by_class, split="test", per_class=1000)
    assert [int((data.train_y == label).sum()) for label in data.classes] == [12] * 3
    assert [len(data.measured(label)) for label in data.classes] == [3] * 3
    assert data.train_x.max() == pytest.approx(1.0) and data.test_x.max() == pytest.approx(0.4, abs=0.01)


def test_the_limit_holds_for_each_class(by_class: Path) -> None:
    data = read_sd19(by_class, split="test", per_class=2)
    assert len(data.train_y) == 6 and len(data.test_y) == 6


def test_the_other_layout_reads_the_same(by_class: Path, tmp_path: Path) -> None:
    for path in by_class.rglob("hsf_*.png"):
        code, partition = path.parts[-3], path.parts[-2]
        target = tmp_path / partition / code / path.name
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_bytes(path.read_bytes())
    a, b = (read_sd19(root, split="test", per_class=1000) for root in (by_class, tmp_path))
    assert a.sha256 == b.sha256


def test_a_missing_or_empty_folder_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="there is none"):
        read_sd19(tmp_path / "nowhere", split="validation", per_class=9)
    image(tmp_path / "other" / "x.png", 1.0)
    with pytest.raises(DataError, match="got none"):
        read_sd19(tmp_path, split="validation", per_class=9)


def test_a_class_without_a_test_partition_is_named(by_class: Path, tmp_path: Path) -> None:
    for path in (by_class / "30").rglob("hsf_*.png"):
        image(tmp_path / "30" / path.parent.name / path.name, 1.0)
    for number in range(3):
        image(tmp_path / "31" / "hsf_2" / f"{number}.png", 1.0)
    with pytest.raises(DataError, match=r"hsf_4 and outside of it.*classes 31 have not"):
        read_sd19(tmp_path, split="test", per_class=9)


def test_a_class_with_too_few_images_is_named(tmp_path: Path) -> None:
    for number in range(5):
        image(tmp_path / "41" / "hsf_1" / f"{number}.png", 1.0)
    with pytest.raises(DataError, match=r"10 images or more.*classes 41 have not"):
        read_sd19(tmp_path, split="validation", per_class=9)


def test_what_is_no_image_is_named(tmp_path: Path) -> None:
    path = tmp_path / "41" / "hsf_1" / "broken.png"
    path.parent.mkdir(parents=True)
    path.write_bytes(b"not an image")
    for number in range(12):
        image(tmp_path / "41" / "hsf_1" / f"{number}.png", 1.0)
    with pytest.raises(DataError, match=r"broken\.png is no PNG image"):
        read_sd19(tmp_path, split="validation", per_class=20)
