"""Classifiers that grow: what insertion leaves alone, what learns in a phase, and what stays true afterwards."""

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from kernels import KernelError, OptimizerSettings, Relaxation, Rule, Topology, initial_parameters
from kernels.general.rules import GeneralRule, Sleep
from kernels.growth.eqprop import GrowingClassifier, newest_alone, outlier_units
from kernels.spectral import SLACK
from tests.conformance import cases
from tests.conformance.oracle import Oracle, equilibrium_loss, finite_differences
from tests.kernels.general.nets import Double, loss, slope

FREE = Relaxation(order="forward", steps=6)
BACK = Relaxation(order="backward", steps=4)
RULE = Rule("centred", 0.4, FREE, BACK)
OPTIMIZERS = {
    "adam": OptimizerSettings("adam", rate=0.01),
    "adamw": OptimizerSettings("adamw", rate=0.01, weight_decay=0.5),
    "sgd": OptimizerSettings("sgd", rate=0.05, momentum=0.9),
    "muon": OptimizerSettings("muon", rate=0.02, bias_rate=0.01, ns_steps=3),
}
INPUTS, CLASSES, ROWS = 20, 4, 33


def batch(label: str = "batch", rows: int = ROWS) -> tuple[NDArray[np.float32], NDArray[np.int64]]:
    x = ((cases.uniform(label, rows, INPUTS) + 1.0) / 2.0).astype(np.float32)
    return x, np.arange(rows, dtype=np.int64) % CLASSES


def room(depth: int, output: Any = "ce", skips: tuple[tuple[int, int], ...] = ()) -> Topology:
    return Topology((INPUTS, *(70, 30)[:depth], CLASSES), output=output, skips=skips)


def grown_ready(
    topology: Topology, optimizer: OptimizerSettings, rule: Rule | GeneralRule = RULE, **options: Any
) -> GrowingClassifier:
    widths = (37, 21)[: len(topology.sizes) - 2]
    used = replace(topology, sizes=(INPUTS, *widths, CLASSES))
    values = initial_parameters(used, seed=bytes([7]) * 32, gain=0.5)
    network = GrowingClassifier(topology, widths, values, rule, optimizer, batch=ROWS, **options)
    for step in range(3):
        network.step(*batch(f"train {step}"), scale=1.0)
    return network


def units(count: int = 5) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    return outlier_units(batch("outliers")[0], count, selectivity=0.6)


def assert_nothing_moved(
    network: GrowingClassifier, layer: int, before: dict[int, Any], scores: NDArray[Any]
) -> None:
    x, _ = batch("probe")
    after = network.settled(x)
    assert np.array_equal(network.predict(x), scores)
    for number, states in before.items():
        assert np.array_equal(after[number][:, : states.shape[1]], states)
    born = after[layer][:, before[layer].shape[1] :]
    assert born.shape[1] == 5
    assert np.abs(born).max() > 0.1, "units that are silent would prove nothing"


@pytest.mark.parametrize("name", OPTIMIZERS)
@pytest.mark.parametrize("output", ["ce", "mse"])
@pytest.mark.parametrize("depth", [1, 2])
def test_insertion_moves_neither_equilibrium_nor_scores(depth: int, output: str, name: str) -> None:
    network = grown_ready(room(depth, output), OPTIMIZERS[name])
    x, _ = batch("probe")
    before, scores, old = network.settled(x), network.predict(x), network.parameters()
    network.insert(1, *units())
    assert network.widths[0] == 42
    assert network.active.sizes[1] == 42
    assert_nothing_moved(network, 1, before, scores)
    new = network.parameters()
    for key, value in old.items():
        assert np.array_equal(new[key][tuple(slice(n) for n in value.shape)], value)
    assert not new["w1-2"][:, 37:].any()
    assert np.allclose(np.linalg.norm(new["w0-1"][37:], axis=1), 1.0, atol=1e-6)


