import numpy as np
import pytest

from evaluator.errors import EvaluatorError
from evaluator.incremental.metrics import backward_transfer, forgetting, macro

NAN = float("nan")
# Classes 0 and 1 are learned in stage 0, the others one by one.
LEARNED = (0, 0, 1, 2)
ACCURACY = np.asarray([[0.9, 0.8, NAN, NAN], [0.7, 0.9, 0.6, NAN], [0.5, 0.6, 0.8, 0.7]])


def test_metrics_are_those_worked_by_hand() -> None:
    assert macro(ACCURACY) == pytest.approx((0.5 + 0.6 + 0.8 + 0.7) / 4)
    # Best before the end: .9, .9, .6; the last of them was not forgotten but learned better.
    expected = ((0.9 - 0.5) + (0.9 - 0.6) + (0.6 - 0.8)) / 3
    assert forgetting(ACCURACY, LEARNED, lower_is_better=False) == pytest.approx(expected)
    expected = ((0.5 - 0.9) + (0.6 - 0.8) + (0.8 - 0.6)) / 3
    assert backward_transfer(ACCURACY, LEARNED, lower_is_better=False) == pytest.approx(expected)


def test_errors_are_judged_the_other_way_round() -> None:
    errors = 1.0 - ACCURACY
    for metric in (forgetting, backward_transfer):
        expected = metric(ACCURACY, LEARNED, lower_is_better=False)
        assert metric(errors, LEARNED, lower_is_better=True) == pytest.approx(expected)


def test_what_was_measured_before_a_class_was_learned_does_not_count() -> None:
    early = ACCURACY.copy()
    early[0, 2] = 1.0
    assert forgetting(early, LEARNED, lower_is_better=False) == forgetting(
        ACCURACY, LEARNED, lower_is_better=False
    )


def test_one_stage_forgets_nothing() -> None:
    only = np.asarray([[0.3, 0.4]])
    assert forgetting(only, (0, 0), lower_is_better=True) == 0.0
    assert backward_transfer(only, (0, 0), lower_is_better=True) == 0.0


def test_a_matrix_of_other_classes_is_refused() -> None:
    with pytest.raises(EvaluatorError, match="stages x 3 classes"):
        forgetting(ACCURACY, (0, 0, 1), lower_is_better=True)
