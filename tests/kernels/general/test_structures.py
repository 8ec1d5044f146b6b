"""Convolutions, cubes and loops: each coupling is one term of an energy, and learning on it follows the gradient."""

import itertools
from typing import Any

import numpy as np
import pytest
import torch

from kernels import KernelError, OptimizerSettings, Relaxation, Topology, initial_parameters
from kernels.general.convolution import Convolution, ConvolutionalStructure
from kernels.general.couplings import Dense
from kernels.general.lattice import LatticeStructure
from kernels.general.learner import GeneralLearner
from kernels.general.network import Nudge
from kernels.general.rules import GeneralRule
from kernels.general.structure import DenseStructure, Structure, initial_values
from tests.kernels.general.nets import BACK, LONG, SGD, Double
from tests.kernels.networks import uniform

SEED = bytes([7]) * 32
STRUCTURES: dict[str, Structure] = {
    "avg": ConvolutionalStructure((2, 5, 4), (6,), 3, pool="avg"),
    "max": ConvolutionalStructure((1, 6, 6), (3,), 3, pool="max"),
    "max, readout": ConvolutionalStructure((1, 6, 6), (3,), 3, pool="max", output="ce"),
    "cube": LatticeStructure(5, 3, 3),
    "cube, mse": LatticeStructure(5, 2, 3, output="mse"),
    "loop": DenseStructure(Topology((5, 6, 6, 6, 3)), looped=True),
}


def rule(beta: float = 0.02, **changes: Any) -> GeneralRule:
    return GeneralRule(**({"estimate": "centred", "beta": beta, "free": LONG, "nudged": BACK} | changes))


def learner(structure: Structure, values: dict[str, np.ndarray], asked: GeneralRule) -> GeneralLearner:
    return GeneralLearner(structure, values, asked, SGD, batch=6, precision=Double())


def data(structure: Structure) -> tuple[np.ndarray, np.ndarray]:
    return uniform("structures", 6, structure.inputs).astype(np.float32).astype(np.float64), np.arange(6) % 3


