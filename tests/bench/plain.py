"""Equilibrium Propagation as one would write it for a paper: a plain loop over torch, one genome at a time.

What `tests.bench.throughput` compares with. `nn.Parameter`s and optimizers of `torch.optim`; states are fresh
tensors at every sweep; the input's drive is computed again at every sweep, as published codes do; no autograd in
an EP path. It reads the genes of the space 'mlp/1', so that both sides train the same networks.
"""

import itertools
import math
import time
from collections.abc import Mapping

import msgspec
import torch
from torch import Tensor, nn

from evaluator.shape import Shape, shape_of
from evaluator.tasks import Dataset, DatasetTask, Tier
from genome import Value

__all__ = ["PlainNet", "PlainResult", "train_plain"]

States = dict[int, Tensor]


class PlainResult(msgspec.Struct, frozen=True, kw_only=True):
    """One plain training: accuracy on the validation split, CPU and wall seconds of all of it."""

    accuracy: float
    cpu_s: float
    wall_s: float


class PlainNet:
    """A layered Hopfield network with its EP gradient."""

    def __init__(self, values: Mapping[str, Value], shape: Shape) -> None:
        self.values = values
        self.shape = shape
        self.last = len(shape.sizes) - 1
        self.ce = shape.output == "ce"
        self.clip = float(values.get("clip", 1.0))
        self.beta = float(values.get("beta_ce", values.get("beta_mse", 1.0)))
        self.W: dict[tuple[int, int], nn.Parameter] = {}
        for k, l in shape.connections:
            fan_in = sum(shape.sizes[source] for source, target in shape.connections if target == l)
            gain = float(values.get("gain", 1.0)) if k > 0 and l < self.last else 1.0
            bound = gain / math.sqrt(fan_in)
            drawn = torch.empty(shape.sizes[l], shape.sizes[k]).uniform_(-bound, bound)
            self.W[k, l] = nn.Parameter(drawn, requires_grad=False)
        self.b = {
            l: nn.Parameter(torch.zeros(n), requires_grad=False) for l, n in enumerate(shape.sizes) if l
        }
        self.sweeps = 0

    def scores(self, s: States) -> Tensor:
        """Logits of the readout, or the output state."""
        if not self.ce:
            return s[self.last]
        return self.b[self.last] + sum(s[k] @ W.T for (k, l), W in self.W.items() if l == self.last)

    def pre(self, l: int, s: States, beta: float, y: Tensor) -> Tensor:
        """What layer l receives from all its neighbours, and from the cost if a readout reads it."""
        total = self.b[l]
        for (k, m), W in self.W.items():
            if m == l:
                total = total + s[k] @ W.T
            elif k == l and m in self.shape.states:
                total = total + s[m] @ W
            elif k == l and beta:
                total = total + beta * (y - torch.softmax(self.scores(s), dim=1)) @ W
        return total

    def feed_forward(self, x: Tensor) -> States:
        """The state that the input alone gives."""
        s = {0: x}
        for l in self.shape.states:
            total = self.b[l] + sum(s[k] @ W.T for (k, m), W in self.W.items() if m == l)
            s[l] = total if l == self.last else total.clamp(0, self.clip)
        return s

    def order(self, step: int, *, nudged: bool) -> list[int]:
        """The layers of a block sweep."""
        order = self.values.get("order", "forward-backward")
        backward = (order == "forward-backward" and nudged) or (order == "alternating" and step % 2 == 0)
        return list(self.shape.states)[:: -1 if backward else 1]

    def settle(
        self, s: States, beta: float, y: Tensor, steps: int, *, nudged: bool, fixed: bool = False
    ) -> States:
        """Relax the states; a tolerance ends it early unless the sweeps are `fixed`."""
        tolerance = 0.0 if fixed else float(self.values.get("tolerance", 0.0))
        s = dict(s)
        self.sweeps = 0
        for step in range(steps):
            old = dict(s)
            if self.values.get("scheme", "block") == "block":
                for l in self.order(step, nudged=nudged):
                    received = self.pre(l, s, beta, y)
                    if l == self.last:
                        s[l] = (received + beta * y) / (1 + beta)
                    else:
                        s[l] = received.clamp(0, self.clip)
            else:
                eps = float(self.values["step_size"])
                for l in self.shape.states:
                    force = self.pre(l, old, beta, y) - old[l]
                    moved = old[l] + eps * (force + beta * (y - old[l]) if l == self.last else force)
                    s[l] = moved if l == self.last else moved.clamp(0, self.clip)
            self.sweeps += 1
            if tolerance and max(float((s[l] - old[l]).abs().max()) for l in self.shape.states) <= tolerance:
                break
        return s

    def linear(self, s: States, y: Tensor, steps: int) -> States:
        """The derivative of the states by the nudge, at no nudge."""
        d = {l: torch.zeros_like(state) for l, state in s.items()}
        error = y - (torch.softmax(self.scores(s), dim=1) if self.ce else s[self.last])
        block = self.values.get("scheme", "block") == "block"
        eps = float(self.values.get("step_size", 1.0))
        tolerance = float(self.values.get("tolerance", 0.0))
        for step in range(steps):
            old = dict(d)
            for l in self.order(step, nudged=True) if block else self.shape.states:
                seen = d if block else old
                total = torch.zeros_like(s[l])
                for (k, m), W in self.W.items():
                    if m == l and k > 0:
                        total = total + seen[k] @ W.T
                    elif k == l:
                        total = total + (seen[m] if m in self.shape.states else error) @ W
                if l == self.last:
                    total = total + error
                if not block:
                    total = old[l] + eps * (total - old[l])
                d[l] = total if l == self.last else total * ((s[l] > 0) & (s[l] < self.clip))
            if tolerance and max(float((d[l] - old[l]).abs().max()) for l in self.shape.states) <= tolerance:
                break
        return d

    def free(self, x: Tensor, y: Tensor) -> States:
        """The free state."""
        steps = int(self.values.get("free_steps", 0))
        return self.settle(self.feed_forward(x), 0.0, y, steps, nudged=False)

    def gradient(self, x: Tensor, y: Tensor) -> None:
        """Set `.grad` of every parameter to the EP estimate, mean over the batch. `y` is one-hot."""
        n, steps = len(x), int(self.values["nudged_steps"])
        free = self.free(x, y)
        estimate = self.values["estimate"]
        if estimate == "linearised":
            d = self.linear(free, y, steps)
        else:
            if estimate == "centred":
                high = self.settle(free, self.beta, y, steps, nudged=True)
                # As many sweeps on the other side, or what is left of the drift would be divided by beta.
                low = self.settle(free, -self.beta, y, self.sweeps, nudged=True, fixed=True)
                scale = 2 * self.beta
            elif estimate == "one-sided":
                high, low, scale = self.settle(free, self.beta, y, steps, nudged=True), free, self.beta
            elif estimate == "negative":
                high, low, scale = free, self.settle(free, -self.beta, y, steps, nudged=True), self.beta
            else:
                scale = self.beta * (1 if torch.rand(()) < 0.5 else -1)
                high, low = self.settle(free, scale, y, steps, nudged=True), free
        for (k, l), W in self.W.items():
            if l not in self.shape.states:
                W.grad = (torch.softmax(self.scores(free), dim=1) - y).T @ free[k] / n
            elif estimate == "linearised":
                W.grad = -(d[l].T @ free[k] + free[l].T @ d[k]) / n
            else:
                W.grad = -(high[l].T @ high[k] - low[l].T @ low[k]) / (scale * n)
        for l, b in self.b.items():
            if l not in self.shape.states:
                b.grad = (torch.softmax(self.scores(free), dim=1) - y).mean(0)
            elif estimate == "linearised":
                b.grad = -d[l].mean(0)
            else:
                b.grad = -(high[l] - low[l]).mean(0) / scale

    def predict(self, x: Tensor) -> Tensor:
        """Classes of the free state."""
        nothing = torch.zeros(len(x), self.shape.sizes[-1])
        return self.scores(self.free(x, nothing)).argmax(1)

    def cap(self, directions: dict[tuple[int, int], Tensor]) -> None:
        """Clip the top singular direction of each weight between states, by one step of power iteration."""
        for (k, l), W in self.W.items():
            if k == 0 or l not in self.shape.states:
                continue
            v = directions.setdefault((k, l), torch.randn(W.shape[1]))
            u = nn.functional.normalize(W @ v, dim=0)
            v = directions[k, l] = nn.functional.normalize(W.T @ u, dim=0)
            sigma = float(u @ W @ v)
            if sigma > float(self.values["gamma"]):
                W -= (sigma - float(self.values["gamma"])) * torch.outer(u, v)


