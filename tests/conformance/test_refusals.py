"""What cannot be done is refused, and the message says what was expected."""

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from kernels import (
    BackpropLearner,
    DivergedError,
    EqpropLearner,
    KernelError,
    OptimizerSettings,
    PopulationLearner,
    Relaxation,
    Rule,
    Topology,
    choose_backend,
    initial_parameters,
    permutation,
)
from tests.conformance import cases
from tests.conformance.cases import BF16, EXACT, FP32, REFERENCE, Way

SHAPE = Topology((7, 5, 4, 3))
STEP = Relaxation(steps=1)


class Alone:
    """A learner of one network, of any kind."""

    def __init__(self, name: str, make: Callable[[Any, Any, int], Any]) -> None:
        self.name, self.make = name, make

    def __str__(self) -> str:
        return self.name


def eqprop(way: Way) -> Alone:
    return Alone(
        str(way), lambda shape, values, rows: cases.learner(shape, values, cases.rule(), way=way, rows=rows)
    )


KINDS = [
    *(eqprop(way) for way in cases.WAYS),
    Alone("backprop", lambda shape, values, rows: BackpropLearner(shape, values, cases.PLAIN, batch=rows)),
]
every_kind = pytest.mark.parametrize("kind", KINDS, ids=str)


@every_kind
@pytest.mark.parametrize(
    ("x", "message"),
    [
        (np.zeros((6, 8), dtype=np.float32), "7"),
        (np.zeros((6, 0), dtype=np.float32), "7"),
        (np.zeros(7, dtype=np.float32), "7"),
        (np.zeros((1, 6, 7), dtype=np.float32), "7"),
        (np.zeros((7, 7), dtype=np.float32), "1 to 6"),
        (np.zeros((0, 7), dtype=np.float32), "1 to 6"),
    ],
    ids=["wide", "none", "flat", "deep", "too many", "empty"],
)
def test_inputs_of_the_wrong_shape(kind: Alone, x: Any, message: str) -> None:
    network = kind.make(SHAPE, cases.weights(SHAPE), 6)
    before = network.state()
    with pytest.raises(KernelError, match=message):
        network.step(x, np.zeros(len(x), dtype=np.int64), scale=1.0)
    if "1 to" not in message:
        with pytest.raises(KernelError, match=message):
            network.predict(x)
    assert cases.same_bits(network.state(), before), "a refused batch must change nothing"


@every_kind
@pytest.mark.parametrize(
    "y",
    [
        np.array([0, 1, 2, 3, 0, 1]),
        np.array([0, 1, -1, 2, 0, 1]),
        np.array([0, 1, 2, 0, 1]),
        np.zeros((6, 1), dtype=np.int64),
        np.zeros((6, 3), dtype=np.int64),
    ],
    ids=["beyond", "negative", "short", "column", "one-hot"],
)
def test_labels_out_of_range_or_shape(kind: Alone, y: Any) -> None:
    network = kind.make(SHAPE, cases.weights(SHAPE), 6)
    x, _ = cases.batch(SHAPE)
    before = network.state()
    with pytest.raises(KernelError, match="class"):
        network.step(x, y, scale=1.0)
    assert cases.same_bits(network.state(), before), "a refused batch must change nothing"
    # And it goes on as if nothing had happened.
    fresh = kind.make(SHAPE, cases.weights(SHAPE), 6)
    x, y = cases.batch(SHAPE)
    assert cases.same_bits(cases.change(network, x, y)[0], cases.change(fresh, x, y)[0])


@every_kind
@pytest.mark.parametrize(
    "y", [np.array([0.5, 1.0, 2.0, 0.0, 1.0, 2.0]), np.array([0.0, np.nan, 0.0, 0.0, 0.0, 0.0])]
)
def test_labels_that_are_no_integers(kind: Alone, y: Any) -> None:
    network = kind.make(SHAPE, cases.weights(SHAPE), 6)
    with pytest.raises(KernelError):
        network.step(cases.batch(SHAPE)[0], y, scale=1.0)


@every_kind
@pytest.mark.parametrize("scale", [-0.5, 1.5, np.nan, np.inf])
def test_the_share_of_the_rate_lies_between_0_and_1(kind: Alone, scale: float) -> None:
    network = kind.make(SHAPE, cases.weights(SHAPE), 6)
    before = network.state()
    with pytest.raises(KernelError, match="scale"):
        network.step(*cases.batch(SHAPE), scale=scale)
    assert cases.same_bits(network.state(), before)


