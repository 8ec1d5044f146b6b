"""Which path serves a network on a GPU, by its shape alone. Pure.

A path rounds in its own way, so the choice must not depend on how many networks happen to wait beside one another:
nothing of a population enters it. What separates the paths is in `CROSSOVERS`.
"""

from dataclasses import dataclass
from itertools import pairwise
from types import MappingProxyType
from typing import Literal

from kernels.errors import KernelError
from kernels.members import Member
from kernels.rules import ArithmeticName

__all__ = ["CROSSOVERS", "Crossover", "Route", "lacks_population", "route", "step_products"]

# persistent: one program trains a network over its whole span, one launch for a population. ragged: some ten launches
# a step for a population, by the Triton kernels. graph: cuBLAS products of torch-cuda in a CUDA graph, one network at a
# time. loop: torch-cuda operation by operation, for what asks the device in the middle of a step.
Route = Literal["persistent", "ragged", "graph", "loop"]


@dataclass(frozen=True, slots=True)
class Crossover:
    """Where one path overtakes another: networks up to `tiny` multiplications a step, and widths from `wide` on."""

    tiny: int
    wide: int


# Reckoned from the model in docs/gpu.md, not measured. A step of some twelve launches in a CUDA graph costs about 25 us
# whatever it computes. In that time one program, on one of a GPU's processors, multiplies about 10 million pairs of
# fp16 numbers at a tenth of the tensor cores' peak, or 1.6 million pairs of fp32 at a quarter of the plain units'. From
# 1,024 units on cuBLAS is taken to be faster than tiles that know nothing of the shape. `python -m tests.bench.kernels`
# on a GPU times shapes on both sides of each: better numbers are to be read from its table.
CROSSOVERS = MappingProxyType(
    {"fp32": Crossover(tiny=1_600_000, wide=1024), "fp16": Crossover(tiny=10_000_000, wide=1024)}
)


def step_products(member: Member) -> int:
    """Count the multiplications of a training step of a full batch, about.

    A sweep uses every weight between states twice, a start and a contrast each weight about three times together.
    """
    pairs = [below * above for below, above in pairwise(member.topology.sizes)]
    nudges = 2 if member.rule.estimate == "centred" else 1
    sweeps = member.rule.free.steps + nudges * member.rule.nudged.steps
    return member.batch * (2 * sweeps * sum(pairs[1:]) + 3 * sum(pairs))


def lacks_population(member: Member) -> str | None:
    """Return what keeps a network from training in a population of the Triton kernels, in words, or None."""
    # Loads torch, which a module that only reckons must not.
    from kernels.backends.triton.training_layout import LARGEST_BATCH, lacks_training  # noqa: PLC0415

    lack = lacks_training(member.topology, member.rule, member.optimizer)
    if lack is None and not 1 <= member.batch <= LARGEST_BATCH:
        return f"its batch has {member.batch} samples, and 1 to {LARGEST_BATCH} fit"
    return lack


def route(member: Member, arithmetic: ArithmeticName) -> Route:
    """Return the path that serves a network.

    Raises KernelError for one in fp16 that the Triton kernels cannot train: no other backend has that class.
    """
    lack = lacks_population(member)
    if arithmetic == "fp16" and lack:
        raise KernelError(f"fp16 is served by the Triton kernels alone, and {lack}. Use fp32.")
    crossover = CROSSOVERS.get(arithmetic)
    if crossover is None or lack:
        return _with_torch(member)
    if step_products(member) <= crossover.tiny:
        return "persistent"
    if arithmetic == "fp32" and max(member.topology.sizes[1:]) >= crossover.wide:
        return _with_torch(member)
    return "ragged"


def _with_torch(member: Member) -> Route:
    rule = member.rule
    stops = rule.free.tolerance > 0 or rule.nudged.tolerance > 0
    # A phase that stops at a tolerance waits for the device's answer, which no graph can.
    return "loop" if stops else "graph"
