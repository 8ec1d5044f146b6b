"""What the estimates are worth at the step counts that the presets use, and what they may read."""

from dataclasses import replace

import numpy as np
import pytest
import torch

from kernels import EqpropLearner, OptimizerSettings, Relaxation, Rule, Topology
from kernels.arithmetic import run
from kernels.backends.reference import Reference
from kernels.engine import Engine
from tests.kernels.networks import batch, cosine, parameters, rule

SETTLE = Relaxation(steps=400, tolerance=1e-12)
EXACT = Rule("centred", 1e-3, SETTLE, SETTLE)

SHALLOW = Topology((784, 512, 10))
DEEP = Topology((784, 512, 512, 10))
MSE = Topology((784, 256, 10), output="mse")


def presets() -> list[tuple[str, Topology, Rule]]:
    return [
        ("shallow", SHALLOW, rule("centred", 1.0, free=0, nudged=1)),
        ("deep", DEEP, rule("centred", 1.0, free=6, nudged=3)),
        ("mse", MSE, rule("centred", 0.2, free=4, nudged=2)),
    ]


def estimate(topology: Topology, values: dict, chosen: Rule, arithmetic: str = "fp32") -> dict:
    x, y = batch(topology, 16)
    settings = OptimizerSettings("sgd", rate=1.0, momentum=0.0)
    learner = EqpropLearner(topology, values, chosen, settings, batch=16, arithmetic=arithmetic)
    learner.step(x, y, scale=1.0)
    after = learner.parameters()
    return {name: values[name] - after[name] for name in values}


def exact_gradient(topology: Topology, values: dict) -> dict:
    x, y = batch(topology, 16)
    net = Reference(topology, values, x, np.eye(topology.sizes[-1])[y])
    return net.gradient(EXACT)[0]


@pytest.mark.parametrize(("name", "topology", "chosen"), presets(), ids=["shallow", "deep", "mse"])
def test_presets_point_along_the_gradient(name: str, topology: Topology, chosen: Rule) -> None:
    """At the start, and after training has raised the weights' norms."""
    values = parameters(topology)
    x, y = batch(topology, 128)
    trained = EqpropLearner(topology, values, chosen, OptimizerSettings("adam", rate=1e-3), batch=128)
    for _ in range(10):
        trained.step(x, y, scale=1.0)
    for start in (values, trained.parameters()):
        start = {key: np.round(value * 2.0**24) / 2**24 for key, value in start.items()}
        exact = exact_gradient(topology, start)
        for arithmetic in ("fp32", "bf16", "exact-1"):
            assert cosine(estimate(topology, start, chosen, arithmetic), exact) >= 0.9, arithmetic


def test_on_an_unconverged_network_one_sided_drifts_and_centred_does_not() -> None:
    """The drift of an unsettled free phase is divided by beta; two opposite nudges share it."""
    topology = Topology((60, 50, 50, 50, 10), output="mse")
    values = parameters(topology, 0.9)
    exact = exact_gradient(topology, values)
    chosen = rule("centred", 0.02, free=1, nudged=4)
    centred = cosine(estimate(topology, values, chosen), exact)
    one_sided = cosine(estimate(topology, values, replace(chosen, estimate="one-sided")), exact)
    assert centred >= 0.9
    assert one_sided < 0.5 < centred


ESTIMATES = ["centred", "one-sided", "negative", "random-sign", "linearised"]


@pytest.mark.parametrize("name", ESTIMATES)
@torch.inference_mode()
def test_an_estimate_reads_the_two_layers_that_it_joins(name: str) -> None:
    """Poison every other layer after settling: no entry of the weight's estimate may change."""
    topology = Topology((7, 6, 5, 4, 3), output="mse", skips=((1, 3), (0, 2)))
    x, y = batch(topology, 4)
    for source, target in topology.connections:
        results = []
        for poisoned in (False, True):
            engine = Engine(
                topology,
                [parameters(topology)],
                [rule(name)],
                [OptimizerSettings("sgd")],
                batch=4,
                arithmetic="fp32",
                population=None,
            )
            workspace = engine.workspace(4)
            workspace.load(torch.from_numpy(x), torch.from_numpy(y))
            workspace.relax(measured=False)
            run(workspace.compare)
            for start, relaxer in workspace.nudging:
                run(start)
                relaxer.run()
            phases = [workspace.free, *workspace.nudged, *([workspace.linear] if workspace.linear else [])]
            for layer in topology.state_layers if poisoned else ():
                if layer not in (source, target):
                    for phase in phases:
                        phase.states[layer].value.fill_(torch.nan)
            if poisoned and source != 0:
                workspace.x.value = workspace.x.operand = torch.full_like(workspace.x.value, torch.nan)
            run(workspace.contrast.form())
            out = torch.zeros(topology.sizes[target], topology.sizes[source])
            run(workspace.contrast.weight(source, target, workspace.x, out))
            bias = torch.zeros(topology.sizes[target])
            run(workspace.contrast.bias(target, bias))
            results.append((out, bias))
        assert torch.isfinite(results[1][0]).all()
        assert torch.equal(results[0][0], results[1][0])
        assert torch.equal(results[0][1], results[1][1])
