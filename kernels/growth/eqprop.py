"""Classifiers of Equilibrium Propagation whose hidden layers grow without moving a bit of what they compute.

A network has arrays for as many units as it may come to have; the first ones of each layer are in use. A unit not in
use has zero weights both ways, and so has one just inserted but for those from the clamped input: the same products of
the same shapes are summed before and after. The weights are tied, so a unit with weights from another *state* layer
would pull on that layer through them and move the old equilibrium: new units begin with weights from the input alone.
"""

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np
import torch
from numpy.typing import NDArray

from kernels.arithmetic import Arithmetic
from kernels.backends.torch_backend import TorchLearner
from kernels.errors import KernelError
from kernels.general.activations import make_activation
from kernels.general.learner import GeneralLearner
from kernels.general.network import Motion, Network, Nudge
from kernels.general.rules import GeneralRule
from kernels.general.structure import DenseStructure
from kernels.learner import Array, StepReport
from kernels.parameters import Parameters
from kernels.rules import OptimizerSettings, Rule
from kernels.spectral import SLACK
from kernels.topology import Topology, bias_name, weight_name

__all__ = ["GrowingClassifier", "Shares", "newest_alone", "outlier_units"]

Floats = NDArray[np.float64]
# By parameter, of the shapes in use: the share of each step that an entry takes, in [0, 1]. 0 freezes it.
Shares = Mapping[str, Array]

# How often a step that would break a cap is halved before it is not taken at all.
HALVINGS = 12
CHUNK = 256


@dataclass(frozen=True)
class _Layout:
    """Where each parameter lies in a learner's block: offset and shape by name; biases from `bias_start` on."""

    places: Mapping[str, tuple[int, tuple[int, ...]]]
    bias_start: int
    total: int

    @classmethod
    def of(cls, topology: Topology) -> "_Layout":
        shapes = topology.parameter_shapes
        block = Parameters(
            topology, Arithmetic(), [{name: np.zeros(shape) for name, shape in shapes.items()}]
        )
        places = {
            name: (int(block.views[name].value.storage_offset()), shape) for name, shape in shapes.items()
        }
        return cls(places, block.bias_start, block.flat.value.numel())

    def view(self, flat: Array, name: str) -> Array:
        """The part of a block (total,) that is one parameter, in its shape; writing to it writes to the block."""
        start, shape = self.places[name]
        return flat[start : start + math.prod(shape)].reshape(shape)

    def part(self, flat: Array, slot: str, size: int) -> Array:
        """What of a block (total,) belongs to an optimizer's slot, by the slot's name and number of entries."""
        owner = next((name for name in self.places if f".{name}." in f".{slot}"), None)
        if owner is not None:
            return self.view(flat, owner)
        return flat if size == self.total else flat[self.bias_start :]


