"""What the general learner computes in a training step, counted from its formulas. Pure.

Unlike the engine it keeps no drive of the clamped input, but where filters carry it: each sweep takes every other
product anew, which is what is counted. A product of complex numbers counts as four of real ones.
"""

import math
from collections.abc import Mapping

from evaluator.shape import Edge, Shape, rule_name
from evaluator.tally import Tally
from genome import Value

__all__ = ["before_pools", "copies_of_states", "count_general", "updates_per_step"]

_COMPLEX = 4
_SLEEPERS = 64
# Nudged phases of each rule and estimate that compares whole phases; the others have one.
_TWO_PHASES = ("centred", "coupled")


class _Counter:
    """Adds up one network's products for batches of `rows`."""

    def __init__(self, tally: Tally, values: Mapping[str, Value], shape: Shape) -> None:
        self.tally, self.values, self.shape = tally, values, shape
        self.into_states = [edge for edge in shape.connections if edge[1] in shape.states]
        self.inner = [edge for edge in self.into_states if edge[0] > 0]
        self.readout = [edge for edge in shape.connections if edge[1] not in shape.states]
        self.numbers = sum(shape.sizes[layer] for layer in shape.states)

    def up(self, edge: Edge, rows: float, times: float = 1.0) -> None:
        """What states of the source send to the target."""
        shape, (k, l) = self.shape, edge
        if shape.filtered(edge):
            channels, height, width = shape.maps[k]
            # A mean of four filters is one filter, a unit wider, and applied where the mean is wanted.
            wide, places = (0, height * width) if self._maximum else (1, math.prod(shape.maps[l][1:]))
            depth = channels * (shape.kernel + wide) ** 2
            self.tally.product(rows * places, shape.maps[l][0], depth, times)
            if self._maximum:
                # The maximum of each window, or what is sent back to where it was.
                self.tally.sweep(rows * places * shape.maps[l][0], 2, times)
        else:
            self.tally.product(rows, shape.sizes[l], shape.sizes[k], times)

    def back(self, edge: Edge, rows: float, times: float = 1.0) -> None:
        """What the target sends back, or the product of both: of a maximum, which looks for its winners first.

        Those of the input are known already.
        """
        again = self.shape.filtered(edge) and self._maximum and edge[0] > 0
        self.up(edge, rows, (2.0 if again else 1.0) * times)

    @property
    def _maximum(self) -> bool:
        return self.values.get("pool") == "max"

    def kept(self, edge: Edge) -> bool:
        """Whether what the input sends is kept until the weights move."""
        return edge[0] == 0 and self.shape.filtered(edge)

    def sweep(self, rows: float, times: float, *, nudged: bool = False, held: bool = False) -> None:
        """Sweeps of all states; `nudged` by a readout, or with the output `held`."""
        shape = self.shape
        for edge in self.into_states:
            if not (held and edge[1] == shape.last) and not self.kept(edge):
                self.up(edge, rows, times)
        for edge in self.inner:
            self.back(edge, rows, times)
        if nudged:
            below = [edge for edge in self.readout if edge[0] > 0]
            for edge in below:
                # Each layer below the readout asks for its error anew.
                for other in self.readout:
                    self.up(other, rows, times)
                self.back(edge, rows, times)
        self.tally.sweep(rows * self.numbers, 4, times)

    def contrast(self, rows: float, times: float = 1.0) -> None:
        """Products of two phases: of the clamped input one, of others two."""
        for edge in self.into_states:
            self.back(edge, rows, times * (1 if edge[0] == 0 else 2))
        self.tally.sweep(rows * self.numbers, 2, times)

    def single(self, rows: float, times: float = 1.0) -> None:
        """One product for each weight of a state."""
        for edge in self.into_states:
            self.back(edge, rows, times)

    def read(self, rows: float) -> None:
        """The readout's error and gradient at the free states."""
        for edge in self.readout:
            self.up(edge, rows)
            self.back(edge, rows)

    def start(self, rows: float) -> None:
        """The feed-forward pass."""
        for edge in self.into_states:
            self.up(edge, rows)
        self.tally.sweep(rows * self.numbers, 2)


def updates_per_step(values: Mapping[str, Value], nudged_steps: float) -> float:
    """Updates of the parameters in a training step: continual learning takes one a nudged sweep."""
    return nudged_steps if rule_name(values) == "continual" else 1.0


