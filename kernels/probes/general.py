"""Networks of the general learner as probes look at them: float64, by their own sweeps, nothing of them copied twice.

Of all probes' arithmetic this alone needs torch: couplings of the general learner are written in it, and the gradient
of a loss by the input goes back through the very sweeps that a prediction takes, by autograd. An attacker may do what a
local rule may not; no parameter is learned here.
"""

import math
from collections.abc import Mapping
from dataclasses import dataclass, field, fields

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from kernels.errors import KernelError
from kernels.general.activations import Clip, Logistic, make_activation
from kernels.general.lattice import LatticeStructure
from kernels.general.network import Motion, Network, Nudge
from kernels.general.network import States as Tensors
from kernels.general.quantise import quantised
from kernels.general.rules import GeneralRule
from kernels.general.structure import Structure
from kernels.learner import Array
from kernels.probes.draws import normal, uniform
from kernels.probes.exponent import Advance
from kernels.probes.victims import Slope
from kernels.rules import Relaxation
from kernels.topology import bias_name, weight_name

__all__ = [
    "GeneralDynamics",
    "GeneralVictim",
    "Silenced",
    "general_map",
    "met_weights",
    "network_of",
    "noisy",
    "silenced",
]

Float = NDArray[np.float64]
States = dict[int, Float]


@dataclass(frozen=True)
class Silenced(Network):
    """A network some of whose hidden units are silent: their states are 0 whatever they receive.

    `alive` holds 1 for a unit that lives and 0 for one that does not, by layer, in the shape of a sample's states.
    """

    alive: Mapping[int, Tensor] = field(default_factory=dict)

    def minimiser(self, states: Tensors, x: Tensor, layer: int, nudge: Nudge) -> Tensor:
        """Return where a layer goes, given the others, silent units at 0."""
        found = super().minimiser(states, x, layer, nudge)
        return found * self.alive[layer] if layer in self.alive else found

    def feed_forward(self, x: Tensor) -> Tensors:
        """Return the states that a free phase begins from, silent units at 0."""
        states: Tensors = {}
        for layer in self.state_layers:
            received = self.from_below(states, x, layer)
            if layer == self.last:
                states[layer] = received
            else:
                states[layer] = self.sparse(self.activation.apply(received)) * self.alive[layer]
        return states


def met_weights(
    parameters: Mapping[str, Array], rule: GeneralRule, bounds: Mapping[str, float] | None = None
) -> dict[str, Array]:
    """Return parameters as states meet them: matrices at the rule's bits of precision, biases as they are.

    Rounded in float32, as the learner rounds them: the same weights fall on the same level. `bounds` are those of a
    learner with a spectral cap, as `bounds.spectral_bounds` gives them; None where it has none.
    """
    held = bounds or {}
    found: dict[str, Array] = {}
    for name, value in parameters.items():
        array = np.asarray(value, dtype=np.float32)
        if array.ndim == 2 and rule.weight_bits != 32:
            array = quantised(torch.from_numpy(array.copy()), rule.weight_bits, held.get(name)).numpy()
        found[name] = array
    return found


def network_of(structure: Structure, met: Mapping[str, Array], rule: GeneralRule) -> Network:
    """Return the network of a learner in float64, on weights `met` as `met_weights` gives them, feedback included."""
    tensors = {name: torch.tensor(np.asarray(value, dtype=np.float64)) for name, value in met.items()}
    return Network(
        last=structure.last,
        output=structure.output,
        couplings=structure.couplings(tensors),
        biases={layer: tensors[bias_name(layer)] for layer in structure.biases},
        activation=make_activation(rule.activation, ceiling=structure.clip),
        keep=rule.keep,
        motion=Motion(rule.damping, rule.momentum),
    )


def noisy(structure: Structure, met: Mapping[str, Array], level: float, seed: bytes) -> dict[str, Float]:
    """Return weights with normal noise on every one, of `level` times the root mean square of its array.

    Biases stay, and so does what is off the mask of a cube: no noise can join units that are not joined.
    """
    masks = structure.masks if isinstance(structure, LatticeStructure) else {}
    kept = {weight_name(*edge): mask for edge, mask in masks.items()}
    result: dict[str, Float] = {}
    for name, value in met.items():
        array = np.asarray(value, dtype=np.float64)
        joined = kept.get(name.removeprefix("f"), np.ones(array.shape, dtype=np.bool_))
        if array.ndim == 2:
            size = level * float(np.sqrt(np.square(array[joined]).mean()))
            array = array + size * normal(seed, f"weights/{name}", *array.shape) * joined
        result[name] = array
    return result


