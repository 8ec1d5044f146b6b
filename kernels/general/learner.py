"""One network that learns by any rule of the family, on the CPU with torch, without autograd."""

import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace

import numpy as np
import torch
from torch import Tensor

from kernels.arithmetic import Arithmetic
from kernels.buffers import CHUNK
from kernels.diagnostics import WATCHED_SWEEPS, Diagnostics, classify
from kernels.errors import DivergedError, KernelError
from kernels.general.activations import Relu, make_activation
from kernels.general.backward import Backward
from kernels.general.bounds import feedback_caps, forward_caps, spectral_bounds
from kernels.general.estimators import (
    Clamped,
    Continual,
    Estimator,
    Gradient,
    Learned,
    Nudged,
    added,
)
from kernels.general.feedback import Asymmetric, feedback_values, uniform, untied
from kernels.general.heads import HeadedStructure, membership
from kernels.general.holomorphic import Holomorphic
from kernels.general.network import Motion, Network, Nudge, States
from kernels.general.predictive import Predictive
from kernels.general.quantise import quantised
from kernels.general.rules import GeneralRule
from kernels.general.structure import DenseStructure, Structure, feedback_name
from kernels.general.watch import watch
from kernels.inputs import class_tensor, input_tensor, one_hot
from kernels.learner import (
    DIVERGED_HINT,
    LARGEST_BATCH,
    Array,
    StepReport,
    check_finite,
    check_rows,
    check_step,
)
from kernels.making import make_optimizers
from kernels.parameters import Parameters
from kernels.rules import OptimizerSettings, Relaxation
from kernels.slots import Remembers, load_state, read_state
from kernels.spectral import spectral_norm
from kernels.topology import Topology, bias_name

__all__ = ["GeneralLearner", "estimator_of"]

BACKEND = "torch-cpu"


@dataclass(frozen=True)
class Shapes:
    """The parameters of a network by name, as blocks of memory want them: weights first, then biases."""

    parameter_shapes: Mapping[str, tuple[int, ...]]


class Ticks:
    """The number of updates taken, remembered like an optimizer's slots."""

    def __init__(self) -> None:
        self.count = torch.zeros((), dtype=torch.int64)
        self.slots = {"ticks": self.count}


def estimator_of(rule: GeneralRule) -> Estimator:
    """Return the estimator that a rule names."""
    if rule.estimate == "backprop":
        return Backward()
    if rule.estimate == "predictive-coding":
        return Predictive(rule.nudged)
    if rule.estimate == "holomorphic":
        return Holomorphic(rule.points, rule.beta, rule.free, rule.nudged)
    if rule.estimate == "continual":
        return Continual(rule.beta, rule.free, rule.nudged)
    if rule.estimate in ("coupled", "contrastive-hebbian"):
        return Clamped(rule.estimate == "contrastive-hebbian", rule.beta, rule.free, rule.nudged)
    if rule.feedback != "tied":
        back = rule.feedback == "homeostatic"
        return Asymmetric(rule.beta, rule.free, rule.nudged, back, rule.homeostasis if back else 0.0)
    return Nudged(rule.estimate, rule.beta, rule.free, rule.nudged)


def shapes_of(structure: Structure, rule: GeneralRule) -> Shapes:
    """Return the parameters of a network; feedback weights of its own have the shapes of their forward ones."""
    weights = {weight.name: weight.shape for weight in structure.weights}
    back = {}
    if rule.feedback != "tied":
        if not structure.untieable:
            raise KernelError(
                f"feedback {rule.feedback!r} needs dense weights, which this network sends nothing back through."
            )
        back = {feedback_name(name): weights[name] for name in structure.untieable}
    biases = {bias_name(layer): (size,) for layer, size in structure.biases.items()}
    return Shapes({**weights, **back, **biases})


def check_heads(structure: Structure, rule: GeneralRule) -> None:
    """Raise KernelError where several heads meet what would mix them, or cannot tell whose sample it sees."""
    if not isinstance(structure, HeadedStructure):
        return
    if rule.estimate in ("holomorphic", "predictive-coding") or rule.feedback != "tied" or rule.sleep:
        raise KernelError(
            "several heads on one body learn by the plain nudged estimates, coupled, contrastive-hebbian, continual "
            f"and backprop, with tied feedback and no sleep; got {rule.estimate!r}, feedback {rule.feedback!r}, sleep "
            f"{'on' if rule.sleep else 'off'}."
        )


def check_values(shapes: Shapes, values: Mapping[str, Array]) -> None:
    """Raise KernelError unless `values` hold every parameter, finite, in its shape."""
    for name, shape in shapes.parameter_shapes.items():
        came = np.shape(values[name]) if name in values else "nothing"
        if came != shape:
            raise KernelError(f"parameter {name!r} must have the shape {shape}, got {came}.")
        check_finite(name, values[name])