class GrowingClassifier:
    """A network that learns by Equilibrium Propagation and to whose hidden layers units can be added.

    `topology` says how large each layer may become, `widths` how many units of each hidden layer are in use;
    `parameters` are those in use, of the shapes of `active`. A `Rule` runs on the engine of torch, a `GeneralRule` (for
    other activations than the clip) on the general learner; `precision` is float32 where left out. Muon scales its
    steps by the shapes of `topology`. Raises KernelError for widths or parameters that do not fit, and for rules whose
    old units would feel new ones: own feedback weights, top-k sparsity, weights of few bits, sleep, updates within a
    phase, the optimizer dion.
    """

    def __init__(
        self,
        topology: Topology,
        widths: Sequence[int],
        parameters: Mapping[str, Array],
        rule: Rule | GeneralRule,
        optimizer: OptimizerSettings,
        *,
        batch: int,
        precision: Arithmetic | None = None,
    ) -> None:
        _check_rule(rule, optimizer)
        if isinstance(rule, Rule) and precision is not None:
            raise KernelError(
                "the engine computes in float32, got a precision. Leave it out, or use GeneralRule."
            )
        self.topology = topology
        self._rule, self._cap = rule, optimizer.spectral_cap
        self._smooth = isinstance(rule, GeneralRule) and rule.activation != "clip"
        self._layout = _Layout.of(topology)
        self._widths = _checked_widths(topology, widths)
        self._precision = precision or Arithmetic()
        padded = self._padded(parameters)
        self._learner: TorchLearner | GeneralLearner
        if isinstance(rule, Rule):
            rule.check(topology)
            self._learner = TorchLearner(topology, padded, rule, optimizer, batch=batch)
        else:
            self._learner = GeneralLearner(
                topology, padded, rule, optimizer, batch=batch, precision=precision
            )
        self._chosen: Array | None = None
        self._shares = self._effective()

    @property
    def widths(self) -> tuple[int, ...]:
        """Units in use of each hidden layer, the lowest first."""
        return self._widths

    @property
    def active(self) -> Topology:
        """The network in use: the topology with the present widths."""
        return replace(self.topology, sizes=(self.topology.sizes[0], *self._widths, self.topology.sizes[-1]))

    def step(self, x: Array, y: Array, *, scale: float, sign: int = 1) -> StepReport:
        """Learn from a batch as any learner does; of the step each parameter takes its share (`learn_only`).

        With shares, a step that would lift a recurrent weight beyond the spectral cap is shortened until it does not.
        """
        if self._shares is None:
            return self._learner.step(x, y, scale=scale, sign=sign)
        before = self._learner.state()["parameters"]
        report = self._learner.step(x, y, scale=scale, sign=sign)
        after = self._learner.state()
        stepped = after["parameters"]
        # What is not finite stays as it came out: the learner itself ends the run at its next step.
        if report.finite and np.isfinite(stepped).all():
            moved = before + self._shares * (stepped - before)
            # Not the sum alone: a whole step, and none at all, must be that bit for bit.
            mixed = np.where(self._shares == 1.0, stepped, np.where(self._shares == 0.0, before, moved))
            after["parameters"] = self._within_cap(before, mixed)
            self._learner.load(after)
        return report

    def predict(self, x: Array) -> Array:
        """Return scores (n, classes) for `x` (n, n_0), any n: logits, or the output state."""
        return self._learner.predict(x)

    def settled(self, x: Array) -> dict[int, Array]:
        """Return the states (n, width) of the hidden layers at the end of the free phase, by layer."""
        free = self._rule.free
        values = {name: torch.from_numpy(value) for name, value in self._learner.parameters().items()}
        activation, motion = "clip", Motion()
        if isinstance(self._rule, GeneralRule):
            activation, motion = self._rule.activation, Motion(self._rule.damping, self._rule.momentum)
        network = Network(
            self.topology.last,
            self.topology.output,
            DenseStructure(self.topology).couplings(values),
            {layer: values[bias_name(layer)] for layer in range(1, self.topology.last + 1)},
            make_activation(activation, ceiling=self.topology.clip),
            motion=motion,
        )
        parts: dict[int, list[Array]] = {layer: [] for layer in self.topology.hidden_layers}
        for start in range(0, len(x), CHUNK):
            inputs = torch.from_numpy(np.ascontiguousarray(x[start : start + CHUNK])).to(
                self._precision.dtype
            )
            found = network.relax(network.feed_forward(inputs), inputs, Nudge(), free).states
            for layer, kept in parts.items():
                kept.append(found[layer].numpy()[:, : self._widths[layer - 1]])
        return {layer: np.concatenate(kept) for layer, kept in parts.items()}

    def parameters(self) -> dict[str, Array]:
        """Return copies of the parameters in use, of the shapes of `active`."""
        held = self._learner.parameters()
        return {name: held[name][self._in_use(name)].copy() for name in self.topology.parameter_shapes}

    def insert(self, layer: int, rows: Array, biases: Array) -> None:
        """Add len(rows) units to a hidden layer, whose weights from the input are `rows` (k, n_0); ends any phase.

        All other weights of theirs are zero, so that old states and scores are bit for bit what they were. Optimizer
        slots of old parameters stay, those of the new ones are empty; the count of Adam's steps is one for all, so that
        new units step faster at first, unless `forget` comes before. Raises KernelError for a layer that the input
        does not feed, rows or `biases` (k,) that do not fit, and beyond the capacity.
        """
        new = self._place_for(layer, rows, biases)
        state = self._learner.state()
        fresh = self._block(0.0)
        for name in self._touching(layer):
            self._layout.view(fresh, name)[_at(name, layer, new)] = 1.0
        for slot, values in self._slots(state):
            values[self._layout.part(fresh, slot, values.size) == 1.0] = 0.0
        flat = state["parameters"]
        flat[fresh == 1.0] = 0.0
        self._layout.view(flat, weight_name(0, layer))[new] = rows
        self._layout.view(flat, bias_name(layer))[new] = biases
        self._learner.load(state)
        widths = list(self._widths)
        widths[layer - 1] = new.stop
        self._widths, self._chosen = tuple(widths), None
        self._shares = self._effective()

    def learn_only(self, shares: Shares | None) -> None:
        """Begin a phase: of each step an entry takes its share; parameters left out of `shares` are frozen.

        None lets all learn. A share of 0 leaves an entry bit for bit as it is, weight decay and caps included; an entry
        that was frozen and learns again begins with empty optimizer slots. Raises KernelError for shares that do not
        fit.
        """
        chosen = None if shares is None else self._chosen_block(shares)
        if self._chosen is not None:
            learns = np.ones(self._layout.total, dtype=bool) if chosen is None else chosen > 0.0
            self._empty(np.where((self._chosen == 0.0) & learns, 1.0, 0.0))
        self._chosen = chosen
        self._shares = self._effective()

    def forget(self) -> None:
        """Empty all optimizer slots, and let step counts begin anew: what a new phase of learning starts from."""
        state = self._learner.state()
        for _, values in self._slots(state):
            values[...] = 0.0
        for name, values in state.items():
            if name.endswith(".count"):
                values[...] = 0.0
        self._learner.load(state)

    def state(self) -> dict[str, Array]:
        """Return copies of all that is needed to continue bit for bit, widths and shares included."""
        held = self._learner.state() | {"widths": np.array(self._widths)}
        return held if self._chosen is None else held | {"shares": self._chosen.copy()}

    def load(self, state: Mapping[str, Array]) -> None:
        """Continue from a `state`; raises KernelError for one of another network or optimizer."""
        if "widths" not in state:
            raise KernelError(
                "the state of a growing classifier names its widths; this one does not. Use its own."
            )
        widths = _checked_widths(self.topology, [int(width) for width in state["widths"]])
        chosen = state.get("shares")
        if chosen is not None and chosen.shape != (self._layout.total,):
            raise KernelError(f"shares in a state must be ({self._layout.total},), got {chosen.shape}.")
        self._learner.load({name: value for name, value in state.items() if name not in ("widths", "shares")})
        self._widths, self._chosen = widths, None if chosen is None else np.array(chosen)
        self._shares = self._effective()

    def _in_use(self, name: str) -> tuple[slice, ...]:
        return tuple(slice(size) for size in self.active.parameter_shapes[name])

    def _padded(self, parameters: Mapping[str, Array]) -> dict[str, Array]:
        padded: dict[str, Array] = {}
        for name, shape in self.active.parameter_shapes.items():
            came = np.shape(parameters[name]) if name in parameters else "nothing"
            if came != shape:
                raise KernelError(f"parameter {name!r} in use must have the shape {shape}, got {came}.")
            padded[name] = np.zeros(self.topology.parameter_shapes[name])
            padded[name][self._in_use(name)] = parameters[name]
        return padded

    def _place_for(self, layer: int, rows: Array, biases: Array) -> slice:
        """The units that come next in a layer; raises KernelError where they cannot."""
        if layer not in self.topology.hidden_layers or layer not in self.topology.fed:
            raise KernelError(
                f"layer {layer} must be a hidden layer that the input feeds: weights from other layers are tied, and "
                f"would move them. Grow one of {sorted(set(self.topology.fed) & set(self.topology.hidden_layers))}, or "
                f"give the topology the skip (0, {layer})."
            )
        old, room, inputs = self._widths[layer - 1], self.topology.sizes[layer], self.topology.sizes[0]
        fits = rows.ndim == 2 and rows.shape[1] == inputs and biases.shape == (len(rows),)
        if not fits or old + len(rows) > room or not (np.isfinite(rows).all() and np.isfinite(biases).all()):
            raise KernelError(
                f"layer {layer} takes finite rows of {inputs} weights and one bias each, for at most {room - old} more "
                f"units, got {rows.shape} and {biases.shape}. Make the topology larger, or add fewer."
            )
        return slice(old, old + len(rows))

    def _touching(self, layer: int) -> Iterator[str]:
        for source, target in self.topology.connections:
            if layer in (source, target):
                yield weight_name(source, target)
        yield bias_name(layer)

    def _block(self, value: float) -> Floats:
        return np.full(self._layout.total, value)

    def _chosen_block(self, shares: Shares) -> Floats:
        block = self._block(0.0)
        for name, share in shares.items():
            shape = self.active.parameter_shapes.get(name)
            if shape != np.shape(share) or not (np.min(share) >= 0.0 and np.max(share) <= 1.0):
                raise KernelError(
                    f"shares are arrays in [0, 1] of the shapes in use, {dict(self.active.parameter_shapes)}, got "
                    f"{np.shape(share)} for {name!r}. Make them after the units were inserted."
                )
            self._layout.view(block, name)[self._in_use(name)] = share
        return block

    def _effective(self) -> Array | None:
        """The shares of a step; None where steps need none.

        Units not in use stay zero by themselves under a clip, whose gradient of them is zero. A smooth activation is
        not zero at rest, and a cap goes through decompositions.
        """
        if self._chosen is None and not self._smooth and self._cap is None:
            return None
        dtype = torch.zeros((), dtype=self._precision.dtype).numpy().dtype
        if self._chosen is not None:
            return self._chosen.astype(dtype)
        block = self._block(0.0)
        for name in self.topology.parameter_shapes:
            self._layout.view(block, name)[self._in_use(name)] = 1.0
        return block.astype(dtype)

    def _slots(self, state: Mapping[str, Array]) -> Iterator[tuple[str, Array]]:
        """The optimizer's slots that hold a number for each parameter; writing to them writes to the state."""
        for name, values in state.items():
            if name.partition(".")[2] in ("first", "second", "velocity") or name.endswith(".velocity"):
                yield name, values

    def _empty(self, entries: Floats) -> None:
        state = self._learner.state()
        for slot, values in self._slots(state):
            values[self._layout.part(entries, slot, values.size) == 1.0] = 0.0
        self._learner.load(state)

    def _within_cap(self, before: Array, after: Array) -> Array:
        """The parameters after a step, or after the longest part of it, by halves, that keeps within the cap."""
        if self._cap is None or self._chosen is None:
            return after
        kept = after.copy()
        for source, target in self.topology.recurrent:
            name = weight_name(source, target)
            old, new = self._layout.view(before, name), self._layout.view(after, name)
            self._layout.view(kept, name)[...] = _shortened(old, new, self._cap * (1.0 + SLACK))
        return kept


