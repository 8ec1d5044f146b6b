"""Networks with noise on their weights or states, or with units taken out. Pure."""

from collections.abc import Mapping

import numpy as np
from numpy.typing import NDArray

from kernels.backends.reference import Reference, States
from kernels.errors import KernelError
from kernels.learner import Array
from kernels.probes.draws import normal, uniform
from kernels.rules import Relaxation
from kernels.topology import Topology, bias_name, weight_name

__all__ = ["noisy_states", "noisy_weights", "without_units"]

Float = NDArray[np.float64]


def noisy_weights(parameters: Mapping[str, Array], level: float, seed: bytes) -> dict[str, Float]:
    """Return parameters with normal noise on every weight, of `level` times its array's root mean square.

    Biases stay: most begin at zero, and so would their noise.
    """
    result = {}
    for name, array in parameters.items():
        value = np.asarray(array, dtype=np.float64)
        size = level * float(np.sqrt((value * value).mean())) if value.ndim == 2 else 0.0
        result[name] = value + size * normal(seed, f"weights/{name}", *value.shape)
    return result


def noisy_states(network: Reference, relaxation: Relaxation, level: float, seed: bytes) -> States:
    """Return free states after sweeps each of which ends in normal noise of `level` times the clip, then clipped.

    The feed-forward start counts as a sweep, so that a network which needs no others is disturbed too.
    """

    def disturb(states: States, step: int) -> States:
        size = level * network.topology.clip
        return {
            layer: network.clip(layer, value + size * normal(seed, f"states/{step}/{layer}", *value.shape))
            for layer, value in states.items()
        }

    states = disturb(network.feed_forward(), -1)
    for step in range(relaxation.steps):
        states = disturb(network.sweep(states, 0.0, relaxation, step), step)
    return states


def without_units(
    topology: Topology, parameters: Mapping[str, Array], part: float, seed: bytes
) -> tuple[dict[str, Float], int]:
    """Return parameters in which a share `part` of the hidden units is silent, and how many they are.

    They are drawn from all hidden layers at once. A silent unit has no weights and no bias: its state is 0.
    """
    if not 0.0 <= part <= 1.0:
        raise KernelError(f"the share of units to remove must lie in [0, 1], got {part}.")
    result = {name: np.array(value, dtype=np.float64) for name, value in parameters.items()}
    units = [(layer, unit) for layer in topology.hidden_layers for unit in range(topology.sizes[layer])]
    order = np.argsort(uniform(seed, "removed", len(units)), kind="stable")
    removed = [units[place] for place in order[: round(part * len(units))]]
    for layer, unit in removed:
        result[bias_name(layer)][unit] = 0.0
        for source, target in topology.connections:
            if target == layer:
                result[weight_name(source, target)][unit] = 0.0
            if source == layer:
                result[weight_name(source, target)][:, unit] = 0.0
    return result, len(removed)
