"""Every optimizer against its naive reference, on gradients of their own and at every size that is cut in blocks."""

import numpy as np
import pytest
import torch

from kernels import EqpropLearner, OptimizerSettings, Topology
from kernels.arithmetic import Arithmetic
from kernels.backends.reference_optimizers import clip_spectrum, newton_schulz, optimizer_step
from kernels.elementwise import BLOCK, ElementwiseAdam, ElementwiseSgd, WeightGrid, blocks
from kernels.exact import Exact
from kernels.making import make_optimizers
from kernels.muon import NewtonSchulz
from kernels.parameters import Parameters
from kernels.spectral import SpectralCap, make_cap, scaled_within, spectral_norm
from tests.kernels.networks import batch, parameters, rule, uniform

TOPOLOGY = Topology((30, 21, 11, 4))
UNIT = 1 / 64


def gradients(step: int, topology: Topology = TOPOLOGY, scale: float = 0.1) -> dict[str, np.ndarray]:
    # Some gradients are zero for good, as those of dead pixels are.
    return {
        name: np.where(uniform(f"dead/{name}", *shape) < 0.2, 0.0, uniform(f"{step}/{name}", *shape) - 0.4)
        * scale
        for name, shape in topology.parameter_shapes.items()
    }


def follow(
    settings: list[OptimizerSettings], *, population: int | None, topology: Topology = TOPOLOGY
) -> float:
    """Step six times beside the naive reference; return the largest difference of any weight."""
    arithmetic = Arithmetic(population)
    count = population or 1
    starts = [parameters(topology, 0.1 * (index + 1)) for index in range(count)]
    units = [UNIT * (index + 1) for index in range(count)]
    held = Parameters(topology, arithmetic, starts)
    optimizers = make_optimizers(held, settings, units=units)
    values = [dict(start) for start in starts]
    slots = [{name: {} for name in start} for start in starts]
    for step in range(6):
        scale = 1 - step / 6
        for index in range(count):
            for name, gradient in gradients(step * count + index, topology).items():
                view = held.gradient_views[name]
                raw = torch.from_numpy(gradient / units[index])
                (view if population is None else view[index]).copy_(raw)
                values[index][name], slots[index][name] = optimizer_step(
                    values[index][name],
                    gradient,
                    slots[index][name],
                    settings[index],
                    scale=scale,
                    time=step + 1,
                )
        for optimizer in optimizers:
            optimizer.update(scale)
    return max(
        float(np.abs(held.read(index)[name] - values[index][name]).max())
        for index in range(count)
        for name in values[index]
    )


@pytest.mark.parametrize("name", ["sgd", "adam", "adamw", "muon"])
def test_one_network_follows_the_naive_optimizer(name: str) -> None:
    settings = OptimizerSettings(name, rate=0.03, momentum=0.7, weight_decay=0.5, ns_steps=4, bias_rate=0.007)
    assert follow([settings], population=None) <= 2e-6


@pytest.mark.parametrize("name", ["sgd", "adam", "adamw", "muon"])
def test_networks_of_a_population_follow_their_own(name: str) -> None:
    settings = [
        OptimizerSettings(
            name,
            rate=0.03 * (index + 1),
            momentum=0.3 * index,
            weight_decay=0.2 * index,
            ns_steps=4,
            bias_rate=0.007 * (index + 1),
        )
        for index in range(3)
    ]
    assert follow(settings, population=3) <= 3e-6


def test_arrays_longer_than_a_block_are_stepped_whole() -> None:
    topology = Topology((300, 200, 4))
    for population in (None, 2):
        settings = [OptimizerSettings("adam", rate=0.01)] * (population or 1)
        assert follow(settings, population=population, topology=topology) <= 2e-6


