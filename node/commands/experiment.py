"""`eqmesh experiment`: learning tasks that no search is made of, each beside its baselines."""

from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Literal

import msgspec
from cyclopts import Parameter

from evaluator.control.process import CartPole, Manifest, ask
from evaluator.control.settings import CREDITS, CartPoleSettings, Credit
from evaluator.control.summaries import Summary
from node import output
from node.commands.child import ask_child
from node.commands.options import Json
from node.errors import SettingsError

__all__ = ["cartpole"]


def cartpole(
    *,
    out: Annotated[Path, Parameter(help="Folder for results; a folder of the same experiment goes on.")],
    seeds: Annotated[int, Parameter(help="Trainings of each credit.")] = 10,
    steps: Annotated[int, Parameter(help="Steps of the environment that a training may take.")] = 50_000,
    credit: Annotated[
        Literal["ep", "backprop", "random", "all"],
        Parameter(help="What tells weights their share of the outcome: ep, backprop, random or all."),
    ] = "all",
    hidden: Annotated[
        str, Parameter(help="Units of the hidden layers of both networks, with commas between them.")
    ] = "64",
    first_seed: Annotated[int, Parameter(help="The first seed; the others follow it.")] = 0,
    deadline: Annotated[
        float, Parameter(help="Seconds after which it is ended; the same command goes on.")
    ] = 3600.0,
    json: Json = False,
) -> int:
    """Balance a pole by a policy that learns by Equilibrium Propagation, beside backpropagation and chance.

    Writes one JSON file a training, curves.csv, curves.png and manifest.json. Trainings that ended are not run again.

    Example: eqmesh experiment cartpole --seeds 10 --steps 50000 --out cartpole
    """
    chosen: tuple[Credit, ...] = CREDITS if credit == "all" else (credit,)
    asked = CartPole(
        settings=CartPoleSettings(steps=steps, hidden=_sizes(hidden)),
        credits=chosen,
        first_seed=first_seed,
        seeds=seeds,
        out=str(out.absolute()),
    )
    manifest = ask_child(ask, asked, deadline_s=deadline)
    if json:
        output.write_json(msgspec.to_builtins(manifest))
    else:
        _show(manifest)
        output.say(f"wrote {out}: manifest.json, curves.csv, curves.png")
    return 0


def _sizes(text: str) -> tuple[int, ...]:
    try:
        return tuple(int(part) for part in text.split(","))
    except ValueError:
        raise SettingsError(f"--hidden expects whole numbers, such as 64 or 64,64, got {text!r}.") from None


def _show(manifest: Manifest) -> None:
    output.write_table(
        ["credit", "seeds", "mean", "IQM", "worst", "passed", "from", "CPU s"],
        [_row(found) for found in manifest.results],
        title=f"Return after {manifest.results[0].steps} steps, at most 500",
    )
    output.say("from: steps from which on the mean over seeds is 400 or more; CPU s: a training, median")


def _row(found: Summary) -> Sequence[str]:
    spread = "" if found.half_width is None else f" ±{found.half_width:.1f}"
    middle = "-" if found.iqm is None else f"{found.iqm:.1f} ({found.iqm_low:.1f} to {found.iqm_high:.1f})"
    return [
        found.credit,
        str(found.seeds),
        f"{found.mean:.1f}{spread}",
        middle,
        f"{found.worst:.1f}",
        f"{found.passed}/{found.seeds}",
        "-" if found.kept_after is None else str(found.kept_after),
        f"{found.cpu_s:.1f}",
    ]