def newest_alone(active: Topology, layer: int, mature: int) -> dict[str, Array]:
    """Shares by which only the units of a layer from number `mature` on learn: their biases and weights both ways."""
    shares: dict[str, Array] = {}
    new = slice(mature, active.sizes[layer])
    for source, target in active.connections:
        if layer in (source, target):
            name = weight_name(source, target)
            shares[name] = np.zeros(active.parameter_shapes[name])
            shares[name][_at(name, layer, new)] = 1.0
    shares[bias_name(layer)] = np.zeros(active.sizes[layer])
    shares[bias_name(layer)][new] = 1.0
    return shares


def outlier_units(outliers: Array, count: int, *, selectivity: float) -> tuple[Floats, Floats]:
    """Weights (count, n_0) and biases (count,) of new units: normalised outliers, the worst first.

    The bias takes `selectivity` of what a unit receives from its own outlier, so that it answers to what resembles
    that. Where there are fewer outliers than units they are taken again. Raises KernelError without an outlier.
    """
    if not len(outliers):
        raise KernelError("new units start from outliers, and there is none. Grow only where outliers are.")
    chosen = np.asarray(outliers[np.arange(count) % len(outliers)], dtype=np.float64)
    norms = np.linalg.norm(chosen, axis=1, keepdims=True)
    return chosen / np.where(norms > 0, norms, 1.0), -selectivity * norms[:, 0]


