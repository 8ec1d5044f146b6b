"""Equilibrium Propagation once more, in naive float64 NumPy: what every backend is held against. Pure.

Written from the formulas and from nothing in `kernels`, and in another form than any backend: all layers of a
sample are one vector u = (x, s_1, ..., s_L), all connections one matrix W over it, so that

    E(u) = sum_i over states 1/2 u_i^2 - u_i (W u + b)_i,        pre = W u + b + W^T u.

With "ce" the rows of W that lead to the output belong to the readout and not to the energy.
"""

from collections.abc import Callable, Iterable, Mapping

import numpy as np
from numpy.typing import NDArray

from kernels import OptimizerSettings, Relaxation, Rule, Topology

Float = NDArray[np.float64]
Parameters = dict[str, Float]


def softmax(z: Float) -> Float:
    e = np.exp(z - z.max(axis=1, keepdims=True))
    return e / e.sum(axis=1, keepdims=True)


class Oracle:
    """One network. A batch of states is an array u (b, all units)."""

    def __init__(self, topology: Topology, parameters: Mapping[str, NDArray[np.floating]]) -> None:
        sizes = topology.sizes
        stops = np.cumsum((0, *sizes))
        self.parts = [slice(int(stops[i]), int(stops[i + 1])) for i in range(len(sizes))]
        self.clip = topology.clip
        self.ce = topology.output == "ce"
        self.L = len(sizes) - 1
        self.edges = [(layer - 1, layer) for layer in range(1, self.L + 1)] + list(topology.skips)
        self.states = list(range(1, self.L if self.ce else self.L + 1))
        units = int(stops[-1])
        self.W, self.b = np.zeros((units, units)), np.zeros(units)
        for k, l in self.edges:
            self.W[self.parts[l], self.parts[k]] = parameters[f"w{k}-{l}"]
        for l in range(1, self.L + 1):
            self.b[self.parts[l]] = parameters[f"b{l}"]
        # J: the couplings of the energy.
        self.J = self.W.copy()
        if self.ce:
            self.J[self.parts[self.L]] = 0.0

    # Energy and cost, by sample.

    def energy(self, u: Float) -> Float:
        total = np.zeros(len(u))
        for l in self.states:
            part = self.parts[l]
            s = u[:, part]
            total += (0.5 * s * s - s * (u @ self.J[part].T + self.b[part])).sum(axis=1)
        return total

    def output(self, u: Float) -> Float:
        """Logits, or the output state."""
        out = self.parts[self.L]
        return u @ self.W[out].T + self.b[out] if self.ce else u[:, out]

    def cost(self, u: Float, y: Float) -> Float:
        if self.ce:
            return -(y * np.log(softmax(self.output(u)))).sum(axis=1)
        return 0.5 * ((self.output(u) - y) ** 2).sum(axis=1)

    # Settling.

    def start(self, x: NDArray[np.floating]) -> Float:
        """The feed-forward state."""
        u = np.zeros((len(x), len(self.b)))
        u[:, self.parts[0]] = x
        for l in self.states:
            part = self.parts[l]
            u[:, part] = self.bounded(l, u @ self.J[part].T + self.b[part])
        return u

    def bounded(self, l: int, v: Float) -> Float:
        return v if l == self.L else np.minimum(np.maximum(v, 0.0), self.clip)

    def pre(self, u: Float, l: int, beta: float, y: Float | None) -> Float:
        part = self.parts[l]
        received = u @ self.J[part].T + self.b[part] + u @ self.J[:, part]
        if self.ce and beta:
            received = received + beta * (y - softmax(self.output(u))) @ self.W[self.parts[self.L], part]
        return received

    def order(self, relaxation: Relaxation, t: int) -> Iterable[int]:
        backward = {"forward": False, "backward": True, "alternating": t % 2 == 0}[relaxation.order]
        return reversed(self.states) if backward else self.states

    def sweep(self, u: Float, beta: float, y: Float | None, relaxation: Relaxation, t: int) -> Float:
        new = u.copy()
        if relaxation.scheme == "synchronous":
            for l in self.states:
                s = u[:, self.parts[l]]
                force = self.pre(u, l, beta, y) - s
                if l == self.L and beta:
                    force = force + beta * (y - s)
                new[:, self.parts[l]] = self.bounded(l, s + relaxation.step_size * force)
            return new
        for l in self.order(relaxation, t):
            h = self.pre(new, l, beta, y)
            if l == self.L and beta:
                h = (h + beta * y) / (1.0 + beta)
            new[:, self.parts[l]] = self.bounded(l, h)
        return new

    def settle(
        self, u: Float, beta: float, y: Float | None, relaxation: Relaxation
    ) -> tuple[Float, int, float]:
        """Relax from `u`; also the sweeps taken and the last largest change."""
        return repeat(lambda v, t: self.sweep(v, beta, y, relaxation, t), u, relaxation)

    def equilibrium(self, u: Float) -> Float:
        """The free state, to machine precision, from `u`."""
        calm = Relaxation(order="alternating", steps=5000, tolerance=1e-15)
        u, steps, _ = self.settle(u, 0.0, None, calm)
        assert steps < 5000, "the network of this test does not settle"
        return u

    # Estimates.

    def gradient(
        self, x: NDArray[np.floating], y: Float, rule: Rule, sign: int = 1
    ) -> tuple[Parameters, int, int, float]:
        """The estimate that `rule` asks for, the sweeps of both phases and the last change of the free one."""
        free, free_steps, residual = self.settle(self.start(x), 0.0, None, rule.free)
        if rule.estimate == "linearised":
            d, nudged_steps = self.derivative(free, y, rule.nudged)
            return self.derivative_gradient(free, d, y), free_steps, nudged_steps, residual
        a, b = {
            "centred": (rule.beta, -rule.beta),
            "one-sided": (rule.beta, 0.0),
            "negative": (-rule.beta, 0.0),
            "random-sign": (sign * rule.beta, 0.0),
        }[rule.estimate]
        high, nudged_steps, _ = self.settle(free, a, y, rule.nudged)
        low = free
        if b:
            # A phase of its own from the same free state, which stops when it has settled itself.
            low, more, _ = self.settle(free, b, y, rule.nudged)
            nudged_steps = max(nudged_steps, more)
        return self.contrast(free, high, low, a - b, y), free_steps, nudged_steps, residual

    def contrast(self, free: Float, high: Float, low: Float, distance: float, y: Float) -> Parameters:
        """Every gradient from the states of the two layers that it joins, and from no others."""
        grown: Parameters = {}
        for k, l in self.edges:
            if l in self.states:
                p, q = self.parts[l], self.parts[k]
                pair = high[:, p].T @ high[:, q] - low[:, p].T @ low[:, q]
                grown[f"w{k}-{l}"] = -pair / distance / len(free)
        for l in self.states:
            grown[f"b{l}"] = -(high - low)[:, self.parts[l]].mean(axis=0) / distance
        return grown | self.readout(free, y)

    def readout(self, free: Float, y: Float) -> Parameters:
        """The delta rule of a softmax readout at the free state; nothing with "mse"."""
        if not self.ce:
            return {}
        error = softmax(self.output(free)) - y
        rule = {f"w{k}-{l}": error.T @ free[:, self.parts[k]] / len(y) for k, l in self.edges if l == self.L}
        return rule | {f"b{self.L}": error.mean(axis=0)}

    def derivative(self, free: Float, y: Float, relaxation: Relaxation) -> tuple[Float, int]:
        """ds/dbeta at beta = 0, by the linear phase."""
        source = np.zeros_like(free)
        if self.ce:
            source += (y - softmax(self.output(free))) @ self.W[self.parts[self.L]]
        else:
            source[:, self.parts[self.L]] = y - self.output(free)
        mask = ((free > 0.0) & (free < self.clip)).astype(float)
        mask[:, self.parts[self.L]] = 1.0

        def goal(d: Float, l: int) -> Float:
            part = self.parts[l]
            return mask[:, part] * (d @ self.J[part].T + d @ self.J[:, part] + source[:, part])

        def sweep(old: Float, t: int) -> Float:
            new = old.copy()
            if relaxation.scheme == "synchronous":
                for l in self.states:
                    part = self.parts[l]
                    new[:, part] = old[:, part] + relaxation.step_size * (goal(old, l) - old[:, part])
            else:
                for l in self.order(relaxation, t):
                    new[:, self.parts[l]] = goal(new, l)
            return new

        d, steps, _ = repeat(sweep, np.zeros_like(free), relaxation)
        return d, steps

    def derivative_gradient(self, free: Float, d: Float, y: Float) -> Parameters:
        """-(d_l s_k^T + s_l d_k^T), the input's own derivative being 0."""
        grown: Parameters = {}
        for k, l in self.edges:
            if l in self.states:
                p, q = self.parts[l], self.parts[k]
                grown[f"w{k}-{l}"] = -(d[:, p].T @ free[:, q] + free[:, p].T @ d[:, q]) / len(free)
        for l in self.states:
            grown[f"b{l}"] = -d[:, self.parts[l]].mean(axis=0)
        return grown | self.readout(free, y)


