"""How a network settles, in numbers and in a word. Pure."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray

__all__ = ["WATCHED_SWEEPS", "Diagnostics", "Verdict", "classify"]

Verdict = Literal["converged", "oscillating", "diverged", "unsettled"]

# A diagnosis follows the free phase for at least this long.
WATCHED_SWEEPS = 32
SETTLED = 1e-3
EXPLODED = 1e6
LONGEST_PERIOD = 8
# A series repeats itself where it comes back this much closer than one step goes.
RETURN = 0.1


@dataclass(frozen=True)
class Diagnostics:
    """How one batch settles, and how large the weights and the gradient are.

    Energies are means over the batch, before the first sweep and after each: E in the free phase, F = E + beta C
    at the first nudge of the nudged one (none for "linearised"). Residuals are the largest change of any state in
    each sweep. Norms are by parameter: spectral of each weight, Frobenius of the mean gradient of each weight and
    bias. `verdict` tells of the free phase, followed for at least 32 sweeps; `period` is set where it oscillates.
    A backpropagation network has no phases: its series are empty.
    """

    free_energy: tuple[float, ...]
    free_residual: tuple[float, ...]
    nudged_energy: tuple[float, ...]
    nudged_residual: tuple[float, ...]
    spectral_norms: Mapping[str, float]
    gradient_norms: Mapping[str, float]
    verdict: Verdict
    period: int | None


def classify(
    residuals: Sequence[float], trajectory: NDArray[np.float64], *, settled: float = SETTLED
) -> tuple[Verdict, int | None]:
    """Name what a relaxation did, and its period where it oscillates.

    `residuals` (steps,) are the largest changes by step; `trajectory` (points, units) the last states, oldest
    first. "diverged": something is not finite or beyond 1e6. "converged": the last residual is at most `settled`.
    "oscillating": the states come back after 2 to 8 steps while each step still moves them, twice in a row.
    "unsettled": none of these.
    """
    if not all(math.isfinite(value) and value <= EXPLODED for value in residuals):
        return "diverged", None
    if not np.all(np.abs(trajectory) <= EXPLODED):
        return "diverged", None
    if not residuals or residuals[-1] <= settled:
        return "converged", None
    for period in range(2, LONGEST_PERIOD + 1):
        if len(trajectory) < 2 * period + 1:
            break
        late = trajectory[-(2 * period + 1) :]
        returns = np.abs(late[period:] - late[:-period]).max()
        stride = np.abs(np.diff(late, axis=0)).max(axis=1).min()
        if returns <= RETURN * stride:
            return "oscillating", period
    return "unsettled", None