def count_general(
    tally: Tally,
    values: Mapping[str, Value],
    shape: Shape,
    *,
    free_steps: float,
    nudged_steps: float,
) -> None:
    """Add what the general learner computes for one batch, but the update itself."""
    rows, rule = float(int(values["batch"])), rule_name(values)
    counter = _Counter(tally, values, shape)
    if rule == "predictive-coding":
        _count_predictive(counter, rows, nudged_steps)
    else:
        counter.start(rows)
        counter.sweep(rows, free_steps)
        _count_nudged(counter, rule, rows, nudged_steps)
        counter.read(rows)
    _count_feedback(counter, rows)
    if values.get("sleep") == "on":
        _count_sleep(counter, rows)


def _count_nudged(counter: _Counter, rule: str, rows: float, steps: float) -> None:
    nudged = counter.shape.output == "ce"
    if rule == "holomorphic":
        points = (int(counter.values["points"]) // 2 + 1) * rows
        before = counter.tally.macs
        counter.sweep(points, steps, nudged=nudged)
        counter.single(points)
        counter.tally.macs += (_COMPLEX - 1) * (counter.tally.macs - before)
    elif rule == "continual":
        counter.sweep(rows, steps, nudged=nudged)
        counter.contrast(rows, steps)
        for edge in filter(counter.kept, counter.into_states):
            # Each update but the last is followed by a sweep that asks the input again.
            counter.up(edge, rows, max(0.0, steps - 1.0))
    elif rule in ("coupled", "contrastive-hebbian"):
        counter.sweep(rows, steps * (2 if rule in _TWO_PHASES else 1), held=True)
        counter.contrast(rows)
    else:
        counter.sweep(rows, steps * (2 if counter.values["estimate"] in _TWO_PHASES else 1), nudged=nudged)
        if counter.shape.feedback:
            counter.single(rows)
        else:
            counter.contrast(rows)


def _count_predictive(counter: _Counter, rows: float, steps: float) -> None:
    counter.start(rows)
    for edge in counter.shape.connections:
        if not counter.kept(edge):
            counter.up(edge, rows, steps + 1)
        if edge[0] > 0:
            counter.back(edge, rows, steps)
        counter.back(edge, rows)
    counter.tally.sweep(rows * sum(counter.shape.sizes[1:]), 6, steps + 1)


def _count_feedback(counter: _Counter, rows: float) -> None:
    shape, kind = counter.shape, counter.values.get("feedback", "tied")
    hidden = [edge for edge in shape.connections if edge[0] > 0]
    if kind == "homeostatic":
        for edge in hidden:
            # The slopes of both layers, and what the feedback learns by the rule, where the target is a state.
            counter.up(edge, rows, 2 if edge[1] in shape.states else 1)
    elif kind == "mirror":
        for edge in shape.untied:
            m, n = shape.matrix(edge)
            counter.tally.product(m, n, n, 2)
    if kind != "tied":
        counter.tally.sweep(sum(shape.matrix(edge)[0] * shape.matrix(edge)[1] for edge in shape.untied), 4)


def _count_sleep(counter: _Counter, rows: float) -> None:
    """The share of a sleep that falls on each step."""
    values, tally = counter.values, counter.tally
    asleep = Tally(tally.width)
    dreamer = _Counter(asleep, values, counter.shape)
    sleepers = min(rows, _SLEEPERS)
    dreamer.start(sleepers)
    dreamer.sweep(sleepers, float(int(values.get("sleep_steps", 1))))
    dreamer.single(sleepers)
    every = int(values["sleep_every"])
    tally.calls += asleep.calls / every
    tally.macs += asleep.macs / every
    tally.bytes += asleep.bytes / every


def before_pools(values: Mapping[str, Value], shape: Shape) -> float:
    """How many numbers one sample needs of the largest convolution whose maxima are taken; of a mean there are none.

    The convolution, its copy in the layout of the library that computes it, and what is sent back through the maxima.
    """
    if values.get("pool") != "max":
        return 0.0
    pairs = zip(shape.maps, shape.maps[1:], strict=False)
    return 3.0 * max(above[0] * below[1] * below[2] for below, above in pairs)


def copies_of_states(values: Mapping[str, Value]) -> float:
    """How many float32 copies of all states are alive at once, at most.

    The free phase, both nudged ones, what a sweep makes anew and how it changed, and one layer's temporaries; complex
    numbers are two, for each settled point of the circle.
    """
    rule = rule_name(values)
    if rule == "holomorphic":
        return 2.0 + 2.0 * 5.0 * (int(values["points"]) // 2 + 1)
    return 7.0
