"""A curriculum: what is difficult, how much an epoch sees, and a training that stays a function of its plan."""

import hashlib
from fractions import Fraction
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from evaluator import curriculum
from evaluator.build import build
from evaluator.curriculum import Curriculum, course_of, curriculum_of, difficulty, ranking
from evaluator.groups import group_key
from evaluator.measure import run_network
from evaluator.plan import Plan
from evaluator.setups import plan_of
from evaluator.tasks import DatasetTask, resolve
from evaluator.train import _span, replay_segment, train
from genome import Genome, preset
from genome.spaces import FAMILY
from kernels import Learner, permutation
from tests.support.jobs import job

KEY = bytes(range(32))
DIGITS = resolve("digits")
assert isinstance(DIGITS, DatasetTask)
DATA = DIGITS.load()
X, Y = DATA.train_x[:100], DATA.train_y[:100]
EASY, HARD = Curriculum("easy", 0.3), Curriculum("hard", 0.3)


def genome(**changes: Any) -> Genome:
    values = {**dict(preset("sparse").values), "keep": 1.0, "width1": 12, **changes}
    space = FAMILY.repair(values)
    return FAMILY.genome(space)


def plan(found: Genome, **changes: Any) -> Plan:
    fields: dict[str, Any] = {
        "examples": len(X),
        "epochs": 4,
        "batch": int(found["batch"]),
        "key": KEY,
        "schedule": str(found["schedule"]),
        "checkpoints": 5,
        "curriculum": curriculum_of(dict(found.values)),
    }
    return Plan(**(fields | changes))


def learner(found: Genome) -> Learner:
    return build(dict(found.values), inputs=64, classes=10, seed=KEY, arithmetic="fp32", backend="auto")


def exact_margins(x: np.ndarray, y: np.ndarray) -> list[int]:
    """What `difficulty` promises, in Python's whole numbers."""
    pixels = [[round(Fraction(float(value)) * 255) for value in row] for row in x]
    labels = sorted(set(y.tolist()))
    means = {}
    for label in labels:
        rows = [row for row, mine in zip(pixels, y, strict=True) if mine == label]
        means[label] = [round(Fraction(256 * sum(column), len(rows))) for column in zip(*rows, strict=True)]

    def square(row: list[int], label: int) -> int:
        return sum((256 * pixel - mean) ** 2 for pixel, mean in zip(row, means[label], strict=True))

    return [
        square(row, mine) - min(square(row, other) for other in labels if other != mine)
        for row, mine in zip(pixels, y.tolist(), strict=True)
    ]


def test_difficulty_is_the_margin_in_whole_numbers() -> None:
    assert difficulty(X, Y).tolist() == exact_margins(X, Y)


def test_what_lies_nearer_to_another_class_is_harder() -> None:
    x = np.array([[0.0], [0.2], [0.8], [1.0], [0.9], [0.1]], dtype=np.float32)
    y = np.array([0, 0, 0, 1, 1, 1])
    found = difficulty(x, y)
    # The means of the classes are 1/3 and 2/3.
    assert (found > 0).tolist() == [False, False, True, False, False, True]
    assert np.argsort(found[:3]).tolist() == [0, 1, 2]
    assert np.argsort(found[3:]).tolist() == [0, 1, 2]


def test_equal_samples_keep_their_order_and_one_class_has_one() -> None:
    x = np.array([[0.5], [0.5], [0.25], [0.5]], dtype=np.float32)
    rows = ranking(EASY, x, np.zeros(4, dtype=np.int64))
    assert rows is not None
    assert [row for row in rows.tolist() if row != 2] == [0, 1, 3]


def test_the_order_is_the_same_on_every_machine() -> None:
    """Taken once, on an x86-64 CPU with OpenBLAS; whole numbers leave nothing to round elsewhere."""
    rows = ranking(EASY, DATA.train_x, DATA.train_y)
    assert rows is not None
    assert hashlib.sha256(rows.astype("<i8").tobytes()).hexdigest()[:12] == "b7d5578c6811"
    assert sorted(rows.tolist()) == list(range(len(DATA.train_y)))


