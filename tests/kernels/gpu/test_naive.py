"""Gate 1: the naive operations say what the arbiter of the CPU path says."""

import numpy as np
import pytest

from kernels import Relaxation, Rule, Topology, initial_parameters
from kernels.backends.reference import Reference, softmax
from kernels.randomness import words
from kernels.topology import bias_name, weight_name
from tests.kernels.gpu import naive

# Both are float64 and differ in the order of their sums alone.
SAME = 1e-12
SIZES = [(9, 14, 4), (9, 14, 11, 4), (9, 12, 14, 11, 4)]
BATCH = 6


def uniform(name: str, *shape: int) -> np.ndarray:
    count = int(np.prod(shape))
    return (words(bytes(32), name, count) / np.float64(2**64)).reshape(shape)


def network(sizes: tuple[int, ...], output: str) -> Reference:
    topology = Topology(sizes, output=output)
    values = initial_parameters(topology, seed=bytes(32), gain=1.5)
    for layer in range(1, len(sizes)):
        values[bias_name(layer)] = 0.3 * uniform(f"b{layer}", sizes[layer])
    labels = words(bytes(32), "y", BATCH) % np.uint64(sizes[-1])
    return Reference(
        topology, values, uniform("x", BATCH, sizes[0]), np.eye(sizes[-1])[labels.astype(np.int64)]
    )


def parts(arbiter: Reference) -> tuple[np.ndarray, list[np.ndarray], list[np.ndarray]]:
    """(drive, weights, biases) as the kernels take them."""
    last = arbiter.topology.last
    drive = arbiter.x @ arbiter.weight(0, 1).T + arbiter.parameters[bias_name(1)]
    weights = [arbiter.weight(layer - 1, layer).T for layer in range(2, last + 1)]
    return drive, weights, [arbiter.parameters[bias_name(layer)] for layer in range(2, last + 1)]


@pytest.mark.parametrize("order", ["forward", "backward", "alternating"])
@pytest.mark.parametrize("output", ["ce", "mse"])
@pytest.mark.parametrize("sizes", SIZES, ids=str)
def test_sweeps_are_those_of_the_arbiter(sizes, output, order):
    arbiter = network(sizes, output)
    start = arbiter.feed_forward()
    expected, steps, residual = arbiter.settle(start, 0.4, Relaxation(order=order, steps=3))
    begin = [start[layer] for layer in arbiter.topology.state_layers]
    if output == "ce":
        begin.append(np.zeros_like(arbiter.y))
    drive, weights, biases = parts(arbiter)
    found, change = naive.settle(
        drive, weights, biases, begin, (arbiter.y, 0.4), steps=steps, order=order, readout=output == "ce"
    )
    for layer, states in expected.items():
        assert np.abs(states - found[layer - 1]).max() < SAME
        assert np.abs(states - start[layer]).max() > 1e-3, "a sweep that moves nothing shows nothing"
    assert abs(change - residual) < SAME


def test_a_synchronous_step_is_that_of_the_arbiter():
    arbiter = network((9, 14, 11, 4), "mse")
    start = arbiter.feed_forward()
    relaxation = Relaxation(scheme="synchronous", steps=1, step_size=0.3)
    expected = arbiter.sweep(start, 0.4, relaxation, 0)
    drive, (w2, w3), (b2, b3) = parts(arbiter)
    found = {
        1: naive.layer(drive, start[2] @ w2.T, "clip", move=(start[1], 0.3)),
        2: naive.layer(b2, start[1] @ w2 + start[3] @ w3.T, "clip", move=(start[2], 0.3)),
        3: naive.layer(b3, start[2] @ w3, "output", nudge=(arbiter.y, 0.4), move=(start[3], 0.3)),
    }
    for layer, states in expected.items():
        assert np.abs(states - found[layer]).max() < SAME


@pytest.mark.parametrize("output", ["ce", "mse"])
def test_the_contrast_is_the_gradient_of_the_arbiter(output):
    arbiter = network((9, 14, 11, 4), output)
    beta = 0.3
    rule = Rule("centred", beta, Relaxation(steps=4), Relaxation(order="backward", steps=2))
    expected, *_ = arbiter.gradient(rule)
    free, *_ = arbiter.settle(arbiter.feed_forward(), 0.0, rule.free)
    plus, *_ = arbiter.settle(free, beta, rule.nudged)
    minus, *_ = arbiter.settle(free, -beta, rule.nudged)
    unit = 1.0 / (2 * beta * BATCH)
    found = {weight_name(0, 1): naive.contrast(arbiter.x, plus[1], None, minus[1], unit)}
    for layer in arbiter.topology.state_layers[1:]:
        found[weight_name(layer - 1, layer)] = naive.contrast(
            plus[layer - 1], plus[layer], minus[layer - 1], minus[layer], unit
        )
    if output == "ce":
        p = softmax(arbiter.scores(free))
        found[weight_name(2, 3)] = naive.contrast(free[2], arbiter.y, None, p, 1.0 / BATCH)
    assert set(found) == {name for name in expected if name.startswith("w")}
    for name, gradient in found.items():
        assert np.abs(gradient.T - expected[name]).max() < SAME
        assert np.abs(gradient).max() > 1e-4


def test_a_pull_is_minus_the_gradient_of_the_cost():
    scores, y, beta, h = uniform("scores", 5, 4), np.eye(4)[[0, 1, 2, 3, 0]], 0.7, 1e-6
    pull = naive.layer(np.zeros((5, 4)), scores, "pull", nudge=(y, beta))
    for row, column in np.ndindex(5, 4):
        costs = []
        for side in (h, -h):
            moved = scores.copy()
            moved[row, column] += side
            costs.append(-beta * np.log(softmax(moved)[row] @ y[row]))
        assert abs(pull[row, column] + (costs[0] - costs[1]) / (2 * h)) < 1e-8


def test_power_iteration_finds_the_largest_singular_value():
    weight = uniform("w", 8, 5) - 0.5
    value, vector = naive.power(weight, uniform("v", 5), 200)
    sigma = np.linalg.svd(weight)
    assert abs(value - sigma.S[0]) < 1e-9
    assert abs(abs(sigma.Vh[0] @ vector) - 1.0) < 1e-9


@pytest.mark.parametrize("readout", [True, False])
def test_a_sweep_visits_every_layer_once(readout):
    for order in ("forward", "backward", "alternating"):
        for step in (0, 1):
            visits = naive.order_of(order, step, 4, readout=readout)
            assert sorted(visits) == [1, 2, 3, 4]
            if readout:
                assert visits.index(4) + 1 == visits.index(3), "the readout is read just before layer 3 moves"
