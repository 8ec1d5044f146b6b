"""Recorded steps without a device: replays of a tape give the bits of plain stepping."""

from itertools import product

import numpy as np
import pytest
import torch

from kernels import KernelError, OptimizerSettings, Rule, Topology
from kernels.backends.cuda import CudaLearner
from kernels.backends.graph import WARM_UP, RecordedSteps, fastest_step
from kernels.engine import Engine
from tests.conformance.cases import same_bits
from tests.kernels.networks import batch, parameters, rule
from tests.kernels.recording import TapeRecorder

CE = Topology((12, 9, 8, 5), skips=((0, 2), (1, 3)))
MSE = Topology((12, 9, 8, 5), output="mse", skips=((0, 2), (1, 3)))


@pytest.fixture(autouse=True)
def remote(monkeypatch: pytest.MonkeyPatch) -> None:
    """Engines work as on a device, on arrays of the CPU."""
    monkeypatch.setattr("kernels.engine.works_remotely", lambda device: True)


def settings(name: str, cap: float | None = None) -> OptimizerSettings:
    return OptimizerSettings(name, rate=0.02, momentum=0.8, weight_decay=0.1, spectral_cap=cap)


def engine(
    optimizer: OptimizerSettings,
    *,
    chosen: Rule | None = None,
    topology: Topology = CE,
    arithmetic: str = "fp32",
    population: int | None = None,
) -> Engine:
    networks = population or 1
    with torch.inference_mode():
        return Engine(
            topology,
            [parameters(topology, 0.2 * (index + 1)) for index in range(networks)],
            [chosen or rule()] * networks,
            [optimizer] * networks,
            batch=6,
            arithmetic=arithmetic,
            population=population,
        )


def follow(plain: Engine, recorded: Engine, recorder: TapeRecorder) -> None:
    """Take ten steps of each, every third one short, with scales and signs of their own; assert equal bits."""
    steps = RecordedSteps(recorded, recorder)
    for step in range(10):
        x, y = (
            torch.from_numpy(each)
            for each in batch(plain.topology, 4 if step % 3 == 2 else 6, f"step {step}")
        )
        sign: int | torch.Tensor = 1 if step % 4 < 2 else -1
        networks = plain.arithmetic.population
        if networks is not None:
            x, y = x.expand(networks, *x.shape), y.expand(networks, *y.shape)
            sign = torch.tensor([sign, *[-sign] * (networks - 1)]).view(-1, 1, 1)
        came, expected = (take(x, y, scale=1.0 - step / 20, sign=sign) for take in (steps.step, plain.step))
        assert came[:2] == expected[:2]
        assert torch.equal(came[2], expected[2])
        assert same_bits(recorded.state(), plain.state())
    # Four steps were short: two warm-ups and two replays; of six, two and four.
    assert (recorder.warmed, recorder.recorded, recorder.replayed) == (2 * WARM_UP, 2, 10 - 2 * WARM_UP)


@pytest.mark.parametrize(
    ("name", "arithmetic"),
    [
        *product(["sgd", "adam", "adamw", "muon"], ["fp32", "bf16"]),
        *product(["sgd", "adam", "adamw"], ["exact-1"]),
    ],
)
def test_replays_step_like_the_engine(name: str, arithmetic: str) -> None:
    chosen = rule("random-sign")
    made = [engine(settings(name), chosen=chosen, arithmetic=arithmetic) for _ in range(2)]
    follow(*made, TapeRecorder())


@pytest.mark.parametrize("topology", [CE, MSE], ids=["ce", "mse"])
@pytest.mark.parametrize("scheme", ["block", "synchronous"])
@pytest.mark.parametrize("estimate", ["centred", "one-sided", "negative", "linearised", "random-sign"])
def test_replays_form_every_estimate(estimate: str, scheme: str, topology: Topology) -> None:
    chosen = rule(estimate, scheme=scheme, orders=("alternating", "backward"))
    made = [engine(settings("sgd"), chosen=chosen, topology=topology) for _ in range(2)]
    follow(*made, TapeRecorder())


@pytest.mark.parametrize(
    ("name", "arithmetic"),
    [*product(["sgd", "adam", "muon"], ["fp32"]), *product(["sgd", "adamw"], ["exact-1"])],
)
def test_replays_step_a_population(name: str, arithmetic: str) -> None:
    chosen = rule("random-sign")
    made = [engine(settings(name), chosen=chosen, arithmetic=arithmetic, population=3) for _ in range(2)]
    follow(*made, TapeRecorder())


