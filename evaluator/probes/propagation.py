"""How much of a push at the output reaches the first layer, here and at depths that nobody trained. Pure."""

import msgspec
import numpy as np

from evaluator.probes.subject import Network, Samples, check, one_hot
from kernels.probes.couplings import Couplings, open_units
from kernels.probes.draws import normal
from kernels.probes.equilibrium import find_equilibrium
from kernels.probes.intervals import Interval, student
from kernels.probes.propagation import chain_answer, chain_reach, reach

__all__ = ["Propagation", "PropagationSettings", "Rung", "propagation"]


class PropagationSettings(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Samples, backward sweeps of the push, depths of the chains, and the share that counts as arrived.

    `gain` is the coupling of the chains; None takes what this network keeps of a push from layer to layer.
    """

    samples: int = 64
    sweeps: int = 1
    depths: tuple[int, ...] = (10, 100, 500, 1000)
    gain: float | None = None
    threshold: float = 0.01

    def __post_init__(self) -> None:
        check(self.samples >= 2 and self.sweeps >= 1, "2 samples and 1 sweep or more", self)
        check(all(2 <= depth <= 1000 for depth in self.depths), "depths of 2 to 1000 layers", self.depths)
        check(self.gain is None or 0 < self.gain <= 2, "a gain in (0, 2]", self.gain)
        check(0 < self.threshold < 1, "a threshold in (0, 1)", self.threshold)


class Rung(msgspec.Struct, frozen=True, kw_only=True):
    """What one sweep leaves of a push at the first layer of a linear chain, bare and with identity skips.

    `error` is the larger relative difference of both from their closed forms: of rounding, and nothing else.
    """

    depth: int
    bare: float
    skipped: float
    error: float


class Propagation(msgspec.Struct, frozen=True, kw_only=True):
    """Relative displacement by layer from the top down, what arrives at layer 1, and a ladder of chains.

    `gain` is the coupling of the chains, `skip` the strength of their skips over one layer: 1 - gain, which keeps a
    push alive at any depth, and none where the gain does so itself. `arrives` says whether this network's interval
    lies above the threshold.
    """

    layers: tuple[float, ...]
    first: Interval
    gain: float
    skip: float
    ladder: tuple[Rung, ...]
    arrives: bool


def propagation(network: Network, data: Samples, seed: bytes, settings: PropagationSettings) -> Propagation:
    """Push the output of each settled sample in a random direction, and measure how far the layers move.

    A network with a single hidden layer has one such layer, and its gain is what that one keeps.
    """
    data = data.first(settings.samples)
    check(len(data.x) >= 2, "2 samples or more", len(data.x))
    found = find_equilibrium(network.topology, network.parameters, data.inputs, one_hot(network, data))
    push = normal(seed, "push", len(data.x), network.topology.sizes[-1])
    reached = reach(
        Couplings(network.topology, network.parameters),
        open_units(network.topology, found.states),
        push,
        settings.sweeps,
    )
    means = reached.mean(axis=0)
    gain = settings.gain
    if gain is None:
        # A chain of no coupling at all has no closed form to hold the ladder to; 1e-6 stands for it.
        gain = float(min(2.0, max(1e-6, means[-1] ** (1.0 / len(means)))))
    skip = max(0.0, 1.0 - gain)
    first = student(reached[:, -1])
    return Propagation(
        layers=tuple(float(value) for value in means),
        first=first,
        gain=gain,
        skip=skip,
        ladder=tuple(_rung(depth, gain, skip) for depth in settings.depths),
        arrives=first.low > settings.threshold,
    )


def _rung(depth: int, gain: float, skip: float) -> Rung:
    bare, skipped = (float(chain_reach(depth, gain, c)[-1]) for c in (0.0, skip))
    answers = np.array([chain_answer(gain, c, depth - 1) for c in (0.0, skip)])
    # Below the smallest normal number a product keeps no relative precision.
    scale = np.maximum(answers, np.finfo(np.float64).tiny)
    error = float((np.abs(np.array([bare, skipped]) - answers) / scale).max())
    return Rung(depth=depth, bare=bare, skipped=skipped, error=error)
