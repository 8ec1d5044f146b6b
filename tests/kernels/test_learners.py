"""Every backend and arithmetic against the arbiter, and what all learners promise."""

from itertools import product

import numpy as np
import pytest

from kernels import (
    BackpropLearner,
    DivergedError,
    EqpropLearner,
    KernelError,
    OptimizerSettings,
    Relaxation,
    Rule,
    Topology,
    choose_backend,
)
from tests.conformance.cases import spoil
from tests.kernels.networks import batch, cosine, parameters, relative_error, rule

TOPOLOGY = Topology((12, 9, 8, 5), skips=((0, 2), (1, 3)))
MSE = Topology((12, 9, 8, 5), output="mse", skips=((0, 2), (1, 3)))
PLAIN_SGD = OptimizerSettings("sgd", rate=1.0, momentum=0.0)
ESTIMATES = ["centred", "one-sided", "negative", "random-sign", "linearised"]

# The largest error of a gradient's entries relative to the largest entry, six samples, beta .3. fp32 rounds at
# 6e-8 and divides differences by beta. bf16 operands carry 8 bits: 4e-3 a factor, a few factors deep. exact-1
# keeps states to 1.5e-5, again divided by beta, and gradients of six samples average little of it away.
BOUNDS = {"fp32": 5e-6, "bf16": 6e-2, "exact-1": 5e-4}


def gradient(topology: Topology, chosen: Rule, backend: str, arithmetic: str, sign: int) -> dict:
    """The gradient that a step of plain SGD at rate 1 takes, and its report."""
    values = parameters(topology)
    x, y = batch(topology, 6)
    learner = EqpropLearner(
        topology, values, chosen, PLAIN_SGD, batch=6, backend=backend, arithmetic=arithmetic
    )
    report = learner.step(x, y, scale=1.0, sign=sign)
    assert (report.free_steps, report.nudged_steps, report.finite) == (4, 3, True)
    after = learner.parameters()
    return {name: values[name] - after[name] for name in values}


@pytest.mark.parametrize("arithmetic", ["fp32", "bf16", "exact-1"])
@pytest.mark.parametrize("topology", [TOPOLOGY, MSE], ids=["ce", "mse"])
@pytest.mark.parametrize("scheme", ["block", "synchronous"])
@pytest.mark.parametrize("estimate", ESTIMATES)
def test_gradients_equal_the_arbiters(
    estimate: str, scheme: str, topology: Topology, arithmetic: str
) -> None:
    orders = [("forward", "backward"), ("alternating", "alternating"), ("backward", "forward")]
    for order, sign in product(orders if scheme == "block" else orders[:1], (1, -1)):
        if sign == -1 and estimate != "random-sign":
            continue
        chosen = rule(estimate, scheme=scheme, orders=order)
        expected = gradient(topology, chosen, "reference", "fp32", sign)
        found = gradient(topology, chosen, "torch-cpu", arithmetic, sign)
        assert relative_error(found, expected) <= BOUNDS[arithmetic], (order, sign)
        assert cosine(found, expected) >= 0.999


@pytest.mark.parametrize("topology", [TOPOLOGY, MSE], ids=["ce", "mse"])
@pytest.mark.parametrize("name", ["sgd", "adam", "adamw", "muon"])
def test_training_follows_the_arbiter(name: str, topology: Topology) -> None:
    """Twelve steps with a schedule and a short last batch: weights stay within 2e-5 of the float64 ones."""
    settings = OptimizerSettings(name, rate=0.02, momentum=0.8, weight_decay=0.1, bias_rate=0.003)
    learners = [
        EqpropLearner(topology, parameters(topology), rule(), settings, batch=6, backend=backend)
        for backend in ("reference", "torch-cpu")
    ]
    for step in range(12):
        x, y = batch(topology, 6 if step < 11 else 4, f"step {step}")
        for learner in learners:
            learner.step(x, y, scale=1.0 - step / 12)
    expected, found = (learner.parameters() for learner in learners)
    assert max(np.abs(found[name] - expected[name]).max() for name in expected) <= 2e-5
    x, _ = batch(topology, 300, "test")
    assert learners[1].predict(x) == pytest.approx(learners[0].predict(x), abs=2e-4)


