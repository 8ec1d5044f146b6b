"""The power of each stage, and the small rules by which a stage is run. Pure."""

import math
import random
from collections.abc import Sequence

from node.protocol.trust.parameters import Stage, TrustError

FLIP_RATE = 0.003
"""Predictions that may differ between devices, outside the exact class (TRUST)."""
_POWER = {Stage.WEIGHTS: 0.5, Stage.REPLAY: 0.9, Stage.RETRAIN: 0.7}


def power(stage: Stage, *, complete: bool = False) -> float:
    """Probability d that the stage sees a lie: 0.9 for exact replay (TRUST), 0.999 if every segment was replayed.

    Stage 1 sees every lie about the weights and none about how they came to be: 0.5. Stage 2b has 0.7, what it
    sees of a lie of two points where the spread between seeds is 0.4.
    """
    return 0.999 if complete and stage is Stage.REPLAY else _POWER[stage]


def detection(lie_share: float, n: int) -> float:
    """Probability that `n` secret examples show a lie on a share of the predictions: 1 - (1 - share)^n."""
    return 1.0 - (1.0 - lie_share) ** n


def flips_allowed(n: int, *, exact: bool) -> int:
    """Mismatched predictions among `n` that stage 1 lets pass: none in the exact class.

    Elsewhere the least count that flips at 0.3 % exceed with a probability below 1e-4 (Poisson).
    """
    if exact or n <= 0:
        return 0
    mean = FLIP_RATE * n
    term = math.exp(-mean)
    total, count = term, 0
    while 1.0 - total >= 1e-4:
        count += 1
        term *= mean / count
        total += term
    return count


def segments_to_replay(jumps: Sequence[float], rng: random.Random, *, drawn: int = 2) -> tuple[int, ...]:
    """Segments for stage 2a, rising: the one with the largest weight jump and `drawn` others at random.

    `jumps` has the norm of the weight change over each segment; NaN counts as the largest. `rng` must be seeded
    by what the claimant could not know when it claimed. All of them where there are no more than that.

    Raises TrustError where there are no segments.
    """
    if not jumps:
        raise TrustError("a replay expects at least one checkpoint segment, got none. Refuse the claim.")
    largest = max(range(len(jumps)), key=lambda i: math.inf if math.isnan(jumps[i]) else jumps[i])
    rest = [i for i in range(len(jumps)) if i != largest]
    return tuple(sorted([largest, *rng.sample(rest, min(drawn, len(rest)))]))
