"""Whole training steps of P networks: by the kernels, by torch alone, by backpropagation, and in float64.

A step is centred with the output inside the energy: free sweeps forward, nudged sweeps backward at +beta and -beta,
SGD with momentum. What the benchmark times, and what a test of all kernels together holds against float64.
"""

from collections.abc import Callable
from dataclasses import dataclass
from itertools import pairwise

import numpy as np
import torch
from torch import Tensor

from tests.kernels.gpu import naive

BETA, RATE, MOMENTUM = 0.2, 0.05, 0.9
# A gradient of fp16 states, over the largest of its matrix.
ALLOWED = 0.02


@dataclass
class Population:
    """P networks of one shape with a batch for each, as the kernels lay them out."""

    sizes: tuple[int, ...]
    sweeps: tuple[int, int]
    x: Tensor
    y: Tensor
    weights: list[Tensor]
    biases: list[Tensor]
    shadows: list[Tensor]
    velocities: list[Tensor]

    @property
    def networks(self) -> int:
        return self.x.shape[0]

    @property
    def batch(self) -> int:
        return self.x.shape[1]

    def rows(self, value: float) -> Tensor:
        """`value` for each network."""
        return torch.full((self.networks,), value, device=self.x.device)


def population(
    sizes: tuple[int, ...], networks: int, batch: int, sweeps: tuple[int, int], device: str
) -> Population:
    """Random networks and batches, the same for the same arguments."""
    generator = torch.Generator(device).manual_seed(7)

    def uniform(*shape: int) -> Tensor:
        return torch.rand(shape, generator=generator, device=device)

    pairs = list(pairwise(sizes))
    weights = [(uniform(networks, a, b) * 2 - 1) / a**0.5 for a, b in pairs]
    labels = (uniform(networks, batch) * sizes[-1]).long().clamp_max(sizes[-1] - 1)
    return Population(
        sizes,
        sweeps,
        uniform(networks, batch, sizes[0]).half(),
        torch.nn.functional.one_hot(labels, sizes[-1]).float(),
        weights,
        [uniform(networks, b) * 0.2 for _, b in pairs],
        [weight.half() for weight in weights],
        [torch.zeros_like(weight) for weight in weights],
    )


def feed_forward(net: Population) -> tuple[Tensor, list[Tensor]]:
    """The drive of the first layer, fp32, and the states that a free phase starts from."""
    # fp16 into fp32 is cuBLAS's own accumulation; the product is rounded to fp16 once.
    drive = torch.bmm(net.x, net.shadows[0]).float() + net.biases[0][:, None]
    states = [drive.clamp(0, 1).half()]
    for k, (shadow, bias) in enumerate(zip(net.shadows[1:], net.biases[1:], strict=True), start=2):
        received = torch.bmm(states[-1], shadow) + bias[:, None]
        states.append((received if k == len(net.shadows) else received.clamp(0, 1)).half())
    return drive, states


def eager_settle(
    net: Population, drive: Tensor, states: list[Tensor], beta: float, steps: int, order: str
) -> None:
    """Block sweeps with torch's products, in place."""
    last = len(states)
    for _ in range(steps):
        for number in range(1, last + 1) if order == "forward" else range(last, 0, -1):
            received = drive if number == 1 else net.biases[number - 1][:, None]
            if number > 1:
                received = received + torch.bmm(states[number - 2], net.shadows[number - 1])
            if number < last:
                received = received + torch.bmm(states[number], net.shadows[number].mT)
                states[number - 1].copy_(received.clamp_(0, 1))
            else:
                states[number - 1].copy_((received + beta * net.y) / (1.0 + beta))


def eager_update(net: Population, plus: list[Tensor], minus: list[Tensor]) -> None:
    """The contrast with torch's products, and SGD with momentum."""
    unit = 1.0 / (2 * BETA * net.batch)
    below_plus, below_minus = [net.x, *plus], [net.x, *minus]
    for k, (weight, shadow, velocity, bias) in enumerate(
        zip(net.weights, net.shadows, net.velocities, net.biases, strict=True)
    ):
        difference = (minus[k].float() - plus[k].float()).half()
        gradient = torch.bmm(
            ((below_plus[k].float() + below_minus[k].float()) / 2).half().mT, difference
        ).float()
        if k:
            moved = (below_minus[k].float() - below_plus[k].float()).half()
            gradient += torch.bmm(moved.mT, ((plus[k].float() + minus[k].float()) / 2).half()).float()
        velocity.mul_(MOMENTUM).add_(gradient, alpha=unit)
        weight.sub_(velocity, alpha=RATE)
        shadow.copy_(weight)
        bias.sub_(difference.float().sum(1), alpha=RATE * unit)


def eager_step(net: Population) -> None:
    """One training step with torch alone."""
    drive, states = feed_forward(net)
    eager_settle(net, drive, states, 0.0, net.sweeps[0], "forward")
    sides = []
    for beta in (BETA, -BETA):
        sides.append([state.clone() for state in states])
        eager_settle(net, drive, sides[-1], beta, net.sweeps[1], "backward")
    eager_update(net, *sides)


