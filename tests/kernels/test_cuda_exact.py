"""exact-1, populations and recorded steps on a CUDA device: the CPU's bits, or those of plain stepping."""

from functools import partial
from itertools import product

import numpy as np
import pytest
import torch

from kernels import OptimizerSettings, PopulationLearner, Topology
from kernels.backends.cuda import CudaLearner
from kernels.backends.graph import WARM_UP, CudaRecorder
from kernels.backends.torch_backend import TorchLearner
from tests.conformance import exact_program
from tests.conformance.cases import same_bits
from tests.conformance.test_exact import GOLDEN
from tests.kernels.networks import batch, parameters, rule

pytestmark = [
    pytest.mark.gpu,
    pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device"),
]

CE = Topology((12, 9, 8, 5), skips=((0, 2), (1, 3)))
MSE = Topology((12, 9, 8, 5), output="mse", skips=((0, 2), (1, 3)))
STEPS = 30


def settings(name: str, index: int = 0, cap: float | None = None) -> OptimizerSettings:
    return OptimizerSettings(name, rate=0.02 * (index + 1), momentum=0.8, weight_decay=0.1, spectral_cap=cap)


def learner(name: str, *, arithmetic: str = "fp32", cap: float | None = None, **how) -> CudaLearner:
    chosen = rule("random-sign", **how)
    return CudaLearner(CE, parameters(CE), chosen, settings(name, cap=cap), batch=6, arithmetic=arithmetic)


def train(network: TorchLearner, topology: Topology, steps: int = STEPS) -> TorchLearner:
    """Steps with scales and signs of their own, every fifth one short."""
    for step in range(steps):
        x, y = batch(topology, 6 if step % 5 < 4 else 4, f"step {step}")
        assert network.step(x, y, scale=1.0 - step / 40, sign=(-1) ** step).finite
    return network


def test_the_golden_hashes_hold_on_the_device(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(exact_program, "EqpropLearner", CudaLearner)
    monkeypatch.setattr(exact_program, "PopulationLearner", partial(PopulationLearner, device="cuda"))
    assert exact_program.hashes() == GOLDEN


@pytest.mark.parametrize("topology", [CE, MSE], ids=["ce", "mse"])
@pytest.mark.parametrize("name", ["sgd", "adam", "adamw"])
def test_thirty_steps_leave_the_state_of_a_cpu(name: str, topology: Topology) -> None:
    """And each goes on where the other stopped."""
    there, here = (
        make(topology, parameters(topology), rule(), settings(name), batch=6, arithmetic="exact-1")
        for make in (CudaLearner, TorchLearner)
    )
    assert same_bits(train(there, topology).state(), train(here, topology).state())
    x, y = batch(topology, 300, "test")
    assert there.predict(x).tobytes() == here.predict(x).tobytes()
    here.load(there.state())
    there.load(here.state())
    for each in (there, here):
        each.step(x[:6], y[:6], scale=0.5)
    assert same_bits(there.state(), here.state())


@pytest.mark.parametrize("name", ["sgd", "adam", "adamw"])
def test_an_exact_population_has_the_bits_of_a_cpu(name: str) -> None:
    there, here = (population(name, "exact-1", device) for device in ("cuda", "cpu"))
    assert same_bits(there.state(), here.state())
    assert all(map(same_bits, there.parameters(), here.parameters()))


def population(name: str, arithmetic: str, device: str, cap: float | None = None) -> PopulationLearner:
    """Three after twelve steps, each nudged by signs of its own."""
    group = PopulationLearner(
        CE,
        [parameters(CE, 0.2 * (index + 1)) for index in range(3)],
        [rule("random-sign", 0.2 + index / 10) for index in range(3)],
        [settings(name, index, cap) for index in range(3)],
        batch=6,
        arithmetic=arithmetic,
        device=device,
    )
    for step in range(12):
        x, y = zip(
            *(batch(CE, 6 if step % 5 < 4 else 4, f"{step}/{index}") for index in range(3)), strict=True
        )
        group.step(np.stack(x), np.stack(y), scale=1.0 - step / 20, signs=[1, -1, (-1) ** step])
    return group


@pytest.mark.parametrize("cap", [None, 0.1])
@pytest.mark.parametrize("name", ["sgd", "adam", "adamw", "muon"])
def test_a_population_follows_that_of_a_cpu(name: str, cap: float | None) -> None:
    """fp32 rounds otherwise on another processor: as far apart as a network alone comes from the arbiter."""
    there, here = (population(name, "fp32", device, cap).parameters() for device in ("cuda", "cpu"))
    far = max(np.abs(a[key] - b[key]).max() for a, b in zip(there, here, strict=True) for key in a)
    assert far <= 1e-4


# Recorded steps.


@pytest.mark.parametrize(
    ("name", "arithmetic"),
    [
        *product(["sgd", "adam", "adamw", "muon"], ["fp32", "bf16"]),
        *product(["sgd", "adam", "adamw"], ["exact-1"]),
    ],
)
def test_replays_have_the_bits_of_plain_steps(name: str, arithmetic: str) -> None:
    plain, recorded = (learner(name, arithmetic=arithmetic) for _ in range(2))
    assert recorded._advance != recorded.engine.step
    plain._advance = plain.engine.step
    assert same_bits(train(recorded, CE).state(), train(plain, CE).state())


def test_caps_and_replays_go_together() -> None:
    plain, recorded = (learner("muon", cap=0.1) for _ in range(2))
    plain._advance = plain.engine.step
    assert same_bits(train(recorded, CE).state(), train(plain, CE).state())


def test_phases_that_stop_by_themselves_step_as_they_are() -> None:
    network = learner("sgd", tolerance=1e-3)
    assert network._advance == network.engine.step
    train(network, CE, 3)


def test_recording_does_nothing_yet_and_reports_are_those_of_the_step() -> None:
    """The residual and the health that a replay leaves are read after it."""
    network = learner("adam")
    x, y = batch(CE, 6)
    reports = [network.step(x, y, scale=0.5) for _ in range(WARM_UP + 2)]
    assert all(report.residual > 0.0 and report.finite for report in reports)
    assert len({report.residual for report in reports}) == len(reports)
    before = network.state()
    with torch.inference_mode():
        workspace = network.engine.workspace(6)
        CudaRecorder(network.engine.device).record(lambda: network.engine.launch(workspace))
    torch.cuda.synchronize()
    assert same_bits(network.state(), before)


def test_a_replay_sees_what_was_loaded_and_what_diverged() -> None:
    network = learner("sgd")
    x, y = batch(CE, 6)
    for _ in range(WARM_UP + 2):
        network.step(x, y, scale=0.5)
    state = network.state()
    first = network.step(x, y, scale=0.5)
    network.load(state)
    assert network.step(x, y, scale=0.5) == first
    with torch.inference_mode():
        network.engine.parameters.flat.value[0] = torch.nan
    assert not network.step(x, y, scale=0.5).finite


def test_memory_is_flat_over_a_thousand_replays() -> None:
    network = learner("adam")
    batches = [batch(CE, rows) for rows in (6, 4)]
    for x, y in batches * (WARM_UP + 2):
        network.step(x, y, scale=0.5)
    torch.cuda.synchronize()
    torch.cuda.reset_peak_memory_stats()
    before = torch.cuda.memory_allocated(), torch.cuda.memory_reserved()
    peaks = []
    for _ in range(2):
        for step in range(500):
            network.step(*batches[step % 2], scale=0.5)
        peaks.append(torch.cuda.max_memory_allocated())
    assert (torch.cuda.memory_allocated(), torch.cuda.memory_reserved()) == before
    assert peaks[0] == peaks[1]
