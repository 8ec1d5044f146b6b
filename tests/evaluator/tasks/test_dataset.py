import copy
import dataclasses
import gc

import msgspec
import numpy as np
import pytest

from evaluator.errors import SealedSplitError, TaskError
from evaluator.tasks import Dataset, TestPermit, Tier

MARK = np.float32(0.123)


def arrays(n: int, value: float = 0.5) -> tuple[np.ndarray, np.ndarray]:
    return np.full((n, 3), value, dtype=np.float32), np.arange(n, dtype=np.int64)


def dataset(**changes: object) -> Dataset:
    train_x, train_y = arrays(8)
    validation_x, validation_y = arrays(4, 0.25)
    parts = {
        "train_x": train_x,
        "train_y": train_y,
        "validation_x": validation_x,
        "validation_y": validation_y,
    }
    return Dataset(**{**parts, "test": lambda: arrays(2, MARK), **changes})


@pytest.mark.parametrize("reason", ["search", "", "evaluate", "Report", "report "])
def test_a_search_gets_no_permit(reason):
    with pytest.raises(SealedSplitError, match="only for 'report' or 'export'"):
        TestPermit(reason=reason)


@pytest.mark.parametrize("reason", ["report", "export"])
def test_a_permit_opens_the_test_split(reason):
    x, y = dataset().open_test(TestPermit(reason=reason))
    assert x.shape == (2, 3) and y.tolist() == [0, 1] and (x == MARK).all()


@pytest.mark.parametrize("permit", [None, True, "report", object()])
def test_nothing_else_opens_it(permit):
    with pytest.raises(SealedSplitError, match="is sealed"):
        dataset().open_test(permit)


def test_a_permit_whose_reason_was_forced_opens_nothing():
    permit = TestPermit(reason="report")
    msgspec.structs.force_setattr(permit, "reason", "search")
    with pytest.raises(SealedSplitError):
        dataset().open_test(permit)


def test_no_attribute_leads_to_the_test_split():
    opened = []

    def test() -> tuple[np.ndarray, np.ndarray]:
        opened.append(True)
        return arrays(2, MARK)

    sealed = dataset(test=test)
    assert not hasattr(sealed, "__dict__")
    for name in dir(sealed):
        if name.startswith("__"):
            continue
        value = getattr(sealed, name)
        assert not (isinstance(value, np.ndarray) and (value == MARK).any()), name
        if callable(value) and name not in ("at", "relabelled", "train_and_validation"):
            with pytest.raises((SealedSplitError, TypeError)):
                value()
            with pytest.raises(SealedSplitError):
                value("report")
    repr(sealed), sealed.at(Tier(name="t", epochs=1)), sealed.train_and_validation(), copy.copy(sealed)
    with pytest.raises(SealedSplitError):
        sealed.relabelled(lambda y: y).open_test("report")
    dataclasses.fields(sealed)
    assert not opened


def test_the_test_split_is_not_read_before_it_is_opened_nor_kept_after():
    sealed = dataset()
    sealed.open_test(TestPermit(reason="report"))
    gc.collect()
    held = [each for each in gc.get_referents(sealed) if isinstance(each, np.ndarray)]
    assert len(held) == 4 and not any((each == MARK).any() for each in held)


def test_a_dataset_cannot_be_written_to():
    with pytest.raises(dataclasses.FrozenInstanceError):
        dataset().train_x = None


def test_train_and_validation_are_joined_in_that_order():
    x, y = dataset().train_and_validation()
    assert x.dtype == np.float32 and y.dtype == np.int64
    assert x[:, 0].tolist() == [0.5] * 8 + [0.25] * 4
    assert y.tolist() == [*range(8), *range(4)]


def test_a_tier_takes_the_first_examples_of_train_and_validation_and_leaves_the_test_whole():
    limited = dataset().at(Tier(name="t", epochs=1, train_limit=5, validation_limit=3))
    assert limited.train_y.tolist() == [0, 1, 2, 3, 4]
    assert len(limited.train_x) == 5
    assert limited.validation_y.tolist() == [0, 1, 2]
    assert len(limited.validation_x) == 3
    assert len(limited.open_test(TestPermit(reason="report"))[0]) == 2
    with pytest.raises(SealedSplitError):
        limited.open_test(None)


def test_a_tier_without_limits_or_with_large_ones_takes_all():
    for tier in (Tier(name="t", epochs=1), Tier(name="t", epochs=1, train_limit=99, validation_limit=99)):
        assert len(dataset().at(tier).train_x) == 8
        assert len(dataset().at(tier).validation_x) == 4


def test_limiting_copies_nothing_and_changes_nothing():
    whole = dataset()
    limited = whole.at(Tier(name="t", epochs=1, train_limit=2))
    assert np.shares_memory(limited.train_x, whole.train_x)
    assert len(whole.train_x) == 8


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"train_x": np.zeros((8, 3))}, "train_x must be a numpy array of float32 with 2 axes, got float64"),
        ({"train_x": [[0.0]]}, "train_x must be a numpy array of float32 with 2 axes, got list"),
        ({"train_x": np.zeros((8, 3, 1), np.float32)}, r"got float32 \(8, 3, 1\)"),
        ({"train_y": np.zeros(8, np.int32)}, "train_y must be a numpy array of int64"),
        ({"train_y": np.zeros((8, 1), np.int64)}, "train_y must be .* with 1 axes"),
        ({"train_y": np.zeros(7, np.int64)}, "as many inputs as labels"),
        ({"train_x": np.zeros((0, 3), np.float32), "train_y": np.zeros(0, np.int64)}, "some of each"),
        ({"train_x": np.full((8, 3), 1.5, np.float32)}, r"train_x must lie in \[0, 1\], got values from 1.5"),
        ({"train_x": np.full((8, 3), -0.5, np.float32)}, r"train_x must lie in \[0, 1\]"),
        ({"train_x": np.full((8, 3), np.nan, np.float32)}, "got values from nan"),
        ({"validation_y": np.array([0, 1, 2, -1])}, "validation_y must count classes from 0, got -1"),
        ({"validation_x": np.zeros((4, 2), np.float32)}, "equally wide, got 3 and 2"),
    ],
)
def test_arrays_of_another_kind_are_refused(changes, message):
    with pytest.raises(TaskError, match=message):
        dataset(**changes)


@pytest.mark.parametrize("x", [np.zeros((2, 3)), np.zeros((2, 4), np.float32)])
def test_a_test_split_of_another_kind_is_refused_when_opened(x):
    sealed = dataset(test=lambda: (x, np.zeros(2, np.int64)))
    with pytest.raises(TaskError, match="test"):
        sealed.open_test(TestPermit(reason="report"))
