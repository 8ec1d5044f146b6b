from dataclasses import replace

import msgspec
import pytest
from scipy.stats import t

from evaluator.incremental.messages import Summary
from evaluator.incremental.records import Run
from evaluator.incremental.summary import MEASURES, PAIRS, compare, estimate, summarise


def of(runs: tuple[Run, ...], variant: str, values: dict[int, float]) -> list[Run]:
    """A run of a regime for each seed, with another macro MSE."""
    like = next(run for run in runs if run.manifest.result.variant == variant)
    made = []
    for seed, value in values.items():
        result = msgspec.structs.replace(like.manifest.result, seed=seed, macro_mse=value)
        made.append(replace(like, manifest=msgspec.structs.replace(like.manifest, result=result)))
    return made


def test_an_interval_is_students() -> None:
    found = estimate([1.0, 2.0, 4.0])
    low, high = t.interval(0.95, 2, loc=7 / 3, scale=(7 / 3) ** 0.5 / 3**0.5)
    assert (found.mean, found.low, found.high) == pytest.approx((7 / 3, low, high))
    alone = estimate([3.0])
    assert (alone.mean, alone.low, alone.high) == (3.0, None, None)


def test_a_summary_has_every_regime_and_comparison(runs: tuple[Run, ...]) -> None:
    summary = summarise(runs, ("cl, seed 9",))
    assert [one.variant for one in summary.regimes] == ["ndl", "cl", "ndl+ir", "cl+ir"]
    assert len(summary.comparisons) == len(PAIRS) * len(MEASURES)
    assert summary.unfinished == ("cl, seed 9",)
    for one in summary.regimes:
        own = [run for run in runs if run.manifest.result.variant == one.variant]
        assert one.macro_mse.values == tuple(run.manifest.result.macro_mse for run in own)
        assert one.seeds == (0, 1)
        assert (one.accuracy is None) == (not one.variant.endswith("+ir"))
        assert one.old_readings == 0
        assert one.class_mse == pytest.approx([sum(run.mse[-1, c] for run in own) / 2 for c in range(5)])
    assert msgspec.json.decode(msgspec.json.encode(summary), type=Summary) == summary


def test_readings_of_old_data_are_counted(runs: tuple[Run, ...]) -> None:
    like = runs[0]
    old = [msgspec.structs.replace(one, old=True) for one in like.manifest.accesses]
    cheat = replace(like, manifest=msgspec.structs.replace(like.manifest, accesses=tuple(old)))
    assert summarise([cheat], ()).regimes[0].old_readings == len(old) > 0


@pytest.mark.parametrize(
    ("fixed", "verdict", "says"),
    [
        ({0: 0.10, 1: 0.11, 2: 0.10}, "higher", "Growth loses"),
        ({0: 0.30, 1: 0.31, 2: 0.30}, "lower", "Growth wins"),
        ({0: 0.10, 1: 0.31, 2: 0.20}, "unclear", "cannot be told"),
        ({1: 0.10}, "single", "higher than without it"),
        ({2: 0.30}, "single", "lower than without it"),
        ({2: 0.21}, "single", "equal to without it"),
    ],
)
def test_words_follow_from_the_numbers(
    runs: tuple[Run, ...], fixed: dict[int, float], verdict: str, says: str
) -> None:
    growing = {0: 0.20, 1: 0.20, 2: 0.21}
    found = compare(of(runs, "ndl", growing), of(runs, "cl", fixed), "macro_mse", "growth")
    assert found is not None
    assert (found.verdict, found.seeds) == (verdict, tuple(fixed))
    assert says in found.words
    assert {"wins", "loses"} & set(found.words.replace(":", "").split()) == (
        {"higher": {"loses"}, "lower": {"wins"}}.get(verdict, set())
    )
    means = [sum(values[seed] for seed in fixed) / len(fixed) for values in (growing, fixed)]
    assert found.difference.mean == pytest.approx(means[0] - means[1])
    assert found.ratio == pytest.approx(means[0] / means[1])
    assert f"`ndl` {means[0]:.4f}, `cl` {means[1]:.4f}" in found.words


def test_differences_are_paired_by_seed(runs: tuple[Run, ...]) -> None:
    """Seeds differ much and regimes little: only pairs show it."""
    a = of(runs, "ndl", {0: 0.1010, 1: 0.2011, 2: 0.3010})
    b = of(runs, "cl", {2: 0.300, 0: 0.100, 1: 0.200, 5: 9.0})
    found = compare(a, b, "macro_mse", "growth")
    assert found is not None
    assert found.difference.values == pytest.approx((0.001, 0.0011, 0.001))
    assert found.verdict == "higher"


def test_regimes_without_a_common_seed_are_not_compared(runs: tuple[Run, ...]) -> None:
    assert compare(of(runs, "ndl", {0: 0.1}), of(runs, "cl", {1: 0.1}), "macro_mse", "growth") is None


def test_sizes_are_called_equal_only_where_they_are(runs: tuple[Run, ...]) -> None:
    growing, fixed = of(runs, "ndl", {0: 0.1}), of(runs, "cl", {0: 0.1})
    alike = compare(growing, fixed, "macro_mse", "growth")
    result = msgspec.structs.replace(fixed[0].manifest.result, sizes=(64, 1, 1))
    other = replace(fixed[0], manifest=msgspec.structs.replace(fixed[0].manifest, result=result))
    unlike = compare(growing, [other], "macro_mse", "growth")
    assert alike is not None and "end with equal sizes" in alike.words
    assert unlike is not None and "end with different sizes" in unlike.words