def make(kind: str, topology: Topology = TOPOLOGY, name: str = "adam", values: dict | None = None):
    settings = OptimizerSettings(name, rate=0.02)
    values = values or parameters(topology)
    if kind.startswith("backprop"):
        return BackpropLearner(topology, values, settings, batch=6, arithmetic=kind.removeprefix("backprop-"))
    backend = "reference" if kind == "reference" else "torch-cpu"
    arithmetic = "fp32" if kind == "reference" else kind
    return EqpropLearner(topology, values, rule(), settings, batch=6, backend=backend, arithmetic=arithmetic)


KINDS = ["reference", "fp32", "bf16", "exact-1", "backprop-fp32", "backprop-bf16"]


@pytest.mark.parametrize("kind", KINDS)
class TestEveryLearner:
    def test_a_resumed_run_equals_an_unbroken_one(self, kind: str) -> None:
        whole, half = make(kind), make(kind)
        batches = [batch(TOPOLOGY, 6, f"step {step}") for step in range(6)]
        for x, y in batches:
            whole.step(x, y, scale=0.5)
        for x, y in batches[:3]:
            half.step(x, y, scale=0.5)
        resumed = make(kind)
        resumed.load(half.state())
        for x, y in batches[3:]:
            resumed.step(x, y, scale=0.5)
        first, second = whole.state(), resumed.state()
        assert first.keys() == second.keys()
        for name, array in first.items():
            assert np.array_equal(array, second[name]), name

    def test_training_is_deterministic_and_reduces_mistakes(self, kind: str) -> None:
        x, y = batch(TOPOLOGY, 6)
        learners = make(kind), make(kind)
        before = (learners[0].predict(x).argmax(1) == y).mean()
        for _ in range(60):
            for learner in learners:
                assert learner.step(x, y, scale=1.0).finite
        assert (learners[0].predict(x).argmax(1) == y).mean() > max(before, 0.8)
        for name, value in learners[0].parameters().items():
            assert np.array_equal(value, learners[1].parameters()[name])

    def test_predictions_do_not_depend_on_their_neighbours(self, kind: str) -> None:
        learner = make(kind)
        x, _ = batch(TOPOLOGY, 530)
        scores = learner.predict(x)
        assert scores.shape == (530, 5)
        assert learner.predict(x[500:]) == pytest.approx(scores[500:], abs=1e-6)
        assert learner.predict(x[:0]).shape == (0, 5)

    def test_results_are_copies(self, kind: str) -> None:
        learner = make(kind)
        learner.parameters()["w0-1"][:] = 9.0
        for array in learner.state().values():
            array[...] = 9
        assert np.abs(learner.parameters()["w0-1"]).max() < 1

    def test_read_only_and_other_arrays_are_taken(self, kind: str) -> None:
        x, y = batch(TOPOLOGY, 6)
        one, other = make(kind), make(kind)
        one.step(x, y, scale=1.0)
        frozen = np.asfortranarray(x.astype(np.float64))
        frozen.setflags(write=False)
        other.step(frozen, y.astype(np.int32), scale=1.0)
        for name, value in one.parameters().items():
            assert np.array_equal(value, other.parameters()[name])

    def test_misshapen_arrays_are_refused(self, kind: str) -> None:
        learner = make(kind)
        x, y = batch(TOPOLOGY, 6)
        for bad_x, bad_y in [(x[:, 1:], y), (x[0], y[:1]), (x, y[1:]), (x, y + 5), (x, y - 5)]:
            with pytest.raises(KernelError):
                learner.step(bad_x, bad_y, scale=1.0)
        with pytest.raises(KernelError, match="1 to 6 samples"):
            learner.step(np.zeros((7, 12), np.float32), np.zeros(7, np.int64), scale=1.0)
        with pytest.raises(KernelError, match="1 to 6 samples"):
            learner.step(x[:0], y[:0], scale=1.0)
        with pytest.raises(KernelError, match="scale"):
            learner.step(x, y, scale=1.5)
        with pytest.raises(KernelError):
            learner.predict(x[:, 1:])
        with pytest.raises(KernelError, match="another network"):
            learner.load(make(kind, Topology((12, 9, 5))).state())

    def test_a_diverged_run_says_so_and_stops(self, kind: str) -> None:
        learner = make(kind)
        spoil(learner, "w1-2")
        x, y = batch(TOPOLOGY, 6)
        assert not learner.step(x, y, scale=1.0).finite
        with pytest.raises(DivergedError, match="rate") as caught:
            learner.step(x, y, scale=1.0)
        assert caught.value.step == int(learner.state()["step"])
        assert caught.value.hint

    def test_a_diagnosis_of_what_diverged_says_so(self, kind: str) -> None:
        x, y = batch(TOPOLOGY, 6)
        for name, value in (("w1-2", np.nan), ("w2-3", np.inf), ("b1", -np.inf)):
            learner = make(kind)
            spoil(learner, name, value)
            with np.errstate(invalid="ignore"):
                seen = learner.diagnose(x, y)
            assert seen.verdict == "diverged" and seen.period is None
            assert [key for key, norm in seen.spectral_norms.items() if not np.isfinite(norm)] == (
                [name] if name.startswith("w") else []
            )

    def test_a_diagnosis_takes_what_a_step_takes(self, kind: str) -> None:
        learner = make(kind)
        for rows in (0, 7):
            x, y = batch(TOPOLOGY, rows or 1)
            with pytest.raises(KernelError, match="1 to 6 samples"):
                learner.diagnose(x[:rows], y[:rows])
        for rows in (1, 6):
            assert learner.diagnose(*batch(TOPOLOGY, rows)).verdict == "converged"

    def test_few_sizes_of_buffers_are_kept(self, kind: str) -> None:
        if kind == "reference":
            return
        learner = make(kind)
        learner.predict(batch(TOPOLOGY, 3)[0])
        for rows in (6, 5, 4, 3, 2, 1, 4):
            learner.step(*batch(TOPOLOGY, rows), scale=1.0)
            learner.diagnose(*batch(TOPOLOGY, rows))
        kept = learner._passes if kind.startswith("backprop") else learner._learner.engine._workspaces
        assert len(kept) == 3

    def test_parameters_that_are_not_finite_are_refused(self, kind: str) -> None:
        learner = make(kind)
        good = learner.state()
        for bad in (np.nan, np.inf, -np.inf, 1e300):
            values = parameters(TOPOLOGY)
            values["b2"][1] = bad
            with pytest.raises(KernelError, match=r"'b2' must hold finite numbers .* got 1 of 8"):
                make(kind, values=values)
            if bad == 1e300:
                continue
            name = "b2" if kind == "reference" else "parameters"
            state = {key: array.copy() for key, array in good.items()}
            state[name].flat[0] = bad
            with pytest.raises(KernelError, match=f"'{name}' must hold finite numbers"):
                learner.load(state)
            assert all(np.array_equal(array, good[key]) for key, array in learner.state().items())

    def test_a_diagnosis_changes_nothing(self, kind: str) -> None:
        learner, other = make(kind), make(kind)
        x, y = batch(TOPOLOGY, 6)
        diagnosis = learner.diagnose(x, y)
        learner.step(x, y, scale=1.0)
        other.step(x, y, scale=1.0)
        assert diagnosis == other_diagnosis(kind, x, y)
        for name, value in learner.parameters().items():
            assert np.array_equal(value, other.parameters()[name])


