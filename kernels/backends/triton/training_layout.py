"""Where whole trainings of small networks lie in flat buffers, and the tables that tell a kernel. Pure.

Every width is padded to a multiple of 16 and every offset counts units of 16 elements: a compiler that sees the factor
16 loads 16 bytes at once. Padded parameters are 0 and stay 0, for the states beside them are 0. What a training does,
phase by phase, is written into the table here, so that one compilation serves every depth, estimate and order.
"""

import itertools
from dataclasses import dataclass
from functools import cached_property

import numpy as np
import torch
from torch import Tensor

from kernels.backends.triton.ragged_layout import LARGEST_WIDTH, MAX_LAYERS, ORDERS, UNIT, padded
from kernels.contrast import distance
from kernels.errors import KernelError
from kernels.learner import Array, check_learner
from kernels.members import Member
from kernels.optimizers import ADAM_BETAS
from kernels.rules import OptimizerSettings, Rule
from kernels.topology import Topology, bias_name, weight_name

__all__ = [
    "HEAD",
    "LARGEST_BATCH",
    "LARGEST_CLASSES",
    "LARGEST_INPUT",
    "LAYER_FIELDS",
    "MAX_PHASES",
    "NUMBERS",
    "PHASE_FIELDS",
    "ROW",
    "TrainingLayout",
    "expect_trainable",
    "lacks_training",
    "phases",
]

# The output of a network is one tile wide.
LARGEST_CLASSES = 64
LARGEST_INPUT = 2**15
LARGEST_BATCH = 2**15
# The feed-forward start, the free phase, the readout of its scores, and at most two nudged phases.
MAX_PHASES = 5
# What a row of the table begins with: layers, readout, phases, batch, Adam, the copy of the states that the contrast
# holds the moved one against, and in units the length of a copy and the offset of the drive.
HEAD = 8
# What follows for each phase: sweeps, order, visits of a sweep, its topmost layer, whether a forward sweep reads a
# readout, the copy of the states, whether the states are fed forward, and whether a step's sign turns the nudge.
PHASE_FIELDS = 8
# What follows for each layer from the input to MAX_LAYERS: width, and the offsets of weights, bias and states.
LAYER_FIELDS = 4
LAYERS_AT = HEAD + PHASE_FIELDS * MAX_PHASES
ROW = LAYERS_AT + LAYER_FIELDS * (MAX_LAYERS + 2)
# What a row of numbers holds: clip, what the first slot keeps and takes, 1/d of the estimate, and a nudge each phase.
NUMBERS = 4 + MAX_PHASES + 3
FREE, MOVED, OPPOSITE = 0, 1, 2
OPTIMIZERS = ("sgd", "adam", "adamw")
COPIES = 3


def lacks_training(topology: Topology, rule: Rule, optimizer: OptimizerSettings) -> str | None:
    """Return what keeps a network from training whole in one launch, in words, or None where nothing does."""
    for unmet, reason in (
        (bool(topology.skips), f"it has the skips {topology.skips}, and a launch knows chains alone"),
        (
            topology.last > MAX_LAYERS,
            f"it has {topology.last} layers after the input, and at most {MAX_LAYERS} fit",
        ),
        (
            topology.sizes[0] > LARGEST_INPUT,
            f"its input has {topology.sizes[0]} units, and at most {LARGEST_INPUT} fit",
        ),
        (
            max(topology.sizes[1:]) > LARGEST_WIDTH,
            f"a layer has {max(topology.sizes[1:])} units, and at most {LARGEST_WIDTH} fit",
        ),
        (
            topology.sizes[-1] > LARGEST_CLASSES,
            f"it has {topology.sizes[-1]} classes, and at most {LARGEST_CLASSES} fit",
        ),
        (
            rule.estimate == "linearised",
            "its estimate is linearised, and a launch settles finite nudges alone",
        ),
        (
            "synchronous" in (rule.free.scheme, rule.nudged.scheme),
            "it settles synchronously, and a launch moves one layer after another",
        ),
        (
            max(rule.free.tolerance, rule.nudged.tolerance) > 0,
            "it stops at a tolerance, and a launch takes fixed numbers of sweeps",
        ),
        (
            optimizer.name not in OPTIMIZERS,
            f"its optimizer is {optimizer.name}, and a launch has {', '.join(OPTIMIZERS)}",
        ),
        (optimizer.spectral_cap is not None, "it caps spectral norms, which a launch does not"),
    ):
        if unmet:
            return reason
    return None