@pytest.mark.parametrize("output", ["ce", "mse"])
def test_a_second_layer_grows_where_the_input_feeds_it(output: str) -> None:
    network = grown_ready(room(2, output, ((0, 2),)), OPTIMIZERS["adam"])
    x, _ = batch("probe")
    before, scores = network.settled(x), network.predict(x)
    network.insert(2, *units())
    assert network.widths == (37, 26)
    assert_nothing_moved(network, 2, before, scores)
    # Its tied weights to the first layer are zero: they would move that layer.
    assert not network.parameters()["w1-2"][21:].any()
    network = grown_ready(room(2, output), OPTIMIZERS["adam"])
    with pytest.raises(KernelError, match=r"skip \(0, 2\)"):
        network.insert(2, *units())


@pytest.mark.parametrize("activation", ["clip", "logistic", "tanh"])
@pytest.mark.parametrize("output", ["ce", "mse"])
@pytest.mark.parametrize("depth", [1, 2])
def test_insertion_is_exact_whatever_the_activation(depth: int, output: str, activation: str) -> None:
    rule = GeneralRule("centred", 0.4, FREE, BACK, activation=activation)
    network = grown_ready(room(depth, output), OPTIMIZERS["adam"], rule)
    x, _ = batch("probe")
    before, scores = network.settled(x), network.predict(x)
    network.insert(1, *units())
    assert_nothing_moved(network, 1, before, scores)


def slot_parts(network: GrowingClassifier, name: str) -> list[NDArray[Any]]:
    state = network.state()
    return [
        network._layout.view(network._layout.part(values, slot, values.size), name)
        if values.size == network._layout.total
        else values
        for slot, values in network._slots(state)
        if values.size == network._layout.total or f".{name}." in slot
    ]


@pytest.mark.parametrize("name", ["adam", "sgd", "muon"])
def test_old_slots_stay_and_new_ones_begin_empty(name: str) -> None:
    # At rest a logistic unit is not zero: what is not in use gathers slots, which must not come with it.
    rule = GeneralRule("centred", 0.4, FREE, BACK, activation="logistic")
    network = grown_ready(room(1), OPTIMIZERS[name], rule)
    before = slot_parts(network, "w1-2")
    assert all(np.abs(part[:, 37:42]).max() > 0 for part in before), "nothing to be emptied"
    network.insert(1, *units())
    after = slot_parts(network, "w1-2")
    assert len(after) == len(before) == (2 if name == "adam" else 1)
    for old, new in zip(before, after, strict=True):
        assert np.array_equal(new[:, :37], old[:, :37])
        assert old[:, :37].any()
        assert not new[:, 37:42].any()


@pytest.mark.parametrize("name", ["adam", "adamw", "sgd"])
def test_the_next_step_of_old_parameters_is_that_of_a_network_that_did_not_grow(name: str) -> None:
    grown, twin = (grown_ready(room(2), OPTIMIZERS[name]) for _ in range(2))
    grown.insert(1, *units())
    for network in (grown, twin):
        network.step(*batch("next"), scale=1.0)
    ours, theirs = grown.parameters(), twin.parameters()
    for key, value in theirs.items():
        assert np.array_equal(ours[key][tuple(slice(n) for n in value.shape)], value), key
    assert ours["w1-2"][:, 37:].any(), "new units learn from their first step on"


@pytest.mark.parametrize("kind", ["clip", "logistic"])
@pytest.mark.parametrize("name", OPTIMIZERS)
def test_units_not_in_use_stay_out_of_it(name: str, kind: str) -> None:
    rule = GeneralRule("centred", 0.4, FREE, BACK, activation=kind) if kind != "clip" else RULE
    network = grown_ready(room(2), OPTIMIZERS[name], rule)
    network.insert(1, *units())
    for step in range(5):
        network.step(*batch(f"more {step}"), scale=1.0)
    held = network._learner.parameters()
    assert not held["w0-1"][42:].any()
    assert not held["w1-2"][:, 42:].any()
    assert not held["w1-2"][21:].any()
    assert not held["b1"][42:].any()


