"""EP's theorem: at a settled state and a small nudge, the estimate is the gradient of the loss at equilibrium."""

import numpy as np
import pytest

from evaluator.build import build, rule_of, topology_of
from evaluator.tasks import resolve
from genome import preset
from kernels import EqpropLearner, Relaxation, Rule, Topology
from tests.conformance import cases
from tests.conformance.cases import FP32, REFERENCE
from tests.conformance.oracle import Oracle, Parameters, equilibrium_loss, finite_differences

BETA = 1e-3
# Far enough from the gain at which a network answers a nudge without end.
GAIN = 0.7
NETS = [(output, depth, skip) for output in ("ce", "mse") for depth in (1, 2, 3) for skip in (False, True)]
_slopes: dict[tuple[str, int, bool], Parameters] = {}


def settled(estimate: str, beta: float = BETA, scheme: str = "block") -> Rule:
    free = Relaxation(scheme=scheme, order="forward", steps=400, step_size=0.9)  # type: ignore[arg-type]
    nudged = Relaxation(scheme=scheme, order="backward", steps=400, step_size=0.9)  # type: ignore[arg-type]
    return Rule(estimate=estimate, beta=beta, free=free, nudged=nudged)  # type: ignore[arg-type]


def slopes(output: str, depth: int, *, skip: bool) -> Parameters:
    """Finite differences of the oracle's own loss, in every weight and bias."""
    if (output, depth, skip) not in _slopes:
        shape = cases.topology(output, depth, skip=skip)
        values, (x, labels) = cases.weights(shape, gain=GAIN), cases.batch(shape)
        y = cases.one_hot(shape, labels)
        net = Oracle(shape, values)
        near = net.equilibrium(net.start(x))
        hidden = near[:, net.parts[1].start : net.parts[net.L].start]
        alive = np.mean((hidden > 0.02) & (hidden < 0.98))
        assert 0.3 < alive < 1.0, "some units must be free and some at a bound"
        assert not np.any((hidden > 0.0) & (hidden < 1e-3)), "no unit may cross a bound under a small nudge"
        _slopes[output, depth, skip] = finite_differences(
            lambda moved: equilibrium_loss(shape, moved, near, y), values, 1e-5
        )
    return _slopes[output, depth, skip]


def estimated(output: str, depth: int, *, skip: bool, how: Rule) -> Parameters:
    shape = cases.topology(output, depth, skip=skip)
    network = cases.learner(shape, cases.weights(shape, gain=GAIN), how, way=REFERENCE)
    return cases.change(network, *cases.batch(shape))[0]


@pytest.mark.parametrize(("output", "depth", "skip"), NETS)
def test_the_centred_estimate_is_the_gradient(output: str, depth: int, skip: bool) -> None:
    exact = slopes(output, depth, skip=skip)
    centred = cases.relative(estimated(output, depth, skip=skip, how=settled("centred")), exact)
    assert centred <= 1e-5
    one_sided = cases.relative(estimated(output, depth, skip=skip, how=settled("one-sided")), exact)
    negative = cases.relative(estimated(output, depth, skip=skip, how=settled("negative")), exact)
    assert 10 * centred < one_sided <= 1e-2
    assert 10 * centred < negative <= 1e-2


@pytest.mark.parametrize(("output", "depth", "skip"), NETS)
def test_the_linearised_estimate_is_the_gradient(output: str, depth: int, skip: bool) -> None:
    assert (
        cases.relative(
            estimated(output, depth, skip=skip, how=settled("linearised")), slopes(output, depth, skip=skip)
        )
        <= 1e-7
    )


def test_the_error_of_the_nudge_is_of_first_and_of_second_order() -> None:
    exact = slopes("mse", 2, skip=True)
    for estimate, factor in (("one-sided", 2.0), ("negative", 2.0), ("centred", 4.0)):
        wide, narrow = (
            cases.relative(estimated("mse", 2, skip=True, how=settled(estimate, beta)), exact)
            for beta in (8e-3, 4e-3)
        )
        assert wide / narrow == pytest.approx(factor, rel=0.05)


