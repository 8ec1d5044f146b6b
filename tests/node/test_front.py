import pytest
from hypothesis import given
from hypothesis import strategies as st

from evaluator.objectives import Objective
from node.front import front_of, hypervolume_of, standings
from node.report import Foreign, Row, tiers
from node.store.rows import EvaluationRow

GOOD = Objective(name="good", unit="1", direction="max", worst=0.0, best=1.0)
CHEAP = Objective(name="cheap", unit="1", direction="min", worst=1.0, best=0.0)
BOTH = (GOOD, CHEAP)


def row(genome: str, good: float, cheap: float, purpose: str = "search", **changes: object) -> EvaluationRow:
    row.count += 1
    fields: dict[str, object] = {
        "id": row.count,
        "run": 1,
        "ask": row.count,
        "purpose": purpose,
        "genome": genome,
        "task_id": "t",
        "seed": row.count,
        "arithmetic": "fp32",
        "failure": None,
        "detail": None,
        "weights": None,
        "finished_at": 0.0,
        "objectives": {"good": good, "cheap": cheap},
    }
    return EvaluationRow(**(fields | changes))  # type: ignore[arg-type]


row.count = 0  # type: ignore[attr-defined]


def front(rows: list[EvaluationRow]) -> list[str]:
    return [standing.genome for standing in front_of(standings(rows), BOTH)]


def test_the_front_holds_who_is_not_dominated_best_first() -> None:
    assert front([row("a", 0.5, 0.5), row("b", 0.9, 0.9), row("c", 0.4, 0.6)]) == ["b", "a"]


def test_a_baseline_is_no_member_of_the_front() -> None:
    assert front([row("a", 0.5, 0.5), row("base", 0.9, 0.1, purpose="baseline")]) == ["a"]


def test_failures_have_no_standing() -> None:
    failed = row("a", 0, 0, failure="crashed", objectives={})
    assert standings([failed]) == []


def test_winners_are_compared_by_fresh_means_once_all_were_scored_again() -> None:
    rows = [row("lucky", 0.9, 0.5), row("solid", 0.8, 0.4), row("worse", 0.7, 0.6)]
    assert front(rows) == ["lucky", "solid"]
    rows += [row("lucky", 0.7, 0.5, purpose="rescore")]
    assert set(front(rows)) == {"lucky", "solid"}  # solid was not scored again yet
    rows += [row("solid", 0.8, 0.4, purpose="rescore")]
    assert front(rows) == ["solid"]


def test_a_standing_has_mean_spread_and_count_of_fresh_seeds_alone() -> None:
    rows = [row("a", 0.9, 0.5), *(row("a", good, 0.5, purpose="rescore") for good in (0.6, 0.7, 0.8))]
    (standing,) = standings(rows)
    assert standing.n == 3
    assert standing.objectives["good"] == pytest.approx(0.7)
    assert standing.spread["good"] == pytest.approx(0.1)
    assert standing.selected["good"] == 0.9


def test_a_winner_that_fails_on_fresh_seeds_leaves_the_front() -> None:
    rows = [row("a", 0.9, 0.5), row("b", 0.5, 0.4)]
    rows += [row("a", 0, 0, purpose="rescore", failure="diverged", objectives={})]
    rows += [row("b", 0.5, 0.4, purpose="rescore")]
    assert front(rows) == ["b"]


@pytest.mark.parametrize("change", [{"task_id": "other"}, {"arithmetic": "bf16"}])
def test_two_tiers_or_classes_are_never_compared(change: dict[str, object]) -> None:
    with pytest.raises(ValueError, match="one task, tier and arithmetic class"):
        standings([row("a", 0.5, 0.5), row("b", 0.5, 0.5, **change)])


def test_hypervolume_is_the_share_of_the_unit_square_that_is_dominated() -> None:
    found = standings([row("a", 0.5, 0.5), row("b", 0.75, 0.75)])
    assert hypervolume_of(front_of(found, BOTH), BOTH) == pytest.approx(0.25 + 0.25 * 0.25)
    assert hypervolume_of([], BOTH) == 0.0