@every_kind
def test_parameters_that_are_missing_or_misshapen(kind: Alone) -> None:
    good = cases.weights(SHAPE)
    for values in (
        {name: value for name, value in good.items() if name != "w1-2"},
        {**good, "w1-2": good["w1-2"].T},
        {**good, "b2": np.zeros((4, 1))},
        {},
    ):
        with pytest.raises(KernelError, match=r"w0-1|w1-2|b2"):
            kind.make(SHAPE, values, 6)


@every_kind
@pytest.mark.parametrize("rows", [0, -1])
def test_a_learner_without_room_for_a_sample(kind: Alone, rows: int) -> None:
    with pytest.raises(KernelError, match="batch"):
        kind.make(SHAPE, cases.weights(SHAPE), rows)


@every_kind
def test_scores_of_no_samples(kind: Alone) -> None:
    network = kind.make(SHAPE, cases.weights(SHAPE), 6)
    assert network.predict(np.zeros((0, 7), dtype=np.float32)).shape == (0, 3)


@pytest.mark.parametrize("kind", [kind for kind in KINDS if kind.name != "exact-1"], ids=str)
def test_nan_in_the_input_ends_the_training(kind: Alone) -> None:
    """Reported by the step that met it, and refused from then on; a good state brings the learner back."""
    network = kind.make(SHAPE, cases.weights(SHAPE), 6)
    x, y = cases.batch(SHAPE)
    assert network.step(x, y, scale=1.0).finite
    good = network.state()
    bad = x.copy()
    bad[3, 2] = np.nan
    assert not network.step(bad, y, scale=1.0).finite
    with pytest.raises(DivergedError, match="step 2") as caught:
        network.step(x, y, scale=1.0)
    assert caught.value.step == 2 and caught.value.hint
    network.load(good)
    assert network.step(x, y, scale=1.0).finite


@pytest.mark.parametrize("way", [REFERENCE, FP32, BF16], ids=str)
@pytest.mark.parametrize("name", ["w0-1", "w1-2", "w2-3", "b1", "b3"])
def test_a_parameter_that_is_not_finite_is_reported(way: Way, name: str) -> None:
    network = cases.learner(SHAPE, cases.weights(SHAPE), cases.rule(), way=way)
    cases.spoil(network, name)
    x, y = cases.batch(SHAPE)
    assert not network.step(x, y, scale=1.0).finite


def test_an_mse_output_wants_a_small_beta() -> None:
    shape = Topology((7, 5, 3), output="mse")
    for way in cases.WAYS:
        with pytest.raises(KernelError, match="beta"):
            cases.learner(shape, cases.weights(shape), cases.rule(beta=0.5), way=way)
    cases.learner(shape, cases.weights(shape), cases.rule("linearised", beta=1.0))
    cases.learner(SHAPE, cases.weights(SHAPE), cases.rule(beta=1.0))


@pytest.mark.parametrize(
    "make",
    [
        lambda: Topology((7, 3)),
        lambda: Topology((7, 0, 3)),
        lambda: Topology((7, 2**60, 3)),
        lambda: Topology((7, 5, 3), output="hinge"),  # type: ignore[arg-type]
        lambda: Topology((7, 5, 3), clip=0.0),
        lambda: Topology((7, 5, 3), clip=float("nan")),
        lambda: Topology((7, 5, 3), skips=((0, 1),)),
        lambda: Topology((7, 5, 3), skips=((1, 0),)),
        lambda: Topology((7, 5, 3), skips=((-1, 2),)),
        lambda: Topology((7, 5, 3), skips=((0, 3),)),
        lambda: Topology((7, 5, 3), skips=((0, 2), (0, 2))),
        lambda: Relaxation(scheme="jacobi"),  # type: ignore[arg-type]
        lambda: Relaxation(order="random"),  # type: ignore[arg-type]
        lambda: Relaxation(steps=-1),
        lambda: Relaxation(steps=10**9),
        lambda: Relaxation(tolerance=-1.0),
        lambda: Relaxation(tolerance=float("nan")),
        lambda: Relaxation(step_size=0.0),
        lambda: Relaxation(step_size=1.5),
        lambda: Relaxation(step_size=float("nan")),
        lambda: Rule("two-sided", 0.1, STEP, STEP),  # type: ignore[arg-type]
        lambda: Rule("centred", 0.0, STEP, STEP),
        lambda: Rule("centred", float("inf"), STEP, STEP),
        lambda: Rule("centred", 0.1, STEP, Relaxation(steps=0)),
        lambda: OptimizerSettings("lion"),  # type: ignore[arg-type]
        lambda: OptimizerSettings(rate=0.0),
        lambda: OptimizerSettings(rate=float("nan")),
        lambda: OptimizerSettings(momentum=1.0),
        lambda: OptimizerSettings(weight_decay=-0.1),
        lambda: OptimizerSettings(ns_steps=0),
        lambda: OptimizerSettings(spectral_cap=0.0),
        lambda: OptimizerSettings(spectral_cap=float("nan")),
        lambda: choose_backend("cuda"),
        lambda: choose_backend("reference", "bf16"),
        lambda: choose_backend("auto", "fp8"),  # type: ignore[arg-type]
        lambda: initial_parameters(SHAPE, seed=b"short", gain=1.0),
        lambda: initial_parameters(SHAPE, seed=bytes(32), gain=0.0),
        lambda: permutation(b"short", 0, 4),
        lambda: EqpropLearner(
            SHAPE,
            cases.weights(SHAPE),
            cases.rule(),
            cases.PLAIN,
            batch=6,
            arithmetic="fp8",  # type: ignore[arg-type]
        ),
        lambda: BackpropLearner(
            SHAPE,
            cases.weights(SHAPE),
            cases.PLAIN,
            batch=6,
            arithmetic="fp8",  # type: ignore[arg-type]
        ),
        lambda: BackpropLearner(SHAPE, cases.weights(SHAPE), cases.PLAIN, batch=6, arithmetic="exact-1"),
        lambda: BackpropLearner(SHAPE, cases.weights(SHAPE), OptimizerSettings(spectral_cap=1.0), batch=6),
    ],
)
def test_arguments_that_mean_nothing(make: Callable[[], Any]) -> None:
    with pytest.raises(KernelError) as caught:
        make()
    assert len(str(caught.value)) > 20


