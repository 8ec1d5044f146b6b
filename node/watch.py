"""Watching a search: a live page on a terminal, one line an evaluation in a pipe."""

import math
import types
from typing import Self

import trio
from rich.console import Console, Group, RenderableType
from rich.live import Live
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn
from rich.table import Table

from evaluator.jobs import Progress as JobProgress
from genome import Genome
from node.front import Standing, hypervolume_of
from node.output import say
from node.report import front_header, front_row
from node.search import UNLIMITED, SearchState
from node.store.rows import EvaluationRow
from node.text import number, short, summary

__all__ = ["LineWatcher", "LiveWatcher"]

_ROWS = 12
_EVERY_S = 0.25


def opening(state: SearchState) -> str:
    """What is searched, and how far it is."""
    spec = state.spec
    known = f", {state.evaluations} on record" if state.rows else ""
    limit = "without end" if state.limit == UNLIMITED else f"{state.limit} evaluations"
    return (
        f"{spec.strategy} on {spec.task} ({spec.tier}), {spec.arithmetic}, seed {spec.seed}, "
        f"{state.workers} worker{'s' if state.workers > 1 else ''}: {limit}{known}"
    )


def line(state: SearchState, row: EvaluationRow) -> str:
    """One finished evaluation in one line."""
    if row.purpose == "rescore":
        count = f"fresh seed {row.ask}"
    else:
        count = str(state.evaluations) if state.limit == UNLIMITED else f"{state.evaluations}/{state.limit}"
    what = f"[{count}] {short(row.genome)} {summary(state.genomes[row.genome])}"
    if row.failure:
        return f"{what}  failed: {row.failure}: {row.detail}"
    values = (f"{o.name} {number(row.objectives[o.name], o)}" for o in state.objectives)
    return f"{what}  {'  '.join(values)}"


class LineWatcher:
    """Writes one line an evaluation to standard error."""

    def started(self, state: SearchState) -> None:
        """Say what is searched."""
        say(opening(state))

    def progressed(self, state: SearchState, genome: Genome, progress: JobProgress) -> None:
        """Nothing: a pipe gets whole evaluations."""

    def recorded(self, state: SearchState, row: EvaluationRow) -> None:
        """Say what came of an evaluation."""
        say(line(state, row))

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: types.TracebackType | None
    ) -> None:
        pass


class LiveWatcher:
    """Draws progress, best so far, the front and what the workers do, four times a second at most."""

    def __init__(self) -> None:
        self._console = Console(stderr=True, markup=False)
        self._bar = Progress(
            TextColumn("{task.description}"),
            BarColumn(),
            MofNCompleteColumn(),
            TimeElapsedColumn(),
            console=self._console,
        )
        self._task = self._bar.add_task("evaluations", total=None)
        self._live = Live(console=self._console, refresh_per_second=4, transient=True)
        self._running: dict[str, float] = {}
        self._drawn = -math.inf

    def __enter__(self) -> Self:
        self._live.__enter__()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: types.TracebackType | None
    ) -> None:
        self._live.__exit__(kind, error, trace)

    def started(self, state: SearchState) -> None:
        """Say what is searched, and draw what is on record."""
        self._console.print(opening(state), highlight=False)
        self._bar.update(self._task, total=state.limit, completed=state.evaluations)
        self._draw(state)

    def progressed(self, state: SearchState, genome: Genome, progress: JobProgress) -> None:
        """Show how far a worker is."""
        self._running[genome.id] = progress.done
        self._draw(state)

    def recorded(self, state: SearchState, row: EvaluationRow) -> None:
        """Show the front with a new record."""
        self._running.pop(row.genome, None)
        if row.purpose == "rescore":
            self._bar.update(self._task, description="scoring the front on fresh seeds")
        self._bar.update(self._task, completed=state.evaluations)
        self._draw(state)

    def _draw(self, state: SearchState) -> None:
        if trio.current_time() - self._drawn < _EVERY_S:
            return
        self._drawn = trio.current_time()
        front = state.front()
        drawn = Table(*front_header(state.objectives), box=None, title_justify="left")
        for standing in front[:_ROWS]:
            drawn.add_row(*front_row(standing, state.objectives, state.genomes[standing.genome]))
        parts: list[RenderableType] = [self._bar, *self._headline(state, front), drawn]
        if len(front) > _ROWS:
            parts.append(f"... and {len(front) - _ROWS} more: `eqmesh front` shows all")
        for genome, done in self._running.items():
            parts.append(f"training {short(genome)} {summary(state.genomes[genome])} {done:.0%}")
        self._live.update(Group(*parts))

    def _headline(self, state: SearchState, front: list[Standing]) -> list[str]:
        if not front:
            return []
        lead = state.objectives[0]
        failed = sum(row.failure is not None for row in state.rows)
        return [
            (
                f"best {lead.name} {number(front[0].objectives[lead.name], lead)}   "
                f"hypervolume {hypervolume_of(front, state.objectives):.4f}   front {len(front)}   failed {failed}"
            )
        ]
