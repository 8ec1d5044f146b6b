from dataclasses import replace as replaced

import numpy as np
import pytest
from msgspec.structs import replace

from evaluator.errors import TaskError
from evaluator.incremental.stages import GrowthRound, Lesson, grow_class, learn_class
from kernels.growth import Schedule, Stack, Stream, initial_stack, seed_bytes
from tests.evaluator.incremental.runs import SMALL, few_digits

SEED = seed_bytes(0)


def network() -> Stack:
    return initial_stack(SMALL.sizes, Stream(SEED, "n"), capacities=SMALL.capacities)


def lesson(**changes: object) -> tuple[Lesson, list[GrowthRound]]:
    """A lesson about the zeros among the digits, without replay unless told otherwise."""
    rounds: list[GrowthRound] = []
    data = few_digits()
    given = Lesson(
        stage=1,
        label=0,
        new_x=data.train_x[data.train_y == 0],
        old=(1, 7),
        recall=None,
        settings=SMALL,
        stream=Stream(SEED, "stage"),
        on_round=rounds.append,
    )
    return replaced(given, **changes), rounds


def ones(label: int, n: int, stream: Stream) -> np.ndarray:
    return np.full((n, 64), label / 10, np.float32)


@pytest.mark.parametrize(("mode", "each"), [("paper", 40), ("balanced", 20)])
def test_a_mixture_has_its_proportions(mode: str, each: int) -> None:
    given, _ = lesson(recall=ones, settings=replace(SMALL, replay_mode=mode))
    x = given.mixture("phase")
    assert len(x) == 40 + 2 * each
    assert np.array_equal(x[:40], given.new_x)
    assert (np.isclose(x, 0.1).all(axis=1).sum(), np.isclose(x, 0.7).all(axis=1).sum()) == (each, each)


def test_without_replay_the_mixture_is_the_new_class() -> None:
    given, _ = lesson()
    assert given.mixture("phase") is given.new_x


def test_phases_draw_their_own_replay() -> None:
    given, _ = lesson(recall=lambda label, n, stream: stream.uniform((n, 64)))
    first, other, again = given.mixture("a"), given.mixture("b"), given.mixture("a")
    assert np.array_equal(first, again)
    assert not np.array_equal(first[40:], other[40:])


def test_without_outliers_nothing_grows_and_nothing_changes() -> None:
    given, rounds = lesson(settings=replace(SMALL, consolidate=Schedule(epochs=0, rate=1e-3)))
    start = network()
    assert grow_class(start, (1.0, 1.0), given) is start
    assert [(r.level, r.added, r.reason, r.fraction) for r in rounds] == [
        (1, 0, "settled", 0.0),
        (2, 0, "settled", 0.0),
    ]


def test_where_all_are_outliers_growth_stops_at_its_cap_and_says_so() -> None:
    given, rounds = lesson()
    grown = grow_class(network(), (0.0, 0.0), given)
    assert grown.sizes == (64, 20, 8)
    for level, cap in ((1, 4), (2, 2)):
        of_level = [r for r in rounds if r.level == level]
        assert sum(r.added for r in of_level) == cap
        assert [r.round for r in of_level] == list(range(len(of_level)))
        assert of_level[-1].reason == "cap"
        assert of_level[-1].cap_hit
        assert all(r.fraction == 1.0 and r.outliers == r.samples == 40 for r in of_level)
        assert [r.width for r in of_level][-1] == grown.sizes[level]


def test_growth_alone_leaves_what_the_mature_units_answer_to_bit_for_bit() -> None:
    still = Schedule(epochs=0, rate=1e-3)
    given, _ = lesson(settings=replace(SMALL, stability_epochs=0, next_level=still, consolidate=still))
    start = network()
    grown = grow_class(start, (0.0, 0.0), given)
    for before, after, width in zip(start.levels, grown.levels, start.sizes[1:], strict=True):
        assert np.array_equal(before.encoder[:width], after.encoder[:width])
        assert np.array_equal(before.encoder_bias[:width], after.encoder_bias[:width])
    x = few_digits().test_x
    assert np.array_equal(start.encode(x), grown.encode(x)[:, :6])


def test_growing_and_learning_both_bring_the_error_of_the_class_down() -> None:
    start = network()
    for learned in (grow_class(start, (0.0, 0.0), lesson()[0]), learn_class(start, lesson()[0])):
        given, _ = lesson()
        assert learned.errors(given.new_x).mean() < 0.7 * start.errors(given.new_x).mean()


def test_the_samples_that_training_went_through_are_counted() -> None:
    given, _ = lesson(recall=ones)
    learn_class(network(), given)
    assert given.presented == (SMALL.learn.epochs + SMALL.consolidate.epochs) * 120


def test_consolidation_can_be_left_out() -> None:
    off = replace(SMALL, consolidate=Schedule(epochs=0, rate=1e-3))
    with_it, without = learn_class(network(), lesson()[0]), learn_class(network(), lesson(settings=off)[0])
    x = few_digits().test_x
    assert not np.array_equal(with_it.reconstruct(x), without.reconstruct(x))


def test_stability_is_a_hundredth_of_plasticity() -> None:
    assert SMALL.stability.rate == pytest.approx(SMALL.plasticity.rate / 100)
    assert SMALL.stability.epochs == SMALL.stability_epochs


@pytest.mark.parametrize(
    "change",
    [{"caps": (8,)}, {"class_caps": (4, 2, 1)}, {"slow": 0.0}, {"replay_ratio": 0.0}, {"refresh_samples": 1}],
)
def test_settings_that_do_not_fit_are_refused(change: dict[str, object]) -> None:
    with pytest.raises(TaskError):
        replace(SMALL, **change)
