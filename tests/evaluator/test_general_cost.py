"""Shapes, parameters and products of the general learner's networks, counted by hand, by torch and by their tensors."""

import warnings
from typing import Any

import numpy as np
import pytest
from torch.utils.flop_counter import FlopCounterMode

from evaluator.build import build, structure_of
from evaluator.cost import cost_of, excess, step_cost
from evaluator.jobs import CostLimits
from evaluator.shape import NoImageError, is_plain, rule_name, shape_of
from genome import PRESETS, preset
from genome.spaces import CONV, CUBE, FAMILY, SPACES
from genome.variation import draw

IMAGE = (1, 8, 8)
OPEN = [name for name in PRESETS if preset(name).space in ("family/1", "cube/1", "conv/1")]
# Four pools leave nothing of the digits, and its cost is what it is there to show.
SMALL = [name for name in OPEN if name != "conv-recipe"]
# Steps whose products torch counts whole: no decomposition, no cap, no sleep that falls on some steps alone.
COUNTED = ("sgd", "adam", "adamw")


def values(name: str, **changes: Any) -> dict[str, Any]:
    found = preset(name)
    space = SPACES[found.space.removesuffix("/1")]
    return dict(space.genome(space.repair({**dict(found.values), **changes})).values)


def learner(genes: dict[str, Any]) -> Any:
    return build(genes, inputs=64, classes=10, seed=bytes(32), arithmetic="fp32", backend="auto", image=IMAGE)


def step_of(genes: dict[str, Any]) -> tuple[float, float]:
    """Products of one training step: as predicted, and as torch counts what it ran."""
    trained, batch = learner(genes), int(genes["batch"])
    x = np.linspace(0, 1, batch * 64, dtype=np.float32).reshape(batch, 64)
    with warnings.catch_warnings(), FlopCounterMode(display=False) as counter:
        warnings.simplefilter("ignore")
        report = trained.step(x, np.arange(batch) % 10, scale=1.0)
    shape = shape_of(genes, inputs=64, classes=10, image=IMAGE)
    predicted = step_cost(
        genes, shape, arithmetic="fp32", free_steps=report.free_steps, nudged_steps=report.nudged_steps
    )
    return predicted.macs, counter.get_total_flops() / 2


def countable(genes: dict[str, Any]) -> bool:
    return (
        genes.get("optimizer", "sgd") in COUNTED
        and genes.get("spectral") != "clip"
        and genes.get("sleep") != "on"
        and rule_name(genes) != "holomorphic"
        and genes["credit"] == "ep"
        and not is_plain(genes)
    )


def test_a_looped_shape_counts_its_shared_weight_once() -> None:
    shape = shape_of(values("looped", loop_depth=4, width1=20), inputs=5, classes=3)
    assert shape.sizes == (5, 20, 20, 20, 20, 3)
    assert shape.parameters == 5 * 20 + 20 * 20 + 20 * 3 + 4 * 20 + 3


def test_a_convolutional_shape_by_hand() -> None:
    genes = values("conv", layers=2, channels1=4, channels2=6, kernel="3", gain=0.5)
    shape = shape_of(genes, inputs=64, classes=10, image=IMAGE)
    assert shape.sizes == (64, 4 * 4 * 4, 6 * 2 * 2, 10)
    assert shape.parameters == 4 * 9 + 6 * 4 * 9 + 24 * 10 + 4 + 6 + 10


def test_a_cube_of_side_three_by_hand() -> None:
    shape = shape_of(values("cube", side=3), inputs=5, classes=2)
    assert sum(shape.sizes[1:-1]) == 27
    # Coordinates 0 and 2 are even, 1 is odd; the faces z = 0 and z = 2 are of even colours.
    assert shape.sizes == (5, 8, 4, 4, 2, 4, 2, 2, 1, 2)
    assert [edge for edge in shape.connections if edge[0] == 0] == [(0, 1), (0, 3), (0, 5), (0, 7)]
    assert [edge for edge in shape.connections if edge[1] == 9] == [(1, 9), (3, 9), (5, 9), (7, 9)]
    assert len(shape.connections) == 4 + 28 + 4


@pytest.mark.parametrize("side", [2, 3, 4, 5])
def test_a_cube_is_joined_as_its_structure_is(side: int) -> None:
    genes = values("cube", side=side)
    structure: Any = structure_of(genes, inputs=64, classes=10)
    assert set(shape_of(genes, inputs=64, classes=10).connections) == set(structure.masks)


