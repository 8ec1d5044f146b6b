"""The trio loop of a search: ask, run in the pool, record; then score the winners again."""

import itertools
import math
from collections.abc import Awaitable, Callable, Collection, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Literal, Protocol, TypeVar

import msgspec
import trio

from evaluator.jobs import Calibration, CostLimits, Failure, Job, Outcome, Progress, Result
from evaluator.objectives import Objective, probes_of
from evaluator.pool import Pool
from genome import Birth, Genome
from node.errors import SearchError
from node.front import Standing, front_of, hypervolume_of, standings
from node.schedule import Ask, Done, Schedule, evaluation_seed
from node.store.rows import EvaluationRow, RunSpec
from node.store.writer import Writer

__all__ = [
    "UNLIMITED",
    "Alone",
    "Companion",
    "Disk",
    "Observer",
    "SearchLoop",
    "SearchState",
    "Stage",
    "threaded_disk",
]

UNLIMITED = 2**31 - 1
"""The limit of a search that goes on for as long as its node does."""

T = TypeVar("T")

_NOBODYS_FAULT = ("data", "environment")
# Failures that another attempt on the same seed would not mend.
_FINAL = ("refused", "diverged", "out-of-memory", "deadline")


class Observer(Protocol):
    """Whoever watches a search. Calls come from the loop and must return at once."""

    def started(self, state: "SearchState") -> None:
        """The run is open; `state` says how much of it was on record already."""

    def progressed(self, state: "SearchState", genome: Genome, progress: Progress) -> None:
        """A worker got so far with a genome."""

    def recorded(self, state: "SearchState", row: EvaluationRow) -> None:
        """One evaluation is on record."""


class Companion(Protocol):
    """Whoever makes something of each result beyond the search: a mesh, or nobody."""

    async def recorded(
        self,
        genome: Genome,
        birth: Birth | None,
        values: Mapping[str, float] | None,
        *,
        failure: str | None,
    ) -> None:
        """One evaluation of the search is on record: its objectives, or the kind of its failure."""


class Alone:
    """The companion of a search without a mesh."""

    async def recorded(
        self,
        genome: Genome,
        birth: Birth | None,
        values: Mapping[str, float] | None,
        *,
        failure: str | None,
    ) -> None:
        """Nothing is made of it."""


Stage = Literal["running", "scoring", "serving"]
"""What a loop does: ask and train, score its winners on fresh seeds, or nothing more while its node goes on."""

Disk = Callable[[Callable[[], None]], Awaitable[None]]
"""Runs what waits for the disk; one after the other, for all who write to one store."""


def threaded_disk() -> Disk:
    """A disk that is waited for in a thread, so that nothing else waits."""
    limiter = trio.CapacityLimiter(1)

    async def disk(act: Callable[[], None]) -> None:
        await trio.to_thread.run_sync(act, limiter=limiter)

    return disk


class SearchState(msgspec.Struct, kw_only=True):
    """What is known of a run while it goes on; the loop alone changes it.

    `asks` evaluations are asked for at a time; 0 for one of each worker.
    """

    run: int
    spec: RunSpec
    objectives: tuple[Objective, ...]
    limit: int
    workers: int
    asks: int = 0
    rows: list[EvaluationRow] = []
    genomes: dict[str, Genome] = {}
    stopped: str | None = None
    exhausted: bool = False

    @property
    def evaluations(self) -> int:
        """Baselines and candidates on record."""
        return sum(row.purpose in ("baseline", "search") for row in self.rows)

    def standings(self) -> list[Standing]:
        """What the run's rows say of each genome."""
        return standings(self.rows)

    def front(self) -> list[Standing]:
        """The run's front so far."""
        return front_of(self.standings(), self.objectives)

    def hypervolume(self) -> float:
        """Hypervolume of that front."""
        return hypervolume_of(self.front(), self.objectives)