def repeat(
    sweep: Callable[[Float, int], Float], state: Float, relaxation: Relaxation
) -> tuple[Float, int, float]:
    """Sweep as often as `relaxation` says."""
    change = 0.0
    for t in range(relaxation.steps):
        moved = sweep(state, t)
        change = float(np.abs(moved - state).max())
        state = moved
        if relaxation.tolerance and change <= relaxation.tolerance:
            return state, t + 1, change
    return state, relaxation.steps, change


# Finite differences.


def equilibrium_loss(topology: Topology, parameters: Parameters, near: Float, y: Float) -> float:
    """The mean cost at the free equilibrium that lies near `near`."""
    net = Oracle(topology, parameters)
    return float(net.cost(net.equilibrium(near), y).mean())


def finite_differences(loss: Callable[[Parameters], float], parameters: Parameters, h: float) -> Parameters:
    """Central differences of `loss` in every single parameter."""
    slopes = {}
    for name, value in parameters.items():
        slope = np.zeros_like(value)
        for index in np.ndindex(value.shape):
            moved = []
            for step in (h, -h):
                other = value.copy()
                other[index] += step
                moved.append(loss({**parameters, name: other}))
            slope[index] = (moved[0] - moved[1]) / (2.0 * h)
        slopes[name] = slope
    return slopes


