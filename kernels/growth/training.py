"""Training of stacked autoencoders by backpropagation, whole or a level at a time, with part of the weights frozen.

This is gradient descent with the chain rule written out, as Draelos et al. (2017) trained, and not Equilibrium
Propagation. A weight that a phase does not teach is never written to, so it stays what it was bit for bit; what an
optimizer remembers lives for one phase alone.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal, TypeAlias

import numpy as np

from kernels.errors import DivergedError, KernelError
from kernels.growth.autoencoder import Array, Level, Stack, sigmoid
from kernels.growth.streams import Stream

__all__ = [
    "FROZEN",
    "Layer",
    "Schedule",
    "Share",
    "fit",
    "gradients",
    "train_level",
    "train_levels",
    "train_whole",
]

Layer: TypeAlias = tuple[Array, Array]
OptimizerName: TypeAlias = Literal["adam", "sgd"]

ADAM_BETAS = (0.9, 0.999)
ADAM_EPSILON = 1e-8
DIVERGED_HINT = "Lower the rate of this phase."


@dataclass(frozen=True)
class Schedule:
    """How long and how fast a phase learns: epochs in batches of `batch`, at `rate`, by Adam or plain SGD.

    `corruption` is the share of inputs set to 0 while the target stays clean (Vincent et al. 2010, masking noise; 0:
    clean). `decay` shrinks the weights that learn by rate * decay a step, biases not. The gradient is that of half
    the squared error summed over outputs, mean over the batch. Raises KernelError for values out of range.
    """

    epochs: int
    rate: float
    batch: int = 100
    optimizer: OptimizerName = "adam"
    corruption: float = 0.0
    decay: float = 0.0

    def __post_init__(self) -> None:
        lengths = self.epochs >= 0 and self.batch >= 1
        rates = 0 < self.rate < math.inf and 0 <= self.corruption < 1 and 0 <= self.decay < math.inf
        if not (lengths and rates and self.optimizer in ("adam", "sgd")):
            raise KernelError(
                "a schedule needs epochs of at least 0, batch of at least 1, rate above 0, corruption in [0, 1), decay "
                f"of at least 0 and the optimizer 'adam' or 'sgd', got {self}."
            )


@dataclass(frozen=True)
class Share:
    """What of one layer learns, at `rate` times the phase's rate: weights from a row (unit) and a column (input) on.

    New units are the last ones, so this is all that masks have to say. A rate of 0 freezes the layer. The biases
    of the rows learn with them unless `biases` is false.
    """

    rate: float = 1.0
    first_row: int = 0
    first_column: int = 0
    biases: bool = True


FROZEN = Share(rate=0.0)


class _Learned:
    """One block of parameters that learns, and what its optimizer remembers of it."""

    def __init__(self, block: Array, rate: float, decay: float, schedule: Schedule) -> None:
        self._block = block
        self._rate = rate
        self._decay = decay
        self._adam = schedule.optimizer == "adam"
        if self._adam:
            self._first = np.zeros_like(block)
            self._second = np.zeros_like(block)
            self._scratch = np.empty_like(block)

    def step(self, gradient: Array, time: int) -> None:
        """Move against `gradient`, which is overwritten; `time` counts steps from 1. Kingma & Ba (2015), alg. 1."""
        if self._decay:
            self._block *= 1.0 - self._rate * self._decay
        if not self._adam:
            gradient *= self._rate
            self._block -= gradient
            return
        one, two = ADAM_BETAS
        scratch = self._scratch
        self._first *= one
        self._first += np.multiply(gradient, 1.0 - one, out=scratch)
        self._second *= two
        np.multiply(gradient, gradient, out=gradient)
        self._second += np.multiply(gradient, 1.0 - two, out=gradient)
        np.divide(self._second, 1.0 - two**time, out=scratch)
        np.sqrt(scratch, out=scratch)
        scratch += ADAM_EPSILON
        np.divide(self._first, scratch, out=scratch)
        scratch *= self._rate / (1.0 - one**time)
        self._block -= scratch


def forward(layers: Sequence[Layer], x: Array) -> list[Array]:
    """The activities of every layer of a chain of sigmoid layers, the inputs first."""
    activities = [x]
    for weight, bias in layers:
        x = x @ weight.T
        x += bias
        activities.append(sigmoid(x, out=x))
    return activities


def gradients(
    layers: Sequence[Layer], shares: Sequence[Share], x: Array, target: Array
) -> tuple[dict[int, tuple[Array, Array]], float]:
    """The gradient of what learns, by layer as (weights, biases of the rows), and the mean squared error.

    `layers` are (out, in) weights and (out,) biases of a chain of sigmoid layers. See `Schedule` for the loss.
    """
    activities = forward(layers, x)
    output = activities[-1]
    difference = output - target
    error = float(np.square(difference, dtype=np.float64).mean())
    delta = difference * output * (1.0 - output) / len(x)
    learned: dict[int, tuple[Array, Array]] = {}
    lowest = min((k for k, share in enumerate(shares) if share.rate), default=len(layers))
    for k in reversed(range(lowest, len(layers))):
        share, below = shares[k], activities[k]
        if share.rate:
            rows = delta[:, share.first_row :]
            learned[k] = (rows.T @ below[:, share.first_column :], rows.sum(axis=0))
        if k > lowest:
            delta = delta @ layers[k][0]
            delta *= below
            delta *= 1.0 - below
    return learned, error


def fit(
    layers: Sequence[Layer], shares: Sequence[Share], x: Array, schedule: Schedule, stream: Stream
) -> tuple[float, ...]:
    """Teach a chain of layers, in place, to give back its input x (n, in); the mean squared error of each epoch.

    Raises DivergedError, naming the step, when the error of an epoch is not finite.
    """
    weights, biases = _learners(layers, shares, schedule)
    losses: list[float] = []
    time = 0
    if not len(x) or not weights:
        return ()
    x = x.astype(layers[0][0].dtype, copy=False)
    for epoch in range(schedule.epochs):
        order = stream.permutation(len(x))
        total = 0.0
        for start in range(0, len(x), schedule.batch):
            target = x[order[start : start + schedule.batch]]
            found, error = gradients(layers, shares, _corrupted(target, schedule.corruption, stream), target)
            time += 1
            total += error * len(target)
            for k, (by_weight, by_bias) in found.items():
                weights[k].step(by_weight, time)
                if k in biases:
                    biases[k].step(by_bias, time)
        if not math.isfinite(total):
            raise DivergedError(f"the error of epoch {epoch + 1} was", time, DIVERGED_HINT)
        losses.append(total / len(x))
    return tuple(losses)


def train_level(
    stack: Stack,
    level: int,
    codes: Array,
    schedule: Schedule,
    stream: Stream,
    *,
    shares: tuple[Share, Share] = (Share(), Share()),
) -> tuple[Stack, tuple[float, ...]]:
    """The stack after one level learned, as an autoencoder alone, to give back codes (n, sizes[level]) below it.

    `shares` say what of its encoder and of its decoder learns: all, unless told otherwise. Also gives the mean
    squared error of each epoch.
    """
    changed = stack.with_level(level, stack.levels[level].copy())
    part = changed.active(level)
    layers = [(part.encoder, part.encoder_bias), (part.decoder, part.decoder_bias)]
    return changed, fit(layers, shares, codes, schedule, stream)


def train_levels(stack: Stack, x: Array, schedule: Schedule, stream: Stream) -> Stack:
    """The stack after every level, from the lowest, learned all its weights on the codes below it (n, sizes[0])."""
    codes = x
    for level in range(stack.depth):
        stack, _ = train_level(stack, level, codes, schedule, stream.child(f"level/{level}"))
        codes = stack.encode(x, level + 1)
    return stack


def train_whole(
    stack: Stack,
    x: Array,
    schedule: Schedule,
    stream: Stream,
    *,
    shares: Mapping[int, Share] | None = None,
) -> tuple[Stack, tuple[float, ...]]:
    """The stack after all levels learned together to give back x (n, sizes[0]), and each epoch's mean squared error.

    `shares` (None: all learns) are by position in the chain: the encoders upwards, then the decoders downwards.
    """
    changed = stack.copy()
    parts = [changed.active(level) for level in range(stack.depth)]
    chosen = [(shares or {}).get(k, Share()) for k in range(2 * stack.depth)]
    return changed, fit(_chain(parts), chosen, x, schedule, stream)


def _chain(parts: Sequence[Level]) -> list[Layer]:
    up: list[Layer] = [(part.encoder, part.encoder_bias) for part in parts]
    return up + [(part.decoder, part.decoder_bias) for part in reversed(parts)]


def _learners(
    layers: Sequence[Layer], shares: Sequence[Share], schedule: Schedule
) -> tuple[dict[int, _Learned], dict[int, _Learned]]:
    weights: dict[int, _Learned] = {}
    biases: dict[int, _Learned] = {}
    for k, ((weight, bias), share) in enumerate(zip(layers, shares, strict=True)):
        rate = schedule.rate * share.rate
        if not rate:
            continue
        weights[k] = _Learned(weight[share.first_row :, share.first_column :], rate, schedule.decay, schedule)
        if share.biases:
            biases[k] = _Learned(bias[share.first_row :], rate, 0.0, schedule)
    return weights, biases


def _corrupted(x: Array, share: float, stream: Stream) -> Array:
    return x * (stream.uniform(x.shape) >= share) if share else x
