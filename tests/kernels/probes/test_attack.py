"""Attacks against closed forms: linear margins, met to the last sample."""

from dataclasses import replace
from itertools import pairwise

import numpy as np
import pytest

from kernels import KernelError, Topology
from kernels.probes.attack import Box, correct, fgsm, loss_curve, pgd, worst_noise
from kernels.probes.victims import LinearVictim, NetworkVictim, substitute
from tests.kernels.networks import SEED, uniform

OPEN = Box(-np.inf, np.inf)


def linear(classes: int = 2) -> tuple[LinearVictim, np.ndarray, np.ndarray]:
    victim = LinearVictim(uniform("attack/w", classes, 6) - 0.5, 0.1 * uniform("attack/b", classes))
    x = 2.0 * uniform("attack/x", 60, 6) - 1.0
    return victim, x, np.eye(classes)[victim.scores(x).argmax(axis=1)]


@pytest.mark.parametrize("attack", ["fgsm", "pgd"])
def test_the_margin_of_two_linear_classes_is_met_exactly(attack):
    victim, x, y = linear()
    margins = victim.margins(x, y)
    assert margins.min() > 0
    for epsilon in np.quantile(margins, [0.1, 0.5, 0.9]):
        if attack == "fgsm":
            moved = fgsm(victim, x, y, epsilon, OPEN)
        else:
            moved = pgd(victim, x, y, epsilon, OPEN, steps=4, seed=SEED)
        assert np.abs(moved - x).max() <= epsilon + 1e-12
        assert (correct(victim, moved, y) == (margins > epsilon)).all()


def test_no_attack_crosses_the_margin_of_several_linear_classes_and_pgd_nearly_reaches_it():
    victim, x, y = linear(classes=4)
    margins = victim.margins(x, y)
    epsilon = float(np.median(margins))
    one, many = (
        correct(victim, moved, y)
        for moved in (
            fgsm(victim, x, y, epsilon, OPEN),
            pgd(victim, x, y, epsilon, OPEN, steps=20, seed=SEED),
        )
    )
    assert one[margins > epsilon].all() and many[margins > epsilon].all()
    assert many.sum() <= one.sum()
    assert (
        correct(victim, pgd(victim, x, y, 2 * epsilon, OPEN, steps=20, seed=SEED), y)[
            margins < epsilon
        ].mean()
        < 0.1
    )


def test_the_margin_of_a_network_that_is_linear_in_effect_is_met_exactly():
    # Hidden states x/4 + 1/2 stay inside [0, 1]: the logits are those of a linear classifier.
    topology = Topology((6, 6, 2))
    readout = 4.0 * (uniform("attack/readout", 2, 6) - 0.5)
    values = {"w0-1": np.eye(6) / 4, "b1": np.full(6, 0.5), "w1-2": readout, "b2": -readout.sum(axis=1) / 2}
    same = LinearVictim(readout / 4, np.zeros(2))
    victim = NetworkVictim(topology, values)
    x = uniform("attack/x", 50, 6) - 0.5
    y = np.eye(2)[victim.scores(x).argmax(axis=1)]
    assert victim.scores(x) == pytest.approx(same.scores(x))
    ours, closed = victim.attacked(x, y), same.attacked(x, y)
    assert ours.losses == pytest.approx(closed.losses)
    assert ours.gradients == pytest.approx(closed.gradients)
    margins = same.margins(x, y)
    epsilon = float(np.median(margins))
    assert epsilon < 1.0
    assert (correct(victim, fgsm(victim, x, y, epsilon, OPEN), y) == (margins > epsilon)).all()


def test_noise_is_weaker_than_the_gradient_and_stays_in_its_ball():
    victim, x, y = linear()
    epsilon = float(np.quantile(victim.margins(x, y), 0.7))
    noise = worst_noise(victim, x, y, epsilon, OPEN, tries=5, seed=SEED)
    assert noise.sum() > correct(victim, fgsm(victim, x, y, epsilon, OPEN), y).sum()
    assert noise[victim.margins(x, y) > epsilon].all()


def test_more_tries_of_noise_leave_a_part_of_what_fewer_left():
    victim, x, y = linear()
    epsilon = float(np.quantile(victim.margins(x, y), 0.4))
    few, many = (worst_noise(victim, x, y, epsilon, OPEN, tries=tries, seed=SEED) for tries in (2, 12))
    assert few[many].all() and many.sum() < few.sum()


def test_the_loss_rises_along_the_gradient_and_falls_against_it():
    victim, x, y = linear()
    curve = loss_curve(victim, x, y, 0.5, OPEN, points=5)
    assert len(curve) == 6 and all(a < b for a, b in pairwise(curve))

    # Sabotage: the same classifier with its gradient's sign turned.
    class Turned(LinearVictim):
        def attacked(self, x, y):
            slope = super().attacked(x, y)
            return replace(slope, gradients=-slope.gradients)

    turned = loss_curve(Turned(victim.weight, victim.bias), x, y, 0.5, OPEN, points=5)
    assert turned[-1] < turned[0]


def test_a_substitute_imitates_a_linear_victim():
    victim, x, y = linear(classes=3)
    imitation = substitute(x, victim.scores(x).argmax(axis=1), 3, ridge=1e-6)
    assert correct(imitation, x, y).mean() > 0.9


def test_a_box_holds_every_attack():
    victim, x, y = linear()
    box = Box(-0.5, 0.5)
    inside = box.keep(x)
    for moved in (fgsm(victim, inside, y, 0.4, box), pgd(victim, inside, y, 0.4, box, steps=3, seed=SEED)):
        assert np.abs(moved).max() <= 0.5
    with pytest.raises(KernelError, match="low < high"):
        Box(1.0, 1.0)
