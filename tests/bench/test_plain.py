"""The plain loop that throughput is compared with trains the same networks by the same rule."""

import itertools
from typing import Any

import pytest
import torch

from evaluator.build import build
from evaluator.shape import shape_of
from evaluator.tasks import DatasetTask, resolve
from genome.spaces import MLP
from kernels.topology import bias_name, weight_name
from tests.bench.plain import PlainNet, train_plain

_ESTIMATES = ("centred", "one-sided", "negative", "random-sign", "linearised")
_RATE = 1.0


def genes(estimate: str, output: str, scheme: str) -> dict[str, Any]:
    """A deep network with skips that takes one plain step down its gradient."""
    return dict(
        MLP.genome(
            {
                "credit": "ep", "depth": 2, "width1": 24, "width2": 16, "skip": "two", "output": output, "clip": 1.0,
                "gain": 0.5, "estimate": estimate, "beta_ce": 0.5, "beta_mse": 0.2, "scheme": scheme,
                "step_size": 0.7, "order": "alternating", "free_steps": 6, "nudged_steps": 3, "stop": "fixed",
                "optimizer": "sgd", "lr_sgd": _RATE, "momentum": 0.0, "spectral": "off", "batch": 32,
                "schedule": "constant",
            }
        ).values
    )  # fmt: skip


@pytest.mark.parametrize(
    ("estimate", "output", "scheme"),
    list(itertools.product(_ESTIMATES, ("ce", "mse"), ("block", "synchronous"))),
)
def test_the_plain_gradient_is_that_of_the_kernels(estimate: str, output: str, scheme: str) -> None:
    values = genes(estimate, output, scheme)
    task = resolve("digits")
    assert isinstance(task, DatasetTask)
    data = task.load()
    x, y = data.train_x[:32], data.train_y[:32]
    learner = build(values, inputs=64, classes=10, seed=bytes(32), arithmetic="fp32", backend="auto")
    before = learner.parameters()
    net = PlainNet(values, shape_of(values, inputs=64, classes=10))
    for (k, l), weight in net.W.items():
        weight.copy_(torch.from_numpy(before[weight_name(k, l)]))
    torch.manual_seed(0)
    sign = 1 if torch.rand(()) < 0.5 else -1
    torch.manual_seed(0)
    with torch.no_grad():
        net.gradient(torch.from_numpy(x), torch.nn.functional.one_hot(torch.from_numpy(y), 10).float())
    learner.step(x, y, scale=1.0, sign=sign)
    after = learner.parameters()
    found = {weight_name(k, l): weight.grad for (k, l), weight in net.W.items()}
    found |= {bias_name(l): bias.grad for l, bias in net.b.items()}
    assert set(found) == set(after)
    for name, gradient in found.items():
        assert gradient is not None
        taken = torch.from_numpy((before[name] - after[name]) / _RATE)
        # Both are float32; the kernels subtract states before they multiply, the plain loop after it.
        assert float((taken - gradient).norm()) <= 2e-3 * float(gradient.norm()), name


@pytest.mark.parametrize("optimizer", ["adam", "adamw", "sgd", "muon"])
def test_the_plain_loop_learns_with_every_optimizer(optimizer: str) -> None:
    task = resolve("digits")
    assert isinstance(task, DatasetTask)
    rates = {"lr_adam": 0.01, "lr_sgd": 0.3, "momentum": 0.9, "lr_muon": 0.02, "lr_bias": 1e-3, "ns_steps": 5}
    changed = {**genes("centred", "ce", "block"), **rates, "weight_decay": 1e-4, "optimizer": optimizer}
    values = dict(MLP.genome({**changed, "spectral": "clip", "gamma": 1.0, "schedule": "linear"}).values)
    found = train_plain(values, task, task.load(), task.tier("quick"), seed=1)
    assert found.accuracy > 0.85
    assert found.cpu_s > 0
