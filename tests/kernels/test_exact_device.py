"""The operations that a device is given, done on the CPU: exact-1 has the same bits, and nothing is left behind."""

import numpy as np
import pytest
import torch

from kernels import KernelError, OptimizerSettings, PopulationLearner, Rule, Topology
from kernels.arithmetic import Arithmetic
from kernels.backends.torch_backend import TorchLearner
from kernels.engine import Engine
from kernels.exact import Exact
from tests.conformance import exact_program
from tests.conformance.cases import same_bits
from tests.conformance.test_exact import GOLDEN
from tests.kernels.networks import batch, parameters, rule
from tests.kernels.recording import TapeRecorder

CE = Topology((12, 9, 8, 5), skips=((0, 2), (1, 3)))
MSE = Topology((12, 9, 8, 5), output="mse", skips=((0, 2), (1, 3)))
STEPS = 30


@pytest.fixture
def remote(monkeypatch: pytest.MonkeyPatch) -> None:
    """Engines work as on a device, wherever their arrays are."""
    monkeypatch.setattr("kernels.engine.works_remotely", lambda device: True)


def settings(name: str, index: int = 0) -> OptimizerSettings:
    # So large a rate brings weights near the limit of their grid, 4.
    return OptimizerSettings(name, rate=0.3 + 0.1 * index, momentum=0.8, weight_decay=0.1)


def trained(topology: Topology, name: str) -> dict[str, np.ndarray]:
    """The state after thirty steps, some of them short."""
    learner = TorchLearner(
        topology, parameters(topology), rule(), settings(name), batch=6, arithmetic="exact-1"
    )
    for step in range(STEPS):
        x, y = batch(topology, 6 if step % 5 < 4 else 4, f"step {step}")
        learner.step(x, y, scale=1.0 - step / 40)
    return learner.state()


def trained_together(topology: Topology, name: str, arithmetic: str = "exact-1") -> dict[str, np.ndarray]:
    """The state of three after thirty steps, nudged by signs of their own."""
    learner = PopulationLearner(
        topology,
        [parameters(topology, 0.2 * (index + 1)) for index in range(3)],
        [rule("random-sign", 0.2 + index / 10) for index in range(3)],
        [settings(name, index) for index in range(3)],
        batch=6,
        arithmetic=arithmetic,
    )
    for step in range(STEPS):
        rows = 6 if step % 5 < 4 else 4
        x, y = zip(*(batch(topology, rows, f"{step}/{index}") for index in range(3)), strict=True)
        signs = [1, -1, 1 if step % 2 else -1]
        learner.step(np.stack(x), np.stack(y), scale=1.0 - step / 40, signs=signs)
    return learner.state()


@pytest.mark.usefixtures("remote")
def test_the_golden_hashes_hold(monkeypatch: pytest.MonkeyPatch) -> None:
    """No square root is taken through NumPy on the way."""
    monkeypatch.setattr(exact_program, "EqpropLearner", TorchLearner)
    monkeypatch.setattr(Arithmetic, "root", None)
    assert exact_program.hashes() == GOLDEN


