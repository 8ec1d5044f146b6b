"""What each rule of the family forms, against the exact gradient of the network that it trains."""

import functools

import numpy as np
import pytest
import torch

from kernels import Relaxation, Topology
from kernels.general.activations import ACTIVATIONS, make_activation
from kernels.general.estimators import contrast, readout_gradient
from kernels.general.feedback import asymmetry, homeostasis
from kernels.general.network import Nudge
from kernels.general.rules import GeneralRule
from kernels.topology import Output
from tests.kernels.general.nets import (
    BACK,
    LONG,
    cosine,
    data,
    distance,
    learner,
    loss,
    parameters,
    slope,
)

SIZES = (7, 6, 5, 3)
SMOOTH = ("logistic", "tanh")


def rule(estimate: str, beta: float = 0.05, **changes: object) -> GeneralRule:
    return GeneralRule(**({"estimate": estimate, "beta": beta, "free": LONG, "nudged": BACK} | changes))  # type: ignore[arg-type]


@functools.cache
def case(output: Output, activation: str) -> tuple[Topology, dict[str, np.ndarray], dict[str, np.ndarray]]:
    """A topology, its parameters and the exact gradient of its cost."""
    topology = Topology(SIZES if output == "ce" else (7, 6, 3), output=output)
    values = parameters(topology)
    free = rule("centred", activation=activation)
    return topology, values, slope(lambda moved: loss(topology, free, moved), values)


def formed(output: Output, asked: GeneralRule) -> dict[str, np.ndarray]:
    topology, values, _ = case(output, asked.activation)
    return learner(topology, asked, values).gradient(*data())[0]


@pytest.mark.parametrize("activation", ACTIVATIONS)
@pytest.mark.parametrize("output", ["ce", "mse"])
@pytest.mark.parametrize("estimate", ["centred", "one-sided", "negative", "random-sign", "continual"])
def test_energy_rules_follow_the_gradient(output: Output, activation: str, estimate: str) -> None:
    found = formed(output, rule(estimate, 0.01, activation=activation))
    assert cosine(found, case(output, activation)[2]) > 0.999


@pytest.mark.parametrize("activation", SMOOTH)
def test_the_centred_bias_is_of_second_order_and_the_one_sided_of_first(activation: str) -> None:
    exact = case("ce", activation)[2]
    centred = [distance(formed("ce", rule("centred", b, activation=activation)), exact) for b in (0.4, 0.2)]
    sided = [distance(formed("ce", rule("one-sided", b, activation=activation)), exact) for b in (0.4, 0.2)]
    assert 3.5 < centred[0] / centred[1] < 4.5
    assert 1.8 < sided[0] / sided[1] < 2.2


@pytest.mark.parametrize("activation", SMOOTH)
def test_the_holomorphic_bias_falls_with_the_points(activation: str) -> None:
    exact = case("ce", activation)[2]
    errors = [
        distance(formed("ce", rule("holomorphic", 0.5, points=n, activation=activation)), exact)
        for n in (2, 4, 6, 8)
    ]
    assert errors[0] > 10 * errors[1] > 100 * errors[2]
    assert errors[3] < 1e-5


@pytest.mark.parametrize("points", [3, 5])
def test_an_odd_number_of_points_is_a_circle_too(points: int) -> None:
    exact = case("ce", "logistic")[2]
    few = distance(formed("ce", rule("holomorphic", 0.5, points=points, activation="logistic")), exact)
    more = distance(formed("ce", rule("holomorphic", 0.5, points=points + 2, activation="logistic")), exact)
    assert few > 5 * more


@pytest.mark.parametrize("output", ["ce", "mse"])
def test_two_points_are_the_centred_estimate(output: Output) -> None:
    two = formed(output, rule("holomorphic", 0.2, points=2, activation="tanh"))
    centred = formed(output, rule("centred", 0.2, activation="tanh"))
    assert distance(two, centred) < 1e-9


@pytest.mark.parametrize("activation", ACTIVATIONS)
def test_holding_the_output_points_downhill(activation: str) -> None:
    exact = case("mse", activation)[2]
    assert cosine(formed("mse", rule("coupled", activation=activation)), exact) > 0.85
    assert cosine(formed("mse", rule("contrastive-hebbian", activation=activation)), exact) > 0.85


@pytest.mark.parametrize("activation", SMOOTH)
def test_contrastive_hebbian_learning_descends_the_difference_of_energies(activation: str) -> None:
    """Its update is the exact gradient of E(held) - E(free): what it does promise."""
    topology, values, _ = case("mse", activation)
    asked = rule("contrastive-hebbian", activation=activation)
    x, y = data()

    def difference(moved: object) -> float:
        other = learner(topology, asked, moved)  # type: ignore[arg-type]
        network, inputs = other._network, torch.from_numpy(x)
        _, learned = other.gradient(x, y)
        free = learned.free
        target = torch.eye(3, dtype=torch.float64)[torch.from_numpy(y)]
        with torch.inference_mode():
            held = network.relax(free, inputs, Nudge(held=target), BACK).states
            return float((network.energy(held, inputs) - network.energy(free, inputs)).mean())

    assert distance(formed("mse", asked), slope(difference, values)) < 1e-5


def feed_forward_loss(topology: Topology, activation: str, values: object) -> float:
    return loss(topology, rule("predictive-coding", activation=activation), values)  # type: ignore[arg-type]


