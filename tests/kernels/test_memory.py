"""No graph is ever recorded, and a step's memory does not grow with the number of settling steps."""

from collections.abc import Callable
from dataclasses import replace
from functools import partial

import pytest
import torch
from torch.profiler import ProfilerActivity, profile

from kernels import EqpropLearner, OptimizerSettings, Topology
from kernels.arithmetic import Bfloat16
from kernels.engine import Engine
from tests.kernels.networks import batch, parameters, rule

TOPOLOGY = Topology((30, 24, 20, 10), skips=((0, 2),))
MSE = replace(TOPOLOGY, output="mse")


def peak(operation: Callable[[], object]) -> int:
    """The most bytes that `operation` holds at any moment beyond those held before it."""
    with profile(activities=[ProfilerActivity.CPU], profile_memory=True) as recorded:
        operation()
    events = [event for event in recorded.profiler.kineto_results.events() if event.name() == "[memory]"]
    level = highest = 0
    for event in sorted(events, key=lambda each: each.start_ns()):
        level += event.nbytes()
        highest = max(highest, level)
    return highest


def held(learner: EqpropLearner) -> int:
    """The bytes of all tensors that a learner's workspaces hold."""
    seen: dict[int, int] = {}
    stack: list[object] = [learner._learner.engine]
    visited = set()
    while stack:
        item = stack.pop()
        if id(item) in visited or isinstance(item, type):
            continue
        visited.add(id(item))
        if isinstance(item, torch.Tensor):
            storage = item.untyped_storage()
            seen[storage.data_ptr()] = storage.nbytes()
        elif isinstance(item, dict):
            stack += list(item.values())
        elif isinstance(item, (list, tuple, set)):
            stack += list(item)
        elif type(item).__module__.startswith("kernels"):
            stack += list(getattr(item, "__dict__", {}).values())
            stack += [
                getattr(item, name) for name in getattr(type(item), "__slots__", ()) if hasattr(item, name)
            ]
    return sum(seen.values())


@pytest.mark.parametrize(
    ("estimate", "scheme", "topology", "arithmetic"),
    [
        ("centred", "block", TOPOLOGY, "fp32"),
        ("centred", "block", MSE, "bf16"),
        ("centred", "synchronous", TOPOLOGY, "exact-1"),
        ("one-sided", "synchronous", MSE, "fp32"),
        ("linearised", "block", TOPOLOGY, "fp32"),
    ],
)
def test_memory_does_not_grow_with_the_steps(
    estimate: str, scheme: str, topology: Topology, arithmetic: str
) -> None:
    x, y = batch(topology, 16)
    figures = []
    for steps in (5, 1000):
        chosen = rule(estimate, scheme=scheme, free=steps, nudged=steps)
        learner = EqpropLearner(
            topology, parameters(topology), chosen, OptimizerSettings("adam"), batch=16, arithmetic=arithmetic
        )
        learner.step(x, y, scale=1.0)
        before = held(learner)
        figures.append((peak(partial(learner.step, x, y, scale=1.0)), before))
        assert held(learner) == before
    assert figures[0] == figures[1]


@pytest.mark.parametrize("name", ["sgd", "adam", "adamw", "muon"])
def test_a_step_of_fp32_allocates_next_to_nothing(name: str) -> None:
    """What is left are single numbers."""
    learner = EqpropLearner(MSE, parameters(MSE), rule(), OptimizerSettings(name), batch=16)
    x, y = batch(MSE, 16)
    learner.step(x, y, scale=1.0)
    assert peak(partial(learner.step, x, y, scale=1.0)) <= 64


def test_the_input_of_bf16_is_held_in_bfloat16_alone() -> None:
    held = Bfloat16().input(16, 30)
    assert held.value is held.operand
    assert held.operand.dtype == torch.bfloat16


def test_the_meter_sees_an_allocation() -> None:
    def twice() -> None:
        torch.ones(1000).mul(2.0)
        torch.ones(1000)

    assert 8000 <= peak(twice) < 9000


def test_no_graph_is_recorded(monkeypatch: pytest.MonkeyPatch) -> None:
    def forbidden(*arguments: object, **options: object) -> None:
        raise AssertionError("autograd was asked for a gradient")

    monkeypatch.setattr(torch.Tensor, "backward", forbidden)
    monkeypatch.setattr(torch.autograd, "backward", forbidden)
    monkeypatch.setattr(torch.autograd, "grad", forbidden)
    for estimate in ("centred", "one-sided", "linearised"):
        learner = EqpropLearner(MSE, parameters(MSE), rule(estimate), OptimizerSettings("muon"), batch=16)
        x, y = batch(MSE, 16)
        with torch.enable_grad():
            learner.step(x, y, scale=1.0)
            learner.predict(x)
            learner.diagnose(x, y)
        engine: Engine = learner._learner.engine
        workspace = engine.workspace(16)
        tensors = [engine.parameters.flat.value, engine.parameters.gradient, workspace.scores]
        tensors += [state.value for state in workspace.free.states.values()]
        for tensor in tensors:
            assert tensor.is_inference()
            assert not tensor.requires_grad
            assert tensor.grad_fn is None


def test_a_step_outside_inference_mode_is_refused() -> None:
    learner = EqpropLearner(MSE, parameters(MSE), rule(), OptimizerSettings("sgd"), batch=16)
    x, y = (torch.from_numpy(array) for array in batch(MSE, 16))
    undecorated = Engine.step.__wrapped__
    with pytest.raises(AssertionError, match="never records a graph"):
        undecorated(learner._learner.engine, x, y, scale=1.0, sign=1)


def test_the_engine_knows_no_autograd() -> None:
    """No file of the kernels names it, but for the docstrings that say so."""
    from pathlib import Path

    import kernels

    room = Path(kernels.__path__[0])
    for path in room.rglob("*.py"):
        text = path.read_text()
        if path.parent != room / "probes":
            assert "kernels.probes" not in text, path.name
        if path == room / "probes" / "general.py":
            continue  # a probe's attacker may do what a rule may not: it learns nothing, and no learner imports it
        for word in (".backward(", "torch.autograd", "requires_grad", ".grad_fn", "enable_grad"):
            assert word not in text, (path.name, word)