def other_diagnosis(kind: str, x: np.ndarray, y: np.ndarray):
    return make(kind).diagnose(x, y)


def test_missing_or_misshapen_parameters_are_refused() -> None:
    values = parameters(TOPOLOGY)
    for bad in (values | {"w0-1": values["w0-1"].T}, {name: values[name] for name in list(values)[1:]}):
        with pytest.raises(KernelError, match="w0-1"):
            EqpropLearner(TOPOLOGY, bad, rule(), PLAIN_SGD, batch=6)
        with pytest.raises(KernelError, match="w0-1"):
            BackpropLearner(TOPOLOGY, bad, PLAIN_SGD, batch=6)


def test_an_mse_output_refuses_large_nudges() -> None:
    for estimate in ("centred", "negative", "random-sign"):
        for beta in (0.5, 1.0, 1.5):
            with pytest.raises(KernelError, match=r"below 0\.5.*Use less than 0\.5"):
                EqpropLearner(MSE, parameters(MSE), rule(estimate, beta), PLAIN_SGD, batch=6)
        # The largest of the gene beta_mse.
        EqpropLearner(MSE, parameters(MSE), rule(estimate, 0.4), PLAIN_SGD, batch=6)
    for beta in (1.0, 1.5):
        with pytest.raises(KernelError, match="below 1 "):
            EqpropLearner(MSE, parameters(MSE), rule("one-sided", beta), PLAIN_SGD, batch=6)
    EqpropLearner(MSE, parameters(MSE), rule("one-sided", 0.75), PLAIN_SGD, batch=6)
    EqpropLearner(MSE, parameters(MSE), rule("linearised", 2.0), PLAIN_SGD, batch=6)
    EqpropLearner(TOPOLOGY, parameters(TOPOLOGY), rule("negative", 1.0), PLAIN_SGD, batch=6)


