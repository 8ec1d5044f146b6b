"""Picojoules of a training step and of an inference, as a range from counts and a table of 45 nm. Pure.

Energies of operations: Horowitz, "Computing's energy problem (and what we can do about it)", ISSCC 2014, for 45 nm:
fp32 multiply 3.7 pJ, add 0.9 pJ; 64 bits read from an 8 KB SRAM 10 pJ, from DRAM 1.3 to 2.6 nJ. Nothing here was
measured: control, leakage and everything else that a real chip adds are missing.
"""

from collections.abc import Mapping

import msgspec

from evaluator.cost import step_cost
from evaluator.probes.subject import Network, Samples, check
from evaluator.shape import Shape
from genome import Value
from kernels import OptimizerSettings
from kernels.rules import OptimizerName
from kernels.topology import Topology

__all__ = ["Counts", "Energy", "EnergySettings", "Range", "energy", "inference_counts", "picojoules"]

MULTIPLY_PJ = 3.7
ADD_PJ = 0.9
MAC_PJ = MULTIPLY_PJ + ADD_PJ
WORD_BYTES = 8
SRAM_PJ_PER_WORD = 10.0
DRAM_PJ_PER_WORD = 2600.0
FP32_BYTES = 4


class EnergySettings(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """The batch of a training step, its optimizer, and mean sweeps where they are fewer than the rule allows."""

    batch: int = 32
    optimizer: OptimizerName = "adam"
    ns_steps: int = 5
    free_steps: float | None = None
    nudged_steps: float | None = None

    def __post_init__(self) -> None:
        check(self.batch >= 1, "a batch of 1 or more", self.batch)
        given = [steps for steps in (self.free_steps, self.nudged_steps) if steps is not None]
        check(all(steps >= 0 for steps in given), "mean sweeps of 0 or more", given)
        OptimizerSettings(self.optimizer, ns_steps=self.ns_steps)


class Counts(msgspec.Struct, frozen=True, kw_only=True):
    """Multiply-accumulates, and bytes that operations read and write."""

    macs: float
    bytes: float


class Range(msgspec.Struct, frozen=True, kw_only=True):
    """Picojoules: `low` where every byte comes from an 8 KB SRAM, `high` where every byte comes from dear DRAM."""

    low: float
    high: float


class Energy(msgspec.Struct, frozen=True, kw_only=True):
    """Counts and energy for one sample, of training and of inference in fp32; of the energy, `mac_pj` is arithmetic.

    Both are projections onto a table of 45 nm, not measurements.
    """

    training: Counts
    training_pj: Range
    training_mac_pj: float
    inference: Counts
    inference_pj: Range
    inference_mac_pj: float


def picojoules(counts: Counts) -> Range:
    """Return the energy of these counts, between all bytes from near SRAM and all from far DRAM."""
    words, arithmetic = counts.bytes / WORD_BYTES, counts.macs * MAC_PJ
    return Range(low=arithmetic + words * SRAM_PJ_PER_WORD, high=arithmetic + words * DRAM_PJ_PER_WORD)


def energy(network: Network, _data: Samples, _seed: bytes, settings: EnergySettings) -> Energy:
    """Project a training step of `batch` samples and an inference of as many, for one sample; nothing is run."""
    free = network.rule.free.steps if settings.free_steps is None else settings.free_steps
    nudged = network.rule.nudged.steps if settings.nudged_steps is None else settings.nudged_steps
    step = step_cost(
        _genes(network, settings),
        shape(network.topology),
        arithmetic="fp32",
        free_steps=free,
        nudged_steps=nudged,
    )
    training = _for_one(Counts(macs=step.macs, bytes=step.bytes), settings.batch)
    inference = _for_one(inference_counts(network.topology, settings.batch, free), settings.batch)
    return Energy(
        training=training,
        training_pj=picojoules(training),
        training_mac_pj=training.macs * MAC_PJ,
        inference=inference,
        inference_pj=picojoules(inference),
        inference_mac_pj=inference.macs * MAC_PJ,
    )


def shape(topology: Topology) -> Shape:
    """Return the shape that the cost model counts."""
    return Shape(
        sizes=topology.sizes,
        connections=topology.connections,
        skips=topology.skips,
        output=topology.output,
        states=topology.state_layers,
    )


def _genes(network: Network, settings: EnergySettings) -> Mapping[str, Value]:
    return {
        "credit": "ep",
        "estimate": network.rule.estimate,
        "optimizer": settings.optimizer,
        "ns_steps": settings.ns_steps,
        "batch": settings.batch,
    }


def inference_counts(topology: Topology, batch: int, free_steps: float) -> Counts:
    """Count the free phase of a batch as `evaluator.cost` counts that of a training step: the start, then sweeps."""
    sizes, states = topology.sizes, topology.state_layers
    products = [(sizes[k], sizes[l], 1.0) for k, l in topology.connections]
    products += [(sizes[k], sizes[l], 2 * free_steps) for k, l in topology.recurrent]
    macs = sum(times * batch * m * n for m, n, times in products)
    moved = sum(times * (batch * m + batch * n + m * n) for m, n, times in products)
    sweeps = 1 + (free_steps if topology.recurrent else 0)
    moved += 2 * sweeps * 2 * len(states) * batch * sum(sizes[layer] for layer in states)
    if topology.has_readout:
        moved += 2 * 4 * batch * sizes[-1]
    return Counts(macs=macs, bytes=FP32_BYTES * moved)


def _for_one(counts: Counts, batch: int) -> Counts:
    return Counts(macs=counts.macs / batch, bytes=counts.bytes / batch)