def relu_scores(topology: Topology, parameters: Mapping[str, NDArray[np.floating]], x: Float) -> Float:
    """The output of the feed-forward ReLU network of that shape."""
    last = len(topology.sizes) - 1
    edges = [(layer - 1, layer) for layer in range(1, last + 1)] + list(topology.skips)
    a = {0: np.asarray(x, dtype=np.float64)}
    for l in range(1, last + 1):
        z = np.asarray(parameters[f"b{l}"], dtype=np.float64)
        for k, target in edges:
            if target == l:
                z = z + a[k] @ parameters[f"w{k}-{l}"].T
        a[l] = z if l == last else np.maximum(z, 0.0)
    return a[last]


def relu_loss(
    topology: Topology, parameters: Mapping[str, NDArray[np.floating]], x: Float, y: Float
) -> float:
    scores = relu_scores(topology, parameters, x)
    if topology.output == "ce":
        return float(-(y * np.log(softmax(scores))).sum(axis=1).mean())
    return float(0.5 * ((scores - y) ** 2).sum(axis=1).mean())


# Optimizers.


def newton_schulz(G: Float, k: int) -> Float:
    """X <- 3.4445 X + (-4.7750 A + 2.0315 A^2) X, A = X X^T, from G/|G|_F; a tall matrix is transposed."""
    X = G / (np.sqrt((G**2).sum()) or 1.0)
    if X.shape[0] > X.shape[1]:
        return newton_schulz(G.T, k).T
    for _ in range(k):
        A = X @ X.T
        X = 3.4445 * X + (-4.7750 * A + 2.0315 * A @ A) @ X
    return X


