import math
from fractions import Fraction
from itertools import pairwise, product

import pytest
from hypothesis import given
from hypothesis import strategies as st

from genome import ALWAYS, All, Any, AtLeast, Choice, GenomeError, Integer, Is, Real


def test_linear_levels_are_even_and_keep_the_bounds() -> None:
    assert Real("x", 0.5, 2.0, 16).table == tuple(round(0.5 + 0.1 * step, 1) for step in range(16))


def test_log_levels_have_equal_ratios_to_the_digits_kept() -> None:
    table = Real("x", 1e-4, 1e-1, 13, "log").table
    assert table[::4] == (1e-4, 1e-3, 1e-2, 1e-1)
    ratios = [b / a for a, b in pairwise(table)]
    assert all(math.isclose(ratio, 10 ** (1 / 4), rel_tol=2e-3) for ratio in ratios)


def test_digits_round_the_inner_levels_only() -> None:
    assert Real("x", 1.2345, 2.3456, 3, digits=2).table == (1.2345, 1.8, 2.3456)


def test_bounds_may_cross_zero_and_zero_has_one_sign() -> None:
    table = Real("x", -5, 5, 65).table
    assert table[32] == 0.0
    assert math.copysign(1.0, table[32]) == 1.0
    assert math.copysign(1.0, Real("x", -0.0, 1.0, 2).table[0]) == 1.0


def test_integers_take_every_number_or_the_levels_given() -> None:
    assert Integer("n", 3, 6).table == (3, 4, 5, 6)
    assert Integer("n", 1, 4096, [8, 12, 16]).table == (8, 12, 16)


@given(st.floats(0.1, 10.0))
def test_snap_takes_the_nearest_level_on_the_scale(value: float) -> None:
    for gene in (Real("x", 0.1, 10.0, 17, "log"), Real("x", 0.1, 10.0, 17)):
        # Exact rational arithmetic: the distance on a log scale is the larger ratio of the two.
        at = Fraction(value)
        if gene.scale == "log":
            distances = [max(at / Fraction(level), Fraction(level) / at) for level in gene.table]
        else:
            distances = [abs(at - Fraction(level)) for level in gene.table]
        # The code under test rounds once or twice, so near a tie either neighbour will do.
        assert distances[gene.snap(value)] <= min(distances) * (1 + Fraction(1, 10**12))


def test_snap_of_a_tie_is_the_lower_level_and_levels_snap_to_themselves() -> None:
    gene = Integer("n", 0, 100, (10, 20, 40))
    assert [gene.snap(value) for value in (0, 10, 15, 16, 30, 31, 100)] == [0, 0, 0, 1, 1, 2, 2]
    log = Real("x", 1.0, 4.0, 2, "log")
    assert [log.snap(value) for value in (1.0, 1.99, 2.0, 2.01, 4.0)] == [0, 0, 0, 1, 1]


def test_check_keeps_values_off_the_grid_and_gives_reals_as_floats() -> None:
    assert Integer("n", 1, 4096, (8, 16)).check(9) == 9
    value = Real("x", 0.0, 1.0, 3).check(1)
    assert (value, type(value)) == (1.0, float)


GENES: tuple[Real | Integer | Choice, ...] = (
    Real("g", 0.0, 1.0, 3),
    Integer("g", 0, 8),
    Choice("g", ("a", "b")),
)
UNLAWFUL: tuple[object, ...] = (
    math.nan,
    math.inf,
    -1,
    9,
    2**60,
    2**100_000,
    True,
    None,
    "1",
    b"a",
    [1],
    {},
    1j,
)


@pytest.mark.parametrize(
    ("gene", "value"),
    [*product(GENES, UNLAWFUL), (GENES[1], 3.0), (GENES[1], 0.5)],
    ids=lambda value: type(value).__name__,
)
def test_check_refuses_what_is_not_lawful(gene: Real | Integer | Choice, value: object) -> None:
    with pytest.raises(GenomeError, match=r"gene 'g' must (lie in \[0.0, 1.0\]|be .*), got "):
        gene.check(value)


