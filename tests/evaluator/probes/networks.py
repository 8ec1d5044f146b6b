"""Networks that the tests of the probes share: trained on digits by the arbiter, or made by hand."""

from functools import cache

import numpy as np

from evaluator.probes.subject import Network, Samples
from evaluator.tasks import resolve
from kernels import OptimizerSettings, Relaxation, Rule, Topology, initial_parameters, permutation
from kernels.backends.reference_learner import ReferenceLearner

SEED = bytes(range(32))
FEED_FORWARD = Rule("centred", 1.0, Relaxation(), Relaxation(order="backward", steps=1))
DEEP = Rule("centred", 0.2, Relaxation(steps=8), Relaxation(order="backward", steps=4))
SYNCHRONOUS = Rule(
    "centred", 0.2, Relaxation(scheme="synchronous", steps=8), Relaxation(scheme="synchronous", steps=4)
)


@cache
def digits() -> Samples:
    """The validation digits."""
    data = resolve("digits").load()
    return Samples(data.validation_x, data.validation_y)


@cache
def trained(output: str) -> Network:
    """64-32-10 with a readout, or 64-32-32-10 with the output inside the energy, after a few epochs of digits."""
    shallow = output == "ce"
    topology = Topology((64, 32, 10)) if shallow else Topology((64, 32, 32, 10), output="mse")
    rule = FEED_FORWARD if shallow else DEEP
    learner = ReferenceLearner(
        topology,
        initial_parameters(topology, SEED, 0.5),
        rule,
        OptimizerSettings(name="adam", rate=4e-3),
        batch=32,
    )
    data = resolve("digits").load()
    for epoch in range(5):
        order = permutation(SEED, epoch, len(data.train_x))
        for start in range(0, len(order), 32):
            rows = order[start : start + 32]
            learner.step(data.train_x[rows], data.train_y[rows], scale=1.0)
    return Network(topology, learner.parameters(), rule)


def pair(weight: float, rule: Rule = SYNCHRONOUS, *, drive: float = 1.0, clip: float = 1e100) -> Network:
    """One hidden and one output unit coupled by `weight`: its synchronous map has the eigenvalues +-weight."""
    topology = Topology((1, 1, 1), output="mse", clip=clip)
    values = {
        "w0-1": np.array([[drive]]),
        "w1-2": np.array([[weight]]),
        "b1": np.zeros(1),
        "b2": np.zeros(1),
    }
    return Network(topology, values, rule)


def ones(rows: int, inputs: int = 1) -> Samples:
    """Inputs of one, all of class 0."""
    return Samples(np.ones((rows, inputs)), np.zeros(rows, dtype=np.int64))
