"""What is left of earlier classes: macro means, forgetting and backward transfer of a matrix stages x classes. Pure.

Row t of a matrix is measured after stage t; column c belongs to the class learned in stage `learned[c]`. NaN stands
where nothing was measured.
"""

from collections.abc import Sequence
from typing import TypeAlias

import numpy as np
from numpy.typing import NDArray

from evaluator.errors import EvaluatorError

__all__ = ["backward_transfer", "forgetting", "macro"]

Matrix: TypeAlias = NDArray[np.float64]


def macro(matrix: Matrix) -> float:
    """The mean over all classes, each counted alike, after the last stage."""
    return float(matrix[-1].mean())


def forgetting(matrix: Matrix, learned: Sequence[int], *, lower_is_better: bool) -> float:
    """How much worse than their best earlier value the classes before the last stage ended; 0 where there is none.

    Mean of max over stages t in [learned, T) of a(t, c) - a(T, c); Chaudhry et al. (2018), eq. 3, negated for errors.
    """
    scores = _scores(matrix, learned, lower_is_better=lower_is_better)
    last = len(matrix) - 1
    drops = [scores[stage:last, c].max() - scores[last, c] for c, stage in enumerate(learned) if stage < last]
    return float(np.mean(drops)) if drops else 0.0


def backward_transfer(matrix: Matrix, learned: Sequence[int], *, lower_is_better: bool) -> float:
    """How much better the classes before the last stage ended than right after they were learned; 0 without any.

    Lopez-Paz & Ranzato (2017), eq. 3, negated for errors: below 0 where later classes did harm.
    """
    scores = _scores(matrix, learned, lower_is_better=lower_is_better)
    last = len(matrix) - 1
    gains = [scores[last, c] - scores[stage, c] for c, stage in enumerate(learned) if stage < last]
    return float(np.mean(gains)) if gains else 0.0


def _scores(matrix: Matrix, learned: Sequence[int], *, lower_is_better: bool) -> Matrix:
    if matrix.ndim != 2 or matrix.shape[1] != len(learned) or not len(matrix):
        raise EvaluatorError(
            f"expected a matrix of stages x {len(learned)} classes, got {matrix.shape}. One column for each class."
        )
    return -matrix if lower_is_better else matrix