def test_blocks_cover_everything_once() -> None:
    for networks, total in [(1, 5), (7, BLOCK // 3), (3, 2 * BLOCK + 5), (1, BLOCK)]:
        seen = np.zeros((networks, total), dtype=int)
        for rows, columns in blocks(networks, total):
            seen[rows, columns] += 1
            assert seen[rows, columns].size <= BLOCK
        assert (seen == 1).all()


def test_adam_moments_never_become_subnormal() -> None:
    """A gradient that stops leaves its first moment to decay: it is dropped, and the second kept off zero."""
    held = Parameters(TOPOLOGY, Arithmetic(1), [parameters(TOPOLOGY)])
    adam = ElementwiseAdam(held, slice(None), units=[UNIT], rates=[1e-3])
    held.gradient.fill_(1e-3)
    for step in range(1100):
        adam.update(1.0)
        if step == 0:
            held.gradient.zero_()
    assert not adam.slots["first"].any()
    assert float(adam.slots["second"].min()) >= 2.0**-61


def test_sgd_of_a_population_keeps_its_velocity() -> None:
    held = Parameters(TOPOLOGY, Arithmetic(2), [parameters(TOPOLOGY)] * 2)
    settings = [OptimizerSettings("sgd", rate=0.1, momentum=m) for m in (0.0, 0.5)]
    sgd = ElementwiseSgd(held, units=[1.0, 1.0], settings=settings)
    held.gradient.fill_(1.0)
    sgd.update(1.0)
    sgd.update(1.0)
    assert sgd.slots["velocity"][:, 0].tolist() == [1.0, 1.5]


@pytest.mark.parametrize("shape", [(8, 20), (20, 8), (9, 9), (1, 7)])
def test_newton_schulz_equals_the_naive_iteration_and_nears_the_polar_factor(shape: tuple[int, int]) -> None:
    matrix = uniform(f"ns{shape}", *shape) - 0.5
    for steps in (1, 3, 5):
        found = NewtonSchulz(torch.Size(shape), dtype=torch.float32).orthogonalise(
            torch.from_numpy(matrix).float(), steps
        )
        assert found.numpy() == pytest.approx(newton_schulz(matrix, steps), abs=1e-5)
    singular = np.linalg.svd(newton_schulz(matrix, 9), compute_uv=False)
    assert singular.min() > 0.5
    assert singular.max() < 1.3
    zero = NewtonSchulz(torch.Size(shape), dtype=torch.float32).orthogonalise(torch.zeros(shape), 5)
    assert not zero.any()


def test_spectral_norm() -> None:
    for shape in [(8, 20), (20, 8)]:
        matrix = torch.from_numpy(uniform(f"norm{shape}", *shape)).float()
        assert float(spectral_norm(matrix)) == pytest.approx(float(torch.linalg.svdvals(matrix)[0]), rel=1e-5)


@pytest.mark.parametrize("shape", [(10, 256), (64, 64), (40, 90), (200, 200)])
def test_a_cap_clips_the_top_singular_values_alone(shape: tuple[int, int]) -> None:
    """They come to rest at .98 of the cap; the rest of the matrix stays as it was."""
    matrix = (uniform(f"cap{shape}", *shape) - 0.5).astype(np.float64)
    cap = float(np.linalg.svd(matrix, compute_uv=False)[:5].mean())
    weight = torch.from_numpy(matrix).float()
    held = SpectralCap(weight, [cap])
    held.apply()
    assert float(torch.linalg.svdvals(weight)[0]) <= cap
    assert weight.numpy() == pytest.approx(clip_spectrum(matrix, 0.98 * cap), abs=2e-3 * cap)
    kept = weight.clone()
    held.apply()
    assert torch.allclose(weight, kept, atol=1e-5)


def test_a_cap_follows_a_matrix_that_grows() -> None:
    """Carried vectors: after each small step the norm is back under the cap, though many values press on it."""
    weight = torch.from_numpy(uniform("grow", 48, 48) - 0.5).float() * 0.1
    cap = SpectralCap(weight, [0.5])
    pressing = 0
    for step in range(200):
        weight.add_(torch.from_numpy(uniform(f"grow{step}", 48, 48) - 0.5).float() * 0.02)
        cap.apply()
        values = torch.linalg.svdvals(weight)
        assert float(values[0]) <= 0.5 * (1 + 1e-3)
        pressing = max(pressing, int((values > 0.45).sum()))
    assert pressing > 12


@pytest.mark.parametrize(("name", "rate"), [("sgd", 0.1), ("adam", 0.004), ("muon", 0.02)])
def test_a_cap_holds_throughout_training(name: str, rate: float) -> None:
    topology = Topology((40, 64, 48, 10), output="mse", skips=((1, 3),))
    settings = OptimizerSettings(name, rate=rate, momentum=0.9, ns_steps=3, spectral_cap=0.5)
    learner = EqpropLearner(topology, parameters(topology, 1.0), rule("centred", 0.2), settings, batch=32)
    for step in range(40):
        x, y = batch(topology, 32, f"step {step}")
        learner.step(x, y, scale=1.0)
        values = learner.parameters()
        for source, target in topology.connections:
            norm = np.linalg.norm(values[f"w{source}-{target}"], 2)
            if source > 0:
                assert norm <= 0.5 * (1 + 1e-3)
    assert np.linalg.norm(values["w0-1"], 2) > 0.6


def polar(label: str, *shape: int) -> torch.Tensor:
    u, _, vh = np.linalg.svd(uniform(label, *shape) - 0.5, full_matrices=False)
    return torch.from_numpy(u @ vh).float()


@pytest.mark.parametrize("shape", [(256, 256), (128, 100), (70, 200), (200, 70), (3, 96, 80)], ids=str)
@pytest.mark.parametrize(("rate", "turns"), [(0.1, 1), (0.1, 10), (0.02, 40), (0.005, 40)])
def test_a_cap_follows_orthogonal_steps(shape: tuple[int, ...], rate: float, turns: int) -> None:
    """Muon's: they lift all directions at once, more than an iteration carries. A new one every `turns` steps."""
    caps = [0.3, 0.2, 0.5][: shape[0] if len(shape) == 3 else 1]
    weight = torch.from_numpy(uniform("start", *shape) - 0.5).float() * 0.1
    cap = SpectralCap(weight, caps)
    bound = torch.tensor(caps).double() * (1 + 1e-3)
    for step in range(40 if len(shape) == 3 or shape[0] < 256 else 25):
        if step % turns == 0:
            move = polar(f"step {step // turns}", *shape) * rate
        weight.add_(move)
        cap.apply()
        assert bool((spectral_norm(weight) <= bound.view(spectral_norm(weight).shape)).all()), step


def test_a_cap_holds_the_smallest_and_the_largest_steps() -> None:
    """Directions that stay orthogonal to all carried ones, and steps whose powers overflow."""
    weight = torch.diag(torch.linspace(0.29, 0.2, 100))
    cap = SpectralCap(weight, [0.3])
    for _ in range(100):
        weight.diagonal()[50:].add_(0.002)
        cap.apply()
        assert float(spectral_norm(weight)) <= 0.3 * (1 + 1e-3)
    for size in (1e2, 1e4, 1e8, 1e18, 1e34):
        weight.add_(torch.from_numpy(uniform("huge", 100, 100)).float() * size)
        cap.apply()
        assert float(spectral_norm(weight)) <= 0.3 * (1 + 1e-3)


@pytest.mark.parametrize("shape", [(3, 20, 30), (3, 80, 70)], ids=str)
@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
def test_a_cap_leaves_alone_what_is_not_finite_and_holds_the_others(
    shape: tuple[int, ...], bad: float
) -> None:
    weight = torch.from_numpy(uniform("beside", *shape) - 0.5).float() * 0.1
    cap = make_cap(weight, [0.3] * 3)
    weight.mul_(4.0)
    weight[1, 2, 3] = bad
    before = weight[1].clone()
    cap.apply()
    assert torch.equal(weight[1].nan_to_num(), before.nan_to_num())
    assert bool((spectral_norm(weight[::2]) <= 0.3 * (1 + 1e-3)).all())
    alone = make_cap(kept := torch.ones(shape[1:]) * 1e-3, [0.3])
    kept[0, 0] = bad
    alone.apply()
    assert torch.equal(kept.isfinite().sum(), torch.tensor(kept.numel() - 1))


def test_the_norm_of_what_is_not_finite_is_nan() -> None:
    matrices = torch.from_numpy(uniform("norms", 4, 6, 5))
    expected = spectral_norm(matrices[3])
    matrices[0, 1, 1], matrices[1, 0, 0], matrices[2, 5, 4] = torch.nan, torch.inf, -torch.inf
    found = spectral_norm(matrices)
    assert torch.isnan(found).tolist() == [True, True, True, False]
    assert found[3] == expected
    assert torch.isnan(spectral_norm(matrices[0]))


@pytest.mark.parametrize("shape", [(30, 20), (90, 110)], ids=str)
def test_a_matrix_is_scaled_to_a_cap_only_where_it_passes_it(shape: tuple[int, int]) -> None:
    matrix = torch.from_numpy(uniform("scaled", *shape) - 0.5).float()
    norm = float(torch.linalg.svdvals(matrix.double())[0])
    assert scaled_within(matrix, norm * (1 + 1e-6)) is matrix
    held = scaled_within(matrix, 0.9 * norm)
    assert float(torch.linalg.svdvals(held.double())[0]) == pytest.approx(0.9 * norm, rel=1e-6)
    assert torch.allclose(held, 0.9 * matrix, rtol=1e-5)
    assert not scaled_within(torch.zeros(shape), 0.5).any()
    matrix[1, 2] = torch.nan
    assert scaled_within(matrix, 0.1) is matrix


def test_a_bound_that_is_no_number_does_not_save_clamping() -> None:
    held = Parameters(TOPOLOGY, Exact(), [parameters(TOPOLOGY)])
    adam = ElementwiseAdam(held, slice(None), units=[UNIT], rates=[0.1], grid=WeightGrid(24, 0.25))
    adam.slots["clock"][3] = torch.nan
    held.gradient.fill_(1.0)
    adam.update(1.0)
    assert float(held.flat.value.abs().max()) <= 0.25


def test_weight_decay_reaches_biases() -> None:
    for elementwise in (None, 1):
        held = Parameters(TOPOLOGY, Arithmetic(elementwise), [parameters(TOPOLOGY)])
        before = held.read(0)["b2"]
        settings = OptimizerSettings("adamw", rate=0.1, weight_decay=0.5)
        make_optimizers(held, [settings], units=[UNIT])[0].update(1.0)
        assert held.read(0)["b2"] == pytest.approx(before * 0.95, rel=1e-6)


def test_caps_of_a_population_are_their_own() -> None:
    weight = torch.from_numpy(uniform("caps", 3, 20, 30) - 0.5).float() * 2
    kept = weight[2].clone()
    make_cap(weight, [0.5, 1.0, 100.0]).apply()
    assert spectral_norm(weight[:2]).tolist() == pytest.approx([0.5, 1.0], rel=1e-6)
    assert torch.equal(weight[2], kept)
