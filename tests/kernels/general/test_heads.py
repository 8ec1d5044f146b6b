"""Several heads on one body: a sample is felt by the head that its label names, and by no other."""

from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch

from kernels import BackpropLearner, KernelError, OptimizerSettings, Relaxation, Topology, initial_parameters
from kernels.general.convolution import ConvolutionalStructure
from kernels.general.heads import HeadedStructure, head_name
from kernels.general.lattice import LatticeStructure
from kernels.general.learner import GeneralLearner
from kernels.general.rules import GeneralRule, Sleep
from kernels.general.structure import DenseStructure, Structure, initial_values
from tests.kernels.general.nets import SGD, Double, Floats, cosine

SEED = bytes([9]) * 32
HEADS = (3, 2)
FREE, NUDGED = Relaxation(steps=8), Relaxation(order="backward", steps=4)
BODIES: dict[str, Structure] = {
    "ce": DenseStructure(Topology((6, 5, 4, 5))),
    "mse": DenseStructure(Topology((6, 5, 4, 5), output="mse")),
    "skip": DenseStructure(Topology((6, 5, 4, 5), skips=((1, 3),))),
    "cube": LatticeStructure(6, 3, 5),
    "conv, mse": ConvolutionalStructure((1, 2, 3), (4,), 5, pool="avg", output="mse"),
}
OPTIMIZERS = {
    "sgd": SGD,
    "adam": OptimizerSettings("adam", rate=0.01),
    "muon": OptimizerSettings("muon", rate=0.02),
    "dion": OptimizerSettings("dion", rate=0.02, rank_fraction=1.0),
    "capped": replace(SGD, rate=0.5, spectral_cap=0.5),
}


def rule(estimate: Any = "centred", beta: float = 0.2, **changes: Any) -> GeneralRule:
    return GeneralRule(**({"estimate": estimate, "beta": beta, "free": FREE, "nudged": NUDGED} | changes))


def make(
    structure: Structure, asked: GeneralRule, optimizer: OptimizerSettings = SGD, *, double: bool = True
) -> GeneralLearner:
    values = initial_values(structure, SEED, 0.5)
    precision = Double() if double else None
    return GeneralLearner(structure, values, asked, optimizer, batch=8, precision=precision)


def inputs(count: int = 8) -> Floats:
    return np.random.Generator(np.random.PCG64(4)).random((count, 6))


def of_head(name: str, head: int) -> bool:
    return name.endswith(head_name("", head))


def test_without_a_second_head_it_is_the_network_itself() -> None:
    for body in (BODIES["ce"], BODIES["mse"]):
        headed = HeadedStructure(body, (5,))
        alone = initial_values(body, SEED, 0.5)
        renamed = {head_name(n, 0) if n == "w2-3" else n: value for n, value in alone.items()}
        one = GeneralLearner(body, alone, rule(), OPTIMIZERS["adam"], batch=8)
        other = GeneralLearner(headed, renamed, rule(), OPTIMIZERS["adam"], batch=8)
        x, y = inputs().astype(np.float32), np.arange(8) % 5
        for _ in range(5):
            one.step(x, y, scale=1.0)
            other.step(x, y, scale=1.0)
        found = other.parameters()
        for name, value in one.parameters().items():
            assert np.array_equal(value, found[head_name(name, 0) if name == "w2-3" else name])
        assert np.array_equal(one.predict(x), other.predict(x))


@pytest.mark.parametrize("optimizer", OPTIMIZERS)
@pytest.mark.parametrize("name", BODIES)
@pytest.mark.parametrize("estimate", ["centred", "negative", "backprop"])
def test_a_heads_loss_never_touches_another_heads_weights(name: str, optimizer: str, estimate: str) -> None:
    """Other labels of head 1's samples leave head 0's weights, bit for bit, as the same step makes them."""
    settings = OPTIMIZERS[optimizer]
    ends = []
    for second in ([3, 3, 3, 4], [4, 4, 4, 4]):
        # Muon and Dion work in float32 alone.
        learner = make(HeadedStructure(BODIES[name], HEADS), rule(estimate), settings, double=False)
        first = np.array([0, 1, 2, 0, 1, 2, 0, 1])
        learner.step(inputs().astype(np.float32), first, scale=1.0)
        learner.step(inputs().astype(np.float32), np.array([0, 1, 2, 0, 3, 4, 3, 4]), scale=1.0)
        # The last step: of head 0 the same samples, of head 1 other labels.
        learner.step(inputs().astype(np.float32), np.array([0, 1, 2, 0, *second]), scale=1.0)
        ends.append(learner.parameters())
    same = {n: np.array_equal(ends[0][n], ends[1][n]) for n in ends[0] if n.startswith("w")}
    assert all(equal for n, equal in same.items() if of_head(n, 0))
    assert not all(equal for n, equal in same.items() if of_head(n, 1))
    last = f"b{BODIES[name].last}"
    assert np.array_equal(ends[0][last][:3], ends[1][last][:3])
    assert not np.array_equal(ends[0][last][3:], ends[1][last][3:])


@pytest.mark.parametrize("name", BODIES)
def test_a_head_without_samples_has_no_gradient(name: str) -> None:
    learner = make(HeadedStructure(BODIES[name], HEADS), rule())
    gradient, _ = learner.gradient(inputs(), np.arange(8) % 3)
    for parameter, part in gradient.items():
        if of_head(parameter, 1) and parameter.startswith("w"):
            assert not part.any()
        elif of_head(parameter, 0) and parameter.startswith("w"):
            assert part.any()
    assert not gradient[f"b{BODIES[name].last}"][3:].any()