def expect_trainable(member: Member) -> None:
    """Raise KernelError for a member that cannot train whole in one launch, or whose parts do not fit together."""
    lack = lacks_training(member.topology, member.rule, member.optimizer)
    if lack:
        raise KernelError(f"a network cannot train whole in one launch: {lack}. Train it step by step.")
    member.rule.check(member.topology)
    check_learner(member.topology, member.parameters, batch=member.batch, arithmetic="fp32")
    if member.batch > LARGEST_BATCH:
        raise KernelError(
            f"batch must be at most {LARGEST_BATCH}, got {member.batch}. Train it step by step."
        )


def work(member: Member) -> int:
    """Count the multiplications of a step, about: what decides who starts first."""
    pairs = [padded(below) * padded(above) for below, above in _pairs(member.topology)]
    nudges = 2 if member.rule.estimate == "centred" else 1
    sweeps = member.rule.free.steps + nudges * member.rule.nudged.steps
    # A sweep uses every weight but the input's twice; start and contrast use each about three times.
    return member.batch * (2 * sweeps * sum(pairs[1:]) + 3 * sum(pairs))


def first_nudge(rule: Rule) -> float:
    """Return the nudge of the first nudged phase, at a positive sign."""
    return -rule.beta if rule.estimate == "negative" else rule.beta


def phases(member: Member) -> list[tuple[list[int], float]]:
    """Return the integers of each phase (PHASE_FIELDS) and its nudge, in the order in which they settle."""
    rule, last, readout = member.rule, member.topology.last, member.topology.has_readout
    top, nudge = last - readout, first_nudge(rule)
    order = ORDERS.index(rule.nudged.order)
    nudged = [rule.nudged.steps, order, last, last, int(readout)]
    found: list[tuple[list[int], float]] = [
        ([1, ORDERS.index("forward"), top, top, 0, FREE, 1, 0], 0.0),
        ([rule.free.steps, ORDERS.index(rule.free.order), top, top, 0, FREE, 0, 0], 0.0),
    ]
    if readout:
        # A backward sweep of one visit reads the scores alone; -(y - p) is their mistake, kept as the free state.
        found.append(([1, ORDERS.index("backward"), 1, last, 0, FREE, 0, 0], -1.0))
    found.append(([*nudged, MOVED, 0, int(rule.estimate == "random-sign")], nudge))
    if rule.estimate == "centred":
        found.append(([*nudged, OPPOSITE, 0, 0], -nudge))
    return found


