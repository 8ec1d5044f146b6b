"""Gate 1: every operation of the Triton kernels in float64 NumPy, one network at a time, written from the formulas.

Weights are [n_{k-1}, n_k] and states [B, n], as the kernels have them.
"""

import numpy as np
from numpy.typing import NDArray

from kernels.backends.reference import softmax

Float = NDArray[np.float64]


def layer(
    base: Float,
    received: Float,
    activation: str,
    *,
    clip: float = 1.0,
    nudge: tuple[Float, float] | None = None,
    move: tuple[Float, float] | None = None,
) -> Float:
    """The next states of a layer that receives `received` above its `base`.

    `nudge` is (y, beta); `move` is (states before, step size) of a synchronous step.
    """
    pre = base + received
    if activation == "pull":
        assert nudge is not None
        return np.asarray(nudge[1] * (nudge[0] - softmax(pre)))
    if move is not None:
        before, step_size = move
        force = pre - before
        if nudge is not None:
            force = force + nudge[1] * (nudge[0] - before)
        pre = before + step_size * force
    elif nudge is not None:
        pre = (pre + nudge[1] * nudge[0]) / (1.0 + nudge[1])
    return np.clip(pre, 0.0, clip) if activation == "clip" else pre


def order_of(order: str, step: int, layers: int, *, readout: bool) -> list[int]:
    """The layers 1 .. L in the order of a sweep; a readout is read just before the last hidden layer moves."""
    backward = order == "backward" or (order == "alternating" and step % 2 == 0)
    states = list(range(1, layers if readout else layers + 1))
    visits = states[::-1] if backward else states
    if readout:
        visits.insert(visits.index(layers - 1), layers)
    return visits


def settle(
    drive: Float,
    weights: list[Float],
    biases: list[Float],
    start: list[Float],
    nudge: tuple[Float, float],
    *,
    steps: int,
    order: str,
    readout: bool,
    clip: float = 1.0,
) -> tuple[list[Float], float]:
    """The states of the layers 1 .. L after `steps` sweeps, and the largest change of a state in the last.

    `weights` and `biases` are those of the layers 2 .. L. With a `readout` the last entry is its pull.
    """
    states = [value.copy() for value in start]
    layers = len(states)
    change = 0.0
    for step in range(steps):
        before = [value.copy() for value in states]
        for number in order_of(order, step, layers, readout=readout):
            base = drive if number == 1 else biases[number - 2][None, :]
            received = np.zeros_like(states[number - 1])
            if number > 1:
                received = received + states[number - 2] @ weights[number - 2]
            if number < layers:
                received = received + states[number] @ weights[number - 1].T
            if number == layers:
                states[number - 1] = layer(base, received, "pull" if readout else "output", nudge=nudge)
            else:
                states[number - 1] = layer(base, received, "clip", clip=clip)
        counted = layers - 1 if readout else layers
        change = max(
            float(np.abs(new - old).max()) for new, old in zip(states[:counted], before, strict=False)
        )
    return states, change


def contrast(pre: Float, post: Float, pre_other: Float | None, post_other: Float, unit: float) -> Float:
    """The mean gradient of a weight: unit times the difference of the products of both phases."""
    other = pre if pre_other is None else pre_other
    return np.asarray(unit * (other.T @ post_other - pre.T @ post))


def power(weight: Float, vector: Float, iterations: int) -> tuple[float, Float]:
    """The estimate |W v| before the last of `iterations` products by W^T W, and the vector after it."""
    v = vector / np.linalg.norm(vector)
    value = 0.0
    for _ in range(iterations):
        value = float(np.linalg.norm(weight @ v))
        image = weight.T @ (weight @ v)
        norm = float(np.linalg.norm(image))
        v = image / norm if norm > 0 else v
    return value, np.asarray(v)
