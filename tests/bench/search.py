"""nsga2 against random search on digits: equal evaluations, paired seeds, the real loop and store.

    python -m tests.bench.search --output tests/bench/results/search.json

Both strategies get the same baselines and the same seed genomes, and every genome is scored again on fresh
seeds if it ends on the front. The hypervolume is the search's own, before and after that. This machine is measured
anew first, and that calibration serves every search. What is done is kept in OUTPUT.partial.jsonl until the end.
"""

import os
import statistics
import tempfile
from collections.abc import Sequence
from pathlib import Path

import msgspec
import trio

from evaluator.jobs import Progress
from evaluator.objectives import Objective
from genome import Genome
from node.comparison import interval
from node.front import front_of, hypervolume_of, standings
from node.search import SearchState
from node.service import run_search
from node.settings import Settings, calibration_path
from node.store.rows import EvaluationRow
from tests.bench.report import Cell, Column, Figure, Report, Table, arguments, finish, origin

__all__ = ["Silent"]

_STRATEGIES = ("nsga2", "random")
_QUARTERS = 4
_TARGET_SEEDS = 5  # the design's figure is about the first five seeds; more of them say how far to trust it


class Silent:
    """Watches a search without a word."""

    def started(self, state: SearchState) -> None:
        """Nothing."""

    def progressed(self, state: SearchState, genome: Genome, progress: Progress) -> None:
        """Nothing."""

    def recorded(self, state: SearchState, row: EvaluationRow) -> None:
        """Nothing."""


class Found(msgspec.Struct, frozen=True, kw_only=True):
    """One finished search."""

    strategy: str
    seed: int
    evaluations: int
    failures: int
    selected: float
    fresh: float
    best_accuracy: float
    front: int
    growth: dict[int, float]
    settings: str
    source: str


def volume(rows: Sequence[EvaluationRow], objectives: tuple[Objective, ...]) -> float:
    """Hypervolume of the front of these rows."""
    return hypervolume_of(front_of(standings(rows), objectives), objectives)


def kept_calibration(partial: Path) -> Path:
    """Where an interrupted benchmark leaves its calibration."""
    return partial.with_name(f"calibration-{partial.name}")


def state_of(folder: Path, partial: Path | None) -> Path:
    """The file of calibrations of this benchmark alone: new, or what an interrupted one left behind."""
    os.environ["EQMESH_STATE_DIR"] = str(folder)
    path = calibration_path()
    if partial is not None and kept_calibration(partial).exists():
        path.write_bytes(kept_calibration(partial).read_bytes())
    return path


def identity(settings: Settings) -> str:
    """What two searches must share for one to stand for the other."""
    return msgspec.json.encode(msgspec.structs.replace(settings, store="")).decode()


