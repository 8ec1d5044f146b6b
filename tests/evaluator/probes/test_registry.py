"""Probes by name: what each says of itself, and what it refuses."""

import subprocess
import sys

import msgspec
import numpy as np
import pytest

from evaluator.errors import EvaluatorError
from evaluator.probes.registry import PROBES, run_probe, table
from evaluator.probes.subject import Network, Samples
from kernels import KernelError, Topology
from tests.evaluator.probes.networks import FEED_FORWARD, SEED, digits, ones, pair, trained

SMALL = {
    "robustness": {"epsilons": (0.1,), "samples": 8, "steps": 2, "tries": 1},
    "scaling": {"sizes": (1, 2, 4, 8, 16), "errors": (1, 0.5, 0.25, 0.125, 0.06)},
    "lyapunov": {"samples": 2, "warmup": 1, "sweeps": 3},
    "signal": {"depths": (2,), "samples": 4},
    "tolerance": {"draws": 2, "samples": 8},
}


@pytest.mark.parametrize("name", sorted(PROBES))
@pytest.mark.parametrize("output", ["ce", "mse"])
def test_every_probe_gives_its_result_as_json_and_the_same_one_again(name, output):
    probe = PROBES[name]
    first, again = (
        run_probe(name, trained(output), digits().first(16), SEED, **SMALL.get(name, {})) for _ in range(2)
    )
    assert isinstance(first, probe.result)
    text = msgspec.json.encode(first)
    assert text == msgspec.json.encode(again)
    assert msgspec.json.decode(text, type=probe.result) == first
    assert probe.name == name and probe.description.endswith(".")


def test_a_name_stands_once():
    one = PROBES["energy"]
    assert list(table([one])) == ["energy"]
    with pytest.raises(EvaluatorError, match="'energy' twice"):
        table([one, PROBES["scaling"], one])
    with pytest.raises(TypeError):
        PROBES["other"] = one


def test_an_unknown_name_is_told_the_nearest():
    with pytest.raises(EvaluatorError, match="Did you mean 'robustness'"):
        run_probe("robustnes", trained("ce"), digits(), SEED)
    with pytest.raises(EvaluatorError, match="There are alignment, difficulty"):
        run_probe("?", trained("ce"), digits(), SEED)


@pytest.mark.parametrize(
    ("settings", "told"),
    [
        ({"sample": 3}, "sample"),
        ({"samples": "many"}, "Expected `int`"),
        ({"samples": 0}, "1 sample or more, got"),
        ({"least": 2.0}, r"least in \[-1, 1\], got 2.0"),
    ],
)
def test_settings_that_do_not_fit_are_refused(settings, told):
    with pytest.raises(EvaluatorError, match=told):
        run_probe("alignment", trained("ce"), digits(), SEED, **settings)


@pytest.mark.parametrize(
    ("name", "settings"),
    [
        ("robustness", {"epsilons": (0.2, 0.1)}),
        ("robustness", {"large": 0.1}),
        ("robustness", {"steps": 0}),
        ("robustness", {"slack": 1.0}),
        ("lyapunov", {"sweeps": 0}),
        ("signal", {"depths": (1,)}),
        ("signal", {"depths": (1001,)}),
        ("signal", {"gain": 0.0}),
        ("signal", {"threshold": 0.0}),
        ("signal", {"samples": 1}),
        ("oscillation", {"sweeps": 4}),
        ("oscillation", {"settled": 0.0}),
        ("tolerance", {"weights": ()}),
        ("tolerance", {"damage": (0.5, 1.5)}),
        ("tolerance", {"draws": 1}),
        ("tolerance", {"lost": 0.0}),
        ("scaling", {}),
        ("scaling", {"sizes": (1, 2), "errors": (1,)}),
        ("scaling", {"sizes": (), "errors": (), "rounds": 1}),
        ("difficulty", {"tolerance": 0.0}),
        ("difficulty", {"limit": 0}),
        ("energy", {"batch": 0}),
        ("energy", {"free_steps": -1.0}),
        ("energy", {"optimizer": "sgdm"}),
    ],
)
def test_settings_out_of_range_are_refused(name, settings):
    with pytest.raises(EvaluatorError, match=r"expected .* got"):
        run_probe(name, trained("ce"), digits(), SEED, **settings)


def test_data_and_seeds_that_do_not_fit_are_refused():
    with pytest.raises(EvaluatorError, match="samples of 64 inputs, got 1"):
        run_probe("energy", trained("ce"), ones(3), SEED)
    with pytest.raises(EvaluatorError, match="classes 0 to 0, got 0 to 4"):
        run_probe("energy", pair(0.5), Samples(np.ones((5, 1)), np.arange(5)), SEED)
    with pytest.raises(EvaluatorError, match="32 bytes, got 4"):
        run_probe("energy", trained("ce"), digits(), b"seed")
    with pytest.raises(EvaluatorError, match="finite inputs"):
        Samples(np.full((1, 2), np.nan), np.zeros(1, dtype=np.int64))
    with pytest.raises(EvaluatorError, match="integers of shape"):
        Samples(np.ones((2, 2)), np.zeros(2))
    with pytest.raises(EvaluatorError, match="x of shape"):
        Samples(np.ones(2), np.zeros(2, dtype=np.int64))


def test_a_network_with_a_hole_is_refused():
    with pytest.raises(KernelError, match="'w0-1' must have the shape"):
        Network(Topology((2, 2, 2)), {}, FEED_FORWARD)
    with pytest.raises(KernelError, match="finite numbers"):
        pair(np.inf)


def test_probes_load_no_torch():
    code = "import sys, evaluator.probes.registry; sys.exit('torch' in sys.modules)"
    subprocess.run([sys.executable, "-c", code], check=True, timeout=240)
