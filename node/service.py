"""The composition root: opens store, pool, calibration and strategy in one place, and closes them in order."""

import math
import os
import signal
from collections.abc import Mapping
from contextlib import ExitStack
from datetime import UTC, datetime
from functools import partial
from pathlib import Path

import trio

from evaluator import calibration
from evaluator.jobs import Calibration, CostLimits
from evaluator.objectives import Objective, directions, logarithmic, probes_of, selected
from evaluator.pool import Pool, PoolSettings, open_pool
from evaluator.spaces import class_admits, resolve_space
from evaluator.tasks import DatasetTask, Task, resolve, task_id
from genome import GenomeError, Proposal, SearchSpace, make_strategy, preset, preset_birth
from genome.spaces import MLP, SPACES
from node.errors import SettingsError
from node.membership import Membership
from node.mesh import Judge, Mesh
from node.output import say
from node.schedule import Done, Schedule
from node.search import Alone, Observer, SearchLoop, SearchState, threaded_disk
from node.settings import Settings, calibration_path
from node.steering import Steering, still_queued
from node.store.records import Reader
from node.store.rows import RunSpec
from node.store.writer import Writer

__all__ = [
    "cost_limits",
    "judge_of",
    "run_search",
    "starting_presets",
    "stored_calibration",
    "wall_clock",
    "worker_count",
]

SEEDS = ("shallow", "ep", "smep", "deep")
# By space: presets that a run starts from, and those that it only compares itself with. Neither cubes nor filters can
# learn by backpropagation here. Recipes that take hours stay for those who ask for them.
_SEEDS: Mapping[str, tuple[str, ...]] = {
    "mlp": SEEDS,
    "family": (
        "sdmep",
        "holomorphic",
        "continual",
        "coupled",
        "contrastive-hebbian",
        "predictive-coding",
        "feedback-alignment",
        "kolen-pollack",
        "homeostatic",
        "sparse",
        "ternary",
        "looped",
    ),
    "cube": ("cube",),
    "conv": ("conv",),
    "incremental": ("ndl-ir", "cl-ir", "ndl", "cl"),
}
_BASELINES: Mapping[str, tuple[str, ...]] = {
    "mlp": ("backprop",),
    "family": ("backprop-family",),
    "incremental": ("joint",),
}


async def run_search(
    settings: Settings, observer: Observer, membership: Membership | None = None
) -> SearchState:
    """Run, or continue, the search that the settings describe; gives its last state.

    With a `membership` the search has a mesh for a companion, and the node goes on serving it once the search is done.
    Ctrl-C (SIGINT) and SIGTERM end it cleanly: what is on record stays, `state.stopped` says so.
    Raises EqmeshError where it cannot start.
    """
    task = resolve(settings.task)
    if isinstance(task, DatasetTask):
        _require_trainable(task, settings)
        task.require()
    space = resolve_space(settings.space, task)
    objectives = _objectives(settings, task)
    if membership is not None:
        _require_claimable(task, objectives)
    make_strategy(
        settings.strategy, space, directions(objectives), population=settings.population
    )  # refuses an unknown name
    workers = worker_count(settings)
    pool_settings = PoolSettings(
        # A node's claims and checks have a worker of their own: they must not wait for long trainings of the search.
        workers=workers + (membership is not None),
        spare=int(membership is not None),
        memory_bytes=settings.worker_memory * 2**20,
        nice=settings.nice,
    )
    with Writer(Path(settings.store), now=wall_clock) as writer:
        spool = _clean_spool(writer)
        disk = threaded_disk()
        async with open_pool(pool_settings) as pool:
            await _require_backend(pool, settings.backend)
            run, spec = writer.begin_run(
                _spec(
                    settings,
                    task,
                    space,
                    workers,
                    _imported(writer, space),
                    starting_presets(space),
                )
            )
            state = SearchState(
                run=run,
                spec=spec,
                objectives=spec.objectives,
                limit=settings.evaluations,
                workers=workers,
                asks=workers * pool.asks_per_worker(spec.arithmetic, settings.backend),
            )
            schedule = _schedule(writer, space, state)
            observer.started(state)
            measured = (
                await _calibration(writer, run, pool, settings) if isinstance(task, DatasetTask) else None
            )
            with trio.CancelScope() as scope, ExitStack() as stack:
                async with trio.open_nursery() as nursery:
                    nursery.start_soon(_stop_on_signal, scope, state)
                    mesh = None
                    if membership is not None:
                        reader = stack.enter_context(Reader(writer.path))
                        judge = judge_of(settings, task, space, state.spec, measured)
                        mesh = membership.mesh(
                            settings,
                            judge,
                            pool,
                            writer=writer,
                            reader=reader,
                            disk=disk,
                            spool=spool,
                            schedule=schedule,
                        )
                        _remember(mesh, state, reader)
                        await nursery.start(membership.serve, mesh)
                    loop = SearchLoop(
                        writer=writer,
                        pool=pool,
                        schedule=schedule,
                        state=state,
                        observer=observer,
                        limits=cost_limits(settings),
                        backend=settings.backend,
                        deadline_s=settings.deadline,
                        calibration=measured,
                        spool=spool,
                        keep_weights=settings.keep_weights,
                        disk=disk,
                        companion=mesh or Alone(),
                    )
                    steering = Steering(
                        writer=writer,
                        disk=disk,
                        space=space,
                        state=state,
                        schedule=schedule,
                        loop=loop,
                        stop=scope.cancel,
                        mesh_orders=partial(membership.obey, mesh) if membership and mesh else None,
                    )
                    await nursery.start(steering.serve)
                    until = trio.current_time() + 60 * settings.minutes if settings.minutes else math.inf
                    await loop.run(ask_until=until)
                    if settings.rescore:
                        await loop.rescore(settings.rescore)
                    if mesh is not None:
                        loop.stage = "serving"
                        await trio.sleep_until(until)
                    await steering.finish()
                    nursery.cancel_scope.cancel()
        writer.event("run.stopped" if state.stopped else "run.finished", {"run": run, "why": state.stopped})
    return state


