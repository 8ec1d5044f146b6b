import numpy as np
import pytest

from evaluator.errors import TaskError
from evaluator.incremental import DIGITS, MNIST
from evaluator.incremental.messages import Learn
from evaluator.incremental.presets import SMOKE_PER_CLASS, curriculum_of, few, shortened
from evaluator.tasks import resolve
from tests.evaluator.incremental.runs import few_digits


def learn(**changes: object) -> Learn:
    given: dict[str, object] = {"dataset": "digits", "variants": ("ndl",), "seed": 0, "out": "out"}
    return Learn(**(given | changes))  # type: ignore[arg-type]


def test_the_whole_of_digits_is_learned_by_its_preset() -> None:
    data, settings = curriculum_of(learn())
    dataset = resolve("digits").load()  # type: ignore[attr-defined]
    assert settings == DIGITS
    assert np.array_equal(data.train_x, dataset.train_x)
    assert np.array_equal(data.test_x, dataset.validation_x)


def test_the_test_split_is_measured_on_and_validation_learned() -> None:
    data, _ = curriculum_of(learn(split="test"))
    dataset = resolve("digits").load()  # type: ignore[attr-defined]
    assert len(data.train_x) == len(dataset.train_x) + len(dataset.validation_x)
    assert data.sha256 != curriculum_of(learn())[0].sha256
    assert "test" in data.name


def test_a_smoke_run_is_shorter_in_samples_and_epochs() -> None:
    data, settings = curriculum_of(learn(smoke=True, order_seed=5))
    assert max(int((data.train_y == label).sum()) for label in data.classes) == SMOKE_PER_CLASS
    assert (settings.learn.epochs, settings.stability_epochs, settings.refresh_samples) == (10, 3, 125)
    assert settings.order_seed == 5
    assert settings.sizes == DIGITS.sizes and settings.learn.rate == DIGITS.learn.rate


def test_no_phase_is_shortened_to_nothing() -> None:
    short = shortened(MNIST)
    assert (short.plasticity.epochs, short.stability_epochs, short.next_level.epochs) == (1, 1, 1)
    assert shortened(shortened(short)).learn.epochs == 1
    assert short.alone is not None
    assert (short.alone.plasticity.epochs, short.alone.consolidate.epochs) == (1, 8)


def test_the_first_samples_of_each_class_are_kept_in_their_order() -> None:
    data = few_digits()
    kept = few(data, 3)
    for label in data.classes:
        rows = np.flatnonzero(data.train_y == label)[:3]
        assert np.array_equal(kept.train_x[kept.train_y == label], data.train_x[rows])
    assert len(kept.train_y) == 15
    assert np.array_equal(kept.test_x, data.test_x)


@pytest.mark.parametrize(
    ("changes", "says"),
    [
        ({"dataset": "imagenet"}, "one of the data sets"),
        ({"dataset": "sd19"}, "--data DIR"),
        ({"folder": "images"}, "--data DIR"),
        ({"per_class": 1}, "at least 2"),
        ({"seed": -1}, "seed must lie"),
        ({"order_seed": -3}, "order must lie"),
    ],
)
def test_what_cannot_be_learned_is_refused(changes: dict[str, object], says: str) -> None:
    with pytest.raises(TaskError, match=says):
        learn(**changes)