@pytest.mark.parametrize("topology", [CE, MSE], ids=["ce", "mse"])
@pytest.mark.parametrize("name", ["sgd", "adam", "adamw"])
@pytest.mark.parametrize("train", [trained, trained_together], ids=["alone", "population"])
def test_thirty_steps_leave_the_same_state(
    train, name: str, topology: Topology, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Not parameters alone: moments, clock and bound too, so that either goes on where the other stopped."""
    expected = train(topology, name)
    assert int(expected["step"]) == STEPS
    monkeypatch.setattr("kernels.engine.works_remotely", lambda device: True)
    assert same_bits(train(topology, name), expected)


@pytest.mark.parametrize("size", [100, 1000])
def test_blocks_of_a_device_change_no_bit(size: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """Networks of 432 parameters are cut, or taken two at a time."""
    expected = trained_together(CE, "adam")
    monkeypatch.setattr("kernels.engine.works_remotely", lambda device: True)
    monkeypatch.setattr("kernels.elementwise.REMOTE_BLOCK", size)
    assert same_bits(trained_together(CE, "adam"), expected)


@pytest.mark.usefixtures("remote")
def test_what_is_read_is_what_a_cpu_reads() -> None:
    """Scores and diagnosis after a state was loaded: `place` takes inputs in as `take` does."""
    state = trained(CE, "adam")
    there, here = (
        TorchLearner(CE, parameters(CE), rule(), settings("adam"), batch=6, arithmetic="exact-1")
        for _ in range(2)
    )
    here.engine.arithmetic.remote = False
    x, y = batch(CE, 300, "test")
    # Margins that are zero throughout, which the CPU leaves out of its products.
    x[:, :3] = x[:, 9:] = 0.0
    for learner in (there, here):
        learner.load(state)
    assert there.predict(x).tobytes() == here.predict(x).tobytes()
    assert there.diagnose(x[:6], y[:6]) == here.diagnose(x[:6], y[:6])


@pytest.mark.usefixtures("remote")
@pytest.mark.parametrize("bad", [1.0 + 2.0**-20, -1.5, np.nan, np.inf, -np.inf])
def test_inputs_beyond_one_change_nothing(bad: float) -> None:
    learner = TorchLearner(CE, parameters(CE), rule(), settings("sgd"), batch=6, arithmetic="exact-1")
    x, y = batch(CE, 6)
    learner.step(x, y, scale=1.0)
    before = learner.state()
    x[2, 3] = bad
    with pytest.raises(KernelError, match=r"\[-1, 1\]"):
        learner.step(x, y, scale=1.0)
    assert same_bits(learner.state(), before)


def test_roots_through_float64_are_correctly_rounded() -> None:
    """At random, and where a root is nearest to the middle between two float32 numbers, on either side of it."""
    generator = torch.Generator().manual_seed(1)
    random = torch.rand(200_000, generator=generator) * 2.0 ** torch.randint(
        -60, 60, (200_000,), generator=generator
    )
    middles = torch.arange(2**23, 2**23 + 100_000, dtype=torch.float64) + 0.5
    nearest = middles.square().float()
    around = [torch.nextafter(nearest, torch.tensor(limit)) for limit in (0.0, torch.inf)]
    source = torch.cat([random, nearest, *around])
    out, wide = torch.empty_like(source), torch.empty_like(source, dtype=torch.float64)
    for operation in Exact(remote=True).root(out, source, wide):
        operation()
    assert np.array_equal(out.numpy(), np.sqrt(source.numpy()))


# Where arrays lie, shown on torch's device "meta", whose arrays have shapes and no numbers.


def elsewhere(chosen: Rule, optimizer: str, arithmetic: str, population: int | None) -> Engine:
    with torch.inference_mode():
        return Engine(
            CE,
            [parameters(CE)] * (population or 1),
            [chosen] * (population or 1),
            [settings(optimizer)] * (population or 1),
            batch=6,
            arithmetic=arithmetic,
            population=population,
            device="meta",
        )


@pytest.mark.parametrize("estimate", ["centred", "random-sign", "linearised"])
@pytest.mark.parametrize(
    ("name", "arithmetic", "population"),
    [
        *((name, "exact-1", population) for name in ("sgd", "adam", "adamw") for population in (None, 2)),
        *((name, "fp32", 2) for name in ("sgd", "adam", "adamw", "muon")),
    ],
)
def test_a_step_reads_nothing_of_the_host(
    name: str, arithmetic: str, population: int | None, estimate: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What is launched can be recorded: it knows arrays of its device alone, and no number is read back."""
    monkeypatch.setattr("kernels.engine.DEVICES", ("cpu", "meta"))
    engine = elsewhere(rule(estimate, free=0), name, arithmetic, population)
    lead = () if population is None else (population,)
    for rows in (6, 4):
        x, y = torch.zeros(*lead, rows, 12), torch.zeros(*lead, rows, dtype=torch.int64)
        sign = -1 if population is None else torch.tensor([[[1]], [[-1]]])
        with torch.inference_mode():
            workspace = engine.workspace(rows)
            workspace.load(x, y)
            engine.prepare(0.5, sign)
            TapeRecorder("meta").record(lambda work=workspace: engine.launch(work))
    held = [engine.parameters.flat.value, engine.parameters.gradient, workspace.target, workspace.x.operand]
    assert {each.device.type for each in held} == {"meta"}


def test_other_devices_and_classes_are_refused() -> None:
    with pytest.raises(KernelError, match="computes in fp32, bf16, exact-1, got 'fp16'"):
        elsewhere(rule(), "sgd", "fp16", None)
    for arithmetic, population in (("exact-1", None), ("exact-1", 1), ("fp32", 1)):
        with pytest.raises(KernelError, match="runs on cpu and cuda, got the device 'meta'"):
            elsewhere(rule(), "sgd", arithmetic, population)