def wall_clock() -> float:
    """Seconds since the epoch."""
    return datetime.now(UTC).timestamp()


def judge_of(
    settings: Settings, task: Task, space: SearchSpace, spec: RunSpec, measured: Calibration | None
) -> Judge:
    """What a node of this run makes of claims."""
    return Judge(
        task,
        task.tier(spec.tier),
        space,
        arithmetic=spec.arithmetic,
        limits=cost_limits(settings),
        calibration=measured,
        objectives=spec.objectives,
    )


def _remember(mesh: Mesh, state: SearchState, reader: Reader) -> None:
    """Tell a mesh what this run measured before the program was started."""
    births = {row.genome: row.birth for row in reader.births()}
    for row in state.rows:
        if row.purpose == "search" and row.failure is None:
            mesh.remember(state.genomes[row.genome], births.get(row.genome), row.objectives)


def cost_limits(settings: Settings) -> CostLimits:
    """What the settings allow a genome to ask for."""
    return CostLimits(bytes=settings.genome_memory * 2.0**20, macs=settings.genome_macs)


def worker_count(settings: Settings) -> int:
    """Workers to start: as many as asked for, else one for each core that this process may use."""
    return settings.workers or len(os.sched_getaffinity(0))


async def stored_calibration(pool: Pool, settings: Settings, *, again: bool = False) -> Calibration:
    """This machine's calibration for the settings' arithmetic class, measured and stored if it is new."""
    path = calibration_path()
    found = None if again else calibration.load(path, settings.arithmetic)
    if found is None:
        found = await pool.calibrate(settings.arithmetic)
        try:
            calibration.save(path, found)
        except OSError as error:
            # A front needs one scale, not the file: the run itself keeps this one too.
            say(f"this machine's calibration is used, but cannot be kept in {path}: {error.strerror}")
    return found


async def _require_backend(pool: Pool, name: str) -> None:
    """Raise SettingsError for a backend that the workers of this machine cannot use."""
    if name == "auto":
        return
    found = await pool.backends()
    why = found.get(name, "there is no such backend")
    if why:
        usable = ", ".join(["auto", *(other for other, refusal in found.items() if not refusal)])
        raise SettingsError(f"backend must be one that runs here ({usable}), got {name!r}: {why}.")


async def _calibration(writer: Writer, run: int, pool: Pool, settings: Settings) -> Calibration:
    """A run keeps the calibration that it began with: else a resumed front would compare two scales."""
    return writer.calibrate_run(run, await stored_calibration(pool, settings))


async def _stop_on_signal(scope: trio.CancelScope, state: SearchState) -> None:
    with trio.open_signal_receiver(signal.SIGINT, signal.SIGTERM) as signals:
        async for number in signals:
            state.stopped = f"stopped by {signal.Signals(number).name}"
            scope.cancel()


def starting_presets(space: SearchSpace = MLP) -> tuple[str, ...]:
    """The presets that a run starts from: none but in a built-in space."""
    return _of_space(_SEEDS, space)


def _of_space(table: Mapping[str, tuple[str, ...]], space: SearchSpace) -> tuple[str, ...]:
    """What a table has for a built-in space; nothing for another, also for one that has the name of a built-in one."""
    return table.get(space.name, ()) if SPACES.get(space.name) == space else ()


def _objectives(settings: Settings, task: Task) -> tuple[Objective, ...]:
    """What the run makes large or small: the task's own objectives, unless others are named."""
    return selected(settings.objectives, task.objectives, network=isinstance(task, DatasetTask))


def _require_trainable(task: DatasetTask, settings: Settings) -> None:
    """Raise SettingsError where not one network of the task could be trained as the settings say."""
    if task.heads and (settings.arithmetic != "fp32" or settings.backend not in ("auto", "torch-cpu")):
        raise SettingsError(
            f"task {task.name!r} has several heads, which are trained in fp32 on torch-cpu alone, got "
            f"{settings.arithmetic} on {settings.backend!r}. Choose those, or search its parts one by one."
        )