def searched(settings: Settings, source: str) -> Found:
    """Run one search and sum it up."""
    state = trio.run(run_search, settings, Silent())
    if state.stopped:
        raise SystemExit(f"the search was to end by itself: {state.stopped}")
    asked = [row for row in state.rows if row.purpose != "rescore"]
    if not state.front():
        raise SystemExit(
            f"nothing came to the front, the last failure: {asked[-1].failure}: {asked[-1].detail}"
        )
    marks = [-(-len(asked) * i // _QUARTERS) for i in range(1, _QUARTERS + 1)]
    front = state.front()
    return Found(
        strategy=settings.strategy,
        seed=settings.seed,
        evaluations=len(asked),
        failures=sum(row.failure is not None for row in asked),
        selected=volume(asked, state.objectives),
        fresh=state.hypervolume(),
        best_accuracy=max(standing.objectives["accuracy"] for standing in front),
        front=len(front),
        growth={mark: volume(asked[:mark], state.objectives) for mark in marks},
        settings=identity(settings),
        source=source,
    )


def earlier(partial: Path | None, source: str) -> dict[str, Found]:
    """Searches of this very code that an interrupted benchmark left behind, by their settings."""
    if partial is None or not partial.exists():
        return {}
    rows = [msgspec.json.decode(line, type=Found) for line in partial.read_bytes().splitlines()]
    return {row.settings: row for row in rows if row.source == source}


def wins_of(found: Sequence[Found], field: str) -> tuple[int, int]:
    """Seeds in which nsga2's value is the larger one, of how many."""
    gaps = gaps_of(found, field)
    return sum(gap > 0 for gap in gaps), len(gaps)


def ahead(found: Sequence[Found], mark: int) -> int:
    """Seeds in which nsga2's hypervolume is the larger one after so many evaluations."""
    by_seed: dict[int, dict[str, float]] = {}
    for one in found:
        by_seed.setdefault(one.seed, {})[one.strategy] = one.growth[mark]
    return sum(pair["nsga2"] > pair["random"] for pair in by_seed.values())


def gaps_of(found: Sequence[Found], field: str) -> list[float]:
    """By how much nsga2's value is the larger one, seed by seed."""
    by_seed: dict[int, dict[str, float]] = {}
    for one in found:
        by_seed.setdefault(one.seed, {})[one.strategy] = getattr(one, field)
    return [pair["nsga2"] - pair["random"] for pair in by_seed.values()]


def figures(found: Sequence[Found]) -> tuple[Figure, ...]:
    """The design's figure, and the same over every seed that was run."""
    first = [one for one in found if one.seed <= _TARGET_SEEDS]
    (won, of), (won_fresh, _) = wins_of(first, "selected"), wins_of(first, "fresh")
    needed = -(-4 * of // 5)
    shown = [
        Figure(
            what=f"nsga2 against random, equal evaluations, digits, seeds 1 to {of}: larger hypervolume",
            target=f"in at least {needed} of {of}",
            measured=f"{won} of {of} as selected, {won_fresh} of {of} on fresh seeds",
            reached=won >= needed,
        )
    ]
    (won, of), (won_fresh, _) = wins_of(found, "selected"), wins_of(found, "fresh")
    marks = list(found[0].growth)
    shown.append(
        Figure(
            what=f"the same after each quarter of the evaluations ({', '.join(map(str, marks))})",
            target="stated",
            measured=", ".join(f"{ahead(first, mark)} of {len(first) // 2}" for mark in marks),
        )
    )
    if of > _TARGET_SEEDS:
        gap = interval(gaps_of(found, "selected"))
        shown.append(
            Figure(
                what=f"the same over {of} paired seeds, and the mean difference of the hypervolumes",
                target="stated",
                measured=f"{won} of {of} as selected, {won_fresh} of {of} on fresh seeds; "
                f"{gap.mean:+.4f} ± {gap.half_width:.4f}",
            )
        )
    return tuple(shown)


def pairs_table(found: Sequence[Found]) -> Table:
    """One line a seed, both strategies beside each other."""
    rows: list[list[Cell]] = []
    for seed in sorted({one.seed for one in found}):
        first, second = (
            next(one for one in found if (one.seed, one.strategy) == (seed, name)) for name in _STRATEGIES
        )
        rows.append(
            [
                seed,
                first.selected,
                second.selected,
                first.fresh,
                second.fresh,
                100 * first.best_accuracy,
                100 * second.best_accuracy,
                f"{first.front} / {second.front}",
                f"{first.failures} / {second.failures}",
            ]
        )
    return Table(
        title="Hypervolume of the front, nsga2 beside random",
        columns=(
            Column("seed"),
            Column("nsga2, as selected", ".4f"),
            Column("random, as selected", ".4f"),
            Column("nsga2, fresh seeds", ".4f"),
            Column("random, fresh seeds", ".4f"),
            Column("nsga2, best accuracy, %", ".2f"),
            Column("random, best accuracy, %", ".2f"),
            Column("front sizes"),
            Column("failed"),
        ),
        rows=rows,
        note="Hypervolume: share of the unit cube that the front dominates; accuracy linear from 0 to 1, speed and "
        "memory on log scales (`evaluator/objectives.py`). Best accuracy: mean over fresh seeds, validation split.",
    )


def growth_table(found: Sequence[Found]) -> Table:
    """Mean hypervolume after each quarter of the evaluations."""
    rows: list[list[Cell]] = []
    for name in _STRATEGIES:
        own = [one for one in found if one.strategy == name]
        rows.append(
            [
                name,
                *(statistics.fmean(list(one.growth.values())[i] for one in own) for i in range(_QUARTERS)),
            ]
        )
    marks = list(found[0].growth)
    return Table(
        title="Mean hypervolume, as selected, after so many evaluations",
        columns=(Column("strategy"), *(Column(str(mark), ".4f") for mark in marks)),
        rows=rows,
    )


def main() -> None:
    """Run every pair and report."""
    parser = arguments(__doc__ or "")
    parser.add_argument("--evaluations", type=int, default=240)
    parser.add_argument("--seeds", type=int, default=5)
    parser.add_argument("--tier", default="quick")
    parser.add_argument("--workers", type=int, default=0)
    options = parser.parse_args()
    began = origin("search")
    smoke = bool(options.smoke)
    seeds = tuple(range(1, 2 if smoke else options.seeds + 1))
    found: list[Found] = []
    partial = options.output.with_suffix(".partial.jsonl") if options.output else None
    known = earlier(partial, began.source)
    with tempfile.TemporaryDirectory() as folder:
        calibrations = state_of(Path(folder), partial)
        for seed in seeds:
            # Every second pair begins with the other strategy, whatever the machine does meanwhile.
            for strategy in _STRATEGIES[:: 1 if seed % 2 else -1]:
                settings = Settings(
                    store=str(Path(folder) / f"{strategy}-{seed}.db"),
                    tier="smoke" if smoke else options.tier,
                    strategy=strategy,
                    evaluations=6 if smoke else options.evaluations,
                    population=4 if smoke else Settings().population,
                    rescore=1 if smoke else 2,
                    workers=1 if smoke else options.workers,
                    seed=seed,
                    reproducible=True,
                    nice=0,
                )
                one = known.get(identity(settings)) or searched(settings, began.source)
                if partial is not None and identity(settings) not in known:
                    partial.parent.mkdir(parents=True, exist_ok=True)
                    with partial.open("ab") as file:
                        file.write(msgspec.json.encode(one) + b"\n")
                    kept_calibration(partial).write_bytes(calibrations.read_bytes())
                found.append(one)
                print(
                    f"seed {seed} {strategy}: {one.selected:.4f} as selected, {one.fresh:.4f} on fresh seeds",
                    flush=True,
                )
        measured = calibrations.read_bytes()
    finish(
        Report(
            name="search",
            title="nsga2 against random search",
            about=f"digits, tier {settings.tier}, the default space and population, {found[0].evaluations} evaluations "
            f"a search of which the first is the backprop baseline (it counts for no front) and the next four are the "
            f"same presets in both; then the front on {settings.rescore} fresh seeds. Run with `reproducible`, so "
            "that timing decides nothing: the same calibration gives the same searches again.",
            smoke=smoke,
            seeds=seeds,
            figures=figures(found),
            tables=(pairs_table(found), growth_table(found)),
            origin=began,
            data={"searches": found, "calibrations": msgspec.json.decode(measured)},
        ),
        options.output,
    )
    if partial is not None:
        partial.unlink(missing_ok=True)
        kept_calibration(partial).unlink(missing_ok=True)


if __name__ == "__main__":
    main()
