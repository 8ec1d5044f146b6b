"""One training step: the weight change of every backend and class is the oracle's gradient."""

from typing import Any

import numpy as np
import pytest

from kernels import KernelError, OptimizerSettings, PopulationLearner, Topology
from tests.conformance import cases
from tests.conformance.cases import BF16, EXACT, FP32, REFERENCE, WAYS, Way
from tests.conformance.oracle import Oracle

SCHEMES = {
    "forward-backward": ("block", ("forward", "backward")),
    "forward-forward": ("block", ("forward", "forward")),
    "alternating": ("block", ("alternating", "alternating")),
    "synchronous": ("synchronous", ("forward", "backward")),
}
ESTIMATES = ("centred", "one-sided", "negative", "random-sign", "linearised")

# Largest error over largest entry. float64: rounding. fp32: a state is good to 6e-8, and is divided by 2 beta.
# exact-1: a state is good to 2^-17 = 8e-6, is summed through three sweeps and divided by 2 beta.
# bf16: every product is good to 2^-9 = 2e-3, likewise.
BOUNDS = {REFERENCE: 1e-11, FP32: 1e-5, EXACT: 6e-4, BF16: 0.15}


@pytest.mark.parametrize("estimate", ESTIMATES)
@pytest.mark.parametrize("scheme", SCHEMES)
@pytest.mark.parametrize("skip", [False, True], ids=["chain", "skips"])
@pytest.mark.parametrize("depth", [1, 2, 3])
@pytest.mark.parametrize("output", ["ce", "mse"])
@pytest.mark.parametrize("way", WAYS, ids=str)
def test_a_step_follows_the_estimate(
    way: Way, output: str, depth: int, skip: bool, scheme: str, estimate: str
) -> None:
    shape = cases.topology(output, depth, skip=skip)
    kind, orders = SCHEMES[scheme]
    how = cases.rule(estimate, scheme=kind, orders=orders, step_size=0.75 if kind == "synchronous" else 1.0)
    values, (x, y) = cases.weights(shape), cases.batch(shape)
    expected, free_steps, nudged_steps, residual = Oracle(shape, values).gradient(
        x, cases.one_hot(shape, y), how
    )
    came, report = cases.change(cases.learner(shape, values, how, way=way), x, y)
    assert cases.distance(came, expected) < BOUNDS[way]
    assert (report.free_steps, report.nudged_steps) == (free_steps, nudged_steps) == (3, 3)
    assert report.residual == pytest.approx(residual, abs={BF16: 0.02, EXACT: 1e-4}.get(way, 1e-6))
    assert report.finite


