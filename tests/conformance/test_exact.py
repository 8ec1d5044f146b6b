"""exact-1: the same bits everywhere, for ever, and refusals instead of sums that might round.

`golden_exact.json` is what `exact_program` prints. A difference is a new arithmetic class, never a new golden file.
"""

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from kernels import EqpropLearner, KernelError, OptimizerSettings, PopulationLearner, Topology
from tests.conformance import cases
from tests.conformance.cases import EXACT
from tests.conformance.exact_program import hashes

GOLDEN = json.loads((Path(__file__).parent / "golden_exact.json").read_text(encoding="utf-8"))
ROOT = Path(__file__).parents[2]


def test_here() -> None:
    assert hashes() == GOLDEN


def test_a_network_is_the_same_in_every_population() -> None:
    assert GOLDEN["in another population"] == GOLDEN["population"]
    assert GOLDEN["in another slot"] == GOLDEN["population, last"]
    assert len(set(GOLDEN.values())) == len(GOLDEN) - 2


@pytest.mark.parametrize(
    "change",
    [
        # The baseline of torch and of the maths library, whose own square root, say, is another one there.
        {"ATEN_CPU_CAPABILITY": "default", "MKL_CBWR": "COMPATIBLE"},
        {"ATEN_CPU_CAPABILITY": "avx2", "MKL_CBWR": "AVX2", "OMP_NUM_THREADS": "2", "MKL_NUM_THREADS": "2"},
    ],
    ids=["baseline", "avx2 and two threads"],
)
def test_elsewhere(change: dict[str, str]) -> None:
    environment = {**os.environ, "OMP_NUM_THREADS": "1", **change, "PYTHONPATH": str(ROOT)}
    done = subprocess.run(
        [sys.executable, "-m", "tests.conformance.exact_program"],
        env=environment,
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=500,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout) == GOLDEN


# On the grid, and inside it.


@pytest.mark.parametrize("name", ["sgd", "adam", "adamw"])
@pytest.mark.parametrize("output", ["ce", "mse"])
def test_weights_stay_on_their_grid_and_inside_its_limit(output: Any, name: Any) -> None:
    """Multiples of 2^-24 below 4, whatever a step asks for."""
    shape = cases.topology(output, 2, skip=True)
    settings = OptimizerSettings(name, rate=0.9 if name == "sgd" else 0.3, momentum=0.9, weight_decay=0.01)
    network = cases.learner(shape, cases.weights(shape), cases.rule(beta=0.2), settings, way=EXACT)
    highest = 0.0
    for step in range(60):
        assert network.step(*cases.batch(shape, 6, str(step % 3)), scale=1.0).finite
        for value in network.parameters().values():
            assert np.array_equal(value * 2.0**24, np.round(value * 2.0**24))
            highest = max(highest, float(np.abs(value).max()))
    assert 2.0 < highest <= 4.0, "the limit must come into sight"


def test_given_weights_are_brought_onto_the_grid() -> None:
    shape = cases.topology("ce", 1, skip=False)
    values = {name: value + 1e-9 for name, value in cases.weights(shape).items()}
    network = cases.learner(shape, values, cases.rule(), way=EXACT)
    for name, value in network.parameters().items():
        np.testing.assert_allclose(value, values[name], atol=2.0**-25)
        assert np.array_equal(value * 2.0**24, np.round(value * 2.0**24))


# Bounds.


def made(shape: Topology, *, rows: int = 4, settings: OptimizerSettings = cases.PLAIN) -> EqpropLearner:
    values = {name: np.zeros(extent) for name, extent in shape.parameter_shapes.items()}
    return cases.learner(shape, values, cases.rule(beta=0.2), settings, way=EXACT, rows=rows)


def test_what_has_no_exact_arithmetic_is_refused() -> None:
    shape = cases.topology("mse", 2, skip=False)
    with pytest.raises(KernelError, match="muon"):
        made(shape, settings=OptimizerSettings("muon"))
    with pytest.raises(KernelError, match="cap"):
        made(shape, settings=OptimizerSettings("sgd", spectral_cap=1.0))
    with pytest.raises(KernelError, match="reference"):
        EqpropLearner(
            shape,
            cases.weights(shape),
            cases.rule(),
            cases.PLAIN,
            batch=4,
            arithmetic="exact-1",
            backend="reference",
        )
    with pytest.raises(KernelError, match="muon"):
        PopulationLearner(
            shape,
            [cases.weights(shape)],
            [cases.rule()],
            [OptimizerSettings("muon")],
            batch=4,
            arithmetic="exact-1",
        )


def test_sums_that_might_round_are_refused() -> None:
    """A unit that sums more than 2^53 grid steps; a gradient that sums more samples than that."""
    with pytest.raises(KernelError, match="exact"):
        made(Topology((2**20, 2, 2)))
    made(Topology((2**11, 2, 2)))
    with pytest.raises(KernelError, match="batch"):
        made(cases.topology("mse", 1, skip=False), rows=2**17)
    with pytest.raises(KernelError, match="batch"):
        made(Topology((3, 3, 3), clip=2.0**10), rows=64)


@pytest.mark.parametrize("bad", [1.0 + 2.0**-20, -1.5, np.nan, np.inf, -np.inf])
def test_inputs_beyond_one_are_refused(bad: float) -> None:
    shape = cases.topology("ce", 2, skip=False)
    network = cases.learner(shape, cases.weights(shape), cases.rule(), way=EXACT)
    x, y = cases.batch(shape)
    before = network.state()
    x[2, 3] = bad
    for act in (
        lambda: network.step(x, y, scale=1.0),
        lambda: network.predict(x),
        lambda: network.diagnose(x, y),
    ):
        with pytest.raises(KernelError, match=r"\[-1, 1\]"):
            act()
    assert cases.same_bits(network.state(), before), "a refused batch must change nothing"
    x[2, 3] = -1.0
    network.step(x, y, scale=1.0)
