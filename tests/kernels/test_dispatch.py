"""Which path serves which network: every route is reached, and by the network alone."""

import inspect
import typing
from dataclasses import replace

import pytest

from kernels import KernelError, OptimizerSettings, Relaxation, Rule, Topology
from kernels.dispatch import CROSSOVERS, Route, route, step_products
from kernels.members import Member
from kernels.rules import EVERY_ARITHMETIC

SWEEPS = Relaxation(steps=1)
RULE = Rule("centred", 1.0, Relaxation(steps=0), SWEEPS)


def member(
    *sizes: int, rows: int = 16, rule: Rule = RULE, optimizer: OptimizerSettings | None = None
) -> Member:
    return Member(Topology(sizes), {}, rule, optimizer or OptimizerSettings(), rows)


TINY = member(64, 64, 10)
MIDDLING = member(784, 256, 10, rows=128)
WIDE = member(784, 1024, 10, rows=128)
STOPS = replace(TINY, rule=replace(RULE, free=Relaxation(steps=9, tolerance=1e-3)))
MUON = replace(TINY, optimizer=OptimizerSettings("muon"))
SKIPS = replace(TINY, topology=replace(TINY.topology, skips=((0, 2),)))


@pytest.mark.parametrize(
    ("network", "arithmetic", "expected"),
    [
        (TINY, "fp32", "persistent"),
        (TINY, "fp16", "persistent"),
        (TINY, "exact-1", "graph"),
        (TINY, "bf16", "graph"),
        (MIDDLING, "fp32", "ragged"),
        (MIDDLING, "fp16", "ragged"),
        (WIDE, "fp32", "graph"),
        (WIDE, "fp16", "ragged"),
        (member(784, 1023, 10, rows=128), "fp32", "ragged"),
        (member(784, 4097, 10, rows=128), "fp32", "graph"),
        (member(64, 64, 10, rows=2**15 + 1), "fp32", "graph"),
        (member(64, 64, 65), "fp32", "graph"),
        (MUON, "fp32", "graph"),
        (SKIPS, "fp32", "graph"),
        (STOPS, "fp32", "loop"),
        (STOPS, "exact-1", "loop"),
    ],
)
def test_a_network_goes_its_way(network: Member, arithmetic: str, expected: Route) -> None:
    assert route(network, arithmetic) == expected  # type: ignore[arg-type]


def test_every_route_is_reached_above() -> None:
    (cases,) = (mark.args[1] for mark in test_a_network_goes_its_way.pytestmark)  # type: ignore[attr-defined]
    assert {expected for *_, expected in cases} == set(typing.get_args(Route))
    assert {arithmetic for _, arithmetic, _ in cases} == set(EVERY_ARITHMETIC)


@pytest.mark.parametrize("arithmetic", ["fp32", "fp16"])
def test_the_crossover_is_where_the_table_says(arithmetic: str) -> None:
    tiny = CROSSOVERS[arithmetic].tiny
    products = step_products(member(64, 64, 10, rows=1))
    below = tiny // products
    assert route(member(64, 64, 10, rows=below), arithmetic) == "persistent"  # type: ignore[arg-type]
    assert route(member(64, 64, 10, rows=below + 1), arithmetic) == "ragged"  # type: ignore[arg-type]


def test_products_are_counted_by_hand() -> None:
    # Start and contrast: 3 (4 x 3 + 3 x 2) = 54. Sweeps: 5 free and twice 2 nudged, each 2 x 3 x 2 = 12: 108.
    rule = Rule("centred", 0.2, Relaxation(steps=5), Relaxation(steps=2))
    assert step_products(member(4, 3, 2, rows=7, rule=rule)) == 7 * (54 + 108)
    assert step_products(member(4, 3, 2, rows=7, rule=replace(rule, estimate="one-sided"))) == 7 * (54 + 84)


def test_fp16_has_no_other_backend() -> None:
    for network in (MUON, SKIPS, STOPS, member(64, 64, 10, rows=2**15 + 1)):
        with pytest.raises(KernelError, match="fp16 is served by the Triton kernels alone"):
            route(network, "fp16")


def test_nothing_of_a_population_enters_the_choice() -> None:
    assert list(inspect.signature(route).parameters) == ["member", "arithmetic"]