@pytest.mark.parametrize("way", WAYS, ids=str)
@pytest.mark.parametrize("output", ["ce", "mse"])
class TestArguments:
    def test_a_short_last_batch_is_a_mean_over_its_own_samples(self, way: Way, output: str) -> None:
        shape = cases.topology(output, 2, skip=True)
        values, how = cases.weights(shape), cases.rule()
        rate = 1.0 / 16.0
        network = cases.learner(
            shape, values, how, OptimizerSettings("sgd", rate=rate, momentum=0.0), way=way
        )
        for rows, label in ((4, "short"), (6, "full"), (1, "one"), (4, "short again"), (6, "full again")):
            x, y = cases.batch(shape, rows, label)
            expected = Oracle(shape, network.parameters()).gradient(x, cases.one_hot(shape, y), how)[0]
            assert cases.distance(cases.change(network, x, y, rate=rate)[0], expected) < BOUNDS[way], label

    def test_scale_and_rate_multiply(self, way: Way, output: str) -> None:
        shape = cases.topology(output, 2, skip=False)
        values, how, (x, y) = cases.weights(shape), cases.rule(), cases.batch(shape)
        network = cases.learner(shape, values, how, OptimizerSettings("sgd", rate=0.5, momentum=0.0), way=way)
        expected = Oracle(shape, values).gradient(x, cases.one_hot(shape, y), how)[0]
        came = cases.change(network, x, y, rate=0.5 * 0.25, scale=0.25)[0]
        assert cases.distance(came, expected) < BOUNDS[way]
        if way is not REFERENCE:
            # Padding, scratch and slots must not leak into a step of size 0.
            still = cases.change(network, x, y, scale=0.0)[0]
            assert not np.any(cases.flat(still))

    def test_the_sign_of_a_random_sign_nudge(self, way: Way, output: str) -> None:
        shape = cases.topology(output, 2, skip=True)
        values, (x, y) = cases.weights(shape), cases.batch(shape)
        how, target = cases.rule("random-sign"), cases.one_hot(shape, y)
        net = Oracle(shape, values)
        up, down = (net.gradient(x, target, how, sign)[0] for sign in (1, -1))
        for sign, expected, other in ((1, up, down), (-1, down, up)):
            came = cases.change(cases.learner(shape, values, how, way=way), x, y, sign=sign)[0]
            assert cases.distance(came, expected) < BOUNDS[way]
            assert cases.distance(other, expected) > 0.02, (
                "the signs must differ for this test to say anything"
            )
        # The estimates without a random sign do not read it.
        for estimate in ("centred", "one-sided", "negative", "linearised"):
            how = cases.rule(estimate)
            both = [
                cases.change(cases.learner(shape, values, how, way=way), x, y, sign=sign)[0]
                for sign in (1, -1)
            ]
            assert cases.same_bits(*both)

    @pytest.mark.parametrize("scheme", SCHEMES)
    @pytest.mark.parametrize("estimate", ESTIMATES)
    def test_a_tolerance_ends_a_phase(self, way: Way, output: str, scheme: str, estimate: str) -> None:
        shape = cases.topology(output, 2, skip=True)
        kind, orders = SCHEMES[scheme]
        how = cases.rule(
            estimate, scheme=kind, orders=orders, steps=(60, 40), tolerances=(3e-2, 5e-3), step_size=0.75
        )
        values, (x, y) = cases.weights(shape), cases.batch(shape)
        expected, free_steps, nudged_steps, residual = Oracle(shape, values).gradient(
            x, cases.one_hot(shape, y), how
        )
        assert 1 <= free_steps < 60 and 1 <= nudged_steps < 40
        came, report = cases.change(cases.learner(shape, values, how, way=way), x, y)
        assert report.residual <= 3e-2
        if way is not BF16:
            assert (report.free_steps, report.nudged_steps) == (free_steps, nudged_steps)
            assert report.residual == pytest.approx(residual, abs=1e-4 if way is EXACT else 1e-6)
            assert cases.distance(came, expected) < BOUNDS[way]
        else:
            # One sweep more or fewer, where a residual lies near the tolerance.
            assert cases.cosine(came, expected) > 0.97

    def test_no_free_sweep_at_all(self, way: Way, output: str) -> None:
        shape = cases.topology(output, 2, skip=True)
        how, values, (x, y) = cases.rule(steps=(0, 1)), cases.weights(shape), cases.batch(shape)
        expected = Oracle(shape, values).gradient(x, cases.one_hot(shape, y), how)[0]
        came, report = cases.change(cases.learner(shape, values, how, way=way), x, y)
        assert cases.distance(came, expected) < BOUNDS[way]
        assert (report.free_steps, report.nudged_steps, report.residual) == (0, 1, 0.0)

    def test_clip_and_large_nudges(self, way: Way, output: str) -> None:
        shape = cases.topology(output, 3, skip=True, clip=0.375)
        beta = 1.0 if output == "ce" else 0.4375
        how, values, (x, y) = cases.rule(beta=beta), cases.weights(shape), cases.batch(shape)
        net = Oracle(shape, values)
        u = net.start(x)[:, net.parts[1].start : net.parts[3].stop]
        assert np.mean(u == 0.375) > 0.1, "some units must be at the ceiling"
        expected = net.gradient(x, cases.one_hot(shape, y), how)[0]
        came = cases.change(cases.learner(shape, values, how, way=way), x, y)[0]
        assert cases.distance(came, expected) < BOUNDS[way]

    def test_scores(self, way: Way, output: str) -> None:
        """Logits or the output state of the free phase, for any number of samples, each on its own."""
        shape = cases.topology(output, 2, skip=True)
        how, values = cases.rule(), cases.weights(shape)
        network = cases.learner(shape, values, how, way=way)
        x, _ = cases.batch(shape, 300)
        net = Oracle(shape, values)
        u, _, _ = net.settle(net.start(x), 0.0, None, how.free)
        came = network.predict(x)
        assert came.shape == (300, 3)
        np.testing.assert_allclose(
            came, net.output(u), atol={REFERENCE: 1e-12, FP32: 1e-6, EXACT: 1e-4, BF16: 0.02}[way]
        )
        if way is not REFERENCE:
            assert network.predict(x[7:8]).tobytes() == came[7:8].tobytes()
        assert cases.same_bits(
            network.parameters(), cases.learner(shape, values, how, way=way).parameters()
        ), "predicting must change nothing"