def _at(name: str, layer: int, units: slice) -> slice | tuple[slice, slice]:
    """Where the entries of a layer's units lie in one of its parameters: rows, columns, or places of a bias."""
    return (slice(None), units) if name.startswith(f"w{layer}-") else units


def _checked_widths(topology: Topology, widths: Sequence[int]) -> tuple[int, ...]:
    hidden = topology.sizes[1:-1]
    if len(widths) != len(hidden) or not all(1 <= w <= top for w, top in zip(widths, hidden, strict=False)):
        raise KernelError(
            f"widths must be one number for each hidden layer, from 1 to its capacity {hidden}, got {tuple(widths)}."
        )
    return tuple(widths)


def _check_rule(rule: Rule | GeneralRule, optimizer: OptimizerSettings) -> None:
    """Raise KernelError for what would let old units feel new ones, or step where shares cannot reach."""
    if optimizer.name == "dion":
        raise KernelError("dion's basis has no place for new units. Use sgd, adam, adamw or muon.")
    if isinstance(rule, Rule):
        return
    faults = {
        "feedback of its own": rule.feedback != "tied",
        "top-k sparsity": rule.keep < 1.0,
        "weights of few bits": rule.weight_bits != 32,
        "sleep": rule.sleep is not None,
        "the continual estimate": rule.estimate == "continual",
        "predictive coding": rule.estimate == "predictive-coding",
    }
    found = [name for name, is_there in faults.items() if is_there]
    if found:
        raise KernelError(f"a network that grows cannot have {' or '.join(found)}. Leave it out.")


def _shortened(old: Array, new: Array, limit: float) -> Array:
    part = new
    for halving in range(1, HALVINGS + 1):
        if np.linalg.norm(part.astype(np.float64), 2) <= limit:
            return part
        part = old + (new - old) * 2.0**-halving
    return old