class GeneralLearner:
    """A network that learns by a rule of the family; see `GeneralRule`.

    `parameters` are those of the structure (of a `Topology`: dense layers), and feedback weights ("fw1-2") where the
    rule has them: without, they are drawn from `seed` (32 bytes) in the spread of their forward weights. `precision`
    is float32 where left out. Raises KernelError for what does not fit.
    """

    def __init__(
        self,
        structure: Structure | Topology,
        parameters: Mapping[str, Array],
        rule: GeneralRule,
        optimizer: OptimizerSettings,
        *,
        batch: int,
        seed: bytes = bytes(32),
        precision: Arithmetic | None = None,
    ) -> None:
        if isinstance(structure, Topology):
            structure = DenseStructure(structure)
        rule.check(structure.output)
        check_heads(structure, rule)
        if not 1 <= batch <= LARGEST_BATCH:
            raise KernelError(f"batch must lie in [1, {LARGEST_BATCH}], got {batch}.")
        if rule.estimate == "continual" and optimizer.name != "sgd":
            raise KernelError(
                f"continual Equilibrium Propagation steps at every sweep and takes sgd, got {optimizer.name!r}."
            )
        self.backend = BACKEND
        self.structure, self.rule = structure, rule
        self._batch, self._seed, self._steps, self._failed_at = batch, seed, 0, 0
        self._estimator = estimator_of(rule)
        self._arithmetic = precision or Arithmetic()
        heads = structure.heads if isinstance(structure, HeadedStructure) else ()
        self._heads = membership(heads).to(self._arithmetic.dtype) if heads else None
        shapes = shapes_of(structure, rule)
        check_values(Shapes({n: s for n, s in shapes.parameter_shapes.items() if n[0] != "f"}), parameters)
        values = {**feedback_values(shapes.parameter_shapes, parameters, seed), **parameters}
        check_values(shapes, values)
        with torch.inference_mode():
            self._parameters = Parameters(shapes, self._arithmetic, [values])
            self._optimizers = make_optimizers(self._parameters, [optimizer], units=[1.0])
            self._bounds = spectral_bounds(structure, optimizer.spectral_cap)
            self._ticks = Ticks()
            self._scale = 1.0
            self._healthy = True
            self._network = self._build()
            tensors = {name: view.value for name, view in self._parameters.views.items()}
            self._caps = forward_caps(self._bounds, tensors, self._network.couplings)
            back = feedback_caps(self._bounds, tensors, self._network.couplings)
            # What stays random has been clipped once, and rests.
            self._back_caps = [] if rule.feedback == "fixed" else back
            self._weights_moved()

    def _value(self, name: str) -> Tensor:
        return self._parameters.views[name].value

    def _build(self) -> Network:
        views = {name: view.value for name, view in self._parameters.views.items()}
        # What states meet: the masters, or their copies of few bits.
        self._met = {
            name: view if self.rule.weight_bits == 32 or view.dim() == 1 else view.clone()
            for name, view in views.items()
        }
        structure, backward = self.structure, self.rule.estimate == "backprop"
        return Network(
            structure.last,
            structure.output,
            structure.couplings(self._met),
            {layer: views[bias_name(layer)] for layer in structure.biases},
            Relu() if backward else make_activation(self.rule.activation, ceiling=structure.clip),
            self.rule.keep,
            Motion(self.rule.damping, self.rule.momentum),
        )

    def _weights_moved(self) -> None:
        """Let what is made of the weights follow them: their copies of few bits, and what an input sent."""
        for coupling in self._network.couplings:
            coupling.forget()
        for name, met in self._met.items():
            master = self._value(name)
            if met is not master:
                met.copy_(quantised(master, self.rule.weight_bits, self._bounds.get(name)))

    def _update(self, gradient: Gradient) -> None:
        """Step by a mean gradient; names that it does not hold have none."""
        views = self._parameters.gradient_views
        for name, view in views.items():
            if name in gradient:
                view.copy_(gradient[name])
            else:
                view.zero_()
        self._healthy = self._healthy and bool(torch.isfinite(self._parameters.gradient).all())
        before = self._followed()
        # Feedback that has no gradient takes no step either: a weight decay of the optimizer is not the rule's.
        backs = () if self.rule.feedback == "homeostatic" else tuple(map(feedback_name, before))
        kept = {name: self._value(name).clone() for name in backs}
        for optimizer in self._optimizers:
            optimizer.update(self._scale)
        for name, value in kept.items():
            self._value(name).copy_(value)
        self._finish_step(before)
        self._approach(before)
        for back_cap in self._back_caps:
            back_cap.apply()
        self._ticks.count += 1
        self._weights_moved()

    def _followed(self) -> dict[str, Tensor]:
        """Return copies of the weights that have feedback weights of their own, as they are before a step."""
        names = dict.fromkeys(coupling.name for coupling in untied(self._network))
        return {name: self._value(name).clone() for name in names}

    def _finish_step(self, before: Mapping[str, Tensor]) -> None:
        """Cap what has stepped, and let Kolen-Pollack's B take the steps that W has taken: B <- B + W - W_before.

        After the caps: steps that these take back would else stay in B alone, which then grows without bound.
        """
        for cap in self._caps:
            cap.apply()
        if self.rule.feedback == "kolen-pollack":
            for name, old in before.items():
                self._value(feedback_name(name)).add_(self._value(name) - old)

    def _approach(self, names: Iterable[str]) -> None:
        """Take feedback weights nearer to their forward ones, as the rule says; those that learn have stepped alike."""
        rate, kind = self.rule.feedback_rate, self.rule.feedback
        for name in names:
            weight, back = self._value(name), self._value(feedback_name(name))
            if kind == "kolen-pollack":
                decay = 1.0 - rate * self._scale
                back.mul_(decay)
                weight.mul_(decay)
            elif kind == "mirror":
                noise = self._noise((weight.shape[1], weight.shape[1]), name)
                # Sent up through W, noise comes back correlated with itself as W is: E[(W xi) xi^T] = W.
                seen = (weight @ noise) @ noise.mT / noise.shape[1]
                back.add_(rate * (seen - back))

    def _noise(self, shape: tuple[int, ...], purpose: str) -> Tensor:
        """Return independent numbers of mean 0 and variance 1, uniform in +-sqrt(3)."""
        # Drawn anew from the number of updates, so that a resumed run draws the same.
        drawn = uniform(self._seed, f"{purpose}/{int(self._ticks.count)}", shape) * math.sqrt(3.0)
        return torch.from_numpy(drawn).to(self._arithmetic.dtype)

    def _inputs(self, x: Array) -> Tensor:
        return input_tensor(x, self.structure.inputs).to(self._arithmetic.dtype)

    def _targets(self, y: Array, rows: int) -> Tensor:
        out = torch.zeros(self.structure.classes, rows, dtype=self._arithmetic.dtype)
        one_hot(out, class_tensor(y, (rows,)))
        return out.mT

    def _heard(self, targets: Tensor) -> Network:
        """Return the network as the samples of a batch meet it: each has the outputs of its label's head."""
        if self._heads is None:
            return self._network
        return replace(self._network, mask=self._heads[targets.argmax(dim=1)])

    @torch.inference_mode()
    def step(self, x: Array, y: Array, *, scale: float, sign: int = 1) -> StepReport:
        """Learn from a batch; raises DivergedError once an earlier step was not finite."""
        assert torch.is_inference_mode_enabled(), "a local rule never records a graph"
        if self._failed_at:
            raise DivergedError("states or parameters were", self._failed_at, DIVERGED_HINT)
        inputs = self._inputs(x)
        check_step(len(inputs), self._batch, scale, [sign])
        self._scale, self._healthy = scale, True
        targets = self._targets(y, len(inputs))
        learned = self._estimator.learn(self._heard(targets), inputs, targets, self._update, sign=sign)
        self._steps += 1
        if self.rule.sleep is not None and self._steps % self.rule.sleep.every == 0:
            self._sleep()
        if not self._healthy:
            self._failed_at = self._steps
        return StepReport(learned.free_steps, learned.nudged_steps, learned.residual, self._healthy)

    def _sleep(self) -> None:
        """Settle from noise and unlearn what comes: W <- W - rate <s_l s_{l-1}^T>; so does Kolen-Pollack's B."""
        sleep = self.rule.sleep
        assert sleep is not None
        rows = min(self._batch, 64)
        x = self._noise((rows, self.structure.inputs), "dream").clamp(0.0, 1.0)
        start: States = {
            layer: self._network.activation.apply(self._noise(tuple(state.shape), f"s{layer}"))
            for layer, state in self._network.feed_forward(x).items()
        }
        relaxation = Relaxation(
            self.rule.free.scheme, self.rule.free.order, sleep.steps, step_size=self.rule.free.step_size
        )
        states = self._network.relax(start, x, Nudge(), relaxation).states
        before = self._followed()
        for coupling in self._network.couplings:
            if coupling.target in self._network.state_layers:
                low = self._network.layer(states, x, coupling.source)
                dreamt = coupling.product(low, states[coupling.target]) / rows
                self._value(coupling.name).sub_(sleep.rate * self._scale * dreamt)
        self._finish_step(before)
        for back_cap in self._back_caps:
            back_cap.apply()
        self._weights_moved()

    @torch.inference_mode()
    def predict(self, x: Array) -> Array:
        """Return scores (n, classes) for `x` (n, n_0), any n: logits, or the output state."""
        inputs = self._inputs(x)
        out = torch.empty(len(inputs), self.structure.classes, dtype=self._arithmetic.dtype)
        for start in range(0, len(inputs), CHUNK):
            chunk = inputs[start : start + CHUNK]
            for network, columns in self._askable(len(chunk)):
                scores = network.scores(self._estimator.settle(network, chunk), chunk)
                out[start : start + CHUNK, columns] = scores[:, columns]
        return np.asarray(out.numpy())

    def _askable(self, rows: int) -> list[tuple[Network, slice]]:
        """Return the networks that `rows` samples are shown to, and the scores that are read from each.

        Heads outside the energy are read from one; of heads inside it, each settles without the others.
        """
        structure = self.structure
        if not isinstance(structure, HeadedStructure) or structure.output == "ce":
            return [(self._network, slice(None))]
        found, offset = [], 0
        for classes in structure.heads:
            mask = torch.zeros(rows, structure.classes, dtype=self._arithmetic.dtype)
            mask[:, offset : offset + classes] = 1.0
            found.append((replace(self._network, mask=mask), slice(offset, offset + classes)))
            offset += classes
        return found

    def parameters(self) -> dict[str, Array]:
        """Return copies of the parameters by name, feedback weights included."""
        return self._parameters.read(0)

    def state(self) -> dict[str, Array]:
        """Return copies of all that is needed to continue bit for bit."""
        return read_state(self._parameters, self._holders(), self._steps)

    def _holders(self) -> list[Remembers]:
        return [*self._optimizers, *self._caps, self._ticks]

    @torch.inference_mode()
    def load(self, state: Mapping[str, Array]) -> None:
        """Continue from a `state`; raises KernelError for one of another network or rule."""
        self._steps = load_state(self._parameters, self._holders(), state)
        self._weights_moved()
        self._failed_at = 0

    @torch.inference_mode()
    def gradient(self, x: Array, y: Array, *, sign: int = 1) -> tuple[dict[str, Array], Learned]:
        """Return the update that the rule forms on a batch (summed, where it forms several), without taking it."""
        inputs = self._inputs(x)
        check_rows(len(inputs), self._batch)
        total: dict[str, Tensor] = {}

        def keep(gradient: Gradient) -> None:
            for name, part in gradient.items():
                added(total, name, part)

        targets = self._targets(y, len(inputs))
        learned = self._estimator.learn(self._heard(targets), inputs, targets, keep, sign=sign)
        return {name: part.numpy().copy() for name, part in total.items()}, learned

    @torch.inference_mode()
    def diagnose(self, x: Array, y: Array) -> Diagnostics:
        """Return how the network settles on a batch and how large its weights and gradients are."""
        inputs = self._inputs(x)
        gradient, _ = self.gradient(x, y)
        targets = self._targets(y, len(inputs))
        network = self._heard(targets)
        settles = self.rule.estimate not in ("predictive-coding", "backprop")
        start, least = network.feed_forward(inputs), WATCHED_SWEEPS if settles else 0
        free_energy, free_residual, free_states = watch(
            network, start, inputs, Nudge(), self.rule.free, least=least
        )
        trajectory = torch.stack(free_states).double().numpy()
        verdict, period = classify(free_residual, trajectory)
        if not bool(torch.isfinite(self._parameters.flat.value).all()):
            verdict, period = "diverged", None
        nudged_energy: list[float] = []
        nudged_residual: list[float] = []
        if settles and self.rule.estimate not in ("coupled", "contrastive-hebbian"):
            start = self._estimator.settle(network, inputs)
            nudge = Nudge(targets, self.rule.beta)
            nudged_energy, nudged_residual, _ = watch(network, start, inputs, nudge, self.rule.nudged)
        return Diagnostics(
            free_energy=tuple(free_energy),
            free_residual=tuple(free_residual),
            nudged_energy=tuple(nudged_energy),
            nudged_residual=tuple(nudged_residual),
            spectral_norms={
                name: float(spectral_norm(view.value))
                for name, view in self._parameters.views.items()
                if view.value.dim() == 2
            },
            gradient_norms={name: float(np.linalg.norm(part)) for name, part in gradient.items()},
            verdict=verdict,
            period=period,
        )