@pytest.mark.parametrize("name", OPTIMIZERS)
def test_in_plasticity_the_old_weights_keep_their_bits(name: str) -> None:
    network = grown_ready(room(2), OPTIMIZERS[name])
    network.insert(1, *units())
    before = network.parameters()
    network.learn_only(newest_alone(network.active, 1, 37))
    for step in range(6):
        network.step(*batch(f"plastic {step}"), scale=1.0)
    after = network.parameters()
    for key in before:
        moved = before[key] != after[key]
        allowed = np.zeros_like(moved)
        if key in ("w0-1", "b1"):
            allowed[37:] = True
        if key == "w1-2":
            allowed[:, 37:] = True
        assert not (moved & ~allowed).any(), key
    assert (before["w1-2"] != after["w1-2"])[:, 37:].any()
    assert (before["w0-1"] != after["w0-1"])[37:].any()


def test_a_share_is_that_share_of_the_step() -> None:
    whole, half = (grown_ready(room(1), OPTIMIZERS["sgd"]) for _ in range(2))
    before = whole.parameters()
    half.learn_only({name: np.full(value.shape, 0.5) for name, value in before.items()})
    for network in (whole, half):
        network.step(*batch("next"), scale=1.0)
    for name, value in whole.parameters().items():
        expected = before[name] + 0.5 * (value - before[name])
        assert np.allclose(half.parameters()[name], expected, atol=1e-7)
        assert not np.array_equal(half.parameters()[name], value)


def test_frozen_means_every_bit() -> None:
    values = initial_parameters(Topology((INPUTS, 37, CLASSES)), seed=bytes([7]) * 32, gain=0.5)
    values["b1"] = np.full(37, -0.0)
    network = GrowingClassifier(room(1), (37,), values, RULE, OPTIMIZERS["sgd"], batch=ROWS)
    network.learn_only({"w0-1": np.ones((37, INPUTS))})
    network.step(*batch(), scale=1.0)
    assert np.signbit(network.parameters()["b1"]).all(), "minus zero is equal to zero, and other bits"


def test_what_thaws_begins_without_momentum() -> None:
    network = grown_ready(room(1), OPTIMIZERS["sgd"])
    network.learn_only({"w0-1": np.ones((37, INPUTS))})
    network.step(*batch("next"), scale=1.0)
    network.learn_only(None)
    assert not slot_parts(network, "w1-2")[0].any()
    assert slot_parts(network, "w0-1")[0].any()


def test_forgetting_slots_is_a_new_optimizer() -> None:
    network = grown_ready(room(1), OPTIMIZERS["adam"])
    network.forget()
    fresh = GrowingClassifier(room(1), (37,), network.parameters(), RULE, OPTIMIZERS["adam"], batch=ROWS)
    for each in (network, fresh):
        each.step(*batch("next"), scale=1.0)
    assert cases.same_bits(network.parameters(), fresh.parameters())


def largest_norm(settings: OptimizerSettings, *, phases: bool) -> float:
    """The largest spectral norm of the weights between hidden layers in a training with growth."""
    network = grown_ready(room(2), settings)
    norms = []
    for number in range(3):
        old = network.widths[0]
        network.insert(1, *units())
        if phases:
            network.learn_only(newest_alone(network.active, 1, old))
        for step in range(4):
            network.step(*batch(f"{number} {step}"), scale=1.0)
            norms.append(float(np.linalg.norm(network.parameters()["w1-2"].astype(np.float64), 2)))
        network.learn_only(None)
    return max(norms)


@pytest.mark.parametrize("phases", [False, True])
@pytest.mark.parametrize(("name", "rate", "cap"), [("sgd", 1.0, 0.45), ("muon", 0.2, 0.6)])
def test_the_spectral_cap_holds_through_growth_and_phases(
    name: str, rate: float, cap: float, phases: bool
) -> None:
    settings = replace(OPTIMIZERS[name], rate=rate)
    assert largest_norm(settings, phases=phases) > 1.05 * cap, "a cap must have something to do"
    assert largest_norm(replace(settings, spectral_cap=cap), phases=phases) <= cap * (1.0 + 2.0 * SLACK)


