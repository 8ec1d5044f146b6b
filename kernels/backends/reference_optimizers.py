"""Naive optimizers in float64 NumPy, one array at a time, as the papers write them. Pure."""

import math

import numpy as np
from numpy.typing import NDArray

from kernels.initial import initial_basis
from kernels.rules import OptimizerSettings

__all__ = ["clip_spectrum", "empty_slots", "newton_schulz", "optimizer_step"]

Float = NDArray[np.float64]
Slots = dict[str, Float]


def newton_schulz(matrix: Float, steps: int) -> Float:
    """Return the quintic Newton-Schulz iterate of `matrix` (Jordan et al. 2024)."""
    a, b, c = 3.4445, -4.7750, 2.0315
    norm = math.sqrt(float((matrix * matrix).sum()))
    x = matrix / norm if norm > 0 else matrix
    tall = x.shape[0] > x.shape[1]
    if tall:
        x = x.T
    for _ in range(steps):
        gram = x @ x.T
        x = a * x + (b * gram + c * gram @ gram) @ x
    return x.T if tall else x


def clip_spectrum(matrix: Float, cap: float) -> Float:
    """Return `matrix` with every singular value beyond `cap` set to it."""
    u, sigma, vh = np.linalg.svd(matrix, full_matrices=False)
    return np.asarray((u * np.minimum(sigma, cap)) @ vh)


def empty_slots(value: Float, settings: OptimizerSettings) -> Slots:
    """Return what the optimizer of a parameter remembers before its first step."""
    if settings.name == "dion" and value.ndim == 2:
        return {
            "momentum": np.zeros_like(value),
            "basis": initial_basis(len(value), value.shape[1], settings.rank_fraction),
        }
    alone = settings.name == "sgd" or (settings.name == "muon" and value.ndim == 2)
    return {name: np.zeros_like(value) for name in (("velocity",) if alone else ("first", "second"))}


def dion_step(
    value: Float, gradient: Float, slots: Slots, settings: OptimizerSettings, rate: float
) -> tuple[Float, Slots]:
    """Return a matrix stepped by Dion (Ahn et al. 2025, algorithm 1), and its slots."""
    buffer = slots["momentum"] + gradient
    left, _ = np.linalg.qr(buffer @ slots["basis"])
    right = buffer.T @ left
    captured = left @ right.T
    length = np.linalg.norm(right, axis=0)
    found = length > 1e-4 * length.max()
    basis = np.where(found, right / np.where(found, length, 1.0), slots["basis"])
    rows, columns = value.shape
    step = rate * math.sqrt(rows / columns) * left @ (basis * found).T
    kept = settings.momentum * captured + settings.error_feedback * (buffer - captured)
    return value - step, {"momentum": kept, "basis": basis}


def optimizer_step(
    value: Float, gradient: Float, slots: Slots, settings: OptimizerSettings, *, scale: float, time: int
) -> tuple[Float, Slots]:
    """Return the stepped parameter and its slots; `time` counts steps from 1, the slots begin empty."""
    rate = settings.rate * scale
    zero = np.zeros_like(value)
    matrix = value.ndim == 2
    if settings.name == "sgd":
        velocity = settings.momentum * slots.get("velocity", zero) + gradient
        return value - rate * velocity, {"velocity": velocity}
    if settings.name == "muon" and matrix:
        velocity = settings.momentum * slots.get("velocity", zero) + gradient
        direction = newton_schulz(gradient + settings.momentum * velocity, settings.ns_steps)
        rows, columns = value.shape
        return value - rate * math.sqrt(max(1.0, rows / columns)) * direction, {"velocity": velocity}
    if settings.name == "dion" and matrix:
        return dion_step(value, gradient, slots, settings, rate)
    if settings.name in ("muon", "dion"):
        rate = settings.bias_rate * scale
    if settings.name == "adamw":
        value = value - rate * settings.weight_decay * value
    first = 0.9 * slots.get("first", zero) + 0.1 * gradient
    second = 0.999 * slots.get("second", zero) + 0.001 * gradient * gradient
    corrected = first / (1.0 - 0.9**time)
    spread = np.sqrt(second / (1.0 - 0.999**time))
    return value - rate * corrected / (spread + 1e-8), {"first": first, "second": second}
