"""The arbiter: Equilibrium Propagation in float64 NumPy, written straight from the formulas. Pure.

Slow and simple on purpose, and independent of the torch code: every other backend is held against it, and it is
held against finite differences. Arrays are (batch, units).
"""

from collections.abc import Mapping

import numpy as np
from numpy.typing import NDArray

from kernels.learner import Array
from kernels.rules import Relaxation, Rule
from kernels.topology import Topology, bias_name, weight_name

__all__ = ["Reference", "softmax"]

Float = NDArray[np.float64]
States = dict[int, Float]
Parameters = dict[str, Float]


def softmax(logits: Float) -> Float:
    """Return the softmax of each row."""
    raised = np.exp(logits - logits.max(axis=1, keepdims=True))
    return np.asarray(raised / raised.sum(axis=1, keepdims=True))


def largest_change(old: States, new: States) -> float:
    """Return the largest change of any state."""
    # Not Python's max, which may lose a NaN.
    return float(np.max([np.abs(new[layer] - old[layer]).max(initial=0.0) for layer in old]))


class Reference:
    """The equations of one network: `parameters` by name, a batch `x` (b, n_0) and its one-hot `y` (b, classes)."""

    def __init__(self, topology: Topology, parameters: Mapping[str, Array], x: Array, y: Array) -> None:
        self.topology = topology
        self.parameters = {name: np.asarray(value, dtype=np.float64) for name, value in parameters.items()}
        self.x = np.asarray(x, dtype=np.float64)
        self.y = np.asarray(y, dtype=np.float64)

    def weight(self, source: int, target: int) -> Float:
        """Return W from `source` to `target`."""
        return self.parameters[weight_name(source, target)]

    def layer(self, states: States, number: int) -> Float:
        """Return the activity of a layer, the clamped input included."""
        return self.x if number == 0 else states[number]

    def from_below(self, states: States, layer: int) -> Float:
        """Return sum_k W_kl s_k + b_l."""
        total = np.tile(self.parameters[bias_name(layer)], (len(self.x), 1))
        for source, target in self.topology.connections:
            if target == layer:
                total = total + self.layer(states, source) @ self.weight(source, target).T
        return total

    def scores(self, states: States) -> Float:
        """Return the logits of the readout, or the output state."""
        last = self.topology.last
        return self.from_below(states, last) if self.topology.output == "ce" else states[last]

    def energy(self, states: States) -> Float:
        """Return E for each sample."""
        total = np.zeros(len(self.x))
        for layer in self.topology.state_layers:
            s = states[layer]
            total += 0.5 * (s * s).sum(axis=1) - (s * self.from_below(states, layer)).sum(axis=1)
        return total

    def cost(self, states: States) -> Float:
        """Return C for each sample."""
        if self.topology.output == "ce":
            return np.asarray(-(self.y * np.log(softmax(self.scores(states)))).sum(axis=1))
        return np.asarray(0.5 * ((self.scores(states) - self.y) ** 2).sum(axis=1))

    def pull(self, states: States, layer: int, beta: float) -> Float:
        """Return -d(E + beta C)/ds_l + s_l: what the layer receives, without the output's own nudge."""
        total = self.from_below(states, layer)
        last = self.topology.last
        for source, target in self.topology.connections:
            if source == layer and target in self.topology.state_layers:
                total = total + states[target] @ self.weight(source, target)
            if source == layer and target == last and self.topology.output == "ce":
                error = self.y - softmax(self.scores(states))
                total = total + beta * error @ self.weight(source, target)
        return total

    def clip(self, layer: int, value: Float) -> Float:
        """Return `value` inside the bounds of the layer; an output inside the energy has none."""
        return value if layer == self.topology.last else np.clip(value, 0.0, self.topology.clip)

    def sweep(self, states: States, beta: float, relaxation: Relaxation, step: int) -> States:
        """Return the states after one sweep; `states` stays as it is."""
        last = self.topology.last
        new = dict(states)
        if relaxation.scheme == "synchronous":
            for layer, old in states.items():
                force = self.pull(states, layer, beta) - old
                if layer == last:
                    force = force + beta * (self.y - old)
                new[layer] = self.clip(layer, old + relaxation.step_size * force)
            return new
        for layer in _order(self.topology.state_layers, relaxation, step):
            value = self.pull(new, layer, beta)
            if layer == last:
                value = (value + beta * self.y) / (1.0 + beta)
            new[layer] = self.clip(layer, value)
        return new

    def settle(self, states: States, beta: float, relaxation: Relaxation) -> tuple[States, int, float]:
        """Return the settled states, the sweeps taken and the largest change in the last."""
        residual = 0.0
        for step in range(relaxation.steps):
            new = self.sweep(states, beta, relaxation, step)
            residual = largest_change(states, new)
            states = new
            if relaxation.tolerance > 0 and not residual > relaxation.tolerance:
                return states, step + 1, residual
        return states, relaxation.steps, residual

    def feed_forward(self) -> States:
        """Return the states that a free phase starts from."""
        states: States = {}
        for layer in self.topology.state_layers:
            states[layer] = self.clip(layer, self.from_below(states, layer))
        return states

    def linear(self, states: States, relaxation: Relaxation) -> tuple[States, int]:
        """Return ds/dbeta at beta = 0 around `states`, and the sweeps taken."""
        topology, last = self.topology, self.topology.last
        error = self.y - (softmax(self.scores(states)) if topology.output == "ce" else states[last])
        derivative = {layer: np.zeros_like(value) for layer, value in states.items()}

        def received(current: States, layer: int) -> Float:
            total = np.zeros_like(states[layer])
            for source, target in topology.connections:
                if target == layer and source > 0:
                    total = total + current[source] @ self.weight(source, target).T
                if source == layer:
                    # What is no state is the readout, which sends its error.
                    total = total + current.get(target, error) @ self.weight(source, target)
            if layer == last:
                return total + error
            return total * ((states[layer] > 0.0) & (states[layer] < topology.clip))

        for step in range(relaxation.steps):
            new = dict(derivative)
            if relaxation.scheme == "synchronous":
                for layer, old in derivative.items():
                    new[layer] = old + relaxation.step_size * (received(derivative, layer) - old)
            else:
                for layer in _order(topology.state_layers, relaxation, step):
                    new[layer] = received(new, layer)
            change = largest_change(derivative, new)
            derivative = new
            if relaxation.tolerance > 0 and not change > relaxation.tolerance:
                return derivative, step + 1
        return derivative, relaxation.steps

    def products(self, states: States) -> Parameters:
        """Return the mean over the batch of -dE/dW and -dE/db: s_l s_k^T and s_l."""
        count = len(self.x)
        result = {}
        for source, target in self.topology.connections:
            if target in states:
                result[weight_name(source, target)] = states[target].T @ self.layer(states, source) / count
        for layer in states:
            result[bias_name(layer)] = states[layer].mean(axis=0)
        return result

    def _linear_products(self, free: States, change: States) -> Parameters:
        count = len(self.x)
        estimate = {bias_name(layer): -change[layer].mean(axis=0) for layer in free}
        for source, target in self.topology.connections:
            if target in free:
                total = change[target].T @ self.layer(free, source)
                if source > 0:
                    total = total + free[target].T @ change[source]
                estimate[weight_name(source, target)] = -total / count
        return estimate

    def gradient(self, rule: Rule, sign: int = 1) -> tuple[Parameters, int, int, float]:
        """Return the estimate of the mean gradient, the sweeps of both phases and the free residual."""
        free, free_steps, residual = self.settle(self.feed_forward(), 0.0, rule.free)
        if rule.estimate == "linearised":
            change, nudged_steps = self.linear(free, rule.nudged)
            estimate = self._linear_products(free, change)
        else:
            beta = {"negative": -rule.beta, "random-sign": sign * rule.beta}.get(rule.estimate, rule.beta)
            base = -rule.beta if rule.estimate == "centred" else 0.0
            plus, nudged_steps, _ = self.settle(free, beta, rule.nudged)
            minus = free
            if rule.estimate == "centred":
                minus, taken, _ = self.settle(free, base, rule.nudged)
                nudged_steps = max(nudged_steps, taken)
            above, below = self.products(plus), self.products(minus)
            estimate = {name: -(above[name] - below[name]) / (beta - base) for name in above}
        if self.topology.output == "ce":
            last = self.topology.last
            error = softmax(self.scores(free)) - self.y
            for source, target in self.topology.connections:
                if target == last:
                    estimate[weight_name(source, last)] = error.T @ self.layer(free, source) / len(self.x)
            estimate[bias_name(last)] = error.mean(axis=0)
        return estimate, free_steps, nudged_steps, residual


def _order(layers: tuple[int, ...], relaxation: Relaxation, step: int) -> tuple[int, ...]:
    if relaxation.order == "forward":
        return layers
    if relaxation.order == "backward":
        return layers[::-1]
    return layers[::-1] if step % 2 == 0 else layers