def fused_settle(
    net: Population, drive: Tensor, start: list[Tensor], beta: Tensor, steps: int, order: str
) -> list[Tensor]:
    """A phase by the kernels: on chip for one hidden layer, else a launch for each layer and sweep."""
    from kernels.backends.triton import Feed, settle_layer, settle_persistent_1h
    from kernels.backends.triton.one_hidden import LARGEST_HIDDEN

    if len(start) == 2 and net.sizes[1] <= LARGEST_HIDDEN:
        hidden, output = torch.empty_like(start[0]), torch.empty_like(start[1])
        settle_persistent_1h(
            hidden, output, start_hidden=start[0], start_output=start[1], drive=drive, weight=net.shadows[1],
            bias=net.biases[1], target=net.y, beta=beta, steps=steps, order=order,  # type: ignore[arg-type]
        )  # fmt: skip
        return [hidden, output]
    states, last = [state.clone() for state in start], len(start)
    for _ in range(steps):
        for number in range(1, last + 1) if order == "forward" else range(last, 0, -1):
            top = number == last
            settle_layer(
                states[number - 1],
                base=drive if number == 1 else net.biases[number - 1],
                activation="output" if top else "clip",
                below=Feed(states[number - 2], net.shadows[number - 1]) if number > 1 else None,
                above=None if top else Feed(states[number], net.shadows[number]),
                target=net.y if top else None,
                beta=beta if top else None,
            )
    return states


def fused_update(net: Population, plus: list[Tensor], minus: list[Tensor]) -> None:
    """The contrast and SGD with momentum by the kernels."""
    from kernels.backends.triton import Product, SgdState, hebbian_bias, hebbian_update

    unit, rate, momentum = net.rows(1.0 / (2 * BETA * net.batch)), net.rows(RATE), net.rows(MOMENTUM)
    # Biases without momentum, as the eager way has them.
    still = net.rows(0.0)
    for k, weight in enumerate(net.weights):
        product = (
            Product(plus[k - 1], plus[k], minus[k - 1], minus[k])
            if k
            else Product(net.x, plus[0], None, minus[0])
        )
        hebbian_update(
            weight, product,
            unit=unit, optimizer=SgdState(net.velocities[k], momentum), rate=rate, shadow=net.shadows[k],
        )  # fmt: skip
        slot = torch.zeros_like(net.biases[k])
        hebbian_bias(net.biases[k], plus[k], minus[k], unit=unit, optimizer=SgdState(slot, still), rate=rate)


def fused_step(net: Population) -> None:
    """One training step with the kernels; the drive is cuBLAS's."""
    drive, start = feed_forward(net)
    free = fused_settle(net, drive, start, net.rows(0.0), net.sweeps[0], "forward")
    sides = [
        fused_settle(net, drive, free, net.rows(beta), net.sweeps[1], "backward") for beta in (BETA, -BETA)
    ]
    fused_update(net, *sides)


def backprop_step(net: Population) -> None:
    """One step of backpropagation on the same shape: ReLU, squared error, SGD with momentum, no autograd."""
    states = [net.x]
    for k, (shadow, bias) in enumerate(zip(net.shadows, net.biases, strict=True), start=1):
        received = torch.bmm(states[-1], shadow) + bias[:, None]
        states.append((received if k == len(net.shadows) else received.clamp_min(0)).half())
    mistake = (states[-1].float() - net.y).half()
    for k in range(len(net.weights) - 1, -1, -1):
        gradient = torch.bmm(states[k].mT, mistake).float()
        shift = mistake.float().sum(1)
        if k:
            mistake = torch.bmm(mistake, net.shadows[k].mT) * (states[k] > 0)
        net.velocities[k].mul_(MOMENTUM).add_(gradient, alpha=1.0 / net.batch)
        net.weights[k].sub_(net.velocities[k], alpha=RATE)
        net.shadows[k].copy_(net.weights[k])
        net.biases[k].sub_(shift, alpha=RATE / net.batch)


def naive_gradients(net: Population, p: int) -> list[np.ndarray]:
    """The gradients of network `p` in float64, from the weights as fp16 has them."""

    def wide(tensor: Tensor) -> np.ndarray:
        return tensor[p].double().cpu().numpy()

    x, y = wide(net.x), wide(net.y)
    shadows, biases = [wide(w) for w in net.shadows], [wide(b) for b in net.biases]
    drive = x @ shadows[0] + biases[0]
    states = [np.clip(drive, 0, 1)]
    for shadow, bias in zip(shadows[1:-1], biases[1:-1], strict=True):
        states.append(np.clip(states[-1] @ shadow + bias, 0, 1))
    states.append(states[-1] @ shadows[-1] + biases[-1])

    def settled(start: list[np.ndarray], beta: float, steps: int, order: str) -> list[np.ndarray]:
        return naive.settle(
            drive, shadows[1:], biases[1:], start, (y, beta), steps=steps, order=order, readout=False
        )[0]

    free = settled(states, 0.0, net.sweeps[0], "forward")
    plus, minus = (settled(free, beta, net.sweeps[1], "backward") for beta in (BETA, -BETA))
    unit = 1.0 / (2 * BETA * net.batch)
    pres = zip([x, *plus[:-1]], [None, *minus[:-1]], strict=True)
    return [naive.contrast(a, plus[k], b, minus[k], unit) for k, (a, b) in enumerate(pres)]


def largest_error(step: Callable[[Population], None], net: Population) -> float:
    """The largest error of a first step's gradient over the largest of its matrix, in the first and last network."""
    chosen = sorted({0, net.networks - 1})
    expected = {p: naive_gradients(net, p) for p in chosen}
    step(net)
    # The velocity after one step is the gradient.
    return max(
        float(np.abs(net.velocities[k][p].double().cpu().numpy() - gradient).max() / np.abs(gradient).max())
        for p in chosen
        for k, gradient in enumerate(expected[p])
    )


def errors(fresh: Callable[[], Population]) -> dict[str, float]:
    """The gradient errors of the fused and of the eager step; raises ValueError where one passes ALLOWED."""
    found = {"error": largest_error(fused_step, fresh()), "eager error": largest_error(eager_step, fresh())}
    for what, error in found.items():
        if not error <= ALLOWED:
            raise ValueError(
                f"{what} of the gradient: expected at most {ALLOWED}, got {error:.3g}. A kernel is wrong."
            )
    return found