@pytest.mark.parametrize(
    ("make_bad", "says"),
    [
        (lambda: Relaxation(scheme="magic"), "scheme"),
        (lambda: Relaxation(order="sideways"), "order"),
        (lambda: Relaxation(steps=-1), "steps"),
        (lambda: Relaxation(tolerance=-1.0), "tolerance"),
        (lambda: Relaxation(step_size=0.0), "step_size"),
        (lambda: rule("magic"), "estimate"),
        (lambda: rule(beta=0.0), "beta"),
        (lambda: rule(beta=float("nan")), "beta"),
        (lambda: rule(nudged=0), "at least 1 step"),
        (lambda: OptimizerSettings("magic"), "optimizer"),
        (lambda: OptimizerSettings(rate=0.0), "rate"),
        (lambda: OptimizerSettings(bias_rate=float("inf")), "bias_rate"),
        (lambda: OptimizerSettings(momentum=1.0), "momentum"),
        (lambda: OptimizerSettings(weight_decay=-1.0), "weight_decay"),
        (lambda: OptimizerSettings(ns_steps=0), "ns_steps"),
        (lambda: OptimizerSettings(spectral_cap=0.0), "spectral_cap"),
    ],
)
def test_rules_refuse_nonsense(make_bad, says: str) -> None:
    with pytest.raises(KernelError, match=says):
        make_bad()


def test_backends_say_why_they_were_refused() -> None:
    others = ["triton", "cupy", "torch-cuda", "reference"]
    chosen, refusals = choose_backend("torch-cpu")
    assert chosen.name == "torch-cpu"
    assert list(refusals) == others and all(refusals.values())
    chosen, refusals = choose_backend("reference")
    assert chosen.name == "reference"
    assert "asked for" in refusals["torch-cpu"]
    with pytest.raises(KernelError, match="float64"):
        choose_backend("reference", "exact-1")
    with pytest.raises(KernelError, match="abacus"):
        choose_backend("abacus")
    learner = EqpropLearner(TOPOLOGY, parameters(TOPOLOGY), rule(), PLAIN_SGD, batch=6, backend="torch-cpu")
    assert (learner.backend, list(learner.refusals)) == ("torch-cpu", others)


@pytest.mark.parametrize("kind", ["reference", "fp32", "bf16", "exact-1"])
def test_a_diagnosis_does_not_remember_the_last_sign(kind: str) -> None:
    backend, arithmetic = ("reference", "fp32") if kind == "reference" else ("torch-cpu", kind)
    x, y = batch(TOPOLOGY, 6)
    learner, fresh = (
        EqpropLearner(
            TOPOLOGY,
            parameters(TOPOLOGY),
            rule("random-sign"),
            PLAIN_SGD,
            batch=6,
            backend=backend,
            arithmetic=arithmetic,
        )
        for _ in range(2)
    )
    learner.step(x, y, scale=0.5, sign=-1)
    fresh.load(learner.state())
    assert learner.diagnose(x, y) == fresh.diagnose(x, y)


def test_the_reference_caps_and_stops_after_what_is_not_finite() -> None:
    """A decomposition of NaN would raise before the report; of infinities it may never end."""
    settings = OptimizerSettings("sgd", rate=0.1, spectral_cap=0.5)
    for bad in (np.nan, np.inf):
        learner = EqpropLearner(
            TOPOLOGY, parameters(TOPOLOGY), rule(), settings, batch=6, backend="reference"
        )
        x, y = batch(TOPOLOGY, 6)
        x[2, 3] = bad
        with np.errstate(invalid="ignore"):
            report = learner.step(x, y, scale=1.0)
        if np.isnan(bad):
            assert not report.finite
            with pytest.raises(DivergedError):
                learner.step(x, y, scale=1.0)
