"""What the networks of a launch do step by step: which samples, at which rate, with which sign. Pure.

Everything that depends on a step's number is reckoned here in float64, so that a launch needs no clock: in float32
1 - .999**t loses half its digits.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from kernels.backends.triton.training_layout import TrainingLayout
from kernels.errors import KernelError
from kernels.members import Member, Span, check_spans
from kernels.optimizers import ADAM_BETAS, ADAM_EPSILON

__all__ = ["PLAN", "TrainingPlan", "plan_training"]

# What each step is told: rate, the floor under Adam's root, what decay leaves of a parameter, sign, 1/samples.
PLAN = 5
LONGEST_SPAN = 2**24


@dataclass(frozen=True)
class TrainingPlan:
    """The steps of every network of a launch, as the kernel reads them, on one device.

    `lengths` (P,) int32 counts the steps of each network, `rows` (P, T, B) int32 names their samples, -1 for none, and
    `schedule` (P, T, PLAN) float32 holds the numbers of each step; T and B are the largest of any network.
    """

    lengths: Tensor
    rows: Tensor
    schedule: Tensor

    def to(self, device: torch.device | str) -> "TrainingPlan":
        """Return the plan on `device`."""
        return TrainingPlan(*(each.to(device) for each in (self.lengths, self.rows, self.schedule)))


def plan_training(
    layout: TrainingLayout, spans: Sequence[Span], *, done: Sequence[int], samples: int
) -> TrainingPlan:
    """Return the plan of `spans`, one for each network of `layout`, on the CPU.

    `done` counts the steps that each network has taken before, which Adam's corrections need; `samples` is how many
    the data hold. Spans may have different lengths. Raises KernelError for spans that do not fit the networks or data.
    """
    networks = len(layout.members)
    check_spans(spans, layout.members, samples)
    if len(done) != networks or min(done) < 0:
        raise KernelError(
            f"done must count steps, 0 or more, for each of {networks} networks, got {list(done)}."
        )
    longest = max(len(span.scales) for span in spans)
    if longest > LONGEST_SPAN:
        raise KernelError(f"a span may have at most {LONGEST_SPAN} steps, got {longest}. Cut it in two.")
    rows = torch.full((networks, longest, layout.batch), -1, dtype=torch.int32)
    schedule = torch.zeros(networks, longest, PLAN)
    for network, (member, span, before) in enumerate(zip(layout.members, spans, done, strict=True)):
        steps, width = span.rows.shape
        rows[network, :steps, :width] = torch.from_numpy(np.array(span.rows, dtype=np.int32))
        schedule[network, :steps] = torch.from_numpy(_numbers(member, span, before))
    lengths = torch.tensor([len(span.scales) for span in spans], dtype=torch.int32)
    return TrainingPlan(lengths, rows, schedule)


def _numbers(member: Member, span: Span, before: int) -> NDArray[np.float32]:
    """The schedule of one network, (steps, PLAN)."""
    settings = member.optimizer
    scales = np.asarray(span.scales, dtype=np.float64)
    numbers = np.ones((len(scales), PLAN))
    numbers[:, 0] = settings.rate * scales
    if settings.name == "adamw":
        numbers[:, 2] = 1.0 - settings.rate * scales * settings.weight_decay
    if settings.name != "sgd":
        # rate (m/(1 - p))/(sqrt(v/(1 - q)) + epsilon) = (rate spread/(1 - p)) m/(sqrt v + epsilon spread)
        times = before + np.arange(1, len(scales) + 1)
        p, q = (beta**times for beta in ADAM_BETAS)
        spread = np.sqrt(1.0 - q)
        numbers[:, 0] *= spread / (1.0 - p)
        numbers[:, 1] = ADAM_EPSILON * spread
    if member.rule.estimate == "random-sign":
        numbers[:, 3] = span.signs
    numbers[:, 4] = 1.0 / (span.rows >= 0).sum(axis=1)
    return numbers.astype(np.float32)