def test_a_refused_option_suggests_the_nearest() -> None:
    with pytest.raises(GenomeError, match="Did you mean 'muon'"):
        Choice("optimizer", ("adam", "muon")).check("mouon")


def test_clip_gives_the_nearest_lawful_value() -> None:
    real, whole = Real("x", -0.5, 1.0, 3), Integer("n", 1, 8, (2, 4))
    assert [real.clip(value) for value in (-2, 0.3, 7, math.inf, 10**400)] == [-0.5, 0.3, 1.0, 1.0, 1.0]
    assert [whole.clip(value) for value in (-2, 3, 3.4, 99, -math.inf)] == [1, 3, 3, 8, 1]
    assert Choice("c", ("a",)).clip("a") == "a"
    for gene, value in (
        (real, math.nan),
        (real, "1"),
        (whole, True),
        (whole, None),
        (Choice("c", ("a",)), "b"),
    ):
        with pytest.raises(GenomeError):
            gene.clip(value)


@pytest.mark.parametrize(
    "make",
    [
        lambda: Real("1x", 0.0, 1.0, 3),
        lambda: Real("x" * 65, 0.0, 1.0, 3),
        lambda: Real("x", 1.0, 1.0, 3),
        lambda: Real("x", 0.0, math.inf, 3),
        lambda: Real("x", math.nan, 1.0, 3),
        lambda: Real("x", 0.0, 1.0, 1),
        lambda: Real("x", 0.0, 1.0, 2**60),
        lambda: Real("x", 0.0, 1.0, 3, "log"),
        lambda: Real("x", 0.1, 1.0, 3, "cubic"),  # type: ignore[arg-type]
        lambda: Real("x", 1.0, 1.01, 200),
        lambda: Real("x", 0.0, 1.0, 3, digits=0),
        lambda: Integer("n", 0, 2**60),
        lambda: Integer("n", 0, 10**200, (1, 2)),
        lambda: Integer("n", 3, 1),
        lambda: Integer("n", 0.0, 1),  # type: ignore[arg-type]
        lambda: Integer("n", 0, 9, (3, 2)),
        lambda: Integer("n", 0, 9, (3, 3)),
        lambda: Integer("n", 0, 9, (3, 10)),
        lambda: Integer("n", 0, 9, ()),
        lambda: Choice("c", ()),
        lambda: Choice("c", "abc"),
        lambda: Choice("c", ("a", "a")),
        lambda: Choice("c", ("a\n",)),
        lambda: Choice("c", ("é",)),
        lambda: Choice("c", (1,)),  # type: ignore[arg-type]
        lambda: Is("c"),
    ],
)
def test_genes_that_make_no_table_are_refused(make: object) -> None:
    with pytest.raises(GenomeError, match=r"expects|spans"):
        make()  # type: ignore[operator]


def test_conditions_read_only_what_is_expressed() -> None:
    ep, deep = Is("credit", "ep"), AtLeast("depth", 2)
    assert ep.holds({"credit": "ep"})
    assert not ep.holds({"credit": "backprop"})
    assert not ep.holds({})
    assert deep.holds({"depth": 2})
    assert not deep.holds({"depth": 1})
    assert not deep.holds({})
    assert ALWAYS.holds({})
    assert All(ep, deep).holds({"credit": "ep", "depth": 3})
    assert not All(ep, deep).holds({"credit": "ep"})
    assert Any(ep, deep).holds({"depth": 3})
    assert not Any(ep, deep).holds({})
    assert Is("c", "a", "b").holds({"c": "b"})


def test_conditions_say_what_they_want() -> None:
    both = All(Is("credit", "ep"), Any(AtLeast("depth", 2), Is("output", "mse", "ce")))
    assert str(both) == "credit = ep and (depth >= 2 or output = mse or ce)"
    assert both.genes == ("credit", "depth", "output")
    assert str(ALWAYS) == "always"
