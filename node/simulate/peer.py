"""One simulated node: the real store, search, schedule and mesh, put together as a service does it."""

import hashlib
import random
from collections.abc import Awaitable, Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, cast

import msgspec
import trio

from evaluator.jobs import CostLimits, Progress
from evaluator.objectives import directions, logarithmic
from evaluator.spaces import resolve_space
from evaluator.tasks import task_id
from genome import Genome, make_strategy
from node.mesh import Judge, MemoryVault, Mesh, MeshSettings, Trainings
from node.protocol.identity import Identity
from node.schedule import Done, Guest, Schedule
from node.search import UNLIMITED, SearchLoop, SearchState
from node.simulate.bench import Bench, Nature, stream
from node.simulate.link import Link
from node.simulate.setup import ROUND_S, Setup
from node.store.beliefs import BeliefWriter
from node.store.records import Reader
from node.store.rows import EvaluationRow, RunSpec
from node.store.writer import Writer
from node.transports.memory import MemoryNetwork, Traffic

if TYPE_CHECKING:
    from evaluator.pool import Pool

__all__ = ["EPOCH_START", "Peer", "World"]

EPOCH_START = 694 * 30 * 86_400.0
"""Virtual time begins with an epoch of claims (seconds since 1970), so that short simulations stay within one."""
_POPULATION = 16
_DEADLINE_S = 600.0
_SETTINGS = MeshSettings(
    round_units=10.0,
    shortest_round_s=ROUND_S,
    longest_round_s=ROUND_S,
    first_rounds_s=ROUND_S,
    # Rounds are long here, so waits are too: what is said in a minute goes out together.
    announce_s=60.0,
    flush_s=300.0,
    meet_s=300.0,
    catch_up_s=1800.0,
    publish_s=1800.0,
)

Told = Callable[[str, str, dict[str, object]], None]
"""A node, the event and its fields."""


class World(msgspec.Struct, frozen=True, kw_only=True):
    """What all nodes of a simulation share."""

    setup: Setup
    nature: Nature
    judge: Judge
    network: MemoryNetwork
    folder: Path
    task: str
    told: Told

    def now(self) -> float:
        """Virtual seconds since 1970."""
        return EPOCH_START + trio.current_time()

    def stream(self, *names: object) -> random.Random:
        """A generator of its own for each set of names."""
        return stream(self.setup.seed, *names)


class _Unwatched:
    """Nobody looks at a simulated search."""

    def started(self, state: SearchState) -> None:
        """Nothing is made of it."""

    def progressed(self, state: SearchState, genome: Genome, progress: Progress) -> None:
        """Nothing is made of it."""

    def recorded(self, state: SearchState, row: EvaluationRow) -> None:
        """Nothing is made of it."""


async def at_once(act: Callable[[], None]) -> None:
    """A disk that nobody waits for."""
    act()


def judge_of(nature: Nature) -> Judge:
    """What every node makes of claims."""
    task = nature.task
    return Judge(
        task,
        nature.tier,
        task.space,
        arithmetic="task",
        limits=CostLimits(),
        calibration=None,
        objectives=task.objectives,
    )