def test_a_step_of_new_units_alone_is_shortened_to_stay_below_the_cap() -> None:
    settings = replace(OPTIMIZERS["muon"], rate=1.0, spectral_cap=0.6)
    network = grown_ready(room(2), settings)
    network.insert(1, *units())
    network.learn_only(newest_alone(network.active, 1, 37))
    before = network.parameters()["w1-2"]
    network.step(*batch("next"), scale=1.0)
    after = network.parameters()["w1-2"]
    assert np.array_equal(after[:, :37], before[:, :37])
    assert after[:, 37:].any()
    assert np.linalg.norm(after.astype(np.float64), 2) <= 0.6 * (1.0 + 2.0 * SLACK)


@pytest.mark.parametrize("output", ["ce", "mse"])
@pytest.mark.parametrize("depth", [1, 2])
def test_after_growth_the_estimate_is_the_gradient(depth: int, output: Any) -> None:
    rule = Rule("centred", 0.01, Relaxation(steps=400), Relaxation(order="backward", steps=400))
    used = cases.topology(output, depth, skip=False)
    capacity = replace(used, sizes=(7, 9, *used.sizes[2:]))
    network = GrowingClassifier(
        capacity, used.sizes[1:-1], cases.weights(used, gain=0.7), rule, cases.PLAIN, batch=cases.BATCH
    )
    x, y = cases.batch(used)
    network.insert(1, *outlier_units(x, 2, selectivity=0.8))
    for _ in range(3):
        network.step(x, y, scale=0.3)
    shape, values = network.active, {k: v.astype(np.float64) for k, v in network.parameters().items()}
    assert np.abs(values["w1-2"][:, 5:]).min() > 0, "new units must have a part in it"
    net = Oracle(shape, values)
    near = net.equilibrium(net.start(x))
    hidden = near[:, net.parts[1].start : net.parts[net.L].start]
    assert not np.any((hidden > 0.0) & (hidden < 3e-3))
    y_hot = cases.one_hot(shape, y)
    exact = finite_differences(lambda moved: equilibrium_loss(shape, moved, near, y_hot), values, 1e-5)
    network.forget()
    came, _ = cases.change(network, x, y)  # type: ignore[arg-type]
    assert cases.relative(came, exact) <= 5e-4
    late = {k: v[..., 5:] if k == "w1-2" else v[5:] for k, v in came.items() if k in ("w0-1", "w1-2", "b1")}
    wanted = {k: v[..., 5:] if k == "w1-2" else v[5:] for k, v in exact.items() if k in late}
    assert cases.relative(late, wanted) <= 2e-3


@pytest.mark.parametrize("activation", ["logistic", "tanh"])
@pytest.mark.parametrize("output", ["ce", "mse"])
def test_after_growth_the_estimate_is_the_gradient_of_smooth_networks(output: Any, activation: str) -> None:
    rule = GeneralRule(
        "centred", 1e-3, Relaxation(steps=120), Relaxation(order="backward", steps=120), activation=activation
    )
    used = Topology((7, 4, 3), output=output)
    plain = OptimizerSettings("sgd", rate=0.5, momentum=0.0)
    from tests.kernels.general.nets import data, parameters

    network = GrowingClassifier(
        replace(used, sizes=(7, 8, 3)), (4,), parameters(used), rule, plain, batch=6, precision=Double()
    )
    x, y = data()
    network.insert(1, *outlier_units(x, 2, selectivity=0.5))
    for _ in range(3):
        network.step(x, y, scale=1.0)
    values = network.parameters()
    exact = slope(lambda moved: loss(network.active, rule, moved), values)
    came, _ = cases.change(network, x, y, rate=0.5)  # type: ignore[arg-type]
    assert cases.relative(came, exact) <= 1e-5


