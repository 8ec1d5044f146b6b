"""torch-cuda against the arbiter, and against the CPU where numbers only pass from one to the other."""

import numpy as np
import pytest
import torch

from kernels import EqpropLearner, KernelError, OptimizerSettings, Rule, Topology, choose_backend
from tests.conformance.cases import same_bits
from tests.kernels.networks import batch, cosine, parameters, relative_error, rule

pytestmark = [
    pytest.mark.gpu,
    pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device"),
]

CE = Topology((12, 9, 8, 5), skips=((0, 2), (1, 3)))
MSE = Topology((12, 9, 8, 5), output="mse", skips=((0, 2), (1, 3)))
WIDE = Topology((784, 256, 10))
ESTIMATES = ["centred", "one-sided", "negative", "random-sign", "linearised"]
PLAIN = OptimizerSettings("sgd", rate=1.0, momentum=0.0)

# As on the CPU, since the arithmetic is: float32 rounds at 6e-8 and differences are divided by beta, bfloat16 operands
# carry 8 bits. TF32, with 11, would miss the first by two orders.
BOUNDS = {"fp32": 5e-6, "bf16": 6e-2}


def made(
    topology: Topology,
    backend: str = "torch-cuda",
    *,
    chosen: Rule | None = None,
    optimizer: OptimizerSettings = PLAIN,
    arithmetic: str = "fp32",
    rows: int = 6,
) -> EqpropLearner:
    return EqpropLearner(
        topology,
        parameters(topology),
        chosen or rule(),
        optimizer,
        batch=rows,
        backend=backend,
        arithmetic=arithmetic,
    )


def gradient(learner: EqpropLearner, topology: Topology, rows: int = 6) -> dict[str, np.ndarray]:
    """What a step of plain SGD at rate 1 takes away."""
    before = parameters(topology)
    learner.step(*batch(topology, rows), scale=1.0)
    after = learner.parameters()
    return {name: before[name] - after[name] for name in before}


def test_auto_takes_the_device() -> None:
    assert choose_backend("auto")[0].name == made(CE, "auto").backend == "torch-cuda"
    assert choose_backend("auto", "exact-1")[0].name == made(CE, arithmetic="exact-1").backend == "torch-cuda"
    with pytest.raises(KernelError, match="fp16 is served by the Triton kernels alone"):
        made(CE, arithmetic="fp16")


@pytest.mark.parametrize("arithmetic", ["fp32", "bf16"])
@pytest.mark.parametrize("topology", [CE, MSE], ids=["ce", "mse"])
@pytest.mark.parametrize("scheme", ["block", "synchronous"])
@pytest.mark.parametrize("estimate", ESTIMATES)
def test_gradients_equal_the_arbiters(
    estimate: str, scheme: str, topology: Topology, arithmetic: str
) -> None:
    chosen = rule(estimate, scheme=scheme)
    expected = gradient(made(topology, "reference", chosen=chosen), topology)
    found = gradient(made(topology, chosen=chosen, arithmetic=arithmetic), topology)
    assert relative_error(found, expected) <= BOUNDS[arithmetic]
    assert cosine(found, expected) >= 0.999


def test_a_wide_gradient_is_not_rounded_to_tf32() -> None:
    """784-256-10, 64 samples: products that tensor cores would take."""
    chosen = rule(free=0, nudged=1)
    expected = gradient(made(WIDE, "reference", chosen=chosen, rows=64), WIDE, 64)
    found = gradient(made(WIDE, chosen=chosen, rows=64), WIDE, 64)
    # Sums of 784 terms round sqrt(784) times as far as one.
    assert relative_error(found, expected) <= 28 * BOUNDS["fp32"]