def _require_claimable(task: Task, objectives: tuple[Objective, ...]) -> None:
    """Raise SettingsError where what a run finds could not be checked by a stranger."""
    if not task.portable:
        raise SettingsError(
            f"a node of the mesh needs a task whose results any peer can check, but task {task.name!r} trains in "
            "float32, which differs between machines, and leaves no weights behind. Search it alone, with `eqmesh "
            "search`."
        )
    if isinstance(task, DatasetTask) and task.heads:
        raise SettingsError(
            f"a node of the mesh claims one accuracy of one head, but task {task.name!r} has {len(task.heads)}. Search "
            "it alone, with `eqmesh search`."
        )
    if objectives != task.objectives:
        raise SettingsError(
            "a node of the mesh ranks by what any peer can check, accuracy run again, speed and memory reckoned: it "
            f"expects the objectives {', '.join(each.name for each in task.objectives)}, got "
            f"{', '.join(each.name for each in objectives)}. Leave the setting objectives empty, or search alone with "
            "`eqmesh search`."
        )


def _spec(
    settings: Settings,
    task: Task,
    space: SearchSpace,
    workers: int,
    imported: list[str],
    starts: tuple[str, ...],
) -> RunSpec:
    tier = task.tier(settings.tier or None)
    network = isinstance(task, DatasetTask)
    objectives = _objectives(settings, task)
    return RunSpec(
        seed=settings.seed,
        task=settings.task,
        task_id=task_id(task, tier),
        tier=tier.name,
        space=space.id,
        space_source=settings.space,
        strategy=settings.strategy,
        arithmetic=settings.arithmetic if network else "task",
        objectives=objectives,
        limits=cost_limits(settings),
        # One worker sees every record before it asks: its run is reproducible without a look-behind.
        look_behind=workers if settings.reproducible else None,
        baselines=tuple(
            name
            for name in _of_space(_BASELINES, space)
            # A probe follows a network that settles, which a network of backpropagation does not.
            if class_admits(settings.arithmetic, preset(name)) and not probes_of(objectives)
        ),
        seeds=(*starts, *imported),
        population=settings.population,
    )


def _imported(writer: Writer, space: SearchSpace) -> list[str]:
    """Genomes that were imported into the store: a new run of their space starts from them too.

    Those that do not fit the space (a narrower one of the same name, say) are left out, and an event says so.
    """
    with Reader(writer.path) as reader:
        found = {name: reader.genome(name) for name in reader.imported(space.id)}
    fitting = []
    for name, genome in found.items():
        try:
            space.check(genome)
        except GenomeError as error:
            writer.event("import.unfit", {"genome": name, "space": space.id, "why": str(error)})
        else:
            fitting.append(name)
    return fitting


def _schedule(writer: Writer, space: SearchSpace, state: SearchState) -> Schedule:
    """The schedule of a run, after all that is on record of it."""
    spec = state.spec
    with Reader(writer.path) as reader:
        state.rows = reader.evaluations(run=state.run)
        births = {row.genome: row.birth for row in reader.births()}
        state.genomes = {row.genome: reader.genome(row.genome) for row in state.rows}
        done = []
        for row in state.rows:
            if row.purpose == "rescore":
                continue
            done.append(
                Done(
                    number=row.ask,
                    genome=state.genomes[row.genome],
                    birth=births[row.genome],
                    objectives=None if row.failure else row.objectives,
                    baseline=row.purpose == "baseline",
                )
            )
        seeds = [
            Proposal(genome=reader.genome(name), birth=births[name])
            if name in births
            else _preset(name, spec.task)
            for name in spec.seeds
        ]
        waiting = still_queued(reader, state.run, space)
    strategy = make_strategy(
        spec.strategy,
        space,
        directions(spec.objectives),
        seeds=seeds,
        population=spec.population,
        logarithmic=logarithmic(spec.objectives),
        admits=partial(class_admits, spec.arithmetic),
    )
    schedule = Schedule(
        strategy,
        run_seed=spec.seed,
        baselines=[_preset(name, spec.task) for name in spec.baselines],
        look_behind=spec.look_behind,
        recorded=done,
    )
    for proposal in waiting:
        schedule.queue(proposal)
    return schedule


def _preset(name: str, task: str) -> Proposal:
    return Proposal(genome=preset(name, task), birth=preset_birth(name, task))


def _clean_spool(writer: Writer) -> Path:
    """The folder where workers leave weights, emptied of what a crash left there.

    Weights whose evaluation is on record had still to be kept or dropped: they are kept, and the loop drops those
    that no front needs.
    """
    folder = writer.path.with_name(f"{writer.path.name}.spool")
    folder.mkdir(exist_ok=True)
    recorded = writer.recorded_weights()
    for file in folder.iterdir():
        if file.suffix == ".safetensors" and file.stem in recorded:
            writer.weights_folder.mkdir(exist_ok=True)
            file.replace(writer.weights_folder / file.name)
        elif not file.is_dir():
            file.unlink()
    return folder.resolve()
