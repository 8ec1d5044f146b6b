"""A push through deep linear chains, against closed forms in float64."""

import numpy as np
import pytest

from kernels import DivergedError, KernelError, Topology
from kernels.probes.couplings import Couplings, open_units
from kernels.probes.propagation import chain, chain_answer, chain_reach, reach, settled_answer
from tests.kernels.networks import uniform


@pytest.mark.parametrize("depth", [2, 10, 100, 1000])
@pytest.mark.parametrize(("weight", "skip"), [(0.9, 0.0), (0.9, 0.1), (0.3, 0.7), (1.1, 0.0), (0.5, 0.2)])
def test_one_sweep_leaves_the_closed_form_at_every_layer(depth, weight, skip):
    found = chain_reach(depth, weight, skip)
    answers = [chain_answer(weight, skip, below) for below in range(1, depth)]
    # A rounding a layer.
    assert found == pytest.approx(answers, rel=1e-15 * (10 + depth), abs=1e-300)


def test_identity_skips_carry_a_push_through_1000_layers_and_their_lack_does_not():
    bare, skipped = chain_reach(1000, 0.9, 0.0), chain_reach(1000, 0.9, 0.1)
    assert bare[-1] < 1e-40
    assert skipped[-1] == pytest.approx(1 / 1.1, rel=1e-12)
    assert (np.diff(bare) < 0).all()


@pytest.mark.parametrize(("weight", "depth"), [(0.3, 12), (0.45, 30), (0.3, 1000)])
def test_a_chain_that_stands_still_holds_a_hyperbolic_sine(weight, depth):
    sweeps = 30 if weight == 0.3 else 400
    found = chain_reach(depth, weight, 0.0, sweeps=sweeps)
    answers = [settled_answer(weight, depth, layer) for layer in range(depth - 1, 0, -1)]
    shown = np.array(answers) > 1e-200
    assert found[shown] == pytest.approx(np.array(answers)[shown], rel=1e-9)


def test_another_coupling_on_the_way_down_misses_the_closed_form():
    # Sabotage: feedback that is not the transpose.
    topology, values = chain(20, 0.9, 0.0)
    masks = open_units(topology, {layer: np.full((1, 1), 0.5) for layer in topology.state_layers})
    wrong = Couplings(topology, values, {name: 0.8 * value for name, value in values.items()})
    found = reach(wrong, masks, np.ones((1, 1)), 1)[0]
    assert found[-1] == pytest.approx(0.72**19)
    assert abs(found[-1] / chain_answer(0.9, 0.0, 19) - 1) > 0.9


def test_orthogonal_layers_keep_their_gain_at_any_width():
    n, depth, gain = 5, 60, 0.8
    topology = Topology((1, *([n] * depth)), output="mse")
    values = {"w0-1": np.zeros((n, 1))}
    for layer in range(1, depth):
        factor, _ = np.linalg.qr(uniform(f"chain/{layer}", n, n) - 0.5)
        values[f"w{layer}-{layer + 1}"] = gain * factor
    masks = open_units(topology, {layer: np.full((2, n), 0.5) for layer in topology.state_layers})
    found = reach(Couplings(topology, values), masks, uniform("chain/push", 2, n), 1)
    assert found == pytest.approx(np.tile(gain ** np.arange(1, depth), (2, 1)), rel=1e-12)


def test_a_saturated_layer_stops_a_push():
    topology, values = chain(6, 0.9, 0.0)
    masks = open_units(topology, {layer: np.full((1, 1), 0.5) for layer in topology.state_layers})
    masks[3] = np.zeros((1, 1), dtype=bool)
    found = reach(Couplings(topology, values), masks, np.ones((1, 1)), 1)[0]
    assert found.tolist() == pytest.approx([0.9, 0.81, 0.0, 0.0, 0.0])


def test_a_push_must_push():
    topology, values = chain(3, 0.5, 0.0)
    masks = open_units(topology, {layer: np.full((1, 1), 0.5) for layer in topology.state_layers})
    with pytest.raises(KernelError, match="not be zero"):
        reach(Couplings(topology, values), masks, np.zeros((1, 1)), 1)
    with pytest.raises(KernelError, match="1 sweep"):
        reach(Couplings(topology, values), masks, np.ones((1, 1)), 0)


def test_a_push_that_sweeps_amplify_without_end_is_told():
    with pytest.raises(DivergedError, match="displacements"):
        chain_reach(6, 40.0, 0.0, sweeps=500)