class Peer:
    """A node that may leave and come back; its store, identity and blobs stay. `live` is one stay on the network."""

    honest = True

    def __init__(self, world: World, name: str) -> None:
        self.world = world
        self.name = name
        self.identity = Identity(
            hashlib.sha256(f"eqmesh/simulate/identity/1\n{world.setup.seed}\n{name}".encode()).digest()
        )
        self.vault = MemoryVault()
        self.bench = self.make_bench()
        self.path = world.folder / f"{name}.db"
        self.state: SearchState | None = None
        self.mesh: Mesh | None = None
        self.present = False
        self._traffic: list[Traffic] = []
        self._lives = 0
        self._scope: trio.CancelScope | None = None

    @property
    def peer(self) -> str:
        """Its peer id."""
        return self.identity.peer

    @property
    def traffic(self) -> Traffic:
        """All that it has sent."""
        return Traffic(
            messages=sum(one.messages for one in self._traffic), bytes=sum(one.bytes for one in self._traffic)
        )

    @property
    def evaluations(self) -> int:
        """Evaluations of its search that are on record."""
        return 0 if self.state is None else len(self.state.rows)

    def make_bench(self) -> Bench:
        """Its workers."""
        return Bench(self.world.nature, self.vault, rng=self.world.stream(self.name, "bench"))

    def make_mesh(self, **parts: object) -> Mesh:
        """Its part in the mesh."""
        return Mesh(**parts)  # type: ignore[arg-type] # `live` names them all

    def loops(self, mesh: Mesh) -> Sequence[Callable[[], Awaitable[None]]]:  # noqa: ARG002
        """Loops that it keeps going beside those of a node."""
        return ()

    def leave(self) -> None:
        """End this stay."""
        if self._scope is not None:
            self._scope.cancel()

    async def live(self) -> None:
        """Be a node until `leave` is called."""
        self._lives += 1
        with (
            trio.CancelScope() as self._scope,
            Writer(self.path, now=self.world.now, durable=False) as writer,
            Reader(self.path) as reader,
        ):
            try:
                await self._live(writer, reader)
            finally:
                self.present = False
        self._scope = None

    async def _live(self, writer: Writer, reader: Reader) -> None:
        run, spec = writer.begin_run(self._spec())
        state = SearchState(run=run, spec=spec, objectives=spec.objectives, limit=UNLIMITED, workers=1)
        self.state = state
        schedule = self._schedule(reader, state)
        mesh = self._mesh(writer, reader, schedule)
        self.mesh = mesh
        births = {row.genome: row.birth for row in reader.births()}
        for row in state.rows:
            mesh.remember(state.genomes[row.genome], births.get(row.genome), row.objectives)
        loop = SearchLoop(
            writer=writer,
            # The only thing that the search asks of a pool is to run a job.
            pool=cast("Pool", self.bench),
            schedule=schedule,
            state=state,
            observer=_Unwatched(),
            limits=CostLimits(),
            backend="auto",
            deadline_s=_DEADLINE_S,
            calibration=None,
            spool=self.world.folder,
            keep_weights=False,
            disk=at_once,
            companion=mesh,
        )

        async with trio.open_nursery() as nursery:

            async def ready() -> None:
                self.present = True
                nursery.start_soon(loop.run)
                for each in self.loops(mesh):
                    nursery.start_soon(each)

            await mesh.run(ready)

    def _mesh(self, writer: Writer, reader: Reader, schedule: Schedule) -> Mesh:
        world = self.world
        transport = Link(world.network, self.peer)
        self._traffic.append(transport.traffic)

        def welcome(confirmed: Sequence[Guest], provisional: Sequence[Guest]) -> None:
            schedule.host(confirmed, provisional)

        def log(event: str, **fields: object) -> None:
            world.told(self.name, event, fields)

        return self.make_mesh(
            identity=self.identity,
            transport=transport,
            judge=world.judge,
            workbench=self.bench,
            vault=self.vault,
            writer=BeliefWriter(writer),
            reader=reader,
            disk=at_once,
            settings=_SETTINGS,
            rng=world.stream(self.name, "mesh", self._lives),
            now=world.now,
            trainings=Trainings(world.judge, task=world.task, space="", deadline_s=_DEADLINE_S),
            spool=None,
            # Only those who come back need to find their evidence again; it is written whole with each claim.
            evidence_file=self.path.with_suffix(".index") if world.setup.churn else None,
            device="simulated",
            welcome=welcome,
            shun=schedule.shun,
            log=log,
        )

    def _spec(self) -> RunSpec:
        nature = self.world.nature
        return RunSpec(
            seed=self.world.stream(self.name, "search").getrandbits(31),
            task=self.world.task,
            task_id=task_id(nature.task, nature.tier),
            tier=nature.tier.name,
            space=resolve_space("", nature.task).id,
            space_source="",
            strategy="nsga2",
            arithmetic="task",
            objectives=nature.task.objectives,
            limits=CostLimits(),
            look_behind=None,
            baselines=(),
            seeds=(),
            population=_POPULATION,
        )

    def _schedule(self, reader: Reader, state: SearchState) -> Schedule:
        task = self.world.nature.task
        state.rows = reader.evaluations(run=state.run)
        births = {row.genome: row.birth for row in reader.births()}
        state.genomes = {row.genome: reader.genome(row.genome) for row in state.rows}
        return Schedule(
            make_strategy(
                "nsga2",
                task.space,
                directions(task.objectives),
                population=_POPULATION,
                logarithmic=logarithmic(task.objectives),
            ),
            run_seed=state.spec.seed,
            baselines=(),
            look_behind=None,
            recorded=[
                Done(
                    number=row.ask,
                    genome=state.genomes[row.genome],
                    birth=births[row.genome],
                    objectives=row.objectives,
                    baseline=False,
                )
                for row in state.rows
            ],
        )
