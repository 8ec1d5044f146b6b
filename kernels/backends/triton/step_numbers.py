"""What each network of a ragged population is told at each step of its span, as one table. Pure."""

from collections.abc import Sequence
from enum import IntEnum

import numpy as np
from numpy.typing import NDArray

from kernels.backends.triton.ragged_layout import padded
from kernels.contrast import distance
from kernels.members import Member, Span
from kernels.optimizers import ADAM_BETAS, ADAM_EPSILON

__all__ = ["Number", "step_numbers", "step_rows"]


class Number(IntEnum):
    """The rows of the numbers of a step: what each network is told.

    Both nudges; the units of the estimate inside the energy and of a readout's; the rate times its share; momentum;
    what decay leaves; Adam's gain and floor; 1 for Adam, 0 for SGD; the samples of the batch, 0 for no step at all.
    """

    BETA = 0
    BETA_OTHER = 1
    UNIT = 2
    UNIT_READOUT = 3
    RATE = 4
    MOMENTUM = 5
    KEEP = 6
    GAIN = 7
    FLOOR = 8
    ADAM = 9
    SAMPLES = 10


def step_rows(spans: Sequence[Span], capacity: int) -> NDArray[np.int32]:
    """Return the samples of each step, (capacity + 1, P, batch); -1 where a span is shorter, and in the last step."""
    batch = spans[0].rows.shape[1]
    rows = np.full((capacity + 1, len(spans), batch), -1, dtype=np.int32)
    for member, span in enumerate(spans):
        rows[: len(span.rows), member] = span.rows
    return rows


def step_numbers(
    members: Sequence[Member], spans: Sequence[Span], taken: Sequence[int], capacity: int
) -> NDArray[np.float32]:
    """Return the numbers of each step, (capacity + 1, len(Number), P padded to 16); 0 where a network does not step.

    `taken` are the steps that each network's optimizer has behind it. The last step is nobody's.
    """
    # Padded, so that every row begins on a 16-byte boundary whatever P is: kernels are compiled for what they can count
    # on.
    table = np.zeros((capacity + 1, len(Number), padded(len(members))), dtype=np.float32)
    for member, (network, span, before) in enumerate(zip(members, spans, taken, strict=True)):
        table[: len(span.rows), :, member] = _numbers(network, span, before)
    return table


def _numbers(member: Member, span: Span, before: int) -> NDArray[np.float64]:
    rule, optimizer = member.rule, member.optimizer
    steps = len(span.rows)
    samples = (span.rows >= 0).sum(axis=1)
    turned = span.signs if rule.estimate == "random-sign" else -1 if rule.estimate == "negative" else 1
    rate = optimizer.rate * span.scales
    numbers = np.zeros((steps, len(Number)))
    numbers[:, Number.BETA] = rule.beta * turned
    numbers[:, Number.BETA_OTHER] = -rule.beta if rule.estimate == "centred" else 0.0
    numbers[:, Number.UNIT] = turned / (distance(rule) * samples)
    numbers[:, Number.UNIT_READOUT] = 1.0 / samples
    numbers[:, Number.RATE] = rate
    numbers[:, Number.SAMPLES] = samples
    if optimizer.name == "sgd":
        numbers[:, Number.MOMENTUM] = optimizer.momentum
        return numbers
    time = before + np.arange(1, steps + 1)
    # In float64: 1 - .999^t loses half its digits in float32.
    spread = np.sqrt(1.0 - ADAM_BETAS[1] ** time)
    numbers[:, Number.ADAM] = 1.0
    numbers[:, Number.GAIN] = spread / (1.0 - ADAM_BETAS[0] ** time)
    numbers[:, Number.FLOOR] = ADAM_EPSILON * spread
    decay = optimizer.weight_decay if optimizer.name == "adamw" else 0.0
    numbers[:, Number.KEEP] = 1.0 - rate * decay
    return numbers
