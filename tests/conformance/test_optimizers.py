"""Five steps of every optimizer against updates fed with the oracle's gradients; the spectral cap for 200."""

import math

import numpy as np
import pytest
import torch

from kernels import (
    BackpropLearner,
    KernelError,
    OptimizerSettings,
    PopulationLearner,
    Topology,
    initial_parameters,
)
from kernels.muon import NewtonSchulz
from tests.conformance import cases
from tests.conformance.cases import BF16, EXACT, FP32, REFERENCE, Way
from tests.conformance.oracle import Oracle, Steps, capped, finite_differences, newton_schulz, relu_loss

SETTINGS = {
    "sgd": OptimizerSettings("sgd", rate=0.25, momentum=0.9),
    "adam": OptimizerSettings("adam", rate=0.01),
    "adamw": OptimizerSettings("adamw", rate=0.01, weight_decay=0.5),
    "muon": OptimizerSettings("muon", rate=0.03, momentum=0.95, ns_steps=5, bias_rate=0.004),
    "dion": OptimizerSettings("dion", rate=0.03, momentum=0.9, bias_rate=0.004, rank_fraction=0.5),
    "dion, forgetful": OptimizerSettings(
        "dion", rate=0.03, momentum=0.9, error_feedback=0.3, rank_fraction=1.0
    ),
    "muon, three": OptimizerSettings("muon", rate=0.03, momentum=0.5, ns_steps=3, bias_rate=0.02),
}
SCALES = (1.0, 0.75, 0.5, 0.25, 1.0)
# Largest error of a parameter over the largest movement of any, after five steps. fp32: the gradient's 1e-5, which
# Newton-Schulz multiplies by up to 3.4445 a round in directions with little in them, and Adam in tiny gradients.
BOUNDS = {REFERENCE: 1e-10, FP32: 2e-3, EXACT: 2e-2, BF16: 0.2}


def trajectory(shape: Topology, settings: OptimizerSettings, *, rows: tuple[int, ...]) -> cases.Parameters:
    """The oracle's parameters after one step for each batch."""
    values, how, optimizer = cases.weights(shape), cases.rule(), Steps(settings)
    for step, count in enumerate(rows):
        x, y = cases.batch(shape, count, "b" * step)
        gradient = Oracle(shape, values).gradient(x, cases.one_hot(shape, y), how)[0]
        values = optimizer(values, gradient, SCALES[step])
    return values


@pytest.mark.parametrize("rows", [(6, 6, 6, 6, 6), (6, 2, 6, 5, 1)], ids=["full", "short"])
@pytest.mark.parametrize("output", ["ce", "mse"])
@pytest.mark.parametrize("name", SETTINGS)
@pytest.mark.parametrize("way", cases.WAYS, ids=str)
def test_five_steps(way: Way, name: str, output: str, rows: tuple[int, ...]) -> None:
    shape, settings = cases.topology(output, 2, skip=True), SETTINGS[name]
    start = cases.weights(shape)
    if way is EXACT and settings.name in ("muon", "dion"):
        with pytest.raises(KernelError, match=settings.name):
            cases.learner(shape, start, cases.rule(), settings, way=way)
        return
    network = cases.learner(shape, start, cases.rule(), settings, way=way)
    for step, count in enumerate(rows):
        x, y = cases.batch(shape, count, "b" * step)
        network.step(x, y, scale=SCALES[step])
    expected = trajectory(shape, settings, rows=rows)
    moved = {key: expected[key] - start[key] for key in expected}
    came = {key: value - start[key] for key, value in network.parameters().items()}
    if way is BF16:
        # Newton-Schulz lifts what little there is in a direction, rounding included.
        assert cases.cosine(came, moved) > (0.9 if settings.name in ("muon", "dion") else 0.98)
    else:
        assert cases.distance(came, moved) < BOUNDS[way]
        # Parameters that move little (biases beside Muon's weights) are held on their own too.
        for key, value in moved.items():
            assert cases.distance({key: came[key]}, {key: value}) < 5 * BOUNDS[way], key


@pytest.mark.parametrize("output", ["ce", "mse"])
@pytest.mark.parametrize("name", SETTINGS)
def test_five_steps_in_a_population(name: str, output: str) -> None:
    shape, settings = cases.topology(output, 2, skip=True), SETTINGS[name]
    start, rows = cases.weights(shape), (6, 2, 6, 5, 1)
    group = PopulationLearner(shape, [start] * 3, [cases.rule()] * 3, [settings] * 3, batch=6)
    for step, count in enumerate(rows):
        x, y = cases.batch(shape, count, "b" * step)
        group.step(np.stack([x] * 3), np.stack([y] * 3), scale=SCALES[step])
    expected = trajectory(shape, settings, rows=rows)
    moved = {key: expected[key] - start[key] for key in expected}
    for after in group.parameters():
        came = {key: value - start[key] for key, value in after.items()}
        assert cases.distance(came, moved) < BOUNDS[FP32]


