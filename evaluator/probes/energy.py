"""Picojoules of a training step and of an inference, as a range from counts and a table of 45 nm. Pure.

Energies of operations: Horowitz, "Computing's energy problem (and what we can do about it)", ISSCC 2014, for 45 nm:
fp32 multiply 3.7 pJ, add 0.9 pJ; 64 bits read from an 8 KB SRAM 10 pJ, from DRAM 1.3 to 2.6 nJ. Nothing here was
measured: control, leakage and everything else that a real chip adds are missing.
"""

from collections.abc import Mapping

import msgspec

from evaluator.cost import step_cost
from evaluator.probes.subject import Samples, Subject, check
from evaluator.shape import Edge, Shape, is_plain
from genome import Value
from kernels import OptimizerSettings
from kernels.rules import OptimizerName

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


def energy(network: Subject, _data: Samples, _seed: bytes, settings: EnergySettings) -> Energy:
    """Project a training step of `batch` samples and an inference of as many, for one sample; nothing is run."""
    free = network.free.steps if settings.free_steps is None else settings.free_steps
    nudged = network.nudged.steps if settings.nudged_steps is None else settings.nudged_steps
    step = step_cost(
        _genes(network, settings),
        network.shape,
        arithmetic="fp32",
        free_steps=free,
        nudged_steps=nudged,
    )
    training = _for_one(Counts(macs=step.macs, bytes=step.bytes), settings.batch)
    inference = _for_one(inference_counts(network.genes, network.shape, settings.batch, free), settings.batch)
    return Energy(
        training=training,
        training_pj=picojoules(training),
        training_mac_pj=training.macs * MAC_PJ,
        inference=inference,
        inference_pj=picojoules(inference),
        inference_mac_pj=inference.macs * MAC_PJ,
    )


def _genes(network: Subject, settings: EnergySettings) -> Mapping[str, Value]:
    """What the cost model reads, the settings' own optimizer and batch in place of the genome's."""
    genes = {
        **network.genes,
        "optimizer": settings.optimizer,
        "ns_steps": settings.ns_steps,
        "batch": settings.batch,
    }
    check(
        settings.optimizer != "dion" or "rank_fraction" in genes,
        "another optimizer than dion, whose rank only a genome with rank_fraction tells",
        settings.optimizer,
    )
    return genes


def inference_counts(genes: Mapping[str, Value], shape: Shape, batch: int, free_steps: float) -> Counts:
    """Count the free phase of a batch as `evaluator.cost` counts that of a training step: the start, then sweeps.

    The engine keeps the drive of the clamped input, the general learner takes every product of a sweep anew.
    """
    states = set(shape.states)
    inner = [edge for edge in shape.connections if edge[0] > 0 and edge[1] in states]
    products = [(edge, 1.0) for edge in shape.connections]
    products += [(edge, 2 * free_steps) for edge in inner]
    if not is_plain(genes):
        products += [(edge, free_steps) for edge in shape.connections if edge[1] in states and edge[0] == 0]
        # A maximum pool looks for its winners before anything is sent back to them.
        again = genes.get("pool") == "max"
        products += [(edge, free_steps) for edge in inner if again and shape.filtered(edge)]
    macs, moved = 0.0, 0.0
    for edge, times in products:
        rows, m, n = _product(shape, edge, batch)
        macs += times * rows * m * n
        moved += times * (rows * m + rows * n + m * n)
    sweeps = 1 + (free_steps if inner else 0)
    moved += 2 * sweeps * 2 * len(states) * batch * sum(shape.sizes[layer] for layer in states)
    if shape.output == "ce":
        moved += 2 * 4 * batch * shape.sizes[-1]
    return Counts(macs=macs, bytes=FP32_BYTES * moved)


def _product(shape: Shape, edge: Edge, batch: int) -> tuple[int, int, int]:
    """Return rows, inner and outer size of what one connection multiplies; filters meet every place of an image."""
    n, m = shape.matrix(edge)
    if not shape.filtered(edge):
        return batch, m, n
    _, height, width = shape.maps[edge[0]]
    return batch * height * width, m, n


def _for_one(counts: Counts, batch: int) -> Counts:
    return Counts(macs=counts.macs / batch, bytes=counts.bytes / batch)