@pytest.mark.parametrize("way", WAYS, ids=str)
def test_inputs_with_margins_of_zeros(way: Way) -> None:
    """Images have them: leaving them out of products must change nothing, whatever the batch before was like."""
    shape = Topology((40, 5, 3), output="mse", skips=((0, 2),))
    values, how = cases.weights(shape), cases.rule()
    network = cases.learner(shape, values, how, OptimizerSettings("sgd", rate=0.125, momentum=0.0), way=way)
    for margins in ((17, 12), (0, 30), (0, 0), (31, 0), (40, 0), (9, 9)):
        x, y = cases.batch(shape, 6, str(margins))
        x[:, : margins[0]] = 0.0
        x[:, 40 - margins[1] :] = 0.0
        expected = Oracle(shape, network.parameters()).gradient(x, cases.one_hot(shape, y), how)[0]
        assert cases.distance(cases.change(network, x, y, rate=0.125)[0], expected) < BOUNDS[way], margins


@pytest.mark.parametrize("way", WAYS, ids=str)
def test_inputs_are_read_and_never_written(way: Way) -> None:
    shape = cases.topology("ce", 2, skip=True)
    network = cases.learner(shape, cases.weights(shape), cases.rule(), way=way)
    x, y = cases.batch(shape)
    x.flags.writeable = y.flags.writeable = False
    kept = x.copy(), y.copy()
    first = cases.change(network, x, y)[0]
    assert np.array_equal(x, kept[0]) and np.array_equal(y, kept[1])
    # Layout does not matter.
    network = cases.learner(shape, cases.weights(shape), cases.rule(), way=way)
    wide = np.zeros((6, 14), dtype=np.float32)
    wide[:, ::2] = x
    assert cases.same_bits(cases.change(network, wide[:, ::2], y)[0], first)
    # Nor does a later change of the caller's buffer reach the network.
    before = network.parameters()
    wide[:] = np.nan
    assert cases.same_bits(network.parameters(), before)


@pytest.mark.parametrize("way", WAYS, ids=str)
def test_parameters_are_copies(way: Way) -> None:
    shape = cases.topology("mse", 2, skip=False)
    given: dict[str, Any] = cases.weights(shape)
    network = cases.learner(shape, given, cases.rule(), way=way)
    before = network.parameters()
    for value in given.values():
        value[...] = 7.0
    for value in network.parameters().values():
        value[...] = 9.0
    for value in network.state().values():
        value[...] = 9
    assert cases.same_bits(network.parameters(), before)


def test_populations_take_every_estimate_too() -> None:
    for output in ("ce", "mse"):
        shape = cases.topology(output, 2, skip=True)
        for estimate in ESTIMATES:
            rules = [cases.rule(estimate, beta=beta) for beta in (0.2, 0.4)]
            values = [cases.weights(shape, str(i)) for i in range(2)]
            batches = [cases.batch(shape, 6, "p" * i) for i in range(2)]
            group = PopulationLearner(shape, values, rules, [cases.PLAIN] * 2, batch=6)
            signs = [1, -1]
            group.step(
                np.stack([x for x, _ in batches]), np.stack([y for _, y in batches]), scale=1.0, signs=signs
            )
            for i, after in enumerate(group.parameters()):
                x, y = batches[i]
                expected = Oracle(shape, values[i]).gradient(x, cases.one_hot(shape, y), rules[i], signs[i])[
                    0
                ]
                came = {name: values[i][name] - after[name] for name in after}
                assert cases.distance(came, expected) < BOUNDS[FP32], (output, estimate, i)


@pytest.mark.parametrize("rows", [1, 3, 255, 257, 300])
def test_padding_neither_prolongs_nor_shortens_a_relaxation(rows: int) -> None:
    """With a tolerance the samples of a chunk stop together: those that are asked for, and no others."""
    shape = cases.topology("mse", 2, skip=True)
    values = cases.weights(shape, gain=2.0)
    how = cases.rule(steps=(200, 1), tolerances=(1e-3, 0.0))
    x, _ = cases.batch(shape, 600)
    # What settles at once stands where the padding used to be, and what takes long in the chunks before it.
    x[:, :] *= np.linspace(0.0, 1.0, 600, dtype=np.float32)[::-1, None]
    network = cases.learner(shape, values, how)
    network.predict(x[:256])
    net = Oracle(shape, values)
    came = network.predict(x[-rows:])
    for first in range(0, rows, 256):
        part = x[-rows:][first : first + 256]
        u, taken, _ = net.settle(net.start(part), 0.0, None, how.free)
        assert 1 < taken < 200
        np.testing.assert_allclose(came[first : first + 256], net.output(u), atol=2e-6)


def test_unknown_backends_are_refused() -> None:
    shape = cases.topology("ce", 1, skip=False)
    for way in (Way("cuda-13", "fp32"), Way("auto", "fp8"), Way("reference", "bf16")):
        with pytest.raises(KernelError):
            cases.learner(shape, cases.weights(shape), cases.rule(), way=way)
