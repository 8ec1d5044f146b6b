"""A device as an argument, shown without one: on the CPU bit for bit as before, elsewhere every array in one place."""

from collections.abc import Mapping, Sequence
from itertools import product
from typing import Any

import pytest
import torch
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from kernels import KernelError, OptimizerSettings, Rule, Topology
from kernels.backends.cuda import CudaLearner
from kernels.backends.torch_backend import TorchLearner
from kernels.engine import Engine
from tests.conformance.cases import same_bits
from tests.kernels.networks import batch, parameters, rule

CE = Topology((12, 9, 8, 5), skips=((0, 2), (1, 3)))
MSE = Topology((12, 9, 8, 5), output="mse", skips=((0, 2), (1, 3)))
ESTIMATES = ["centred", "one-sided", "negative", "random-sign", "linearised"]
OPTIMIZERS = ["sgd", "adam", "adamw", "muon"]


def settings(name: str, cap: float | None = None) -> OptimizerSettings:
    return OptimizerSettings(name, rate=0.02, momentum=0.8, weight_decay=0.1, spectral_cap=cap)


@pytest.mark.parametrize("topology", [CE, MSE], ids=["ce", "mse"])
@pytest.mark.parametrize(
    ("name", "arithmetic", "cap"),
    [
        *product(OPTIMIZERS, ["fp32", "bf16"], [None]),
        *product(["sgd", "adam"], ["exact-1"], [None]),
        ("adam", "fp32", 0.3),
    ],
)
def test_the_device_cpu_changes_no_bit(
    name: str, arithmetic: str, cap: float | None, topology: Topology
) -> None:
    plain, placed = (
        make(
            topology,
            parameters(topology),
            rule(),
            settings(name, cap),
            batch=6,
            arithmetic=arithmetic,
            **where,
        )
        for make, where in ((TorchLearner, {}), (CudaLearner, {"device": "cpu"}))
    )
    for step in range(4):
        x, y = batch(topology, 6 if step < 3 else 4, f"step {step}")
        assert placed.step(x, y, scale=1.0 - step / 8) == plain.step(x, y, scale=1.0 - step / 8)
    assert same_bits(placed.state(), plain.state())
    assert same_bits(placed.parameters(), plain.parameters())
    x, y = batch(topology, 300, "test")
    assert placed.predict(x).tobytes() == plain.predict(x).tobytes()
    assert placed.diagnose(x[:6], y[:6]) == plain.diagnose(x[:6], y[:6])

    middle = plain.state()
    x, y = batch(topology, 6, "more")
    for learner in (plain, placed):
        learner.step(x, y, scale=1.0)
    assert not same_bits(placed.state(), middle)
    placed.load(middle)
    assert same_bits(placed.state(), middle)
    placed.step(x, y, scale=1.0)
    assert same_bits(placed.state(), plain.state())


class OnePlace(TorchDispatchMode):
    """Notes what would raise on a CUDA device: operations other than copies on arrays of two devices."""

    def __init__(self) -> None:
        super().__init__()
        self.seen: set[str] = set()
        self.mixed: list[str] = []

    def __torch_dispatch__(
        self, func: Any, types: Sequence[type], args: tuple = (), kwargs: Mapping[str, Any] | None = None
    ) -> Any:
        leaves = tree_leaves((args, kwargs))
        places = {each.device.type for each in leaves if isinstance(each, torch.Tensor) and each.dim()}
        self.seen |= places
        if len(places) > 1 and "copy" not in str(func):
            self.mixed.append(str(func))
        return func(*args, **(kwargs or {}))


def test_the_watch_notices_an_array_left_behind() -> None:
    with OnePlace() as watch:
        torch.mm(torch.zeros(2, 2, device="meta"), torch.ones(2, 2))
    assert watch.mixed == ["aten.mm.default"]


def elsewhere(
    topology: Topology, chosen: Rule, optimizer: str, arithmetic: str, population: int | None = None
) -> Engine:
    """An engine on torch's device "meta", whose arrays have shapes and no numbers."""
    with torch.inference_mode():
        return Engine(
            topology,
            [parameters(topology)],
            [chosen],
            [settings(optimizer)],
            batch=6,
            arithmetic=arithmetic,
            population=population,
            device="meta",
        )


def step_elsewhere(topology: Topology, chosen: Rule, optimizer: str, arithmetic: str) -> None:
    """Assert that making an engine and two steps of it leave no array behind.

    Residuals and caps, which read numbers, are left to the tests on a real device.
    """
    x, y = (torch.from_numpy(each) for each in batch(topology, 6))
    with OnePlace() as watch:
        engine = elsewhere(topology, chosen, optimizer, arithmetic)
        _, _, health = engine.step(x, y, scale=1.0, sign=1)
        engine.step(x[:4], y[:4], scale=1.0, sign=-1)
    assert (watch.mixed, health.device.type) == ([], "meta")
    assert watch.seen == {"cpu", "meta"}
    assert {each.device.type for each in engine._held()} == {"meta"}


@pytest.mark.parametrize("arithmetic", ["fp32", "bf16"])
@pytest.mark.parametrize("topology", [CE, MSE], ids=["ce", "mse"])
@pytest.mark.parametrize("scheme", ["block", "synchronous"])
@pytest.mark.parametrize("estimate", ESTIMATES)
def test_a_step_works_on_arrays_of_its_device_alone(
    estimate: str, scheme: str, topology: Topology, arithmetic: str
) -> None:
    step_elsewhere(topology, rule(estimate, free=0, scheme=scheme), "sgd", arithmetic)


@pytest.mark.parametrize("arithmetic", ["fp32", "bf16"])
@pytest.mark.parametrize("name", OPTIMIZERS)
def test_an_optimizer_works_on_arrays_of_its_device_alone(name: str, arithmetic: str) -> None:
    step_elsewhere(CE, rule(free=0), name, arithmetic)


def test_classes_are_checked_before_they_reach_a_device() -> None:
    """Each class is good or bad by the check on the host alone: "meta" reads no index."""
    engine = elsewhere(CE, rule(free=0), "sgd", "fp32")
    x, _ = (torch.from_numpy(each) for each in batch(CE, 2))
    for good in ([0, 4], [1, 1]):
        engine.step(x, torch.tensor(good), scale=1.0, sign=1)
    for bad in ([0, 5], [-1, 0]):
        with pytest.raises(KernelError, match=f"classes 0 to 4, got {bad[0]} to {bad[1]}"):
            engine.step(x, torch.tensor(bad), scale=1.0, sign=1)
    assert engine.steps == 2


@pytest.mark.parametrize(("arithmetic", "population"), [("exact-1", None), ("exact-1", 1), ("fp32", 1)])
def test_what_steps_through_numpy_stays_on_the_cpu(arithmetic: str, population: int | None) -> None:
    with pytest.raises(KernelError, match="got the device 'meta'"):
        elsewhere(CE, rule(), "sgd", arithmetic, population)