def capped(W: Float, gamma: float) -> Float:
    """`W` with each singular value above `gamma` lowered to it."""
    U, sigma, Vt = np.linalg.svd(W, full_matrices=False)
    return U @ np.diag(np.minimum(sigma, gamma)) @ Vt


class Steps:
    """The optimizer of `settings` with its memory."""

    def __init__(self, settings: OptimizerSettings) -> None:
        self.settings = settings
        self.t = 0
        self.memory: dict[str, Float] = {}

    def recall(self, kind: str, name: str, decay: float, increment: Float) -> Float:
        old = self.memory.get(f"{kind} {name}", np.zeros_like(increment))
        self.memory[f"{kind} {name}"] = decay * old + increment
        return self.memory[f"{kind} {name}"]

    def adam(self, name: str, g: Float, rate: float) -> Float:
        m = self.recall("m", name, 0.9, 0.1 * g) / (1.0 - 0.9**self.t)
        v = self.recall("v", name, 0.999, 0.001 * g * g) / (1.0 - 0.999**self.t)
        return rate * m / (np.sqrt(v) + 1e-8)

    def dion(self, name: str, g: Float, rate: float) -> Float:
        """Ahn et al. (2025), algorithm 1, with its orthogonal factor by Gram-Schmidt."""
        rows, cols = g.shape
        rank = max(1, round(self.settings.rank_fraction * min(rows, cols)))
        start = np.cos(np.pi / cols * np.outer(np.arange(cols) + 0.5, np.arange(rank)))
        Q = self.memory.get(f"Q {name}", start / np.sqrt((start**2).sum(0)))
        B = self.memory.get(f"M {name}", np.zeros_like(g)) + g
        image = B @ Q
        # Gram-Schmidt, column by column.
        P = np.zeros((rows, rank))
        for i in range(rank):
            left = image[:, i] - P @ (P.T @ image[:, i])
            left -= P @ (P.T @ left)
            length = np.sqrt(left @ left)
            P[:, i] = left / length if length > 1e-12 * np.abs(image).max() else 0.0
        R = B.T @ P
        length = np.sqrt((R**2).sum(0))
        kept = length > 1e-4 * length.max()
        Q = np.where(kept, R / np.where(kept, length, 1.0), Q)
        self.memory[f"Q {name}"] = Q
        e, mu = self.settings.error_feedback, self.settings.momentum
        self.memory[f"M {name}"] = e * (B - P @ R.T) + mu * P @ R.T
        return rate * np.sqrt(rows / cols) * P @ (Q * kept).T

    def __call__(self, parameters: Parameters, gradient: Parameters, scale: float = 1.0) -> Parameters:
        self.t += 1
        s, new = self.settings, {}
        for name, theta in parameters.items():
            g, rate = gradient[name], s.rate * scale
            if s.name == "sgd":
                new[name] = theta - rate * self.recall("v", name, s.momentum, g)
            elif s.name == "adam":
                new[name] = theta - self.adam(name, g, rate)
            elif s.name == "adamw":
                new[name] = theta - rate * s.weight_decay * theta - self.adam(name, g, rate)
            elif theta.ndim == 1:
                new[name] = theta - self.adam(name, g, s.bias_rate * scale)
            elif s.name == "dion":
                new[name] = theta - self.dion(name, g, rate)
            else:
                M = self.recall("v", name, s.momentum, g)
                rows, cols = theta.shape
                X = newton_schulz(g + s.momentum * M, s.ns_steps)
                new[name] = theta - rate * np.sqrt(max(1.0, rows / cols)) * X
        return new
