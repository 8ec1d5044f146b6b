"""How one class is learned after others: by growing or with a fixed network, with or without replay.

Draelos et al. (2017), algorithm 1. Everything here is a function of its arguments: random numbers come from streams
named by stage, level and round.
"""

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import TypeAlias

import msgspec
import numpy as np
from numpy.typing import NDArray

from evaluator.incremental.settings import NeurogenesisSettings
from kernels.growth import (
    Reason,
    Schedule,
    Share,
    Situation,
    Stack,
    Stream,
    decide,
    incoming_rows,
    train_level,
    train_whole,
    widen,
)

__all__ = ["GrowthRound", "Lesson", "Recall", "grow_class", "learn_class"]

Inputs: TypeAlias = NDArray[np.floating]
# Inputs (n, d) of one old class: label, how many, and where randomness comes from.
Recall: TypeAlias = Callable[[int, int, Stream], Inputs]


class GrowthRound(msgspec.Struct, frozen=True, kw_only=True):
    """One decision about one level: what was seen, how many units came, and the width after it.

    `level` counts from 1, as RE_{G,L} does; `round` from 0. `fraction` is the share of outliers before it.
    """

    stage: int
    label: int
    level: int
    round: int
    samples: int
    outliers: int
    fraction: float
    threshold: float
    added: int
    width: int
    reason: Reason
    cap_hit: bool


@dataclass
class Lesson:
    """A new class to learn and what there is to keep the old ones; counts the samples that training went through."""

    stage: int
    label: int
    new_x: Inputs
    old: tuple[int, ...]
    recall: Recall | None
    settings: NeurogenesisSettings
    stream: Stream
    on_round: Callable[[GrowthRound], None]
    presented: int = field(default=0)

    def mixture(self, label: str) -> Inputs:
        """The new class and, with replay, samples of every old class, drawn anew for each label."""
        if self.recall is None or not self.old:
            return self.new_x
        share = self.settings.replay_ratio * len(self.new_x)
        if self.settings.replay_mode == "balanced":
            share /= len(self.old)
        count = max(1, round(share))
        stream = self.stream.child(f"replay/{label}")
        return np.concatenate([self.new_x, *(self.recall(old, count, stream) for old in self.old)])

    def whole(self, stack: Stack, schedule: Schedule, name: str) -> Stack:
        """The stack after all of it learned the mixture by a schedule."""
        if not schedule.epochs:
            return stack
        x = self.mixture(name)
        self.presented += schedule.epochs * len(x)
        return train_whole(stack, x, schedule, self.stream.child(name))[0]

    def level(
        self, stack: Stack, level: int, x: Inputs, shares: tuple[Share, Share], phase: tuple[str, Schedule]
    ) -> Stack:
        """The stack after one level learned inputs x as they reach it, by a named schedule."""
        name, schedule = phase
        codes = stack.encode(x, level) if level else x
        self.presented += schedule.epochs * len(x)
        return train_level(stack, level, codes, schedule, self.stream.child(name), shares=shares)[0]


def learn_class(stack: Stack, lesson: Lesson) -> Stack:
    """The stack after it learned a class at the size it has, consolidation included."""
    stack = lesson.whole(stack, lesson.settings.learn, "learn")
    return lesson.whole(stack, lesson.settings.consolidate, "consolidate")


def grow_class(stack: Stack, thresholds: tuple[float, ...], lesson: Lesson) -> Stack:
    """The stack after it learned a class by growing, level by level from the lowest, consolidation included."""
    for level in range(stack.depth):
        before = stack.sizes[level + 1]
        stack = _grow_level(stack, level, thresholds[level], lesson)
        if stack.sizes[level + 1] > before and level + 1 < stack.depth:
            stack = _accept_inputs(stack, level + 1, before, lesson)
    return lesson.whole(stack, lesson.settings.consolidate, "consolidate")


def _grow_level(stack: Stack, level: int, threshold: float, lesson: Lesson) -> Stack:
    settings = lesson.settings
    start = stack.sizes[level + 1]
    fractions: tuple[float, ...] = ()
    while True:
        errors = stack.errors(lesson.new_x, level + 1)
        # The worst first; equal errors keep their order, so that the choice does not depend on a sort's whims.
        order = np.argsort(-errors, kind="stable")
        outliers = lesson.new_x[order[: int((errors > threshold).sum())]]
        situation = Situation(
            samples=len(lesson.new_x),
            outliers=len(outliers),
            added_before=start - settings.sizes[level + 1],
            added=stack.sizes[level + 1] - start,
            fractions=fractions,
        )
        decision = decide(situation, settings.limits(level))
        if decision.add:
            stack = _add(stack, level, outliers, decision.add, (f"{level}/{len(fractions)}", lesson))
        lesson.on_round(
            GrowthRound(
                stage=lesson.stage,
                label=lesson.label,
                level=level + 1,
                round=len(fractions),
                samples=situation.samples,
                outliers=situation.outliers,
                fraction=situation.fraction,
                threshold=threshold,
                added=decision.add,
                width=stack.sizes[level + 1],
                reason=decision.reason,
                cap_hit=decision.cap_hit,
            )
        )
        if not decision.add:
            return stack
        fractions = (*fractions, situation.fraction)


def _add(stack: Stack, level: int, outliers: Inputs, count: int, where: tuple[str, Lesson]) -> Stack:
    """Insert units, let them learn the outliers (plasticity), then the level everything (stability)."""
    name, lesson = where
    settings = lesson.settings
    mature = stack.sizes[level + 1]
    rows = incoming_rows(stack, level, outliers, count, kind=settings.new_units)
    stack = widen(stack, level, rows)
    fresh = (Share(first_row=mature), Share(rate=settings.slow))
    stack = lesson.level(stack, level, outliers, fresh, (f"plasticity/{name}", settings.plasticity))
    if not settings.stability_epochs:
        return stack
    phase = f"stability/{name}"
    return lesson.level(stack, level, lesson.mixture(phase), (Share(), Share()), (phase, settings.stability))


def _accept_inputs(stack: Stack, level: int, mature: int, lesson: Lesson) -> Stack:
    """Teach a level its weights from and to the units that the level below has grown, and nothing else of it."""
    phase = f"next/{level}"
    shares = (Share(first_column=mature, biases=False), Share(first_row=mature))
    return lesson.level(stack, level, lesson.mixture(phase), shares, (phase, lesson.settings.next_level))
