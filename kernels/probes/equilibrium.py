"""Where a network settles, sample by sample, in float64. Pure."""

from collections.abc import Mapping
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from kernels.backends.reference import Reference, States, softmax
from kernels.errors import DivergedError
from kernels.learner import Array
from kernels.probes.dynamics import Dynamics
from kernels.rules import Relaxation
from kernels.topology import Topology

__all__ = ["THOROUGH", "Equilibrium", "changes", "find_equilibrium", "losses", "mistake", "settle_times"]

Float = NDArray[np.float64]
# Even, so that the order of alternating sweeps goes on where it was.
ROUND = 32
# Block sweeps never raise the energy, so that they end at an equilibrium wherever the network has one.
THOROUGH = Relaxation(scheme="block", order="forward", steps=2000, tolerance=1e-10)


@dataclass(frozen=True)
class Equilibrium:
    """The settled states of a batch, and by sample (b,) how far one more sweep would move them."""

    network: Reference
    states: States
    residuals: Float


def changes(old: States, new: States) -> Float:
    """Return by sample (b,) the largest change of any state."""
    return np.asarray(
        np.max([np.abs(new[layer] - old[layer]).max(axis=1, initial=0.0) for layer in old], axis=0)
    )


def find_equilibrium(
    topology: Topology, parameters: Mapping[str, Array], x: Array, y: Array, relaxation: Relaxation = THOROUGH
) -> Equilibrium:
    """Settle a batch `x` (b, n_0) from the feed-forward state; `y` (b, classes) is one-hot.

    Each sample stops by itself: slow ones sweep on without the others, in rounds of 32 sweeps.
    Raises DivergedError where states leave the numbers.
    """
    network = Reference(topology, parameters, x, y)
    states = network.feed_forward()
    residuals = np.full(len(network.x), np.inf)
    rows = np.arange(len(network.x))
    for start in range(0, max(1, relaxation.steps), ROUND):
        part = Reference(topology, network.parameters, network.x[rows], network.y[rows])
        some = {layer: value[rows] for layer, value in states.items()}
        # What overflows is told below.
        with np.errstate(over="ignore", invalid="ignore"):
            bounded = replace(relaxation, steps=min(ROUND, relaxation.steps - start))
            some, taken, _ = part.settle(some, 0.0, bounded)
            residuals[rows] = changes(some, part.sweep(some, 0.0, relaxation, start + taken))
        if not np.isfinite(residuals[rows]).all():
            raise DivergedError("states were", start + taken, "Shrink the hidden weights or the clip.")
        for layer, value in some.items():
            states[layer][rows] = value
        rows = rows[residuals[rows] > relaxation.tolerance]
        if not len(rows):
            break
    return Equilibrium(network, states, residuals)


def mistake(network: Reference, states: States) -> Float:
    """Return -dC by the logits or the output state, (b, classes): y - p or y - o."""
    scores = network.scores(states)
    return network.y - (softmax(scores) if network.topology.has_readout else scores)


def losses(network: Reference, states: States) -> Float:
    """Return the cost of each sample (b,), finite for any finite logits, where `Reference.cost` takes log 0."""
    scores = network.scores(states)
    if not network.topology.has_readout:
        return np.asarray(0.5 * ((scores - network.y) ** 2).sum(axis=1))
    raised = scores - scores.max(axis=1, keepdims=True)
    return np.asarray(np.log(np.exp(raised).sum(axis=1)) - (network.y * raised).sum(axis=1))


def settle_times(
    network: Dynamics, relaxation: Relaxation, *, tolerance: float, limit: int
) -> tuple[NDArray[np.int64], States]:
    """Return by sample the first sweep that changed no state by more than `tolerance`, and the last states.

    0 stands for a sample that did not get there within `limit` sweeps. Samples do not wait for each other.
    """
    states = network.feed_forward()
    taken = np.zeros(len(network.x), dtype=np.int64)
    for step in range(limit):
        new = network.sweep(states, 0.0, relaxation, step)
        taken[(taken == 0) & (changes(states, new) <= tolerance)] = step + 1
        states = new
        if taken.all():
            break
    return taken, states