def silenced(network: Network, x: Array, part: float, seed: bytes) -> Silenced:
    """Return the network with a share `part` of its hidden units silent, drawn from all hidden layers at once.

    A unit of a convolutional layer is one place of one channel. `x` (1 or more, n_0) only says what shapes states have.
    """
    if not 0.0 <= part <= 1.0:
        raise KernelError(f"the share of units to remove must lie in [0, 1], got {part}.")
    start = network.feed_forward(_tensor(x[:1]))
    hidden = {layer: tuple(state.shape[1:]) for layer, state in start.items() if layer != network.last}
    sizes = {layer: math.prod(shape) for layer, shape in hidden.items()}
    total = sum(sizes.values())
    order = np.argsort(uniform(seed, "removed", total), kind="stable")
    flat = np.ones(total)
    flat[order[: round(part * total)]] = 0.0
    alive, begin = {}, 0
    for layer, shape in hidden.items():
        alive[layer] = torch.from_numpy(flat[begin : begin + sizes[layer]].copy()).view(shape)
        begin += sizes[layer]
    return Silenced(**{each.name: getattr(network, each.name) for each in fields(network)}, alive=alive)


def _tensor(x: Array) -> Tensor:
    return torch.tensor(np.asarray(x, dtype=np.float64))


class GeneralDynamics:
    """The free sweeps of a network on a batch, in the words of `backends.reference.Reference`.

    `x` (b, n_0) are inputs, `y` (b, classes) their one-hot classes. States are (b, units) by layer. Where states have
    momentum a sweep depends on their last change too: it stands beside the states, by the negative of the layer.
    """

    def __init__(self, network: Network, x: Array, y: Array) -> None:
        self.network = network
        self.x = np.asarray(x, dtype=np.float64)
        self.y = np.asarray(y, dtype=np.float64)
        self._inputs = _tensor(self.x)
        start = network.feed_forward(self._inputs)
        self._shapes = {layer: tuple(state.shape[1:]) for layer, state in start.items()}

    def _out(self, states: Tensors, change: Tensors | None) -> States:
        found = {layer: state.flatten(1).numpy() for layer, state in states.items()}
        if change is not None:
            found |= {-layer: part.flatten(1).numpy() for layer, part in change.items()}
        return found

    def _in(self, states: States) -> tuple[Tensors, Tensors | None]:
        whole = {
            layer: torch.from_numpy(np.ascontiguousarray(value)).view(-1, *self._shapes[abs(layer)])
            for layer, value in states.items()
        }
        change = {-layer: value for layer, value in whole.items() if layer < 0}
        return {layer: value for layer, value in whole.items() if layer > 0}, change or None

    @property
    def _remembers(self) -> bool:
        return self.network.motion.momentum > 0.0

    @torch.no_grad()
    def feed_forward(self) -> States:
        """Return the states that a free phase starts from; nothing has changed yet."""
        states = self.network.feed_forward(self._inputs)
        still = {layer: torch.zeros_like(state) for layer, state in states.items()}
        return self._out(states, still if self._remembers else None)

    @torch.no_grad()
    def sweep(self, states: States, beta: float, relaxation: Relaxation, step: int) -> States:
        """Return the states after one free sweep. Raises KernelError for a `beta` other than 0."""
        if beta != 0.0:
            raise KernelError(f"a probe follows free phases, got beta {beta}. Use 0.0.")
        old, change = self._in(states)
        new = self.network.sweep(old, self._inputs, Nudge(), relaxation, step, change)
        moved = {layer: new[layer] - old[layer] for layer in new} if self._remembers else None
        return self._out(new, moved)

    def settle(self, states: States, beta: float, relaxation: Relaxation) -> tuple[States, int, float]:
        """Return the settled states, the sweeps taken and the largest change in the last."""
        residual = 0.0
        for step in range(relaxation.steps):
            new = self.sweep(states, beta, relaxation, step)
            residual = float(np.max([np.abs(new[l] - states[l]).max(initial=0.0) for l in new if l > 0]))
            states = new
            if relaxation.tolerance > 0 and not residual > relaxation.tolerance:
                return states, step + 1, residual
        return states, relaxation.steps, residual

    @torch.no_grad()
    def scores(self, states: States) -> Float:
        """Return the logits of the readout, or the output state, (b, classes)."""
        found, _ = self._in(states)
        return np.asarray(self.network.scores(found, self._inputs).numpy())

    def disturbed(self, relaxation: Relaxation, level: float, seed: bytes) -> States:
        """Return free states after sweeps each of which ends in normal noise of `level` times the activation's bound.

        The start counts as a sweep. What leaves the bounds of the activation is brought back to them.
        """
        activation = self.network.activation
        top = activation.ceiling if isinstance(activation, Clip) else 1.0
        low = 0.0 if isinstance(activation, Clip | Logistic) else -1.0

        def disturb(states: States, step: int) -> States:
            found = dict(states)
            for layer, value in states.items():
                if layer > 0:
                    moved = value + level * top * normal(seed, f"states/{step}/{layer}", *value.shape)
                    found[layer] = moved if layer == self.network.last else np.clip(moved, low, top)
            return found

        states = disturb(self.feed_forward(), -1)
        for step in range(relaxation.steps):
            states = disturb(self.sweep(states, 0.0, relaxation, step), step)
        return states


