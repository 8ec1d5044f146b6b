"""Small float64 networks and exact gradients for the rules of the general learner."""

from collections.abc import Callable, Mapping

import numpy as np
import torch
from numpy.typing import NDArray

from kernels import OptimizerSettings, Relaxation, Topology, initial_parameters
from kernels.arithmetic import Arithmetic
from kernels.general.learner import GeneralLearner
from kernels.general.rules import GeneralRule
from kernels.learner import Array

Floats = NDArray[np.float64]

LONG = Relaxation(steps=120)
BACK = Relaxation(order="backward", steps=120)
SGD = OptimizerSettings("sgd", rate=0.05, momentum=0.0)


class Double(Arithmetic):
    """float64, so that an estimate's bias is not hidden by rounding."""

    dtype = torch.float64


def data(inputs: int = 7, classes: int = 3, count: int = 6) -> tuple[Floats, NDArray[np.int64]]:
    """Samples and classes, the same each time."""
    numbers = np.random.Generator(np.random.PCG64(5))
    return numbers.random((count, inputs)), numbers.integers(0, classes, count)


def parameters(topology: Topology) -> dict[str, Floats]:
    """First weights, and biases that are not zero."""
    found = initial_parameters(topology, seed=bytes([3]) * 32, gain=0.5)
    numbers = np.random.Generator(np.random.PCG64(6))
    return {n: v + 0.2 * numbers.random(v.shape) * n.startswith("b") for n, v in found.items()}


def learner(topology: Topology, rule: GeneralRule, values: Mapping[str, Array]) -> GeneralLearner:
    """A float64 learner."""
    return GeneralLearner(topology, values, rule, SGD, batch=6, precision=Double())


def loss(topology: Topology, rule: GeneralRule, values: Mapping[str, Array]) -> float:
    """The mean cost of the network's own prediction."""
    x, y = data(topology.sizes[0], topology.sizes[-1])
    scores = learner(topology, rule, values).predict(x)
    hot = np.eye(topology.sizes[-1])[y]
    if topology.output == "mse":
        return float(0.5 * ((scores - hot) ** 2).sum(axis=1).mean())
    raised = scores - scores.max(axis=1, keepdims=True)
    return float(-(hot * (raised - np.log(np.exp(raised).sum(axis=1, keepdims=True)))).sum(axis=1).mean())


def slope(function: Callable[[Mapping[str, Array]], float], values: Mapping[str, Array]) -> dict[str, Floats]:
    """The gradient of `function` by central differences."""
    found = {}
    for name, array in values.items():
        grad = np.zeros(array.size)
        for index in range(array.size):
            moved = {n: np.array(v, dtype=np.float64) for n, v in values.items()}
            moved[name].ravel()[index] += 1e-6
            above = function(moved)
            moved[name].ravel()[index] -= 2e-6
            grad[index] = (above - function(moved)) / 2e-6
        found[name] = grad.reshape(array.shape)
    return found


def flat(gradient: Mapping[str, Array], names: Mapping[str, Array]) -> Floats:
    """One vector of the arrays called `names`."""
    return np.concatenate([np.asarray(gradient[name], dtype=np.float64).ravel() for name in names])


def cosine(one: Mapping[str, Array], other: Mapping[str, Array]) -> float:
    """The cosine between two gradients."""
    a, b = flat(one, other), flat(other, other)
    return float(a @ b / (np.linalg.norm(a) * np.linalg.norm(b)))


def distance(one: Mapping[str, Array], exact: Mapping[str, Array]) -> float:
    """The relative error of a gradient."""
    a, b = flat(one, exact), flat(exact, exact)
    return float(np.linalg.norm(a - b) / np.linalg.norm(b))
