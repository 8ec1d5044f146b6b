import hashlib
import json
from collections import Counter
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from evaluator.errors import TaskError
from evaluator.tasks import digits, fashion_mnist, mnist
from evaluator.tasks.data import read_file
from evaluator.tasks.splits import SplitRule, hash_order, shares

GOLDEN = json.loads((Path(__file__).parent / "golden_splits.json").read_text())


def digest(rows: list[int]) -> str:
    return hashlib.sha256(np.asarray(rows, dtype="<i8").tobytes()).hexdigest()


def digit_labels() -> list[int]:
    return [int(line.rsplit(b",", 1)[1]) for line in read_file("digits", "digits.csv").splitlines()]


@given(
    labels=st.lists(st.integers(0, 4), min_size=4, max_size=120),
    part=st.tuples(st.integers(1, 40), st.integers(0, 40)),
    stratified=st.booleans(),
)
def test_parts_are_disjoint_and_complete_and_of_the_size_asked_for(labels, part, stratified):
    validation, test = part
    rule = SplitRule(salt="s", validation=validation, test=test, stratified=stratified)
    if validation + test >= len(labels):
        with pytest.raises(TaskError, match="rows in all, got"):
            rule.split(labels)
        return
    split = rule.split(labels)
    assert (len(split.validation), len(split.test)) == (validation, test)
    assert sorted(split.train + split.validation + split.test) == list(range(len(labels)))
    if stratified:
        counts = Counter(labels)
        for rows, size in ((split.test, test), (split.validation, validation)):
            got = Counter(labels[row] for row in rows)
            # Two roundings down to whole examples for validation, whose shares are of what test left.
            assert all(abs(got[c] - counts[c] * size / len(labels)) < 2 for c in counts)


@given(counts=st.dictionaries(st.integers(0, 9), st.integers(1, 50), min_size=1), data=st.data())
def test_shares_add_up_and_never_exceed_their_counts(counts, data):
    total = data.draw(st.integers(0, sum(counts.values())))
    share = shares(counts, total)
    assert sum(share.values()) == total
    for c, count in counts.items():
        exact = count * total / sum(counts.values())
        assert 0 <= share[c] <= count
        assert abs(share[c] - exact) < 1


def test_the_largest_remainders_are_rounded_up():
    # 10 of 17: exact shares 3.53, 1.76, 4.71, so the last two go up.
    assert shares({0: 6, 1: 3, 2: 8}, 10) == {0: 3, 1: 2, 2: 5}
    # Equal remainders: the lower class gets the odd one.
    assert shares({7: 1, 3: 1}, 1) == {3: 1, 7: 0}


def test_order_is_by_hash_of_salt_and_row():
    expected = sorted(range(50), key=lambda row: hashlib.sha256(f"salt/{row}".encode()).hexdigest())
    assert hash_order("salt", 50) == expected
    assert hash_order("other", 50) != expected


def test_each_part_is_in_hash_order_so_that_its_start_is_a_random_sample():
    rank = {row: place for place, row in enumerate(hash_order("s", 100))}
    split = SplitRule(salt="s", validation=20, test=10, stratified=True).split(
        [row % 3 for row in range(100)]
    )
    for rows in (split.train, split.validation, split.test):
        assert [rank[row] for row in rows] == sorted(rank[row] for row in rows)


@pytest.mark.parametrize("name", ["digits", "mnist", "fashion-mnist"])
def test_rows_of_the_built_in_splits_never_change(name):
    if name == "digits":
        split = digits.RULE.split(digit_labels())
    else:
        task = {"mnist": mnist.MNIST, "fashion-mnist": fashion_mnist.FASHION_MNIST}[name]
        split = task.rule.split(range(60_000))
    found = {
        part: {"rows": len(rows), "first": rows[:4], "sha256": digest(rows)}
        for part, rows in (("train", split.train), ("validation", split.validation), ("test", split.test))
    }
    assert found == GOLDEN[name]


def test_digits_are_stratified_to_within_one_example():
    labels = digit_labels()
    counts = Counter(labels)
    split = digits.RULE.split(labels)
    for rows in (split.validation, split.test):
        got = Counter(labels[row] for row in rows)
        assert all(abs(got[c] - counts[c] * 360 / 1797) < 1.01 for c in range(10))


def test_the_rules_text_tells_every_choice_apart():
    rule = SplitRule(salt="s", validation=3, test=2, stratified=True)
    others = [
        SplitRule(salt="t", validation=3, test=2, stratified=True),
        SplitRule(salt="s", validation=4, test=2, stratified=True),
        SplitRule(salt="s", validation=3, test=1, stratified=True),
        SplitRule(salt="s", validation=3, test=2),
    ]
    assert len({rule.text, *(other.text for other in others)}) == 5


def test_an_empty_validation_part_is_refused():
    with pytest.raises(TaskError, match="at least one validation row"):
        SplitRule(salt="s", validation=0).split([0] * 10)