def test_neither_blocks_nor_the_order_of_sums_matter(monkeypatch: pytest.MonkeyPatch) -> None:
    whole = difficulty(DATA.train_x, DATA.train_y)
    monkeypatch.setattr(curriculum, "_BLOCK", 7)
    assert np.array_equal(difficulty(DATA.train_x, DATA.train_y), whole)
    turned = np.arange(DATA.train_x.shape[1])[::-1]
    assert np.array_equal(difficulty(DATA.train_x[:, turned], DATA.train_y), whole)


@given(share=st.floats(0.05, 1.0))
def test_every_share_holds_each_class_in_its_proportion(share: float) -> None:
    count = int(np.ceil(share * len(DATA.train_y)))
    whole = np.bincount(DATA.train_y, minlength=10) / len(DATA.train_y)
    for order in (EASY, HARD):
        rows = ranking(order, DATA.train_x, DATA.train_y)
        assert rows is not None
        held = np.bincount(DATA.train_y[rows[:count]], minlength=10)
        assert np.abs(held - whole * count).max() <= 1.0


def test_within_a_class_rows_stand_by_difficulty() -> None:
    found = difficulty(DATA.train_x, DATA.train_y)
    easy, hard = ranking(EASY, DATA.train_x, DATA.train_y), ranking(HARD, DATA.train_x, DATA.train_y)
    assert easy is not None
    assert hard is not None
    assert np.array_equal(easy, hard[::-1])
    for label in range(10):
        mine = easy[DATA.train_y[easy] == label]
        assert (np.diff(found[mine]) >= 0).all()
    assert found[easy[:100]].max() < found[hard[:100]].min()


