"""`eqmesh search`: the local search, from the first ask to the final table."""

import os
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Annotated

import trio
from cyclopts import Parameter

from node import output
from node.commands.options import Json
from node.report import document, front_header, front_rows
from node.search import SearchState
from node.service import run_search
from node.settings import Settings, describe, resolve
from node.watch import LineWatcher, LiveWatcher

__all__ = ["SearchFlags", "search"]

_ABOUT = describe()
_DEFAULTS = Settings()


def _flag(name: str, *aliases: str) -> Parameter:
    default = getattr(_DEFAULTS, name)
    shown = "" if default in ("", False, ()) else f" [default: {default}]"
    about = _ABOUT[name]
    option = f"--{name.replace('_', '-')}"
    return Parameter(
        name=(option, *aliases), help=f"{about[0].upper()}{about[1:]}.{shown}", show_default=False
    )


@Parameter(name="*")
@dataclass(frozen=True, kw_only=True)
class SearchFlags:
    """Every setting of a search; those that are None come from the environment, eqmesh.toml or the defaults."""

    task: Annotated[str | None, _flag("task")] = None
    tier: Annotated[str | None, _flag("tier", "--fidelity")] = None
    space: Annotated[str | None, _flag("space")] = None
    objectives: Annotated[str | None, _flag("objectives")] = None
    strategy: Annotated[str | None, _flag("strategy")] = None
    evaluations: Annotated[int | None, _flag("evaluations", "-n")] = None
    minutes: Annotated[float | None, _flag("minutes")] = None
    workers: Annotated[int | None, _flag("workers", "-w")] = None
    seed: Annotated[int | None, _flag("seed")] = None
    arithmetic: Annotated[str | None, _flag("arithmetic")] = None
    backend: Annotated[str | None, _flag("backend")] = None
    store: Annotated[str | None, _flag("store")] = None
    reproducible: Annotated[bool | None, _flag("reproducible")] = None
    population: Annotated[int | None, _flag("population")] = None
    rescore: Annotated[int | None, _flag("rescore")] = None
    worker_memory: Annotated[int | None, _flag("worker_memory")] = None
    genome_memory: Annotated[int | None, _flag("genome_memory")] = None
    genome_macs: Annotated[float | None, _flag("genome_macs")] = None
    deadline: Annotated[float | None, _flag("deadline")] = None
    nice: Annotated[int | None, _flag("nice")] = None
    keep_weights: Annotated[bool | None, _flag("keep_weights")] = None


def search(*, flags: SearchFlags | None = None, json: Json = False) -> int:
    """Search for good Equilibrium Propagation networks, or go on with a search.

    The same command on the same store continues where it was stopped, by Ctrl-C, a crash or a power
    cut. A larger --evaluations extends a finished search.

    Example: eqmesh search --task digits --evaluations 60 --seed 1
    """
    given = asdict(flags) if flags else {}
    settings = resolve(given, folder=Path.cwd(), environ=os.environ).settings
    with LiveWatcher() if output.interactive() and not json else LineWatcher() as watcher:
        state = trio.run(run_search, settings, watcher)
    _conclude(state, settings, json=json)
    if state.stopped and state.stopped.startswith("stopped"):
        return 130
    if state.rows and all(row.failure for row in state.rows):
        last = state.rows[-1]
        output.say(f"every evaluation failed; the last one: {last.failure}: {last.detail}")
        return 3
    return 0


def _conclude(state: SearchState, settings: Settings, *, json: bool) -> None:
    found = state.standings()
    result = document(state.spec, state.rows, found, state.objectives, state.genomes)
    result |= {"store": settings.store, "run": state.run, "stopped": state.stopped}
    if json:
        output.write_json(result)
    else:
        title = (
            f"front of {state.spec.task} ({state.spec.tier}, {state.spec.arithmetic}, seed {state.spec.seed}): "
            f"{result['evaluations']} evaluations, {result['failures']} failed, "
            f"hypervolume {result['hypervolume']:.4f}"
        )
        output.write_table(
            front_header(state.objectives),
            front_rows(found, state.objectives, state.genomes),
            title=title,
        )
        output.say("mean ± standard deviation over n fresh seeds; n = 0: as selected")
    again = [row for row in state.rows if row.purpose == "rescore"]
    if failed := [row for row in again if row.failure]:
        output.say(
            f"{len(failed)} of {len(again)} scores on fresh seeds failed; the last: {failed[-1].failure}: "
            f"{failed[-1].detail}"
        )
    if state.stopped:
        goes_on = "" if state.exhausted else " The same command goes on from there."
        output.say(
            f"{state.stopped}: {state.evaluations} of {state.limit} evaluations are on record in "
            f"{settings.store}.{goes_on}"
        )