@pytest.mark.parametrize("arithmetic", ["fp32", "bf16"])
@pytest.mark.parametrize(
    ("name", "cap"), [("sgd", None), ("adam", None), ("adamw", None), ("muon", None), ("muon", 0.1)]
)
def test_steps_of_a_device_are_those_of_a_cpu(
    name: str, cap: float | None, arithmetic: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Rates, momenta and signs that lie in arrays are the numbers that a CPU is given."""
    chosen = rule("random-sign")
    there = engine(settings(name, cap), chosen=chosen, arithmetic=arithmetic)
    monkeypatch.undo()
    here = engine(settings(name, cap), chosen=chosen, arithmetic=arithmetic)
    assert there.launches and not here.launches
    for step in range(8):
        x, y = (torch.from_numpy(each) for each in batch(CE, 4 if step % 3 == 2 else 6, f"step {step}"))
        came, expected = (each.step(x, y, scale=1.0 - step / 10, sign=(-1) ** step) for each in (there, here))
        assert came[0].residual == pytest.approx(expected[0].residual, abs=1e-2)
    if name == "sgd":
        # The one product of a step is rounded before it is subtracted, which a fused operation spares a CPU.
        bound = {"fp32": 1e-6, "bf16": 1e-2}[arithmetic]
        values = [each.parameters.read(0) for each in (there, here)]
        assert max(np.abs(values[0][key] - values[1][key]).max() for key in values[0]) <= bound
    else:
        assert came[:2] == expected[:2]
        assert same_bits(there.state(), here.state())


def test_caps_are_held_beside_what_was_recorded() -> None:
    for arithmetic in ("fp32", "bf16"):
        made = [engine(settings("muon", 0.1), arithmetic=arithmetic) for _ in range(2)]
        follow(*made, TapeRecorder())
        norm = np.linalg.norm(made[1].parameters.read(0)["w1-2"].astype(np.float64), 2)
        # Without the cap it would be .15.
        assert norm == pytest.approx(0.1, rel=1e-3)


def test_free_sweeps_alone_and_none_are_measured_alike() -> None:
    """One sweep, whose change is the residual, and none, which has none."""
    for free in (0, 1, 2):
        chosen = rule(free=free)
        made = [engine(settings("sgd"), chosen=chosen) for _ in range(2)]
        follow(*made, TapeRecorder())
        x, y = (torch.from_numpy(each) for each in batch(CE, 6))
        settled = made[0].step(x, y, scale=1.0, sign=1)[0]
        assert (settled.residual > 0.0) == (free > 0)


def test_recording_does_nothing_yet() -> None:
    one = engine(settings("adam"))
    x, y = (torch.from_numpy(each) for each in batch(CE, 6))
    one.step(x, y, scale=1.0, sign=1)
    before = one.state()
    with torch.inference_mode():
        workspace = one.workspace(6)
        workspace.load(x, y)
        one.prepare(1.0, 1)
        clock = one.state()["0.count"]
        replay = TapeRecorder().record(lambda: one.launch(workspace))
        assert same_bits(one.state(), before)
        replay()
    assert one.state()["0.count"] == clock + 1
    assert not same_bits(one.state(), before)


def test_a_tape_refuses_what_a_capture_refuses_and_keeps_numbers_as_they_were() -> None:
    number, array = [2.0], torch.ones(3)
    with pytest.raises(RuntimeError, match="read back"):
        TapeRecorder().record(lambda: float(array.sum()))
    with pytest.raises(RuntimeError, match="memory of the host"):
        TapeRecorder("meta").record(lambda: array.add_(1.0))
    replay = TapeRecorder().record(lambda: array.mul_(number[0]))
    number[0] = 5.0
    replay()
    assert array.tolist() == [2.0] * 3


def test_a_third_size_takes_the_place_of_the_second() -> None:
    one, recorder = engine(settings("sgd")), TapeRecorder()
    steps = RecordedSteps(one, recorder)

    def take(rows: int) -> None:
        x, y = (torch.from_numpy(each) for each in batch(CE, rows))
        for _ in range(WARM_UP + 1):
            steps.step(x, y, scale=1.0, sign=1)

    take(6)
    take(4)
    take(6)
    assert recorder.recorded == 2
    take(3)
    take(4)
    assert recorder.recorded == 4
    take(6)
    assert recorder.recorded == 4


def test_a_recorded_step_keeps_its_memory() -> None:
    """A diagnosis of another size makes the engine forget the workspace that a replay writes to."""
    made = [engine(settings("sgd")) for _ in range(2)]
    steps = RecordedSteps(made[1], TapeRecorder())
    x, y = (torch.from_numpy(each) for each in batch(CE, 4))
    for step in range(6):
        made[1].workspace(3)
        assert torch.equal(
            steps.step(x, y, scale=1.0 - step / 8, sign=1)[2],
            made[0].step(x, y, scale=1.0 - step / 8, sign=1)[2],
        )
    assert same_bits(made[1].state(), made[0].state())


def test_a_refused_batch_changes_nothing() -> None:
    one = engine(settings("adam"))
    steps = RecordedSteps(one, TapeRecorder())
    x, y = (torch.from_numpy(each) for each in batch(CE, 6))
    for _ in range(WARM_UP + 1):
        steps.step(x, y, scale=1.0, sign=1)
    before = one.state()
    for bad_x, bad_y, scale in ((x, y + 5, 1.0), (x[:0], y[:0], 1.0), (x, y, 1.5)):
        with pytest.raises(KernelError):
            steps.step(bad_x, bad_y, scale=scale, sign=1)
    assert same_bits(one.state(), before)


def test_phases_that_stop_by_themselves_are_not_recorded(monkeypatch: pytest.MonkeyPatch) -> None:
    assert engine(settings("sgd")).launches
    assert not engine(settings("sgd"), chosen=rule(tolerance=1e-3)).launches
    monkeypatch.undo()
    # Nor is anything on the CPU.
    plain = CudaLearner(CE, parameters(CE), rule(), settings("sgd"), batch=6, device="cpu")
    assert fastest_step(plain.engine) == plain._advance == plain.engine.step
