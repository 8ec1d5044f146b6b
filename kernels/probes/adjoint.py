"""Exact gradients of the cost at an equilibrium, by its adjoint. Pure.

At an equilibrium s = clip(pre(s, x)) with couplings A and open units m, the adjoint d = ds/dbeta solves
d = m (A d - dC/ds): the limit of Equilibrium Propagation's nudged phase (Scellier & Bengio 2017, theorem 1;
Almeida 1987, Pineda 1987 for recurrent backpropagation). Then dC/dW_kl = -(d_l s_k^T + s_l d_k^T) and
dC/dx = -sum_l W_0l^T d_l; a readout adds its own terms.
"""

import numpy as np
from numpy.typing import NDArray

from kernels.backends.reference import Parameters, Reference, States
from kernels.errors import KernelError
from kernels.probes.couplings import Couplings, open_units, relax
from kernels.probes.equilibrium import mistake
from kernels.topology import bias_name, weight_name

__all__ = ["adjoint", "exact_adjoint", "input_gradients", "parameter_gradient"]

Float = NDArray[np.float64]
SWEEPS = 2000
TOLERANCE = 1e-12
# Samples that are solved together: their matrices must stay small.
CHUNK_BYTES = 2**26
LARGEST_UNITS = 2048


def adjoint(
    network: Reference,
    states: States,
    couplings: Couplings,
    *,
    sweeps: int = SWEEPS,
    tolerance: float = TOLERANCE,
) -> States:
    """Return d by layer, after at most `sweeps`, or once it stands still to `tolerance` of what drives it.

    Raises DivergedError where it grows instead.
    """
    sources = couplings.sources(mistake(network, states))
    return relax(
        couplings, open_units(network.topology, states), sources, sweeps=sweeps, tolerance=tolerance
    )[0]


def exact_adjoint(network: Reference, states: States) -> States:
    """Return d by layer from one dense linear system for each sample: slow, and no sweep that might not converge.

    Raises KernelError beyond 2,048 state units, or where an equilibrium is singular.
    """
    couplings = Couplings(network.topology, network.parameters)
    matrix, parts = couplings.matrix()
    units = len(matrix)
    if units > LARGEST_UNITS:
        raise KernelError(f"the dense adjoint takes at most {LARGEST_UNITS} state units, got {units}.")
    masks = open_units(network.topology, states)
    mask = np.concatenate([masks[layer] for layer in parts], axis=1).astype(np.float64)
    source = np.zeros_like(mask)
    for layer, value in couplings.sources(mistake(network, states)).items():
        source[:, parts[layer]] = value
    solved = np.empty_like(mask)
    rows = max(1, CHUNK_BYTES // (8 * units * units))
    for start in range(0, len(mask), rows):
        part = slice(start, start + rows)
        # d (1 - A m) = source m, d as a row: the transpose stands on the left.
        system = np.eye(units) - mask[part, :, None] * matrix.T
        try:
            solved[part] = np.linalg.solve(system, (source * mask)[part, :, None])[:, :, 0]
        except np.linalg.LinAlgError as error:
            raise KernelError(
                "an equilibrium must have a regular Hessian, got a singular one. Shrink the hidden weights."
            ) from error
    return {layer: solved[:, place] for layer, place in parts.items()}


def input_gradients(network: Reference, states: States, d: States) -> Float:
    """Return dC/dx of each sample, (b, n_0), from its adjoint."""
    total = np.zeros_like(network.x)
    for layer in network.topology.fed:
        pull = d[layer] if layer in d else mistake(network, states)
        total -= pull @ network.weight(0, layer)
    return total


def parameter_gradient(network: Reference, states: States, d: States) -> Parameters:
    """Return the mean over the batch of dC/dW and dC/db by name, from the adjoint."""
    topology, count = network.topology, len(network.x)
    error = mistake(network, states)
    gradient: Parameters = {}
    for source, target in topology.connections:
        pull = d.get(target, error)
        total = pull.T @ network.layer(states, source)
        if source in d and target in d:
            total = total + states[target].T @ d[source]
        gradient[weight_name(source, target)] = -total / count
    for layer in range(1, topology.last + 1):
        gradient[bias_name(layer)] = -d.get(layer, error).mean(axis=0)
    return gradient
