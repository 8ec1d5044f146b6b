"""Going on from a saved state gives the bits of not having stopped."""

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from kernels import BackpropLearner, KernelError, OptimizerSettings, PopulationLearner, Topology
from tests.conformance import cases
from tests.conformance.cases import BF16, EXACT, FP32, REFERENCE, Way

SETTINGS = {
    "sgd": OptimizerSettings("sgd", rate=0.1, momentum=0.9),
    "adam": OptimizerSettings("adam", rate=4e-3),
    "adamw": OptimizerSettings("adamw", rate=4e-3, weight_decay=0.3),
    "muon": OptimizerSettings("muon", rate=0.02, bias_rate=2e-3),
    "dion": OptimizerSettings("dion", rate=0.02, bias_rate=2e-3, rank_fraction=0.5),
    "capped": OptimizerSettings("sgd", rate=0.1, momentum=0.9, spectral_cap=0.4),
    "capped muon": OptimizerSettings("muon", rate=0.02, spectral_cap=0.4),
}
SHAPE = Topology((7, 20, 18, 3), output="mse", skips=((0, 2), (1, 3)))


def train(network: Any, first: int, last: int) -> None:
    for step in range(first, last):
        x, y = cases.batch(SHAPE, (6, 6, 4)[step % 3], str(step))
        if isinstance(network, PopulationLearner):
            x, y = np.stack([x, 1.0 - x]), np.stack([y, y])
        network.step(x, y, scale=1.0 - step / 20)


def check(make: Callable[[str], Any]) -> None:
    """`make` gives a learner whose first parameters follow from a label."""
    unbroken, first, second = make("a"), make("a"), make("b")
    train(unbroken, 0, 14)
    train(first, 0, 7)
    saved = first.state()
    # What is saved is a copy: what happens afterwards does not reach it.
    kept = {name: array.copy() for name, array in saved.items()}
    train(first, 7, 9)
    assert cases.same_bits(saved, kept)
    # A learner that has been elsewhere goes on as if it had not.
    train(second, 3, 8)
    second.load(saved)
    assert cases.same_bits(second.state(), saved)
    train(second, 7, 14)
    assert cases.same_bits(second.state(), unbroken.state())
    assert cases.same_bits(saved, kept)
    # And so does one that goes back to its own past.
    first.load(saved)
    train(first, 7, 14)
    assert cases.same_bits(first.state(), unbroken.state())
    x = cases.batch(SHAPE, 9, "scores")[0]
    x = np.stack([x, x]) if isinstance(first, PopulationLearner) else x
    assert first.predict(x).tobytes() == second.predict(x).tobytes() == unbroken.predict(x).tobytes()


# exact-1 has neither Muon nor a cap.
EXACT_TOO = [
    (way, name)
    for way in cases.WAYS
    for name in SETTINGS
    if way is not EXACT or name in ("sgd", "adam", "adamw")
]


@pytest.mark.parametrize(("way", "name"), EXACT_TOO, ids=str)
def test_one_network(way: Way, name: str) -> None:
    how = cases.rule(beta=0.2, steps=(2, 2))
    check(lambda label: cases.learner(SHAPE, cases.weights(SHAPE, label), how, SETTINGS[name], way=way))


@pytest.mark.parametrize(
    ("arithmetic", "name"), [(way.arithmetic, name) for way, name in EXACT_TOO if way in (FP32, EXACT)]
)
def test_a_population(arithmetic: Any, name: str) -> None:
    how = cases.rule(beta=0.2, steps=(2, 2))
    check(
        lambda label: PopulationLearner(
            SHAPE,
            [cases.weights(SHAPE, label), cases.weights(SHAPE, label + "2")],
            [how, how],
            [SETTINGS[name]] * 2,
            batch=6,
            arithmetic=arithmetic,
        )
    )


@pytest.mark.parametrize("name", ["sgd", "adam", "adamw", "muon"])
@pytest.mark.parametrize("arithmetic", ["fp32", "bf16"])
def test_the_baseline(arithmetic: Any, name: str) -> None:
    check(
        lambda label: BackpropLearner(
            SHAPE, cases.weights(SHAPE, label), SETTINGS[name], batch=6, arithmetic=arithmetic
        )
    )