# Own results and others' claims


def claim(name: str, good: float, cheap: float, *, confirmed: bool = True) -> Foreign:
    return Foreign(
        claim=f"claim-{name}",
        peer="12D3KooWsomebody",
        genome=name,
        values={"good": good, "cheap": cheap},
        weights=None,
        standing="confirmed" if confirmed else "provisional",
    )


def names(rows: list[Row]) -> list[str]:
    return [row.standing.genome for row in rows]


def test_without_claims_the_front_is_that_of_the_own_results() -> None:
    rows = [row("lucky", 0.9, 0.5), row("solid", 0.8, 0.4), row("lucky", 0.7, 0.5, purpose="rescore")]
    found, waiting = tiers(standings(rows), [], BOTH)
    # Half way through the scoring on fresh seeds nobody leaves, though the mean of one lies under the other already.
    assert set(names(found)) == {"lucky", "solid"}
    assert waiting == []
    assert {(one.origin, one.tier, one.claim) for one in found} == {("self", "confirmed", None)}


def test_a_claim_does_not_make_own_results_dominate_each_other() -> None:
    rows = [row("lucky", 0.9, 0.5), row("solid", 0.8, 0.4), row("lucky", 0.7, 0.5, purpose="rescore")]
    found, _ = tiers(standings(rows), [claim("other", 0.2, 0.1)], BOTH)
    assert set(names(found)) == {"lucky", "solid", "other"}


def test_a_confirmed_claim_displaces_what_it_dominates_and_is_displaced() -> None:
    own = standings([row("a", 0.5, 0.5), row("b", 0.9, 0.9)])
    found, _ = tiers(own, [claim("better", 0.6, 0.4), claim("worse", 0.4, 0.6)], BOTH)
    assert names(found) == ["b", "better"]
    assert [one.origin for one in found] == ["self", "12D3KooWsomebody"]


def test_a_provisional_claim_displaces_nobody() -> None:
    own = standings([row("a", 0.5, 0.5)])
    absurd = claim("absurd", 1.0, 0.0, confirmed=False)
    found, waiting = tiers(own, [absurd, claim("c", 0.6, 0.6), claim("no", 0.4, 0.6, confirmed=False)], BOTH)
    assert names(found) == ["c", "a"]
    assert names(waiting) == ["absurd"]
    assert waiting[0].tier == "provisional"


def test_equal_rows_stand_once_and_own_ones_first() -> None:
    own = standings([row("a", 0.5, 0.5)])
    found, waiting = tiers(own, [claim("b", 0.5, 0.5), claim("c", 0.6, 0.6), claim("d", 0.6, 0.6)], BOTH)
    assert (names(found), waiting) == (["c", "a"], [])


ROWS = st.lists(
    st.tuples(st.integers(0, 9), st.integers(0, 9), st.booleans()), max_size=12, unique_by=lambda one: one[:2]
)


@given(own=ROWS, others=ROWS)
def test_whatever_is_provisional_the_front_is_the_same(
    own: list[tuple[int, int, bool]], others: list[tuple[int, int, bool]]
) -> None:
    mine = standings([row(f"own{good}{cheap}", good / 10, cheap / 10) for good, cheap, _ in own])
    foreign = [
        claim(f"x{good}{cheap}", good / 10, cheap / 10, confirmed=sure) for good, cheap, sure in others
    ]
    found, waiting = tiers(mine, foreign, BOTH)
    alone, nobody = tiers(mine, [one for one in foreign if one.standing == "confirmed"], BOTH)
    assert (found, nobody) == (alone, [])
    for one in waiting:
        assert not any(dominates(other, one) for other in found)
    for one in found:
        assert not any(dominates(other, one) for other in found)


def dominates(one: Row, other: Row) -> bool:
    mine, theirs = one.standing.objectives, other.standing.objectives
    return mine["good"] >= theirs["good"] and mine["cheap"] <= theirs["cheap"] and mine != theirs
