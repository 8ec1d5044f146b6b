"""Probes as objectives of a search: one number for a trained network, and whether its control passed.

Every number has a control beside it, measured on the same network: the checks against masked gradients, a harm so large
that it has to show, an exponent followed without tangents. Energy is counted, so there is nothing to control.
"""

import hashlib
import math
from collections.abc import Callable, Mapping, Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from evaluator.cost import optimizer_name
from evaluator.errors import EvaluatorError
from evaluator.probes.energy import EnergySettings, energy
from evaluator.probes.registry import refusal, require_one_head
from evaluator.probes.robustness import RobustnessSettings, robustness
from evaluator.probes.subject import Samples, Subject, accuracy, check_fit
from evaluator.tasks import DatasetTask
from genome import Value
from kernels.learner import Array
from kernels.probes.draws import normal
from kernels.probes.exponent import Advance, exponents

__all__ = ["REMOVED", "Asked", "Scored", "displacement_exponent", "measured", "probed"]

Float = NDArray[np.float64]
PROBE_OF: Mapping[str, str] = {
    "robustness": "robustness",
    "noise": "tolerance",
    "damage": "tolerance",
    "lyapunov": "lyapunov",
    "energy": "energy",
}

ATTACK = RobustnessSettings(epsilons=(0.1,), samples=64, steps=5, tries=5, sweeps=500)
HARMED_SAMPLES = 256
DRAWS = 4
NOISE, MOST_NOISE = 0.5, 10.0
DAMAGE, MOST_DAMAGE = 0.5, 1.0
# The least share of the examples that the largest harm must cost a network which has learned something.
HARM_SHOWS = 0.05
FOLLOWED_SAMPLES, WARMUP, SWEEPS = 4, 20, 100
# ln 2^-52: a displacement that shrinks further in a sweep is rounding.
REMOVED = math.log(2.0**-52)
STEP = 1e-6
# How far the exponent of a displacement of 1e-6 may lie from that of the tangent.
ALIKE = 0.5


class Asked(NamedTuple):
    """What is measured: a trained network, validation samples, and 32 bytes that draw all chance.

    `training` holds the settings of the energy probe that follow from the training.
    """

    network: Subject
    samples: Samples
    training: Mapping[str, object]
    seed: bytes


class Scored(NamedTuple):
    """The value of an objective, and why it is only a bound: empty where its control passed or there is none."""

    value: float
    control: str


def measured(names: Sequence[str], asked: Asked) -> dict[str, Scored]:
    """The objectives of those names, some of `objectives.PROBE_OBJECTIVES`.

    Raises EvaluatorError where the network does not give finite scores, DivergedError where it runs away.
    """
    check_fit(asked.network, asked.samples)
    found = {}
    for name in names:
        # Each draws for itself: what else is asked for changes no number.
        seed = hashlib.sha256(f"eqmesh/objective/1\n{name}\n".encode() + asked.seed).digest()
        found[name] = _MEASURES[name](asked._replace(seed=seed))
    return found


def probed(
    names: Sequence[str],
    values: Mapping[str, Value],
    task: DatasetTask,
    parameters: Mapping[str, Array],
    *,
    held: tuple[Array, Array],
    steps: tuple[float, float],
    key: bytes,
) -> dict[str, Scored]:
    """The objectives `names` of a trained genome's network, on `held` inputs and labels.

    `steps` are the mean sweeps of both phases that its training took; `key` (32 bytes) draws all chance.
    Raises EvaluatorError and DivergedError as `measured` does.
    """
    require_one_head(task)
    for name in names:
        why = refusal(PROBE_OF[name], values)
        if why:
            raise EvaluatorError(f"the objective {name!r} cannot be had: {why}")
    # Loads the general learner, which a search without probes may never need.
    from evaluator.probes.general import subject_of  # noqa: PLC0415

    training = {
        "batch": values["batch"],
        "optimizer": optimizer_name(values),
        "ns_steps": values.get("ns_steps"),
        "free_steps": steps[0],
        "nudged_steps": steps[1],
    }
    network, samples = subject_of(values, task, parameters), Samples(*held)
    return measured(names, Asked(network, samples, training, key))