def test_a_ranking_is_made_once_for_equal_data(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(curriculum, "_kept", {})
    made: list[int] = []

    def counted(x: np.ndarray, y: np.ndarray) -> np.ndarray:
        made.append(len(x))
        return difficulty(x, y)

    monkeypatch.setattr(curriculum, "difficulty", counted)
    for _ in range(2):
        for order in (EASY, HARD):
            ranking(order, X.copy(), Y.copy())
    assert made == [100]
    for length in range(20, 30):
        ranking(EASY, X[:length], Y[:length])
    assert len(curriculum._kept) == curriculum._MOST_KEPT
    assert ranking(None, X, Y) is None


def test_the_share_grows_by_the_same_amount_to_all_by_the_middle() -> None:
    course = course_of(Curriculum("easy", 0.2), examples=1000, epochs=8, batch=100)
    assert course.sizes == (200, 400, 600, 800, 1000, 1000, 1000, 1000)
    assert course.ends == (2, 6, 12, 20, 30, 40, 50, 60)
    assert course_of(EASY, examples=10, epochs=1, batch=4).sizes == (3,)
    assert course_of(EASY, examples=20, epochs=3, batch=4).sizes == (6, 13, 20)
    assert course_of(None, examples=10, epochs=2, batch=4) == ((10, 10), (3, 6))


@given(
    pace=st.floats(0.001, 1.0),
    examples=st.integers(1, 500),
    epochs=st.integers(1, 20),
    batch=st.integers(1, 64),
)
def test_sizes_grow_and_steps_lie_in_their_epochs(
    pace: float, examples: int, epochs: int, batch: int
) -> None:
    course = course_of(Curriculum("hard", pace), examples=examples, epochs=epochs, batch=batch)
    assert list(course.sizes) == sorted(course.sizes)
    assert 1 <= course.sizes[0] <= examples
    assert epochs == 1 or course.sizes[-1] == examples
    found = [course.epoch(step) for step in range(course.ends[-1])]
    expected = [
        (epoch, index) for epoch, size in enumerate(course.sizes) for index in range(-(-size // batch))
    ]
    assert found == expected
    assert course.epoch(course.ends[-1]) == (epochs - 1, -(-course.sizes[-1] // batch))


@pytest.mark.parametrize("order", ["easy-first", "hard-first"])
@pytest.mark.parametrize("credit", ["ep", "backprop"])
def test_every_segment_replays_from_its_start(credit: str, order: str) -> None:
    found = genome(credit=credit, curriculum=order, pace=0.3)
    fresh = learner(found)
    states: list[Any] = [fresh.state()]
    trained = train(fresh, X, Y, plan(found), score=None, on_state=lambda _, state: states.append(state))
    assert len(trained.checkpoints) == 5
    for segment, claimed in enumerate(trained.checkpoints):
        again = replay_segment(learner(found), X, Y, plan(found), segment=segment, state=states[segment])
        assert again.end == claimed


class Watched:
    """A learner that notes which samples it is given."""

    def __init__(self, inner: Learner) -> None:
        self.inner, self.seen = inner, list[np.ndarray]()

    def step(self, x: np.ndarray, y: np.ndarray, **how: Any) -> Any:
        self.seen.append(x)
        return self.inner.step(x, y, **how)

    def __getattr__(self, name: str) -> Any:
        return getattr(self.inner, name)


def test_an_epoch_sees_its_share_and_the_curve_counts_it() -> None:
    found = genome(curriculum="easy-first", pace=0.3)
    watched = Watched(learner(found))
    asked = plan(found)
    trained = train(watched, X, Y, asked, score=lambda _: 0.5)  # type: ignore[arg-type] # stands in for one
    assert asked.course.sizes == (30, 65, 100, 100)
    first = np.concatenate(watched.seen[: asked.course.ends[0]])
    rows = ranking(EASY, X, Y)
    assert rows is not None
    assert sorted(row.tobytes() for row in first) == sorted(row.tobytes() for row in X[rows[:30]])
    assert not np.array_equal(first, X[rows[:30]]), "the order of an epoch is drawn"
    assert sum(map(len, watched.seen)) == trained.samples == asked.samples == 295
    assert (trained.curve[-1].samples, trained.curve[-1].epoch) == (295, 4.0)
    at = {point.samples: point.epoch for point in trained.curve}
    assert all(epoch < 1 for samples, epoch in at.items() if samples < 30)


def test_a_population_is_given_the_rows_of_a_network_alone() -> None:
    found = genome(curriculum="hard-first", pace=0.3)
    watched, asked = Watched(learner(found)), plan(found)
    train(watched, X, Y, asked, score=None)  # type: ignore[arg-type] # stands in for one
    ranked = ranking(asked.curriculum, X, Y)
    parts = [_span(asked, first, last, ranked) for first, last in ((0, 3), (3, asked.steps))]
    rows = [row[row >= 0] for part in parts for row in part.rows]
    assert len(rows) == len(watched.seen)
    assert all(np.array_equal(X[row], seen) for row, seen in zip(rows, watched.seen, strict=True))


def test_without_a_curriculum_every_epoch_is_the_permutation_that_it_was() -> None:
    asked = plan(genome())
    assert asked.curriculum is None
    for epoch in range(4):
        assert np.array_equal(asked.visit(epoch, None), permutation(KEY, epoch, len(X)))


def test_fewer_samples_cost_less() -> None:
    """Products of the whole training count the steps that there are."""
    tier = DIGITS.tier("smoke")
    macs = []
    for found in (genome(), genome(curriculum="hard-first", pace=0.1)):
        asked = job(found, space="family")
        outcome = run_network(
            asked, DIGITS, tier, found, on_progress=lambda _done, _accuracy: None, versions={}
        )
        steps = plan_of(asked, tier, dict(found.values), examples=256).steps
        macs.append((outcome.macs, steps))
    (whole, all_steps), (early, fewer) = macs
    assert (all_steps, fewer) == (32, 18)
    assert early / whole == pytest.approx(18 / 32)


def test_a_genome_with_a_curriculum_is_trained_alone() -> None:
    found = genome(curriculum="easy-first", pace=0.3)
    assert group_key(job(found, space="family", purpose="rescore")) is None