def group(
    rules: Any = None, optimizers: Any = None, *, count: int = 2, arithmetic: Any = "fp32"
) -> PopulationLearner:
    return PopulationLearner(
        SHAPE,
        [cases.weights(SHAPE, str(i)) for i in range(count)],
        rules or [cases.rule()] * count,
        optimizers or [cases.PLAIN] * count,
        batch=6,
        arithmetic=arithmetic,
    )


@pytest.mark.parametrize(
    "make",
    [
        lambda: group(count=0),
        lambda: group(rules=[cases.rule()]),
        lambda: group(optimizers=[cases.PLAIN] * 3),
        lambda: group(rules=[cases.rule(), cases.rule("one-sided")]),
        lambda: group(rules=[cases.rule(), cases.rule(steps=(4, 3))]),
        lambda: group(rules=[cases.rule(tolerances=(0.1, 0.0))] * 2),
        lambda: group(optimizers=[cases.PLAIN, replace(cases.PLAIN, name="adam")]),
        lambda: group(optimizers=[cases.PLAIN, replace(cases.PLAIN, spectral_cap=1.0)]),
        lambda: group(arithmetic="bf16"),
        lambda: group(arithmetic="fp8"),
    ],
)
def test_populations_that_are_none(make: Callable[[], Any]) -> None:
    with pytest.raises(KernelError):
        make()


def test_batches_of_a_population() -> None:
    x, y = cases.batch(SHAPE)
    both, labels = np.stack([x, x]), np.stack([y, y])
    for arithmetic in ("fp32", "exact-1"):
        made = group(arithmetic=arithmetic)
        before = made.state()
        for bad_x, bad_y in (
            (x, y),
            (both[:1], labels[:1]),
            (both[:, :, :5], labels),
            (both, labels[:, :4]),
            (both, labels + 3),
            (np.concatenate([both, both], axis=1), np.concatenate([labels, labels], axis=1)),
        ):
            with pytest.raises(KernelError):
                made.step(bad_x, bad_y, scale=1.0)
        with pytest.raises(KernelError):
            made.step(both, labels, scale=1.0, signs=[1])
        with pytest.raises(KernelError):
            made.predict(x)
        assert cases.same_bits(made.state(), before)
        assert made.step(both, labels, scale=1.0).finite.all()


@pytest.mark.parametrize("way", cases.WAYS, ids=str)
def test_a_sign_is_one_or_minus_one(way: Way) -> None:
    network = cases.learner(SHAPE, cases.weights(SHAPE), cases.rule("random-sign"), way=way)
    with pytest.raises(KernelError, match="sign"):
        network.step(*cases.batch(SHAPE), scale=1.0, sign=0)


def test_every_refusal_of_a_backend_says_why() -> None:
    chosen, why = choose_backend("torch-cpu", "exact-1")
    assert chosen.name == "torch-cpu" and "exact-1" in why["reference"]
    made = cases.learner(SHAPE, cases.weights(SHAPE), cases.rule(), way=EXACT)
    assert made.refusals == why