@dataclass(frozen=True)
class TrainingLayout:
    """The flat buffers of `members`, all with as many inputs and classes, for they read the same data.

    `parameters` holds W_1 .. W_L of each network as [d_{k-1}, d_k], then b_1 .. b_L; an optimizer's slots lie as they
    do. `states` holds its input [B, d_0], then three copies of S_1 .. S_L as [B, d_k]: free, nudged, nudged the other
    way (the last layer is the output, or of a readout the mistake and the pulls). `drive` holds x W_1 + b_1 as
    [B, d_1]. Every side but B is padded to a multiple of 16.
    """

    members: tuple[Member, ...]

    def __post_init__(self) -> None:
        if not self.members:
            raise KernelError("a launch needs at least one network, got none.")
        for member in self.members:
            expect_trainable(member)
        for what, side in (("inputs", 0), ("classes", -1)):
            found = {member.topology.sizes[side] for member in self.members}
            if len(found) > 1:
                raise KernelError(
                    f"all networks of a launch must have as many {what}, got {sorted(found)}. Launch them apart."
                )
        # An offset counts units of 16 elements in 32 bits.
        if max(self.parameter_size, self.state_size, self.drive_size) >= UNIT * 2**31:
            raise KernelError(
                f"a buffer must have fewer than {UNIT * 2**31} elements. Launch fewer networks."
            )

    @property
    def inputs(self) -> int:
        """The number of inputs."""
        return self.members[0].topology.sizes[0]

    @property
    def classes(self) -> int:
        """The number of classes."""
        return self.members[0].topology.sizes[-1]

    @property
    def batch(self) -> int:
        """The most samples that any network takes in a step."""
        return max(member.batch for member in self.members)

    @cached_property
    def _places(self) -> tuple[list["_Place"], tuple[int, int, int]]:
        """Where each network lies, and the totals of parameters, states and drive, in elements."""
        places: list[_Place] = []
        parameter = state = drive = 0
        for member in self.members:
            pairs = _pairs(member.topology)
            weights, biases, states = [], [], [state]
            for below, above in pairs:
                weights.append(parameter)
                parameter += padded(below) * padded(above)
            state += member.batch * padded(member.topology.sizes[0])
            start = state
            for _, above in pairs:
                biases.append(parameter)
                parameter += padded(above)
                states.append(state)
                state += member.batch * padded(above)
            places.append(_Place(weights, biases, states, state - start, drive))
            state = start + COPIES * (state - start)
            drive += member.batch * padded(member.topology.sizes[1])
        return places, (parameter, state, drive)

    @property
    def parameter_size(self) -> int:
        """The length of `parameters` and of each slot."""
        return self._places[1][0]

    @property
    def state_size(self) -> int:
        """The length of `states`."""
        return self._places[1][1]

    @property
    def drive_size(self) -> int:
        """The length of `drive`."""
        return self._places[1][2]

    def table(self) -> Tensor:
        """Return the descriptors, (P, ROW) int32 on the CPU; widths and offsets in units of 16."""
        rows = [self._row(*each) for each in zip(self.members, self._places[0], strict=True)]
        return torch.tensor(rows, dtype=torch.int32)

    def _row(self, member: Member, place: "_Place") -> list[int]:
        topology, steps = member.topology, phases(member)
        other = OPPOSITE if member.rule.estimate == "centred" else FREE
        row = [topology.last, int(topology.has_readout), len(steps), member.batch]
        row += [int(member.optimizer.name != "sgd"), other, place.copy // UNIT, place.drive // UNIT]
        for integers, _ in steps:
            row += integers
        row += [0] * (LAYERS_AT - len(row))
        # Nothing feeds the input: it has states alone.
        row += [padded(topology.sizes[0]) // UNIT, 0, 0, place.states[0] // UNIT]
        for layer in range(1, topology.last + 1):
            offsets = (place.weights[layer - 1], place.biases[layer - 1], place.states[layer])
            row += [padded(topology.sizes[layer]) // UNIT, *(offset // UNIT for offset in offsets)]
        return row + [0] * (ROW - len(row))

    def numbers(self) -> Tensor:
        """Return what of each network is no integer, (P, NUMBERS) float32 on the CPU."""
        rows = []
        for member in self.members:
            adam = member.optimizer.name != "sgd"
            kept, taken = (ADAM_BETAS[0], 1.0 - ADAM_BETAS[0]) if adam else (member.optimizer.momentum, 1.0)
            away = np.sign(first_nudge(member.rule)) / distance(member.rule)
            row = [member.topology.clip, kept, taken, away, *(nudge for _, nudge in phases(member))]
            rows.append([*row, *[0.0] * (NUMBERS - len(row))])
        return torch.tensor(rows, dtype=torch.float32)

    def order(self) -> Tensor:
        """Return the networks, those with the most work first, (P,) int32 on the CPU: no long one starts last."""
        numbers = sorted(range(len(self.members)), key=lambda number: -work(self.members[number]))
        return torch.tensor(numbers, dtype=torch.int32)

    def view(self, flat: Tensor, network: int, name: str) -> Tensor:
        """Return a parameter of a network, or its slot, as a view of `flat` in the shape that its topology gives."""
        if not 0 <= network < len(self.members):
            raise KernelError(f"network must lie in [0, {len(self.members)}), got {network}.")
        sizes, place = self.members[network].topology.sizes, self._places[0][network]
        for layer, (below, above) in enumerate(_pairs(self.members[network].topology), start=1):
            if name == bias_name(layer):
                return flat[place.biases[layer - 1] :][:above]
            if name == weight_name(layer - 1, layer):
                start, wide = place.weights[layer - 1], padded(above)
                whole = flat[start : start + padded(below) * wide].view(padded(below), wide)
                return whole[:below, :above].mT
        raise KernelError(f"name must be of a parameter of a network {sizes}, got {name!r}.")

    def filled(self) -> Tensor:
        """Return `parameters` as the members begin, float32 on the CPU; the padding is 0."""
        flat = torch.zeros(self.parameter_size)
        for network, member in enumerate(self.members):
            for name in member.topology.parameter_shapes:
                value = torch.from_numpy(np.array(member.parameters[name], dtype=np.float64))
                self.view(flat, network, name).copy_(value)
        return flat

    def read(self, flat: Tensor, network: int) -> dict[str, Array]:
        """Return copies of the parameters of a network, or of a slot, by name, in the shapes of its topology."""
        kept = flat.cpu()
        names = self.members[network].topology.parameter_shapes
        return {name: np.array(self.view(kept, network, name).numpy(), order="C") for name in names}


@dataclass(frozen=True, slots=True)
class _Place:
    """Where one network begins, in elements: each layer's weights, bias and states, its drive; a copy's length."""

    weights: list[int]
    biases: list[int]
    # Of the input, then of the layers in the free copy.
    states: list[int]
    copy: int
    drive: int


def _pairs(topology: Topology) -> list[tuple[int, int]]:
    """Return the widths below and above each weight."""
    return list(itertools.pairwise(topology.sizes))