@pytest.mark.parametrize("output", ["ce", "mse"])
@pytest.mark.parametrize("name", SETTINGS)
def test_five_steps_of_the_baseline(name: str, output: str) -> None:
    """The baseline steps with the same optimizers, on the finite differences of its own loss."""
    shape, settings = Topology((4, 5, 4, 3), output=output, skips=((0, 2), (1, 3))), SETTINGS[name]
    start = values = cases.weights(shape)
    network, optimizer = BackpropLearner(shape, start, settings, batch=6), Steps(settings)
    for step, count in enumerate((6, 2, 6, 5, 1)):
        x, y = cases.batch(shape, count, "b" * step)
        target = cases.one_hot(shape, y)
        slope = finite_differences(lambda at, x=x, y=target: relu_loss(shape, at, x, y), values, 1e-6)
        values = optimizer(values, slope, SCALES[step])
        network.step(x, y, scale=SCALES[step])
    moved = {key: values[key] - start[key] for key in values}
    came = {key: value - start[key] for key, value in network.parameters().items()}
    # Adam makes a step of its rate out of the 1e-10 that finite differences leave of a zero.
    alive = {key: np.where(np.abs(moved[key]) > 1e-4, 1.0, 0.0) for key in moved}
    assert (
        cases.distance(
            {key: came[key] * alive[key] for key in moved}, {key: moved[key] * alive[key] for key in moved}
        )
        < 5e-3
    )


# Newton-Schulz.


@pytest.mark.parametrize("shape", [(16, 64), (64, 16), (10, 128), (24, 24), (1, 9), (9, 1), (5, 7)])
def test_newton_schulz(shape: tuple[int, int]) -> None:
    """Five rounds bring singular values into [.7, 1.2]: those above about a fiftieth of the Frobenius norm."""
    rows, cols = shape
    rank = min(shape)
    for deficient in (False, True):
        matrix = cases.uniform(f"ns{shape}", rows, cols)
        if deficient:
            if rank < 4:
                continue
            rank = min(shape) // 2
            matrix = matrix[:, :rank] @ cases.uniform(f"right{shape}", rank, cols)
        with torch.inference_mode():
            iterate = NewtonSchulz(torch.Size(shape), dtype=torch.float32)
            given = torch.tensor(matrix, dtype=torch.float32)
            came = iterate.orthogonalise(given, 5).numpy().astype(np.float64)
            assert np.array_equal(given.numpy(), matrix.astype(np.float32))
        np.testing.assert_allclose(came, newton_schulz(matrix, 5), atol=1e-3)
        before = np.linalg.svd(matrix, compute_uv=False)
        sigma = np.linalg.svd(came, compute_uv=False)
        large = int(np.sum(before / np.linalg.norm(matrix) > 0.02))
        assert large >= 0.6 * rank
        assert np.all(sigma[:large] > 0.65) and np.all(sigma[:large] < 1.25)
        assert np.all(sigma[rank:] < 1e-3), "a direction that the gradient lacks stays empty"


def test_newton_schulz_of_orthogonal_and_of_zero_matrices() -> None:
    with torch.inference_mode():
        iterate = NewtonSchulz(torch.Size((12, 30)), dtype=torch.float32)
        q = np.linalg.qr(cases.uniform("q", 30, 12))[0].T
        sigma = np.linalg.svd(iterate.orthogonalise(torch.tensor(q).float(), 5).numpy(), compute_uv=False)
        assert np.all(sigma > 0.7) and np.all(sigma < 1.2)
        assert not iterate.orthogonalise(torch.zeros(12, 30), 5).numpy().any()
        # Scale does not matter.
        small = iterate.orthogonalise(torch.tensor(q).float() * 1e-12, 5).numpy()
        np.testing.assert_allclose(np.linalg.svd(small, compute_uv=False), sigma, rtol=1e-3)


@pytest.mark.parametrize("way", [REFERENCE, FP32], ids=str)
def test_a_muon_step_is_as_long_as_its_scaling_says(way: Way) -> None:
    """A first step is rate sqrt(max(1, rows/cols)) times a matrix whose leading singular values are about 1."""
    shape = Topology((4, 16, 9, 3), output="mse")
    settings = OptimizerSettings("muon", rate=0.02, momentum=0.0, ns_steps=5)
    network = cases.learner(shape, cases.weights(shape), cases.rule(), settings, way=way)
    moved = cases.change(network, *cases.batch(shape), rate=0.02)[0]
    for name, factor in (("w0-1", math.sqrt(16 / 4)), ("w1-2", 1.0), ("w2-3", 1.0)):
        top = np.linalg.svd(moved[name], compute_uv=False)[0]
        assert 0.65 * factor < top < 1.25 * factor, name


# The spectral cap.

CAPPED = {
    "sgd": OptimizerSettings("sgd", rate=0.3, momentum=0.9, spectral_cap=0.5),
    "adam": OptimizerSettings("adam", rate=0.02, spectral_cap=0.5),
    "muon": OptimizerSettings("muon", rate=0.05, spectral_cap=0.5),
    "dion": OptimizerSettings("dion", rate=0.05, spectral_cap=0.5, rank_fraction=0.5),
}