@pytest.mark.parametrize("cap", [None, 0.3])
@pytest.mark.parametrize("topology", [CE, MSE], ids=["ce", "mse"])
@pytest.mark.parametrize("name", ["sgd", "adam", "adamw", "muon"])
def test_training_follows_the_arbiter(name: str, topology: Topology, cap: float | None) -> None:
    """Twelve steps with a schedule and a short last batch stay as near to float64 as the CPU's do."""
    optimizer = OptimizerSettings(
        name, rate=0.02, momentum=0.8, weight_decay=0.1, bias_rate=0.003, spectral_cap=cap
    )
    learners = [made(topology, backend, optimizer=optimizer) for backend in ("reference", "torch-cuda")]
    for step in range(12):
        x, y = batch(topology, 6 if step < 11 else 4, f"step {step}")
        for learner in learners:
            learner.step(x, y, scale=1.0 - step / 12)
    expected, found = (learner.parameters() for learner in learners)
    assert max(np.abs(found[each] - expected[each]).max() for each in expected) <= 2e-5
    x, y = batch(topology, 300, "test")
    scores = learners[1].predict(x)
    assert isinstance(scores, np.ndarray) and scores.dtype == np.float32
    assert scores == pytest.approx(learners[0].predict(x), abs=2e-4)
    seen, right = (learner.diagnose(x[:6], y[:6]) for learner in reversed(learners))
    assert seen.verdict == right.verdict
    assert seen.free_energy == pytest.approx(right.free_energy, abs=1e-4)


@pytest.mark.parametrize("cap", [None, 0.5])
def test_a_cap_on_a_wide_weight_holds(cap: float | None) -> None:
    """128 state units a layer: beyond the side that is decomposed in every step."""
    topology = Topology((12, 128, 128, 5))
    learner = made(topology, optimizer=OptimizerSettings("muon", rate=0.05, spectral_cap=cap))
    for step in range(4):
        learner.step(*batch(topology, 6, f"step {step}"), scale=1.0)
    norm = float(np.linalg.norm(learner.parameters()["w1-2"].astype(np.float64), 2))
    # Without the cap it is .60 on the CPU.
    assert norm > 0.55 if cap is None else norm <= 1.001 * cap


@pytest.mark.parametrize("arithmetic", ["fp32", "bf16"])
@pytest.mark.parametrize("name", ["sgd", "adam", "adamw", "muon"])
def test_a_run_repeats_and_resumes_bit_for_bit(name: str, arithmetic: str) -> None:
    """An error that moves between two runs would be a race."""
    optimizer = OptimizerSettings(name, rate=0.02)
    whole, again, half = (made(CE, optimizer=optimizer, arithmetic=arithmetic) for _ in range(3))
    batches = [batch(CE, 6, f"step {step}") for step in range(6)]
    for x, y in batches:
        for learner in (whole, again):
            learner.step(x, y, scale=1.0)
    for x, y in batches[:3]:
        half.step(x, y, scale=1.0)
    resumed = made(CE, optimizer=optimizer, arithmetic=arithmetic)
    resumed.load(half.state())
    for x, y in batches[3:]:
        resumed.step(x, y, scale=1.0)
    assert same_bits(again.state(), whole.state())
    assert same_bits(resumed.state(), whole.state())


def test_a_state_passes_between_device_and_cpu() -> None:
    optimizer = OptimizerSettings("adam", rate=0.02)
    device, host = (made(CE, backend, optimizer=optimizer) for backend in ("torch-cuda", "torch-cpu"))
    assert same_bits(device.state(), host.state())
    device.step(*batch(CE, 6), scale=1.0)
    host.load(device.state())
    assert same_bits(host.state(), device.state())
    host.step(*batch(CE, 6, "more"), scale=1.0)
    device.load(host.state())
    assert same_bits(device.state(), host.state())


def test_a_class_out_of_range_leaves_the_device_usable() -> None:
    learner = made(CE)
    x, y = batch(CE, 6)
    before = learner.state()
    with pytest.raises(KernelError, match="classes 0 to 4"):
        learner.step(x, y + 5, scale=1.0)
    assert same_bits(learner.state(), before)
    assert learner.step(x, y, scale=1.0).finite