def optimizers(
    values: Mapping[str, Value], weights: list[nn.Parameter], biases: list[nn.Parameter]
) -> list[torch.optim.Optimizer]:
    """The genes' optimizer out of torch.optim."""
    match values["optimizer"]:
        case "adam":
            return [torch.optim.Adam([*weights, *biases], lr=float(values["lr_adam"]))]
        case "adamw":
            decay = float(values["weight_decay"])
            return [torch.optim.AdamW([*weights, *biases], lr=float(values["lr_adam"]), weight_decay=decay)]
        case "sgd":
            momentum = float(values["momentum"])
            return [torch.optim.SGD([*weights, *biases], lr=float(values["lr_sgd"]), momentum=momentum)]
    muon = torch.optim.Muon(
        weights,
        lr=float(values["lr_muon"]),
        weight_decay=0.0,
        momentum=float(values["momentum"]),
        ns_steps=int(values["ns_steps"]),
        adjust_lr_fn="original",
    )
    return [muon, torch.optim.Adam(biases, lr=float(values["lr_bias"]))]


def train_plain(
    values: Mapping[str, Value], task: DatasetTask, data: Dataset, tier: Tier, *, seed: int
) -> PlainResult:
    """Train one genome for the tier's epochs and score it once, timing all of it."""
    cpu, wall = time.process_time(), time.perf_counter()
    torch.manual_seed(seed % 2**63)
    part = data.at(tier)
    x, y = torch.from_numpy(part.train_x), torch.from_numpy(part.train_y)
    held_x, held_y = torch.from_numpy(part.validation_x), torch.from_numpy(part.validation_y)
    shape = shape_of(values, inputs=task.inputs, classes=task.classes)
    trainer = train_backprop if values["credit"] == "backprop" else train_ep
    predicted = trainer(values, shape, x, y, held_x, tier.epochs)
    accuracy = float((predicted == held_y).float().mean())
    return PlainResult(accuracy=accuracy, cpu_s=time.process_time() - cpu, wall_s=time.perf_counter() - wall)


