"""Nothing is differentiated automatically: not in an EP path, and not in the baseline either."""

from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest
import torch
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from kernels import BackpropLearner, OptimizerSettings, PopulationLearner, Topology
from tests.conformance import cases
from tests.conformance.cases import BF16, EXACT, FP32, Way
from tests.conformance.oracle import finite_differences, relu_loss, relu_scores


class Witness(TorchDispatchMode):
    """Sees every operation that reaches a kernel of torch, and what autograd could make of it."""

    def __init__(self) -> None:
        super().__init__()
        self.operations = 0
        self.recorded: list[str] = []

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        self.operations += 1
        result = func(*args, **(kwargs or {}))
        if not torch.is_inference_mode_enabled():
            self.recorded.append(f"{func} outside inference mode")
        for leaf in tree_leaves((args, kwargs, result)):
            if isinstance(leaf, torch.Tensor) and (leaf.requires_grad or leaf.grad_fn is not None):
                self.recorded.append(f"{func} with a graph")
        return result


@pytest.fixture
def no_backward(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    def refusing() -> Any:
        def refuse(*args: Any, **kwargs: Any) -> None:
            raise AssertionError("autograd was called")

        return refuse

    for where, name in (
        (torch.autograd, "backward"),
        (torch.autograd, "grad"),
        (torch.Tensor, "backward"),
        (torch.Tensor, "requires_grad_"),
    ):
        monkeypatch.setattr(where, name, refusing())
    assert torch.is_grad_enabled(), "these tests say something only where a graph could be recorded"
    return iter(())


WAYS = [(way, name) for way in (FP32, BF16) for name in ("sgd", "adam", "adamw", "muon")] + [
    (EXACT, name) for name in ("sgd", "adam", "adamw")
]


@pytest.mark.usefixtures("no_backward")
@pytest.mark.parametrize(("way", "name"), WAYS, ids=str)
def test_a_step_is_in_inference_mode_throughout(way: Way, name: Any) -> None:
    for output in ("ce", "mse"):
        shape = cases.topology(output, 2, skip=True)
        settings = OptimizerSettings(name, spectral_cap=None if way is EXACT else 0.5)
        for estimate in ("centred", "one-sided", "negative", "random-sign", "linearised"):
            network = cases.learner(shape, cases.weights(shape), cases.rule(estimate), settings, way=way)
            x, y = cases.batch(shape)
            with Witness() as witness:
                network.step(x, y, scale=1.0)
                network.step(x[:2], y[:2], scale=0.5)
            assert witness.operations > 20
            inside = [line for line in witness.recorded if "graph" in line]
            assert not inside
            # Arrays become tensors before the mode begins, and a number is read after it: no arithmetic is outside.
            assert not [line for line in witness.recorded if not is_conversion(line)], witness.recorded
            with Witness() as witness:
                network.predict(x)
                network.diagnose(x, y)
                network.load(network.state())
            assert not [line for line in witness.recorded if "graph" in line]


def is_conversion(line: str) -> bool:
    """Arrays to tensors and back, and a number that is read."""
    return any(f"aten.{name}." in line for name in ("detach", "lift_fresh", "_to_copy", "alias", "item"))


@pytest.mark.usefixtures("no_backward")
def test_nor_does_a_population_record_anything() -> None:
    shape = cases.topology("mse", 2, skip=True)
    for arithmetic in ("fp32", "exact-1"):
        group = PopulationLearner(
            shape,
            [cases.weights(shape)] * 2,
            [cases.rule()] * 2,
            [OptimizerSettings()] * 2,
            batch=6,
            arithmetic=arithmetic,  # type: ignore[arg-type]
        )
        x, y = cases.batch(shape)
        with Witness() as witness:
            group.step(np.stack([x, x]), np.stack([y, y]), scale=1.0)
        assert witness.operations > 20
        assert not [line for line in witness.recorded if "graph" in line]


@pytest.mark.usefixtures("no_backward")
@pytest.mark.parametrize("skip", [False, True], ids=["chain", "skips"])
@pytest.mark.parametrize("depth", [1, 2, 3])
@pytest.mark.parametrize("output", ["ce", "mse"])
@pytest.mark.parametrize("arithmetic", ["fp32", "bf16"])
def test_the_baseline_is_the_gradient_of_its_loss(
    arithmetic: Any, output: str, depth: int, skip: bool
) -> None:
    shape = cases.topology(output, depth, skip=skip)
    values, (x, y) = cases.weights(shape), cases.batch(shape)
    network = BackpropLearner(shape, values, cases.PLAIN, batch=6, arithmetic=arithmetic)
    target = cases.one_hot(shape, y)
    exact = finite_differences(lambda at: relu_loss(shape, at, x, target), values, 1e-6)
    bound = 1e-6 if arithmetic == "fp32" else 0.1
    np.testing.assert_allclose(network.predict(x), relu_scores(shape, values, x), atol=10 * bound)
    seen = network.diagnose(x, y)
    for name, norm in seen.gradient_norms.items():
        assert norm == pytest.approx(np.linalg.norm(exact[name]), rel=bound * 10, abs=bound)
    came, report = cases.change(network, x, y)
    assert cases.distance(came, exact) < bound
    assert (report.free_steps, report.nudged_steps, report.residual, report.finite) == (0, 0, 0.0, True)
    short = cases.batch(shape, 4, "short")
    network = BackpropLearner(shape, values, cases.PLAIN, batch=6, arithmetic=arithmetic)
    target = cases.one_hot(shape, short[1])
    exact = finite_differences(lambda at: relu_loss(shape, at, short[0], target), values, 1e-6)
    assert cases.distance(cases.change(network, *short)[0], exact) < bound


def test_the_source_names_no_differentiation() -> None:
    """A grep, for what a test run may not reach."""
    import ast
    from pathlib import Path

    import kernels

    for path in sorted(Path(kernels.__file__).parent.rglob("*.py")):
        if path == Path(kernels.__file__).parent / "probes" / "general.py":
            continue  # an attacker's gradient by the input: nothing learns there, and no learner imports it
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute):
                assert node.func.attr not in {"backward", "vjp", "enable_grad"}, (path, node.lineno)
            if isinstance(node, ast.Attribute):
                assert node.attr not in {"autograd", "grad", "optim"}, (path, node.lineno)
            if isinstance(node, ast.Attribute | ast.keyword):
                word = node.attr if isinstance(node, ast.Attribute) else node.arg
                assert word not in {"requires_grad", "requires_grad_"}, path


def test_relu_scores_of_a_hand_worked_network() -> None:
    shape = Topology((1, 2, 1), output="mse")
    values = {
        "w0-1": np.array([[2.0], [-1.0]]),
        "w1-2": np.array([[3.0, 5.0]]),
        "b1": np.array([1.0, 0.5]),
        "b2": np.array([-1.0]),
    }
    np.testing.assert_allclose(relu_scores(shape, values, np.array([[1.0], [-1.0]])), [[8.0], [6.5]])