@pytest.mark.parametrize("output", ["ce", "mse"])
def test_samples_of_one_head_teach_what_they_teach_a_network_of_that_head_alone(output: Any) -> None:
    both = make(HeadedStructure(BODIES[output], HEADS), rule(), OPTIMIZERS["adam"])
    alone_structure = DenseStructure(Topology((6, 5, 4, 3), output=output))
    values = {n: v for n, v in both.parameters().items() if n[0] == "w" and not of_head(n, 1)}
    values = {("w2-3" if of_head(n, 0) and n.startswith("w2-3") else n): v for n, v in values.items()}
    values |= {f"b{layer}": np.zeros(size) for layer, size in ((1, 5), (2, 4), (3, 3))}
    alone = GeneralLearner(alone_structure, values, rule(), OPTIMIZERS["adam"], batch=8, precision=Double())
    x, y = inputs(), np.arange(8) % 3
    for _ in range(10):
        both.step(x, y, scale=1.0)
        alone.step(x, y, scale=1.0)
    found, wanted = both.parameters(), alone.parameters()
    assert np.allclose(found["w1-2"], wanted["w1-2"], atol=1e-12)
    assert np.allclose(found[head_name("w2-3", 0)], wanted["w2-3"], atol=1e-12)
    assert np.allclose(both.predict(x)[:, :3], alone.predict(x), atol=1e-12)


@pytest.mark.parametrize("name", ["ce", "mse", "skip"])
def test_learning_follows_the_gradient_of_the_mean_cost(name: str) -> None:
    structure = HeadedStructure(BODIES[name], HEADS)
    long, back = Relaxation(steps=80), Relaxation(order="backward", steps=80)
    asked = rule(beta=0.01, free=long, nudged=back, activation="logistic")
    learner = make(structure, asked)
    x, y = inputs(), np.array([0, 1, 2, 3, 4, 3, 4, 0])
    hot, own = np.eye(5)[y], np.where(y[:, None] < 3, np.arange(5) < 3, np.arange(5) >= 3)

    def loss() -> float:
        scores = learner.predict(x)
        if structure.output == "mse":
            return float(0.5 * ((scores - hot) ** 2 * own).sum(1).mean())
        shares = np.exp(scores) * own
        return float(-np.log((shares * hot).sum(1) / shares.sum(1)).mean())

    gradient, _ = learner.gradient(x, y)
    formed, exact = [], []
    for parameter, part in gradient.items():
        weight = learner._met[parameter]
        for index in range(min(4, part.size)):
            with torch.inference_mode():
                weight.view(-1)[index] += 1e-5
                above = loss()
                weight.view(-1)[index] -= 2e-5
                exact.append((above - loss()) / 2e-5)
                weight.view(-1)[index] += 1e-5
            formed.append(part.ravel()[index])
    assert np.abs(exact).max() > 1e-3
    assert np.allclose(formed, exact, atol=0.02 * np.abs(exact).max())


@pytest.mark.parametrize("output", ["ce", "mse"])
def test_the_baseline_is_that_of_the_dense_networks(output: Any) -> None:
    topology = Topology((6, 5, 4, 3), output=output)
    values = initial_parameters(topology, seed=SEED, gain=1.0)
    adam = OPTIMIZERS["adam"]
    one = GeneralLearner(topology, values, rule("backprop"), adam, batch=8)
    other = BackpropLearner(topology, values, adam, batch=8)
    x, y = inputs().astype(np.float32), np.arange(8) % 3
    for _ in range(20):
        one.step(x, y, scale=1.0)
        other.step(x, y, scale=1.0)
    for name, value in other.parameters().items():
        assert np.allclose(one.parameters()[name], value, atol=1e-5)


def test_the_estimate_nears_backpropagation_where_nothing_flows_back() -> None:
    """One hidden layer and a readout outside the energy: the centred estimate at a small nudge is the gradient."""
    structure = HeadedStructure(DenseStructure(Topology((6, 8, 5), clip=100.0)), HEADS)
    once = Relaxation(order="backward", steps=1)
    x, y = inputs(), np.array([0, 1, 2, 3, 4, 3, 4, 0])
    estimate, _ = make(structure, rule(beta=1e-3, nudged=once)).gradient(x, y)
    exact, _ = make(structure, rule("backprop")).gradient(x, y)
    assert cosine(estimate, exact) > 0.9999


@pytest.mark.parametrize("name", ["mse", "cube", "conv, mse"])
def test_a_run_resumes_bit_for_bit(name: str) -> None:
    structure, y = HeadedStructure(BODIES[name], HEADS), np.array([0, 1, 2, 3, 4, 3, 4, 0])
    through = make(structure, rule(), OPTIMIZERS["adam"])
    for _ in range(2):
        through.step(inputs(), y, scale=1.0)
    resumed = make(structure, rule(), OPTIMIZERS["adam"])
    resumed.load(through.state())
    through.step(inputs(), y, scale=0.5)
    resumed.step(inputs(), y, scale=0.5)
    assert all(np.array_equal(v, resumed.parameters()[n]) for n, v in through.parameters().items())
    assert through.diagnose(inputs(), y) == resumed.diagnose(inputs(), y)


@pytest.mark.parametrize(
    "asked",
    [
        rule("holomorphic", activation="tanh"),
        rule("predictive-coding"),
        rule(feedback="fixed"),
        rule(sleep=Sleep(every=1, rate=0.1)),
    ],
)
def test_what_would_mix_heads_is_refused(asked: GeneralRule) -> None:
    with pytest.raises(KernelError, match="several heads on one body learn by"):
        make(HeadedStructure(BODIES["ce"], HEADS), asked)


def test_heads_divide_the_outputs() -> None:
    with pytest.raises(KernelError, match=r"divide the 5 outputs of the body, got heads of \(3, 3\) classes"):
        HeadedStructure(BODIES["ce"], (3, 3))