def _robustness(asked: Asked) -> Scored:
    found = robustness(asked.network, asked.samples, asked.seed, ATTACK)
    if found.warnings:
        return Scored(0.0, "; ".join(found.warnings))
    (point,) = found.points
    weakest = min(each.value for each in (found.clean, point.fgsm, point.pgd, point.transfer, point.noise))
    return Scored(weakest, "")


def _noise(asked: Asked) -> Scored:
    return _harmed(asked, asked.network.noisy, NOISE, MOST_NOISE)


def _damage(asked: Asked) -> Scored:
    return _harmed(asked, asked.network.without, DAMAGE, MOST_DAMAGE)


def _harmed(asked: Asked, harm: Callable[[float, bytes], Subject], level: float, most: float) -> Scored:
    """Mean accuracy at a level of harm; the control is the largest harm, which has to cost something."""
    samples = asked.samples.first(HARMED_SAMPLES)
    keys = [hashlib.sha256(asked.seed + draw.to_bytes(4, "little")).digest() for draw in range(DRAWS)]
    value = float(np.mean([accuracy(harm(level, key), samples) for key in keys]))
    clean, ruined = accuracy(asked.network, samples), accuracy(harm(most, keys[0]), samples)
    learned = clean - 1.0 / asked.network.classes > 2 * HARM_SHOWS
    if learned and clean - ruined < HARM_SHOWS:
        return Scored(value, f"a harm of {most:g} leaves {ruined:.3f} of an accuracy of {clean:.3f}")
    return Scored(value, "")


def _lyapunov(asked: Asked) -> Scored:
    tangent, displaced = [], []
    for row in range(min(FOLLOWED_SAMPLES, len(asked.samples.x))):
        one = Samples(asked.samples.x[row : row + 1], asked.samples.y[row : row + 1])
        advance, start = asked.network.settle_map(one, asked.network.free)
        (found,) = exponents(advance, start, steps=SWEEPS, warmup=WARMUP, seed=asked.seed)
        tangent.append(max(found, REMOVED))
        displaced.append(max(displacement_exponent(advance, start, asked.seed), REMOVED))
    mean, other = float(np.mean(tangent)), float(np.mean(displaced))
    if abs(mean - other) <= ALIKE:
        return Scored(mean, "")
    # Whichever is right, the network is no better than the larger.
    return Scored(
        max(mean, other), f"tangents give {mean:.3f}, displacements of {STEP:g} {other:.3f} nats a sweep"
    )


def displacement_exponent(advance: Advance, start: Float, seed: bytes) -> float:
    """The largest exponent from two states 1e-6 apart, brought back to that distance after each step; tangents unread.

    -inf where a step brings both together.
    """
    direction = normal(seed, "displacement", len(start))
    apart = STEP * direction / np.linalg.norm(direction)
    unread, growth, state = np.zeros((0, len(start))), 0.0, start
    for step in range(WARMUP + SWEEPS):
        moved, _ = advance(state + apart, unread, step)
        state, _ = advance(state, unread, step)
        apart = moved - state
        distance = float(np.linalg.norm(apart))
        # A last bit that is left of a displacement is rounding, and no direction.
        if distance <= STEP * 2.0**-26:
            return -math.inf
        if step >= WARMUP:
            growth += math.log(distance / STEP)
        apart *= STEP / distance
    return growth / SWEEPS


def _energy(asked: Asked) -> Scored:
    settings = {name: value for name, value in asked.training.items() if value is not None}
    found = energy(asked.network, asked.samples, asked.seed, EnergySettings(**settings))  # type: ignore[arg-type]
    return Scored(found.inference_pj.low, "")


_MEASURES: Mapping[str, Callable[[Asked], Scored]] = {
    "robustness": _robustness,
    "noise": _noise,
    "damage": _damage,
    "lyapunov": _lyapunov,
    "energy": _energy,
}