def test_a_synchronous_phase_settles_to_the_same_gradient() -> None:
    for estimate, bound in (("centred", 1e-5), ("linearised", 1e-7)):
        came = estimated("mse", 2, skip=True, how=settled(estimate, scheme="synchronous"))
        assert cases.relative(came, slopes("mse", 2, skip=True)) <= bound


def test_fp32_follows_the_gradient_at_the_beta_where_it_can() -> None:
    """At beta 1e-3 rounding is 6e-8/2e-3 of a state; at .01 that is 3e-6."""
    for output in ("ce", "mse"):
        shape = cases.topology(output, 2, skip=True)
        network = cases.learner(shape, cases.weights(shape, gain=GAIN), settled("centred", 0.01), way=FP32)
        came = cases.change(network, *cases.batch(shape))[0]
        assert cases.relative(came, slopes(output, 2, skip=True)) <= 5e-4


# At the step counts of the presets, on real data.


def exact_gradient(shape: Topology, values: Parameters, x: np.ndarray, y: np.ndarray) -> Parameters:
    """The gradient at equilibrium, by the linear phase at the settled state (held to finite differences above)."""
    net, target = Oracle(shape, values), cases.one_hot(shape, y)
    u, steps, _ = net.settle(
        net.start(x), 0.0, None, Relaxation(order="alternating", steps=300, tolerance=1e-8)
    )
    d, more = net.derivative(u, target, Relaxation(order="alternating", steps=300, tolerance=1e-7))
    assert steps < 300 and more < 300
    return net.derivative_gradient(u, d, target)


@pytest.mark.parametrize("trained", [0, 20])
@pytest.mark.parametrize("name", ["shallow", "deep", "ep"])
def test_the_presets_take_steps_enough(name: str, trained: int) -> None:
    values, data = dict(preset(name).values), resolve("digits").load()
    x, y = np.asarray(data.train_x), np.asarray(data.train_y)
    inputs, classes = x.shape[1], 10
    network = build(values, inputs=inputs, classes=classes, seed=bytes(32), arithmetic="fp32", backend="auto")
    rows = int(values["batch"])
    for step in range(trained):
        chosen = (np.arange(rows) + step * rows) % len(x)
        network.step(x[chosen], y[chosen], scale=1.0)
    shape, weights = topology_of(values, inputs=inputs, classes=classes), network.parameters()
    probe = EqpropLearner(shape, weights, rule_of(values), cases.PLAIN, batch=48)
    came = cases.change(probe, x[:48], y[:48])[0]
    exact = exact_gradient(shape, weights, x[:48], y[:48])
    assert cases.cosine(came, exact) >= 0.9
    # Every parameter on its own, not the largest alone.
    for each in came:
        if np.linalg.norm(exact[each]) > 1e-3 * np.linalg.norm(cases.flat(exact)):
            assert cases.cosine({each: came[each]}, {each: exact[each]}) >= 0.8, each


@pytest.mark.parametrize("way", [REFERENCE, FP32], ids=str)
def test_before_rest_one_sided_points_astray_and_centred_does_not(way: cases.Way) -> None:
    """The drift of an unconverged free phase is divided by beta; the centred difference cancels it."""
    shape = Topology((7, 12, 12, 3), output="mse")
    values = cases.weights(shape, gain=1.1)
    x, y = cases.batch(shape)
    net = Oracle(shape, values)
    u = net.equilibrium(net.start(x))
    d, _ = net.derivative(u, cases.one_hot(shape, y), Relaxation(steps=3000, tolerance=1e-13))
    exact = net.derivative_gradient(u, d, cases.one_hot(shape, y))
    angle = {}
    for estimate in ("centred", "one-sided", "negative"):
        how = cases.rule(estimate, beta=0.01, steps=(3, 4))
        came, report = cases.change(cases.learner(shape, values, how, way=way), x, y)
        assert report.residual > 1e-2, "the free phase must not have come to rest"
        angle[estimate] = cases.cosine(came, exact)
    assert angle["centred"] > 0.9
    assert angle["one-sided"] < 0.0, "away from the minimum"
    assert angle["negative"] < 0.5