def test_products_of_a_coupled_step_by_hand() -> None:
    genes = values("coupled", width1=8, batch=16, free_steps=2)
    shape = shape_of(genes, inputs=5, classes=3)
    step = step_cost(genes, shape, arithmetic="fp32", free_steps=2, nudged_steps=1)
    first, top = 16 * 5 * 8, 16 * 8 * 3
    # Start; two free sweeps, each with the way down; two phases of one with the output held; the contrast.
    assert step.macs == (first + top) + 2 * (first + 2 * top) + 2 * (first + top) + (first + 2 * top)


def test_products_of_a_holomorphic_step_by_hand() -> None:
    genes = values("holomorphic", depth=1, width1=8, batch=16, nudged_steps=2, points=6)
    shape = shape_of(genes, inputs=5, classes=3)
    step = step_cost(genes, shape, arithmetic="fp32", free_steps=0, nudged_steps=2)
    first, top = 16 * 5 * 8, 16 * 8 * 3
    # Of six points on the circle four are settled, in complex numbers: up, the readout, its error down.
    settled = 4 * 4 * (2 * (first + 2 * top) + first)
    assert step.macs == first + settled + 2 * top


def test_more_points_and_updates_cost_more() -> None:
    def macs(genes: dict[str, Any]) -> float:
        return cost_of(genes, inputs=64, classes=10, arithmetic="fp32").macs_per_step

    assert macs(values("holomorphic", points=8)) > 1.4 * macs(values("holomorphic", points=4))
    assert macs(values("continual", nudged_steps=4)) > 1.5 * macs(values("continual", nudged_steps=2))
    asleep = {"sleep": "on", "sleep_every": 1, "sleep_rate": 0.01}
    often, seldom = (
        macs(values("sparse", **{**asleep, "sleep_every": every})) - macs(values("sparse"))
        for every in (1, 4)
    )
    assert often == pytest.approx(4 * seldom)
    assert often == 16 * 64 * 128 * 3


@pytest.mark.parametrize("space", [FAMILY, CUBE, CONV], ids=lambda space: space.name)
def test_products_are_those_that_torch_runs(space: Any) -> None:
    counted = 0
    for seed in range(40):
        genes = dict(draw(space, seed=seed).values) | {"batch": 8, "side": 3}
        genes |= {name: 12 for name in ("width1", "width2", "width3") if name in genes}
        genes = dict(space.genome({n: v for n, v in genes.items() if n in space.by_name}).values)
        if countable(genes):
            predicted, ran = step_of(genes)
            assert predicted == pytest.approx(ran, rel=1e-9), genes
            counted += 1
    assert counted >= 5


@pytest.mark.parametrize("name", SMALL)
def test_a_presets_parameters_are_the_bytes_of_its_tensors(name: str) -> None:
    genes = values(name)
    held = sum(part.nbytes for part in learner(genes).parameters().values())
    assert held == cost_of(genes, inputs=64, classes=10, arithmetic="fp32", image=IMAGE).parameter_bytes


@pytest.mark.parametrize("name", SMALL)
def test_a_preset_is_allowed_on_the_largest_images(name: str) -> None:
    cost = cost_of(values(name), inputs=784, classes=10, arithmetic="fp32", image=(1, 28, 28))
    assert excess(cost, CostLimits()) is None


def test_few_bits_and_dion_need_more_memory() -> None:
    def peak(genes: dict[str, Any]) -> int:
        return cost_of(genes, inputs=64, classes=10, arithmetic="fp32").peak_bytes

    weights = shape_of(values("ternary"), inputs=64, classes=10).parameters
    assert peak(values("ternary")) - peak(values("ternary", weight_bits="8", keep=1.0)) == 0
    assert peak(values("ternary")) - peak(values("ternary", weight_bits="32", keep=0.9)) == 4 * weights
    assert peak(values("sdmep", rank_fraction=1.0)) > peak(values("sdmep", rank_fraction=0.1))


def test_filters_need_an_image() -> None:
    genes = values("conv")
    with pytest.raises(NoImageError, match=r"makes its 64 inputs, got None"):
        shape_of(genes, inputs=64, classes=10)
    with pytest.raises(NoImageError, match=r"makes its 65 inputs, got \(1, 8, 8\)"):
        shape_of(genes, inputs=65, classes=10, image=IMAGE)
    deep = values("conv", layers=3, channels2=4, channels3=4, gain=0.5)
    with pytest.raises(NoImageError, match=r"at least 8 x 8. Take fewer layers"):
        shape_of(deep, inputs=16, classes=10, image=(1, 4, 4))