@pytest.mark.parametrize("name", STRUCTURES)
def test_learning_follows_the_gradient_of_the_cost(name: str) -> None:
    structure = STRUCTURES[name]
    values = initial_values(structure, SEED, gain=0.4)
    free, back = Relaxation(steps=40), Relaxation(order="backward", steps=40)
    asked = rule(0.01, activation="clip" if name.startswith("max") else "logistic", free=free, nudged=back)
    x, y = data(structure)
    hot = np.eye(3)[y]
    base = learner(structure, values, asked)
    found, _ = base.gradient(x, y)

    def loss() -> float:
        scores = base.predict(x)
        if structure.output == "mse":
            return float(0.5 * ((scores - hot) ** 2).sum(1).mean())
        raised = scores - scores.max(1, keepdims=True)
        return float(-(hot * (raised - np.log(np.exp(raised).sum(1, keepdims=True)))).sum(1).mean())

    # The largest entry of each parameter and one more: all of a cube would take minutes.
    formed, exact = [], []
    for parameter, gradient in found.items():
        weight = base._met[parameter]
        for index in (
            int(np.abs(gradient).argmax()),
            int(np.abs(gradient).argsort(axis=None)[gradient.size // 2]),
        ):
            with torch.inference_mode():
                weight.view(-1)[index] += 1e-5
                above = loss()
                weight.view(-1)[index] -= 2e-5
                exact.append((above - loss()) / 2e-5)
                weight.view(-1)[index] += 1e-5
            formed.append(gradient.ravel()[index])
    scale = np.abs(exact).max()
    assert scale > 1e-3
    assert np.allclose(formed, exact, atol=0.02 * scale)


@pytest.mark.parametrize("name", STRUCTURES)
def test_the_way_down_is_the_derivative_of_the_way_up(name: str) -> None:
    structure = STRUCTURES[name]
    values = {n: torch.from_numpy(v) for n, v in initial_values(structure, SEED, gain=0.5).items()}
    base = learner(structure, initial_values(structure, SEED, gain=0.5), rule(activation="clip"))
    x = torch.from_numpy(data(structure)[0])
    shapes = {layer: s.shape for layer, s in base._network.feed_forward(x).items()}
    shapes |= {0: x.shape, structure.last: (6, structure.classes)}
    for coupling in structure.couplings(values):
        low = torch.from_numpy(uniform("low", *shapes[coupling.source])).requires_grad_()
        weight = values[coupling.name].clone().requires_grad_()
        coupling.weight = weight  # type: ignore[attr-defined]
        sent = coupling.up(low)
        high = torch.from_numpy(uniform("high", *sent.shape))
        down, by_weight = torch.autograd.grad((sent * high).sum(), [low, weight])
        assert torch.allclose(coupling.down(high, low), down, atol=1e-10)
        assert torch.allclose(coupling.product(low.detach(), high), by_weight, atol=1e-10)


@pytest.mark.parametrize("name", ["avg", "cube", "cube, mse", "loop"])
def test_block_sweeps_never_raise_the_energy(name: str) -> None:
    structure = STRUCTURES[name]
    base = learner(structure, initial_values(structure, SEED, gain=1.0), rule())
    x = torch.from_numpy(data(structure)[0])
    with torch.inference_mode():
        states = {layer: torch.full_like(s, 0.4) for layer, s in base._network.feed_forward(x).items()}
        energies = [base._network.energy(states, x)]
        for step in range(10):
            states = base._network.sweep(states, x, Nudge(), LONG, step)
            energies.append(base._network.energy(states, x))
    steps = torch.stack(energies).diff(dim=0)
    assert (steps <= 1e-12).all()
    assert steps[0].max() < -1e-4


def test_every_unit_of_a_cube_has_its_neighbours_and_no_other() -> None:
    structure = LatticeStructure(5, 4, 3)
    degree = {}
    for (source, target), mask in structure.masks.items():
        if source == 0 or target == structure.last:
            continue
        for high, low in zip(*np.nonzero(mask), strict=True):
            one, other = structure.places[target - 1][high], structure.places[source - 1][low]
            assert np.abs(one - other).max() == 1
            for place in (tuple(one), tuple(other)):
                degree[place] = degree.get(place, 0) + 1
    assert len(degree) == 64
    for place in itertools.product(range(4), repeat=3):
        reach = [2 if c in (0, 3) else 3 for c in place]
        assert degree[place] == np.prod(reach) - 1
    assert sorted(set(degree.values())) == [7, 11, 17, 26]


def test_the_input_feeds_one_face_and_the_output_reads_the_other() -> None:
    structure = LatticeStructure(5, 3, 3)
    fed = sum(int(mask[:, 0].sum()) for (source, _), mask in structure.masks.items() if source == 0)
    read = sum(
        int(mask[0].sum()) for (_, target), mask in structure.masks.items() if target == structure.last
    )
    assert fed == read == 9
    for (source, target), mask in structure.masks.items():
        if source == 0:
            assert (structure.places[target - 1][mask[:, 0]][:, 2] == 0).all()
        if target == structure.last:
            assert (structure.places[source - 1][mask[0]][:, 2] == 2).all()


def test_what_is_off_a_mask_never_moves_and_is_never_met() -> None:
    structure = LatticeStructure(5, 3, 3)
    values = initial_values(structure, SEED, gain=0.5)
    x, y = data(structure)
    one = GeneralLearner(structure, values, rule(), OptimizerSettings("adam", rate=0.01), batch=6)
    other_values = {
        name: value
        + (0 if name.startswith("b") else 1.0 * ~structure.masks[tuple(map(int, name[1:].split("-")))])  # type: ignore[index]
        for name, value in values.items()
    }
    other = GeneralLearner(structure, other_values, rule(), OptimizerSettings("adam", rate=0.01), batch=6)
    for _ in range(3):
        one.step(x.astype(np.float32), y, scale=1.0)
        other.step(x.astype(np.float32), y, scale=1.0)
    assert np.array_equal(one.predict(x), other.predict(x))
    moved = 0
    for edge, mask in structure.masks.items():
        name = f"w{edge[0]}-{edge[1]}"
        assert np.array_equal(one.parameters()[name][~mask], values[name].astype(np.float32)[~mask])
        moved += int((one.parameters()[name][mask] != values[name].astype(np.float32)[mask]).sum())
    assert moved > 100


def test_looped_weights_do_not_grow_with_depth() -> None:
    sizes = [
        sum(
            int(np.prod(w.shape)) for w in DenseStructure(Topology((5, *[6] * depth, 3)), looped=True).weights
        )
        for depth in (3, 4, 6)
    ]
    assert sizes == [5 * 6 + 36 + 18] * 3
    couplings = STRUCTURES["loop"].couplings(
        {w.name: torch.zeros(w.shape) for w in STRUCTURES["loop"].weights}
    )
    assert [c.name for c in couplings] == ["w0-1", "wloop", "wloop", "w3-4"]


def test_a_plain_network_begins_as_everywhere_else() -> None:
    topology = Topology((5, 6, 7, 3), skips=((0, 2),))
    one, other = initial_values(DenseStructure(topology), SEED, 0.5), initial_parameters(topology, SEED, 0.5)
    assert all(np.array_equal(one[name], other[name]) for name in other)


@pytest.mark.parametrize("name", STRUCTURES)
def test_every_structure_learns_and_resumes(name: str) -> None:
    structure = STRUCTURES[name]
    y = np.arange(30) % 3
    x = 0.3 * uniform("task", 30, structure.inputs)
    x[np.arange(30), y] += 0.7
    x = x.astype(np.float32)
    asked = rule(
        0.2, free=Relaxation(steps=4), nudged=Relaxation(order="backward", steps=3), activation="tanh"
    )

    def fresh() -> GeneralLearner:
        return GeneralLearner(
            structure,
            initial_values(structure, SEED, 1.0),
            asked,
            OptimizerSettings("adam", rate=0.03),
            batch=30,
        )

    whole, first = fresh(), fresh()
    for step in range(100):
        whole.step(x, y, scale=1.0 - step / 100)
        if step < 50:
            first.step(x, y, scale=1.0 - step / 100)
        elif step == 50:
            second = fresh()
            second.load(first.state())
        if step >= 50:
            second.step(x, y, scale=1.0 - step / 100)
    assert (whole.predict(x).argmax(1) == y).mean() > 0.9
    one, other = whole.state(), second.state()
    assert all(one[key].tobytes() == other[key].tobytes() for key in one)


def test_a_maximum_sends_back_to_the_winner_alone() -> None:
    weight = torch.zeros(1, 9)
    weight[0, 4] = 1.0
    coupling = Convolution(0, 1, "w0-1", weight, (1, 2, 2), 3, "max")
    low = torch.tensor([[0.1, 0.9, 0.3, 0.2]])
    assert coupling.up(low).item() == pytest.approx(0.9)
    assert coupling.down(torch.ones(1, 1, 1, 1), low).tolist() == [[0.0, 1.0, 0.0, 0.0]]


def test_a_mask_shuts_the_way_back_of_its_own_too() -> None:
    mask = torch.tensor([[1.0, 0.0]])
    one = Dense(0, 1, "w", torch.ones(1, 2), mask=mask, feedback=torch.full((1, 2), 3.0))
    assert one.up(torch.ones(1, 2)).tolist() == [[1.0]]
    assert one.down(torch.ones(1, 1), torch.ones(1, 2)).tolist() == [[3.0, 0.0]]


@pytest.mark.parametrize(
    ("make", "words"),
    [
        (lambda: ConvolutionalStructure((1, 8, 8), (4,), 3, kernel=4), "odd side"),
        (lambda: ConvolutionalStructure((1, 8, 8), (4,), 3, pool="sum"), "avg or max"),  # type: ignore[arg-type]
        (lambda: ConvolutionalStructure((1, 8, 8), (), 3), "at least one layer"),
        (lambda: ConvolutionalStructure((1, 4, 4), (2, 2, 2), 3), "leave nothing"),
        (lambda: LatticeStructure(4, 1, 3), "side of a cube"),
        (lambda: DenseStructure(Topology((4, 5, 5, 3)), looped=True), "3 or more hidden layers"),
        (lambda: DenseStructure(Topology((4, 5, 6, 5, 3)), looped=True), "one width"),
        (lambda: DenseStructure(Topology((4, 5, 5, 5, 3), skips=((0, 2),)), looped=True), "skip"),
        (lambda: initial_values(STRUCTURES["cube"], SEED, 0.0), "gain"),
    ],
)
def test_what_makes_no_network_is_refused(make: Any, words: str) -> None:
    with pytest.raises(KernelError, match=words):
        make()


def test_a_convolution_has_no_feedback_of_its_own() -> None:
    structure = STRUCTURES["avg"]
    with pytest.raises(KernelError, match="needs dense weights"):
        learner(structure, initial_values(structure, SEED, 0.5), rule(feedback="fixed"))


def test_what_an_input_sends_is_kept_until_the_weight_moves() -> None:
    weight = torch.ones(2, 9)
    coupling = Convolution(0, 1, "w0-1", weight, (1, 4, 4), 3, "max")
    x = torch.from_numpy(uniform("kept", 3, 16))
    coupling.weight = weight.double()
    with torch.inference_mode():
        first = coupling.up(x)
        assert coupling.up(x) is first
        assert torch.equal(coupling.up(x.clone()), first)
        coupling.weight *= 2.0
        coupling.forget()
        assert torch.equal(coupling.up(x), 2.0 * first)
    # Who is not a learner gets what is so now.
    coupling.forget()
    assert coupling.up(x) is not coupling.up(x)


@pytest.mark.parametrize("kernel", [1, 3, 5])
@pytest.mark.parametrize("sides", [(6, 6), (5, 7)])
def test_a_mean_of_filters_is_a_filter(kernel: int, sides: tuple[int, int]) -> None:
    weight = torch.from_numpy(uniform("filters", 3, 2 * kernel**2))
    low = torch.from_numpy(uniform("image", 4, 2, *sides))
    coupling = Convolution(1, 2, "w1-2", weight, (2, *sides), kernel, "avg")
    filters = weight.view(3, 2, kernel, kernel)
    convolved = torch.nn.functional.conv2d(low, filters, padding=kernel // 2)
    assert torch.allclose(coupling.up(low), torch.nn.functional.avg_pool2d(convolved, 2), atol=1e-12)


@pytest.mark.parametrize("kind", ["tied", "homeostatic"])
@pytest.mark.parametrize("optimizer", ["adam", "muon"])
def test_a_cap_on_a_cube_holds_what_its_masks_let_through(optimizer: Any, kind: Any) -> None:
    """A clip fills what is off the mask; what is left on it must keep to the cap by itself."""
    structure = LatticeStructure(5, 4, 3, output="mse")
    asked = rule(
        0.2,
        activation="tanh",
        feedback=kind,
        free=Relaxation(steps=4),
        nudged=Relaxation(order="backward", steps=2),
    )
    settings = OptimizerSettings(optimizer, rate=0.03, spectral_cap=0.3, bias_rate=0.01)
    one = GeneralLearner(structure, initial_values(structure, SEED, 1.0), asked, settings, batch=6)
    x, y = data(structure)
    for step in range(50):
        one.step(x.astype(np.float32), y, scale=1.0)
        values = one.parameters()
        for (source, target), mask in structure.masks.items():
            for name in (f"w{source}-{target}", f"fw{source}-{target}"):
                if source and name in values:
                    assert not values[name][~mask].any(), (step, name)
                    assert np.linalg.norm(values[name], 2) <= 0.3 * (1 + 1e-3), (step, name)
