"""Probes of networks that only the general learner has: each works that makes sense, each other says why not."""

import numpy as np
import pytest

from evaluator.build import build
from evaluator.errors import EvaluatorError
from evaluator.plan import Plan
from evaluator.probes.general import GeneralNetwork, subject_of
from evaluator.probes.registry import PROBES, refusal, run_probe
from evaluator.probes.subject import Network, Samples, Subject, accuracy
from evaluator.shape import is_plain
from evaluator.tasks import resolve
from evaluator.train import train
from genome import preset
from genome.spaces import FAMILY

SEED = bytes(range(32))
TASK = resolve("digits")
DATA = TASK.load()  # type: ignore[attr-defined]
SAMPLES = Samples(DATA.validation_x[:64], DATA.validation_y[:64])
OPEN = ("holomorphic", "coupled", "feedback-alignment", "sparse", "ternary", "looped", "cube", "conv")
SMALL = {"width1": 24, "width2": 16, "side": 3, "channels1": 4}
# Settings that make a probe short.
SHORT: dict[str, dict[str, object]] = {
    "difficulty": {"samples": 16, "limit": 300, "rounds": 100, "tolerance": 1e-3},
    "lyapunov": {"samples": 2, "sweeps": 20, "warmup": 5},
    "oscillation": {"samples": 8},
    "robustness": {"samples": 16, "steps": 3, "tries": 2, "epsilons": (0.1,)},
    "tolerance": {"samples": 32, "draws": 2, "weights": (0.0, 1.0), "states": (0.0, 0.5), "damage": (0.0, 1.0)},
    "scaling": {"sizes": (1, 2, 4, 8, 16), "errors": (0.5, 0.35, 0.25, 0.18, 0.125)},
}  # fmt: skip


def subject(name: str, *, epochs: int = 0) -> Subject:
    values = {**dict(preset(name).values)}
    values |= {gene: value for gene, value in SMALL.items() if gene in values}
    learner = build(
        values,
        inputs=64,
        classes=10,
        seed=SEED,
        arithmetic="fp32",
        backend="auto",
        image=(1, 8, 8),
    )
    if epochs:
        plan = Plan(
            examples=512,
            epochs=epochs,
            batch=int(values["batch"]),
            key=SEED,
            schedule="linear",
            checkpoints=1,
        )
        train(learner, DATA.train_x[:512], DATA.train_y[:512], plan, score=None)
    found = subject_of(values, TASK, learner.parameters())  # type: ignore[arg-type]
    # float32 in the learner, float64 here: no sample lies that near a border.
    assert accuracy(found, SAMPLES) == pytest.approx(
        float(np.mean(learner.predict(SAMPLES.x).argmax(axis=1) == SAMPLES.y)), abs=1e-9
    )
    return found


def test_probes_meet_the_weights_that_the_cap_allows() -> None:
    plain = {**dict(preset("ternary").values), "depth": 2, "width1": 24, "width2": 16}
    values = FAMILY.genome(FAMILY.repair(plain | {"spectral": "clip", "gamma": 0.5})).values
    learner = build(dict(values), inputs=64, classes=10, seed=SEED, arithmetic="fp32", backend="auto")
    for start in range(0, 512, 16):
        rows = slice(start, start + 16)
        learner.step(DATA.train_x[rows], DATA.train_y[rows], scale=1.0)
    found = subject_of(dict(values), TASK, learner.parameters())
    assert isinstance(found, GeneralNetwork)
    assert 0.45 < np.linalg.norm(found.met["w1-2"], 2) <= 0.5 * 1.001
    assert accuracy(found, SAMPLES) == pytest.approx(
        float(np.mean(learner.predict(SAMPLES.x).argmax(axis=1) == SAMPLES.y)), abs=1e-9
    )


@pytest.mark.parametrize("name", OPEN)
def test_every_probe_that_makes_sense_works(name: str) -> None:
    network = subject(name)
    assert isinstance(network, GeneralNetwork)
    for probe, entry in PROBES.items():
        if entry.needs == "equilibrium":
            with pytest.raises(EvaluatorError, match="closed form"):
                run_probe(probe, network, SAMPLES, SEED)
        else:
            found = run_probe(probe, network, SAMPLES, SEED, **SHORT.get(probe, {}))
            assert isinstance(found, entry.result)