@pytest.mark.parametrize("output", ["ce", "mse"])
def test_predictive_coding_tends_to_backpropagation_as_errors_vanish(output: Output) -> None:
    """One inference step a layer from the feed-forward pass, and ever smaller steps, leave the gradient."""
    topology, values, _ = case(output, "logistic")
    exact = slope(lambda moved: feed_forward_loss(topology, "logistic", moved), values)
    found = []
    for size in (0.1, 0.01):
        inference = Relaxation("synchronous", steps=topology.last - 1, step_size=size)
        gradient = formed(output, rule("predictive-coding", nudged=inference, activation="logistic"))
        last = {name: exact[name] for name in exact if name.endswith(str(topology.last))}
        assert distance(gradient, last) < 2 * size
        below = {name: exact[name] for name in exact if not name.endswith(str(topology.last))}
        found.append(1 - cosine(gradient, {n: below[n] for n in below if n.endswith(str(topology.last - 1))}))
    assert found[1] < found[0] < 0.05


@pytest.mark.parametrize("activation", ACTIVATIONS)
def test_feedback_of_its_own_weakens_the_gradient_and_symmetric_feedback_restores_it(activation: str) -> None:
    topology, values, exact = case("ce", activation)
    alone = learner(topology, rule("centred", 0.01, feedback="fixed", activation=activation), values)
    assert cosine(alone.gradient(*data())[0], exact) < 0.97
    same = {f"f{name}": value for name, value in values.items() if name.startswith("w") and name != "w0-1"}
    joined = learner(
        topology, rule("centred", 0.01, feedback="fixed", activation=activation), {**values, **same}
    )
    assert cosine(joined.gradient(*data())[0], exact) > 0.99


def test_homeostasis_is_the_gradient_of_the_jacobians_asymmetry() -> None:
    topology = Topology(SIZES)
    values = parameters(topology)
    base = learner(topology, rule("centred", feedback="homeostatic", activation="logistic"), values)
    states = base.gradient(*data())[1].free

    with torch.inference_mode():
        found = homeostasis(base._network, states)
        for name, part in found.items():
            view = base._parameters.views[name].value
            index = int(part.abs().argmax())
            kept = view.view(-1)[index].item()
            view.view(-1)[index] = kept + 1e-6
            above = asymmetry(base._network, states)
            view.view(-1)[index] = kept - 1e-6
            expected = (above - asymmetry(base._network, states)) / 2e-6
            view.view(-1)[index] = kept
            assert part.view(-1)[index].item() == pytest.approx(expected, rel=1e-5)


@pytest.mark.parametrize("poisoned", [1, 2, 3])
def test_an_update_reads_the_two_layers_that_its_weight_joins(poisoned: int) -> None:
    """NaN in the states of one layer after settling reaches the weights of that layer alone."""
    topology = Topology((7, 6, 5, 3), output="mse")
    base = learner(topology, rule("centred"), parameters(topology))
    x = torch.from_numpy(data()[0])
    with torch.inference_mode():
        free = base._network.feed_forward(x)
        above, below = dict(free), {layer: 0.5 * state for layer, state in free.items()}
        clean = contrast(base._network, x, above, below, 0.1)
        for phase in (above, below):
            phase[poisoned] = torch.full_like(phase[poisoned], torch.nan)
        spoilt = contrast(base._network, x, above, below, 0.1)
    for name, part in spoilt.items():
        layers = [int(number) for number in name.strip("wb").split("-")]
        if poisoned in layers:
            assert torch.isnan(part).all(), name
        else:
            assert torch.equal(part, clean[name]), name


def test_the_readout_learns_from_the_layer_that_it_reads() -> None:
    topology = Topology(SIZES)
    base = learner(topology, rule("centred"), parameters(topology))
    x, y = data()
    with torch.inference_mode():
        free = base._network.feed_forward(torch.from_numpy(x))
        target = torch.eye(3, dtype=torch.float64)[torch.from_numpy(y)]
        clean = readout_gradient(base._network, torch.from_numpy(x), free, target)
        free[1] = torch.full_like(free[1], torch.nan)
        spoilt = readout_gradient(base._network, torch.from_numpy(x), free, target)
    assert set(clean) == {"w2-3", "b3"}
    assert all(torch.equal(clean[name], spoilt[name]) for name in clean)


@pytest.mark.parametrize("name", ACTIVATIONS)
def test_an_activation_is_the_minimiser_of_its_potential(name: str) -> None:
    activation = make_activation(name)
    u = torch.linspace(-1.5, 2.5, 81, dtype=torch.float64)
    s = activation.apply(u)
    for shift in (-1e-4, 1e-4):
        other = (s + shift).clamp(-0.999999 if name == "tanh" else 0.0, 1.0)
        assert (activation.potential(s) - s * u <= activation.potential(other) - other * u + 1e-12).all()
    inside = (s > 1e-6) & (s < 1 - 1e-6) if name == "clip" else torch.ones_like(s, dtype=torch.bool)
    step = (activation.apply(u + 1e-6) - activation.apply(u - 1e-6)) / 2e-6
    assert torch.allclose(step[inside], activation.slope(s)[inside], atol=1e-5)


@pytest.mark.parametrize("name", ACTIVATIONS)
@pytest.mark.parametrize("output", ["ce", "mse"])
def test_block_sweeps_never_raise_the_energy(name: str, output: Output) -> None:
    topology = Topology(SIZES, output=output)
    base = learner(topology, rule("centred", activation=name), parameters(topology))
    x = torch.from_numpy(data()[0])
    with torch.inference_mode():
        states = {layer: torch.full_like(s, 0.3) for layer, s in base._network.feed_forward(x).items()}
        energies = [base._network.energy(states, x)]
        for step in range(12):
            states = base._network.sweep(states, x, Nudge(), LONG, step)
            energies.append(base._network.energy(states, x))
    steps = torch.stack(energies).diff(dim=0)
    assert (steps <= 1e-12).all()
    assert steps[0].max() < -1e-4
