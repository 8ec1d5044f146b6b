"""Probes as objectives: one number each, and the control beside it that a broken network or probe does not pass."""

import math
from dataclasses import replace

import numpy as np
import pytest

from evaluator.build import build
from evaluator.errors import EvaluatorError
from evaluator.objectives import PROBE_OBJECTIVES
from evaluator.probes import objectives
from evaluator.probes.objectives import REMOVED, Asked, displacement_exponent, measured, probed
from evaluator.probes.subject import Network, Samples, accuracy
from evaluator.tasks import resolve
from genome import preset
from kernels import Topology
from kernels.probes.exponent import exponents
from tests.evaluator.probes.networks import DEEP, FEED_FORWARD, SEED, digits, ones, pair, trained

NAMES = [each.name for each in PROBE_OBJECTIVES]
TRAINING = {"batch": 32, "optimizer": "adam", "ns_steps": None, "free_steps": 8.0, "nudged_steps": 4.0}


def asked(network: Network, samples: Samples | None = None) -> Asked:
    return Asked(network, samples or digits(), TRAINING, SEED)


@pytest.mark.parametrize("output", ["ce", "mse"])
def test_a_trained_network_has_every_objective_within_its_bounds(output: str) -> None:
    found = measured(NAMES, asked(trained(output)))
    assert list(found) == NAMES
    assert {name: score.control for name, score in found.items()} == dict.fromkeys(NAMES, "")
    for each in PROBE_OBJECTIVES:
        assert 0.0 < each.normalise(found[each.name].value) < 1.0
    clean = accuracy(trained(output), digits())
    assert 0.0 < found["robustness"].value < clean - 0.1
    for name in ("noise", "damage"):
        assert 0.3 < found[name].value < clean


def test_what_else_is_asked_for_changes_no_number() -> None:
    together = measured(NAMES, asked(trained("ce")))
    alone = measured(["damage"], asked(trained("ce")))
    assert alone["damage"] == together["damage"]
    other = measured(["damage"], asked(trained("ce"))._replace(seed=bytes(32)))
    assert other["damage"] != alone["damage"]


def test_a_network_that_hides_its_gradients_has_no_robustness() -> None:
    # Sabotage: a first layer a thousand times too steep is clipped everywhere, so that no gradient comes through.
    network = trained("ce")
    steep = {
        name: value * (1e3 if name in ("w0-1", "b1") else 1.0) for name, value in network.parameters.items()
    }
    found = measured(["robustness"], asked(replace(network, parameters=steep)))["robustness"]
    assert found.value == 0.0 and "no gradient" in found.control


def test_harm_that_does_not_arrive_is_told() -> None:
    # Sabotage: the class stands in the bias of the output, and no unit that could be lost matters... of two classes,
    # the input alone tells by a skip around the hidden layer.
    topology = Topology((1, 8, 2), skips=((0, 2),))
    values = {
        "w0-1": np.zeros((8, 1)),
        "w1-2": np.zeros((2, 8)),
        "w0-2": np.array([[1.0], [-1.0]]),
        "b1": np.zeros(8),
        "b2": np.array([-0.5, 0.5]),
    }
    data = Samples(np.array([[0.0], [1.0]] * 20), np.array([1, 0] * 20))
    found = measured(["damage"], asked(Network(topology, values, FEED_FORWARD), data))["damage"]
    assert found.value == 1.0 and "leaves 1.000 of an accuracy of 1.000" in found.control
    # Noise of ten times its size turns the one weight that counts around in some draw.
    assert measured(["noise"], asked(trained("ce")))["noise"].control == ""


def test_an_exponent_is_that_of_the_map_and_its_control_follows_no_tangent() -> None:
    # Eigenvalues +-w, exponent ln w; one that grows meets its clip in the end, so that 0.8 it is.
    found = measured(["lyapunov"], asked(pair(0.8), ones(2)))["lyapunov"]
    assert found.value == pytest.approx(math.log(0.8), abs=0.05) and found.control == ""
    advance, start = pair(0.8).settle_map(ones(1), pair(0.8).free)
    assert displacement_exponent(advance, start, SEED) == pytest.approx(math.log(0.8), abs=0.01)
    # A readout outside the energy and one hidden layer: every displacement is gone after one sweep.
    assert measured(["lyapunov"], asked(trained("ce")))["lyapunov"].value == pytest.approx(REMOVED)


def test_wrong_tangents_do_not_pass_for_a_stable_network(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(
        objectives, "exponents", lambda *args, **how: tuple(v - 3.0 for v in exponents(*args, **how))
    )
    found = measured(["lyapunov"], asked(trained("mse")))["lyapunov"]
    monkeypatch.undo()
    assert "tangents give" in found.control
    assert found.value == pytest.approx(
        measured(["lyapunov"], asked(trained("mse")))["lyapunov"].value, abs=0.5
    )


def test_energy_follows_the_sweeps_that_training_took() -> None:
    network = trained("mse")
    some = measured(["energy"], asked(network))["energy"].value
    fewer = measured(["energy"], asked(network)._replace(training={**TRAINING, "free_steps": 2.0}))
    assert 0 < fewer["energy"].value < some
    assert network.rule == DEEP


def test_a_genome_is_probed_by_what_its_training_left() -> None:
    task = resolve("digits")
    values = {**dict(preset("sparse").values), "width1": 16}
    learner = build(values, inputs=64, classes=10, seed=SEED, arithmetic="fp32", backend="auto")
    held = (digits().x[:32], digits().y[:32])
    found = probed(
        NAMES,
        values,
        task,
        learner.parameters(),
        held=held,
        steps=(0.0, 2.0),
        key=SEED,  # type: ignore[arg-type]
    )
    assert set(found) == set(NAMES)
    values = dict(preset("predictive-coding").values)
    with pytest.raises(EvaluatorError, match=r"'lyapunov' cannot be had: .* one pass"):
        probed(["lyapunov"], values, task, {}, held=held, steps=(0.0, 1.0), key=SEED)  # type: ignore[arg-type]