class SearchLoop:
    """Runs one search on a store that it alone writes. Everything it knows is a fold over the record."""

    def __init__(
        self,
        *,
        writer: Writer,
        pool: Pool,
        schedule: Schedule,
        state: SearchState,
        observer: Observer,
        limits: CostLimits,
        backend: str,
        deadline_s: float,
        calibration: Calibration | None,
        spool: Path,
        keep_weights: bool,
        disk: Disk,
        companion: Companion,
    ) -> None:
        self._writer = writer
        self._pool = pool
        self._schedule = schedule
        self._state = state
        self._observer = observer
        self._limits = limits
        self._backend = backend
        self._deadline_s = deadline_s
        self._calibration = calibration
        self._spool = spool
        self._keep_weights = keep_weights
        self._disk = disk
        self._companion = companion
        self.stage: Stage = "running"
        self.paused = False
        self.training = 0
        self._wake = trio.Event()
        self._scoring: set[tuple[str, int]] = set()

    def hold(self, *, on: bool) -> None:
        """Begin no further evaluation, or go on. What is under way goes on, and the record is the same either way."""
        self.paused = on
        self.nudge()

    def nudge(self) -> None:
        """Have the loop look again at what it may ask for."""
        self._wake.set()
        self._wake = trio.Event()

    async def run(self, *, ask_until: float = math.inf) -> None:
        """Ask until the run's limit, the strategy's end or the trio time `ask_until`; then wait for all.

        While it is held it asks for nothing, but at `ask_until` it ends all the same.
        """
        in_flight = 0
        at_a_time = self._state.asks or self._state.workers

        async def evaluate(ask: Ask) -> None:
            nonlocal in_flight
            genome = ask.proposal.genome
            purpose = "baseline" if ask.baseline else "search"
            result = await self._evaluate(genome, number=ask.number, replicate=0)
            await self._record(ask.number, purpose, genome, ask, result)
            in_flight -= 1
            self.nudge()

        async with trio.open_nursery() as nursery:
            while True:
                while not self.paused and in_flight < at_a_time and trio.current_time() < ask_until:
                    ask = self._schedule.next(self._state.limit)
                    if ask is None:
                        break
                    in_flight += 1
                    nursery.start_soon(evaluate, ask)
                if in_flight == 0 and (not self.paused or trio.current_time() >= ask_until):
                    break
                with trio.move_on_at(math.inf if in_flight else ask_until):
                    await self._wake.wait()
        await self._on_disk(self._drop_weights)
        if self._schedule.exhausted:
            self._state.exhausted = True
            self._state.stopped = "every genome of the space was evaluated here or by others"
        elif self._state.evaluations < self._state.limit:
            self._state.stopped = "the time is up"

    async def rescore(self, replicates: int) -> None:
        """Score the front, and the baselines beside it, on `replicates` fresh seeds.

        All are offered to the pool at once, which trains seeds of one genome together where that is faster, and
        recorded genome by genome, seed by seed. A seed on which a worker ended, or the task's own code raised, is made
        up for by another one, but only when the search is run again: what broke it may be mended by then.
        """
        self.stage = "scoring"
        found = standings(row for row in self._state.rows if row.purpose != "rescore")
        winners = front_of(found, self._state.objectives)
        chosen = [*winners, *(standing for standing in found if standing.baseline)]
        tried: dict[str, list[EvaluationRow]] = {standing.genome: [] for standing in chosen}
        for row in self._state.rows:
            if row.purpose == "rescore" and row.genome in tried:
                tried[row.genome].append(row)
        waiting = [
            (replicate, self._state.genomes[genome])
            for genome, rows in tried.items()
            for replicate in _missing(rows, replicates, self._taken(genome))
        ]
        self._scoring |= {(genome.id, replicate) for replicate, genome in waiting}
        results: dict[int, Result] = {}
        recorded, turn = 0, trio.Lock()

        async def record(position: int) -> None:
            replicate, genome = waiting[position]
            await self._record(replicate, "rescore", genome, None, results.pop(position))

        async def score(position: int) -> None:
            nonlocal recorded
            replicate, genome = waiting[position]
            while self.paused:
                await self._wake.wait()
            results[position] = await self._evaluate(genome, number=replicate, replicate=replicate)
            async with turn:
                while recorded in results:
                    await record(recorded)
                    recorded += 1

        try:
            async with trio.open_nursery() as nursery:
                for position in range(len(waiting)):
                    nursery.start_soon(score, position)
        finally:
            # Of a search that is stopped, results that waited for their turn are written all the same.
            for position in sorted(results):
                await record(position)
        await self._on_disk(self._drop_weights)

    async def score_once_more(self, genome: Genome) -> None:
        """Score one genome of the run on the next fresh seed, by order of the owner."""
        rows = [row for row in self._state.rows if row.purpose == "rescore" and row.genome == genome.id]
        (replicate,) = _missing(rows, 1 + _settled(rows), self._taken(genome.id))
        self._scoring.add((genome.id, replicate))
        result = await self._evaluate(genome, number=replicate, replicate=replicate)
        await self._record(replicate, "rescore", genome, None, result)

    def _taken(self, genome: str) -> set[int]:
        """Numbers of the fresh seeds that were given out for a genome since this loop began."""
        return {replicate for name, replicate in self._scoring if name == genome}

    async def _evaluate(self, genome: Genome, *, number: int, replicate: int) -> Result:
        self.training += 1
        spec = self._state.spec
        self._state.genomes[genome.id] = genome
        job = Job(
            number=number,
            task=spec.task,
            task_id=spec.task_id,
            tier=spec.tier,
            space=spec.space_source,
            genome=genome.canonical(),
            genome_id=genome.id,
            seed=evaluation_seed(spec.seed, genome.id, replicate),
            arithmetic=spec.arithmetic,
            # The baseline has one way to be trained.
            backend="auto" if genome.get("credit") == "backprop" else self._backend,
            purpose="rescore" if replicate else "search",
            deadline_s=self._deadline_s,
            limits=self._limits,
            calibration=self._calibration,
            spool=str(self._spool),
            probes=probes_of(spec.objectives),
        )
        result = await self._pool.run(
            job, on_progress=partial(self._observer.progressed, self._state, genome)
        )
        if isinstance(result, Failure) and result.kind in _NOBODYS_FAULT:
            # On record it would count against the genome for ever, though no genome can do better here.
            raise SearchError(f"the search cannot go on: {result.detail}")
        return result

    async def _record(
        self, number: int, purpose: str, genome: Genome, ask: Ask | None, result: Result
    ) -> None:
        birth = ask.proposal.birth if ask else None
        # Once a result is there it is written, also when the search is being stopped meanwhile.
        with trio.CancelScope(shield=True):
            guests = ask.guests if ask else ()
            row = await self._on_disk(
                partial(self._writer.record, self._state.run, number, purpose, genome, birth, result, guests)
            )
            self._state.rows.append(row)
            if ask is not None:
                self._schedule.record(done_of(row, ask))
            await self._on_disk(partial(self._keep_or_drop, result))
        self.training -= 1
        self._observer.recorded(self._state, row)
        if purpose == "search":
            await self._companion.recorded(
                genome, birth, None if row.failure else row.objectives, failure=row.failure
            )

    def _keep_or_drop(self, result: Result) -> None:
        """Weights follow from the job, so only those of the front are kept, unless all were asked for."""
        if not isinstance(result, Outcome) or not result.weights:
            return
        file = self._spool / f"{result.weights}.safetensors"
        front = {standing.genome for standing in self._state.front()}
        if self._keep_weights or result.genome in front:
            folder = self._writer.weights_folder
            folder.mkdir(exist_ok=True)
            file.replace(folder / file.name)
        else:
            file.unlink(missing_ok=True)

    def _drop_weights(self) -> None:
        """Delete the weights of this run's genomes that left the front meanwhile."""
        if self._keep_weights:
            return
        front = {standing.genome for standing in self._state.front()}
        kept = {row.weights for row in self._state.rows if row.genome in front}
        # Another run of this store may have trained the same: what it keeps is its own to drop.
        kept |= self._writer.weights_of_others(self._state.run)
        for row in self._state.rows:
            if row.weights and row.weights not in kept:
                (self._writer.weights_folder / f"{row.weights}.safetensors").unlink(missing_ok=True)

    async def _on_disk(self, act: Callable[[], T]) -> T:
        results: list[T] = []
        await self._disk(lambda: results.append(act()))
        return results[0]


def _missing(rows: Sequence[EvaluationRow], replicates: int, taken: Collection[int]) -> list[int]:
    """Numbers of the fresh seeds on which a genome is still to be scored; `taken` are those under way."""
    used = {row.ask for row in rows} | set(taken)
    free = (number for number in itertools.count(1) if number not in used)
    return list(itertools.islice(free, max(0, replicates - _settled(rows))))


def _settled(rows: Sequence[EvaluationRow]) -> int:
    """On how many fresh seeds a genome has a score, or a failure that would come again."""
    return sum(row.failure is None or row.failure in _FINAL for row in rows)


def done_of(row: EvaluationRow, ask: Ask) -> Done:
    """What the schedule sees of a recorded evaluation."""
    return Done(
        number=ask.number,
        genome=ask.proposal.genome,
        birth=ask.proposal.birth,
        objectives=None if row.failure else row.objectives,
        baseline=ask.baseline,
    )
