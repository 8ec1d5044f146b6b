"""What the runs of an experiment come to: means with intervals over seeds, and regimes compared in words. Pure."""

from collections.abc import Sequence
from typing import Literal, TypeAlias

import numpy as np

from evaluator.incremental.messages import Comparison, Estimate, RegimeSummary, Summary, Verdict
from evaluator.incremental.records import Run
from evaluator.incremental.settings import REGIMES, VARIANTS
from kernels.probes.intervals import student

__all__ = ["MEASURES", "PAIRS", "compare", "estimate", "summarise"]

Measure: TypeAlias = Literal["macro_mse", "forgetting"]

MEASURES: tuple[Measure, ...] = ("macro_mse", "forgetting")
_NAMES = {"macro_mse": "Macro MSE", "forgetting": "Forgetting"}

# First, second, and what tells the first from the second.
PAIRS: tuple[tuple[str, str, Literal["growth", "replay"]], ...] = (
    ("ndl", "cl", "growth"),
    ("ndl+ir", "cl+ir", "growth"),
    ("ndl+ir", "ndl", "replay"),
    ("cl+ir", "cl", "replay"),
)


def summarise(runs: Sequence[Run], unfinished: tuple[str, ...]) -> Summary:
    """The summary of the runs of one experiment, those of a regime together; `files` is empty."""
    regimes: dict[str, list[Run]] = {}
    # The paper's four as they are told everywhere, then the controls.
    for variant in (*VARIANTS, *(name for name in REGIMES if name not in VARIANTS)):
        found = [run for run in runs if run.manifest.result.variant == variant]
        if found:
            regimes[variant] = found
    first = runs[0].manifest
    pairs = [pair for pair in PAIRS if pair[0] in regimes and pair[1] in regimes]
    comparisons = (
        compare(regimes[a], regimes[b], measure, what) for a, b, what in pairs for measure in MEASURES
    )
    return Summary(
        data=first.data,
        data_sha256=first.data_sha256,
        settings_sha256=first.settings_sha256,
        versions=first.versions,
        order=first.order,
        regimes=tuple(_regime(variant, found) for variant, found in regimes.items()),
        comparisons=tuple(found for found in comparisons if found is not None),
        unfinished=unfinished,
        files=(),
    )


def estimate(values: Sequence[float]) -> Estimate:
    """The mean of one value or more, with Student's 95 % interval where there are two."""
    if len(values) < 2:
        return Estimate(mean=float(values[0]), low=None, high=None, values=tuple(values))
    found = student(np.asarray(values, dtype=np.float64))
    return Estimate(mean=found.value, low=found.low, high=found.high, values=tuple(values))


def _regime(variant: str, runs: Sequence[Run]) -> RegimeSummary:
    results = [run.manifest.result for run in runs]
    accuracies = [result.accuracy for result in results if result.accuracy is not None]
    return RegimeSummary(
        variant=variant,
        seeds=tuple(result.seed for result in results),
        macro_mse=estimate([result.macro_mse for result in results]),
        forgetting=estimate([result.forgetting for result in results]),
        backward_transfer=estimate([result.backward_transfer for result in results]),
        accuracy=estimate(accuracies) if accuracies else None,
        presented=estimate([float(result.presented) for result in results]),
        seconds=estimate([result.seconds for result in results]),
        sizes=tuple(result.sizes for result in results),
        cap_hit=tuple(result.cap_hit for result in results),
        old_readings=sum(access.old for run in runs for access in run.manifest.accesses),
        class_mse=tuple(float(value) for value in np.mean([run.mse[-1] for run in runs], axis=0)),
    )


def compare(
    first: Sequence[Run], second: Sequence[Run], measure: Measure, what: Literal["growth", "replay"]
) -> Comparison | None:
    """How two regimes differ in a measure that is better lower, on the seeds they share; None without any.

    The words are made of the numbers alone, so that they say a loss as well as a win.
    """
    a, b = ({run.manifest.result.seed: run for run in runs} for runs in (first, second))
    seeds = tuple(seed for seed in a if seed in b)
    if not seeds:
        return None
    values = [[float(getattr(runs[s].manifest.result, measure)) for s in seeds] for runs in (a, b)]
    difference = estimate([x - y for x, y in zip(*values, strict=True)])
    means = [float(np.mean(column)) for column in values]
    ratio = means[0] / means[1] if means[1] > 0 and means[0] >= 0 else None
    verdict = _verdict(difference)
    names = (first[0].manifest.result.variant, second[0].manifest.result.variant)
    alike = all(a[s].manifest.result.sizes == b[s].manifest.result.sizes for s in seeds)
    words = _words(names, measure, means, difference, verdict, what)
    if what == "growth" and measure == "macro_mse":
        presented = [sum(runs[s].manifest.result.presented for s in seeds) for runs in (a, b)]
        words += (
            f" Both end with {'equal' if alike else 'different'} sizes; `{names[0]}` was presented "
            f"{presented[0] / presented[1]:.2f} times as many samples."
        )
    return Comparison(
        first=names[0],
        second=names[1],
        measure=measure,
        seeds=seeds,
        difference=difference,
        ratio=ratio,
        verdict=verdict,
        words=words,
    )


def _verdict(difference: Estimate) -> Verdict:
    if difference.low is None or difference.high is None:
        return "single"
    if difference.high < 0:
        return "lower"
    return "higher" if difference.low > 0 else "unclear"


def _words(
    names: tuple[str, str],
    measure: Measure,
    means: Sequence[float],
    difference: Estimate,
    verdict: Verdict,
    what: Literal["growth", "replay"],
) -> str:
    a, b = names
    told = f"`{a}` {means[0]:.4f}, `{b}` {means[1]:.4f}"
    if verdict == "single":
        side = "lower than" if difference.mean < 0 else "higher than" if difference.mean > 0 else "equal to"
        return (
            f"{_NAMES[measure]}, one seed: {told}. With {what} it is {side} without it; of one seed nothing follows "
            "for others."
        )
    count = len(difference.values)
    low, high = difference.low, difference.high
    numbers = f"difference {difference.mean:+.4f}, 95 % interval {low:+.4f} to {high:+.4f}, {count} seeds"
    if verdict == "unclear":
        end = f"With {count} seeds {what} cannot be told from no effect."
    elif verdict == "lower":
        end = f"{what.capitalize()} wins: it is lower with it."
    else:
        end = f"{what.capitalize()} loses: it is higher with it."
    return f"{_NAMES[measure]}: {told} ({numbers}). {end}"
