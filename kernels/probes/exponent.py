"""Lyapunov exponents of a map, by carrying tangent vectors along and decomposing them (QR). Pure.

Benettin et al. (1980). The exponents of a map at a fixed point are the logarithms of its Jacobian's |eigenvalues|.
"""

import math
from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

from kernels.backends.reference import Reference, States
from kernels.errors import DivergedError, KernelError
from kernels.probes.couplings import Couplings, open_units
from kernels.probes.draws import orthogonal
from kernels.rules import Relaxation
from kernels.topology import Topology

__all__ = ["Advance", "exponents", "settle_map"]

Float = NDArray[np.float64]
# Takes a state (n,) and tangents as rows (k, n); returns both one step later.
Advance = Callable[[Float, Float, int], tuple[Float, Float]]


def exponents(
    advance: Advance, start: Float, *, steps: int, warmup: int, seed: bytes, count: int = 1
) -> tuple[float, ...]:
    """Return the `count` largest exponents, descending, in nats a step: the mean log growth over `steps`.

    `advance` takes a state (n,), tangents (count, n) and the number of the step. Before it counts, `warmup` steps turn
    the tangents towards the directions that grow most. -inf is a direction that the map removes altogether.

    Raises DivergedError, naming the step, once a number is not finite.
    """
    if not 1 <= count <= len(start):
        raise KernelError(f"a map of {len(start)} numbers has 1 to {len(start)} exponents, got {count}.")
    if steps < 1 or warmup < 0:
        raise KernelError(f"exponents need steps >= 1 and warmup >= 0, got {steps} and {warmup}.")
    state, tangents = start, orthogonal(seed, "tangents", len(start), count).T
    growth, gone = np.zeros(count), np.zeros(count, dtype=np.bool_)
    for step in range(warmup + steps):
        with np.errstate(over="ignore", invalid="ignore"):
            state, tangents = advance(state, tangents, step)
        if not (np.isfinite(state).all() and np.isfinite(tangents).all()):
            raise DivergedError(
                "state or tangents were", step + 1, "The map leaves every bound: shrink its gain."
            )
        factor, triangle = np.linalg.qr(tangents.T)
        stretch = np.abs(np.diag(triangle))
        # What a map removes once stays removed, also where QR puts an arbitrary direction in its place.
        gone |= stretch == 0.0
        tangents = factor.T
        if step >= warmup:
            growth += np.log(np.where(gone, 1.0, stretch))
    growth[gone] = -math.inf
    return tuple(sorted((float(value) for value in growth / steps), reverse=True))


def visits(layers: tuple[int, ...], relaxation: Relaxation, step: int) -> tuple[int, ...]:
    """Return the order of a block sweep; `settle.sweep_order` needs torch, which probes do without."""
    turns = relaxation.order == "backward" or (relaxation.order == "alternating" and step % 2 == 0)
    return layers[::-1] if turns else layers


def _push(
    couplings: Couplings, states: States, tangents: States, relaxation: Relaxation, step: int
) -> States:
    """Move tangents through the sweep that led to `states`."""
    masks = open_units(couplings.topology, states)
    new = dict(tangents)
    if relaxation.scheme == "synchronous":
        for layer, old in tangents.items():
            force = couplings.received(tangents, layer) - old
            new[layer] = (old + relaxation.step_size * force) * masks[layer]
        return new
    for layer in visits(couplings.topology.state_layers, relaxation, step):
        new[layer] = couplings.received(new, layer) * masks[layer]
    return new


def settle_map(network: Reference, relaxation: Relaxation) -> tuple[Advance, Float]:
    """Return the free sweep of a network of one sample as a map with its tangents, and its feed-forward state."""
    if len(network.x) != 1:
        raise KernelError(f"a settle map is that of 1 sample, got {len(network.x)}.")
    topology: Topology = network.topology
    couplings = Couplings(topology, network.parameters)
    stops = np.cumsum([topology.sizes[layer] for layer in topology.state_layers])[:-1]

    def split(rows: Float) -> States:
        return dict(zip(topology.state_layers, np.split(rows, stops, axis=1), strict=True))

    def join(parts: States) -> Float:
        return np.concatenate([parts[layer] for layer in topology.state_layers], axis=1)

    def advance(state: Float, tangents: Float, step: int) -> tuple[Float, Float]:
        new = network.sweep(split(state[None]), 0.0, relaxation, step)
        return join(new)[0], join(_push(couplings, new, split(tangents), relaxation, step))

    return advance, join(network.feed_forward())[0]
