"""How far a push at the output reaches down a deep network, in float64. Pure.

A nudge displaces the output by delta, and backward sweeps carry it to the input. In a linear chain of couplings w
one sweep leaves w^j of it j layers below; with skips c of two layers d_j = w d_(j-1) + c d_(j-2), d_0 = 1. Swept until
it stands still, a chain without skips holds sinh(k a)/sinh(L a) at layer k, where 2 w cosh a = 1 and w < 1/2.
"""

import math
from collections.abc import Mapping

import numpy as np
from numpy.typing import NDArray

from kernels.errors import DivergedError, KernelError
from kernels.learner import Array
from kernels.probes.couplings import Couplings, open_units
from kernels.topology import Topology, bias_name, weight_name

__all__ = ["chain", "chain_answer", "chain_reach", "reach", "settled_answer"]

Float = NDArray[np.float64]
States = dict[int, Float]


def reach(couplings: Couplings, masks: Mapping[int, NDArray[np.bool_]], push: Float, sweeps: int) -> Float:
    """Return |d_l|/|push| of each sample (b, L - 1), layers L-1 down to 1, after backward sweeps from zero.

    `push` (b, classes) displaces the output state, which is held there; with a readout it is an error of its logits.

    Raises DivergedError where sweeps amplify it beyond the numbers.
    """
    if sweeps < 1:
        raise KernelError(f"a push needs 1 sweep or more to move, got {sweeps}.")
    topology = couplings.topology
    current = {layer: np.zeros(mask.shape) for layer, mask in masks.items()}
    held = couplings.sources(push)
    current.update({layer: value for layer, value in held.items() if layer == topology.last})
    for step in range(sweeps):
        # What overflows is told below.
        with np.errstate(over="ignore", invalid="ignore"):
            for layer in reversed(topology.hidden_layers):
                value = couplings.received(current, layer)
                current[layer] = (value + held.get(layer, 0.0)) * masks[layer]
        if not all(np.isfinite(value).all() for value in current.values()):
            raise DivergedError(
                "displacements were", step + 1, "Take fewer sweeps, or shrink the hidden weights."
            )
    size = _lengths(push)
    if not (size > 0).all():
        raise KernelError("a push must not be zero for any sample.")
    return np.stack([_lengths(current[layer]) / size for layer in reversed(topology.hidden_layers)], axis=1)


def _lengths(rows: Float) -> Float:
    """Return the Euclidean length of each row; squares of what came through 1,000 layers would leave float64."""
    largest = np.abs(rows).max(axis=1)
    scale = np.where(largest > 0.0, largest, 1.0)
    return np.asarray(scale * np.linalg.norm(rows / scale[:, None], axis=1))


def chain(depth: int, weight: float, skip: float) -> tuple[Topology, dict[str, Array]]:
    """Return a linear chain of `depth` layers of one unit above the input, output "mse", all units at one half.

    Every coupling between states is `weight`; where `skip` is not 0, every layer is fed by the second below by `skip`.
    """
    skips = tuple((k, k + 2) for k in range(1, depth - 1)) if skip else ()
    topology = Topology((1,) * (depth + 1), output="mse", skips=skips)
    parameters: dict[str, Array] = {}
    for source, target in topology.connections:
        coupling = skip if target == source + 2 else weight
        parameters[weight_name(source, target)] = np.array([[coupling if source else 0.0]])
    for layer in range(1, depth + 1):
        parameters[bias_name(layer)] = np.zeros(1)
    return topology, parameters


def _open(topology: Topology) -> dict[int, NDArray[np.bool_]]:
    """Return the masks of one sample whose units are all free to move."""
    return open_units(
        topology,
        {layer: np.full((1, topology.sizes[layer]), topology.clip / 2) for layer in topology.state_layers},
    )


def chain_reach(depth: int, weight: float, skip: float, sweeps: int = 1) -> Float:
    """Return how far a push reaches down a `chain`, (depth - 1,), layers from the top down."""
    topology, parameters = chain(depth, weight, skip)
    return np.asarray(reach(Couplings(topology, parameters), _open(topology), np.ones((1, 1)), sweeps)[0])


def chain_answer(weight: float, skip: float, below: int) -> float:
    """Return the closed form of what one sweep leaves `below` layers under the output of a `chain`.

    With r and q the roots of t^2 = w t + c and d_1 = w: (r^(j+1) - q^(j+1))/(r - q), and w^j without skips. The skip
    that keeps a push alive is c = 1 - w, where r = 1 and q = -c: it tends to 1/(1 + c), however deep.
    """
    if skip == 0.0:
        return abs(weight) ** below
    spread = math.sqrt(weight * weight + 4.0 * skip)
    r, q = (weight + spread) / 2.0, (weight - spread) / 2.0
    return abs(r ** (below + 1) - q ** (below + 1)) / spread


def settled_answer(weight: float, depth: int, layer: int) -> float:
    """Return the closed form of a push at `layer` of a chain without skips, swept until it stands still, w < 1/2."""
    a = math.acosh(1.0 / (2.0 * weight))
    # sinh(k a)/sinh(L a), without the overflow.
    return math.exp((layer - depth) * a) * math.expm1(-2 * layer * a) / math.expm1(-2 * depth * a)