def test_predictive_coding_has_no_sweeps_to_follow_and_the_rest_works() -> None:
    network = subject("predictive-coding")
    for probe in ("lyapunov", "oscillation", "difficulty"):
        with pytest.raises(EvaluatorError, match="one pass"):
            run_probe(probe, network, SAMPLES, SEED)
    assert run_probe("energy", network, SAMPLES, SEED)


def test_what_is_refused_is_told_from_the_genes_alone() -> None:
    plain, odd = dict(preset("shallow").values), dict(preset("sparse").values)
    assert all(refusal(name, plain) == "" for name in PROBES)
    assert [name for name in PROBES if refusal(name, odd)] == ["alignment", "signal"]
    assert "credit=backprop" in refusal("tolerance", dict(preset("backprop").values))
    with pytest.raises(EvaluatorError, match="'lyapunov'"):
        refusal("lyapunow", plain)


def test_a_plain_genome_of_the_family_is_a_network_of_the_engine() -> None:
    values = dict(preset("sdmep").values)
    assert is_plain(values)
    learner = build(values, inputs=64, classes=10, seed=SEED, arithmetic="fp32", backend="auto")
    found = subject_of(values, TASK, learner.parameters())  # type: ignore[arg-type]
    assert isinstance(found, Network)


@pytest.mark.parametrize("name", ["sparse", "conv"])
def test_attacks_and_harm_of_a_trained_network_do_harm(name: str) -> None:
    network = subject(name, epochs=4)
    clean = accuracy(network, SAMPLES)
    assert clean > 0.7
    attacked = run_probe(
        "robustness", network, SAMPLES, SEED, samples=64, steps=5, tries=2, epsilons=(0.05, 0.3)
    )
    near, far = attacked.points  # type: ignore[attr-defined]
    assert clean >= near.pgd.value > far.pgd.value
    # Sabotage: corners that no gradient chose do less than the attack.
    assert far.noise.value > far.pgd.value + 0.1
    assert attacked.unsettled is None  # type: ignore[attr-defined]
    harmed = run_probe(
        "tolerance", network, SAMPLES, SEED, weights=(0.0, 3.0), states=(0.0,), damage=(0.0, 1.0), draws=3
    )
    assert harmed.weights[0].accuracy.value == pytest.approx(clean)  # type: ignore[attr-defined]
    assert harmed.weights[1].accuracy.value < clean - 0.2  # type: ignore[attr-defined]
    assert harmed.damage[1].accuracy.value < 0.3  # type: ignore[attr-defined]


def test_an_inference_costs_the_sweeps_that_it_takes() -> None:
    found = {
        (name, steps): run_probe("energy", subject(name), SAMPLES, SEED, batch=8, free_steps=steps)
        for name in ("sparse", "conv", "cube")
        for steps in (0.0, 1.0, 2.0)
    }
    for name in ("sparse", "conv", "cube"):
        none, one, two = (found[name, steps].inference.macs for steps in (0.0, 1.0, 2.0))  # type: ignore[attr-defined]
        assert two - one == one - none >= 0
        assert found[name, 2.0].training_pj.low > found[name, 2.0].inference_pj.low  # type: ignore[attr-defined]
    # 64-24-10 with a readout outside the energy: the start, and a sweep takes the input's products again.
    assert found["sparse", 0.0].inference.macs == 64 * 24 + 24 * 10  # type: ignore[attr-defined]
    assert found["sparse", 1.0].inference.macs == 2 * 64 * 24 + 24 * 10  # type: ignore[attr-defined]
    # Four filters of 3 x 3 on 8 x 8 pixels, then 64 units to 10 classes.
    assert found["conv", 0.0].inference.macs == 64 * 9 * 4 + 4 * 16 * 10  # type: ignore[attr-defined]