@pytest.mark.parametrize("way", [FP32, BF16, EXACT], ids=str)
def test_long_adam_runs_too(way: Way) -> None:
    """Past the steps at which an optimizer tidies up its moments."""
    how, settings = cases.rule(beta=0.2, steps=(1, 1)), SETTINGS["adam"]
    shape = Topology((7, 5, 3), output="mse")

    def make() -> Any:
        return cases.learner(shape, cases.weights(shape), how, settings, way=way)

    unbroken, broken = make(), make()
    for step in range(150):
        x, y = cases.batch(shape, 6, str(step % 9))
        unbroken.step(x, y, scale=1.0)
        broken.step(x, y, scale=1.0)
        if step in (63, 64, 100):
            saved = broken.state()
            broken = make()
            broken.load(saved)
    assert cases.same_bits(broken.state(), unbroken.state())


@pytest.mark.parametrize("way", cases.WAYS, ids=str)
def test_the_state_of_another_network_is_refused(way: Way) -> None:
    how = cases.rule(beta=0.2)
    network = cases.learner(SHAPE, cases.weights(SHAPE), how, SETTINGS["adam"], way=way)
    train(network, 0, 2)
    before = network.state()
    other = Topology((7, 20, 17, 3), output="mse", skips=((0, 2), (1, 3)))
    wrong: dict[str, Any] = {
        "another shape": cases.learner(other, cases.weights(other), how, SETTINGS["adam"], way=way).state(),
        "nothing": {},
    }
    wrong["another optimizer"] = cases.learner(
        SHAPE, cases.weights(SHAPE), how, SETTINGS["sgd"], way=way
    ).state()
    wrong["no step"] = {name: array for name, array in before.items() if name != "step"}
    wrong["a slot too many"] = {**before, "b1.velocity": np.zeros(20)}
    first = "b1.first" if way is REFERENCE else "0.first"
    wrong["a slot too few"] = {name: array for name, array in before.items() if name != first}
    wrong["a misshapen slot"] = {**before, first: np.zeros(3)}
    for what, state in wrong.items():
        with pytest.raises(KernelError, match="state"):
            network.load(state)
        assert cases.same_bits(network.state(), before), f"{what}: a refused state must change nothing"


@pytest.mark.parametrize("name", ["sgd", "adam", "adamw"])
@pytest.mark.parametrize("bad", [2.0**-30, 4.0 + 2.0**-20, -5.0])
def test_parameters_that_exact_1_cannot_have_are_refused(name: str, bad: float) -> None:
    network = cases.learner(SHAPE, cases.weights(SHAPE), cases.rule(beta=0.2), SETTINGS[name], way=EXACT)
    train(network, 0, 2)
    before = network.state()
    wrong = {key: array.copy() for key, array in before.items()}
    wrong["parameters"][5] = bad
    with pytest.raises(KernelError, match=r"multiples of 2\*\*-"):
        network.load(wrong)
    assert cases.same_bits(network.state(), before)


@pytest.mark.parametrize("bound", [0.0, -np.inf, np.nan])
def test_a_bound_on_the_weights_is_not_taken_on_trust(bound: float) -> None:
    """Adam saves clamping while its clock says that no weight can have reached the limit."""
    shape = Topology((7, 5, 3))
    settings = OptimizerSettings("adam", rate=0.02)
    network = cases.learner(shape, cases.weights(shape), cases.rule(), settings, way=EXACT)
    network.step(*cases.batch(shape), scale=1.0)
    state = network.state()
    parameters = state["parameters"]
    parameters[parameters != 0] = np.copysign(4.0, parameters[parameters != 0])
    state["0.clock"][3] = bound
    network.load(state)
    for _ in range(5):
        network.step(*cases.batch(shape), scale=1.0)
        assert np.abs(network.state()["parameters"]).max() <= 4.0
