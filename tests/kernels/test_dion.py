"""Dion: what its rank leaves out comes back, and what it steps by is orthogonal."""

import numpy as np
import pytest
import torch

from kernels import KernelError, OptimizerSettings, Topology
from kernels.arithmetic import Arithmetic
from kernels.dion import Dion
from kernels.initial import initial_basis
from kernels.parameters import Parameters
from tests.kernels.networks import parameters, uniform

TOPOLOGY = Topology((20, 16, 12, 3))
NAME = "w1-2"


def make(
    rank: float = 0.25, feedback: float = 1.0, momentum: float = 0.9, rate: float = 0.1
) -> tuple[Parameters, Dion]:
    held = Parameters(TOPOLOGY, Arithmetic(), [parameters(TOPOLOGY)])
    settings = OptimizerSettings(
        "dion", rate=rate, momentum=momentum, rank_fraction=rank, error_feedback=feedback
    )
    return held, Dion(held, settings=[settings])


def low_rank(rank: int) -> np.ndarray:
    left, right = uniform("left", 12, rank) - 0.5, uniform("right", rank, 16) - 0.5
    return (left @ right).astype(np.float32)


def feed(held: Parameters, gradient: np.ndarray) -> None:
    held.gradient.zero_()
    held.gradient_views[NAME].copy_(torch.from_numpy(gradient))


def test_a_low_rank_gradient_is_captured_whole() -> None:
    held, dion = make(momentum=0.0)
    gradient = low_rank(3)
    for _ in range(8):
        feed(held, gradient)
        dion.update(1.0)
    # mu = 0 and all captured: nothing is left to come back.
    assert float(dion.slots[f"{NAME}.momentum"].abs().max()) < 1e-5 * np.abs(gradient).max()


def test_the_step_is_the_polar_factor_of_what_was_captured() -> None:
    held, dion = make(momentum=0.0)
    gradient = low_rank(3)
    for _ in range(30):
        feed(held, gradient)
        dion.update(1.0)
    before = held.views[NAME].value.clone()
    feed(held, gradient)
    dion.update(0.5)
    step = (before - held.views[NAME].value).numpy() / (0.1 * 0.5 * np.sqrt(12 / 16))
    u, _, vt = np.linalg.svd(gradient.astype(np.float64))
    # The columns of the carried basis are of length 1 and close to orthogonal once it has settled.
    values = np.linalg.svd(step, compute_uv=False)
    assert np.all(values[:3] > 0.5)
    assert np.all(values[3:] < 1e-3)
    assert np.trace(step.T @ (u[:, :3] @ vt[:3])) > 2.5


def test_error_feedback_brings_back_what_the_rank_leaves_out() -> None:
    """Of six directions rank 3 covers all over time with feedback, and the largest three without."""
    left, _ = np.linalg.qr(uniform("q", 12, 6) - 0.5)
    right, _ = np.linalg.qr(uniform("r", 16, 6) - 0.5)
    gradient = (left @ np.diag([6.0, 5.5, 5.0, 1.5, 1.25, 1.0]) @ right.T).astype(np.float32)
    covered = {}
    for feedback in (0.0, 1.0):
        held, dion = make(feedback=feedback, momentum=0.5, rate=0.01)
        before = held.views[NAME].value.clone()
        for _ in range(60):
            feed(held, gradient)
            dion.update(1.0)
        moved = (before - held.views[NAME].value).numpy()
        covered[feedback] = np.abs(np.diag(left.T @ moved @ right))
    assert covered[1.0][3:].min() > 0.1 * covered[1.0][:3].max()
    assert covered[0.0][3:].max() < 0.03 * covered[0.0][:3].max()


def test_what_is_held_back_is_exactly_what_was_left_out() -> None:
    held, dion = make(momentum=0.6)
    gradient = low_rank(8)
    feed(held, gradient)
    basis = dion.slots[f"{NAME}.basis"].clone().double().numpy()
    dion.update(1.0)
    left, _ = np.linalg.qr(gradient.astype(np.float64) @ basis)
    captured = left @ left.T @ gradient
    expected = gradient - (1 - 0.6) * captured
    assert np.allclose(dion.slots[f"{NAME}.momentum"].numpy(), expected, atol=1e-5)


def test_no_gradient_no_step_and_the_basis_stays() -> None:
    held, dion = make()
    before, basis = held.flat.value.clone(), dion.slots[f"{NAME}.basis"].clone()
    held.gradient.zero_()
    dion.update(1.0)
    assert torch.equal(held.flat.value, before)
    assert torch.equal(dion.slots[f"{NAME}.basis"], basis)


def test_a_population_steps_as_its_members_alone() -> None:
    settings = [OptimizerSettings("dion", rate=r, momentum=m) for r, m in ((0.1, 0.9), (0.02, 0.5))]
    values = [parameters(TOPOLOGY), parameters(TOPOLOGY, gain=0.3)]
    both = Parameters(TOPOLOGY, Arithmetic(2), values)
    together = Dion(both, settings=settings)
    alone = [Parameters(TOPOLOGY, Arithmetic(), [value]) for value in values]
    single = [Dion(held, settings=[each]) for held, each in zip(alone, settings, strict=True)]
    for step in range(4):
        for index, held in enumerate(alone):
            for name, view in held.gradient_views.items():
                view.copy_(torch.from_numpy(uniform(f"{step}{index}{name}", *view.shape) - 0.5))
                both.gradient_views[name][index].copy_(view)
            single[index].update(0.7)
        together.update(0.7)
    for index, held in enumerate(alone):
        for name, view in held.views.items():
            assert torch.allclose(both.views[name].value[index], view.value, atol=1e-5)


@pytest.mark.parametrize(("fraction", "rank"), [(1.0, 12), (0.25, 3), (0.001, 1)])
def test_the_first_basis_is_orthonormal_and_a_share_of_the_smaller_side(fraction: float, rank: int) -> None:
    for rows, columns in ((12, 16), (16, 12)):
        basis = initial_basis(rows, columns, fraction)
        assert basis.shape == (columns, rank)
        assert np.allclose(basis.T @ basis, np.eye(rank), atol=1e-12)


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"rank_fraction": 0.0}, "rank_fraction must be above 0"),
        ({"rank_fraction": 1.5}, "rank_fraction"),
        ({"error_feedback": -0.1}, "error_feedback must be at least 0"),
        ({"error_feedback": float("nan")}, "error_feedback"),
    ],
)
def test_settings_that_make_no_sense_are_refused(changes: dict[str, float], words: str) -> None:
    with pytest.raises(KernelError, match=words):
        OptimizerSettings("dion", **changes)  # type: ignore[arg-type]
