"""How small displacements of the states pull on each other: the linear part of the settle map. Pure.

Around states s, with m_l = [0 < s_l < clip] (1 at an output inside the energy), a displacement d obeys
d_l <- m_l (sum_k W_kl d_k + sum_t W_lt^T d_t + source_l), the sums over the state layers below and above.
"""

from collections.abc import Mapping

import numpy as np
from numpy.typing import NDArray

from kernels.errors import DivergedError
from kernels.learner import Array
from kernels.topology import Topology, weight_name

__all__ = ["Couplings", "open_units", "relax"]

Float = NDArray[np.float64]
States = dict[int, Float]
Masks = Mapping[int, NDArray[np.bool_]]
LARGEST = 1e12
ROUND = 32


class Couplings:
    """The state-to-state matrices of one network, found once by layer.

    `feedback` replaces W in W^T, by name: what comes down from a layer, or from the readout, is then wrong.
    """

    def __init__(
        self,
        topology: Topology,
        parameters: Mapping[str, Array],
        feedback: Mapping[str, Array] | None = None,
    ) -> None:
        self.topology = topology
        # Rows of displacements are multiplied from the left: d_k @ W^T from below, d_t @ W from above.
        self._neighbours: dict[int, list[tuple[int, Float]]] = {layer: [] for layer in topology.state_layers}
        self._sources: dict[int, Float] = {}
        for source, target in topology.connections:
            name = weight_name(source, target)
            forward = np.asarray(parameters[name], dtype=np.float64)
            back = forward if feedback is None else np.asarray(feedback[name], dtype=np.float64)
            if source > 0 and target in self._neighbours:
                self._neighbours[target].append((source, forward.T))
                self._neighbours[source].append((target, back))
            elif source > 0:
                self._sources[source] = back

    def received(self, displacement: States, layer: int) -> Float:
        """Return what `layer` receives from its neighbours' displacements (rows, n_layer)."""
        total = np.zeros_like(displacement[layer])
        for neighbour, matrix in self._neighbours[layer]:
            total += displacement[neighbour] @ matrix
        return total

    def sources(self, error: Float) -> States:
        """Return where an error (rows, classes) at the output enters: the output state, or the readout's layers."""
        if not self.topology.has_readout:
            return {self.topology.last: error}
        return {layer: error @ matrix for layer, matrix in self._sources.items()}

    def matrix(self) -> tuple[Float, dict[int, slice]]:
        """Return all couplings as one matrix A over all state units, displacements as rows: d <- d A; and its parts."""
        parts, stop = {}, 0
        for layer in self.topology.state_layers:
            start, stop = stop, stop + self.topology.sizes[layer]
            parts[layer] = slice(start, stop)
        whole = np.zeros((stop, stop))
        for layer, neighbours in self._neighbours.items():
            for neighbour, matrix in neighbours:
                whole[parts[neighbour], parts[layer]] += matrix
        return whole, parts


def open_units(topology: Topology, states: States) -> dict[int, NDArray[np.bool_]]:
    """Return by layer the units that are free to move: inside their bounds, or of an output without any."""
    return {
        layer: np.ones(value.shape, dtype=np.bool_)
        if layer == topology.last
        else (value > 0.0) & (value < topology.clip)
        for layer, value in states.items()
    }


def relax(
    couplings: Couplings, masks: Masks, sources: States, *, sweeps: int, tolerance: float = 0.0
) -> tuple[States, int]:
    """Return the displacement that `sources` cause, after backward sweeps from zero, and the most sweeps taken.

    A sample stops once no entry of it changes by more than `tolerance` of its largest source. Raises DivergedError
    beyond 1e12 times that source: the state is then no stable equilibrium.
    """
    result = {layer: np.zeros(mask.shape) for layer, mask in masks.items()}
    scale = np.max([np.abs(source).max(axis=1) for source in sources.values()], axis=0)
    rows = np.flatnonzero(scale > 0.0)
    step = 0
    while step < sweeps and len(rows):
        # Slow samples go on without the others.
        part = {layer: value[rows] for layer, value in result.items()}
        opened = {layer: mask[rows] for layer, mask in masks.items()}
        pushes = {layer: source[rows] for layer, source in sources.items()}
        for _ in range(min(ROUND, sweeps - step)):
            old, part = part, _sweep(couplings, part, opened, pushes)
            step += 1
            change = np.max([np.abs(part[layer] - old[layer]).max(axis=1) for layer in part], axis=0)
            # `not <=`: a NaN must end it too.
            if not (change <= LARGEST * scale[rows]).all():
                raise DivergedError("displacements were", step, "Shrink the hidden weights; see `diagnose`.")
            if (change <= tolerance * scale[rows]).all():
                break
        for layer, value in part.items():
            result[layer][rows] = value
        rows = rows[change > tolerance * scale[rows]]
    return result, step


def _sweep(couplings: Couplings, old: States, masks: Masks, sources: States) -> States:
    new = dict(old)
    for layer in reversed(couplings.topology.state_layers):
        value = couplings.received(new, layer)
        if layer in sources:
            value = value + sources[layer]
        new[layer] = value * masks[layer]
    return new
