import numpy as np
import pytest

from evaluator.errors import SealedSplitError, TaskError
from evaluator.incremental import Access, AccessError, ClassGuard, class_order, incremental_data
from evaluator.tasks import TestPermit, resolve
from tests.evaluator.incremental.runs import few_digits

ORDER = ((1, 7), (0,), (2,), (4,))


def test_the_fixed_order_is_the_papers() -> None:
    expected = ((1, 7), (0,), (2,), (3,), (4,), (5,), (6,), (8,), (9,))
    assert class_order(range(10)) == expected
    assert class_order([4, 2, 0], base=(4,)) == ((4,), (0,), (2,))


def test_seeded_orders_are_permutations_that_never_change() -> None:
    orders = [class_order(range(10), seed=seed) for seed in range(20)]
    for order in orders:
        assert order[0] == (1, 7)
        assert sorted(label for labels in order for label in labels) == list(range(10))
    assert len(set(orders)) == 20
    assert [labels[0] for labels in orders[0][1:]] == [6, 3, 4, 8, 2, 9, 5, 0]


@pytest.mark.parametrize("base", [(), (1, 1), (1, 12)])
def test_bases_that_are_no_classes_are_refused(base: tuple[int, ...]) -> None:
    with pytest.raises(TaskError, match="base classes"):
        class_order(range(10), base=base)


@pytest.mark.parametrize("source", ["none", "intrinsic"])
def test_old_and_future_classes_cannot_be_read(source: str) -> None:
    guard = ClassGuard(few_digits(), ORDER, source)
    assert len(guard.read(1)) == 40
    with pytest.raises(AccessError, match="class 0 is not taught"):
        guard.read(0)
    guard.advance(1)
    assert len(guard.read(0)) == 40
    for old in (1, 7):
        with pytest.raises(AccessError, match=f"old class {old}"):
            guard.read(old)
    with pytest.raises(AccessError, match="not taught"):
        guard.read(9)
    assert guard.accesses == (Access(0, 1, 40, old=False), Access(1, 0, 40, old=False))


def test_where_replay_is_of_data_old_classes_are_read_and_recorded() -> None:
    guard = ClassGuard(few_digits(), ORDER, "data", stage=2)
    assert np.array_equal(guard.read(1), few_digits().train_x[few_digits().train_y == 1])
    assert guard.accesses == (Access(2, 1, 40, old=True),)
    with pytest.raises(AccessError, match="not taught"):
        guard.read(4)


def test_stages_run_forwards() -> None:
    guard = ClassGuard(few_digits(), ORDER, "intrinsic", stage=2)
    with pytest.raises(AccessError, match="forwards"):
        guard.advance(1)


def test_what_is_read_is_a_copy() -> None:
    guard = ClassGuard(few_digits(), ORDER, "none")
    guard.read(1)[:] = 7.0
    assert guard.read(1).max() <= 1.0


def test_the_test_split_is_measured_on_only_with_a_permit() -> None:
    dataset = resolve("digits").load()
    usual = incremental_data(dataset, "digits")
    assert (len(usual.train_x), len(usual.test_x)) == (1077, 360)
    final = incremental_data(dataset, "digits", permit=TestPermit(reason="report"))
    assert (len(final.train_x), len(final.test_x)) == (1437, 360)
    assert usual.sha256 != final.sha256
    with pytest.raises(SealedSplitError):
        incremental_data(dataset, "digits", permit=TestPermit(reason="search"))