@dataclass(frozen=True)
class GeneralVictim:
    """A network as it predicts, attacked through the sweeps that it takes, which autograd follows back to the input.

    Unlike the exact adjoint of an equilibrium this gradient is exact however far from rest the sweeps end.
    """

    network: Network
    free: Relaxation

    @torch.no_grad()
    def scores(self, x: Float) -> Float:
        """Return logits, or the output states."""
        inputs = _tensor(x)
        return np.asarray(self.network.scores(self._settle(inputs), inputs).numpy())

    def attacked(self, x: Float, y: Float) -> Slope:
        """Return costs and their gradients by the input."""
        with torch.enable_grad():
            inputs = _tensor(x).requires_grad_()
            states = self._settle(inputs)
            losses = self.network.cost(states, inputs, _tensor(y))
            (gradient,) = torch.autograd.grad(losses.sum(), inputs)
            scores = self.network.scores(states, inputs)
        return Slope(scores.detach().numpy(), losses.detach().numpy(), gradient.numpy())

    def _settle(self, inputs: Tensor) -> Tensors:
        # `Network.relax` reads its residual off as a number, of which autograd warns.
        states, change = self.network.feed_forward(inputs), None
        for step in range(self.free.steps):
            new = self.network.sweep(states, inputs, Nudge(), self.free, step, change)
            change = {layer: new[layer] - states[layer] for layer in new}
            states = new
            residual = max(float(part.detach().abs().amax()) for part in change.values())
            if self.free.tolerance > 0 and residual <= self.free.tolerance:
                break
        return states


def general_map(network: Network, x: Array, relaxation: Relaxation) -> tuple[Advance, Float]:
    """Return the free sweep of one sample `x` (1, n_0) as a map with its tangents, and the state that it starts from.

    With momentum the state of the map is that of the network and its last change. Tangents are carried by derivatives
    of the sweep itself. Raises KernelError for more samples than one.
    """
    if len(x) != 1:
        raise KernelError(f"a settle map is that of 1 sample, got {len(x)}.")
    inputs = _tensor(x)
    with torch.no_grad():
        start = network.feed_forward(inputs)
    shapes = {layer: tuple(state.shape) for layer, state in start.items()}
    remembers = network.motion.momentum > 0.0

    def split(flat: Tensor) -> list[Tensors]:
        parts = torch.split_with_sizes(
            flat, [math.prod(shape) for shape in shapes.values()] * (1 + remembers)
        )
        whole = [part.view(shape) for part, shape in zip(parts, [*shapes.values()] * 2, strict=False)]
        count = len(shapes)
        return [dict(zip(shapes, whole[at : at + count], strict=True)) for at in range(0, len(whole), count)]

    def join(parts: list[Tensors]) -> Tensor:
        return torch.cat([state.flatten() for part in parts for state in part.values()])

    def sweep(flat: Tensor, step: int) -> Tensor:
        states, *change = split(flat)
        new = network.sweep(states, inputs, Nudge(), relaxation, step, change[0] if change else None)
        return join([new, *([{layer: new[layer] - states[layer] for layer in new}] if remembers else [])])

    def advance(state: Float, tangents: Float, step: int) -> tuple[Float, Float]:
        at = torch.from_numpy(np.ascontiguousarray(state))
        if not len(tangents):
            with torch.no_grad():
                return sweep(at, step).numpy(), tangents
        with torch.enable_grad():
            new = sweep(at.requires_grad_(), step)
            return new.detach().numpy(), _pushed(new, at, tangents)

    still = {layer: torch.zeros_like(state) for layer, state in start.items()}
    return advance, join([start, *([still] if remembers else [])]).numpy()


def _pushed(new: Tensor, at: Tensor, tangents: Float) -> Float:
    """Return tangents (k, n) moved through the sweep from `at` (n,) to `new` (n,).

    J v is the derivative by w of w J, times v: torch's own forward mode would load seconds of tables first.
    """
    if not new.requires_grad:
        # Nothing of the state is left after the sweep.
        return np.zeros_like(tangents)
    weights = torch.zeros_like(new, requires_grad=True)
    (pulled,) = torch.autograd.grad(
        new, at, weights, create_graph=True, allow_unused=True, materialize_grads=True
    )
    if not pulled.requires_grad:
        return np.zeros_like(tangents)
    rows = []
    for row in tangents:
        tangent = torch.from_numpy(np.ascontiguousarray(row))
        (moved,) = torch.autograd.grad(
            pulled, weights, tangent, retain_graph=True, allow_unused=True, materialize_grads=True
        )
        rows.append(moved.numpy())
    return np.stack(rows)