def schedules(
    values: Mapping[str, Value], chosen: list[torch.optim.Optimizer], total: int
) -> list[torch.optim.lr_scheduler.LambdaLR]:
    """The learning rate's way to 0, or none."""
    if values["schedule"] != "linear":
        return []
    return [torch.optim.lr_scheduler.LambdaLR(one, lambda step: max(0.0, 1 - step / total)) for one in chosen]


@torch.no_grad()
def train_ep(
    values: Mapping[str, Value], shape: Shape, x: Tensor, y: Tensor, held_x: Tensor, epochs: int
) -> Tensor:
    """Train by EP; give the predicted classes of `held_x`."""
    net = PlainNet(values, shape)
    chosen = optimizers(values, list(net.W.values()), list(net.b.values()))
    batch = int(values["batch"])
    rates = schedules(values, chosen, epochs * math.ceil(len(x) / batch))
    directions: dict[tuple[int, int], Tensor] = {}
    target = nn.functional.one_hot(y, shape.sizes[-1]).float()
    for _ in range(epochs):
        for rows in torch.randperm(len(x)).split(batch):
            net.gradient(x[rows], target[rows])
            for one in itertools.chain(chosen, rates):
                one.step()
            if values.get("spectral") == "clip":
                net.cap(directions)
        if not all(bool(W.isfinite().all()) for W in net.W.values()):
            break
    return net.predict(held_x)


def train_backprop(
    values: Mapping[str, Value], shape: Shape, x: Tensor, y: Tensor, held_x: Tensor, epochs: int
) -> Tensor:
    """Train a feed-forward ReLU network without skips by autograd; give the predicted classes of `held_x`."""
    layers: list[nn.Module] = []
    for before, after in itertools.pairwise(shape.sizes):
        layers += [nn.Linear(before, after), nn.ReLU()]
    net = nn.Sequential(*layers[:-1])
    parameters = list(net.parameters())
    chosen = optimizers(values, parameters[::2], parameters[1::2])
    batch = int(values["batch"])
    rates = schedules(values, chosen, epochs * math.ceil(len(x) / batch))
    for _ in range(epochs):
        for rows in torch.randperm(len(x)).split(batch):
            for one in chosen:
                one.zero_grad()
            nn.functional.cross_entropy(net(x[rows]), y[rows]).backward()
            for one in itertools.chain(chosen, rates):
                one.step()
    with torch.no_grad():
        return net(held_x).argmax(1)
