"""Accuracy under attack, and attacks that cannot see."""

from dataclasses import replace

import msgspec
import numpy as np
import pytest

from evaluator.probes.robustness import RobustnessSettings, attack, robustness
from evaluator.probes.subject import Network, Samples
from kernels.probes.victims import LinearVictim
from tests.evaluator.probes.networks import SEED, digits, ones, pair, trained
from tests.kernels.networks import uniform

QUICK = RobustnessSettings(epsilons=(0.05, 0.1, 0.2), samples=64, steps=6, tries=4)
WIDE = msgspec.structs.replace(QUICK, low=-np.inf, high=np.inf, large=50.0)


def linear() -> tuple[LinearVictim, Samples]:
    victim = LinearVictim(uniform("linear/w", 2, 6) - 0.5, np.zeros(2))
    x = 2.0 * uniform("linear/x", 60, 6) - 1.0
    return victim, Samples(x, victim.scores(x).argmax(axis=1))


def with_parameters(network: Network, **changes) -> Network:
    return Network(network.topology, {**network.parameters, **changes}, network.rule)


def test_a_linear_model_loses_exactly_the_samples_inside_the_radius():
    victim, data = linear()
    margins = victim.margins(data.inputs, np.eye(2)[data.y])
    found = attack(victim, data, 2, SEED, WIDE)
    for point in found.points:
        assert point.fgsm.value == point.pgd.value == pytest.approx((margins > point.epsilon).mean())
    assert found.large.value == 0.0 and found.warnings == ()


@pytest.mark.parametrize("output", ["ce", "mse"])
def test_a_trained_network_falls_to_nothing_and_hides_nothing(output):
    # The one that settles in sweeps is attacked on fewer samples: each step of an attack settles anew.
    settings = QUICK if output == "ce" else msgspec.structs.replace(QUICK, samples=24, steps=4, tries=2)
    found = robustness(trained(output), digits(), SEED, settings)
    assert found.clean.value > 0.85
    fallen = [point.pgd.value for point in found.points]
    assert fallen == sorted(fallen, reverse=True) and fallen[-1] < 0.5 * found.clean.value
    for point in found.points:
        assert point.pgd.value <= point.fgsm.value + QUICK.slack
        assert point.pgd.value < point.noise.value
    assert found.large.value <= 0.05
    assert found.losses[-1] > found.losses[0]
    assert found.flat == 0.0 and found.unsettled == 0.0
    assert found.warnings == ()


def test_outputs_that_saturate_are_flagged():
    # Sabotage: the readout times 1e5. The classes stay, p - y is 0 in float64, and no attack by gradient moves.
    network = trained("ce")
    w, b = (1e5 * network.parameters[name] for name in ("w1-2", "b2"))
    masked = with_parameters(network, **{"w1-2": w, "b2": b})
    honest, found = (robustness(each, digits(), SEED, QUICK) for each in (network, masked))
    assert found.clean == honest.clean
    assert found.points[-1].pgd.value > honest.points[-1].pgd.value + 0.2
    assert found.flat > 0.5
    told = " ".join(found.warnings)
    assert "no gradient at all" in told and "survive a radius" in told and "transfer leaves" in told


def test_hidden_states_that_saturate_are_flagged():
    # Sabotage: hidden units that answer by steps: between 0 and 1 nothing is left that has a slope.
    network = trained("ce")
    w, b = (1e5 * network.parameters[name] for name in ("w0-1", "b1"))
    found = robustness(with_parameters(network, **{"w0-1": w, "b1": b}), digits(), SEED, QUICK)
    assert found.flat > 0.9
    assert any("no gradient at all" in warning for warning in found.warnings)


class Blind:
    """A classifier that gives the gradient of another one."""

    def __init__(self, victim, sign: float) -> None:
        self.victim, self.sign = victim, sign

    def scores(self, x):
        return self.victim.scores(x)

    def attacked(self, x, y):
        slope = self.victim.attacked(x, y)
        return replace(slope, gradients=self.sign * slope.gradients)


@pytest.mark.parametrize(("sign", "warning"), [(-1.0, "does not rise"), (0.0, "no gradient at all")])
def test_a_gradient_that_is_wrong_is_flagged(sign, warning):
    victim, data = linear()
    found = attack(Blind(victim, sign), data, 2, SEED, WIDE)
    assert any(warning in told for told in found.warnings)
    assert any("noise leaves" in told or "transfer leaves" in told for told in found.warnings)


def test_a_network_that_does_not_settle_is_flagged():
    # Sabotage: a pair whose displacements lose 2 parts in 10,000 a sweep.
    settings = RobustnessSettings(epsilons=(0.1,), samples=2, steps=1, tries=1, sweeps=40)
    slow, quick = (robustness(pair(weight), ones(2), SEED, settings) for weight in (0.9999, 0.3))
    assert slow.unsettled == 1.0 and quick.unsettled == 0.0
    assert any(told.startswith("1.000 of the samples do not settle") for told in slow.warnings)
