"""`eqmesh experiment neurogenesis`: classes learned one after another, by networks that grow and replay."""

import os
from pathlib import Path
from typing import Annotated, Literal, get_args

import trio
from cyclopts import Parameter

from evaluator.incremental.messages import Estimate, Learn, Look, Summary
from evaluator.incremental.process import learn_all, look
from node import output
from node.commands.options import Json
from node.errors import SettingsError
from node.service import worker_count
from node.settings import Settings, resolve

__all__ = ["neurogenesis", "show"]

Dataset = Literal["digits", "mnist", "fashion-mnist", "sd19"]
Variant = Literal["cl", "ndl", "cl+ir", "ndl+ir", "all"]

# Regimes that one process learns: the second is sized as the first ends, so they must not run side by side.
_FAMILIES = (("ndl", "cl"), ("ndl+ir", "cl+ir"))


def neurogenesis(
    *,
    out: Annotated[Path, Parameter(help="Folder for results; a folder of the same experiment goes on.")],
    dataset: Annotated[Dataset, Parameter(help="Data to learn.")] = "digits",
    variant: Annotated[
        Variant, Parameter(help="Growing (ndl) or fixed (cl), with intrinsic replay (+ir) or not.")
    ] = "all",
    seeds: Annotated[int, Parameter(help="Seeds of each variant: 0 to N - 1.")] = 1,
    order: Annotated[
        str, Parameter(help="Order of the classes after the first: fixed (ascending), or a seed to draw it.")
    ] = "fixed",
    split: Annotated[
        Literal["validation", "test"],
        Parameter(
            help="Split to measure on. test also learns the validation split, and is for final reports."
        ),
    ] = "validation",
    smoke: Annotated[
        bool,
        Parameter(negative="", show_default=False, help="60 samples a class and a quarter of the epochs."),
    ] = False,
    per_class: Annotated[
        int | None, Parameter(help="Learn at most so many samples a class. [default: all; sd19: 1000]")
    ] = None,
    data: Annotated[Path | None, Parameter(help="Folder with the images of sd19.")] = None,
    workers: Annotated[
        int | None, Parameter(name=("--workers", "-w"), help="Worker processes; 0 for one a core.")
    ] = None,
    deadline: Annotated[
        float, Parameter(help="Seconds after which a process is ended; the same command goes on.")
    ] = 86400.0,
    json: Json = False,
) -> int:
    """Learn classes one after another with stacked autoencoders that grow or not, with replay or without.

    Writes a folder for each run, and plots. Finished runs are not run again, interrupted ones go on. A fixed network
    is as large as the growing one ends, so that one runs first.

    Example: eqmesh experiment neurogenesis --dataset digits --variant all --seeds 3 --out neurogenesis
    """
    if not deadline > 0:
        raise SettingsError(f"--deadline must be above 0 seconds, got {deadline:g}.")
    if seeds < 1:
        raise SettingsError(f"--seeds must be at least 1, got {seeds}.")
    settings = resolve({"workers": workers}, folder=Path.cwd(), environ=os.environ).settings
    chosen = [one for one in get_args(Variant) if one == variant or variant == "all"]
    order_seed = _order(order)
    questions = [
        Learn(
            dataset=dataset,
            variants=tuple(one for one in family if one in chosen),
            seed=seed,
            out=str(out.absolute()),
            split=split,
            order_seed=order_seed,
            smoke=smoke,
            per_class=per_class,
            folder=None if data is None else str(data.absolute()),
        )
        for seed in range(seeds)
        for family in _FAMILIES
        if any(one in chosen for one in family)
    ]
    summary = trio.run(_learn, questions, settings, deadline)
    if json:
        output.write_json(summary)
    else:
        show(summary)
    return 0


def _order(text: str) -> int | None:
    if text == "fixed":
        return None
    try:
        return int(text)
    except ValueError:
        raise SettingsError(f"--order expects fixed or a seed, a whole number, got {text!r}.") from None


async def _learn(questions: list[Learn], settings: Settings, deadline_s: float) -> Summary:
    memory_bytes, nice = settings.worker_memory * 2**20, settings.nice
    await learn_all(
        questions,
        workers=worker_count(settings),
        memory_bytes=memory_bytes,
        nice=nice,
        deadline_s=deadline_s,
    )
    question = Look(out=questions[0].out, report=False)
    return await look(question, memory_bytes=memory_bytes, nice=nice, deadline_s=deadline_s)


def show(summary: Summary) -> None:
    """Write a summary as a table of regimes, with the comparisons and what was written as talk."""
    output.write_table(
        [
            "regime",
            "seeds",
            "macro MSE",
            "forgetting",
            "backward transfer",
            "accuracy",
            "samples",
            "sizes, first seed",
        ],
        [
            [
                one.variant,
                str(len(one.seeds)),
                _cell(one.macro_mse),
                _cell(one.forgetting),
                _cell(one.backward_transfer),
                "none" if one.accuracy is None else _cell(one.accuracy),
                f"{one.presented.mean:.0f}",
                "-".join(map(str, one.sizes[0])),
            ]
            for one in summary.regimes
        ],
        title=summary.data,
    )
    for comparison in summary.comparisons:
        output.say(comparison.words)
    for run in summary.unfinished:
        output.say(f"not finished, so not counted: {run}")
    for path in summary.files:
        output.say(f"wrote {path}")


def _cell(found: Estimate) -> str:
    if found.low is None or found.high is None:
        return f"{found.mean:.4f}"
    return f"{found.mean:.4f} ±{(found.high - found.low) / 2:.4f}"