@pytest.mark.parametrize("name", OPTIMIZERS)
def test_a_resumed_network_continues_bit_for_bit(name: str) -> None:
    first = grown_ready(room(2), OPTIMIZERS[name])
    first.insert(1, *units())
    first.learn_only(newest_alone(first.active, 1, 37))
    first.step(*batch("before"), scale=1.0)
    second = grown_ready(room(2), OPTIMIZERS[name])
    second.load(first.state())
    assert second.widths == first.widths
    for network in (first, second):
        network.step(*batch("after"), scale=1.0)
        network.learn_only(None)
        network.step(*batch("later"), scale=1.0)
    assert cases.same_bits(first.state(), second.state())


def test_new_units_are_the_worst_outliers_of_length_one() -> None:
    outliers = np.array([[3.0, 4.0], [0.0, 0.0]])
    rows, biases = outlier_units(outliers, 3, selectivity=0.5)
    assert rows.tolist() == [[0.6, 0.8], [0.0, 0.0], [0.6, 0.8]]
    assert biases.tolist() == [-2.5, -0.0, -2.5]
    with pytest.raises(KernelError, match="there is none"):
        outlier_units(outliers[:0], 1, selectivity=0.5)


def _insert(rows: int = 1, inputs: int = INPUTS, value: float = 0.1) -> Callable[[GrowingClassifier], None]:
    return lambda network: network.insert(1, np.full((rows, inputs), value), np.zeros(rows))


@pytest.mark.parametrize(
    ("act", "words"),
    [
        (_insert(rows=34), "at most 33 more"),
        (_insert(inputs=3), "rows of 20 weights"),
        (_insert(value=np.nan), "finite rows"),
        (lambda n: n.insert(2, np.zeros((1, INPUTS)), np.zeros(1)), "hidden layer that the input feeds"),
        (lambda n: n.learn_only({"w0-1": np.ones((70, INPUTS))}), "shapes in use"),
        (lambda n: n.learn_only({"w9-9": np.ones((1, 1))}), "shapes in use"),
        (lambda n: n.learn_only({"b1": np.full(37, 1.5)}), r"\[0, 1\]"),
        (lambda n: n.load({}), "names its widths"),
        (lambda n: n.load({**n.state(), "widths": np.array([71])}), "from 1 to its capacity"),
        (lambda n: n.load({**n.state(), "shares": np.zeros(3)}), "shares in a state"),
    ],
)
def test_what_does_not_fit_is_refused_and_changes_nothing(
    act: Callable[[GrowingClassifier], None], words: str
) -> None:
    network = grown_ready(room(1), OPTIMIZERS["adam"])
    before = network.state()
    with pytest.raises(KernelError, match=words):
        act(network)
    assert cases.same_bits(network.state(), before)


@pytest.mark.parametrize(
    "changes",
    [
        {"feedback": "fixed"},
        {"keep": 0.5},
        {"weight_bits": 8},
        {"sleep": Sleep(every=1, rate=0.1)},
        {"estimate": "continual"},
        {"estimate": "predictive-coding"},
    ],
)
def test_rules_by_which_old_units_feel_new_ones_are_refused(changes: dict[str, Any]) -> None:
    rule = GeneralRule(**{"estimate": "centred", "beta": 0.4, "free": FREE, "nudged": BACK, **changes})
    with pytest.raises(KernelError, match="a network that grows cannot have"):
        grown_ready(room(1), OPTIMIZERS["sgd"], rule)


def test_what_cannot_be_built_is_refused() -> None:
    with pytest.raises(KernelError, match="dion"):
        grown_ready(room(1), OptimizerSettings("dion"))
    with pytest.raises(KernelError, match="Leave it out, or use GeneralRule"):
        grown_ready(room(1), OPTIMIZERS["sgd"], precision=Double())
    with pytest.raises(KernelError, match="from 1 to its capacity"):
        GrowingClassifier(room(1), (71,), {}, RULE, OPTIMIZERS["sgd"], batch=ROWS)
    with pytest.raises(KernelError, match="in use must have the shape"):
        GrowingClassifier(room(1), (37,), {}, RULE, OPTIMIZERS["sgd"], batch=ROWS)