def norms(shape: Topology, values: cases.Parameters) -> list[float]:
    names = [f"w{k}-{l}" for k, l in shape.recurrent]
    return [float(np.linalg.svd(values[name].astype(np.float64), compute_uv=False)[0]) for name in names]


@pytest.mark.parametrize("name", CAPPED)
@pytest.mark.parametrize("way", [REFERENCE, FP32, BF16], ids=str)
def test_the_cap_holds_after_every_step(way: Way, name: str) -> None:
    shape = Topology((12, 24, 20, 4), output="mse", skips=((1, 3),))
    assert set(shape.recurrent) == {(1, 2), (2, 3), (1, 3)}
    settings, values = CAPPED[name], cases.weights(shape)
    how = cases.rule(beta=0.2, steps=(2, 2))
    network = cases.learner(shape, values, how, settings, way=way)
    plain = OptimizerSettings(settings.name, rate=settings.rate, momentum=settings.momentum)
    free = cases.learner(shape, values, how, plain, way=way)
    steps, bound, highest = 200 if way is not REFERENCE else 60, 0, 0.0
    for step in range(steps):
        x, y = cases.batch(shape, 6, f"{step % 5}")
        assert network.step(x, y, scale=1.0).finite
        sigma = norms(shape, network.parameters())
        assert max(sigma) <= 0.5 * (1 + 1e-3), step
        bound += max(sigma) >= 0.5 * (1 - 1e-3)
        if step < 30:
            free.step(x, y, scale=1.0)
            highest = max(highest, *norms(shape, free.parameters()))
    assert bound > steps // 2, "the cap must bind"
    assert highest > 0.6, "without the cap the norm must go beyond it"


@pytest.mark.parametrize("way", [REFERENCE, FP32], ids=str)
@pytest.mark.parametrize("sizes", [(6, 5, 4, 3), (6, 40, 40, 3), (6, 20, 33, 3), (6, 33, 20, 3)], ids=str)
@pytest.mark.parametrize("lowest", [0.9, 0.0])
def test_the_cap_clips_singular_values_and_nothing_else(
    way: Way, sizes: tuple[int, ...], lowest: float
) -> None:
    """However many directions are beyond it: here all, or half."""
    shape = Topology(sizes, output="mse")
    values = cases.weights(shape)
    rows, cols = values["w1-2"].shape
    U, _, Vt = np.linalg.svd(cases.uniform("directions", rows, cols), full_matrices=False)
    values["w1-2"] = (U * np.linspace(1.0, lowest, min(rows, cols))) @ Vt
    settings = OptimizerSettings("sgd", rate=1e-9, spectral_cap=0.5)
    network = cases.learner(shape, values, cases.rule(), settings, way=way)
    network.step(*cases.batch(shape), scale=1.0)
    after = network.parameters()
    assert max(norms(shape, after)) <= 0.5 * (1 + 1e-3)
    np.testing.assert_allclose(after["w1-2"], capped(values["w1-2"], 0.5), atol=1e-3)
    np.testing.assert_allclose(after["w0-1"], values["w0-1"], atol=1e-6)


@pytest.mark.parametrize(
    ("gain", "settings"),
    [
        (1.0, OptimizerSettings("sgd", rate=0.1, momentum=0.9, spectral_cap=0.6)),
        (0.5, OptimizerSettings("muon", rate=0.02, spectral_cap=0.5)),
    ],
    ids=["beyond it from the start", "many directions reach it together"],
)
def test_the_cap_holds_where_more_directions_reach_it_than_an_iteration_carries(
    gain: float, settings: OptimizerSettings
) -> None:
    """Genomes of the default space: hidden layers of 64 and more, gain up to 1, caps from .3."""
    shape = Topology((16, 64, 64, 4), output="mse")
    network = cases.learner(
        shape,
        initial_parameters(shape, seed=bytes(32), gain=gain),
        cases.rule(beta=0.2, steps=(2, 2)),
        settings,
        rows=16,
    )
    for step in range(100):
        network.step(*cases.batch(shape, 16, f"{step % 10}"), scale=1.0)
        assert max(norms(shape, network.parameters())) <= settings.spectral_cap * (1 + 1e-3), step


def test_each_network_of_a_population_has_its_cap() -> None:
    shape = Topology((12, 24, 20, 4), output="mse")
    caps = (0.3, 0.5, 5.0)
    settings = [OptimizerSettings("sgd", rate=0.3, momentum=0.9, spectral_cap=cap) for cap in caps]
    group = PopulationLearner(
        shape, [cases.weights(shape)] * 3, [cases.rule(beta=0.2)] * 3, settings, batch=6
    )
    for step in range(40):
        x, y = cases.batch(shape, 6, f"{step % 5}")
        group.step(np.stack([x] * 3), np.stack([y] * 3), scale=1.0)
    highest = [max(norms(shape, after)) for after in group.parameters()]
    assert highest[0] == pytest.approx(0.3, rel=1e-3)
    assert highest[1] == pytest.approx(0.5, rel=1e-3)
    assert 0.6 < highest[2] <= 5.0 * (1 + 1e-6)
