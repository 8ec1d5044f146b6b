"""`eqmesh experiment incremental`: classes one after another, by classifiers that grow and replay."""

from collections.abc import Sequence
from pathlib import Path
from statistics import mean
from typing import Annotated, Literal

import msgspec
from cyclopts import Parameter

from evaluator.incremental.classifier.messages import (
    CLASSIFIER_VARIANTS,
    ClassifierResult,
    ClassifierVariant,
    Dataset,
    LearnClasses,
)
from evaluator.incremental.classifier.process import ask
from node import output
from node.commands.child import ask_child
from node.commands.options import Json
from node.errors import SettingsError

__all__ = ["incremental"]


def incremental(
    *,
    out: Annotated[Path, Parameter(help="Folder for results; a folder of the same experiment goes on.")],
    dataset: Annotated[
        Dataset, Parameter(help="Data set of images: digits, mnist or fashion-mnist.")
    ] = "digits",
    variant: Annotated[
        Literal["ndl", "cl", "ndl+ir", "cl+ir", "joint", "all"],
        Parameter(help="ndl grows, cl is fixed; +ir replays; joint learns all classes at once."),
    ] = "all",
    seeds: Annotated[int, Parameter(help="Runs of each variant.")] = 3,
    first_seed: Annotated[int, Parameter(help="The first seed; the others follow it.")] = 0,
    order: Annotated[str, Parameter(help="Order of the classes after 1 and 7: fixed, or a seed.")] = "fixed",
    split: Annotated[
        Literal["validation", "test"],
        Parameter(help="Split to measure on. test also learns the validation split: for final reports."),
    ] = "validation",
    smoke: Annotated[
        bool, Parameter(negative="", show_default=False, help="60 samples a class, a quarter of the epochs.")
    ] = False,
    per_class: Annotated[
        int | None, Parameter(help="Samples of a class to learn from, at most. [default: all]")
    ] = None,
    deadline: Annotated[
        float, Parameter(help="Seconds after which it is ended; the same command goes on.")
    ] = 3600.0,
    json: Json = False,
) -> int:
    """Learn 1 and 7, then class by class, by classifiers of Equilibrium Propagation that grow and replay, or do not.

    Writes accuracy.csv, accuracy.png, growth.csv and manifest.json for each variant and seed. Classes that were learned
    are not learned again. A fixed network is as large as the growing one with the same replay and seed ends.

    Example: eqmesh experiment incremental --dataset digits --variant all --seeds 1 --smoke --out incremental
    """
    if seeds < 1 or first_seed < 0:
        raise SettingsError(f"--seeds must be at least 1 and --first-seed 0, got {seeds} and {first_seed}.")
    if per_class is not None and per_class < 2:
        raise SettingsError(f"--per-class must be at least 2, got {per_class}.")
    chosen: tuple[ClassifierVariant, ...] = CLASSIFIER_VARIANTS if variant == "all" else (variant,)
    asked = LearnClasses(
        dataset=dataset,
        variants=chosen,
        seeds=tuple(range(first_seed, first_seed + seeds)),
        order_seed=_order_seed(order),
        split=split,
        smoke=smoke,
        per_class=per_class,
        out=str(out.absolute()),
    )
    results = ask_child(ask, asked, deadline_s=deadline)
    if json:
        output.write_json(msgspec.to_builtins(results))
    else:
        _show(results, chosen)
        output.say(f"wrote {out}: accuracy.csv, accuracy.png, growth.csv and manifest.json of each run")
    return 0


def _order_seed(text: str) -> int | None:
    if text == "fixed":
        return None
    if not text.isdecimal():
        raise SettingsError(f"--order expects fixed or a seed of at least 0, got {text!r}.")
    return int(text)


def _show(results: Sequence[ClassifierResult], variants: Sequence[ClassifierVariant]) -> None:
    rows = []
    for variant in variants:
        found = [one for one in results if one.variant == variant]
        rows.append(
            [
                variant,
                str(len(found)),
                _percent([one.accuracy for one in found]),
                _percent([one.forgetting for one in found if one.forgetting is not None]),
                _percent([one.backward_transfer for one in found if one.backward_transfer is not None]),
                _units([one.widths for one in found]),
                f"{mean(one.presented for one in found):.0f}",
                f"{mean(one.seconds for one in found):.1f}",
            ]
        )
    output.write_table(
        ["variant", "n", "accuracy %", "forgetting", "transfer", "hidden units", "samples", "s"],
        rows,
        title="After the last class; means over seeds, and the lowest and highest",
    )
    output.say(
        "samples: presented in training, epochs counted; transfer: backward, below 0 where harm was done"
    )


def _percent(values: Sequence[float]) -> str:
    if not values:
        return "-"
    low, high = 100 * min(values), 100 * max(values)
    spread = "" if len(values) == 1 else f" ({low:.1f} to {high:.1f})"
    return f"{100 * mean(values):.1f}{spread}"


def _units(widths: Sequence[tuple[int, ...]]) -> str:
    return " ".join(sorted({"-".join(map(str, one)) for one in widths}, key=lambda text: (len(text), text)))
