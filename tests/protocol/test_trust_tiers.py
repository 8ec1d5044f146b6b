"""Two tiers: what is not confirmed may be a parent now and then, and nothing else."""

import random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from genome.pareto import Direction
from node.protocol.trust import Matings, TrustError, choose_mate, exported, two_tiers

DIRECTIONS: dict[str, Direction] = {"accuracy": "max", "macs": "min"}
rows = st.dictionaries(
    st.text("abcdef", min_size=1, max_size=2),
    st.fixed_dictionaries({"accuracy": st.integers(0, 9).map(float), "macs": st.integers(0, 9).map(float)}),
    max_size=6,
)


def dominates(one: dict[str, float], other: dict[str, float]) -> bool:
    weakly = one["accuracy"] >= other["accuracy"] and one["macs"] <= other["macs"]
    return weakly and one != other


@given(rows, rows)
def test_provisional_never_dominates(
    confirmed: dict[str, dict[str, float]], provisional: dict[str, dict[str, float]]
) -> None:
    front, waiting = two_tiers(confirmed, provisional, DIRECTIONS)
    assert front == two_tiers(confirmed, {}, DIRECTIONS)[0] == exported(confirmed, provisional, DIRECTIONS)
    assert set(front) == {
        name for name, row in confirmed.items() if not any(dominates(r, row) for r in confirmed.values())
    }
    assert not set(waiting) & set(confirmed)
    assert set(waiting) == {
        name
        for name, row in provisional.items()
        if name not in confirmed and not any(dominates(r, row) for r in confirmed.values())
    }


@given(st.integers(0, 10**6), st.integers(1, 5), st.integers(0, 50), st.integers(1, 300))
def test_at_most_35_percent_of_matings(seed: int, confirmed: int, provisional: int, matings: int) -> None:
    rng = random.Random(seed)
    mine = [f"c{n}" for n in range(confirmed)]
    theirs = [f"p{n}" for n in range(provisional)]
    count = Matings()
    for _ in range(matings):
        before = count
        mate, count = choose_mate(rng, count, mine, theirs)
        assert mate.genome in (theirs if mate.tier == "provisional" else mine)
        assert count.total == before.total + 1
        assert count.provisional == before.provisional + (mate.tier == "provisional")
        assert count.provisional <= 0.35 * count.total


def test_provisional_get_their_share() -> None:
    rng, count = random.Random(0), Matings()
    for _ in range(2000):
        _, count = choose_mate(rng, count, ["c"], [f"p{n}" for n in range(20)])
    assert count.provisional > 0.3 * count.total


def test_nothing_confirmed() -> None:
    with pytest.raises(TrustError, match="confirmed"):
        choose_mate(random.Random(0), Matings(), [], ["p"])
    mate, count = choose_mate(random.Random(0), Matings(2, 0), [], ["p"])
    assert (mate.tier, count) == ("provisional", Matings(3, 1))
    with pytest.raises(TrustError):
        choose_mate(random.Random(0), Matings(10, 0), [], [])
